"""Events and times of rows, in the ways in which a loss can take them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from sksurvtorch._processes import Processes
from sksurvtorch._validation import check_columns
from sksurvtorch.functional import BreslowBaseline, RiskSets, breslow_baseline
from sksurvtorch.functional.cox import sum_of_losses
from sksurvtorch.losses import CoxPHLoss, MomentumLoss

Columns = dict[str, Tensor]
#: Of a network: a tensor, or the pair of a `MomentumNetwork`.
Output = Tensor | tuple[Tensor, ...]
Criterion = Callable[..., Tensor]
#: As a net of skorch has it; None leaves tensors where they are.
Device = torch.device | str | None

# Fields of y, in this order, by the columns that there are.
_OUTCOME = {"event": bool, "status": np.int64, "time": float, "lower": float, "upper": float}
# Columns that are times of the outcome, and not of the entry.
_TIMES = ("time", "lower", "upper")


class Target(Mapping[str, Tensor], ABC):
    """Columns of some rows by name, event, time and so on, and the loss of outputs for them."""

    #: Whether batches are laid out as risk sets: each needs an event, and comes in their order.
    has_risk_sets: ClassVar[bool] = False

    #: The columns by name.
    columns: Columns

    @property
    def event(self) -> Tensor:
        """Which rows have an event."""
        return events(self)

    @property
    def cause(self) -> Tensor:
        """Number of the cause of each event, 0 for a censored row."""
        return self["status"] if "status" in self else self.event.long()

    @property
    @abstractmethod
    def information(self) -> Tensor:
        """What the mean loss of the rows is divided by: events for Cox, else rows, weighted."""

    @abstractmethod
    def take(self, rows: Tensor) -> Target:
        """Return the target of some rows."""

    @abstractmethod
    def loss(self, criterion: Criterion, output: Output, device: Device) -> Tensor:
        """Return the loss of an output for all rows; a net has its batches on `device`."""

    def sum_of_losses(
        self,
        criterion: Criterion,
        outputs: Tensor,
        device: Device,
        targets: Sequence[Self],
        factors: Sequence[float],
    ) -> Tensor:
        """Return the sum of the losses of several sets of rows, each multiplied by its factor.

        Parameters
        ----------
        criterion : callable
            Mean loss.
        outputs : tensor of shape (n_sets, n_rows, n_outputs)
            Outputs for each set.
        device : torch.device, str or None
            As for `loss`.
        targets : sequence of Target
            Target of each set, this one in front.
        factors : sequence of float
            What the mean loss of each set is multiplied by.

        Returns
        -------
        tensor of shape ()
            The sum.
        """
        each = zip(targets, outputs, factors, strict=True)
        losses = [factor * y.loss(criterion, output, device) for y, output, factor in each]
        return torch.stack(losses).sum()

    def breslow_baseline(self, log_hazard_ratio: Tensor) -> BreslowBaseline:
        """Return the baseline hazard of a Cox model, given the log hazard ratio of all rows."""
        columns: dict[str, Any] = self.columns
        return breslow_baseline(log_hazard_ratio, **columns)

    def for_bank(self) -> Columns:
        """Return the columns that a memory bank holds."""
        return dict(self)

    def split(self, index: Tensor, sizes: Sequence[int]) -> Sequence[Target]:
        """Return the targets of several batches, whose rows stand behind each other in `index`."""
        return [self.take(rows) for rows in index.split(list(sizes))]

    def to(self, device: torch.device) -> Target:
        """Return this target, on `device` where it is better moved once than batch by batch."""
        return self

    @property
    def order(self) -> Tensor | None:
        """Rows in the order of their risk sets; None if they lie so, or have none."""
        return None

    def outcome(self) -> np.ndarray:
        """Return y, as a user passes it, of the rows that this process holds."""
        kinds = {name: _OUTCOME[name] for name in _OUTCOME if name in self}
        y = np.empty(len(next(iter(self.values()))), dtype=list(kinds.items()))
        for name in kinds:
            y[name] = self[name].cpu().numpy()
        return y

    @property
    def n_rows(self) -> int:
        """Number of rows, summed over the processes."""
        return len(next(iter(self.values())))

    def __getitem__(self, name: str) -> Tensor:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)


def events(columns: Mapping[str, Tensor]) -> Tensor:
    """Return which rows have an event, of any cause, at a time that has an upper bound."""
    if "upper" in columns:
        return columns["upper"].isfinite()
    return columns["event"] if "event" in columns else columns["status"] > 0


def last_times(columns: Mapping[str, Tensor]) -> Tensor:
    """Return the last time at which something is known of each row, of its event or without it."""
    if "upper" in columns:
        return torch.where(columns["upper"].isfinite(), columns["upper"], columns["lower"])
    return columns["time"]


def distinct_times(columns: Mapping[str, Tensor]) -> np.ndarray:
    """Return the times of all rows, ascending; of intervals both bounds, if they are bounds."""
    if "upper" in columns:
        bounds = np.unique(torch.cat([columns["lower"], columns["upper"]]).numpy())
        return bounds[(bounds > 0) & (bounds < np.inf)]
    return np.unique(columns["time"].numpy())


class PlainTarget(Target):
    """Columns for a criterion that takes them as they are.

    Parameters
    ----------
    columns : dict of tensors of shape (n_samples,)
        The columns.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns

    @property
    def information(self) -> Tensor:
        """Number of rows, or the sum of their weights."""
        return self["weight"].sum() if "weight" in self else _number(self.n_rows)

    def take(self, rows: Tensor) -> PlainTarget:
        """Return the target of some rows."""
        return PlainTarget({name: x[rows.to(x.device)] for name, x in self.columns.items()})

    def loss(self, criterion: Criterion, output: Output, device: Device) -> Tensor:
        """Return the loss of an output for all rows; a net has its batches on `device`."""
        if isinstance(criterion, MomentumLoss):  # which knows both outputs, and moves the columns
            return criterion(output, self)  # type: ignore[no-any-return]
        columns = {name: _moved(x, device) for name, x in self.items()}
        return criterion(first_output(output), columns)

    def sum_of_losses(
        self,
        criterion: Criterion,
        outputs: Tensor,
        device: Device,
        targets: Sequence[Self],
        factors: Sequence[float],
    ) -> Tensor:
        """Return the sum of the losses of several sets of rows, all in one call if it can be."""
        alike = len({(factor, y.n_rows) for y, factor in zip(targets, factors, strict=True)}) == 1
        if not (getattr(criterion, "sum_over_samples", False) and (alike or "weight" in self)):
            return super().sum_of_losses(criterion, outputs, device, targets, factors)
        columns = {name: torch.cat([y[name] for y in targets]) for name in self}
        if "weight" in columns:  # those of each set then add up to its factor
            shares = [f / y.information for y, f in zip(targets, factors, strict=True)]
            columns["weight"] = torch.cat(
                [y["weight"] * share for y, share in zip(targets, shares, strict=True)]
            )
        columns = {name: _moved(x, device) for name, x in columns.items()}
        total = criterion(outputs.flatten(0, 1), columns) * sum(factors)
        bound = getattr(criterion, "additive_below", None)
        if bound is None or float(total.detach()) < bound:  # which waits for the device
            return total
        return super().sum_of_losses(criterion, outputs, device, targets, factors)


