"""Tensors on the CPU as arrays of numpy, whose operations on few numbers take less time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sksurvtorch._validation import array

Floats = NDArray[np.float64]

# From so many numbers on torch takes less time, also by one thread.
_MANY = 2**10
_MANY_TO_ADD = 2**12

_LOWEST_BITS = 2**16 - 1


def count(x: Tensor) -> int:
    """Return how many are True."""
    return int(np.count_nonzero(array(x)) if x.device.type == "cpu" else x.sum())


def ascending(x: Tensor) -> Tensor:
    """Return numbers on the CPU in ascending order."""
    return torch.from_numpy(np.sort(array(x)))


def first_repeated(ascending: Tensor) -> int | None:
    """Return the first of some integers on the CPU that comes again, if any."""
    codes = array(ascending)
    repeats = codes[1:] == codes[:-1]
    return int(codes[repeats.argmax()]) if repeats.any() else None


def places_of_others(x: Tensor, ascending: Tensor) -> Tensor | None:
    """Return the places in x of integers that are not among others; None if none of them is."""
    numbers, others = array(x), array(ascending)
    # The lowest bits tell most integers apart, however far apart these are.
    seen = np.zeros(_LOWEST_BITS + 1, bool)
    seen[others & _LOWEST_BITS] = True
    found = seen.take(numbers & _LOWEST_BITS)
    alike = found.nonzero()[0]
    numbers = numbers.take(alike)
    found[alike] = others.take(others.searchsorted(numbers), mode="clip") == numbers
    return torch.from_numpy((~found).nonzero()[0]) if found.any() else None


def exp_(x: Floats) -> Floats:
    """Return exp(x) in place of x."""
    return np.exp(x, x) if len(x) < _MANY else torch.from_numpy(x).exp_().numpy()


def log_(x: Floats) -> Floats:
    """Return log(x) in place of x."""
    return np.log(x, x) if len(x) < _MANY else torch.from_numpy(x).log_().numpy()


def running_sums(x: NDArray[Any]) -> NDArray[Any]:
    """Return the sums of the first 1, 2, ... numbers, to the bit the same in both ways."""
    if len(x) < _MANY_TO_ADD:
        return np.add.accumulate(x)
    return torch.from_numpy(np.ascontiguousarray(x)).cumsum(0).numpy()


def empty_like_returned(prediction: Tensor) -> NDArray[Any]:
    """Return an array for the gradient by a prediction: float32, or float64 as the prediction."""
    # Half precision has too short a range for sums, and for a gradient that is to be multiplied.
    return np.empty(prediction.shape, np.float64 if prediction.itemsize == 8 else np.float32)


def returned(
    loss: float, gradient: NDArray[Any] | None, prediction: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return a loss and its gradient as tensors, in float32, or in float64 as the prediction."""
    dtype = np.float64 if prediction.itemsize == 8 else np.float32
    value = torch.from_numpy(np.asarray(loss, dtype))
    if gradient is None:
        return value, None
    return value, torch.from_numpy(gradient.astype(dtype, copy=False))
