"""Calibration of predicted survival at one time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sksurvtorch._validation import check_number
from sksurvtorch.displays import _checks as checks
from sksurvtorch.displays._axes import line_options, make_axes
from sksurvtorch.displays._estimates import Array, Outcome, estimate, last_time, survival_at
from sksurvtorch.displays._given import strata_given
from sksurvtorch.metrics._groups import quantile_groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

_REFERENCE = "Perfectly calibrated"
_MARKERS = "os^Dv"
# What the lines at the points are.
_LINES = {"Kaplan-Meier": "95 % interval", "Turnbull": "range left open"}


class SurvivalCalibrationDisplay:
    """Predicted survival at one time against the observed one, by groups of samples.

    The samples are grouped by their predicted survival. The observed survival of a group is its
    Kaplan-Meier estimate, or that of Turnbull if the times are interval-censored. If predictions
    are well calibrated, the points are on the diagonal, up to chance, which the 95 % intervals
    show. Points below the diagonal mean that survival is predicted too high, points above it that
    it is predicted too low. Make one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    predicted : array of shape (n_groups,)
        Mean predicted survival of each group, ascending.
    observed : array of shape (n_groups,)
        Kaplan-Meier estimate of each group at the time. Of Turnbull's estimate it is the middle of
        the range that the data leave open, which mostly is a single value.
    conf_int : array of shape (2, n_groups)
        Lower and upper ends of the 95 % confidence intervals of `observed`. Of Turnbull's estimate
        they are the ends of the range that the data leave open.
    time : float
        Time of the predictions.
    group_size : array of int of shape (n_groups,), optional
        Number of samples in each group.
    method : {"Kaplan-Meier", "Turnbull"}, default="Kaplan-Meier"
        What `observed` was estimated by, for the label.
    name : str, optional
        Name of the model for the legend.

    Attributes
    ----------
    line_ : matplotlib.lines.Line2D
        Points of the groups and the line through them.
    interval_lines_ : matplotlib.collections.LineCollection
        Confidence intervals, or ranges of Turnbull's estimate.
    ax_ : matplotlib.axes.Axes
        Axes.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.

    See Also
    --------
    DCalibrationDisplay : Calibration over all times.
    SurvivalFunctionDisplay : Predicted and observed survival over time, all samples together.

    Notes
    -----
    Samples with equal predictions are in the same group. If this leaves fewer groups than wanted,
    a `TiedGroupsWarning` says so.

    The intervals are those of the Kaplan-Meier estimate on the log-log scale. For an estimate of 0
    or 1 there is no such interval, and none is drawn. With late entry the estimate is conditional
    on being free of the event at the earliest entry of the group.

    Turnbull's estimate has no confidence interval here: its lines show what the data leave open.
    Points differ from the diagonal by chance as well.

    The estimates assume that, within a group, censoring is independent of the time of the event.

    Examples
    --------
    Two groups of two samples. In the first group one sample has its event before time 2, in the
    second group none:

    >>> from sksurv.util import Surv
    >>> from sksurvtorch.displays import SurvivalCalibrationDisplay
    >>> y = Surv.from_arrays([True, False, False, False], [1, 3, 3, 3])
    >>> display = SurvivalCalibrationDisplay.from_predictions(
    ...     y, [0.4, 0.5, 0.8, 1.0], time=2, n_groups=2
    ... )
    >>> display.predicted, display.observed
    (array([0.45, 0.9 ]), array([0.5, 1. ]))
    """

    line_: Line2D
    interval_lines_: LineCollection
    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self,
        predicted: Array,
        observed: Array,
        conf_int: Array,
        *,
        time: float,
        group_size: Array | None = None,
        method: str = "Kaplan-Meier",
        name: str | None = None,
    ) -> None:
        self.predicted = predicted
        self.observed = observed
        self.conf_int = conf_int
        self.time = time
        self.group_size = group_size
        self.method = method
        self.name = name

    def plot(
        self,
        ax: Axes | None = None,
        *,
        ref_line: bool = True,
        time_unit: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones. Several displays may share them.
        ref_line : bool, default=True
            Whether to draw the diagonal.
        time_unit : str, optional
            Unit of the time for the labels.
        name : str, optional
            Name of the model for the legend, in place of that of the display.
        **kwargs
            Options of the points and the line through them, see `matplotlib.lines.Line2D`.

        Returns
        -------
        self
            The display, with the attributes that end in an underscore.
        """
        ax = make_axes(ax, self, width=5)
        name = self.name if name is None else name
        if ref_line and _REFERENCE not in ax.get_legend_handles_labels()[1]:
            ax.plot([0, 1], [0, 1], color="0.35", linewidth=1, linestyle=":", label=_REFERENCE)
        self._draw_points(ax, "Groups of samples" if name is None else name, kwargs)
        at = f"{self.time:g}" if time_unit is None else f"{self.time:g} {time_unit}"
        ax.set(
            xlabel=f"Predicted survival at {at}, mean of the group",
            ylabel=f"{self.method} survival at {at}, {_LINES[self.method]}",
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
        )
        ax.set_aspect("equal")
        ax.legend(frameon=False, loc="upper left")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_points(self, ax: Axes, label: str, given: dict[str, Any]) -> None:
        """Draw the groups, with another marker for each display on the same axes."""
        marker = _MARKERS[len(ax.containers) % len(_MARKERS)]
        defaults = {"marker": marker, "markersize": 5.5, "linewidth": 1.5, "linestyle": "-"}
        line, _, (self.interval_lines_,) = ax.errorbar(
            self.predicted,
            self.observed,
            yerr=abs(self.conf_int - self.observed),
            elinewidth=1,
            capsize=2.5,
            **line_options(given, **defaults, label=label),
        )
        assert line is not None  # as there is a marker
        self.line_ = line

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        time: float,
        n_groups: int = 10,
        entry: Any = None,
        stratum: Any = None,
        ref_line: bool = True,
        time_unit: str | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the calibration of a model.

        Parameters
        ----------
        estimator : fitted estimator
            Model with `predict_survival_function`, as in scikit-survival, or a pipeline or a search
            that ends in one.
        X : array-like of shape (n_samples, n_features)
            Samples, best not those of the fit.
        y : structured array of shape (n_samples,)
            Event indicator and time of the samples, or lower and upper bounds of their times.
        time : float
            Time at which survival is predicted, within the domain of the predicted functions and
            the follow-up of each group.
        n_groups : int, default=10
            Number of groups, of about equal size.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation) of the samples.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.
        ref_line : bool, default=True
            Whether to draw the diagonal.
        time_unit : str, optional
            Unit of the time for the labels.
        name : str, optional
            Name of the model for the legend; by default its class.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones. Several displays may share them.
        **kwargs
            Options of the points and the line through them, see `matplotlib.lines.Line2D`.

        Returns
        -------
        SurvivalCalibrationDisplay
            The display, drawn.
        """
        check_number("time", time, float, 0)
        functions = checks.predict_functions(estimator, X, **strata_given(stratum))
        return cls.from_predictions(
            y,
            checks.evaluate(functions, np.array([time]), "time")[:, 0],
            time=time,
            n_groups=n_groups,
            entry=entry,
            ref_line=ref_line,
            time_unit=time_unit,
            name=type(checks.final_step(estimator)).__name__ if name is None else name,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        survival: Any,
        *,
        time: float,
        n_groups: int = 10,
        entry: Any = None,
        ref_line: bool = True,
        time_unit: str | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the calibration of predicted survival.

        Parameters
        ----------
        y : structured array of shape (n_samples,)
            Event indicator and time of the samples, or lower and upper bounds of their times.
        survival : array-like of shape (n_samples,)
            Predicted survival at the time, the probability that the event is later.
        time : float
            Time of the predictions, within the follow-up of each group.
        n_groups : int, default=10
            Number of groups, of about equal size.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation) of the samples.
        ref_line : bool, default=True
            Whether to draw the diagonal.
        time_unit : str, optional
            Unit of the time for the labels.
        name : str, optional
            Name of the model for the legend.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones. Several displays may share them.
        **kwargs
            Options of the points and the line through them, see `matplotlib.lines.Line2D`.

        Returns
        -------
        SurvivalCalibrationDisplay
            The display, drawn.
        """
        check_number("time", time, float, 0)
        outcome = checks.check_outcome(y, entry, None, cls.__name__)
        survival = checks.check_survival(checks.check_finite("survival", survival, len(outcome[0])))
        codes = quantile_groups(survival, n_groups)
        group_size = np.bincount(codes)
        observed, conf_int = _estimate(outcome, codes, time)
        display = cls(
            np.bincount(codes, weights=survival) / group_size,
            observed,
            conf_int,
            time=time,
            group_size=group_size,
            method="Turnbull" if len(outcome) == 2 else "Kaplan-Meier",
            name=name,
        )
        return display.plot(ax, ref_line=ref_line, time_unit=time_unit, **kwargs)


def _estimate(outcome: Outcome, codes: Array, time: float) -> tuple[Array, Array]:
    """Return the estimate of each group at a time, and the intervals or ranges."""
    n_groups = int(codes.max()) + 1
    found = []
    for code in range(n_groups):
        curve = estimate(outcome, codes == code)
        at_time = survival_at(curve, time)
        if at_time is None:
            raise ValueError(
                f"`time` must be within the follow-up of each group, got {time:g}. That of group "
                f"{code + 1} of {n_groups}, by ascending predicted survival, ends with a "
                f"censoring at {last_time(curve):g}. Take an earlier time, or fewer groups."
            )
        found.append(at_time)
    observed, conf_int = zip(*found, strict=True)
    return np.array(observed), np.column_stack(conf_int)