def _moved(x: Tensor, device: Device) -> Tensor:
    """Return a column on a device; None leaves it where it is, whatever torch's default is."""
    return x if device is None else torch.as_tensor(x, device=device)


class ScaledTarget(PlainTarget):
    """Columns whose times have log times that were centred and scaled.

    Parameters
    ----------
    columns : dict of tensors of shape (n_samples,)
        The columns, with such times.
    center, spread : float
        What the log times were centred by, and then divided by.
    by_bounds : bool, default=False
        Whether the user has passed bounds, also where the columns are event and time.
    """

    def __init__(
        self, columns: Columns, center: float, spread: float, *, by_bounds: bool = False
    ) -> None:
        super().__init__(columns)
        self.center, self.spread, self.by_bounds = center, spread, by_bounds

    def take(self, rows: Tensor) -> ScaledTarget:
        """Return the target of some rows."""
        columns = super().take(rows).columns
        return ScaledTarget(columns, self.center, self.spread, by_bounds=self.by_bounds)

    def outcome(self) -> np.ndarray:
        """Return y, with times in the unit of the user to rounding."""
        y = super().outcome()
        for name in _TIMES:
            if name in self:
                with np.errstate(divide="ignore"):  # a lower bound of 0
                    y[name] = np.exp(self.center + self.spread * np.log(y[name]))
        if not self.by_bounds or "upper" in self:
            return y
        bounds = np.empty(len(y), dtype=[("lower", float), ("upper", float)])
        bounds["lower"] = y["time"]
        bounds["upper"] = np.where(y["event"], y["time"], np.inf)
        return bounds


