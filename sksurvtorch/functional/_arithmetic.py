"""Sums of hazard ratios, as numbers or as logarithms: the same code runs on both.

Operations whose name ends in an underscore change their first argument, as torch's do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Held = TypeVar("Held")

# A float64 reaches from exp(-708) to exp(709). Hazard ratios within exp(-600) and exp(600) leave
# room for their sums and inverses; beyond that range sums are taken in logarithms, which keep 1e-13
# relative to a log hazard ratio of 1000.
LINEAR_RANGE = 1200.0


def widest(device: torch.device) -> torch.dtype:
    """Return the widest floating-point type of the device."""
    return torch.float32 if device.type == "mps" else torch.float64


def returned_in(prediction: Tensor) -> torch.dtype:
    """Return the dtype of a loss: half precision has too short a range for sums."""
    return torch.float32 if prediction.itemsize < 4 else prediction.dtype


def moved(held: Held, device: torch.device) -> Held:
    """Return a tensor, or a tuple with all tensors in it, on `device`; float64 as the widest there.

    What is neither, such as a number, is returned as it is.
    """
    x: Any = held
    if isinstance(x, Tensor):
        x = x.to(device, widest(device) if x.dtype == torch.float64 else x.dtype, non_blocking=True)
    elif isinstance(x, tuple):
        parts = [moved(part, device) for part in x]
        x = type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    there: Held = x
    return there


Kinds = Sequence[tuple[Tensor, Callable[..., tuple[Tensor, ...]]]]


def by_kind(kinds: Kinds, columns: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return what each row's function makes of its columns, where each row is of one kind."""
    if columns[0].device.type != "cpu":  # to count rows there would stop the stream
        return by_mask(kinds, columns)
    found: list[Tensor] = []
    for mask, function in kinds:
        rows = mask.nonzero().squeeze(1)
        if len(rows) == len(mask):
            return function(*columns)
        if not len(rows):
            continue
        values = function(*(column.index_select(0, rows) for column in columns))
        found = found or [value.new_empty(len(mask)) for value in values]
        for whole, value in zip(found, values, strict=True):
            whole.index_copy_(0, rows, value)
    return tuple(found)


def by_mask(kinds: Kinds, columns: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return what `by_kind` does, by all functions of all rows; NaN for a row of no kind."""
    found: list[Tensor] = []
    for mask, function in kinds:
        values = function(*columns)
        found = found or [torch.full_like(value, torch.nan) for value in values]
        found = [torch.where(mask, *pair) for pair in zip(values, found, strict=True)]
    return tuple(found)


class Linear:
    """Numbers as they are."""

    zero = 0.0

    @staticmethod
    def from_log_(x: Tensor) -> Tensor:
        """Return a number given by its logarithm."""
        return x.exp_()

    @staticmethod
    def to_log_(x: Tensor) -> Tensor:
        """Return the logarithm of a number."""
        return x.log_()

    @staticmethod
    def lower_(x: Tensor) -> Tensor:
        """Return a plain number out of this arithmetic."""
        return x

    @staticmethod
    def plus_(x: Tensor, y: Tensor) -> Tensor:
        """Add."""
        return x.add_(y)

    @staticmethod
    def times_(x: Tensor, y: Tensor) -> Tensor:
        """Multiply."""
        return x.mul_(y)

    @staticmethod
    def parted(x: Tensor, fraction: Tensor) -> tuple[Tensor, Tensor]:
        """Return 1 - fraction of a number, and the fraction."""
        part = x * fraction
        return x - part, part

    @staticmethod
    def towards_(x: Tensor, y: Tensor, fraction: Tensor) -> Tensor:
        """Return the number that is a fraction of the way from x to y; it does not cancel."""
        return x.lerp_(y, fraction)

    @staticmethod
    def divided(factor: Tensor, x: Tensor) -> Tensor:
        """Divide a plain number."""
        return factor / x

    @staticmethod
    def scan_(x: Tensor) -> Tensor:
        """Return the running sums along the last axis."""
        return x.cumsum_(-1)

    @staticmethod
    def product(matrix: Tensor, x: Tensor) -> Tensor:
        """Return the product of a matrix of plain numbers with a vector."""
        return matrix @ x

    @staticmethod
    def bin(x: Tensor, index: Tensor, size: int) -> Tensor:
        """Return the sum of the numbers of each index."""
        return x.new_zeros(size).scatter_add_(0, index, x)


class Log:
    """Non-negative numbers by their logarithms: no overflow, at some thirty times the cost."""

    zero = float("-inf")

    @staticmethod
    def from_log_(x: Tensor) -> Tensor:
        """Return a number given by its logarithm."""
        return x

    @staticmethod
    def to_log_(x: Tensor) -> Tensor:
        """Return the logarithm of a number."""
        return x

    @staticmethod
    def lower_(x: Tensor) -> Tensor:
        """Return a plain number out of this arithmetic."""
        return x.exp_()

    @staticmethod
    def plus_(x: Tensor, y: Tensor) -> Tensor:
        """Add."""
        return torch.logaddexp(x, y, out=x)

    @staticmethod
    def times_(x: Tensor, y: Tensor) -> Tensor:
        """Multiply."""
        return x.add_(y)

    @staticmethod
    def parted(x: Tensor, fraction: Tensor) -> tuple[Tensor, Tensor]:
        """Return 1 - fraction of a number, and the fraction."""
        return x + (-fraction).log1p(), x + fraction.log()

    @staticmethod
    def towards_(x: Tensor, y: Tensor, fraction: Tensor) -> Tensor:
        """Return the number that is a fraction of the way from x to y; it does not cancel."""
        return torch.logaddexp(x + (-fraction).log1p(), y + fraction.log())

    @staticmethod
    def divided(factor: Tensor, x: Tensor) -> Tensor:
        """Divide a plain number."""
        return factor.log() - x

    @staticmethod
    def scan_(x: Tensor) -> Tensor:
        """Return the running sums along the last axis."""
        return torch.logcumsumexp(x, -1, out=x)

    @staticmethod
    def product(matrix: Tensor, x: Tensor) -> Tensor:
        """Return the product of a matrix of plain numbers with a vector."""
        return (matrix.log() + x).logsumexp(-1)

    @staticmethod
    def bin(x: Tensor, index: Tensor, size: int) -> Tensor:
        """Return the sum of the numbers of each index."""
        peak = x.new_full((size,), float("-inf")).scatter_reduce_(0, index, x, "amax")
        shift = torch.where(torch.isinf(peak), 0.0, peak)
        scaled = (x - shift.index_select(0, index)).exp()
        return x.new_zeros(size).scatter_add_(0, index, scaled).log() + shift


Arithmetic = type[Linear] | type[Log]
