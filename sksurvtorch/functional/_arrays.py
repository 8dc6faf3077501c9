"""Tensors on the CPU as arrays of numpy, whose operations on few numbers take less time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sksurvtorch._validation import array

Floats = NDArray[np.float64]

# From so many numbers on torch takes less time, also by one thread.
_MANY = 2**10


def count(x: Tensor) -> int:
    """Return how many are True."""
    return int(np.count_nonzero(array(x)) if x.device.type == "cpu" else x.sum())


def among(x: Tensor, values: Tensor) -> Tensor:
    """Whether each of some integers on the CPU is among others."""
    return torch.from_numpy(np.isin(array(x), array(values)))


def exp_(x: Floats) -> Floats:
    """Return exp(x) in place of x."""
    return np.exp(x, x) if len(x) < _MANY else torch.from_numpy(x).exp_().numpy()


def log_(x: Floats) -> Floats:
    """Return log(x) in place of x."""
    return np.log(x, x) if len(x) < _MANY else torch.from_numpy(x).log_().numpy()


def expm1_(x: Floats) -> Floats:
    """Return exp(x) - 1 in place of x."""
    return np.expm1(x, x) if len(x) < _MANY else torch.from_numpy(x).expm1_().numpy()


def returned(
    loss: float, gradient: Floats | None, prediction: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return a loss and its gradient as tensors, in float32, or in float64 as the prediction."""
    # Half precision has too short a range for sums, and for a gradient that is to be multiplied.
    dtype = np.float64 if prediction.itemsize == 8 else np.float32
    value = torch.from_numpy(np.asarray(loss, dtype))
    if gradient is None:
        return value, None
    return value, torch.from_numpy(gradient.astype(dtype, copy=False))
