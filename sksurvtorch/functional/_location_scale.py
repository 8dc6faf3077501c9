"""Log scale and log shape of a model of log time, and how far a time is from the scale."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sksurvtorch._validation import check_grid, check_prediction
from sksurvtorch.functional._arithmetic import widest

# Exponents of 2 of weights that leave room in float32 for a loss and for their number.
_NEAR = 24


def checked_params(log_params: Tensor) -> Tensor:
    """Return log scale, and log shape where there is one, as a matrix."""
    check_prediction("log_params", log_params, (1, 2))
    return log_params.unsqueeze(1) if log_params.ndim == 1 else log_params


def scale_and_shape(log_params: Tensor) -> tuple[Tensor, Tensor]:
    """Return log scale and log shape, each of shape (n_samples,)."""
    log_scale = log_params[:, 0]
    if log_params.shape[1] == 1:
        return log_scale, torch.zeros_like(log_scale)
    return log_scale, log_params[:, 1]


def on_grid(log_params: Tensor, times: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return log scale and log shape as columns, and the logarithm of the times."""
    log_scale, log_shape = scale_and_shape(log_params.to(dtype))
    device = log_params.device
    times = check_grid(times, len(log_params)).to(device, widest(device))
    return log_scale[:, None], log_shape[:, None], times.log().to(dtype)


def log_of_time(time: Tensor) -> Tensor:
    """Return the logarithm of a time; NaN where the time is not positive."""
    return torch.where(time > 0, time.log(), float("nan"))


def bounded(x: Tensor) -> Tensor:
    """Hold x within a range that leaves sums finite."""
    bound = torch.finfo(x.dtype).max / 4
    return x.clamp(-bound, bound)


def distance(
    log_scale: Tensor,
    log_shape: Tensor,
    log_time: Tensor,
    hold: Callable[[Tensor], Tensor] = bounded,
) -> Tensor:
    """Return k (log t - log scale), held within a range; -inf at time 0, whatever the shape."""
    at_zero = log_time == -torch.inf
    # Multiplied by infinity the gradient would be NaN, also where it is left out.
    log_ratio = torch.where(at_zero, 0.0, log_time) - log_scale
    return torch.where(at_zero, -torch.inf, hold(bounded(log_shape.exp()) * log_ratio))


def near_one(weight: Tensor) -> Tensor:
    """Return weights of a mean, by a power of 2 that leaves the products within the range."""
    if weight.device.type != "cpu":  # looking at them would stop the stream
        return weight
    exponent = math.frexp(float(weight.max()))[1] if weight.numel() else 0
    return weight if abs(exponent) < _NEAR else weight.double() * 2.0**-exponent
