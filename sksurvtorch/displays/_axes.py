"""What the displays draw with: axes, labels, curves of Kaplan-Meier and Turnbull."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sksurvtorch.displays._estimates import Array, KaplanMeier, last_time
from sksurvtorch.metrics import Turnbull

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.lines import Line2D

#: How curves differ where there is no colour.
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (1, 3)))
_CORNERS: tuple[Any, ...] = ("lower left", "upper right", "upper left", "lower right")
# The edge of a band is thin: how many hundredths of the width of the axes a curve has to cover to
# be as much in the way.
_EDGE = 5
# Iterations leave intervals with less than can be seen.
_VISIBLE = 1e-6


def make_axes(ax: Axes | None, caller: object, *, width: float = 6.4) -> Axes:
    """Return the axes to draw on, in a new figure unless they are given."""
    if ax is None:
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise ImportError(
                f"`{type(caller).__name__}.plot` needs matplotlib. Install it with "
                '`pip install "sksurvtorch[plot]"`.'
            ) from error
        ax = pyplot.subplots(figsize=(width, 4.8), layout="constrained")[1]
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def line_options(given: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    """Return options of a line, those that are given before the defaults; ``lw`` is linewidth."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    return defaults | normalize_kwargs(given, Line2D)


def time_label(time_unit: str | None) -> str:
    """Return the label of an axis of time."""
    return "Time" if time_unit is None else f"Time ({time_unit})"


def label_survival(ax: Axes, time_unit: str | None) -> None:
    """Label axes of survival over time, and show all of it."""
    ax.set(xlabel=time_label(time_unit), ylabel="Survival probability", ylim=(0, 1.02))


def draw_curve(
    ax: Axes, curve: KaplanMeier | Turnbull, **options: Any
) -> tuple[Line2D, PolyCollection]:
    """Draw an estimate of survival: a line, and what surrounds it."""
    if isinstance(curve, Turnbull):
        return _draw_turnbull(ax, curve, **options)
    return _draw_kaplan_meier(ax, curve, **options)


def _draw_kaplan_meier(
    ax: Axes, curve: KaplanMeier, **options: Any
) -> tuple[Line2D, PolyCollection]:
    """Draw a Kaplan-Meier curve, which starts with 1 at time 0, and its band."""
    times, survival, conf_int = curve
    times, survival = np.append(0.0, times), np.append(1.0, survival)
    lower, upper = np.column_stack([[1.0, 1.0], conf_int])
    (line,) = ax.step(times, survival, where="post", **options)
    band = ax.fill_between(
        times, lower, upper, step="post", color=line.get_color(), alpha=0.18, linewidth=0
    )
    return line, band


def _draw_turnbull(ax: Axes, curve: Turnbull, **options: Any) -> tuple[Line2D, PolyCollection]:
    """Draw Turnbull's estimate: a line where it is determined, and boxes where it is not.

    Survival falls somehow from the upper left corner of a box to its lower right one. The line ends
    where nothing is known of later times.
    """
    seen = (curve.mass > _VISIBLE) & np.isfinite(curve.right)
    before = np.append(1.0, curve.survival[:-1])[seen]
    left, right, after = curve.left[seen], curve.right[seen], curve.survival[seen]
    broken = np.where(left == right, left, np.nan)  # no line within a box
    last = after[-1] if len(after) else 1.0
    x = np.concatenate([[0.0], np.column_stack([left, broken, right]).ravel(), [last_time(curve)]])
    y = np.concatenate([[1.0], np.column_stack([before, before, after]).ravel(), [last]])
    (line,) = ax.plot(x, y, **options)
    wide = left < right
    x = np.column_stack([left, right, right])[wide].ravel()
    gap = np.tile([False, False, True], int(wide.sum()))
    low, high = (np.where(gap, np.nan, np.repeat(edge[wide], 3)) for edge in (after, before))
    boxes = ax.fill_between(x, low, high, color=line.get_color(), alpha=0.18, linewidth=0)
    return line, boxes


def draw_legend(ax: Axes, *lines: Line2D, **options: Any) -> None:
    """Draw the legend in the corner that lines, of these axes or a twin, and bands leave free."""
    # With loc="best" matplotlib heeds one of two twins, and is slow for many points.
    options |= {"loc": _CORNERS[0], "frameon": False}
    legend = ax.legend(**options)
    box = legend.get_window_extent().transformed(ax.transAxes.inverted())
    across = np.linspace(0, 1, 101)
    taken = dict.fromkeys(_CORNERS, 0)
    for line in lines:
        height = _heights(ax, line, across)
        for corner in _CORNERS:
            upper, right = corner.startswith("upper"), corner.endswith("right")
            near = (across > 1 - box.x1) if right else (across < box.x1)
            inside = (height > 1 - box.y1) if upper else (height < box.y1)
            taken[corner] += int((near & inside).sum())
    for corner in _CORNERS:
        taken[corner] += _EDGE * _count_edges(ax, corner, box.x1, box.y1)
    legend.set_loc(min(_CORNERS, key=taken.__getitem__))


def _count_edges(ax: Axes, corner: str, width: float, height: float) -> int:
    """Count the bands whose edge runs through a corner, of a size in shares of the axes."""
    from matplotlib.collections import PolyCollection
    from matplotlib.transforms import Bbox

    x = 1 - width if corner.endswith("right") else 0
    y = 1 - height if corner.startswith("upper") else 0
    box = Bbox.from_bounds(x, y, width, height)
    bands = [band for band in ax.collections if isinstance(band, PolyCollection)]
    to_shares = ax.transData - ax.transAxes
    paths = [to_shares.transform_path(path) for band in bands for path in band.get_paths()]
    return sum(path.intersects_bbox(box, filled=False) for path in paths)


def _heights(ax: Axes, line: Line2D, across: Array) -> Array:
    """Return where a line runs, in shares of the axes; NaN where it does not."""
    points = np.asarray(line.get_xydata())
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return np.full(across.shape, np.nan)
    x, y = ax.transAxes.inverted().transform(line.get_transform().transform(points)).T
    height: Array = np.interp(across, x, y, left=np.nan, right=np.nan)
    return height
