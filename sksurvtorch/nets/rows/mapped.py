"""Rows of an array that is the map of a file."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.utils import assert_all_finite
from torch import Tensor

from sksurvtorch.nets.rows.base import Numbers
from sksurvtorch.nets.rows.memory import as_tensor
from sksurvtorch.nets.rows.stored import StoredRows

# What is read of a map before its pages are given back.
_RESIDENT = 2**24


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

    def _read(self, batches: Numbers, num_workers: int, seed: int) -> Iterator[Tensor]:
        kept = 0
        for rows in batches:
            part = self.array[_places(rows.numpy())]
            yield torch.from_numpy(np.array(part, dtype=self._numpy_dtype, order="C"))
            kept += len(rows) * self.row_bytes
            if kept > _RESIDENT:
                self._release()
                kept = 0

    def whole(self) -> Tensor:
        """Return all rows; those that lie as they are read are not copied."""
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


def is_mapped(X: Any) -> bool:
    """Whether X is an array that lies in a file rather than in memory."""
    return isinstance(X, np.ndarray) and _map_below(X) is not None


def _map_below(array: np.ndarray) -> mmap.mmap | None:
    """Return the map of a file that an array lies in, or None."""
    *_, base = _bases(array)
    return base if isinstance(base, mmap.mmap) else None


def _places(rows: np.ndarray) -> np.ndarray | slice:
    """Return rows that follow each other as a slice, which is read faster."""
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(rows[0], rows[-1] + 1)
    return rows


def _is_private(array: np.ndarray) -> bool:
    """Whether changes of a map stay in memory, as far as is known."""
    maps = [base for base in _bases(array) if isinstance(base, np.memmap)]
    return not maps or bool(maps[0].mode == "c")


def _bases(array: Any) -> Iterator[Any]:
    """Iterate over an array, what it is a view of, and so on down to the owner of the memory."""
    yield array
    while isinstance(array, np.ndarray):
        array = array.base
        yield array
