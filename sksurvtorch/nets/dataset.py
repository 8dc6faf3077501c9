"""The rows that a net is trained on, with their target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sksurvtorch.functional import RiskSets
from sksurvtorch.nets.rows import StoredRows
from sksurvtorch.nets.shares import SharedRows, SpreadTarget

Columns = dict[str, Tensor]
Inputs = Tensor | StoredRows


class RiskSetTarget(Mapping[str, Tensor]):
    """Target of a Cox net: reads as a mapping of columns, and carries their risk sets.

    Parameters
    ----------
    risk_sets : RiskSets
        Risk sets of the rows.
    """

    risk_sets: RiskSets

    def __init__(self, risk_sets: RiskSets) -> None:
        self.risk_sets = risk_sets

    def __getitem__(self, name: str) -> Tensor:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @cached_property
    def columns(self) -> Columns:
        """The columns by name."""
        return self.risk_sets.columns

    @property
    def order(self) -> Tensor | None:
        """Rows in the order of their risk sets; None if they lie so."""
        return self.risk_sets.order

    def take(self, rows: Tensor) -> RiskSetTarget:
        """Return some rows."""
        return RiskSetTarget(self.risk_sets.take(rows))

    def to(self, device: torch.device) -> RiskSetTarget:
        """Return this target where batches are laid out: on `device` if that takes one pass."""
        there = self.risk_sets.splits_on(device)
        return RiskSetTarget(self.risk_sets.to(device)) if there else self


class UnsortedTarget(RiskSetTarget):
    """The same of rows that keep their order: nothing is sorted until it is asked for.

    Parameters
    ----------
    columns : dict of tensors of shape (n_samples,)
        Columns with valid values.
    ties : {"efron", "breslow"}
        How events at the same time share their risk set.
    """

    columns: Columns

    def __init__(self, columns: Columns, ties: str) -> None:
        self.columns = columns
        self.ties = ties
        if "weight" in columns:
            self.columns = columns | {"event": columns["event"] & (columns["weight"] > 0)}

    @cached_property
    def risk_sets(self) -> RiskSets:  # type: ignore[override]  # laid out when asked for
        """Risk sets of all rows."""
        return RiskSets.of_columns(self.columns, self.ties)

    @cached_property
    def order(self) -> Tensor | None:
        """Rows in the order of their risk sets; None if they lie so."""
        return RiskSets.order_of(self.columns)

    def take(self, rows: Tensor) -> UnsortedTarget:
        """Return some rows."""
        return UnsortedTarget({name: x[rows] for name, x in self.columns.items()}, self.ties)

    def to(self, device: torch.device) -> UnsortedTarget:
        """Return this target, which is laid out batch by batch on the CPU."""
        return self


Target = Mapping[str, Tensor] | None


class SurvivalDataset(torch.utils.data.Dataset[tuple[Tensor, Target]]):
    """Rows of X with their target.

    Parameters
    ----------
    X : tensor of shape (n_samples, ...), or StoredRows
        Input of the network.
    y : mapping of tensors of shape (n_samples,), or None
        Target: event, time and so on; a `RiskSetTarget` for a Cox model.
    order : int array of shape (n_samples,), optional
        Order in which rows are drawn, so that it makes no difference where they lie; that of their
        risk sets if left out.
    """

    def __init__(self, X: Inputs, y: Target = None, order: np.ndarray | None = None) -> None:
        self.X = X
        self.y = y
        self._order = order

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: object) -> tuple[Tensor, Target]:
        rows = torch.as_tensor(index)
        if isinstance(self.X, StoredRows):
            X = self.X.index_select(0, rows.reshape(-1))
            return X if rows.ndim else X[0], take(self.y, rows)
        return self.X[rows.to(self.X.device)], take(self.y, rows)

    def select(self, rows: Tensor) -> SurvivalDataset:
        """Return some rows; those that are stored stay where they are."""
        if isinstance(self.X, StoredRows):
            return SurvivalDataset(self.X.select(rows), take(self.y, rows))
        return SurvivalDataset(*self[rows])

    def to(self, device: torch.device) -> SurvivalDataset:
        """Return these rows, with what is better moved once than batch by batch on `device`."""
        # What is stored stays there, and so do rows that do not fit. A bank keeps plain targets on
        # the CPU, and batches with late entry or strata are laid out there, as are all batches for
        # a device without float64.
        X, y = self.X, self.y
        if isinstance(X, Tensor):
            with suppress(torch.OutOfMemoryError):
                X = X.to(device)
        if isinstance(y, RiskSetTarget):
            y = y.to(device)
        return SurvivalDataset(X, y, self._order)

    @property
    def target(self) -> Target:
        """Target of all rows; it says where they are if each process holds a share."""
        if self.y is None or not isinstance(self.X, SharedRows):
            return self.y
        return SpreadTarget(self.y, self.X.spread())

    @property
    def event(self) -> np.ndarray:
        """Which rows have an event, on the CPU."""
        if self.y is None:
            return np.zeros(len(self), dtype=bool)
        event: np.ndarray = self.y["event"].cpu().numpy()
        return event

    @property
    def order(self) -> np.ndarray | None:
        """Rows in the order in which they are drawn; None if they lie so."""
        if self._order is not None or not isinstance(self.y, RiskSetTarget):
            return self._order
        return None if self.y.order is None else self.y.order.cpu().numpy()

    @property
    def weight(self) -> Tensor | None:
        """Weight of the rows, if they have one."""
        return None if self.y is None else self.y.get("weight")


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Return some rows of a tensor, wherever it is."""
    return x.index_select(0, rows.to(x.device, non_blocking=True))


def take(y: Target, rows: Tensor) -> Target:
    """Return some rows of a target."""
    if y is None:
        return None
    if isinstance(y, RiskSetTarget):
        return y.take(rows)
    return {name: column[rows.to(column.device)] for name, column in y.items()}


def information(y: Mapping[str, Tensor]) -> Tensor:
    """Return what the mean loss of some rows is divided by: events for Cox, else rows, weighted."""
    if isinstance(y, UnsortedTarget):
        event = y["event"]
        return event.sum() if "weight" not in y else y["weight"][event].sum()
    if isinstance(y, RiskSetTarget):
        return y.risk_sets.total_event_weight
    return y["weight"].sum() if "weight" in y else torch.tensor(float(len(y["event"])))
