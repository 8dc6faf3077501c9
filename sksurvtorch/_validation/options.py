"""Checks of options: strings, numbers, sizes, devices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from math import isfinite
from numbers import Integral, Real
from typing import Any

import torch

REDUCTIONS = ("mean", "sum", "none")
# Every loss asks these: torch.fx's own function takes four times as long as what it calls.
_any_transform = torch._C._are_functorch_transforms_active
_mode, _RECORDING = torch._C._get_dispatch_mode, torch._C._TorchDispatchModeKey.PROXY
_NO_TRANSFORM: Set[str] = frozenset()


def check_option(name: str, value: object, options: Sequence[object]) -> None:
    """Raise unless `value` is one of the `options`."""
    if type(value) is str and value in options:  # nearly always
        return
    allowed = any(
        value is option or (isinstance(value, str) and isinstance(option, str) and value == option)
        for option in options
    )
    if not allowed:
        listed = ", ".join(repr(option) for option in options)
        raise ValueError(f"`{name}` must be one of {listed}, got {value!r}.")


def check_number(
    name: str,
    value: Any,
    kind: type,
    low: float,
    high: float = float("inf"),
    *,
    closed: bool = True,
    auto: bool = False,
) -> None:
    """Raise unless this is a number from `low`, itself if `closed`, to below `high`, or 'auto'."""
    if auto and isinstance(value, str) and value == "auto":
        return
    abstract = Integral if kind is int else Real
    word = ("an integer" if kind is int else "a number") + " or 'auto'" * auto
    if not isinstance(value, abstract) or isinstance(value, bool):
        raise TypeError(f"`{name}` must be {word}, got {value!r} of type {type(value).__name__}.")
    number = float(value)
    if not isfinite(number) and number != low:  # a bound may be -inf, and then is a value too
        raise ValueError(f"`{name}` must be finite, got {value!r}.")
    inside = low <= number if closed else low < number
    if not (inside and number < high):
        bounds = f"at least {low}" if closed else f"more than {low}"
        bounds += "" if high == float("inf") else f" and less than {high}"
        raise ValueError(f"`{name}` must be {bounds}, got {value!r}.")


def check_sizes(name: str, value: Any) -> tuple[int, ...]:
    """Return positive sizes, given as one integer or a sequence of them."""
    if isinstance(value, str) or not isinstance(value, (Integral, Iterable)):
        raise TypeError(f"`{name}` must be an integer or a sequence of them, got {value!r}.")
    sizes = tuple(value) if isinstance(value, Iterable) else (value,)
    for size in sizes:
        check_number(name, size, int, 1)
    return tuple(int(size) for size in sizes)


def check_flag(name: str, value: Any) -> None:
    """Raise unless `value` is True or False."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(f"`{name}` must be True or False, got {value!r}.")


def describe(value: Any) -> str:
    """Say in a few words what a value is."""
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    if shape is None:
        return kind
    dtype = getattr(value, "dtype", None)
    return f"{kind} of shape {tuple(shape)}" + ("" if dtype is None else f" and dtype {dtype}")


def transforms() -> Set[str]:
    """Return the transforms of torch.func that are active, such as Grad, Vmap, Jvp and Trace."""
    # The last one stands for the recording of operations by torch.func.linearize and make_fx.
    traced = not torch.compiler.is_compiling() and _mode(_RECORDING) is not None
    if not (traced or _any_transform()):
        return _NO_TRANSFORM
    active = torch._C._functorch.get_interpreter_stack() or []
    names = {str(interpreter.key()).rpartition(".")[2] for interpreter in active}
    return names | {"Trace"} if traced else names


def is_readable(x: torch.Tensor) -> bool:
    """Whether values can be looked at: on the CPU, in no compiled, batched or recorded code."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return transforms().isdisjoint({"Vmap", "Trace"})


def resolve_device(device: Any) -> torch.device:
    """Return the device to compute on; "auto" is the first accelerator there is, else the CPU."""
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if accelerator is None else accelerator
    try:
        resolved = torch.device(device)
        torch.zeros(1, dtype=torch.float32, device=resolved).item()  # "meta" holds no numbers
    except (RuntimeError, AssertionError, TypeError, ValueError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"`device` must name a device of this machine, such as 'cpu', 'cuda' or 'auto', "
            f"got {device!r} ({reason})."
        ) from error
    return resolved
