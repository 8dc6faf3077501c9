"""Risk sets: all of the Cox partial likelihood that does not depend on the network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sksurvtorch._validation import (
    TIES,
    check_any_event,
    check_codes,
    check_entry,
    check_event,
    check_option,
    check_time,
    check_weight,
    comparable,
)
from sksurvtorch.functional._interval_sums import IntervalSums


def argsort(x: Tensor) -> Tensor:
    """Sort by numpy on the CPU, where it is several times faster than torch."""
    if x.device.type != "cpu":
        return x.argsort()
    return torch.from_numpy(x.numpy().argsort())


def nonzero(x: Tensor) -> Tensor:
    """Return the places of what is True; by numpy on the CPU, where it is faster."""
    if x.device.type != "cpu":
        return x.nonzero().squeeze(1)
    return torch.from_numpy(x.numpy().nonzero()[0])


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
        event = check_event(event)
        columns = {"event": event, "time": check_time(time, len(event))}
        if entry is not None:
            columns["entry"] = check_entry(entry, columns["time"])
        if stratum is not None:
            columns["stratum"] = check_codes("stratum", stratum, len(event))
        if weight is not None:
            columns["weight"] = check_weight(weight, len(event))
        self._sort(columns, ties)

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
        check_any_event(self._event)
        keys = _keys(self._event, self._time, self._entry, self._stratum)
        self._key, self._stop_key = keys
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
        taken = RiskSets.__new__(RiskSets)
        taken.ties = self.ties
        for name in ("_event", "_time", "_entry", "_stratum", "_weight", "_key", "_stop_key"):
            column = getattr(self, name)
            setattr(taken, name, None if column is None else column.index_select(0, index))
        check_any_event(taken._event)
        taken._build()
        return taken

    def to(self, device: torch.device | str) -> RiskSets:
        """Return these risk sets on `device`."""
        device = torch.device(device)
        if device == self.device:
            return self
        moved = RiskSets.__new__(RiskSets)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                value = value.to(device, non_blocking=True)
            elif isinstance(value, IntervalSums):
                value = value.to(device)
            setattr(moved, name, value)
        return moved

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

    def _build(self) -> None:
        """Find the order of the rows, and the first and last row of each group of tied events."""
        self.n_samples = len(self._key)
        #: Rows by stratum, then from the latest time to the earliest, the censored of a time
        #: before its events; None if they come in this order.
        self.order: Tensor | None = None
        if not _ascends(self._key):
            self.order = argsort(self._key)
        key, event = self.in_order(self._key), self.in_order(self._event)
        stop = None
        if self._stop_key is not None:
            stop = torch.searchsorted(key, self.in_order(self._stop_key))
        self.interval_sums = IntervalSums(stop, self.n_samples)

        row = nonzero(event)
        self.event_rows = row if self.order is None else self.order.index_select(0, row)
        self.n_events = self.n_groups = len(row)
        self.first = self.last = row
        #: Group of each event in order; None if no two are tied.
        self.event_group: Tensor | None = None
        event_key = key.index_select(0, row)
        is_tied = event_key[1:] == event_key[:-1]
        if bool(is_tied.any()):
            self._group(row, is_tied)
        self._sum_event_weights(row)

    def _group(self, row: Tensor, is_tied: Tensor) -> None:
        """Find the groups of tied events, given which events are tied with the one before."""
        starts = torch.ones_like(row, dtype=torch.bool)
        torch.logical_not(is_tied, out=starts[1:])
        start = nonzero(starts)
        self.n_groups = len(start)
        size = torch.diff(start, append=start.new_full((1,), len(row)))
        self.first = row.index_select(0, start)
        self.last = self.first + (size - 1)
        group = torch.repeat_interleave(size, output_size=len(row))
        rank = torch.arange(len(row), device=row.device) - start.index_select(0, group)
        self.event_group = group
        self.group_size = size.to(widest(size.device))
        #: Efron's fractions l / d, l = 0, ..., d - 1, of the events in order.
        self.fraction = rank / self.group_size.index_select(0, group)

    def _sum_event_weights(self, row: Tensor) -> None:
        """Set the weights of rows, events and groups of events."""
        dtype = widest(self.device)
        self.event_weight = self._event.to(dtype)
        self.log_weight: Tensor | None = None
        self.log_weight_range = self.log_weight_middle = 0.0
        if self._weight is None:
            ones = self.event_weight.new_ones(self.n_groups)
            self.group_weight = ones if self.event_group is None else self.group_size
            self.total_event_weight = torch.tensor(self.n_events, dtype=dtype, device=self.device)
            return
        self.event_weight = self.event_weight * self._weight.to(dtype)
        self.total_event_weight = self.event_weight.sum()
        self.log_weight = self.in_order(self._weight).to(dtype).log()
        lowest, highest = self.log_weight[self.log_weight > -torch.inf].aminmax()
        self.log_weight_range = float(highest - lowest)
        self.log_weight_middle = float(highest + lowest) / 2
        self.group_weight = self.in_order(self.event_weight).index_select(0, row)
        if self.event_group is not None:
            zeros = self.event_weight.new_zeros(self.n_groups)
            self.group_weight = zeros.index_add_(0, self.event_group, self.group_weight)

    def group_labels(self) -> tuple[Tensor | None, Tensor]:
        """Return stratum (None without strata) and time of each group of tied events."""
        row = self.last if self.order is None else self.order.index_select(0, self.last)
        stratum = None if self._stratum is None else self._stratum.index_select(0, row)
        return stratum, self._time.index_select(0, row)

    def in_order(self, value: Tensor) -> Tensor:
        """Return the rows of `value` in the order of the risk sets."""
        return value if self.order is None else value.index_select(0, self.order)

    def to_rows(self, value: Tensor) -> Tensor:
        """Return `value`, which is in the order of the risk sets, by row: undo `in_order`."""
        if self.order is None:
            return value
        return torch.empty_like(value).index_copy_(0, self.order, value)


def _ascends(x: Tensor) -> bool:
    """Whether no element is less than the one before."""
    head = x[:64]  # tells most of the time
    return not (bool((head[1:] < head[:-1]).any()) or bool((x[1:] < x[:-1]).any()))


def widest(device: torch.device) -> torch.dtype:
    """Return the widest floating-point type of the device."""
    return torch.float32 if device.type == "mps" else torch.float64


def _keys(
    event: Tensor, time: Tensor, entry: Tensor | None, stratum: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Return integer keys that sort the rows, and the keys at which they end.

    Times become levels, integers in their order. A row has the key event - 2 level, so the latest
    time comes first, and the censored of a time before its events; it ends at the first key of the
    last level that is not after its entry. The keys of a stratum lie behind those of another.
    """
    before = None
    if entry is not None:
        if entry.is_floating_point() and not time.is_floating_point():
            # A whole number is above x if it is above the largest whole number up to x.
            entry = entry.to(widest(entry.device)).floor().clamp(min=-(2.0**63)).long()
        time, entry = comparable(time, entry)
        before = _ordinals(entry)
    ordinal = _ordinals(time)
    low, high = (int(bound) for bound in ordinal.aminmax())
    if stratum is None and high - low < 2**63 - 4:
        middle = (low + high) // 2  # so that twice the difference is an int64
        level = ordinal - middle
        if before is not None:
            before = before.clamp(min=low - 1) - middle
        return event.long() - 2 * level, None if before is None else -2 * before
    level, ordinals = _ranks(ordinal)
    if before is not None:
        before = torch.searchsorted(ordinals, before, right=True) - 1
    if stratum is None:
        return event.long() - 2 * level, None if before is None else -2 * before
    shift = _codes(stratum) * (2 * (len(ordinals) + 1))
    stop = shift + 2 if before is None else shift - 2 * before
    return event.long() - 2 * level + shift, stop


def _ordinals(x: Tensor) -> Tensor:
    """Return integers in the order of the values: the bits of floating-point numbers."""
    if not x.is_floating_point():
        return x.long()
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    bits = (x + 0.0).view(kind)  # -0.0 becomes 0.0
    if int(bits.min()) < 0:  # the bits of a negative number grow with its magnitude
        bits = torch.where(bits < 0, bits ^ torch.iinfo(kind).max, bits)
    return bits.long()


def _ranks(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rank of each value among the distinct ones, counted from 0, and these."""
    ascending = argsort(x)
    in_order = x.index_select(0, ascending)
    is_new = torch.ones_like(in_order, dtype=torch.bool)
    is_new[1:] = in_order[1:] != in_order[:-1]
    rank = torch.empty_like(ascending).index_copy_(0, ascending, is_new.cumsum(0) - 1)
    return rank, in_order.masked_select(is_new)


def _codes(stratum: Tensor) -> Tensor:
    """Return codes of the strata that count from 0 with few gaps."""
    lowest, highest = int(stratum.min()), int(stratum.max())
    if highest - lowest <= 2 * len(stratum):
        return stratum - lowest
    codes: Tensor = stratum.unique(return_inverse=True)[1]
    return codes
