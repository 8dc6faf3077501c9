"""The rows that a net is trained on, with their target."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sksurvtorch._validation import to_tensor
from sksurvtorch.nets.rows import Rows
from sksurvtorch.nets.target import Target


class SurvivalDataset(torch.utils.data.Dataset[tuple[Tensor, Target | None]]):
    """Rows of X with their target.

    Parameters
    ----------
    rows : Rows
        Input of the network.
    y : Target, optional
        Event, time and so on of each row.
    order : int array of shape (n_samples,), optional
        Order in which rows are drawn, so that it makes no difference where they lie; that of their
        risk sets if left out.
    numbers : int tensor of shape (n_samples,), optional
        What the rows were numbered by before some were selected; None if they lie as they did.
    """

    def __init__(
        self,
        rows: Rows,
        y: Target | None = None,
        order: np.ndarray | None = None,
        numbers: Tensor | None = None,
    ) -> None:
        self.rows = rows
        self.y = y
        self._order = order
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: object) -> tuple[Tensor, Target | None]:
        rows = to_tensor(index)
        if rows.dtype == torch.bool:
            rows = rows.nonzero().squeeze(1)
        rows = torch.where(rows < 0, rows + len(self), rows)
        X = self.rows.take(rows.reshape(-1))
        return X if rows.ndim else X[0], self.target_of(rows)

    def select(self, rows: Tensor) -> SurvivalDataset:
        """Return some rows; those that are stored stay where they are."""
        numbers = rows if self.numbers is None else self.numbers[rows]
        return SurvivalDataset(self.rows.select(rows), self.target_of(rows), numbers=numbers)

    def into_memory(self) -> SurvivalDataset:
        """Return these rows in memory."""
        return SurvivalDataset(self.rows.into_memory(), self.y, self._order, self.numbers)

    def to(self, device: torch.device) -> SurvivalDataset:
        """Return these rows, with what is better moved once than batch by batch on `device`."""
        y = None if self.y is None else self.y.to(device)
        return SurvivalDataset(self.rows.to(device), y, self._order, self.numbers)

    def sorted(self) -> SurvivalDataset:
        """Return these rows in the order in which they are drawn, if they can be put in it."""
        if self.y is None or not self.rows.can_be_sorted or self.y.order is None:
            return self
        return self.select(self.y.order)

    def split(
        self, validation_fraction: float, seed: int
    ) -> tuple[SurvivalDataset, SurvivalDataset]:
        """Return rows to train on and rows to validate with, both with their part of the events."""
        # In the order of the risk sets, as rows in memory lie.
        order = np.arange(len(self)) if self.order is None else self.order
        cause = self.cause[order]
        # Each kind is split by itself: train_test_split(stratify=...) refuses small ones.
        train, valid = [], []
        for kind in (*np.unique(cause[cause > 0]), 0):
            rows = np.flatnonzero(cause == kind)
            shuffled = np.random.default_rng(seed).permutation(rows)
            n_valid = round(validation_fraction * len(rows))
            train.append(shuffled[n_valid:])
            valid.append(shuffled[:n_valid])
        if not all(sum(map(len, part[:-1])) for part in (train, valid)):
            raise ValueError(
                f"`validation_fraction` must leave an event on both sides, got "
                f"{validation_fraction} of {(cause > 0).sum()} events. Set `early_stopping` to "
                "False for so few."
            )
        # Both stay in the order in which they lie: neighbours in a file are read at once.
        parts = [np.sort(order[np.concatenate(part)]) for part in (train, valid)]
        train_set, valid_set = (self.select(torch.from_numpy(rows)) for rows in parts)
        return train_set, valid_set

    def target_of(self, rows: Tensor) -> Target | None:
        """Return the target of some rows."""
        return None if self.y is None else self.y.take(rows)

    @property
    def X(self) -> Any:
        """The rows as callbacks see them: a tensor, if they are in memory."""
        return self.rows.for_callbacks()

    @property
    def target(self) -> Target | None:
        """Target of all rows; it knows which processes hold them."""
        return None if self.y is None else self.rows.mark(self.y)

    @property
    def event(self) -> np.ndarray:
        """Which rows have an event, on the CPU."""
        if self.y is None:
            return np.zeros(len(self), dtype=bool)
        event: np.ndarray = self.y.event.cpu().numpy()
        return event

    @property
    def cause(self) -> np.ndarray:
        """Number of the cause of each event, 0 for a censored row, on the CPU."""
        assert self.y is not None
        cause: np.ndarray = self.y.cause.cpu().numpy()
        return cause

    @property
    def order(self) -> np.ndarray | None:
        """Rows in the order in which they are drawn; None if they lie so."""
        if self._order is not None or self.y is None or self.y.order is None:
            return self._order
        order: np.ndarray = self.y.order.cpu().numpy()
        return order

    @property
    def weight(self) -> Tensor | None:
        """Weight of the rows, if they have one."""
        return None if self.y is None else self.y.get("weight")
