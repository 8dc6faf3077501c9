"""Checks that any tensor has to pass: numbers, one by one, where they can be computed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_FLOATING = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
#: Integers that torch can hardly compute with.
_UNSIGNED = {torch.uint16, torch.uint32, torch.uint64}
_WHOLE = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, *_UNSIGNED}
_NUMBERS = _FLOATING | _WHOLE
_SIGNED = _NUMBERS - _UNSIGNED
_STRIDED = torch.strided


def is_plain(value: Any) -> bool:
    """Whether this is a tensor as columns usually are; it says no of some that are, too."""
    return (
        type(value) is Tensor
        and value.dtype in _SIGNED
        and value.layout is _STRIDED
        and not (value.requires_grad or value.is_nested)
    )


def check_floating(name: str, value: Any) -> None:
    """Raise unless `value` is a dense floating-point tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"`{name}` must be a floating-point tensor, got {type(value).__name__}.")
    if value.dtype in _WHOLE:
        raise TypeError(
            f"`{name}` must be a floating-point tensor, got {value.dtype}. Pass {name}.float()."
        )
    check_dense(name, value)


def check_dense(name: str, value: Tensor) -> None:
    """Raise unless a tensor has real numbers, of a dtype to compute with, one by one in memory."""
    # The usual kinds first: this stands before every loss.
    plain = type(value) is Tensor or type(value).__name__ != "MaskedTensor"
    if plain and value.dtype in _NUMBERS and value.layout is _STRIDED and not value.is_nested:
        return
    if value.is_nested:
        kind, hint = "a nested one", f"Join its parts by torch.cat({name}.unbind())."
    elif not plain:
        kind, hint = "a masked one", "Leave the masked rows out."
    elif value.is_complex():
        kind, hint = str(value.dtype), f"Pass {name}.real or {name}.abs(), whichever is meant."
    elif value.layout is not _STRIDED:
        kind, hint = f"the layout {value.layout}", f"Pass {name}.to_dense()."
    elif value.is_quantized:
        kind, hint = str(value.dtype), f"Pass {name}.dequantize()."
    else:
        kind, hint = str(value.dtype), f"Pass {name}.float()."
    raise TypeError(f"`{name}` must be a dense tensor of real numbers, got {kind}. {hint}")


def check_has_numbers(name: str, value: Any) -> None:
    """Raise if a tensor is a placeholder."""
    if isinstance(value, Tensor) and value.is_meta:
        raise ValueError(
            f"`{name}` must hold numbers, got the device 'meta'. Make it outside of "
            "torch.device('meta')."
        )


def check_device(name: str, value: Tensor, device: torch.device, of: str) -> None:
    """Raise unless a tensor is on this device."""
    if value.device != device:
        raise ValueError(
            f"`{name}` must be on the device of `{of}`, {device}, got {value.device}. Pass "
            f"{name}.to({str(device)!r})."
        )


def check_devices(columns: Mapping[str, Tensor | None], device: torch.device, of: str) -> None:
    """Raise unless all tensors are on this device."""
    for name, column in columns.items():
        if column is not None and column.device != device:
            check_device(name, column, device, of)


def check_unmasked(name: str, value: Any) -> None:
    """Raise if an array of numpy has values that count as missing."""
    if type(value).__name__ == "MaskedArray" and value.mask.any():
        raise ValueError(
            f"`{name}` must not be masked, got {int(value.mask.sum())} masked values of "
            f"{value.size}. Leave them out, or fill them by {name}.filled(...)."
        )


def signed(name: str, value: Tensor) -> Tensor:
    """Return unsigned integers as signed ones, and anything else as it is."""
    if value.dtype not in _UNSIGNED:
        return value
    whole = value.to(torch.int64)
    if value.dtype == torch.uint64 and not value.is_meta and bool((whole < 0).any()):
        raise ValueError(
            f"`{name}` must be less than 2**63, got {value[whole < 0][0].item()}. Subtract a "
            "constant, or divide by one."
        )
    return whole


def for_numpy(name: str, value: Any) -> Any:
    """Return a tensor as an array, and anything else as it is."""
    check_unmasked(name, value)
    if not isinstance(value, Tensor):
        return value
    check_dense(name, value)
    check_has_numbers(name, value)
    return array(value)


def array(value: Tensor) -> Any:
    """Return a tensor as an array: on the CPU that of its memory, if numpy has its dtype."""
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy(force=True)
