"""Checks of dense predictions, their targets and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sksurvtorch._validation.options import describe, is_readable
from sksurvtorch._validation.tensors import check_dense, check_device, check_floating

NORMALIZE = ("voxels", "weight")
WEIGHTINGS = ("linear", "dacapo")


def check_dense_prediction(prediction: Any) -> None:
    """Raise unless `prediction` is a floating-point tensor with at least one element."""
    check_floating("prediction", prediction)
    if prediction.ndim == 0 or prediction.numel() == 0:
        raise ValueError(
            "`prediction` must have at least one axis and one element, "
            f"got shape {tuple(prediction.shape)}."
        )


def check_dense_target(target: Any, prediction: Tensor) -> None:
    """Raise unless `target` is a real tensor of the shape of `prediction`."""
    _check_real("target", target, prediction)
    if target.shape != prediction.shape:
        raise ValueError(
            f"`target` must have the shape of `prediction`, {tuple(prediction.shape)}, got "
            f"{tuple(target.shape)}. Samples come first, channels second, then the spatial axes."
        )


def check_dense_weight(weight: Any, prediction: Tensor) -> None:
    """Raise unless `weight` is a real tensor that broadcasts to the shape of `prediction`."""
    _check_real("weight", weight, prediction)
    broadcasts = weight.ndim == prediction.ndim and all(
        n in (1, wanted) for n, wanted in zip(weight.shape, prediction.shape, strict=True)
    )
    if not broadcasts:
        raise ValueError(
            f"`weight` must have the shape of `prediction`, {tuple(prediction.shape)}, or 1 in "
            f"place of some of its axes, got {tuple(weight.shape)}."
        )


def _check_real(name: str, value: Any, prediction: Tensor) -> None:
    """Raise unless `value` is a tensor of real numbers where the prediction is."""
    if not isinstance(value, Tensor):
        raise TypeError(f"`{name}` must be a real tensor, got {describe(value)}.")
    check_dense(name, value)
    check_device(name, value, prediction.device, "prediction")


def check_counting_weight(weight: Tensor, dtype: torch.dtype, n_elements: int) -> None:
    """Raise if a weight on the CPU is negative, not finite, or out of the range of `dtype`."""
    if not is_readable(weight):
        return
    # One pass without a temporary; NaN is in either end.
    low, high = torch.aminmax(weight.detach())
    if not (float(low) >= 0 and float(high) < float("inf")):
        bad = ~(torch.isfinite(weight) & (weight >= 0))
        raise ValueError(
            f"`weight` must be finite and at least 0, got {weight[bad][0].item()!r} "
            f"({int(bad.sum())} of {bad.numel()} elements). A weight multiplies the loss of its "
            "element; 0 leaves the element out."
        )
    range_ = torch.finfo(dtype)
    if 0 < float(high) < range_.smallest_normal or float(high) > range_.max / n_elements:
        raise ValueError(
            f"`weight` must have a sum within the range of {dtype}, in which the loss is computed, "
            f"got weights up to {high.item()!r}. Divide them by their mean."
        )


def check_weight_sum(total: Tensor, term: str) -> None:
    """Raise if the weights of a term, on the CPU, sum to 0."""
    if not is_readable(total):
        return
    if not float(total.detach()) > 0:
        raise ValueError(
            f"`weight` must be positive somewhere to divide by its sum, got only zeros for the "
            f'{term}. Leave such a batch out, or use normalize="voxels".'
        )


def check_finite_target(losses: Sequence[Tensor], target: Tensor, weight: Tensor | None) -> None:
    """Raise if losses on the CPU are not finite because a target that counts is not."""
    if not is_readable(target):
        return
    if all(bool(loss.isfinite().all()) for loss in losses):
        return
    bad = ~target.isfinite()
    if weight is not None:
        bad = bad & (weight != 0)
    if bool(bad.any()):
        raise ValueError(
            f"`target` must be finite where it counts, got {target[bad][0].item()!r} "
            f"({int(bad.sum())} of {bad.numel()} elements). Give such elements the weight 0."
        )


def check_even_channels(name: str, value: Tensor) -> None:
    """Raise unless the channels split into two halves."""
    if value.ndim < 2 or value.shape[1] % 2:
        raise ValueError(
            f"`{name}` must have an even number of channels, hot ones and then as many distances, "
            f"got shape {tuple(value.shape)}."
        )


def check_num_affinities(num_affinities: int, prediction: Tensor) -> None:
    """Raise unless there are as many channels."""
    if prediction.ndim < 2 or num_affinities > prediction.shape[1]:
        raise ValueError(
            "`num_affinities` must be at most the number of channels, "
            f"got {num_affinities} and a prediction of shape {tuple(prediction.shape)}."
        )


def unpack_dense_target(prediction: Any, target: Any) -> tuple[Any, Any]:
    """Return target and weight, given as one tensor, a pair, a mapping or packed together."""
    if isinstance(target, Mapping):
        if not {"target"} <= set(target) <= {"target", "weight"}:
            raise ValueError(
                "The keys of a target must be 'target' and, optionally, 'weight', "
                f"got {list(target)}."
            )
        return target["target"], target.get("weight")
    if isinstance(target, (tuple, list)):
        if len(target) != 2:
            raise ValueError(
                "A target that is a sequence must hold two tensors, target and weight, "
                f"got {len(target)}."
            )
        return target[0], target[1]
    both = isinstance(target, Tensor) and isinstance(prediction, Tensor)
    if both and not (target.is_nested or prediction.is_nested) and prediction.ndim > 0:
        n_samples, *rest = prediction.shape
        if target.shape == (n_samples, 2, *rest):
            return target[:, 0], target[:, 1]
    return target, None
