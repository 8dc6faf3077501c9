"""Risk sets: all of the Cox partial likelihood that does not depend on the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sksurvtorch._validation import TIES, check_columns, check_option
from sksurvtorch.functional._arithmetic import moved, widest
from sksurvtorch.functional._autograd import refuse_transforms
from sksurvtorch.functional._groups import Groups, Segments
from sksurvtorch.functional._layout import (
    Layout,
    lay_out,
    lay_out_batches,
    strata_of,
    weights_of_groups,
)
from sksurvtorch.functional._order import ascends, in_order, keys, nonzero, sort
from sksurvtorch.functional._rows import Rows, events

_MADE_BEFORE = "Make risk sets before, and pass them as `risk_sets`."


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
    Construction takes O(n log n) time and O(n) memory, for any pattern of ties and any number of
    strata.

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
    rows: Rows
    layout: Layout

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
    def _of(cls, ties: str, rows: Rows, layout: Layout) -> RiskSets:
        """Make risk sets of their parts; whatever makes some does it here."""
        made = cls.__new__(cls)
        vars(made).update(ties=ties, rows=rows, layout=layout)
        return made

    @classmethod
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
        rows = Rows.of(columns)
        return cls._of(ties, rows, lay_out(rows, ties))

    @staticmethod
    def order_of(columns: Mapping[str, Tensor]) -> Tensor | None:
        """Return the `order` of the risk sets of checked columns, without laying them out."""
        entry, stratum = columns.get("entry"), columns.get("stratum")
        key, _ = keys(events(columns), columns["time"], entry, stratum)
        return None if ascends(key) else sort(key)[1]

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
        rows = self.rows.take(index.to(self.device))
        return self._of(self.ties, rows, lay_out(rows, self.ties))

    def split(self, index: Tensor, sizes: Sequence[int]) -> list[RiskSets]:
        """Return the risk sets of several batches of rows, all laid out in one pass.

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
        if self.rows.entry is not None or self.rows.stratum is not None:
            return [self.take(batch) for batch in index.split(sizes)]
        rows = self.rows.take(index)
        layouts = lay_out_batches(rows, self.ties, sizes)
        pairs = zip(rows.split(sizes), layouts, strict=True)
        return [self._of(self.ties, batch, layout) for batch, layout in pairs]

    def splits_on(self, device: torch.device | str) -> bool:
        """Whether `split` takes one pass on `device`: no late entry, no strata, float64 there."""
        has_float64 = widest(torch.device(device)) == torch.float64
        return has_float64 and self.rows.entry is None and self.rows.stratum is None

    def to(self, device: torch.device | str) -> RiskSets:
        """Return these risk sets on `device`."""
        device = torch.device(device)
        if device == self.device:
            return self
        return self._of(self.ties, moved(self.rows, device), moved(self.layout, device))

    def __len__(self) -> int:
        return self.n_samples

    def __repr__(self) -> str:
        return f"RiskSets(n_samples={self.n_samples}, n_events={self.n_events}, ties={self.ties!r})"

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.rows.event.numel()

    @property
    def n_events(self) -> int:
        """Number of events of positive weight."""
        return self.layout.n_events

    @property
    def total_event_weight(self) -> Tensor:
        """Sum of the weights of the events, by which the reduction ``"mean"`` divides."""
        return self.layout.total_event_weight

    @property
    def order(self) -> Tensor | None:
        """Rows in the order of the risk sets; None if they lie so."""
        return self.layout.order

    @property
    def columns(self) -> dict[str, Tensor]:
        """The columns given, by name; a row of weight 0 has no event."""
        names = ("event", "time", "entry", "stratum", "weight")
        given = {name: getattr(self.rows, name) for name in names}
        return {name: column for name, column in given.items() if column is not None}

    @property
    def device(self) -> torch.device:
        """Device of the risk sets."""
        return self.rows.event.device

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
        order = self.layout.order
        return position if order is None else order.index_select(0, position)

    def by_row(self, value: Tensor) -> Tensor:
        """Return values by row that are given in the order of the risk sets: undo `in_order`."""
        order = self.layout.order
        return value if order is None else torch.empty_like(value).scatter_(0, order, value)

    def in_order(self, value: Tensor) -> Tensor:
        """Return the rows of `value` in the order of the risk sets."""
        return in_order(value, self.layout.order)
