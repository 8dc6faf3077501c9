"""Rows of several inputs, behind each other in the columns of one tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import tee

import torch
from torch import Tensor

from sksurvtorch.nets.rows.base import Numbers, Rows
from sksurvtorch.nets.rows.memory import MemoryRows
from sksurvtorch.nets.rows.stored import StoredRows


class SeveralRows(StoredRows):
    """Rows of several inputs, of which some are stored.

    Parameters
    ----------
    parts : sequence of Rows
        The inputs, with the same number of rows.
    dtype : torch.dtype
        Dtype of the rows that are read.
    """

    def __init__(self, parts: Sequence[Rows], dtype: torch.dtype) -> None:
        self.parts = parts
        self.dtype = dtype
        self.is_costly = any(part.is_costly for part in parts)
        self._n_stored = len(parts[0])
        self._sample_shape = (sum(math.prod(part.shape[1:]) for part in parts),)

    def _read(self, batches: Numbers, num_workers: int, seed: int) -> Iterator[Tensor]:
        asked = tee(batches, len(self.parts))
        read = (
            part.read(rows, num_workers, seed) for part, rows in zip(self.parts, asked, strict=True)
        )
        for pieces in zip(*read, strict=True):
            yield _joined(pieces, self.dtype)


def join(inputs: Mapping[str, Rows], dtype: torch.dtype) -> Rows:
    """Return the rows of several inputs as one: those in memory are copied, stored ones stay."""
    lengths = {name: len(rows) for name, rows in inputs.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name!r} {n}" for name, n in lengths.items())
        raise ValueError(f"The inputs of `X` must have the same number of rows, got {said}.")
    parts = list(inputs.values())
    if all(rows.in_memory for rows in parts):
        return MemoryRows(_joined([rows.whole() for rows in parts], dtype))
    return SeveralRows(parts, dtype)


def _joined(parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Return the rows of several tensors, flattened and behind each other."""
    flat = [part.reshape(len(part), math.prod(part.shape[1:])).to(dtype) for part in parts]
    return torch.cat(flat, 1)
