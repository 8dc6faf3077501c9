"""D-calibration: where on their predicted curves samples have their events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sksurvtorch.displays import _checks as checks
from sksurvtorch.displays._axes import LINE_STYLES, make_axes
from sksurvtorch.displays._estimates import Array
from sksurvtorch.displays._given import strata_given
from sksurvtorch.metrics import (
    DCalibration,
    d_calibration,
    d_calibration_interval_censored,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D
    from matplotlib.patches import StepPatch

_EXPECTED = "Perfectly calibrated"
# What to do about times after the last one at which all predictions are defined.
_OF_TIMES = "Censor later ones at {:g}, until when these samples are known to have no event."
_OF_BOUNDS = "Set later lower bounds to {:g} and later upper ones to infinity: that is true, too."


class DCalibrationDisplay:
    """Histogram of the predicted survival of each sample at the time of its own event.

    If predictions are calibrated, each bin has the same share of the samples, up to chance. Too
    many samples at high survival mean that survival is predicted too high, too many at low survival
    that it is predicted too low. Too few at both ends mean that curves are too flat, too many at
    both ends that they are too steep. The legend shows the p-value of the test. Make one with
    `from_estimator` or `from_predictions`.

    Parameters
    ----------
    result : DCalibration
        Shares, statistic and p-value, as `sksurvtorch.metrics.d_calibration` returns them.
    name : str, optional
        Name of the model for the legend.

    Attributes
    ----------
    bars_ : matplotlib.patches.StepPatch
        Bars of the shares, from low survival to high.
    expected_line_ : matplotlib.lines.Line2D, or None
        Share that is expected in each bin.
    ax_ : matplotlib.axes.Axes
        Axes.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.

    See Also
    --------
    sksurvtorch.metrics.d_calibration : The test, and what its result means.
    SurvivalCalibrationDisplay : Predicted and observed survival at one time, by groups.

    Notes
    -----
    The event of a censored sample is later, where its predicted survival is lower than at its
    censoring: the sample counts as spread evenly over the range from 0 to that value [1]_. This
    spreading makes bars more equal, so where many samples are censored the bars are nearly equal
    for poor predictions, too. An event between two times counts as spread evenly over the range of
    the survival predicted there. Late entry is not taken into account.

    References
    ----------
    .. [1] H. Haider, B. Hoehn, S. Davis, R. Greiner, "Effective ways to build and evaluate
       individual survival distributions", JMLR 21(85), 2020.

    Examples
    --------
    Two events, and a sample that is censored at a survival of 0.5, which belongs to the lower half:

    >>> from sksurv.util import Surv
    >>> from sksurvtorch.displays import DCalibrationDisplay
    >>> y = Surv.from_arrays([True, True, False], [3, 1, 2])
    >>> display = DCalibrationDisplay.from_predictions(y, [0.2, 0.9, 0.5], n_bins=2)
    >>> display.result.shares
    array([0.66666667, 0.33333333])
    >>> display.bars_.get_label()
    'Samples, p = 0.56'
    """

    bars_: StepPatch
    expected_line_: Line2D | None
    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(self, result: DCalibration, *, name: str | None = None) -> None:
        self.result = result
        self.name = name

    def plot(
        self,
        ax: Axes | None = None,
        *,
        ref_line: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones. Several displays may share them.
        ref_line : bool, default=True
            Whether to draw the share that is expected in each bin.
        name : str, optional
            Name of the model for the legend, in place of that of the display.
        **kwargs
            Options of the bars, see `matplotlib.patches.Patch`.

        Returns
        -------
        self
            The display, with the attributes that end in an underscore.
        """
        ax = make_axes(ax, self)
        n_bins = len(self.result.shares)
        self.expected_line_ = None
        if ref_line:
            first = _EXPECTED not in ax.get_legend_handles_labels()[1]
            self.expected_line_ = ax.axhline(
                1 / n_bins,
                color="0.35",
                linewidth=1,
                linestyle=":",
                label=_EXPECTED if first else "_",
            )
        self._draw_bars(ax, self.name if name is None else name, kwargs)
        ax.set(
            xlabel="Predicted survival at the time of the event",
            ylabel="Share of the samples",
            xlim=(0, 1),
        )
        # Room for the legend above the bars of all displays on these axes.
        ax.set_ylim(0, 1.4 * max(patch.get_data().values.max() for patch in _bars_on(ax)))
        ax.legend(frameon=False, loc="upper center")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_bars(self, ax: Axes, name: str | None, given: dict[str, Any]) -> None:
        """Draw the bars as one outline; each display on the axes has its own colour and style."""
        from matplotlib.colors import to_rgba

        shares, p_value = self.result.shares, self.result.pvalue
        number = len(_bars_on(ax))
        given = dict(given)
        color = given.pop("color", f"C{number % 10}")
        chance = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
        options: dict[str, Any] = {
            "facecolor": to_rgba(color, 0.16),
            "edgecolor": color,
            "linewidth": 1.8,
            "linestyle": LINE_STYLES[number % len(LINE_STYLES)],
            "label": f"{'Samples' if name is None else name}, {chance}",
        }
        edges = np.linspace(0, 1, len(shares) + 1)
        self.bars_ = ax.stairs(shares, edges, fill=True, **options | given)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_bins: int = 10,
        stratum: Any = None,
        ref_line: bool = True,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the D-calibration of a model.

        Parameters
        ----------
        estimator : fitted estimator
            Model with `predict_survival_function`, as in scikit-survival, or a pipeline or a search
            that ends in one.
        X : array-like of shape (n_samples, n_features)
            Samples, best not those of the fit.
        y : structured array of shape (n_samples,)
            Event indicator and time of the samples, or lower and upper bounds of their times, each
            within the domain of its predicted function, 0 and infinity apart.
        n_bins : int, default=10
            Number of bins, of equal width.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.
        ref_line : bool, default=True
            Whether to draw the share that is expected in each bin.
        name : str, optional
            Name of the model for the legend; by default its class.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones. Several displays may share them.
        **kwargs
            Options of the bars, see `matplotlib.patches.Patch`.

        Returns
        -------
        DCalibrationDisplay
            The display, drawn.
        """
        functions = checks.predict_functions(estimator, X, **strata_given(stratum))
        name = type(checks.final_step(estimator)).__name__ if name is None else name
        outcome = checks.check_outcome(y, None, len(functions), cls.__name__)
        if len(outcome) == 2:
            ends = _at_own_bounds(functions, *outcome)
            result = d_calibration_interval_censored(*ends, n_bins=n_bins)
        else:
            event, time, _ = outcome
            result = d_calibration(event, _at_own_times(functions, time), n_bins=n_bins)
        return cls(result, name=name).plot(ax, ref_line=ref_line, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        survival: Any,
        *,
        n_bins: int = 10,
        ref_line: bool = True,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the D-calibration of predicted survival.

        Parameters
        ----------
        y : structured array of shape (n_samples,)
            Event indicator and time of the samples, or lower and upper bounds of their times. The
            times do not matter.
        survival : array-like of shape (n_samples,) or (n_samples, 2)
            Predicted survival of each sample at its own time, of the event or of the censoring. For
            bounds a column each: at the lower one, and at the upper one, 0 if that is infinite.
        n_bins : int, default=10
            Number of bins, of equal width.
        ref_line : bool, default=True
            Whether to draw the share that is expected in each bin.
        name : str, optional
            Name of the model for the legend.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones. Several displays may share them.
        **kwargs
            Options of the bars, see `matplotlib.patches.Patch`.

        Returns
        -------
        DCalibrationDisplay
            The display, drawn.
        """
        outcome = checks.check_outcome(y, None, None, cls.__name__)
        if len(outcome) == 2:
            ends = _columns(survival, len(outcome[0]))
            result = d_calibration_interval_censored(*ends, n_bins=n_bins)
        else:
            result = d_calibration(outcome[0], survival, n_bins=n_bins)
        return cls(result, name=name).plot(ax, ref_line=ref_line, **kwargs)


