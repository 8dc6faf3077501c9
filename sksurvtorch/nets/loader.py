"""Batches of tensors that lie in memory, in place of a row-wise collate."""

from __future__ import annotations

import mmap
import pickle
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sksurvtorch.functional import RiskSets
from sksurvtorch.functional._arithmetic import widest


class RiskSetTarget(Mapping[str, Tensor]):
    """Target of a Cox net: reads as a mapping of columns, and carries their risk sets.

    Parameters
    ----------
    risk_sets : RiskSets
        Risk sets of the rows.
    """

    def __init__(self, risk_sets: RiskSets) -> None:
        self.risk_sets = risk_sets

    def __getitem__(self, name: str) -> Tensor:
        return self.risk_sets.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.risk_sets.columns)

    def __len__(self) -> int:
        return len(self.risk_sets.columns)


Target = Mapping[str, Tensor] | None
# The generator's state before, pickled, and after; and the rows and risk sets of the batches.
_Epoch = tuple[bytes, Any, list[tuple[Tensor, RiskSets]]]
# So many rows are laid out at once if an epoch has fewer.
_ROWS_AT_ONCE = 8_192


class SurvivalDataset(torch.utils.data.Dataset[Any]):
    """Rows of X with their target.

    Parameters
    ----------
    X : tensor of shape (n_samples, ...)
        Input of the network.
    y : mapping of tensors of shape (n_samples,), or None
        Target: event, time and so on; a `RiskSetTarget` for a Cox model.
    in_file : bool, default=False
        Whether X is a map of a file, and so may be larger than the memory.
    """

    def __init__(self, X: Tensor, y: Target = None, *, in_file: bool = False) -> None:
        self.X = X
        self.y = y
        self.in_file = in_file

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: Any) -> tuple[Tensor, Target]:
        rows = torch.as_tensor(index)
        return self.X[rows.to(self.X.device)], take(self.y, rows)

    def to(self, device: torch.device) -> SurvivalDataset:
        """Return these rows, with what is better moved once than batch by batch on `device`."""
        # A file stays where it is, and so do rows that do not fit. A bank keeps plain targets on
        # the CPU, and batches with late entry or strata are laid out there, as are all batches for
        # a device without float64.
        X, y = self.X, self.y
        if not self.in_file:
            with suppress(torch.OutOfMemoryError):
                X = X.to(device)
        stays = {"entry", "stratum"} & set(y or ()) or widest(device) != torch.float64
        if isinstance(y, RiskSetTarget) and not stays:
            y = RiskSetTarget(y.risk_sets.to(device))
        return SurvivalDataset(X, y, in_file=self.in_file)

    @property
    def event(self) -> np.ndarray:
        """Which rows have an event, on the CPU."""
        if self.y is None:
            return np.zeros(len(self), dtype=bool)
        event: np.ndarray = self.y["event"].cpu().numpy()
        return event

    @property
    def order(self) -> np.ndarray | None:
        """Rows in the order of their risk sets; None if they lie so, or have none."""
        order = self.y.risk_sets.order if isinstance(self.y, RiskSetTarget) else None
        return None if order is None else order.cpu().numpy()

    @property
    def weight(self) -> Tensor | None:
        """Weight of the rows, if they have one."""
        return None if self.y is None else self.y.get("weight")


