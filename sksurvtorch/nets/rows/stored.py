"""What rows that stay in a file or a dataset have in common: they are read when they are needed."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from typing import Self

import torch
from sklearn.utils import assert_all_finite
from torch import Tensor

from sksurvtorch.nets.rows.base import Numbers, Rows, numbers
from sksurvtorch.nets.rows.memory import MemoryRows

# What a piece takes at most.
_AT_ONCE_BYTES = 2**23


class StoredRows(Rows):
    """Rows that are stored, given by their places there; all that is read of them is finite."""

    in_memory = False
    _sample_shape: tuple[int, ...]
    _n_stored: int
    #: Places of the rows, if these are not all that are stored.
    _subset: Tensor | None = None

    @abstractmethod
    def _read(self, batches: Numbers, num_workers: int, seed: int) -> Iterator[Tensor]:
        """Iterate over batches of rows, given by their places in the store."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and shape of a row."""
        n_rows = self._n_stored if self._subset is None else len(self._subset)
        return n_rows, *self._sample_shape

    @property
    def n_at_once(self) -> int:
        """Number of rows in a piece, unless another one is asked for."""
        return max(1, min(super().n_at_once, _AT_ONCE_BYTES // self.row_bytes))

    def select(self, rows: Tensor) -> Self:
        """Return some rows, which stay where they are."""
        chosen = copy.copy(self)
        chosen._subset = rows if self._subset is None else self._subset[rows]
        return chosen

    def take(self, rows: Tensor) -> Tensor:
        """Return some rows, read as one batch."""
        (batch,) = self.read([rows])
        return batch

    def read(self, batches: Numbers, num_workers: int = 0, seed: int = 0) -> Iterator[Tensor]:
        """Iterate over batches, each given by its rows; workers with this seed may read ahead."""
        subset = self._subset
        places = batches if subset is None else (subset[rows] for rows in batches)
        for batch in self._read(places, num_workers, seed):
            if not batch.isfinite().all():
                assert_all_finite(batch.numpy(), input_name="X")  # whose sentence is known
            yield batch

    def read_window(self, window: Numbers) -> Iterator[Tensor]:
        """Read all rows of a window in the order in which they lie, and deal them to batches."""
        # A file may hold them in groups that are read as a whole, or column by column.
        batches = list(window)
        if not batches:
            return
        in_order = torch.cat(batches).sort().values
        loaded = self._load(in_order)
        for rows in batches:
            yield loaded.index_select(0, torch.searchsorted(in_order, rows))

    def pieces(self, size: int | None = None, num_workers: int = 0) -> Iterator[Tensor]:
        """Iterate over all rows as they lie, in one piece at least, which may be empty."""
        n_rows, size = len(self), self.n_at_once if size is None else size
        starts = range(0, max(1, n_rows), size)
        pieces = (numbers(start, min(start + size, n_rows)) for start in starts)
        return self.read(pieces, num_workers)

    def into_memory(self) -> Rows:
        """Return a copy of these rows in memory."""
        return MemoryRows(self._load(numbers(0, len(self))))

    def _load(self, rows: Tensor) -> Tensor:
        """Return some rows, read piece by piece."""
        loaded = torch.empty((len(rows), *self._sample_shape), dtype=self.dtype, device="cpu")
        start = 0
        for piece in self.read(rows.split(self.n_at_once)):
            loaded[start : start + len(piece)] = piece
            start += len(piece)
        return loaded
