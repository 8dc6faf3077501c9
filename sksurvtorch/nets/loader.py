"""Batches of tensors that lie in memory, in place of a row-wise collate."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sksurvtorch.functional import RiskSets


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
# The generator's state before and after, and the rows and risk sets of the batches.
_Epoch = tuple[Any, Any, list[tuple[Tensor, RiskSets]]]
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
        return take_rows(self.X, rows), take(self.y, rows)

    def to(self, device: torch.device) -> SurvivalDataset:
        """Return the rows on `device`; a file stays where it is, and so does a plain target."""
        X = self.X if self.in_file else self.X.to(device)
        y = self.y
        if isinstance(y, RiskSetTarget):
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
    short batch comes last. With `shuffle` the events are spread evenly over the batches. For a Cox
    model a batch without an event is left out, since the partial likelihood is not defined there;
    `n_skipped` counts them.

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
            yield from (self.dataset[rows] for rows in self._batches())

    def _batches(self) -> list[np.ndarray]:
        """Draw the rows of the batches of an epoch."""
        return np.array_split(self._order(self.dataset.event), len(self))

    def _next_epoch(self, risk_sets: RiskSets) -> list[tuple[Tensor, RiskSets]]:
        """Return rows and risk sets of the batches of an epoch.

        Of few rows several epochs are laid out at once, which takes little longer than one. The
        generator is left as if each were drawn when its turn comes.
        """
        state = self.generator.bit_generator.state
        if not self._drawn or self._drawn[0][0] != state:
            self._drawn = self._draw(risk_sets, max(1, _ROWS_AT_ONCE // len(self.dataset)))
        _, self.generator.bit_generator.state, batches = self._drawn.pop(0)
        self.n_skipped += len(self) - len(batches)
        return batches

    def _draw(self, risk_sets: RiskSets, n_epochs: int) -> list[_Epoch]:
        """Draw epochs, each with the state of the generator before and after it."""
        event, states, epochs = self.dataset.event, [self.generator.bit_generator.state], []
        for _ in range(n_epochs):
            # Rows that lie in order of time give batches in order of time.
            epochs.append([np.sort(rows) for rows in self._batches() if event[rows].any()])
            states.append(self.generator.bit_generator.state)
        batches = [torch.from_numpy(rows) for epoch in epochs for rows in epoch]
        split = iter(risk_sets.split(torch.cat(batches), [len(rows) for rows in batches]))
        pairs = zip(batches, split, strict=True)
        return [
            (*around, [next(pairs) for _ in epoch])
            for around, epoch in zip(pairwise(states), epochs, strict=True)
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
