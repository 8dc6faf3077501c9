"""Risk sets: all of the Cox partial likelihood that does not depend on the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sksurvtorch._validation import TIES, check_any_event, check_columns, check_option
from sksurvtorch.functional._arithmetic import moved, widest
from sksurvtorch.functional._arrays import count
from sksurvtorch.functional._autograd import refuse_transforms
from sksurvtorch.functional._bins import Bins
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.functional._groups import Groups, Segments
from sksurvtorch.functional._layout import (
    Layout,
    lay_out,
    lay_out_batches,
    strata_of,
    weights_of_groups,
)
from sksurvtorch.functional._levels import Levels, levels
from sksurvtorch.functional._order import ascends, in_order, nonzero, sort
from sksurvtorch.functional._rows import Rows, events
from sksurvtorch.functional._subdistribution import Extended

# Rows of batches that are put into bins in one pass.
_ROWS_AT_ONCE = 2**17
_MADE_BEFORE = "Make risk sets before, and pass them as `risk_sets`."

Columns = dict[str, Tensor]


@final
@dataclass(frozen=True, init=False, eq=False, repr=False)
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

    Raises
    ------
    NoEventError
        If there is no event of positive weight.
    ValueError, TypeError
        If an argument has the wrong kind, shape or content. Values are checked on the CPU only.

    Notes
    -----
    What has to be sorted is sorted at the first use of the risk sets, once. That takes O(n log n)
    time and O(n) memory, for any pattern of ties and any number of strata.

    Conventions:

    * Rows keep the places in which they were given, and log hazard ratios come in these places.
      `order` lists them by stratum, then from the latest time to the earliest, the censored rows
      of a time before its events.
    * All columns are on one device, and so are the risk sets; `to` returns them on another one.
    * Columns are copied. They keep their dtype, but `event` becomes bool and `stratum` int64.
      Weights and their sums are float64, or float32 on a device without float64.
    * Risk sets do not change: `take`, `split` and `to` return others.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.functional import RiskSets, cox_neg_partial_log_likelihood
    >>> risk_sets = RiskSets(torch.tensor([True, True, False]), torch.tensor([1, 2, 3]))
    >>> loss = cox_neg_partial_log_likelihood(torch.zeros(3), risk_sets=risk_sets, reduction="sum")
    >>> round(loss.exp().item(), 4)  # three at risk at the first event, two at the second
    6.0
    """

    ties: str
    n_events: int  #: Number of events of positive weight.
    _columns: Columns

    @left_out_of_graphs
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
        refuse_transforms("RiskSets", _MADE_BEFORE)
        columns = check_columns(event, time, entry, stratum, weight)
        copies = {name: column.clone() for name, column in columns.items()}
        vars(self).update(vars(RiskSets.of_columns(copies, ties)))

    @classmethod
    def _of(cls, ties: str, columns: Columns, n_events: int, **known: Any) -> RiskSets:
        """Make risk sets of their columns, and of what is known of them already."""
        check_any_event(n_events, columns["event"].shape[0])
        made = cls.__new__(cls)
        vars(made).update(ties=ties, n_events=n_events, _columns=columns, **known)
        return made

    @classmethod
    @left_out_of_graphs
    def of_columns(cls, columns: Mapping[str, Tensor], ties: str) -> RiskSets:
        """Return the risk sets of columns that were checked before.

        Parameters
        ----------
        columns : mapping of tensors of shape (n_samples,)
            Columns by name, event and time among them, with valid values of the right dtype. They
            are kept without a copy, so they may not change afterwards.
        ties : {"efron", "breslow"}
            How events at the same time share their risk set.

        Returns
        -------
        RiskSets
            The risk sets of all rows.

        Raises
        ------
        NoEventError
            If there is no event of positive weight.
        """
        own = {**columns, "event": events(columns)}
        return cls._of(ties, own, count(own["event"]))

    @left_out_of_graphs
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
        refuse_transforms("RiskSets.take", _MADE_BEFORE)
        # Rows taken in this order lie in it: their keys need not be made to find out.
        known: dict[str, Any] = {"order": None} if index is vars(self).get("order", ()) else {}
        index = index.to(self.device)
        columns = _taken(self._columns, index)
        if not self._has_bins:
            known["rows"] = self.rows.take(index)
        return self._of(self.ties, columns, count(columns["event"]), **known)

    @left_out_of_graphs
    def split(self, index: Tensor, sizes: Sequence[int]) -> list[RiskSets]:
        """Return the risk sets of several batches of rows, laid out together.

        Parameters
        ----------
        index : int tensor of shape (n_taken,)
            The rows of the first batch, then the rows of the second, and so on. Nothing is sorted
            if the rows of each batch come in the order of `order`.
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

        Notes
        -----
        With late entry or strata the batches are laid out one by one.
        """
        refuse_transforms("RiskSets.split", _MADE_BEFORE)
        index, sizes = index.to(self.device), list(sizes)
        if not self._is_plain:
            return [self.take(batch) for batch in index.split(sizes)]
        if self._has_bins and len(index) > _ROWS_AT_ONCE and len(sizes) > 1:  # for less memory
            half = len(sizes) // 2
            first, second = index.tensor_split([sum(sizes[:half])])
            return self.split(first, sizes[:half]) + self.split(second, sizes[half:])
        vars(self).pop("bins", None)  # of a million rows they take 40 MB, and batches have theirs
        columns = _taken(self._columns, index)
        stop = torch.tensor([0, *sizes], dtype=torch.int64, device=self.device).cumsum(0)
        so_far = functional.pad(columns["event"].cumsum(0), (1, 0))
        n_events = so_far.index_select(0, stop).diff().tolist()
        if 0 in n_events:
            check_any_event(0, sizes[n_events.index(0)])
        known = self._known_of_batches(columns, index, sizes)
        parts = zip(_split(columns, sizes), n_events, known, strict=True)
        return [self._of(self.ties, own, n, **more) for own, n, more in parts]

    def _known_of_batches(
        self, columns: Columns, index: Tensor, sizes: list[int]
    ) -> Iterator[dict[str, Any]]:
        """Yield what is known of each batch after one pass over all."""
        if not self._has_bins:
            rows = self.rows.take(index)
            laid_out = lay_out_batches(rows, self.ties, sizes)
            for own, (order, layout) in zip(rows.split(sizes), laid_out, strict=True):
                yield {"rows": own, "order": order, "layout": layout}
            return
        level = self._levels.of_row[index.numpy()]
        in_bins = Bins.of_batches(columns, self.ties, level, np.asarray(sizes))
        yield from [{}] * len(sizes) if in_bins is None else [{"bins": bins} for bins in in_bins]

    def extended(self, extended: Extended) -> RiskSets:
        """Return these risk sets with rows that stay at risk after their event.

        Parameters
        ----------
        extended : Extended
            Which rows these are, and their weights.

        Returns
        -------
        RiskSets
            Risk sets that offer neither `take` nor `split`.
        """
        logs = extended.log_censoring
        spread = float(logs.max() - logs.min())
        rows = self.rows._replace(log_weight_range=self.rows.log_weight_range + spread)
        known = {"rows": rows, "order": self.order, "bins": None}
        layout = lay_out(rows, self.order, self.ties, extended)
        return self._of(self.ties, self._columns, self.n_events, **known, layout=layout)

    def splits_on(self, device: torch.device | str) -> bool:
        """Whether `split` takes one pass on `device`: no late entry, no strata, float64 there."""
        has_float64 = widest(torch.device(device)) == torch.float64
        return has_float64 and self._is_plain

    @left_out_of_graphs
    def to(self, device: torch.device | str) -> RiskSets:
        """Return these risk sets on `device`."""
        device = torch.device(device)
        if device == self.device:
            return self
        parts = "rows", "order", "layout"
        there = moved(tuple(getattr(self, part) for part in parts), device)
        known = dict(zip(parts, there, strict=True))
        return self._of(self.ties, there[0].columns, self.n_events, **known)

    def __len__(self) -> int:
        return self.n_samples

    def __repr__(self) -> str:
        return f"RiskSets(n_samples={self.n_samples}, n_events={self.n_events}, ties={self.ties!r})"

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self._columns["event"].shape[0]

    @property
    def columns(self) -> Columns:
        """The columns given, by name; a row of weight 0 has no event."""
        return dict(self._columns)

    @property
    def device(self) -> torch.device:
        """Device of the risk sets."""
        return self._columns["event"].device

    @property
    def _is_plain(self) -> bool:
        """Whether there is neither late entry nor strata."""
        return "entry" not in self._columns and "stratum" not in self._columns

    @property
    def _has_bins(self) -> bool:
        return self._is_plain and self.device.type == "cpu"

    @cached_property
    def bins(self) -> Bins | None:
        """Rows in bins; None with late entry or strata, and if they are not on the CPU."""
        return Bins.of(self._columns, self.ties) if self._has_bins else None

    @cached_property
    def _levels(self) -> Levels:
        return levels(self._columns["time"])

    @cached_property
    def rows(self) -> Rows:
        """Rows with keys to sort them by."""
        return Rows.of(self._columns)

    @cached_property
    @left_out_of_graphs
    def order(self) -> Tensor | None:
        """Rows in the order of the risk sets; None if they lie so."""
        key = self.rows.key
        return None if ascends(key) else sort(key)[1]

    @cached_property
    def layout(self) -> Layout:
        """Plan of the sums over the risk sets."""
        return lay_out(self.rows, self.order, self.ties)

    @cached_property
    @left_out_of_graphs
    def total_event_weight(self) -> Tensor:
        """Sum of the weights of the events, by which the reduction ``"mean"`` divides."""
        if self.bins is None:
            return self.layout.total_event_weight
        return torch.tensor(self.bins.total_event_weight, dtype=torch.float64, device="cpu")

    def groups(self) -> tuple[Groups, Segments | None]:
        """Return the groups of tied events, and the strata, in the order of the risk sets."""
        event, key = self.in_order(self.rows.event), self.in_order(self.rows.key)
        strata = strata_of(self.rows, self.order)
        return Groups.of(event, nonzero(event), key, strata), strata

    def group_weight(self, groups: Groups) -> Tensor:
        """Return the sum of the weights of the events of each group."""
        return weights_of_groups(self.rows, self.order, groups)

    def row(self, position: Tensor) -> Tensor:
        """Return the rows at positions in the order of the risk sets."""
        order = self.order
        return position if order is None else order.index_select(0, position)

    def by_row(self, value: Tensor) -> Tensor:
        """Return values by row that are given in the order of the risk sets: undo `in_order`."""
        order = self.order
        return value if order is None else torch.empty_like(value).scatter_(0, order, value)

    def in_order(self, value: Tensor) -> Tensor:
        """Return the rows of `value` in the order of the risk sets."""
        return in_order(value, self.order)


def _taken(columns: Columns, index: Tensor) -> Columns:
    """Return the rows of columns at `index`."""
    return {name: column.index_select(0, index) for name, column in columns.items()}


def _split(columns: Columns, sizes: list[int]) -> list[Columns]:
    """Return columns of the first rows, of those behind them, and so on."""
    parts = zip(*(column.split(sizes) for column in columns.values()), strict=True)
    return [dict(zip(columns, part, strict=True)) for part in parts]
