"""Rows of X that stay in a file or a dataset, and are read when a batch needs them."""

from __future__ import annotations

import copy
import math
import mmap
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import assert_all_finite
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

# What is read of a map before its pages are given back.
_RESIDENT = 2**24
# Rows that are read at once to see them all: at most so many, and so many bytes.
_AT_ONCE = 2048
_AT_ONCE_BYTES = 2**23


class StoredRows(ABC):
    """Rows of X that are stored elsewhere; of a tensor it has what batches are made with.

    Attributes
    ----------
    dtype : torch.dtype
        Of the rows that are read.
    stored : bool
        Whether any of them are not in memory.
    """

    dtype: torch.dtype
    stored = True
    device = torch.device("cpu")
    _sample_shape: tuple[int, ...]
    _n_stored: int
    _subset: Tensor | None = None

    @abstractmethod
    def _read(self, batches: Iterable[Tensor], num_workers: int, seed: int) -> Iterator[Tensor]:
        """Iterate over batches of rows, given by their places in the store."""

    def __len__(self) -> int:
        return self._n_stored if self._subset is None else len(self._subset)

    @property
    def n_held(self) -> int:
        """Number of the rows that this process can read."""
        return len(self)

    def held_of(self, rows: Tensor) -> Tensor:
        """Return those of some rows that this process can read."""
        return rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and shape of a row."""
        return len(self), *self._sample_shape

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return max(1, math.prod(self._sample_shape) * self.dtype.itemsize)

    @property
    def n_at_once(self) -> int:
        """Number of rows that are read together where all are looked at."""
        return max(1, min(_AT_ONCE, _AT_ONCE_BYTES // self.row_bytes))

    def select(self, rows: Tensor) -> Self:
        """Return some rows, which stay where they are."""
        chosen = copy.copy(self)
        chosen._subset = rows if self._subset is None else self._subset[rows]
        return chosen

    def read(
        self, batches: Iterable[Tensor], num_workers: int = 0, seed: int = 0
    ) -> Iterator[Tensor]:
        """Iterate over batches, each given by its rows; workers with this seed may read ahead."""
        subset = self._subset
        places = batches if subset is None else (subset[rows] for rows in batches)
        for batch in self._read(places, num_workers, seed):
            if not batch.isfinite().all():
                assert_all_finite(batch.numpy(), input_name="X")  # whose sentence is known
            yield batch

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """Return some rows."""
        assert dim == 0
        (batch,) = self.read([rows])
        return batch

    def load(self, rows: Tensor) -> Tensor:
        """Return some rows that this process can read, piece by piece."""
        loaded = torch.empty((len(rows), *self._sample_shape), dtype=self.dtype)
        start = 0
        for piece in self.read(rows.split(self.n_at_once)):
            loaded[start : start + len(piece)] = piece
            start += len(piece)
        return loaded

    def whole(self) -> Tensor:
        """Return all rows."""
        return self.index_select(0, torch.arange(len(self)))

    def split(self, size: int, num_workers: int = 0) -> Iterator[Tensor]:
        """Iterate over all rows in pieces."""
        starts = range(0, len(self), size)
        pieces = (torch.arange(start, min(start + size, len(self))) for start in starts)
        return self.read(pieces, num_workers)


class MappedRows(StoredRows):
    """Rows of an array that is the map of a file.

    Parameters
    ----------
    array : array of shape (n_samples, ...)
        The map.
    dtype : torch.dtype
        Dtype of the rows that are read.
    """

    def __init__(self, array: np.ndarray, dtype: torch.dtype) -> None:
        self.array = array
        self.dtype = dtype
        self._sample_shape = array.shape[1:]
        self._n_stored = len(array)
        self._numpy_dtype = np.dtype(str(dtype).removeprefix("torch."))

    def _read(self, batches: Iterable[Tensor], num_workers: int, seed: int) -> Iterator[Tensor]:
        kept = 0
        for rows in batches:
            part = self.array[_places(rows.numpy())]
            yield torch.from_numpy(np.array(part, dtype=self._numpy_dtype, order="C"))
            kept += len(rows) * self.row_bytes
            if kept > _RESIDENT:
                self._release()
                kept = 0

    def whole(self) -> Tensor:
        """Return all rows."""
        as_they_lie = self._subset is None and self.array.dtype == self._numpy_dtype
        if not as_they_lie or not self.array.flags.c_contiguous:
            return super().whole()
        assert_all_finite(self.array, input_name="X")
        return as_tensor(self.array)

    def _release(self) -> None:
        """Give the pages of the file back; they stay in the cache of the system if it has room."""
        base = _map_below(self.array)
        # What a private map has changed is nowhere else.
        if base is not None and not _is_private(self.array) and hasattr(mmap, "MADV_DONTNEED"):
            base.madvise(mmap.MADV_DONTNEED)


class DatasetRows(StoredRows):
    """Rows of a torch dataset, read by a `torch.utils.data.DataLoader`.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Its items are rows. One with `__getitems__` is asked for all rows of a batch at once, and
        may return them as one array.
    dtype : torch.dtype, optional
        Dtype of the rows that are read; that of the first row if left out.
    """

    def __init__(self, dataset: Dataset[Any], dtype: torch.dtype | None = None) -> None:
        self.dataset = dataset
        self._n_stored = _n_rows(dataset)
        first = _Stack(dtype)([dataset[0]])
        self.dtype = first.dtype
        self._sample_shape = first.shape[1:]

    def _read(self, batches: Iterable[Tensor], num_workers: int, seed: int) -> Iterator[Tensor]:
        asked: deque[int] = deque()  # workers may be asked for some batches ahead

        def places() -> Iterator[list[int]]:
            for rows in batches:
                asked.append(len(rows))
                yield rows.tolist() or [0]  # of no rows there would be no shape

        loader = DataLoader(
            self.dataset,
            batch_sampler=places(),
            num_workers=num_workers,
            collate_fn=_Stack(self.dtype),
            # It would draw from the global one.
            generator=torch.Generator().manual_seed(seed),
        )
        for batch in loader:
            n_rows = asked.popleft()
            expected = max(1, n_rows), *self._sample_shape
            if tuple(batch.shape) != expected:
                raise ValueError(
                    f"A batch of X must have the shape {expected}, got {tuple(batch.shape)}. "
                    "`__getitems__` returns a row for each index, in their order."
                )
            yield batch[:n_rows]

    def split(self, size: int, num_workers: int = 0) -> Iterator[Tensor]:
        """Iterate over all rows in pieces."""
        return super().split(min(size, self.n_at_once), num_workers)


class _Stack:
    """Make a batch of the items of a dataset, and look whether it can be one.

    Parameters
    ----------
    dtype : torch.dtype, optional
        Dtype of the batch; that of the items if left out.
    """

    def __init__(self, dtype: torch.dtype | None) -> None:
        self.dtype = dtype

    def __call__(self, items: Any) -> Tensor:
        """Return the batch; a dataset with `__getitems__` may have made it already."""
        # `__getitems__` may have made a pair or a dict of batches.
        item = items[0] if isinstance(items, list) else items
        if isinstance(item, (tuple, list, Mapping, str)):
            raise TypeError(
                "An item of X must be one array or tensor, the features of a sample, got "
                f"{type(item).__name__}. Event and time are given as `y`."
            )
        batch = items if isinstance(items, (np.ndarray, Tensor)) else default_collate(items)
        batch = torch.as_tensor(batch)
        if batch.is_complex():  # of which a cast would drop half
            raise ValueError(f"X must be real, got a dataset of {batch.dtype}.")
        return batch if self.dtype is None else batch.to(self.dtype)


def _n_rows(dataset: Any) -> int:
    """Return the number of rows of a dataset, or raise unless it can be asked for any of them."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise TypeError(
            "X must be a dataset with `__len__` and `__getitem__`, got "
            f"{type(dataset).__name__}. Each epoch takes the rows in another order."
        )
    if not len(dataset):
        raise ValueError("X must have rows, got a dataset of length 0.")
    return len(dataset)


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


def is_mapped(X: Any) -> bool:
    """Whether X is an array that lies in a file rather than in memory."""
    return isinstance(X, np.ndarray) and _map_below(X) is not None


def _map_below(array: np.ndarray) -> mmap.mmap | None:
    """Return the map of a file that an array lies in, or None."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def _places(rows: np.ndarray) -> np.ndarray | slice:
    """Return rows that follow each other as a slice, which is read faster."""
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(rows[0], rows[-1] + 1)
    return rows


def _is_private(array: np.ndarray) -> bool:
    """Whether changes of a map stay in memory, as far as is known."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return bool(base.mode == "c")
        base = base.base
    return True