class RiskSetTarget(Target):
    """Target of a Cox model whose risk sets are known.

    Parameters
    ----------
    risk_sets : RiskSets
        Risk sets of the rows.
    """

    has_risk_sets = True
    risk_sets: RiskSets

    def __init__(self, risk_sets: RiskSets) -> None:
        self.risk_sets = risk_sets
        self.columns = risk_sets.columns  # where a row of weight 0 has no event

    @property
    def information(self) -> Tensor:
        """Number of events, or the sum of their weights."""
        return self.risk_sets.total_event_weight

    @property
    def order(self) -> Tensor | None:
        """Rows in the order of their risk sets; None if they lie so."""
        return self.risk_sets.order

    def take(self, rows: Tensor) -> RiskSetTarget:
        """Return the target of some rows."""
        return RiskSetTarget(self.risk_sets.take(rows))

    def split(self, index: Tensor, sizes: Sequence[int]) -> Sequence[Target]:
        """Return the targets of several batches, all laid out in one pass."""
        return [RiskSetTarget(risk_sets) for risk_sets in self.risk_sets.split(index, sizes)]

    def to(self, device: torch.device) -> RiskSetTarget:
        """Return this target on `device`, if batches can be laid out there."""
        risk_sets = self.risk_sets
        return RiskSetTarget(risk_sets.to(device)) if risk_sets.splits_on(device) else self

    def breslow_baseline(self, log_hazard_ratio: Tensor) -> BreslowBaseline:
        """Return the baseline hazard; the plan of the risk sets is needed only with late entry."""
        if "entry" not in self:
            return super().breslow_baseline(log_hazard_ratio)
        return breslow_baseline(log_hazard_ratio, risk_sets=self.risk_sets)

    def loss(self, criterion: Criterion, output: Output, device: Device) -> Tensor:
        """Return the loss of an output for all rows; a net has its batches on `device`."""
        if isinstance(criterion, MomentumLoss):  # its bank is for plain columns
            criterion = criterion.loss
        output = first_output(output)
        return criterion(output, risk_sets=self.risk_sets.to(output.device))

    def sum_of_losses(
        self,
        criterion: Criterion,
        outputs: Tensor,
        device: Device,
        targets: Sequence[Self],
        factors: Sequence[float],
    ) -> Tensor:
        """Return the sum of the losses of several sets of rows, all in one call if it can be."""
        if type(criterion) is not CoxPHLoss or criterion.reduction != "mean":
            return super().sum_of_losses(criterion, outputs, device, targets, factors)
        risk_sets = [y.risk_sets.to(outputs.device) for y in targets]
        return sum_of_losses(outputs.squeeze(2), risk_sets, factors)


class UnsortedTarget(RiskSetTarget):
    """Target of a Cox model whose rows keep their order: nothing is sorted until it is asked for.

    Parameters
    ----------
    columns : dict of tensors of shape (n_samples,)
        Columns with valid values.
    ties : {"efron", "breslow"}
        How events at the same time share their risk set.
    """

    def __init__(self, columns: Columns, ties: str) -> None:
        self.columns = columns
        self.ties = ties
        if "weight" in columns:
            self.columns = columns | {"event": columns["event"] & (columns["weight"] > 0)}

    @cached_property
    def risk_sets(self) -> RiskSets:  # type: ignore[override]  # laid out when asked for
        """Risk sets of all rows."""
        return RiskSets.of_columns(self.columns, self.ties)

    @property
    def information(self) -> Tensor:
        """Number of events, or the sum of their weights."""
        event = self["event"]
        return self["weight"][event].sum() if "weight" in self else event.sum()

    @cached_property
    def order(self) -> Tensor | None:
        """Rows in the order of their risk sets; None if they lie so."""
        return self.risk_sets.order

    def take(self, rows: Tensor) -> UnsortedTarget:
        """Return the target of some rows."""
        return UnsortedTarget({name: x[rows] for name, x in self.columns.items()}, self.ties)

    def to(self, device: torch.device) -> UnsortedTarget:
        """Return this target, which is laid out batch by batch on the CPU."""
        return self


