"""What the rows of X can do, wherever they lie."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Self

import torch
from torch import Tensor

from sksurvtorch.nets.target import Target

#: Batches, each given by the numbers of its rows.
Numbers = Iterable[Tensor]
# Rows in a piece where all rows are looked at: its copy stays in the processor's cache.
_AT_ONCE = 2_048


def numbers(start: int, stop: int) -> Tensor:
    """Return the numbers of rows from `start` up to, but not with, `stop`."""
    return torch.arange(start, stop, dtype=torch.int64, device="cpu")


class Rows(ABC):
    """Rows of X, which are given by their numbers, counted from 0 on.

    A process *holds* the rows that it can read. In a training by several processes these are some
    of the rows, and everywhere else all of them. What is read, by any method, are rows held.

    Attributes
    ----------
    dtype : torch.dtype
        Of the rows that are read.
    in_memory : bool
        Whether all of them are in memory, in every process.
    """

    dtype: torch.dtype
    in_memory: bool
    #: Whether they can be put in another order at the cost of a copy in memory.
    can_be_sorted = False
    #: Whether it may take long to read a row, or give another one each time.
    is_costly = False

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and shape of a row."""

    @abstractmethod
    def select(self, rows: Tensor) -> Self:
        """Return some rows, which are numbered anew."""

    @abstractmethod
    def take(self, rows: Tensor) -> Tensor:
        """Return some rows."""

    @abstractmethod
    def read(self, batches: Numbers, num_workers: int = 0, seed: int = 0) -> Iterator[Tensor]:
        """Iterate over batches, each given by its rows; workers with this seed may read ahead."""

    def read_window(self, window: Numbers) -> Iterator[Tensor]:
        """Iterate over batches whose rows may all be read before, in the order of the file."""
        return self.read(window)

    @abstractmethod
    def pieces(self, size: int | None = None, num_workers: int = 0) -> Iterator[Tensor]:
        """Iterate over all rows held as they lie, in one piece at least, which may be empty."""

    def head(self) -> Tensor:
        """Return the first two rows that this process has."""
        return self.take(numbers(0, min(2, len(self))))

    def whole(self) -> Tensor:
        """Return all rows held."""
        return self.take(numbers(0, len(self)))

    def for_callbacks(self) -> Any:
        """Return all rows for callbacks to look at; those that are stored stay where they are."""
        return self

    @abstractmethod
    def into_memory(self) -> Rows:
        """Return these rows in the memory of the process that holds each."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)

    @property
    def n_at_once(self) -> int:
        """Number of rows in a piece, unless another one is asked for."""
        return _AT_ONCE

    def n_in_window(self, window_bytes: int) -> int:
        """Return the number of rows that can be shuffled as a whole in this much more memory."""
        return len(self) if self.in_memory else window_bytes // self.row_bytes

    def to(self, device: torch.device) -> Rows:
        """Return these rows, on `device` where that is better than to move them batch by batch."""
        return self

    @property
    def n_held(self) -> int:
        """Number of the rows that this process holds."""
        return len(self)

    def held(self, column: Tensor) -> Tensor:
        """Return that part of a column of all rows which belongs to the rows held."""
        return column

    def gather(self, output: Tensor) -> Tensor:
        """Return what belongs to all rows, given what belongs to the rows held."""
        return output

    def mark(self, y: Target, rows: Tensor | None = None) -> Target:
        """Return a target that knows which processes hold its rows, all rows by default."""
        return y
