"""The order of rows in the risk sets, and the plan by which their denominators are summed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sksurvtorch.functional._arithmetic import Linear
from sksurvtorch.functional._denominators import Denominators, LateEntry
from sksurvtorch.functional._groups import Groups, Segments
from sksurvtorch.functional._order import in_order, nonzero, sort
from sksurvtorch.functional._plan import MatrixPlan, Plan, RunningPlan
from sksurvtorch.functional._rows import Rows
from sksurvtorch.functional._subdistribution import Extended, SubdistributionPlan

# Up to so many entries, rows times events, a matrix is faster than sums over intervals.
_MATRIX_ENTRIES = 2**16


class Layout(NamedTuple):
    """What the loss needs of risk sets, besides the weights of their rows and their order."""

    total_event_weight: Tensor  # ()
    denominator_weight: Tensor  # (n_denominators,) of the logarithm of each in the loss
    plan: Plan


def lay_out(
    rows: Rows, order: Tensor | None, ties: str, extended: Extended | None = None
) -> Layout:
    """Plan the sums of the denominators of rows, given in which order they are risk sets."""
    key, event = in_order(rows.key, order), in_order(rows.event, order)
    stop = None if rows.stop_key is None else in_order(rows.stop_key, order)
    event_row = nonzero(event)
    total = rows.event_weight.sum()
    plan: Plan
    few = key.numel() * event_row.numel() <= _MATRIX_ENTRIES
    if stop is not None and extended is None and few:
        event_weight = in_order(rows.event_weight, order)
        plan, weight = MatrixPlan.of(key, stop, event_row, event_weight, ties)
        return Layout(total, weight, plan)
    strata = strata_of(rows, order)
    groups = Groups.of(event, event_row, key, strata)
    made = _denominators(rows, order, groups, ties, strata)
    late = None
    if stop is not None:
        # The first group at which a row is not at risk any more.
        stop = torch.searchsorted(key[groups.first], stop)
        late = LateEntry.of(groups, event, stop, strata, made)
    plan = RunningPlan.of(made, strata, late)
    if extended is not None:
        plan = SubdistributionPlan.of(plan, extended.take(order), made, groups, strata)
    return Layout(total, made.weight, plan)


def lay_out_batches(rows: Rows, ties: str, sizes: list[int]) -> list[tuple[Tensor | None, Layout]]:
    """Sort and lay out each of several batches, whose rows stand behind each other."""
    batches = Segments(torch.tensor(sizes, dtype=torch.int64, device=rows.key.device))
    order = _order_within(rows.key, batches)
    event = in_order(rows.event, order)
    groups = Groups.of(event, nonzero(event), in_order(rows.key, order), batches)
    made = _denominators(rows, order, groups, ties, batches)
    assert made.lengths is not None
    orders: Sequence[Tensor | None] = [None] * len(sizes)
    if order is not None:  # counted within each batch
        order = order - batches.start.index_select(0, batches.of_row)
        orders = order.split(sizes)
    totals = Linear.bin(rows.event_weight, batches.of_row, len(sizes)).unbind()
    weights, plans = made.weight.split(made.lengths.tolist()), RunningPlan.of_batches(made, sizes)
    layouts = map(Layout, totals, weights, plans)
    return list(zip(orders, layouts, strict=True))


def strata_of(rows: Rows, order: Tensor | None) -> Segments | None:
    """Return the strata in the order of the risk sets; None if there are none."""
    return None if rows.stratum is None else Segments.of(in_order(rows.stratum, order))


def weights_of_groups(rows: Rows, order: Tensor | None, groups: Groups) -> Tensor:
    """Return the sum of the weights of the events of each group."""
    if rows.weight is None:
        if groups.size is None:
            return rows.event_weight.new_ones(len(groups.row))
        return groups.size.to(rows.event_weight.dtype)
    row = groups.row if order is None else order.index_select(0, groups.row)
    weight = rows.event_weight.index_select(0, row)
    if groups.of_event is None:
        return weight
    return Linear.bin(weight, groups.of_event.long(), len(groups.start))


def _denominators(
    rows: Rows, order: Tensor | None, groups: Groups, ties: str, segments: Segments | None
) -> Denominators:
    """Return the denominators of groups of events."""
    weight = None if rows.weight is None else weights_of_groups(rows, order, groups)
    return Denominators.of(groups, weight, ties, segments)


def _order_within(key: Tensor, segments: Segments) -> Tensor | None:
    """Return the rows by segment and key; None if they come in this order."""
    same_segment = segments.of_row[1:] == segments.of_row[:-1]
    if not bool(((key[1:] < key[:-1]) & same_segment).any()):
        return None
    by_key = sort(key)[1]
    by_segment = sort(segments.of_row.index_select(0, by_key))[1]
    return by_key.index_select(0, by_segment)
