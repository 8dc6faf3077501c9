"""Short numbers by which data are known again, wherever they lie."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import Tensor

from sksurvtorch._processes import Group
from sksurvtorch.nets.rows import Rows

# Rows that are read where each may cost a file of its own.
_N_SAMPLED = 256
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def digest_of(*tensors: Tensor) -> str:
    """Return a digest of the values of tensors."""
    digest = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def digest_of_rows(rows: Rows, group: Group) -> str:
    """Return a digest of rows, which does not depend on where they lie or who holds them."""
    # All are read, piece by piece; of a dataset, whose rows may be expensive, some that are evenly
    # spaced. If these change from one reading to the next, as augmented images do, there is none.
    numbers = np.arange(len(rows))
    if rows.is_costly and len(rows):
        numbers = np.unique(np.linspace(0, len(rows) - 1, _N_SAMPLED).astype(int))
        rows = rows.select(torch.from_numpy(numbers))
    first = _sum(rows, numbers)
    said = group.exchange((first, _sum(rows, numbers) if rows.is_costly else first))
    if any(once != again for once, again in said):
        return "rows that change from one reading to the next"
    return f"{rows.dtype} {rows.shape[1:]} {sum(once for once, _ in said) % 2**64:016x}"


def _sum(rows: Rows, numbers: np.ndarray) -> int:
    """Return the sum of a hash of each row held and its number: a sum has no order."""
    numbers = rows.held(torch.from_numpy(numbers)).numpy().astype(np.uint64)
    total = start = 0
    for piece in rows.pieces():
        of_rows = _hashes(piece) + numbers[start : start + len(piece)] * _GOLDEN
        total += int(_mixed(of_rows).sum(dtype=np.uint64))
        start += len(piece)
    return total % 2**64


def _hashes(piece: Tensor) -> np.ndarray:
    """Return a hash of each row."""
    width = math.prod(piece.shape[1:])
    flat = piece.detach().cpu().contiguous().reshape(len(piece), width)
    raw = flat.view(torch.uint8).numpy()
    raw = np.pad(raw, ((0, 0), (0, -raw.shape[1] % 8)))
    words = raw.view(np.uint64)
    # The upper half is folded into the lower one, since a product only carries upwards: two signs
    # that change would cancel each other.
    words = (words ^ (words >> np.uint64(32))) * (_mixed(np.arange(1, words.shape[1] + 1)) | 1)
    words ^= words >> np.uint64(29)
    return np.asarray(words.sum(axis=1, dtype=np.uint64))


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Return numbers of which each bit depends on all bits of those given (SplitMix64)."""
    x = numbers.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
