"""Predicted survival over time, beside Kaplan-Meier or Turnbull."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sksurvtorch.displays import _bands as bands
from sksurvtorch.displays import _checks as checks
from sksurvtorch.displays._axes import (
    draw_curve,
    draw_legend,
    label_survival,
    make_axes,
)
from sksurvtorch.displays._estimates import Array, KaplanMeier, estimate
from sksurvtorch.displays._given import entry_given, first_time, options_given
from sksurvtorch.displays._mean import QUANTILES, check_quantiles, draw_mean
from sksurvtorch.displays._samples import choose_for_bands, choose_samples
from sksurvtorch.metrics import Turnbull

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

# Enough for a step to look like one.
_N_TIMES = 501


class SurvivalFunctionDisplay:
    """Predicted survival over time, beside the Kaplan-Meier curve.

    It answers one of two questions:

    * Without bounds: do the predictions agree with the data? The display shows the mean prediction
      of all samples, and a band that most of their predictions are in. If `y` is given, the
      Kaplan-Meier curve of the samples is drawn too; the mean of well calibrated predictions
      follows it. Of interval-censored times it is Turnbull's estimate.
    * With bounds: how well is the curve of a sample known? The display shows the curve of each
      sample, and the band between its bounds.

    Make one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    survival : array of shape (n_samples, n_times)
        Predicted survival, the probability that the event is later.
    times : array of shape (n_times,)
        Times, ascending.
    kaplan_meier : tuple of three arrays, optional
        Times, survival and confidence interval, as `sksurv.nonparametric.kaplan_meier_estimator`
        returns them.
    turnbull : Turnbull, optional
        Estimate of interval-censored times, as `sksurvtorch.metrics.turnbull` returns it.
    bounds : pair of arrays of shape (n_samples, n_times), optional
        Lower and upper bounds of survival.
    level : float, optional
        Level of the bounds, between 0 and 1, for the legend.
    name : str, optional
        Name of the model for the legend.

    Attributes
    ----------
    line_ : matplotlib.lines.Line2D, or None
        Mean of the samples; None if there are bounds.
    band_ : matplotlib.collections.PolyCollection, or None
        Band between the quantiles of the samples; None if there are bounds, no quantiles, or one
        sample.
    sample_lines_ : list of matplotlib.lines.Line2D
        Curves of single samples.
    sample_bands_ : list of matplotlib.collections.PolyCollection
        Bands between the bounds of these samples; empty if there are no bounds.
    kaplan_meier_line_ : matplotlib.lines.Line2D, or None
        Kaplan-Meier curve.
    kaplan_meier_band_ : matplotlib.collections.PolyCollection, or None
        Pointwise 95 % confidence band of the Kaplan-Meier curve, on the log-log scale.
    turnbull_line_ : matplotlib.lines.Line2D, or None
        Turnbull's estimate where it is determined.
    turnbull_boxes_ : matplotlib.collections.PolyCollection, or None
        Boxes where it is not: survival falls somehow from the upper left corner to the lower right.
    ax_ : matplotlib.axes.Axes
        Axes.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.

    See Also
    --------
    SurvivalCalibrationDisplay : Predicted and observed survival at one time, by groups.
    DCalibrationDisplay : Calibration over all times.
    sksurvtorch.CoxNNRegressor.predict_survival_interval : Bounds of survival.

    Notes
    -----
    The three bands have different meanings. That of the mean shows how much predictions differ
    between samples. That of a single sample shows how uncertain its predicted curve is. That of the
    Kaplan-Meier curve shows how uncertain this estimate is.

    With bounds no mean is drawn, since bounds of the mean cannot be computed from those of the
    samples: the errors of their predictions are correlated.

    Turnbull's estimate has no confidence band: the boxes show where the data leave it open, and not
    how uncertain it is.

    With late entry the Kaplan-Meier estimate is conditional on being free of the event at the
    earliest entry.

    Examples
    --------
    The mean prediction, with the Kaplan-Meier curve:

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

    The curve of one patient, with a band that is meant to contain the true curve, at each time,
    with a probability of 90 %:

    >>> from sksurvtorch import CoxNNRegressor
    >>> ensemble = CoxNNRegressor(n_estimators=5, max_epochs=2, random_state=0).fit(X, y)
    >>> display = SurvivalFunctionDisplay.from_estimator(ensemble, X[:1], level=0.9)
    >>> display.ax_.get_legend().get_texts()[0].get_text()
    'CoxNNRegressor, with 90 % band'
    """

    line_: Line2D | None
    band_: PolyCollection | None
    sample_lines_: list[Line2D]
    sample_bands_: list[PolyCollection]
    kaplan_meier_line_: Line2D | None
    kaplan_meier_band_: PolyCollection | None
    turnbull_line_: Line2D | None
    turnbull_boxes_: PolyCollection | None
    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self,
        survival: Array,
        times: Array,
        *,
        kaplan_meier: KaplanMeier | None = None,
        turnbull: Turnbull | None = None,
        bounds: bands.Bounds | None = None,
        level: float | None = None,
        name: str | None = None,
    ) -> None:
        self.survival = survival
        self.times = times
        self.kaplan_meier = kaplan_meier
        self.turnbull = turnbull
        self.bounds = bounds
        self.level = level
        self.name = name

    def plot(
        self,
        ax: Axes | None = None,
        *,
        quantiles: tuple[float, float] | None = QUANTILES,
        samples: Any = None,
        time_unit: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones. Several displays may share them.
        quantiles : pair of floats or None, default=(0.05, 0.95)
            The band of the mean lies between these quantiles of the samples at each time; None for
            no band. If there are bounds, leave it out.
        samples : int or array of int, optional
            Samples to draw one by one: their indices, or how many. A number of them is spread
            evenly over all samples in the order of their mean survival. Left out, it is none
            without bounds, and all with bounds; with bounds 7 at most are drawn.
        time_unit : str, optional
            Unit of the time for the label of its axis.
        name : str, optional
            Name of the model for the legend, in place of that of the display.
        **kwargs
            Options of the line of the mean, or with bounds of all lines, see
            `matplotlib.lines.Line2D`.

        Returns
        -------
        self
            The display, with the attributes that end in an underscore.
        """
        check_quantiles(quantiles, with_mean=self.bounds is None)
        choose = choose_samples if self.bounds is None else choose_for_bands
        chosen = choose(samples, self.survival)
        ax = make_axes(ax, self)
        name = self.name if name is None else name
        name = "Predicted" if name is None else name
        if self.bounds is None:
            self.sample_bands_ = []
            self.line_, self.band_ = draw_mean(
                ax, self.times, self.survival, quantiles, name, kwargs
            )
            self.sample_lines_ = ax.plot(
                self.times,
                self.survival[chosen].T,
                color=self.line_.get_color(),
                alpha=0.6,
                linewidth=0.7,
            )
        else:
            self.line_ = self.band_ = None
            self.sample_lines_, self.sample_bands_ = bands.draw_bands(
                ax,
                self.times,
                self.survival[chosen],
                (self.bounds[0][chosen], self.bounds[1][chosen]),
                bands.band_labels(name, chosen, self.level, len(self.survival)),
                kwargs,
            )
        self._draw_observed(ax)
        label_survival(ax, time_unit)
        ax.set_xlim(left=0)
        draw_legend(ax, *ax.lines)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_observed(self, ax: Axes) -> None:
        """Draw the curves that were estimated from the outcome, if there are any."""
        style = {"color": "black", "linewidth": 1.2, "linestyle": "--"}
        self.kaplan_meier_line_ = self.kaplan_meier_band_ = None
        self.turnbull_line_ = self.turnbull_boxes_ = None
        if self.turnbull is not None:
            self.turnbull_line_, self.turnbull_boxes_ = draw_curve(ax, self.turnbull, **style)
            self.turnbull_line_.set_label("Turnbull")
            if self.turnbull_boxes_.get_paths():
                self.turnbull_boxes_.set_label("Turnbull, not determined")
        if self.kaplan_meier is not None:
            curve = draw_curve(ax, self.kaplan_meier, **style)
            self.kaplan_meier_line_, self.kaplan_meier_band_ = curve
            self.kaplan_meier_line_.set_label("Kaplan-Meier")
            self.kaplan_meier_band_.set_label("Kaplan-Meier, 95 % confidence")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        times: Any = None,
        conditional_after: Any = None,
        stratum: Any = None,
        level: float | None = None,
        entry: Any = None,
        quantiles: tuple[float, float] | None = QUANTILES,
        samples: Any = None,
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
            that ends in one. With `level` the model must have `predict_survival_interval` too, as
            the ensembles of this package do.
        X : array-like of shape (n_samples, n_features)
            Samples.
        y : structured array of shape (n_samples,), optional
            Event indicator and time of the samples, for their Kaplan-Meier curve, or lower and
            upper bounds of their times, for Turnbull's estimate.
        times : array-like of shape (n_times,), optional
            Times at which to predict, ascending; straight lines connect the values there. By
            default 501 from the first to the last time at which all predicted functions are
            defined, up to the last training time if they are defined at any time.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time at which a sample is known to be event-free. The curves are given that, and are
            drawn from there on; so is the Kaplan-Meier curve, of samples that are at risk from
            there on. The model has to take it.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.
        level : float, optional
            Level of the bounds, above 0 and below 1, such as 0.9. If given, single samples are
            drawn with bands in place of the mean.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation) of the samples, for the Kaplan-Meier curve.
        quantiles : pair of floats or None, default=(0.05, 0.95)
            The band of the mean lies between these quantiles of the samples. With `level`, leave it
            out.
        samples : int or array of int, optional
            Samples to draw one by one, see `plot`.
        time_unit : str, optional
            Unit of the time for the label of its axis.
        name : str, optional
            Name of the model for the legend; by default its class.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones. Several displays may share them.
        **kwargs
            Options of the line of the mean, or with `level` of all lines, see
            `matplotlib.lines.Line2D`.

        Returns
        -------
        SurvivalFunctionDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the model has no `predict_survival_function`, with `level` no
            `predict_survival_interval`, or if it does not take `conditional_after` or `stratum`.
        ValueError
            If an argument has the wrong content, or if with `level` the model is no ensemble of
            five networks or more.
        """
        method = "predict_survival_function"
        model = checks.model_with(estimator, method)
        given = options_given(model, method, conditional_after, stratum)
        if conditional_after is not None and level is not None:
            raise ValueError(
                f"`level` must be None beside `conditional_after`, got {level!r}. There are bands "
                "of curves from time 0 alone."
            )
        functions = checks.predict_functions(estimator, X, **given)
        if times is None:
            low, high = checks.common_domain(functions)
            if high == np.inf:
                high = max(function.x[-1] for function in functions)
            times = np.linspace(first_time(conditional_after, low, high), high, _N_TIMES)
        times = checks.check_times(times)
        bounds = None
        if level is not None:
            bounds = bands.predict_bounds(estimator, X, level, times, stratum)
        return cls.from_predictions(
            checks.evaluate(functions, times, "times"),
            times,
            y,
            bounds=bounds,
            level=level,
            entry=entry_given(y, entry, conditional_after, cls.__name__),
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
        bounds: tuple[Any, Any] | None = None,
        level: float | None = None,
        entry: Any = None,
        quantiles: tuple[float, float] | None = QUANTILES,
        samples: Any = None,
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
            Event indicator and time of the samples, for their Kaplan-Meier curve, or lower and
            upper bounds of their times, for Turnbull's estimate.
        bounds : pair of array-like of shape (n_samples, n_times), optional
            Lower and upper bounds of survival, as `predict_survival_interval` returns them. If
            given, single samples are drawn with bands in place of the mean.
        level : float, optional
            Level of the bounds, above 0 and below 1, for the legend.
        entry : array-like of shape (n_samples,), optional
            Time of delayed entry (left truncation) of the samples, for the Kaplan-Meier curve.
        quantiles : pair of floats or None, default=(0.05, 0.95)
            The band of the mean lies between these quantiles of the samples. With `bounds`, leave
            it out.
        samples : int or array of int, optional
            Samples to draw one by one, see `plot`.
        time_unit : str, optional
            Unit of the time for the label of its axis.
        name : str, optional
            Name of the model for the legend.
        ax : matplotlib.axes.Axes, optional
            Axes to draw on, in place of new ones. Several displays may share them.
        **kwargs
            Options of the line of the mean, or with `bounds` of all lines, see
            `matplotlib.lines.Line2D`.

        Returns
        -------
        SurvivalFunctionDisplay
            The display, drawn.
        """
        times = checks.check_times(times)
        survival = checks.check_curves(survival, times)
        if bounds is not None:
            bounds = bands.check_bounds(bounds, survival)
        elif level is not None:
            raise ValueError("`level` must come with `bounds`, got no bounds.")
        if level is not None:
            bands.check_level(level)
        if y is None and entry is not None:
            raise ValueError("`entry` must come with `y`, got no y.")
        observed: dict[str, Any] = {}
        if y is not None:
            outcome = checks.check_outcome(y, entry, len(survival), cls.__name__)
            observed["turnbull" if len(outcome) == 2 else "kaplan_meier"] = estimate(outcome)
        display = cls(survival, times, **observed, bounds=bounds, level=level, name=name)
        return display.plot(ax, quantiles=quantiles, samples=samples, time_unit=time_unit, **kwargs)
