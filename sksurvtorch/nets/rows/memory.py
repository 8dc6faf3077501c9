"""Rows that are in memory, or on an accelerator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from sksurvtorch.nets.rows.base import Numbers, Rows


class MemoryRows(Rows):
    """Rows of a tensor.

    Parameters
    ----------
    tensor : tensor of shape (n_samples, ...)
        The rows.
    """

    in_memory = True
    can_be_sorted = True

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.dtype = tensor.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and shape of a row."""
        return tuple(self.tensor.shape)

    def select(self, rows: Tensor) -> MemoryRows:
        """Return a copy of some rows."""
        return MemoryRows(self.take(rows))

    def take(self, rows: Tensor) -> Tensor:
        """Return some rows."""
        return self.tensor.index_select(0, rows.to(self.tensor.device, non_blocking=True))

    def read(self, batches: Numbers, num_workers: int = 0, seed: int = 0) -> Iterator[Tensor]:
        """Iterate over batches, each given by its rows."""
        return map(self.take, batches)

    def pieces(self, size: int | None = None, num_workers: int = 0) -> Iterator[Tensor]:
        """Iterate over all rows in pieces, which are views."""
        return iter(self.tensor.split(self.n_at_once if size is None else size))

    def whole(self) -> Tensor:
        """Return all rows, without a copy."""
        return self.tensor

    for_callbacks = whole

    def into_memory(self) -> Rows:
        """Return these rows."""
        return self

    def to(self, device: torch.device) -> Rows:
        """Return these rows on `device`, or where they are if they do not fit there."""
        with suppress(torch.OutOfMemoryError):
            return MemoryRows(self.tensor.to(device))
        return self


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
