"""Predicted and observed incidence of one cause over time, by groups of predicted risk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sksurvtorch._validation import check_number
from sksurvtorch.displays import _checks as checks
from sksurvtorch.displays import _incidence as incidences
from sksurvtorch.displays._axes import line_options, make_axes, time_label
from sksurvtorch.displays._estimates import Array
from sksurvtorch.displays._incidence import AalenJohansen
from sksurvtorch.displays._table import draw_table
from sksurvtorch.displays.risk_groups import risk_labels
from sksurvtorch.metrics._groups import quantile_groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation

_GREY = "0.3"


class IncidenceCalibrationDisplay:
    """Predicted incidence of one cause beside Aalen-Johansen, by groups of predicted risk.

    The samples are grouped by their predicted incidence. Of well calibrated predictions the mean of
    each group (dashed) follows its Aalen-Johansen estimate (steps), up to the chance that the 95 %
    bands show. The numbers at risk stand below. Make one with `from_estimator` or
    `from_predictions`.

    Parameters
    ----------
    predicted : array of shape (n_groups, n_times)
        Mean predicted incidence of each group, from low to high risk.
    times : array of shape (n_times,)
        Times of the predictions, ascending.
    aalen_johansen : list of tuples of three arrays
        For each group times, incidence and confidence interval of shape (2, n_times).
    n_at_risk : list of arrays of int
        For each group the number at risk at each of its times.
    labels : list of str
        Names of the groups.
    cause_name : str, default="cause 1"
        Name of the cause, for the label of the axis.

    Attributes
    ----------
    predicted_lines_ : list of matplotlib.lines.Line2D
        Means of the predictions.
    lines_ : list of matplotlib.lines.Line2D
        Aalen-Johansen estimates.
    bands_ : list of matplotlib.collections.PolyCollection
        Their pointwise 95 % confidence bands, on the log-log scale.
    table_times_ : array of shape (n_times,)
        Times of the table, which are the ticks of the axis.
    table_ : array of int of shape (n_groups, n_times)
        Numbers at risk at these times.
    table_texts_ : list of matplotlib.text.Annotation
        What the table is written with.
    ax_ : matplotlib.axes.Axes
        Axes.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.

    See Also
    --------
    sksurvtorch.metrics.incidence_calibration : The comparison at one time, in numbers.
    CumulativeIncidenceDisplay : Incidences of all causes, of one sample.

    Notes
    -----
    At risk are those who have had no event of any cause. The table lies below the axes: on axes of
    your own make room for it by ``layout="constrained"`` or `tight_layout`.

    Equal predictions are never split between groups. Where they leave fewer groups than asked for,
    a `TiedGroupsWarning` says so. Within a group the censoring has to be independent of the time of
    the event.

    The estimate and its interval are those of
    `sksurv.nonparametric.cumulative_incidence_competing_risks`, for late entry too. They are then
    conditional on no event before the first entry of the group.

    Examples
    --------
    >>> from sksurvtorch.displays import IncidenceCalibrationDisplay
    >>> from sksurvtorch.nets import competing_risks_y
    >>> y = competing_risks_y([1, 2, 1, 1], [1, 2, 1, 2])
    >>> incidence = [[0, 0.4], [0, 0.5], [0, 0.9], [0, 1]]
    >>> display = IncidenceCalibrationDisplay.from_predictions(y, incidence, [0, 2], n_groups=2)
    >>> display.labels, display.predicted[:, 1]
    (['Low risk', 'High risk'], array([0.45, 0.95]))
    """

    predicted_lines_: list[Line2D]
    lines_: list[Line2D]
    bands_: list[PolyCollection]
    table_times_: Array
    table_: Array
    table_texts_: list[Annotation]
    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self,
        predicted: Array,
        times: Array,
        aalen_johansen: Sequence[AalenJohansen],
        n_at_risk: Sequence[Array],
        labels: Sequence[str],
        *,
        cause_name: str = "cause 1",
    ) -> None:
        self.predicted = predicted
        self.times = times
        self.aalen_johansen = aalen_johansen
        self.n_at_risk = n_at_risk
        self.labels = labels
        self.cause_name = cause_name

    def plot(
        self,
        ax: Axes | None = None,
        *,
        ticks: Any = None,
        table: bool = True,
        time_unit: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones.
        ticks : array-like of shape (n_ticks,), optional
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
        if ticks is not None:
            ticks = checks.check_times(ticks, "ticks")
        ax = make_axes(ax, self)
        self.ax_, self.figure_ = ax, ax.figure
        self._draw_curves(kwargs)
        ax.set(
            xlabel=time_label(time_unit),
            ylabel=f"Cumulative incidence of {self.cause_name}",
        )
        ax.set_ylim(bottom=0)
        end = self.times[-1] if ticks is None else max(self.times[-1], ticks[-1])
        ax.set_xlim(0, 1.02 * end)
        if ticks is None:
            made = np.asarray(ax.get_xticks())
            ticks = made[(made >= 0) & (made <= ax.get_xlim()[1])]
        ax.set_xticks(ticks)
        self.table_times_, self.table_ = ticks, self._count(ticks)
        self.table_texts_ = draw_table(ax, self.lines_, ticks, self.table_, "") if table else []
        self._draw_legend(groups=not table)
        return self

    def _draw_curves(self, given: dict[str, Any]) -> None:
        """Draw the curves of the groups, the darkest last."""
        import matplotlib

        n_groups = len(self.labels)
        colors = matplotlib.colormaps["viridis"](np.linspace(0.05, 0.72, n_groups))[::-1]
        self.lines_, self.predicted_lines_, self.bands_ = [], [], []
        for color, label, curve, mean in zip(
            colors, self.labels, self.aalen_johansen, self.predicted, strict=True
        ):
            shared = line_options(given, color=color, linewidth=1.8)
            times, incidence, (lower, upper) = _cut(curve, self.times[-1])
            options = {"label": label, "linestyle": "-"} | shared
            (line,) = self.ax_.step(times, incidence, where="post", **options)
            band = self.ax_.fill_between(
                times, lower, upper, step="post", color=line.get_color(), alpha=0.18, linewidth=0
            )
            options = {"label": f"_{label}, predicted", "linestyle": (0, (4, 2))} | shared
            (predicted,) = self.ax_.plot(self.times, mean, **options)
            self.lines_.append(line)
            self.bands_.append(band)
            self.predicted_lines_.append(predicted)

    def _draw_legend(self, *, groups: bool) -> None:
        """Draw the legend of the two kinds of curves, with the groups if no table names them."""
        from matplotlib.lines import Line2D

        kinds = [
            Line2D([], [], color=_GREY, linewidth=1.8, label="Aalen-Johansen, 95 % confidence"),
            Line2D([], [], color=_GREY, linewidth=1.8, linestyle=(0, (4, 2)), label="Predicted"),
        ]
        handles = [*(self.lines_[::-1] if groups else []), *kinds]
        # All curves start with 0 on the left.
        self.ax_.legend(handles=handles, loc="upper left", frameon=False)

    def _count(self, times: Array) -> Array:
        """Return the numbers at risk at some times."""
        counts = []
        for (own, _, _), n_at_risk in zip(self.aalen_johansen, self.n_at_risk, strict=True):
            # Between two of its times the number is that of the later one.
            counts.append(np.append(n_at_risk, 0)[np.searchsorted(own, times, side="left")])
        return np.stack(counts)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        cause: int = 1,
        times: Any = None,
        n_groups: int = 3,
        labels: Sequence[str] | None = None,
        entry: Any = None,
        stratum: Any = None,
        cause_name: str | None = None,
        ticks: Any = None,
        table: bool = True,
        time_unit: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the calibration of a model.

        Parameters
        ----------
        estimator : fitted estimator
            Model of competing risks, such as `CompetingRisksNNRegressor`, or a pipeline or a search
            that ends in one.
        X : array-like of shape (n_samples, n_features)
            Samples, best not those of the fit.
        y : structured array of shape (n_samples,)
            Status and time of the samples, as `sksurvtorch.nets.competing_risks_y` makes it.
        cause : int, default=1
            The cause whose incidence is drawn.
        times : array-like of shape (n_times,), optional
            Times at which to predict, ascending; by default 501 up to the last time of the fit. The
            samples are grouped by their predicted incidence at the last of them, where the picture
            ends: an earlier one leaves out a time at which few are at risk. A curve stays as it is
            behind the last time of its stratum, unless times are given, which have to be within it.
        n_groups : int, default=3
            Number of groups, of about equal size.
        labels : list of str, optional
            Names of the groups, from low to high risk.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation) of the samples.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.
        cause_name : str, optional
            Name of the cause, for the label of the axis.
        ticks : array-like of shape (n_ticks,), optional
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
        IncidenceCalibrationDisplay
            The display, drawn.
        """
        check_number("cause", cause, int, 1)
        model, X = incidences.model_of_causes(estimator, X)
        incidence, times = incidences.predict_incidence(model, X, times, stratum)
        if cause > incidence.shape[1]:
            raise ValueError(
                f"`cause` must be at most {incidence.shape[1]}, the number of causes of the fit, "
                f"got {cause}."
            )
        return cls.from_predictions(
            y,
            incidence[:, cause - 1],
            times,
            cause=cause,
            n_groups=n_groups,
            labels=labels,
            entry=entry,
            cause_name=cause_name,
            ticks=ticks,
            table=table,
            time_unit=time_unit,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        incidence: Any,
        times: Any,
        *,
        cause: int = 1,
        n_groups: int = 3,
        labels: Sequence[str] | None = None,
        entry: Any = None,
        cause_name: str | None = None,
        ticks: Any = None,
        table: bool = True,
        time_unit: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the calibration of predicted incidences.

        Parameters
        ----------
        y : structured array of shape (n_samples,)
            Status (0 for a censored row, else the number of the cause of its event) and time.
        incidence : array-like of shape (n_samples, n_times)
            Predicted probability that an event of the cause has happened by each time.
        times : array-like of shape (n_times,)
            Times of the predictions, ascending; straight lines connect the values there. The
            samples are grouped by their incidence at the last of them, where the picture ends.
        cause : int, default=1
            The cause whose incidence was predicted.
        n_groups : int, default=3
            Number of groups, of about equal size.
        labels : list of str, optional
            Names of the groups, from low to high risk.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation) of the samples.
        cause_name : str, optional
            Name of the cause, for the label of the axis.
        ticks : array-like of shape (n_ticks,), optional
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
        IncidenceCalibrationDisplay
            The display, drawn.
        """
        times = checks.check_times(times)
        values = incidences.check_incidence(incidence, "(n_samples, n_times)", len(times), (2,))
        status, time, entry = incidences.check_outcome(y, entry, len(values), cls.__name__)
        incidences.check_cause(status, cause)
        codes = quantile_groups(values[:, -1], n_groups)
        n_found = int(codes.max()) + 1
        names = risk_labels(n_found) if labels is None else [str(label) for label in labels]
        if len(names) != n_found:
            raise ValueError(f"`labels` must name the {n_found} groups, got {len(names)} names.")
        predicted, curves, counts = [], [], []
        for code in range(n_found):
            rows = codes == code
            late = None if entry is None else entry[rows]
            curve, n_at_risk = incidences.aalen_johansen(status[rows], time[rows], late, cause)
            predicted.append(values[rows].mean(axis=0))
            curves.append(curve)
            counts.append(n_at_risk)
        name = f"cause {cause}" if cause_name is None else cause_name
        display = cls(np.stack(predicted), times, curves, counts, names, cause_name=name)
        return display.plot(ax, ticks=ticks, table=table, time_unit=time_unit, **kwargs)


def _cut(curve: AalenJohansen, end: float) -> AalenJohansen:
    """Return a curve from 0 at time 0 on, up to the last time of the predictions."""
    times, incidence, conf_int = curve
    shown = times <= end
    times, incidence = np.append(0.0, times[shown]), np.append(0.0, incidence[shown])
    conf_int = np.hstack([np.zeros((2, 1)), conf_int[:, shown]])
    if not shown.all():  # the value at its end is that of the step before
        times, incidence = np.append(times, end), np.append(incidence, incidence[-1])
        conf_int = np.hstack([conf_int, conf_int[:, -1:]])
    return times, incidence, conf_int
