"""Sums over intervals of positions that only ever add.

Row p covers the positions p, p + 1, ..., stop[p] - 1. Two sums are wanted, each the transpose of
the other: at every position over the rows that cover it, and for every row over the positions it
covers. Rows that reach the end need one running sum. For the others the difference of two running
sums would cancel; instead an interval [a, b] is cut where the highest differing bit of a and b
puts a block boundary m (a disjoint sparse table): a suffix [a, m) of one half-block and a prefix
[m, b] of the next, each a running sum inside its half-block. An interval belongs to one level, so
the plan takes O(n) memory, and a sum O(n log n) time at the worst.

The same code runs on numbers and on their logarithms.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Linear:
    """Numbers as they are."""

    zero = 0.0

    @staticmethod
    def from_log(x: Tensor) -> Tensor:
        """Return a number given by its logarithm."""
        return x.exp()

    @staticmethod
    def to_log(x: Tensor) -> Tensor:
        """Return the logarithm of a number."""
        return x.log()

    @staticmethod
    def lift(x: Tensor) -> Tensor:
        """Return a plain number in this arithmetic."""
        return x

    @staticmethod
    def lower(x: Tensor) -> Tensor:
        """Return a plain number out of this arithmetic."""
        return x

    @staticmethod
    def plus(x: Tensor, y: Tensor) -> Tensor:
        """Add."""
        return x + y

    @staticmethod
    def times(x: Tensor, y: Tensor) -> Tensor:
        """Multiply."""
        return x * y

    @staticmethod
    def over(x: Tensor, y: Tensor) -> Tensor:
        """Divide."""
        return x / y

    @staticmethod
    def scan(x: Tensor) -> Tensor:
        """Return the running sums along the last axis."""
        return x.cumsum(-1)

    @staticmethod
    def bin(x: Tensor, index: Tensor, size: int) -> Tensor:
        """Return the sum of the numbers of each index."""
        return x.new_zeros(size).index_add_(0, index, x)


class Log:
    """Non-negative numbers by their logarithms: no overflow, at some thirty times the cost."""

    zero = float("-inf")

    @staticmethod
    def from_log(x: Tensor) -> Tensor:
        """Return a number given by its logarithm."""
        return x

    @staticmethod
    def to_log(x: Tensor) -> Tensor:
        """Return the logarithm of a number."""
        return x

    @staticmethod
    def lift(x: Tensor) -> Tensor:
        """Return a plain number in this arithmetic."""
        return x.log()

    @staticmethod
    def lower(x: Tensor) -> Tensor:
        """Return a plain number out of this arithmetic."""
        return x.exp()

    @staticmethod
    def plus(x: Tensor, y: Tensor) -> Tensor:
        """Add."""
        return torch.logaddexp(x, y)

    @staticmethod
    def times(x: Tensor, y: Tensor) -> Tensor:
        """Multiply."""
        return x + y

    @staticmethod
    def over(x: Tensor, y: Tensor) -> Tensor:
        """Divide."""
        return x - y

    @staticmethod
    def scan(x: Tensor) -> Tensor:
        """Return the running sums along the last axis."""
        return torch.logcumsumexp(x, -1)

    @staticmethod
    def bin(x: Tensor, index: Tensor, size: int) -> Tensor:
        """Return the sum of the numbers of each index."""
        peak = x.new_full((size,), float("-inf")).scatter_reduce_(0, index, x, "amax")
        shift = torch.where(torch.isinf(peak), 0.0, peak)
        scaled = (x - shift.index_select(0, index)).exp()
        return x.new_zeros(size).index_add_(0, index, scaled).log() + shift


Arithmetic = type[Linear] | type[Log]


class _Level(NamedTuple):
    """The intervals cut at a boundary between half-blocks of `half` positions."""

    half: int
    block: Tensor  # (n_blocks,) the blocks of 2 * half positions in use
    row: Tensor  # (n_rows,)
    prefix: Tensor  # (n_rows,) slot of the last covered position, in right halves
    left_row: Tensor  # those rows that cover more of the left half than their own position
    suffix: Tensor  # their slot in left halves


class IntervalSums:
    """Sums over the intervals (p, stop[p]): the own position p itself is left out.

    Parameters
    ----------
    stop : tensor of shape (n,), or None
        First position not covered by row p; None if all rows reach the end.
    n : int
        Number of positions.
    """

    def __init__(self, stop: Tensor | None, n: int) -> None:
        self.n = n
        self.short: Tensor | None = None
        self.levels: list[_Level] = []
        if stop is not None:
            short = (stop < n).nonzero().squeeze(1)
            if len(short):
                self.short = short
                self.levels = _levels(short, stop.index_select(0, short) - 1)
        block = 2 * self.levels[-1].half if self.levels else 1
        self._padded = -(-n // block) * block

    def to(self, device: torch.device) -> IntervalSums:
        """Return a copy on `device`."""
        moved = IntervalSums(None, self.n)
        moved.short = None if self.short is None else self.short.to(device, non_blocking=True)
        moved.levels = [
            _Level(level.half, *(index.to(device, non_blocking=True) for index in level[1:]))
            for level in self.levels
        ]
        moved._padded = self._padded
        return moved

    def at_positions(self, arithmetic: Arithmetic, x: Tensor) -> Tensor:
        """Sum x over the rows p < q < stop[p], for each position q."""
        long = x if self.short is None else x.index_fill(0, self.short, arithmetic.zero)
        out = x.new_full((self._padded,), arithmetic.zero)
        out[1 : self.n] = arithmetic.scan(long)[:-1]
        for half, block, row, prefix, left_row, suffix in self.levels:
            # A right half is stored back to front, so that both halves are scanned forwards.
            slot = torch.cat([prefix, suffix])
            size = 2 * half * len(block)
            values = x.index_select(0, torch.cat([row, left_row]))
            cut = arithmetic.scan(arithmetic.bin(values, slot, size).view(2, -1, half))
            part = torch.cat([cut[1], cut[0].flip(-1)], dim=-1)
            blocks = out.view(-1, 2 * half)
            blocks[block] = arithmetic.plus(blocks.index_select(0, block), part)
        return out[: self.n]

    def over_rows(self, arithmetic: Arithmetic, x: Tensor) -> Tensor:
        """Sum x over the positions p < q < stop[p], for each row p."""
        out = x.new_full((self.n,), arithmetic.zero)
        out[:-1] = arithmetic.scan(x.flip(0))[:-1].flip(0)
        if self.short is None:
            return out
        out.index_fill_(0, self.short, arithmetic.zero)
        padded = x.new_full((self._padded,), arithmetic.zero)
        padded[: self.n] = x
        for half, block, row, prefix, left_row, suffix in self.levels:
            halves = padded.view(-1, 2, half).index_select(0, block)
            left = arithmetic.scan(halves[:, 0].flip(-1)).reshape(-1)
            right = arithmetic.scan(halves[:, 1]).reshape(-1)
            # Slots count from the boundary: `prefix` was stored back to front, `suffix` forwards.
            out[row] = right.index_select(0, _mirror(prefix, half))
            own = left.index_select(0, _mirror(suffix, half) - half * len(block))
            out[left_row] = arithmetic.plus(out.index_select(0, left_row), own)
        return out


def _mirror(slot: Tensor, half: int) -> Tensor:
    """Reverse the place of a slot within its half-block."""
    return slot + (half - 1) - 2 * (slot % half)


def _levels(first: Tensor, last: Tensor) -> list[_Level]:
    """Cut the intervals [first, last], with `first` ascending, into levels."""
    wide = first < last
    first, last = first[wide], last[wide]
    if not len(first):
        return []
    level = torch.frexp((first ^ last).double()).exponent - 1
    order = level.argsort(stable=True)
    values, counts = level.index_select(0, order).unique_consecutive(return_counts=True)
    rows = order.split(counts.tolist())
    return [_level(int(k), first[r], last[r]) for k, r in zip(values, rows, strict=True)]


def _level(k: int, first: Tensor, last: Tensor) -> _Level:
    """Lay out the intervals [first, last] whose highest differing bit is k."""
    half = 1 << k
    block, place = (first >> (k + 1)).unique_consecutive(return_inverse=True)
    prefix = place * half + (half - 1 - (last & (half - 1)))
    # The own position is left out, so the suffix starts one later, unless that is the boundary.
    start = (first & (half - 1)) + 1
    inside = start < half
    suffix = half * len(block) + (place * half + start)[inside]
    return _Level(half, block, first, prefix, first[inside], suffix)
