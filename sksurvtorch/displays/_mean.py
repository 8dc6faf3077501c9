"""The mean of all samples, and the band between their quantiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sksurvtorch.displays._axes import line_options
from sksurvtorch.displays._estimates import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.lines import Line2D

#: Quantiles of the samples between which the band lies, unless others are given.
QUANTILES = (0.05, 0.95)


def check_quantiles(quantiles: Any, *, with_mean: bool) -> None:
    """Raise unless there are none, or two that ascend; without a mean they stay the default."""
    if quantiles is None:
        return
    pair = np.asarray(quantiles)
    numbers = pair.shape == (2,) and pair.dtype.kind in "iuf"
    if not (numbers and 0 <= pair[0] < pair[1] <= 1):
        raise ValueError(
            f"`quantiles` must be two ascending numbers within [0, 1] or None, got {quantiles!r}."
        )
    if not with_mean and tuple(pair) != QUANTILES:
        raise ValueError(
            f"`quantiles` must be left out where there are bounds, got {quantiles!r}. They are "
            "those of the band of the mean, which is not drawn then."
        )


def draw_mean(
    ax: Axes,
    times: Array,
    survival: Array,
    quantiles: tuple[float, float] | None,
    name: str,
    given: dict[str, Any],
) -> tuple[Line2D, PolyCollection | None]:
    """Draw the mean and the band; one sample alone is its own mean, and has no quantiles."""
    one = len(survival) == 1
    options = line_options(given, linewidth=2.2, label=name if one else f"{name}, mean")
    (line,) = ax.plot(times, survival.mean(axis=0), **options)
    if quantiles is None or one:
        return line, None
    low, high = (f"{100 * quantile:g}" for quantile in quantiles)
    band = ax.fill_between(
        times,
        *np.quantile(survival, quantiles, axis=0),
        color=line.get_color(),
        alpha=0.22,
        linewidth=0,
        label=f"{name}, {low} % to {high} % of the samples",
    )
    return line, band
