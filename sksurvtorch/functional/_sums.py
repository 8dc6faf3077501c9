"""Running sums within segments, and sums over intervals, that only ever add.

A difference of two running sums would cancel: what a row far back adds may be all that is left of
a sum after it. So a segment gets a running sum of its own, and an interval [a, b] is cut where the
highest differing bit of a and b puts a block boundary m (a disjoint sparse table): a suffix [a, m)
of one half-block and a prefix [m, b] of the next, each a running sum inside its half-block.

An example of running sums: six positions in two segments, of lengths 4 and 2. A segment of k
positions has k + 1 sums, the empty one among them, in a block whose width is a power of 2 above k.
Narrow blocks come first. So segment 1 has the slots 0 to 3 and segment 0 the slots 4 to 11.

========  =======  ======  ====  ======  ========  ========
position  segment  value   slot  sum     slot      sum
                                         from end  from end
========  =======  ======  ====  ======  ========  ========
0         0        1       5     1       8         1111
1         0        10      6     11      7         1110
2         0        100     7     111     6         1100
3         0        1000    8     1111    5         1000
4         1        10000   1     10000   2         110000
5         1        100000  2     110000  1         100000
========  =======  ======  ====  ======  ========  ========

The slots 4 and 0, the heads of the segments, have the empty sum 0.

An example of intervals: the six rows of the module `_denominators`, of which row 1 now enters at
time 3. Its event is at time 7, so it is at risk at the events at 7 and 5, and not at 2. Each group
of events has two points, the sums N and S. Row 1 is in S of its own group, and in both of the next:

=====  ======  ====  ===  =====  =====  ====
point  binary  time  sum  row 1  half   slot
=====  ======  ====  ===  =====  =====  ====
0      000     7     N    no     left   1
1      001     7     S    yes    left   0
2      010     5     N    yes    right  0
3      011     5     S    yes    right  1
4      100     2     N    no     none   none
5      101     2     S    no     none   none
=====  ======  ====  ===  =====  =====  ====

The ends of its interval, 001 and 011, differ first at the bit of value 2. So it is cut at point 2,
the boundary between two halves of 2 points. Slots count from there: to the left row 1 reaches as
far as slot 0, to the right as far as slot 1. Running sums towards the boundary carry its hazard
ratio of 10 to the points 1, 2 and 3. The running sums of the other rows are 0, 1, 1, 101, 1101,
11101 and 111101. Both together give the denominators 11, 11111, 5611 and 111101.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sksurvtorch.functional._arithmetic import Arithmetic


class RunningSums(NamedTuple):
    """Running sums from the start of each segment of positions, or from the end of each.

    The sums of a segment stand behind each other: the sum of its first (or last) k positions has
    the slot `head` + k, from k = 0 on. Several segments are laid out in blocks of equal width, a
    power of 2: at most twice the slots, and one operation for all segments of a width.
    """

    from_end: bool  # whether the sums run from the end of each segment
    head: Tensor | None = None  # (n_segments,) first slot; None for one segment, where it is 0
    slot: Tensor | None = None  # (n_positions,) of the sum up to and with each; None as `head`
    shapes: tuple[tuple[int, int], ...] = ()  # number and width of the blocks of equal width

    @classmethod
    def of(cls, lengths: Tensor | None, *, from_end: bool = False) -> RunningSums:
        """Give segments of these lengths their slots, the narrow ones first; None for one."""
        if lengths is None:
            return cls(from_end)
        width = 1 << torch.frexp(lengths.double()).exponent.long()  # above the length
        width, by_width = width.sort(stable=True)
        values, counts = width.unique_consecutive(return_counts=True)
        head = torch.empty_like(width).index_copy_(0, by_width, width.cumsum(0) - width)
        n, stop = int(lengths.sum()), lengths.cumsum(0)
        position = torch.arange(n, dtype=torch.int64, device=lengths.device)
        shift = head + stop if from_end else head + 1 - (stop - lengths)
        shift = shift.repeat_interleave(lengths, output_size=n)
        slot = shift - position if from_end else shift + position
        return cls(from_end, head, slot, tuple(zip(counts.tolist(), values.tolist(), strict=True)))

    def slots(self, segment: Tensor | None, k: Tensor) -> Tensor:
        """Return the slots of the sums of the first (or last) k positions of segments."""
        if self.head is None or segment is None:
            return k
        return self.head.index_select(0, segment) + k

    def __call__(self, arithmetic: Arithmetic, x: Tensor) -> Tensor:
        """Return the sums, by slot, of what is given by position."""
        if self.slot is None:
            sums = torch.cat([x.new_full((1,), arithmetic.zero), x.flip(0) if self.from_end else x])
            return arithmetic.scan_(sums)
        sizes = [count * width for count, width in self.shapes]
        sums = x.new_full((sum(sizes),), arithmetic.zero).scatter_(0, self.slot, x)
        for part, shape in zip(sums.split(sizes), self.shapes, strict=True):
            arithmetic.scan_(part.view(shape))
        return sums

    def up_to_each(self, arithmetic: Arithmetic, x: Tensor) -> Tensor:
        """Return the sums up to and with each position, by position."""
        sums = self(arithmetic, x)
        if self.slot is not None:
            return sums.index_select(0, self.slot)
        return sums[1:].flip(0) if self.from_end else sums[1:]


class _Level(NamedTuple):
    """The intervals cut at a boundary between half-blocks of `half` points."""

    half: int
    block: Tensor  # (n_blocks,) the blocks of 2 * half points in use
    row: Tensor  # (n_rows,)
    # Slots count from the boundary: those of left halves are stored back to front.
    right: Tensor  # (n_rows,) slot of the last point, in right halves
    left: Tensor  # (n_rows,) slot of the first point, in left halves


class IntervalSums(NamedTuple):
    """Sums over the points of each row, which are an interval, and over the rows of each point.

    An interval of two points or more belongs to one level, so this takes O(n) memory, and a sum
    O(n log n) time at the worst.
    """

    n_rows: int
    n_points: int
    n_padded: int  # number of points of whole blocks of the widest level
    single: Tensor  # (n_single,) rows that cover one point
    point: Tensor  # (n_single,) the point of each of them
    levels: tuple[_Level, ...]  # the rows that cover more points

    @classmethod
    def of(cls, start: Tensor, stop: Tensor, n_points: int) -> IntervalSums:
        """Lay out the points [start, stop) that each row covers: none where the two are equal."""
        first, last = start, stop - 1
        single = (first == last).nonzero().squeeze(1)
        wide = (first < last).nonzero().squeeze(1)
        levels = _levels(wide, first.index_select(0, wide), last.index_select(0, wide))
        block = 2 * levels[-1].half if levels else 1
        n_padded = -(-n_points // block) * block
        point = first.index_select(0, single)
        return cls(len(start), n_points, n_padded, single, point, levels)

    def at_points(self, arithmetic: Arithmetic, x: Tensor) -> Tensor:
        """Sum x over the rows that cover a point, for each point."""
        out = arithmetic.bin(x.index_select(0, self.single), self.point, self.n_padded)
        for half, block, row, right, left in self.levels:
            values, size = x.index_select(0, row), half * len(block)
            halves = arithmetic.bin(values.repeat(2), torch.cat([right, left + size]), 2 * size)
            # Each slot gets the sum of those that reach as far from the boundary or further.
            sums = arithmetic.scan_(halves.view(2, -1, half).flip(-1))
            part = torch.cat([sums[1], sums[0].flip(-1)], dim=-1)
            blocks = out.view(-1, 2 * half)
            blocks[block] = arithmetic.plus_(blocks.index_select(0, block), part)
        return out[: self.n_points]

    def over_rows(self, arithmetic: Arithmetic, x: Tensor) -> Tensor:
        """Sum x over the points that a row covers, for each row."""
        padded = x.new_full((self.n_padded,), arithmetic.zero)
        padded[: self.n_points] = x
        out = x.new_full((self.n_rows,), arithmetic.zero)
        out[self.single] = x.index_select(0, self.point)
        for half, block, row, right, left in self.levels:
            halves = padded.view(-1, 2, half).index_select(0, block)
            before = arithmetic.scan_(halves[:, 0].flip(-1)).view(-1)
            after = arithmetic.scan_(halves[:, 1].contiguous()).view(-1)
            out[row] = arithmetic.plus_(after.index_select(0, right), before.index_select(0, left))
        return out


def _levels(row: Tensor, first: Tensor, last: Tensor) -> tuple[_Level, ...]:
    """Sort the intervals [first, last], of more than one point, into levels."""
    if not len(row):
        return ()
    level = torch.frexp((first ^ last).double()).exponent - 1
    order = level.argsort(stable=True)
    values, counts = level.index_select(0, order).unique_consecutive(return_counts=True)
    places = order.split(counts.tolist())
    return tuple(
        _level(int(k), row[place], first[place], last[place])
        for k, place in zip(values, places, strict=True)
    )


def _level(k: int, row: Tensor, first: Tensor, last: Tensor) -> _Level:
    """Lay out the intervals [first, last] whose highest differing bit is k."""
    half = 1 << k
    block, place = (first >> (k + 1)).unique(return_inverse=True)
    right = place * half + (last & (half - 1))
    left = place * half + (half - 1 - (first & (half - 1)))
    return _Level(half, block, row, right, left)