@dataclass(frozen=True)
class Spread:
    """How the rows of a batch are spread over the processes of a training."""

    counts: Sequence[int]  # number of rows that each process holds
    place: Tensor  # (n_samples,) of each row, among the gathered ones
    group: Processes

    @classmethod
    def of(cls, places: Tensor, counts: Sequence[int], group: Processes) -> Spread:
        """Return it for rows given by their places, where each process holds `counts` of all."""
        ends = torch.tensor(counts, dtype=torch.int64, device="cpu").cumsum(0)
        owner = torch.searchsorted(ends, places, right=True)
        order = owner.argsort(stable=True)
        place = torch.empty_like(order).index_copy_(
            0, order, torch.arange(len(order), dtype=torch.int64, device="cpu")
        )
        return cls(owner.bincount(minlength=len(counts)).tolist(), place, group)

    def gather(self, x: Tensor) -> Tensor:
        """Return what belongs to all rows, in their order, given what belongs to those held."""
        gathered = self.group.gather_with_gradient(x, self.counts)
        return gathered.index_select(0, self.place.to(x.device, non_blocking=True))


class SpreadTarget(Target):
    """Target of all rows of a batch, of which this process holds some.

    Parameters
    ----------
    target : Target
        Target of all rows, as one process would have it.
    spread : Spread
        Where the rows are.
    """

    def __init__(self, target: Target, spread: Spread) -> None:
        self.target, self.columns = target, target.columns
        self.spread = spread

    @property
    def information(self) -> Tensor:
        """What the mean loss of all rows is divided by."""
        return self.target.information

    @property
    def event(self) -> Tensor:
        """Which rows have an event."""
        return self.target.event

    @property
    def cause(self) -> Tensor:
        """Number of the cause of each event, 0 for a censored row."""
        return self.target.cause

    def take(self, rows: Tensor) -> SpreadTarget:
        """Return the target of some rows."""
        spread = self.spread
        spread = Spread.of(spread.place[rows], spread.counts, spread.group)
        return SpreadTarget(self.target.take(rows), spread)

    def outcome(self) -> np.ndarray:
        """Return event and time of the rows that this process holds, as its output has them."""
        rank, counts = self.spread.group.rank, self.spread.counts
        start = sum(counts[:rank])
        held = self.spread.place.argsort()[start : start + counts[rank]]
        outcome: np.ndarray = self.target.outcome()[held.numpy()]
        return outcome

    def loss(self, criterion: Criterion, output: Output, device: Device) -> Tensor:
        """Return the loss of all rows, given the output for the rows held."""
        if isinstance(output, tuple):
            gathered: Output = tuple(map(self.spread.gather, output))
        else:
            gathered = self.spread.gather(output)
        return self.target.loss(criterion, gathered, device)


def cox_target(columns: Columns, ties: str, *, lay_out: bool) -> RiskSetTarget:
    """Return the target of a Cox model with columns of any value; sort it now if it is laid out."""
    columns = check_columns(**columns)
    if lay_out:
        return RiskSetTarget(RiskSets.of_columns(columns, ties))
    return UnsortedTarget(columns, ties)


def _number(n_rows: int) -> Tensor:
    """Return a number of rows as a tensor, to divide by."""
    return torch.tensor(float(n_rows), dtype=torch.float32, device="cpu")


def first_output(output: Output) -> Tensor:
    """Return the output that is trained."""
    return output[0] if isinstance(output, tuple) else output
