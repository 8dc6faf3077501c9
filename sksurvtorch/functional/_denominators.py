"""The denominators of the partial likelihood, and the rows that each of them sums.

Rows are in the order of the risk sets: from the latest time to the earliest, the censored rows of a
time before its events. So all rows up to the last event of a time are at risk there, and the sum
over a risk set is the sum of the first so many rows. Events at one time are a group. S is the sum
over the risk set of a group, N the sum over its rows but the events of the group.

An example of six rows. Hazard ratios are powers of 10, so the digits of a sum show its rows: rows 3
and 4 are tied events, row 2 is censored at their time.

===  ====  =====  =====  ============  =========  =========
row  time  event  group  hazard ratio  S with it  N with it
===  ====  =====  =====  ============  =========  =========
0    9     no     none   1             4          4
1    7     yes    0      10            4          3
2    5     no     none   100           3          3
3    5     yes    1      1000          3          1
4    5     yes    1      10000         3          1
5    2     yes    2      100000        1          0
===  ====  =====  =====  ============  =========  =========

With Efron's ties each event has a denominator, which lies a fraction of the way from S to N:

===========  =====  =====  =========  =========  ======  =====  ========  ===========
denominator  row    group  rows in S  rows in N  S       N      fraction  denominator
===========  =====  =====  =========  =========  ======  =====  ========  ===========
0            1      0      2          1          11      1      0         11
1            3      1      5          3          11111   111    0         11111
2            4      1      5          3          11111   111    0.5       5611
3            5      2      6          5          111111  11111  0         111111
===========  =====  =====  =========  =========  ======  =====  ========  ===========

The running sums over the rows are 0, 1, 11, 111 and so on. The sum of the first k rows has slot k,
so the numbers of rows in S and in N are the slots at which S and N are read.

The gradient goes the other way: a row is in S of the last so many denominators, and in N of the
last so many. Let the denominators have the values 1, 10, 100 and 1000. S takes what the fraction
leaves of them, 1, 10, 50 and 1000; N takes the fraction, 0, 0, 50 and 0. Row 3 is in the last 3 S
and in the last N, so it gets 10 + 50 + 1000 and 0, together 1060.

With Breslow's ties each group has one denominator, its S: 11, 11111 and 111111. Their weights, the
numbers of events, are 1, 2 and 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sksurvtorch.functional._arithmetic import widest
from sksurvtorch.functional._groups import Groups, Segments
from sksurvtorch.functional._order import nonzero
from sksurvtorch.functional._sums import IntervalSums


class Before(NamedTuple):
    """Where N stands, the sum over a risk set without its tied events; for Efron's ties.

    In `Denominators` a slot is a number of rows, or of denominators, within the segment; in a
    `RunningPlan` it is the place of their sum among all sums.
    """

    slot: Tensor  # (n_denominators,) of the sum of the rows in N
    fraction: Tensor  # (n_denominators,) l / d, how far a denominator lies from S to N
    slot_of_row: Tensor  # (n_rows,) of the sum of the denominators with the row in N


class Denominators(NamedTuple):
    """The denominators by time, the latest first: the rows of each, and the denominators of a row.

    With S the sum over a risk set and N that without its tied events, the denominator l of d tied
    events is (1 - l / d) S + (l / d) N (Efron; it is S with Breslow's ties). S and N sum the first
    rows of their segment. So a row is in S, and in N, of the last denominators of its segment.

    All numbers are counted within the segment.
    """

    n_rows: Tensor  # (n_denominators,) number of rows in S
    weight: Tensor  # (n_denominators,) of its logarithm in the loss
    n_denominators: Tensor  # (n_rows,) number of denominators with the row in S
    before: Before | None  # rows and denominators of N; None if all denominators are S
    segment: Tensor | None  # (n_denominators,) None for one segment
    lengths: Tensor | None  # (n_segments,) number of denominators; None for one segment

    @classmethod
    def of(
        cls, groups: Groups, weight: Tensor | None, ties: str, segments: Segments | None = None
    ) -> Denominators:
        """Find the denominators of groups, given the weight of each, None if it is their size."""
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
    """Count the denominators with a row in S, for each row, and those of each segment.

    `first` has the first denominator of each event's group, and at its end the number of all
    denominators; it is None if each event has a denominator of its own.
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
    """The rows that enter after an event time of their segment, and the sums that have them.

    Every sum is a point: the N of a group and behind it the S, or S alone if all denominators are
    S. A row covers the points of an interval; the module `_sums` has an example.
    """

    row: Tensor  # (n_late,) rows that enter late
    sums: IntervalSums  # over the points that each late row covers
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
        """Find the late rows, given the first group at which each row is not at risk any more."""
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
            point, before = torch.arange(n_points, dtype=torch.int64, device=row.device), None
        else:
            start, stop, n_points = 2 * start + event.index_select(0, row), 2 * stop, 2 * n_points
            before = 2 * of_event.long()
            point = before + 1
        return cls(row, IntervalSums.of(start, torch.maximum(start, stop), n_points), point, before)


def _followed(x: Tensor, value: int) -> Tensor:
    """Append a value."""
    return torch.cat([x, x.new_full((1,), value)])
