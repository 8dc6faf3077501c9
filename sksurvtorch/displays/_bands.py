"""Bands around the curves of single samples: where their bounds come from, how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sksurvtorch._validation import check_number
from sksurvtorch.displays._axes import LINE_STYLES, line_options
from sksurvtorch.displays._checks import ROUNDING, check_survival
from sksurvtorch.displays._estimates import Array
from sksurvtorch.displays._given import strata_given
from sksurvtorch.metrics._last_step import last_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.lines import Line2D

#: Lower and upper bounds of survival, each of shape (n_samples, n_times).
Bounds = tuple[Array, Array]
# A band has steps where its curve has.
_STEPS = {"steps": "pre", "steps-pre": "pre", "steps-mid": "mid", "steps-post": "post"}


def check_level(level: Any) -> None:
    """Raise unless this is a probability above 0 and below 1."""
    check_number("level", level, float, 0, 1, closed=False)


def predict_bounds(estimator: Any, X: Any, level: float, times: Array, stratum: Any) -> Bounds:
    """Return the bounds that a model predicts, or the one at the end of searches and pipelines."""
    check_level(level)
    model, X = last_step(estimator, X, "predict_survival_interval")
    if not hasattr(model, "predict_survival_interval"):
        raise TypeError(
            "`level` must be None for a model without the method `predict_survival_interval`, got "
            f"{level!r} and {type(model).__name__}. Leave it out, or give bounds of your own to "
            "`from_predictions`."
        )
    lower, upper = model.predict_survival_interval(X, level, times=times, **strata_given(stratum))
    return lower, upper


def check_bounds(bounds: Any, survival: Array) -> Bounds:
    """Return lower and upper bounds that hold survival between them."""
    if not isinstance(bounds, (tuple, list, np.ndarray)) or len(bounds) != 2:
        size = f" of length {len(bounds)}" if hasattr(bounds, "__len__") else ""
        raise TypeError(
            f"`bounds` must be a pair of arrays, (lower, upper), got {type(bounds).__name__}{size}."
        )
    lower, upper = (check_survival(bound, "bounds") for bound in bounds)
    for bound in (lower, upper):
        if bound.shape != survival.shape:
            raise ValueError(
                f"`bounds` must each have the shape of `survival`, {survival.shape}, got "
                f"{bound.shape}."
            )
    bad = (survival < lower - ROUNDING) | (survival > upper + ROUNDING)
    if bad.any():
        raise ValueError(
            f"`bounds` must have `survival` between them, got {survival[bad][0]:g} with the bounds "
            f"{lower[bad][0]:g} and {upper[bad][0]:g} ({bad.sum()} of {bad.size}). Pass (lower, "
            "upper), with the samples and times of `survival`."
        )
    return lower, upper


def band_labels(name: str, chosen: Array, level: float | None, n_samples: int) -> list[str]:
    """Return what the legend says of each sample; one alone needs no number."""
    band = "band" if level is None else f"{100 * level:g} % band"
    numbers = [f", sample {sample}" if n_samples > 1 else "" for sample in chosen]
    return [f"{name}{number}, with {band}" for number in numbers]


def draw_bands(
    ax: Axes,
    times: Array,
    survival: Array,
    bounds: Bounds,
    labels: Sequence[str],
    given: dict[str, Any],
) -> tuple[list[Line2D], list[PolyCollection]]:
    """Draw curves with bands, each in a colour and a line style of its own."""
    from matplotlib.container import Container

    lines, bands = [], []
    for curve, lower, upper, label in zip(survival, *bounds, labels, strict=True):
        # Each container is a curve of this kind, also of another display on the same axes.
        style = LINE_STYLES[len(ax.containers) % len(LINE_STYLES)]
        options = line_options(given, linewidth=2.0, linestyle=style, label=label)
        label = options.pop("label")
        (line,) = ax.plot(times, curve, label="_", **options)
        band = _fill(ax, line, times, lower, upper, options["linestyle"])
        # The legend draws the parts of a container over each other: a line on its band.
        ax.add_container(Container((band, line), label=label))
        lines.append(line)
        bands.append(band)
    return lines, bands


def _fill(
    ax: Axes, line: Line2D, times: Array, lower: Array, upper: Array, style: Any
) -> PolyCollection:
    """Fill the band around a curve; its edge still tells it from others where two overlap."""
    from matplotlib.colors import to_rgba

    color: Any = line.get_color()
    step: Any = _STEPS.get(line.get_drawstyle())
    return ax.fill_between(
        times,
        lower,
        upper,
        step=step,
        facecolor=to_rgba(color, 0.16),
        edgecolor=to_rgba(color, 0.55),
        linewidth=0.8,
        linestyle=style,
        zorder=1,
    )
