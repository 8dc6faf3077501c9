"""Means, spreads and ranges of the columns of X, found piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from sksurvtorch._processes import Group
from sksurvtorch.nets.rows import Rows


@dataclass
class Moments:
    """Weight, mean, sum of squared differences from it, and range of each column, in float64."""

    total: Tensor
    mean: Tensor
    squares: Tensor
    lowest: Tensor
    highest: Tensor

    @classmethod
    def of(cls, rows: Rows, weight: Tensor | None, group: Group) -> Moments:
        """Return the moments of all rows; a copy of them would take more memory than all else."""
        held = cls.of_none(rows.shape[1])
        for piece in _pieces(rows, weight):
            held = held.merged(cls._of_piece(*piece))
        return reduce(cls.merged, (cls(**part) for part in group.exchange(vars(held))))

    @classmethod
    def of_none(cls, n_features: int) -> Moments:
        """Return the moments of no rows."""
        zero = torch.zeros(n_features, dtype=torch.float64, device="cpu")
        return cls(zero[:1].sum(), zero, zero.clone(), zero + torch.inf, zero - torch.inf)

    @classmethod
    def _of_piece(cls, X: Tensor, weight: Tensor) -> Moments:
        wide, total = X.double(), weight.sum()
        mean = weight @ wide / total
        return cls(total, mean, weight @ (wide - mean).square_(), wide.amin(0), wide.amax(0))

    def merged(self, other: Moments) -> Moments:
        """Return the moments of the rows of both."""
        # After T. Chan, G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm for
        # computing sample variances", COMPSTAT 1982, doi:10.1007/978-3-642-51461-6_3.
        total = self.total + other.total
        if not self.total or not other.total:
            return self if self.total else other
        step, share = other.mean - self.mean, other.total / total
        return Moments(
            total,
            self.mean + step * share,
            self.squares + other.squares + step.square() * (self.total * share),
            torch.minimum(self.lowest, other.lowest),
            torch.maximum(self.highest, other.highest),
        )

    @property
    def deviation(self) -> Tensor:
        """Standard deviations."""
        # The rounded mean of equal numbers would leave one.
        constant = self.lowest == self.highest
        return torch.where(constant, 0.0, (self.squares / self.total).sqrt())


def column_ranges(rows: Rows) -> tuple[Tensor, Tensor]:
    """Return the least and the largest value of each column."""
    first = rows.head()
    lowest, highest = first.amin(0), first.amax(0)
    for piece in rows.pieces():
        # In place: small results between large pieces would keep the memory of these from use.
        torch.minimum(lowest, piece.amin(0), out=lowest)
        torch.maximum(highest, piece.amax(0), out=highest)
    return lowest, highest


def _pieces(rows: Rows, weight: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over pieces of the rows held, with their weights."""
    start = 0
    weight = None if weight is None else rows.held(weight)
    for piece in rows.pieces():
        if not len(piece):
            continue  # none is held here
        stop = start + len(piece)
        ones = torch.ones(len(piece), dtype=torch.float64, device="cpu")
        yield piece, ones if weight is None else weight[start:stop].double()
        start = stop
