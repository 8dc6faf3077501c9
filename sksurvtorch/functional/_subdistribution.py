"""Denominators of the model of Fine and Gray: a second sum for rows at risk after their event.

A denominator at t has, besides the sum over the rows at risk, one over the rows with an earlier
event of another cause, each with the weight G(t-) / G(T-) (see the module `_censoring`). The weight
factorises, so this sum is G(t-) times a running sum from the earliest time on.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from sksurvtorch.functional._arithmetic import Arithmetic
from sksurvtorch.functional._denominators import Denominators
from sksurvtorch.functional._groups import Groups, Segments
from sksurvtorch.functional._plan import Plan
from sksurvtorch.functional._sums import RunningSums


class Extended(NamedTuple):
    """Rows that stay at risk after their event."""

    log_censoring: Tensor  # (n_rows,) logarithm of G(t-) at the time of each row
    other: Tensor  # (n_rows,) whether the row has an event of another cause

    def take(self, order: Tensor | None) -> Extended:
        """Return the rows in an order; None stands for that in which they lie."""
        return self if order is None else Extended(self.log_censoring[order], self.other[order])


class SubdistributionPlan(NamedTuple):
    """The sums of another plan, and with each a sum over the rows that had another event before."""

    plan: Plan
    row_sums: RunningSums  # over rows, from the last one back
    denominator_sums: RunningSums  # over denominators, from the first one on
    slot: Tensor  # (n_denominators,) of the sum over the rows behind S
    slot_of_row: Tensor  # (n_rows,) of the sum over the denominators without the row in S
    log_factor: Tensor  # (n_rows,) of 1 / G(T-), -inf for a row without another event
    log_scale: Tensor  # (n_denominators,) of G(t-)

    @classmethod
    def of(
        cls,
        plan: Plan,
        extended: Extended,
        made: Denominators,
        groups: Groups,
        segments: Segments | None,
    ) -> Plan:
        """Return the plan for rows in the order of the risk sets."""
        log_censoring, other = extended
        row = groups.row if len(groups.row) == len(made.n_rows) else groups.first
        log_scale = log_censoring.index_select(0, row)
        log_factor = (-log_censoring).masked_fill(~other, float("-inf"))
        if segments is None or made.segment is None or made.lengths is None:
            slot, slot_of_row = len(other) - made.n_rows, len(row) - made.n_denominators
            sums = RunningSums(from_end=True), RunningSums(from_end=False)
            return cls(plan, *sums, slot, slot_of_row, log_factor, log_scale)
        row_sums = RunningSums.of(segments.lengths, from_end=True)
        denominator_sums = RunningSums.of(made.lengths)
        behind = segments.lengths.index_select(0, made.segment) - made.n_rows
        ahead = made.lengths.index_select(0, segments.of_row) - made.n_denominators
        slot = row_sums.slots(made.segment, behind)
        slot_of_row = denominator_sums.slots(segments.of_row, ahead)
        return cls(plan, row_sums, denominator_sums, slot, slot_of_row, log_factor, log_scale)

    def denominators(self, arithmetic: Arithmetic, v: Tensor) -> Tensor:
        """Return the denominators of weighted hazard ratios in the order of the risk sets."""
        scaled = arithmetic.times_(v.clone(), arithmetic.from_log_(self.log_factor.clone()))
        after = self.row_sums(arithmetic, scaled).index_select(0, self.slot)
        after = arithmetic.times_(after, arithmetic.from_log_(self.log_scale.clone()))
        return arithmetic.plus_(self.plan.denominators(arithmetic, v), after)

    def of_rows(self, arithmetic: Arithmetic, x: Tensor) -> Tensor:
        """Return for each row the sum over the denominators of x, multiplied by its factors."""
        scaled = arithmetic.times_(x.clone(), arithmetic.from_log_(self.log_scale.clone()))
        before = self.denominator_sums(arithmetic, scaled).index_select(0, self.slot_of_row)
        before = arithmetic.times_(before, arithmetic.from_log_(self.log_factor.clone()))
        return arithmetic.plus_(self.plan.of_rows(arithmetic, x), before)
