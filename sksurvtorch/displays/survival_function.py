"""Predicted survival over time, beside Kaplan-Meier."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sksurvtorch._validation import check_number
from sksurvtorch.displays import _checks as checks
from sksurvtorch.displays._axes import (
    draw_kaplan_meier,
    draw_legend,
    label_survival,
    line_options,
    make_axes,
)
from sksurvtorch.displays._estimates import Array, KaplanMeier, kaplan_meier

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

# Enough for a step to look like one.
_N_TIMES = 501


class SurvivalFunctionDisplay:
    """Mean of the predicted survival functions, with a band that holds most of them.

    Beside it stands the Kaplan-Meier curve of the same samples, if their `y` is given: the mean of
    well calibrated predictions follows it. Make one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    survival : array of shape (n_samples, n_times)
        Predicted survival, the probability that the event is later.
    times : array of shape (n_times,)
        Times, ascending.
    kaplan_meier : tuple of three arrays, optional
        Times, survival and confidence interval, as `sksurv.nonparametric.kaplan_meier_estimator`
        returns them.
    name : str, optional
        Name of the model for the legend.

    Attributes
    ----------
    line_ : matplotlib.lines.Line2D
        Mean.
    band_ : matplotlib.collections.PolyCollection, or None
        Band between the quantiles.
    sample_lines_ : list of matplotlib.lines.Line2D
        Single samples.
    kaplan_meier_line_ : matplotlib.lines.Line2D, or None
        Kaplan-Meier curve.
    kaplan_meier_band_ : matplotlib.collections.PolyCollection, or None
        Its pointwise 95 % confidence band.
    ax_ : matplotlib.axes.Axes
        Axes.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.

    See Also
    --------
    SurvivalCalibrationDisplay : Predicted and observed survival at one time, by groups.

    Notes
    -----
    The first band is the spread of the predictions over the samples, the second one the uncertainty
    of the Kaplan-Meier estimate: the one says nothing about the other. With late entry the
    Kaplan-Meier estimate is conditional on being free of the event at the first entry.

    Examples
    --------
    >>> from sksurv.datasets import load_whas500
    >>> from sksurv.linear_model import CoxPHSurvivalAnalysis
    >>> from sksurvtorch.displays import SurvivalFunctionDisplay
    >>> X, y = load_whas500()
    >>> X = X[["age", "bmi"]].astype(float)
    >>> model = CoxPHSurvivalAnalysis().fit(X, y)
    >>> display = SurvivalFunctionDisplay.from_estimator(model, X, y, time_unit="days")
    >>> display.ax_.get_xlabel()
    'Time (days)'
    >>> display.survival.shape == (500, len(display.times))
    True
    """

    line_: Line2D
    band_: PolyCollection | None
    sample_lines_: list[Line2D]
    kaplan_meier_line_: Line2D | None
    kaplan_meier_band_: PolyCollection | None
    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self,
        survival: Array,
        times: Array,
        *,
        kaplan_meier: KaplanMeier | None = None,
        name: str | None = None,
    ) -> None:
        self.survival = survival
        self.times = times
        self.kaplan_meier = kaplan_meier
        self.name = name

    def plot(
        self,
        ax: Axes | None = None,
        *,
        quantiles: tuple[float, float] | None = (0.05, 0.95),
        samples: Any = 0,
        time_unit: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones.
        quantiles : pair of floats or None, default=(0.05, 0.95)
            Quantiles over the samples, at each time, between which the band lies; None for no band.
        samples : int or array of int, default=0
            Samples to draw one by one: the indices of some, or the number of them. These are then
            spread evenly over the samples in the order of their mean survival.
        time_unit : str, optional
            Unit of the time for the label of its axis.
        name : str, optional
            Name of the model for the legend, in place of that of the display.
        **kwargs
            Options of the line of the mean, see `matplotlib.lines.Line2D`.

        Returns
        -------
        self
            The display, with the attributes that end in an underscore.
        """
        _check_quantiles(quantiles)
        chosen = self._choose(samples)
        ax = make_axes(ax, self)
        name = self.name if name is None else name
        self._draw_predictions(ax, "Predicted" if name is None else name, quantiles, kwargs)
        self.sample_lines_ = ax.plot(
            self.times,
            self.survival[chosen].T,
            color=self.line_.get_color(),
            alpha=0.6,
            linewidth=0.7,
        )
        self._draw_kaplan_meier(ax)
        label_survival(ax, time_unit)
        ax.set_xlim(left=0)
        curves = [self.line_, *self.sample_lines_, self.kaplan_meier_line_]
        draw_legend(ax, *(line for line in curves if line is not None))
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_predictions(
        self,
        ax: Axes,
        label: str,
        quantiles: tuple[float, float] | None,
        given: dict[str, Any],
    ) -> None:
        """Draw the mean and the band."""
        options = line_options(given, linewidth=2.2, label=f"{label}, mean")
        (self.line_,) = ax.plot(self.times, self.survival.mean(axis=0), **options)
        self.band_ = None
        if quantiles is not None:
            low, high = (f"{100 * quantile:g}" for quantile in quantiles)
            self.band_ = ax.fill_between(
                self.times,
                *np.quantile(self.survival, quantiles, axis=0),
                color=self.line_.get_color(),
                alpha=0.22,
                linewidth=0,
                label=f"{label}, {low} % to {high} % of the samples",
            )

    def _draw_kaplan_meier(self, ax: Axes) -> None:
        """Draw the Kaplan-Meier curve, if there is one."""
        self.kaplan_meier_line_ = self.kaplan_meier_band_ = None
        if self.kaplan_meier is not None:
            self.kaplan_meier_line_, self.kaplan_meier_band_ = draw_kaplan_meier(
                ax, self.kaplan_meier, color="black", linewidth=1.2, linestyle="--"
            )
            self.kaplan_meier_line_.set_label("Kaplan-Meier")
            self.kaplan_meier_band_.set_label("Kaplan-Meier, 95 % confidence")

    def _choose(self, samples: Any) -> Array:
        """Return the indices of samples to draw."""
        n_samples = len(self.survival)
        if isinstance(samples, Integral):
            check_number("samples", samples, int, 0, n_samples + 1)
            number = int(samples)
            ranks = (2 * np.arange(number) + 1) * n_samples // (2 * max(1, number))
            order: Array = np.argsort(self.survival.mean(axis=1), kind="stable")
            return order[ranks]
        chosen = np.asarray(samples)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
            raise TypeError(f"`samples` must be an integer or an array of them, got {samples!r}.")
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < n_samples:
            raise ValueError(
                f"`samples` must hold indices from 0 to {n_samples - 1}, got from {chosen.min()} "
                f"to {chosen.max()}."
            )
        return chosen

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        times: Any = None,
        entry: Any = None,
        quantiles: tuple[float, float] | None = (0.05, 0.95),
        samples: Any = 0,
        time_unit: str | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the survival that a model predicts.

        Parameters
        ----------
        estimator : fitted estimator
            Model with `predict_survival_function`, as in scikit-survival, or a pipeline or a search
            that ends in one.
        X : array-like of shape (n_samples, n_features)
            Samples.
        y : structured array of shape (n_samples,), optional
            Event indicator and time of the samples, for their Kaplan-Meier curve.
        times : array-like of shape (n_times,), optional
            Times at which to predict, ascending; by default 501 from the first to the last time at
            which all predicted functions are defined. Where they have no end, the last training
            time takes its place.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation) of the samples, for the Kaplan-Meier curve.
        quantiles : pair of floats or None, default=(0.05, 0.95)
            Quantiles over the samples between which the band lies.
        samples : int or array of int, default=0
            Samples to draw one by one, see `plot`.
        time_unit : str, optional
            Unit of the time for the label of its axis.
        name : str, optional
            Name of the model for the legend; by default its class.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones.
        **kwargs
            Options of the line of the mean, see `matplotlib.lines.Line2D`.

        Returns
        -------
        SurvivalFunctionDisplay
            The display, drawn.
        """
        functions = checks.predict_functions(estimator, X)
        if times is None:
            low, high = checks.common_domain(functions)
            if high == np.inf:
                high = max(function.x[-1] for function in functions)
            times = np.linspace(low, high, _N_TIMES)
        times = checks.check_times(times)
        return cls.from_predictions(
            checks.evaluate(functions, times, "times"),
            times,
            y,
            entry=entry,
            quantiles=quantiles,
            samples=samples,
            time_unit=time_unit,
            name=type(checks.final_step(estimator)).__name__ if name is None else name,
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        survival: Any,
        times: Any,
        y: Any = None,
        *,
        entry: Any = None,
        quantiles: tuple[float, float] | None = (0.05, 0.95),
        samples: Any = 0,
        time_unit: str | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw predicted survival.

        Parameters
        ----------
        survival : array-like of shape (n_samples, n_times)
            Predicted survival, the probability that the event is later.
        times : array-like of shape (n_times,)
            Times, ascending; straight lines connect the values there.
        y : structured array of shape (n_samples,), optional
            Event indicator and time of the samples, for their Kaplan-Meier curve.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation) of the samples, for the Kaplan-Meier curve.
        quantiles : pair of floats or None, default=(0.05, 0.95)
            Quantiles over the samples between which the band lies.
        samples : int or array of int, default=0
            Samples to draw one by one, see `plot`.
        time_unit : str, optional
            Unit of the time for the label of its axis.
        name : str, optional
            Name of the model for the legend.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones.
        **kwargs
            Options of the line of the mean, see `matplotlib.lines.Line2D`.

        Returns
        -------
        SurvivalFunctionDisplay
            The display, drawn.
        """
        times = checks.check_times(times)
        survival = checks.check_survival(survival)
        if survival.ndim != 2 or survival.shape[1] != len(times) or not len(survival):
            raise ValueError(
                f"`survival` must have shape (n_samples, {len(times)}), a column for each of "
                f"`times`, got {survival.shape}."
            )
        curve = None
        if y is not None:
            curve = kaplan_meier(*checks.check_y(y, entry, len(survival), cls.__name__))
        elif entry is not None:
            raise ValueError("`entry` must come with `y`, got no y.")
        display = cls(survival, times, kaplan_meier=curve, name=name)
        return display.plot(ax, quantiles=quantiles, samples=samples, time_unit=time_unit, **kwargs)


def _check_quantiles(quantiles: Any) -> None:
    """Raise unless there are none, or two that ascend."""
    if quantiles is None:
        return
    pair = np.asarray(quantiles)
    numbers = pair.shape == (2,) and pair.dtype.kind in "iuf"
    if not (numbers and 0 <= pair[0] < pair[1] <= 1):
        raise ValueError(
            f"`quantiles` must be two ascending numbers within [0, 1] or None, got {quantiles!r}."
        )
