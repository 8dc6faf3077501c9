"""Plans by which the denominators of the partial likelihood are summed, and their gradient.

A denominator is a sum over rows, in which each row has a factor: 1, or less for an event that is
tied with others. A plan knows these factors and no hazard ratios. Its `denominators` multiplies the
factors, as a matrix of denominators by rows, with the hazard ratios; its `of_rows`, for the
gradient, multiplies the transposed matrix with a vector that has a number for each denominator.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sksurvtorch.functional._arithmetic import Arithmetic
from sksurvtorch.functional._denominators import Before, Denominators, LateEntry
from sksurvtorch.functional._groups import Segments
from sksurvtorch.functional._sums import RunningSums

# Over the rows and over the denominators of one segment.
_OF_ONE_SEGMENT = RunningSums(from_end=False), RunningSums(from_end=True)


class Plan(Protocol):
    """A matrix of the factors of rows in denominators, by the two products that it offers."""

    def denominators(self, arithmetic: Arithmetic, v: Tensor) -> Tensor:
        """Return the denominators of weighted hazard ratios in the order of the risk sets."""

    def of_rows(self, arithmetic: Arithmetic, x: Tensor) -> Tensor:
        """Return for each row the sum over the denominators of x, multiplied by its factors."""


class RunningPlan(NamedTuple):
    """Running sums over the rows of each stratum, and sums over intervals for late entry.

    S is the sum over a risk set, N that sum without the tied events; the module `_denominators`
    has an example.
    """

    row_sums: RunningSums  # over rows, from the first one on
    denominator_sums: RunningSums  # over denominators, from the last one back
    slot: Tensor  # (n_denominators,) of S in the sums over rows
    slot_of_row: Tensor  # (n_samples,) of the denominators with the row in S, in their sums
    before: Before | None  # slots for N; None if all denominators are S
    late: LateEntry | None = None  # rows that are no part of the sums over rows

    @classmethod
    def of(cls, made: Denominators, segments: Segments | None, late: LateEntry | None) -> Plan:
        """Lay out the sums of one stratum or several."""
        if segments is None:
            return cls(*_OF_ONE_SEGMENT, made.n_rows, made.n_denominators, made.before, late)
        row_sums = RunningSums.of(segments.lengths)
        denominator_sums = RunningSums.of(made.lengths, from_end=True)
        before = made.before
        if before is not None:
            before = Before(
                row_sums.slots(made.segment, before.slot),
                before.fraction,
                denominator_sums.slots(segments.of_row, before.slot_of_row),
            )
        slot = row_sums.slots(made.segment, made.n_rows)
        slot_of_row = denominator_sums.slots(segments.of_row, made.n_denominators)
        return cls(row_sums, denominator_sums, slot, slot_of_row, before, late)

    @classmethod
    def of_batches(cls, made: Denominators, sizes: list[int]) -> list[Plan]:
        """Return the plans of several batches, which are the segments of the denominators."""
        assert made.lengths is not None
        lengths = made.lengths.tolist()
        before: list[Before | None] = [None] * len(sizes)
        if made.before is not None:
            slot, fraction, slot_of_row = made.before
            parts = slot.split(lengths), fraction.split(lengths), slot_of_row.split(sizes)
            before = [Before(*part) for part in zip(*parts, strict=True)]
        slots, slots_of_row = made.n_rows.split(lengths), made.n_denominators.split(sizes)
        return [
            cls(*_OF_ONE_SEGMENT, slot, slot_of_row, own)
            for slot, slot_of_row, own in zip(slots, slots_of_row, before, strict=True)
        ]

    def denominators(self, arithmetic: Arithmetic, v: Tensor) -> Tensor:
        """Return the denominators of weighted hazard ratios in the order of the risk sets.

        Efron's S - (l / d) (S - N) is taken as the number l / d of the way from S to N.
        """
        late, before = self.late, self.before
        from_start = v if late is None else v.index_fill(0, late.row, arithmetic.zero)
        sums = self.row_sums(arithmetic, from_start)
        with_ties = sums.index_select(0, self.slot)
        without = None if before is None else sums.index_select(0, before.slot)
        if late is not None:
            at_points = late.sums.at_points(arithmetic, v.index_select(0, late.row))
            with_ties = arithmetic.plus_(with_ties, at_points.index_select(0, late.point))
            if without is not None and late.point_before is not None:
                without = arithmetic.plus_(without, at_points.index_select(0, late.point_before))
        if without is None or before is None:
            return with_ties
        return arithmetic.towards_(with_ties, without, before.fraction)

    def of_rows(self, arithmetic: Arithmetic, x: Tensor) -> Tensor:
        """Return for each row the sum over the denominators of x, multiplied by its factors."""
        late, before, without = self.late, self.before, None
        if before is not None:
            x, without = arithmetic.parted(x, before.fraction)
        total = self.denominator_sums(arithmetic, x).index_select(0, self.slot_of_row)
        if before is not None and without is not None:
            sums = self.denominator_sums(arithmetic, without)
            total = arithmetic.plus_(total, sums.index_select(0, before.slot_of_row))
        if late is not None:
            if without is not None and late.point_before is not None:
                points = torch.cat([late.point, late.point_before])
                x = arithmetic.bin(torch.cat([x, without]), points, late.sums.n_points)
            total.scatter_(0, late.row, late.sums.over_rows(arithmetic, x))
        return total


class MatrixPlan(NamedTuple):
    """The matrix itself, which is faster for few rows with late entry or strata."""

    factor: Tensor  # (n_denominators, n_samples)

    @classmethod
    def of(
        cls, key: Tensor, stop: Tensor, event_row: Tensor, weight: Tensor, ties: str
    ) -> tuple[Plan, Tensor]:
        """Compare all events with all rows; return the weights of the denominators too.

        Keys, the keys at which rows end, and the weights of events are in the order of the risk
        sets. Each event has a denominator, also with Breslow's ties.
        """
        event_key = key.index_select(0, event_row).unsqueeze(1)
        factor = ((key <= event_key) & (event_key < stop)).to(weight.dtype)
        if ties == "breslow":
            return cls(factor), weight.index_select(0, event_row)
        tied = (key == event_key).to(weight.dtype)
        d = tied.sum(1)
        rank = (event_key == event_key.T).tril(-1).sum(1)  # l of the event
        factor.addcmul_(tied, (rank / d).unsqueeze(1), value=-1)
        return cls(factor), (tied @ weight).div_(d)

    def denominators(self, arithmetic: Arithmetic, v: Tensor) -> Tensor:
        """Return the denominators of weighted hazard ratios in the order of the risk sets."""
        return arithmetic.product(self.factor, v)

    def of_rows(self, arithmetic: Arithmetic, x: Tensor) -> Tensor:
        """Return for each row the sum over the denominators of x, multiplied by its factors."""
        return arithmetic.product(self.factor.T, x)
