"""Risk sets of several causes: all of the loss of competing risks that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from sksurvtorch._validation import (
    HAZARDS,
    TIES,
    array,
    check_any_cause,
    check_number,
    check_option,
    check_risk_columns,
)
from sksurvtorch.functional._arrays import count
from sksurvtorch.functional._autograd import refuse_transforms
from sksurvtorch.functional._bins import Bins
from sksurvtorch.functional._bins_of_causes import Causes, columns_of_pairs
from sksurvtorch.functional._censoring import centred, log_censoring
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.functional._levels import FEW_ROWS, Levels, levels
from sksurvtorch.functional._order import ascends, codes_of, keys, sort
from sksurvtorch.functional._risk_set import RiskSets
from sksurvtorch.functional._subdistribution import Extended

Columns = dict[str, Tensor]

# Rows of batches that are put into bins in one pass.
_ROWS_AT_ONCE = 2**17
_MADE_BEFORE = "Make risk sets before, and pass them as `risk_sets`."


@final
@dataclass(frozen=True, init=False, eq=False, repr=False)
class CompetingRiskSets:
    """Who is at risk of each cause, sorted once for any number of evaluations of the loss.

    Parameters
    ----------
    status : int tensor of shape (n_samples,)
        0 for a right-censored row, else the number of the cause of its event, from 1 on.
    time : tensor of shape (n_samples,)
        Time of the event or the censoring, floating-point or integer, in any unit.
    entry : tensor of shape (n_samples,), optional
        Time of delayed entry (left truncation), in the unit of `time`.
    stratum : int tensor of shape (n_samples,), optional
        Strata have their own baseline hazards, and their own curves of the censoring.
    weight : tensor of shape (n_samples,), optional
        Weight of each row; a row of weight 0 counts as absent.
    n_causes : int, optional
        Number of causes, which is the number of outputs of the network; by default the largest
        status.
    ties : {"efron", "breslow"}, default="efron"
        How events of a cause at the same time share their risk set.
    hazard : {"cause-specific", "subdistribution"}, default="cause-specific"
        Whether a row with an event of another cause leaves the risk set, or stays there with the
        weights of Fine and Gray.

    Raises
    ------
    NoEventError
        If there is no event of positive weight.
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    See Also
    --------
    RiskSets : The same for one cause.

    Notes
    -----
    O(n log n) time and O(n) memory for each cause. Conventions are those of `RiskSets`.

    The curve of the censoring of ``hazard="subdistribution"`` is estimated here, from all rows.
    `take`, `split` and `to` keep it: a batch has the weights of all data, not those that its few
    rows would give.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.functional import CompetingRiskSets
    >>> CompetingRiskSets(torch.tensor([1, 2, 0]), torch.tensor([1, 2, 3]))
    CompetingRiskSets(n_samples=3, n_events=[1, 1], ties='efron', hazard='cause-specific')
    """

    n_causes: int  #: Number of causes.
    ties: str
    hazard: str
    _columns: Columns

    @left_out_of_graphs
    def __init__(
        self,
        status: Tensor,
        time: Tensor,
        *,
        entry: Tensor | None = None,
        stratum: Tensor | None = None,
        weight: Tensor | None = None,
        n_causes: int | None = None,
        ties: str = "efron",
        hazard: str = "cause-specific",
    ) -> None:
        check_option("ties", ties, TIES)
        check_option("hazard", hazard, HAZARDS)
        if n_causes is not None:
            check_number("n_causes", n_causes, int, 1)
        refuse_transforms("CompetingRiskSets", _MADE_BEFORE)
        columns = check_risk_columns(status, time, entry, stratum, weight)
        copies = {name: column.clone() for name, column in columns.items()}
        largest = int(copies["status"].max()) if len(copies["status"]) else 0
        if n_causes is not None and n_causes < largest:
            raise ValueError(
                f"`n_causes` must be at least the largest `status`, {largest}, got {n_causes}. "
                "The causes are numbered from 1 on."
            )
        made = self.of_columns(copies, n_causes or max(largest, 1), ties, hazard)
        vars(self).update(vars(made))

    @classmethod
    @left_out_of_graphs
    def of_columns(
        cls, columns: Columns, n_causes: int, ties: str, hazard: str
    ) -> CompetingRiskSets:
        """Return the risk sets of columns that were checked before.

        Parameters
        ----------
        columns : dict of tensors of shape (n_samples,)
            Columns by name, status and time among them, with valid values of the right dtype. They
            are kept without a copy, so they may not change afterwards. With `log_censoring` among
            them, as `log_censoring` gives it for more rows, no curve of the censoring is estimated.
        n_causes : int
            Number of causes.
        ties : {"efron", "breslow"}
            How events of a cause at the same time share their risk set.
        hazard : {"cause-specific", "subdistribution"}
            Whether a row with an event of another cause leaves the risk set.

        Returns
        -------
        CompetingRiskSets
            The risk sets of all rows.

        Raises
        ------
        NoEventError
            If there is no event of positive weight.
        """
        check_any_cause(count(columns["status"] > 0), len(columns["status"]))
        own = {name: x for name, x in columns.items() if name != "log_censoring"}
        made = cls._of(own, n_causes, ties, hazard)
        if hazard == "subdistribution" and n_causes > 1:  # with one cause nobody stays at risk
            known = columns.get("log_censoring")
            if known is None:
                known = log_censoring(own, made._levels if made._has_bins else None)
            own["log_censoring"] = known
        return made

    @classmethod
    def _of(
        cls, columns: Columns, n_causes: int, ties: str, hazard: str, **known: Any
    ) -> CompetingRiskSets:
        """Make risk sets of their columns, and of what is known of them already."""
        made = cls.__new__(cls)
        options = {"n_causes": n_causes, "ties": ties, "hazard": hazard}
        vars(made).update(_columns=columns, **options, **known)
        return made

    @left_out_of_graphs
    def take(self, index: Tensor) -> CompetingRiskSets:
        """Return the risk sets of some rows alone.

        Parameters
        ----------
        index : int tensor of shape (n_taken,)
            The rows to take, each at most once.

        Returns
        -------
        CompetingRiskSets
            The risk sets among these rows, in the order of `index`, with the curve of the censoring
            of all rows.

        Raises
        ------
        NoEventError
            If no row of them has an event.
        """
        refuse_transforms("CompetingRiskSets.take", _MADE_BEFORE)
        index = index.to(self.device)
        columns = {name: column.index_select(0, index) for name, column in self._columns.items()}
        check_any_cause(count(columns["status"] > 0), len(index))
        return self._of(columns, self.n_causes, self.ties, self.hazard)

    @left_out_of_graphs
    def split(self, index: Tensor, sizes: Sequence[int]) -> list[CompetingRiskSets]:
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
        list of CompetingRiskSets
            For each batch what `take` returns.

        Raises
        ------
        NoEventError
            If a batch has no event.

        Notes
        -----
        With late entry or strata, and on other devices than the CPU, the batches are laid out one
        by one.
        """
        sizes = list(sizes)
        if self._has_bins and len(index) > _ROWS_AT_ONCE and len(sizes) > 1:  # for less memory
            half = len(sizes) // 2
            first, second = index.tensor_split([sum(sizes[:half])])
            return self.split(first, sizes[:half]) + self.split(second, sizes[half:])
        taken = self.take(index)
        parts = [column.split(sizes) for column in taken._columns.values()]
        each = [dict(zip(taken._columns, part, strict=True)) for part in zip(*parts, strict=True)]
        for columns in each:
            check_any_cause(count(columns["status"] > 0), len(columns["status"]))
        in_bins: Sequence[Bins] | None = None
        if self._has_bins:
            level = self._levels.of_row.take(array(index))
            in_bins = taken._causes.batches(self.ties, level, np.asarray(sizes))
        known: list[dict[str, Any]] = [{} for _ in sizes]
        if in_bins is not None:
            known = [{"bins": bins} for bins in in_bins]
        options = self.n_causes, self.ties, self.hazard
        return [self._of(own, *options, **more) for own, more in zip(each, known, strict=True)]

    @left_out_of_graphs
    def to(self, device: torch.device | str) -> CompetingRiskSets:
        """Return these risk sets on `device`."""
        device = torch.device(device)
        if device == self.device:
            return self
        columns = {name: column.to(device) for name, column in self._columns.items()}
        pairs = self.pairs.to(device)
        return self._of(columns, self.n_causes, self.ties, self.hazard, pairs=pairs)

    def __len__(self) -> int:
        return self.n_samples

    def __repr__(self) -> str:
        return (
            f"CompetingRiskSets(n_samples={self.n_samples}, n_events={self.n_events.tolist()}, "
            f"ties={self.ties!r}, hazard={self.hazard!r})"
        )

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self._columns["status"].shape[0]

    @cached_property
    @left_out_of_graphs
    def n_events(self) -> Tensor:
        """Number of events of each cause, of positive weight."""
        return torch.bincount(self._columns["status"], minlength=self.n_causes + 1)[1:].cpu()

    @property
    def columns(self) -> Columns:
        """The columns given, by name; a row of weight 0 has the status 0."""
        return {name: x for name, x in self._columns.items() if name != "log_censoring"}

    @property
    def log_censoring(self) -> Tensor | None:
        """Logarithm of G(t-), for late entry times H(t-), at each time; None if not needed."""
        return self._columns.get("log_censoring")

    @property
    def device(self) -> torch.device:
        """Device of the risk sets."""
        return self._columns["status"].device

    @cached_property
    @left_out_of_graphs
    def order(self) -> Tensor | None:
        """Rows by stratum, then from the latest time to the earliest; None if they lie so."""
        columns = self._columns
        entry, stratum = columns.get("entry"), columns.get("stratum")
        key, _ = keys(columns["status"] > 0, columns["time"], entry, stratum)
        return None if ascends(key) else sort(key)[1]

    @cached_property
    @left_out_of_graphs
    def total_event_weight(self) -> Tensor:
        """Sum of the weights of the events of all causes, by which the mean is divided."""
        if self.bins is None:
            return self.pairs.total_event_weight
        return torch.tensor(self.bins.total_event_weight, dtype=torch.float64, device="cpu")

    @property
    def _has_bins(self) -> bool:
        is_plain = "entry" not in self._columns and "stratum" not in self._columns
        return is_plain and self.device.type == "cpu"

    @cached_property
    def _levels(self) -> Levels:
        return levels(self._columns["time"])

    @property
    def _causes(self) -> Causes:
        """The rows with their causes, for bins."""
        columns, logs = self._columns, self._columns.get("log_censoring")
        own = None if logs is None else array(centred(logs))
        return Causes(array(columns["status"]), self.n_causes, columns.get("weight"), own)

    @cached_property
    def bins(self) -> Bins | None:
        """Pairs of rows and causes in bins; None where the sums are taken in another way."""
        if not self._has_bins:
            return None
        if self.n_causes == 1:
            return self.pairs.bins
        level, causes = self._levels, self._causes
        if self.n_samples > FEW_ROWS:
            level, _ = level.joined(causes.status > 0)
        return causes.bins(self.ties, level)

    @cached_property
    def pairs(self) -> RiskSets:
        """Risk sets of the pairs of a row and a cause, row by row, where a cause is a stratum."""
        columns = dict(self._columns)
        logs, stratum = columns.pop("log_censoring", None), columns.pop("stratum", None)
        codes = None if stratum is None else codes_of(stratum)
        made = columns_of_pairs(columns, self.n_causes, codes)
        risk_sets = RiskSets.of_columns(made, self.ties)
        if logs is None:
            return risk_sets
        log_of_pair = centred(logs).repeat_interleave(self.n_causes)
        is_event = (columns["status"] > 0).repeat_interleave(self.n_causes)
        extended = Extended(log_of_pair, is_event & ~made["event"])
        return risk_sets.extended(extended)