def _bars_on(ax: Axes) -> Sequence[Any]:
    """Return the bars of all displays on some axes."""
    from matplotlib.patches import StepPatch

    return [patch for patch in ax.patches if isinstance(patch, StepPatch)]


def _columns(survival: Any, n_samples: int) -> tuple[Array, Array]:
    """Return survival at the lower bounds and at the upper ones."""
    checked = np.asarray(survival, dtype=float)
    if checked.shape != (n_samples, 2):
        raise ValueError(
            f"`survival` must have shape ({n_samples}, 2), for the lower and the upper bound of "
            f"each sample, got {checked.shape}."
        )
    return checked[:, 0], checked[:, 1]


def _at_own_bounds(functions: Any, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Return each function at the bounds of its own sample, 1 at 0 and 0 at infinity."""
    ends = np.ones(len(lower)), np.zeros(len(lower))
    for time, end, rows in zip((lower, upper), ends, (lower > 0, upper < np.inf), strict=True):
        own = [function for function, given in zip(functions, rows, strict=True) if given]
        if own:
            end[rows] = _at_own_times(own, time[rows], _OF_BOUNDS)
    return ends


def _at_own_times(functions: Any, time: Array, hint: str = _OF_TIMES) -> Array:
    """Return each function at the time of its own sample."""
    low, high = checks.common_domain(functions)
    bad = (time < low) | (time > high)
    if bad.any():
        raise ValueError(
            f"`y` must have times within [{low:g}, {high:g}], where all predicted survival "
            f"functions are defined, got {time[bad][0]:g} ({bad.sum()} of {len(time)}). "
            + hint.format(high)
        )
    values = [
        np.atleast_1d(function(own))[0] for function, own in zip(functions, time, strict=True)
    ]
    return np.array(values, dtype=float)
