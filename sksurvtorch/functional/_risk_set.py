"""Risk sets: all of the Cox partial likelihood that does not depend on the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sksurvtorch._validation import (
    TIES,
    check_any_event,
    check_columns,
    check_option,
)
from sksurvtorch.functional._arithmetic import Linear, moved, widest
from sksurvtorch.functional._denominators import Denominators, Groups, LateEntry, Segments
from sksurvtorch.functional._order import ascends, keys, nonzero, sort
from sksurvtorch.functional._plan import MatrixPlan, Plan, RunningPlan

# Up to so many entries, rows times events, a matrix is faster than sums over intervals.
_MATRIX_ENTRIES = 2**16


class RiskSets:
    """Who is at risk at each event, sorted once for any number of evaluations of the loss.

    A row is at risk on (entry, time] within its stratum; a row censored at the time of an event is
    at risk there. Ties are decided on `time` in the dtype given.

    Parameters
    ----------
    event : bool tensor of shape (n_samples,)
        True for an observed event, False for a right-censored row.
    time : tensor of shape (n_samples,)
        Time of the event or the censoring, floating-point or integer, in any unit.
    entry : tensor of shape (n_samples,), optional
        Time of delayed entry (left truncation), in the unit of `time`.
    stratum : int tensor of shape (n_samples,), optional
        Strata have their own baseline hazard: no risk set spans two of them.
    weight : tensor of shape (n_samples,), optional
        Weight of each row; a row of weight 0 counts as absent.
    ties : {"efron", "breslow"}, default="efron"
        How events at the same time share their risk set.

    Attributes
    ----------
    n_samples : int
        Number of rows.
    n_events : int
        Number of events of positive weight.
    total_event_weight : tensor of shape ()
        Sum of the weights of the events, by which the reduction ``"mean"`` divides.

    Raises
    ------
    NoEventError
        If there is no event of positive weight.
    ValueError, TypeError
        If an argument has the wrong kind, shape or content. Values are checked on the CPU only.

    Notes
    -----
    Construction takes O(n log n) time and O(n) memory, for any pattern of ties and any number of
    strata.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.functional import RiskSets, cox_neg_partial_log_likelihood
    >>> risk_sets = RiskSets(torch.tensor([True, True, False]), torch.tensor([1, 2, 3]))
    >>> loss = cox_neg_partial_log_likelihood(torch.zeros(3), risk_sets=risk_sets, reduction="sum")
    >>> round(loss.exp().item(), 4)  # three at risk at the first event, two at the second
    6.0
    """

    def __init__(
        self,
        event: Tensor | None,
        time: Tensor | None,
        *,
        entry: Tensor | None = None,
        stratum: Tensor | None = None,
        weight: Tensor | None = None,
        ties: str = "efron",
    ) -> None:
        check_option("ties", ties, TIES)
        self._sort(check_columns(event, time, entry, stratum, weight), ties)

    @classmethod
    def of_checked(cls, columns: Mapping[str, Tensor], ties: str) -> RiskSets:
        """Return the risk sets of columns that were checked before, each of the right dtype."""
        risk_sets = cls.__new__(cls)
        risk_sets._sort(columns, ties)
        return risk_sets

    def _sort(self, columns: Mapping[str, Tensor], ties: str) -> None:
        """Sort the rows."""
        self.ties = ties
        self._event, self._time = columns["event"], columns["time"]
        self._entry, self._stratum = columns.get("entry"), columns.get("stratum")
        self._weight = columns.get("weight")
        if self._weight is not None:
            self._event = self._event & (self._weight > 0)
        if self._weight is not None or not len(self._event):
            check_any_event(int(self._event.sum()), len(self._event))
        self._key, self._stop_key = keys(self._event, self._time, self._entry, self._stratum)
        self._weigh()
        self._build()

    def take(self, index: Tensor) -> RiskSets:
        """Return the risk sets of some rows alone.

        Nothing is sorted if these rows come in the order of `order`, as they do when the rows of
        these risk sets are in order and `index` ascends.

        Parameters
        ----------
        index : int tensor of shape (n_taken,)
            The rows to take, each at most once.

        Returns
        -------
        RiskSets
            The risk sets among these rows, in the order of `index`.

        Raises
        ------
        NoEventError
            If no row of them has an event.
        """
        taken = self._rows(index.to(self.device))
        taken._build()
        return taken

    def split(self, index: Tensor, sizes: Sequence[int]) -> list[RiskSets]:
        """Return the risk sets of several batches of rows, all laid out in one pass.

        Parameters
        ----------
        index : int tensor of shape (n_taken,)
            The rows of the first batch, then those of the second, and so on. Nothing is sorted if
            those of each batch come in the order of `order`.
        sizes : sequence of int
            Number of rows of each batch.

        Returns
        -------
        list of RiskSets
            For each batch what `take` returns.

        Raises
        ------
        NoEventError
            If a batch has no event.
        """
        if self._stratum is not None or self._entry is not None:
            return [self.take(rows) for rows in index.to(self.device).split(list(sizes))]
        taken = self._rows(index.to(self.device))
        return _batches(taken, Segments(torch.tensor(sizes, device=self.device)))

    def to(self, device: torch.device | str) -> RiskSets:
        """Return these risk sets on `device`."""
        device = torch.device(device)
        if device == self.device:
            return self
        there = RiskSets.__new__(RiskSets)
        for name, value in vars(self).items():
            setattr(there, name, moved(value, device))
        return there

    def __len__(self) -> int:
        return self.n_samples

    def __repr__(self) -> str:
        return f"RiskSets(n_samples={self.n_samples}, n_events={self.n_events}, ties={self.ties!r})"

    @property
    def columns(self) -> dict[str, Tensor]:
        """The columns given, by name; a row of weight 0 has no event."""
        names = ("event", "time", "entry", "stratum", "weight")
        columns = {name: getattr(self, "_" + name) for name in names}
        return {name: column for name, column in columns.items() if column is not None}

    @property
    def device(self) -> torch.device:
        """Device of the risk sets."""
        return self._event.device

    def _weigh(self) -> None:
        """Set the weights of the events, and the logarithms of those of the rows."""
        dtype = widest(self.device)
        self.event_weight = self._event.to(dtype)
        self.log_weight: Tensor | None = None
        self.log_weight_range = self.log_weight_middle = 0.0
        if self._weight is not None:
            weight = self._weight.to(dtype)
            self.event_weight = self.event_weight * weight
            self.log_weight = weight.log()
            lowest, highest = self.log_weight[weight > 0].aminmax()
            self.log_weight_range = float(highest - lowest)
            self.log_weight_middle = float(highest + lowest) / 2

    def _rows(self, index: Tensor) -> RiskSets:
        """Return some rows, without a plan yet; the range of all weights is safe for them too."""
        taken = RiskSets.__new__(RiskSets)
        taken.ties = self.ties
        taken.log_weight_range = self.log_weight_range
        taken.log_weight_middle = self.log_weight_middle
        for name in _COLUMNS:
            column = getattr(self, name)
            setattr(taken, name, None if column is None else column.index_select(0, index))
        return taken

    def _build(self) -> None:
        """Sort the rows, and lay out the denominators."""
        self.n_samples = len(self._key)
        #: Rows by stratum, then from the latest time to the earliest, the censored of a time
        #: before its events; None if they come in this order.
        self.order: Tensor | None = None
        key, event = self._key, self._event
        if not ascends(key):
            key, self.order = sort(key)
            event = (key & 1).bool()
        stop = None if self._stop_key is None else self.in_order(self._stop_key)
        row = nonzero(event)
        self.n_events = len(row)
        check_any_event(self.n_events, self.n_samples)
        self.total_event_weight = self.event_weight.sum()
        self.plan: Plan
        if stop is not None and self.n_samples * self.n_events <= _MATRIX_ENTRIES:
            event_weight = self.in_order(self.event_weight)
            self.plan, self.denominator_weight = MatrixPlan.of(
                key, stop, row, event_weight, self.ties
            )
            return
        segments = self._segments()
        groups = Groups.of(event, row, key, segments)
        weight = None if self._weight is None else self.group_weight(groups)
        made = Denominators.of(groups, weight, self.ties, segments)
        late = None
        if stop is not None:
            # The first group at which a row is not at risk any more.
            stop = torch.searchsorted(key[groups.first], stop)
            late = LateEntry.of(groups, event, stop, segments, made)
        self.denominator_weight, self.plan = made.weight, RunningPlan.of(made, segments, late)

    def groups(self) -> tuple[Groups, Segments | None]:
        """Return the groups of tied events, and the strata, in the order of the risk sets."""
        event, segments = self.in_order(self._event), self._segments()
        key = self.in_order(self._key)
        return Groups.of(event, nonzero(event), key, segments), segments

    def _segments(self) -> Segments | None:
        """Return the strata in the order of the risk sets."""
        return None if self._stratum is None else Segments.of(self.in_order(self._stratum))

    def group_weight(self, groups: Groups) -> Tensor:
        """Return the sum of the weights of the events of each group."""
        if self._weight is None:
            if groups.size is None:
                return self.event_weight.new_ones(len(groups.row))
            return groups.size.to(self.event_weight.dtype)
        weight = self.event_weight.index_select(0, self.row(groups.row))
        if groups.of_event is None:
            return weight
        return Linear.bin(weight, groups.of_event.long(), len(groups.start))

    def row(self, position: Tensor) -> Tensor:
        """Return the rows at positions in the order of the risk sets."""
        return position if self.order is None else self.order.index_select(0, position)

    def by_row(self, value: Tensor) -> Tensor:
        """Return what is in the order of the risk sets by row: undo `in_order`."""
        if self.order is None:
            return value
        return torch.empty_like(value).scatter_(0, self.order, value)

    def in_order(self, value: Tensor) -> Tensor:
        """Return the rows of `value` in the order of the risk sets."""
        return value if self.order is None else value.index_select(0, self.order)


#: What a row has.
_COLUMNS = (
    "_event", "_time", "_entry", "_stratum", "_weight", "_key", "_stop_key", "event_weight",
    "log_weight",
)  # fmt: skip


def _order_within(key: Tensor, segments: Segments) -> Tensor | None:
    """Return the rows by segment and key; None if they come in this order."""
    same_segment = segments.of_row[1:] == segments.of_row[:-1]
    if not bool(((key[1:] < key[:-1]) & same_segment).any()):
        return None
    by_key = sort(key)[1]
    by_segment = sort(segments.of_row.index_select(0, by_key))[1]
    return by_key.index_select(0, by_segment)


def _batches(rows: RiskSets, segments: Segments) -> list[RiskSets]:
    """Make the risk sets of batches, whose rows stand behind each other."""
    rows.order = order = _order_within(rows._key, segments)
    if order is not None:  # counted within each batch
        order = order - segments.start.index_select(0, segments.of_row)
    key, event = rows.in_order(rows._key), rows.in_order(rows._event)
    groups = Groups.of(event, nonzero(event), key, segments)
    assert groups.stop is not None
    sizes, n_batches = segments.lengths.tolist(), len(segments.lengths)
    n_events = torch.diff(groups.stop, prepend=groups.stop.new_zeros(1)).tolist()
    if 0 in n_events:
        check_any_event(0, sizes[n_events.index(0)])
    weight = None if rows._weight is None else rows.group_weight(groups)
    made = Denominators.of(groups, weight, rows.ties, segments)
    assert made.lengths is not None
    columns: dict[str, Sequence[Any]] = {
        "n_samples": sizes,
        "n_events": n_events,
        "total_event_weight": Linear.bin(rows.event_weight, segments.of_row, n_batches).unbind(),
        "order": [None] * n_batches if order is None else order.split(sizes),
        "denominator_weight": made.weight.split(made.lengths.tolist()),
        "plan": RunningPlan.of_batches(made, sizes),
    }
    same: dict[str, Any] = {
        "ties": rows.ties,
        "log_weight_range": rows.log_weight_range,
        "log_weight_middle": rows.log_weight_middle,
    }
    for name in _COLUMNS:
        column = getattr(rows, name)
        if column is None:
            same[name] = None
        else:
            columns[name] = column.split(sizes)
    batches = []
    for values in zip(*columns.values(), strict=True):
        batch = RiskSets.__new__(RiskSets)
        vars(batch).update(same, **dict(zip(columns, values, strict=True)))
        batches.append(batch)
    return batches