class _Unlocked:
    """The memory of an array, without its mark that it must not be written to."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array  # kept alive
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def as_tensor(array: np.ndarray) -> Tensor:
    """Return a tensor on the memory of an array, which the caller only reads."""
    # torch warns of arrays that must not be written to, such as memory maps opened to read.
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_Unlocked(array)))


def is_mapped(array: np.ndarray) -> bool:
    """Whether an array lies in a file rather than in memory."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, mmap.mmap)


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Return some rows of a tensor, wherever it is."""
    return x.index_select(0, rows.to(x.device, non_blocking=True))


def take(y: Target, rows: Tensor) -> Target:
    """Return some rows of a target."""
    if y is None:
        return None
    if isinstance(y, RiskSetTarget):
        return RiskSetTarget(y.risk_sets.take(rows))
    return {name: column[rows.to(column.device)] for name, column in y.items()}


def information(y: Mapping[str, Tensor]) -> Tensor:
    """Return what the mean loss of some rows is divided by: events for Cox, else rows, weighted."""
    if isinstance(y, RiskSetTarget):
        return y.risk_sets.total_event_weight
    return y["weight"].sum() if "weight" in y else torch.tensor(float(len(y["event"])))


class BatchLoader:
    """Iterate over the batches of a `SurvivalDataset`.

    All batches of an epoch have the same number of rows, up to one, and at most `batch_size`: no
    short batch comes last, but where there is no target and no shuffle. With `shuffle` the events
    are spread evenly over the batches. For a Cox model a batch without an event is left out, since
    the partial likelihood is not defined there; `n_skipped` counts them.

    Parameters
    ----------
    dataset : SurvivalDataset
        Rows to draw from.
    batch_size : int
        Largest number of rows in a batch.
    shuffle : bool, default=False
        Draw the rows in random order, another one in each epoch.
    generator : numpy.random.Generator, optional
        Source of the random order.
    """

    def __init__(
        self,
        dataset: SurvivalDataset,
        batch_size: int,
        *,
        shuffle: bool = False,
        generator: np.random.Generator | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.generator = np.random.default_rng() if generator is None else generator
        self.n_skipped = 0
        self._drawn: list[_Epoch] = []
        self._n_epochs = 0

    def __len__(self) -> int:
        return max(1, -(-len(self.dataset) // self.batch_size))

    def __iter__(self) -> Iterator[tuple[Tensor, Target]]:
        if len(self) == 1:
            yield self.dataset.X, self.dataset.y
        elif self.dataset.y is None and not self.shuffle:
            yield from ((X, None) for X in self.inputs())
        elif isinstance(self.dataset.y, RiskSetTarget):
            for rows, risk_sets in self._next_epoch(self.dataset.y.risk_sets):
                yield take_rows(self.dataset.X, rows), RiskSetTarget(risk_sets)
        else:
            drawn = np.array_split(self._order(self.dataset.event), len(self))
            yield from (self.dataset[rows] for rows in drawn)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out epochs that can be drawn again: each of their views would bring all rows."""
        return vars(self) | {"_drawn": []}

    def _next_epoch(self, risk_sets: RiskSets) -> list[tuple[Tensor, RiskSets]]:
        """Return rows and risk sets of the batches of an epoch.

        Of few rows several epochs are laid out at once, which takes little longer than one. The
        generator is left as if each were drawn when its turn comes.
        """
        # States of generators may hold arrays, which have no equality of their own.
        if not self._drawn or self._drawn[0][0] != pickle.dumps(self.generator.bit_generator.state):
            # A training may end after any of them: draw as many as there have been.
            n_epochs = min(max(1, self._n_epochs), max(1, _ROWS_AT_ONCE // len(self.dataset)))
            self._drawn = self._draw(risk_sets, n_epochs)
        _, self.generator.bit_generator.state, batches = self._drawn.pop(0)
        self._n_epochs += 1
        self.n_skipped += len(self) - len(batches)
        return batches

    def _draw(self, risk_sets: RiskSets, n_epochs: int) -> list[_Epoch]:
        """Draw epochs, each with the state of the generator before and after it."""
        # Batches drawn in order of time are in order of time, wherever their rows lie.
        order = self.dataset.order if self.shuffle else None
        event, epochs = self.dataset.event, []
        event = event if order is None else event[order]
        states = [self.generator.bit_generator.state]
        for _ in range(n_epochs):
            drawn = np.array_split(self._order(event), len(self))
            batches = [np.sort(places) for places in drawn if event[places].any()]
            epochs.append(batches if order is None else [order[places] for places in batches])
            states.append(self.generator.bit_generator.state)
        rows = [torch.from_numpy(batch) for epoch in epochs for batch in epoch]
        split = risk_sets.split(torch.cat(rows), [len(batch) for batch in rows])
        pairs = zip(rows, split, strict=True)
        return [
            (pickle.dumps(before), after, [next(pairs) for _ in epoch])
            for (before, after), epoch in zip(pairwise(states), epochs, strict=True)
        ]

    def inputs(self) -> Iterator[Tensor]:
        """Iterate over the inputs of all rows, as they lie in memory."""
        yield from self.dataset.X.split(self.batch_size)

    def _order(self, event: np.ndarray) -> np.ndarray:
        n = len(self.dataset)
        if not self.shuffle:
            return np.arange(n)
        # Each kind of row gets its places at even distances, from a random start.
        place = np.empty(n)
        for kind in (event, ~event):
            count = int(kind.sum())
            place[kind] = (
                (self.generator.permutation(count) + self.generator.random()) / count
                if count
                else 0.0
            )
        return place.argsort(kind="stable")
