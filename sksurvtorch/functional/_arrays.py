"""Tensors on the CPU as arrays of numpy, whose operations on few numbers take less time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

# From so many numbers on torch takes less time, also by one thread.
_MANY = 2**10


def array(x: Tensor) -> NDArray[Any]:
    """Return a tensor on the CPU as an array: that of its memory, where numpy has its dtype."""
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy(force=True)


def count(x: Tensor) -> int:
    """Return how many are True."""
    return int(np.count_nonzero(array(x)) if x.device.type == "cpu" else x.sum())


def exp_(x: Floats) -> Floats:
    """Return exp(x) in place of x."""
    return _in_place(x, np.exp, torch.exp)


def log_(x: Floats) -> Floats:
    """Return log(x) in place of x."""
    return _in_place(x, np.log, torch.log)


def expm1_(x: Floats) -> Floats:
    """Return exp(x) - 1 in place of x."""
    return _in_place(x, np.expm1, torch.expm1)


def _in_place(
    x: Floats, of_few: Callable[[Floats, Floats], Any], of_many: Callable[..., Tensor]
) -> Floats:
    if len(x) < _MANY:
        of_few(x, x)
    else:
        tensor = torch.from_numpy(x)
        of_many(tensor, out=tensor)
    return x


def returned(
    loss: float, gradient: Floats | None, prediction: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return a loss and its gradient as tensors, in the dtypes that belong to a prediction.

    In half precision the loss has float32, and the gradient stays wide: what it is multiplied by
    may be large.
    """
    kind: Any = np.float64 if prediction.itemsize == 8 else np.float32
    value = torch.from_numpy(np.asarray(loss, kind))
    if gradient is None:
        return value, None
    own = gradient if prediction.itemsize < 4 else gradient.astype(kind, copy=False)
    return value, torch.from_numpy(own)
