"""Kaplan-Meier or Turnbull curves of groups of predicted risk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sksurvtorch.displays import _checks as checks
from sksurvtorch.displays import _estimates as estimates
from sksurvtorch.displays._axes import (
    LINE_STYLES,
    draw_curve,
    draw_legend,
    label_survival,
    line_options,
    make_axes,
)
from sksurvtorch.displays._estimates import Array, KaplanMeier, Outcome
from sksurvtorch.displays._table import draw_table
from sksurvtorch.metrics import Turnbull
from sksurvtorch.metrics._groups import quantile_groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation


class RiskGroupsDisplay:
    """Kaplan-Meier curves of groups of samples, with the numbers at risk below.

    Of interval-censored times the curves are Turnbull's estimates, without numbers at risk: nobody
    knows who had the event within an interval.

    For groups of predicted risk make one with `from_estimator` or `from_predictions`, for any other
    groups with `from_groups`.

    Parameters
    ----------
    kaplan_meier : list of tuples of three arrays, or of Turnbull
        For each group times, survival and confidence interval, as
        `sksurv.nonparametric.kaplan_meier_estimator` returns them, or what
        `sksurvtorch.metrics.turnbull` returns.
    n_at_risk : list of arrays of int, or None
        For each group the number at risk at each of its times; None for Turnbull's estimates.
    labels : list of str
        Names of the groups.
    p_value : float, optional
        P-value of the log-rank test, for the legend.

    Attributes
    ----------
    lines_ : list of matplotlib.lines.Line2D
        Kaplan-Meier curves, or Turnbull's where they are determined.
    bands_ : list of matplotlib.collections.PolyCollection
        Their pointwise 95 % confidence bands, on the log-log scale; of Turnbull's estimates the
        boxes in which they are not determined.
    table_times_ : array of shape (n_times,)
        Times of the table, which are the ticks of the axis.
    table_ : array of int of shape (n_groups, n_times), or None
        Numbers at risk at these times; None for Turnbull's estimates.
    table_texts_ : list of matplotlib.text.Annotation
        Texts of the table.
    ax_ : matplotlib.axes.Axes
        Axes.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.

    See Also
    --------
    sksurv.compare.compare_survival : The log-rank test.

    Notes
    -----
    A sample is at risk at a time if it has entered before, and its own time is not earlier. At time
    0 all samples without a later entry are at risk.

    The table is drawn below the axes. If you pass axes of your own, make room for it with
    ``layout="constrained"`` or `tight_layout`.

    The log-rank test assumes that the groups do not depend on the observed times. Groups of the
    predicted risk of training samples do, and then the p-value is too small. There is no p-value
    for one group, without an event, with interval-censored times, or with late entry, which
    scikit-survival's test does not support.

    Risk scores of a model that was fitted with strata compare samples within a stratum, and say
    nothing about differences between strata. Draw the samples of one stratum at a time.

    Examples
    --------
    >>> from sksurv.datasets import load_whas500
    >>> from sksurv.linear_model import CoxPHSurvivalAnalysis
    >>> from sksurvtorch.displays import RiskGroupsDisplay
    >>> X, y = load_whas500()
    >>> X = X[["age", "bmi"]].astype(float)
    >>> model = CoxPHSurvivalAnalysis().fit(X, y)
    >>> display = RiskGroupsDisplay.from_estimator(model, X, y, time_unit="days")
    >>> display.labels
    ['Low risk', 'Medium risk', 'High risk']
    >>> display.table_[:, 0]
    array([167, 167, 166])
    """

    lines_: list[Line2D]
    bands_: list[PolyCollection]
    table_times_: Array
    table_: Array | None
    table_texts_: list[Annotation]
    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self,
        kaplan_meier: Sequence[KaplanMeier | Turnbull],
        n_at_risk: Sequence[Array] | None,
        labels: Sequence[str],
        *,
        p_value: float | None = None,
    ) -> None:
        self.kaplan_meier = kaplan_meier
        self.n_at_risk = n_at_risk
        self.labels = labels
        self.p_value = p_value

    def plot(
        self,
        ax: Axes | None = None,
        *,
        times: Any = None,
        table: bool = True,
        time_unit: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones.
        times : array-like of shape (n_times,), optional
            Times of the table and of the ticks, ascending; by default matplotlib's ticks.
        table : bool, default=True
            Whether to write the numbers at risk below the axes.
        time_unit : str, optional
            Unit of the time for the label of its axis.
        **kwargs
            Options of all curves, see `matplotlib.lines.Line2D`.

        Returns
        -------
        self
            The display, with the attributes that end in an underscore.
        """
        if times is not None:
            times = checks.check_times(times)
        ax = make_axes(ax, self)
        self.ax_, self.figure_ = ax, ax.figure
        self._draw_curves(kwargs)
        label_survival(ax, time_unit)
        end = max(estimates.last_time(curve) for curve in self.kaplan_meier)
        ax.set_xlim(0, 1.02 * (end if times is None else max(end, times[-1])))
        if times is None:
            ticks = np.asarray(ax.get_xticks())
            times = ticks[(ticks >= 0) & (ticks <= ax.get_xlim()[1])]
        ax.set_xticks(times)
        self.table_times_, self.table_ = times, self._count(times)
        if table and self.table_ is not None:
            self.table_texts_ = draw_table(ax, self.lines_, times, self.table_, self._note())
        else:
            self.table_texts_ = []
            draw_legend(ax, *self.lines_, title=self._note() or None, alignment="left")
        return self

    def _draw_curves(self, given: dict[str, Any]) -> None:
        """Draw the curves of the groups, the darkest last."""
        import matplotlib

        n_groups = len(self.kaplan_meier)
        colors = matplotlib.colormaps["viridis"](np.linspace(0.05, 0.72, n_groups))[::-1]
        self.lines_, self.bands_ = [], []
        for number, curve in enumerate(self.kaplan_meier):
            options = line_options(
                given,
                color=colors[number],
                linestyle=LINE_STYLES[number % len(LINE_STYLES)],
                linewidth=1.8,
                label=self.labels[number],
            )
            line, band = draw_curve(self.ax_, curve, **options)
            self.lines_.append(line)
            self.bands_.append(band)

    def _count(self, times: Array) -> Array | None:
        """Return the numbers at risk at some times, if they are known."""
        if self.n_at_risk is None:
            return None
        counts = []
        for curve, n_at_risk in zip(self.kaplan_meier, self.n_at_risk, strict=True):
            # Between two of its times the number is that of the later one.
            counts.append(np.append(n_at_risk, 0)[np.searchsorted(curve[0], times, side="left")])
        return np.stack(counts)

    def _note(self) -> str:
        """Say what the log-rank test found."""
        if self.p_value is None:
            return ""
        return "Log-rank p " + ("< 0.001" if self.p_value < 0.001 else f"= {self.p_value:.2g}")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_groups: int = 3,
        labels: Sequence[str] | None = None,
        entry: Any = None,
        times: Any = None,
        table: bool = True,
        time_unit: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw groups of the risk that a model predicts.

        Parameters
        ----------
        estimator : fitted estimator
            Model with `predict` that returns a risk score, as in scikit-survival, or a pipeline or
            a search that ends in one.
        X : array-like of shape (n_samples, n_features)
            Samples, best not those of the fit.
        y : structured array of shape (n_samples,)
            Event indicator and time of the samples, or lower and upper bounds of their times.
        n_groups : int, default=3
            Number of groups, of about equal size.
        labels : list of str, optional
            Names of the groups, from low to high risk.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation) of the samples.
        times : array-like of shape (n_times,), optional
            Times of the table and of the ticks, ascending.
        table : bool, default=True
            Whether to write the numbers at risk below the axes.
        time_unit : str, optional
            Unit of the time for the label of its axis.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones.
        **kwargs
            Options of all curves, see `matplotlib.lines.Line2D`.

        Returns
        -------
        RiskGroupsDisplay
            The display, drawn.
        """
        return cls.from_predictions(
            y,
            checks.model_with(estimator, "predict").predict(X),
            n_groups=n_groups,
            labels=labels,
            entry=entry,
            times=times,
            table=table,
            time_unit=time_unit,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        risk_score: Any,
        *,
        n_groups: int = 3,
        labels: Sequence[str] | None = None,
        entry: Any = None,
        times: Any = None,
        table: bool = True,
        time_unit: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw groups of predicted risk.

        Parameters
        ----------
        y : structured array of shape (n_samples,)
            Event indicator and time of the samples, or lower and upper bounds of their times.
        risk_score : array-like of shape (n_samples,)
            Predicted risk: the higher, the earlier the event.
        n_groups : int, default=3
            Number of groups, of about equal size. Samples with equal scores are in the same group;
            if this leaves fewer groups, a `TiedGroupsWarning` says so.
        labels : list of str, optional
            Names of the groups, from low to high risk.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation) of the samples.
        times : array-like of shape (n_times,), optional
            Times of the table and of the ticks, ascending.
        table : bool, default=True
            Whether to write the numbers at risk below the axes.
        time_unit : str, optional
            Unit of the time for the label of its axis.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones.
        **kwargs
            Options of all curves, see `matplotlib.lines.Line2D`.

        Returns
        -------
        RiskGroupsDisplay
            The display, drawn.
        """
        outcome = checks.check_outcome(y, entry, None, cls.__name__)
        risk_score = checks.check_finite("risk_score", risk_score, len(outcome[0]))
        codes = quantile_groups(risk_score, n_groups)
        n_found = int(codes.max()) + 1
        names = risk_labels(n_found) if labels is None else [str(label) for label in labels]
        if len(names) != n_found:
            raise ValueError(f"`labels` must name the {n_found} groups, got {len(names)} names.")
        display = cls._of_codes(outcome, codes, names)
        return display.plot(ax, times=times, table=table, time_unit=time_unit, **kwargs)

    @classmethod
    def from_groups(
        cls,
        y: Any,
        groups: Any,
        *,
        entry: Any = None,
        times: Any = None,
        table: bool = True,
        time_unit: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw groups of any kind, such as treatments, or predicted risk between fixed limits.

        Parameters
        ----------
        y : structured array of shape (n_samples,)
            Event indicator and time of the samples, or lower and upper bounds of their times.
        groups : array-like of shape (n_samples,)
            Label of the group of each sample. The order of the groups is that of the categories of
            pandas if the labels are categorical; else the labels are sorted.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation) of the samples.
        times : array-like of shape (n_times,), optional
            Times of the table and of the ticks, ascending.
        table : bool, default=True
            Whether to write the numbers at risk below the axes.
        time_unit : str, optional
            Unit of the time for the label of its axis.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones.
        **kwargs
            Options of all curves, see `matplotlib.lines.Line2D`.

        Returns
        -------
        RiskGroupsDisplay
            The display, drawn.
        """
        outcome = checks.check_outcome(y, entry, None, cls.__name__)
        display = cls._of_codes(outcome, *checks.check_groups(groups, len(outcome[0])))
        return display.plot(ax, times=times, table=table, time_unit=time_unit, **kwargs)

    @classmethod
    def _of_codes(cls, outcome: Outcome, codes: Array, labels: list[str]) -> Self:
        """Estimate what is drawn of groups numbered from 0 on."""
        groups = [codes == code for code in range(len(labels))]
        curves = [estimates.estimate(outcome, rows) for rows in groups]
        if len(outcome) == 2:
            return cls(curves, None, labels)
        event, time, entry = outcome
        n_at_risk = [
            estimates.count_at_risk(curve[0], time[rows], None if entry is None else entry[rows])
            for curve, rows in zip(curves, groups, strict=True)
        ]
        p_value = None if entry is not None else estimates.log_rank_p_value(event, time, codes)
        return cls(curves, n_at_risk, labels, p_value=p_value)


def risk_labels(n_groups: int) -> list[str]:
    """Return names of groups from low to high risk."""
    if n_groups == 1:
        return ["All samples"]
    if n_groups <= 3:
        return ["Low risk", "Medium risk", "High risk"][:: 4 - n_groups]
    names = [f"Group {number}" for number in range(1, n_groups + 1)]
    names[0] += " (lowest)"
    names[-1] += " (highest)"
    return names
