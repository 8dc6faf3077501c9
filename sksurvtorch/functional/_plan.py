"""How the denominators of the partial likelihood are summed, and the transpose of it.

A plan knows no hazard ratios. `denominators` takes them, with the weights and in the order of the
risk sets; `of_rows` takes something for each denominator, and sums it for each row over the
denominators that have the row, by its factor there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sksurvtorch.functional._arithmetic import Arithmetic
from sksurvtorch.functional._denominators import Before, Denominators, LateEntry, Segments
from sksurvtorch.functional._sums import RunningSums


class Plan(Protocol):
    """What the loss needs of risk sets."""

    def denominators(self, arithmetic: Arithmetic, v: Tensor) -> Tensor:
        """Return the denominators."""

    def of_rows(self, arithmetic: Arithmetic, x: Tensor) -> Tensor:
        """Return the sum for each row."""


class RunningPlan(NamedTuple):
    """Running sums over the rows of each stratum, and sums over intervals for late entry.

    `slot` and `slot_of_row` say where S stands in the sums over rows, and where the sum for a row
    stands in those over denominators; `before` the same of N.
    """

    row_sums: RunningSums
    denominator_sums: RunningSums
    slot: Tensor  # (n_denominators,)
    slot_of_row: Tensor  # (n_samples,)
    before: Before | None
    late: LateEntry | None = None

    @classmethod
    def of(cls, made: Denominators, segments: Segments | None, late: LateEntry | None) -> Plan:
        """Lay out the sums of one stratum or several."""
        if segments is None:
            sums = RunningSums(from_end=False), RunningSums(from_end=True)
            return cls(*sums, made.n_rows, made.n_denominators, made.before, late)
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
    def of_batches(cls, made: Denominators, sizes: Sequence[int]) -> list[Plan]:
        """Return the plan of each of several batches, which are the segments of `made`."""
        assert made.lengths is not None
        lengths = made.lengths.tolist()
        before: list[Before | None] = [None] * len(sizes)
        if made.before is not None:
            slot, fraction, slot_of_row = made.before
            parts = slot.split(lengths), fraction.split(lengths), slot_of_row.split(sizes)
            before = [Before(*part) for part in zip(*parts, strict=True)]
        slots, slots_of_row = made.n_rows.split(lengths), made.n_denominators.split(sizes)
        row_sums, denominator_sums = RunningSums(from_end=False), RunningSums(from_end=True)
        return [
            cls(row_sums, denominator_sums, slot, slot_of_row, own)
            for slot, slot_of_row, own in zip(slots, slots_of_row, before, strict=True)
        ]

    def denominators(self, arithmetic: Arithmetic, v: Tensor) -> Tensor:
        """Return the denominators.

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
        """Return the sum for each row."""
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
    """The factor of each row in each denominator: for few rows with late entry or strata."""

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
        """Return the denominators."""
        return arithmetic.product(self.factor, v)

    def of_rows(self, arithmetic: Arithmetic, x: Tensor) -> Tensor:
        """Return the sum for each row."""
        return arithmetic.product(self.factor.T, x)
