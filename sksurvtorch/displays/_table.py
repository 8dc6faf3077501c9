"""The table of numbers at risk below an axis of time, which is the legend too."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sksurvtorch.displays._estimates import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation

# Characters in a line of a name, which has the room left of the axes.
_WIDTH = 18
# In sizes of the font: height of a row, length of the piece of a curve before it, gap around that.
_ROW, _PIECE, _GAP = 1.4, 2.6, 0.8


def draw_table(
    ax: Axes, lines: Sequence[Line2D], times: Array, counts: Array, note: str
) -> list[Annotation]:
    """Write a row of numbers for each curve, each number below its tick, and a note above."""
    # Distances are in points, so that all keeps its place in a figure of any size.
    size = float(ax.xaxis.get_ticklabels()[0].get_fontsize())
    below = _depth(ax) + 0.8 * size
    # Numbers are centred on their ticks, and what is left of them ends before the first one.
    indent = size * (0.32 * len(str(counts[:, :1].max(initial=0))) + _GAP)
    left = -indent - (_PIECE + _GAP) * size
    corner, across = ax.transAxes, ax.get_xaxis_transform()
    texts = [
        _write(ax, "Number at risk", (0, 0), (left, -below), corner, "right", size),
        _write(ax, note, (1, 0), (0, -below), corner, "right", size),
    ]
    below += 1.1 * _ROW * size
    for line, row in zip(lines, counts, strict=True):
        name = textwrap.wrap(str(line.get_label()), _WIDTH)
        texts.append(_write(ax, "\n".join(name), (0, 0), (left, -below), corner, "right", size))
        _draw_piece(ax, line, -indent, below + 0.55 * size, size)
        for time, count in zip(times, row, strict=True):
            texts.append(_write(ax, str(count), (time, 0), (0, -below), across, "center", size))
        below += _ROW * size * max(1, len(name))
    return texts


def _write(
    ax: Axes, text: str, at: Any, offset: tuple[float, float], within: Any, side: str, size: float
) -> Annotation:
    """Write a text at an offset in points from a place."""
    return ax.annotate(
        text,
        at,
        xytext=offset,
        xycoords=within,
        textcoords="offset points",
        ha=side,
        va="top",
        fontsize=size,
        annotation_clip=False,
    )


def _draw_piece(ax: Axes, line: Line2D, end: float, below: float, size: float) -> None:
    """Draw a piece of a curve beside its name, in points from the corner of the axes."""
    from matplotlib.lines import Line2D
    from matplotlib.transforms import ScaledTranslation, Transform

    corner: Any = ax.transAxes
    inches: Transform = ax.figure.dpi_scale_trans + ScaledTranslation(0, 0, corner)
    start = end - _PIECE * size
    piece = Line2D([start / 72, end / 72], [-below / 72] * 2)
    piece.update_from(line)  # dashes of one's own too, which `get_linestyle` does not tell
    piece.set(transform=inches, clip_on=False, label="_")
    ax.add_artist(piece)


def _depth(ax: Axes) -> float:
    """Return how far ticks and label reach below the axes, in points."""
    box = ax.xaxis.get_tightbbox()
    return 0.0 if box is None else (ax.bbox.y0 - box.y0) * 72 / ax.figure.dpi
