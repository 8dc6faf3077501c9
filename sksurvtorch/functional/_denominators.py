"""The denominators of the partial likelihood, and their place among the rows.

Rows are in the order of the risk sets: from the latest time to the earliest, the censored of a time
before its events. So all rows up to the last event of a time are at risk there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sksurvtorch.functional._arithmetic import widest
from sksurvtorch.functional._order import nonzero
from sksurvtorch.functional._sums import IntervalSums


class Segments:
    """Strata or batches: rows that stand behind each other, and no risk set spans two of them.

    Parameters
    ----------
    lengths : int tensor of shape (n_segments,)
        Number of rows of each.
    """

    def __init__(self, lengths: Tensor) -> None:
        self.lengths = lengths
        self.start = lengths.cumsum(0) - lengths
        self.number = torch.arange(len(lengths), device=lengths.device)
        self.of_row = self.number.repeat_interleave(lengths, output_size=int(lengths.sum()))

    @classmethod
    def of(cls, stratum: Tensor) -> Segments:
        """Find the strata, whose rows stand behind each other."""
        return cls(stratum.unique_consecutive(return_counts=True)[1])


class Groups(NamedTuple):
    """The events by time: those of one time, which stand beside each other, are a group.

    Numbers of rows, events and groups are int32 where they fit: half the memory to move.
    """

    row: Tensor  # (n_events,) row of each event
    following: (
        Tensor  # (n_rows,) event of the row, or the first one after it; `stop` if there is none
    )
    start: Tensor  # (n_groups,) first event of each group
    size: Tensor | None  # (n_groups,) number of events; None if no two are tied
    of_event: Tensor | None  # (n_events,) group of each event; None if no two are tied
    segment: Tensor | None  # (n_events,) None for one segment
    stop: Tensor | None  # (n_segments,) first event of the next segment; None for one segment

    @classmethod
    def of(
        cls, event: Tensor, row: Tensor, key: Tensor, segments: Segments | None = None
    ) -> Groups:
        """Find the groups, given which rows are events, and the keys: those of ties are equal."""
        dtype = torch.int32 if len(event) < 2**31 else torch.int64
        row = row.to(dtype)
        following = event.cumsum(0, dtype=dtype).sub_(event.to(dtype))
        event_key = key.index_select(0, row)
        is_first = torch.ones_like(row, dtype=torch.bool)
        torch.ne(event_key[1:], event_key[:-1], out=is_first[1:])
        segment = stop = None
        if segments is not None:
            segment = segments.of_row.index_select(0, row)
            stop = torch.searchsorted(segment, segments.number, right=True).to(dtype)
            following = torch.minimum(following, stop.index_select(0, segments.of_row))
            is_first[1:] |= segment[1:] != segment[:-1]
        start = nonzero(is_first).to(dtype)
        if len(start) == len(row):
            return cls(row, following, start, None, None, segment, stop)
        size = torch.diff(start, append=start.new_full((1,), len(row)))
        of_event = is_first.cumsum(0, dtype=dtype).sub_(1)
        return cls(row, following, start, size, of_event, segment, stop)

    @property
    def first(self) -> Tensor:
        """First row of each group."""
        return self.row.index_select(0, self.start)

    @property
    def last(self) -> Tensor:
        """Last row of each group."""
        return self.first if self.size is None else self.first + (self.size - 1)


class Before(NamedTuple):
    """Where the sums without the tied events stand, of `Denominators` with Efron's ties.

    In `Denominators` these are numbers within the segment, in a `RunningPlan` slots of its sums.
    """

    slot: Tensor  # (n_denominators,) of the rows in N
    fraction: Tensor  # (n_denominators,) l / d
    slot_of_row: Tensor  # (n_rows,) of the denominators with the row in N


class Denominators(NamedTuple):
    """The denominators in the order of rows: which rows they sum, and which of them sum a row.

    With S the sum over a risk set and N that without its tied events, the denominator l of d tied
    events is (1 - l / d) S + (l / d) N (Efron; it is S with Breslow's ties). S and N sum the first
    rows of their segment. So a row is in S, and in N, of the last denominators of its segment.

    All numbers are counted within the segment.
    """

    n_rows: Tensor  # (n_denominators,) number of rows in S
    weight: Tensor  # (n_denominators,) of its logarithm in the loss
    n_denominators: Tensor  # (n_rows,) number of denominators with the row in S
    before: Before | None  # the same of N; None if all denominators are S
    segment: Tensor | None  # (n_denominators,) None for one segment
    lengths: Tensor | None  # (n_segments,) number of denominators; None for one segment

    @classmethod
    def of(
        cls, groups: Groups, weight: Tensor | None, ties: str, segments: Segments | None = None
    ) -> Denominators:
        """Lay them out, given the sum of the weights of each group's events if they have some."""
        dtype = widest(groups.row.device)
        group, size = groups.of_event, groups.size
        first_row, segment = groups.first, groups.segment
        n_rows = first_row + (1 if size is None else size)
        if segments is not None and segment is not None:
            segment = segment.index_select(0, groups.start)
            start = segments.start.index_select(0, segment)
            n_rows, first_row = n_rows - start, first_row - start
        if size is None or group is None or ties == "breslow":
            first = None if group is None else _followed(group, len(n_rows))
            count, lengths = _counts(first, groups, segments)
            if weight is None:
                weight = torch.ones_like(n_rows, dtype=dtype) if size is None else size.to(dtype)
            return cls(n_rows, weight, count, None, segment, lengths)
        first = groups.start.index_select(0, group)
        count, lengths = _counts(_followed(first, len(group)), groups, segments)
        d = size.index_select(0, group)
        rank = torch.arange(len(group), dtype=d.dtype, device=d.device) - first
        before = Before(
            slot=first_row.index_select(0, group),
            fraction=rank.to(dtype).div_(d),
            # Its own events are not in the N of a group.
            slot_of_row=count.index_add(0, groups.row, -d),
        )
        if weight is None:
            weight = torch.ones_like(d, dtype=dtype)
        else:
            weight = (weight / size).index_select(0, group)
        n_rows = n_rows.index_select(0, group)
        return cls(n_rows, weight, count, before, groups.segment, lengths)


def _counts(
    first: Tensor | None, groups: Groups, segments: Segments | None
) -> tuple[Tensor, Tensor | None]:
    """Count the denominators of each row and of each segment.

    `first` has for each event the first denominator of its group, and behind them their number;
    it is None if each event has one of its own.
    """
    until, stop, total = groups.following, groups.stop, len(groups.row)
    if first is not None:
        until, total = first.index_select(0, until), int(first[-1])
        stop = None if stop is None else first.index_select(0, stop)
    if segments is None or stop is None:
        return total - until, None
    lengths = torch.diff(stop, prepend=stop.new_zeros(1))
    return stop.index_select(0, segments.of_row) - until, lengths


class LateEntry(NamedTuple):
    """The rows that enter after an event time of their segment, and where they are at risk.

    Each sum of the groups has a point: N, unless all denominators are S, and behind it S. A row
    covers the points of an interval.
    """

    row: Tensor  # (n_late,)
    sums: IntervalSums  # of these rows
    point: Tensor  # (n_denominators,) point of S
    point_before: Tensor | None  # (n_denominators,) point of N

    @classmethod
    def of(
        cls,
        groups: Groups,
        event: Tensor,
        stop: Tensor,
        segments: Segments | None,
        made: Denominators,
    ) -> LateEntry | None:
        """Find them, given the first group at which a row is not at risk any more."""
        n_points, of_event = len(groups.start), groups.of_event
        following, of_stop = groups.following, groups.stop
        if of_event is not None:
            group = _followed(of_event, n_points)
            following = group.index_select(0, following)
            of_stop = None if of_stop is None else group.index_select(0, of_stop)
        last: Tensor | int = n_points
        if segments is not None and of_stop is not None:
            last = of_stop.index_select(0, segments.of_row)
        row = nonzero(stop < last)
        if not len(row):
            return None
        start, stop = following.index_select(0, row).long(), stop.index_select(0, row)
        if made.before is None or of_event is None:
            point, before = torch.arange(n_points, device=row.device), None
        else:
            start, stop, n_points = 2 * start + event.index_select(0, row), 2 * stop, 2 * n_points
            before = 2 * of_event.long()
            point = before + 1
        return cls(row, IntervalSums.of(start, torch.maximum(start, stop), n_points), point, before)


def _followed(x: Tensor, value: int) -> Tensor:
    """Append a value."""
    return torch.cat([x, x.new_full((1,), value)])
