"""Checks of survival data: events, times and what belongs to them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from sksurvtorch._validation.options import describe, transforms
from sksurvtorch._validation.tensors import (
    array,
    check_dense,
    check_device,
    check_devices,
    check_floating,
    check_has_numbers,
    check_unmasked,
    is_plain,
    signed,
)
from sksurvtorch.exceptions import NoEventError

TIES = ("efron", "breslow")
HAZARDS = ("cause-specific", "subdistribution")
# Sums of weights, times what the losses multiply them with, stay within the range of float64.
_SMALLEST_SUM, _LARGEST_SUM = 1e-300, 1e300


def check_prediction(name: str, value: Tensor, widths: Sequence[int]) -> None:
    """Raise unless a prediction is floating-point, of shape (n_samples,) or of an allowed width."""
    check_floating(name, value)
    if value.ndim != 1 and (value.ndim != 2 or value.shape[1] not in widths):
        allowed = " or ".join(f"(n_samples, {width})" for width in widths)
        raise ValueError(f"`{name}` must have shape {allowed}, got {tuple(value.shape)}.")


def to_tensor(value: Any) -> Tensor:
    """Return a tensor as it is and anything else on the CPU, numbers of Python in float64."""
    # torch's default device and dtype do not count, not even for a tensor that is on the CPU.
    if isinstance(value, Tensor):
        return value
    tensor = torch.as_tensor(value, device="cpu")
    if hasattr(value, "__array__") or not tensor.is_floating_point():
        return tensor
    return torch.as_tensor(value, dtype=torch.float64, device="cpu")


def check_vector(name: str, value: Any, n_samples: int | None = None) -> Tensor:
    """Return `value` as a tensor of shape (n_samples,), numeric and without gradient."""
    if value is None:
        raise TypeError(f"`{name}` must be a tensor of shape (n_samples,), got None.")
    if is_plain(value):  # nearly always
        return _check_length(name, value, n_samples)
    check_unmasked(name, value)
    if hasattr(value, "__array__") and not isinstance(value, Tensor):
        # torch has no read-only, reversed, strided by bytes or foreign-endian arrays.
        value = value.__array__()
        value = value.astype(value.dtype.newbyteorder("="), order="C", copy=True)
    try:
        tensor = to_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"`{name}` must be numeric, got {kind}.") from error
    check_dense(name, tensor)
    check_constant(name, tensor)
    return _check_length(name, signed(name, tensor.detach()), n_samples)


def _check_length(name: str, tensor: Tensor, n_samples: int | None) -> Tensor:
    """Return a tensor of shape (n_samples,)."""
    if tensor.ndim != 1 or (n_samples is not None and tensor.shape[0] != n_samples):
        wanted = "(n_samples,)" if n_samples is None else f"({n_samples},)"
        raise ValueError(f"`{name}` must have shape {wanted}, got {tuple(tensor.shape)}.")
    return tensor


def check_constant(name: str, value: Any) -> None:
    """Raise if a tensor waits for a gradient, which only predictions get."""
    if isinstance(value, Tensor) and value.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"`{name}` must not require a gradient, got a tensor that does: there is a gradient by "
            f"the prediction alone. Pass {name}.detach()."
        )


def _refuse(name: str, rule: str, bad: Tensor, value: Tensor, hint: str) -> None:
    """Raise if a row is `bad`, with the count of such rows and the first value."""
    hidden = transforms() & {"Vmap", "Trace"}
    if bad.device.type == "cpu" and not hidden and bool(bad.any()):
        first = value[bad][0].item()
        raise ValueError(
            f"`{name}` must {rule}, got {first!r} ({int(bad.sum())} of {len(bad)} rows). {hint}"
        )


def check_event(event: Any, n_samples: int | None = None) -> Tensor:
    """Return `event` as a bool tensor."""
    value = check_vector("event", event, n_samples)
    if value.dtype == torch.bool:
        return value
    hint = "Pass True for an observed event and False for a censored one."
    _refuse("event", "be bool, or 0 and 1", (value != 0) & (value != 1), value, hint)
    return value.bool()


def density_at_zero(model: str) -> str:
    """Say what to do about a time of 0."""
    is_what = "zero" if model == "log-normal" else "zero or infinite"
    return (
        f"The {model} density is {is_what} at time 0: add half a unit of time to all rows, or "
        "leave out those that were never at risk."
    )


def check_time(
    time: Any,
    n_samples: int,
    *,
    name: str = "time",
    positive: bool = False,
    model: str = "Weibull",
) -> Tensor:
    """Return `time` as a finite tensor."""
    value = check_vector(name, time, n_samples)
    # To look at another device would stop a stream.
    is_looked_at = value.device.type == "cpu" and value.numel() > 0
    if not (is_looked_at and (positive or value.is_floating_point())):
        return value
    # Finite numbers have a finite sum of squares, unless they are very large.
    if value.is_floating_point() and not math.isfinite(value.dot(value)):
        hint = "Impute or remove these rows."
        _refuse(name, "be finite", ~torch.isfinite(value), value, hint)
    if positive and not array(value).min() > 0:
        _refuse(name, "be positive", value <= 0, value, density_at_zero(model))
    return value


def check_entry(entry: Any, time: Tensor) -> Tensor:
    """Return `entry` as a tensor with entry < time in each row; -inf means from the start."""
    value = check_vector("entry", entry, len(time))
    check_device("entry", value, time.device, "time")
    low, high = comparable(value, time)
    hint = "A row is at risk on (entry, time], which may not be empty."
    _refuse("entry", "be less than the time of its row", ~(low < high), value, hint)
    return value


def comparable(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in a dtype that keeps their values: an integer never becomes a float32."""
    if x.is_floating_point() != y.is_floating_point():
        return x.double(), y.double()
    dtype = torch.promote_types(x.dtype, y.dtype)
    return x.to(dtype), y.to(dtype)


def check_weight(weight: Any, n_samples: int, *, may_vanish: bool = False) -> Tensor:
    """Return `weight` as a finite tensor, at least 0, and unless it may vanish somewhere above."""
    value = check_vector("weight", weight, n_samples)
    hint = "A weight multiplies the loss of its row; 0 leaves the row out."
    bad = ~(torch.isfinite(value) & (value >= 0))
    _refuse("weight", "be finite and at least 0", bad, value, hint)
    if value.device.type != "cpu":
        return value
    total = float(value.sum(dtype=torch.float64))
    if total == 0 and not may_vanish:
        raise ValueError(f"`weight` must be positive somewhere, got {n_samples} zeros. {hint}")
    if total > _LARGEST_SUM or 0 < total < _SMALLEST_SUM:
        raise ValueError(
            f"`weight` must have a sum from {_SMALLEST_SUM} to {_LARGEST_SUM}, got weights up to "
            f"{value.max().item()!r}. Divide them by their mean."
        )
    return value


def check_codes(name: str, value: Any, n_samples: int) -> Tensor:
    """Return codes, of strata or rows, as an int64 tensor."""
    codes = check_vector(name, value, n_samples)
    if codes.is_floating_point():
        raise TypeError(
            f"`{name}` must hold integer codes, got {codes.dtype}. "
            "Encode the labels first, for instance with numpy.unique(..., return_inverse=True)."
        )
    return codes.long()


def check_columns(
    event: Tensor | None,
    time: Tensor | None,
    entry: Tensor | None = None,
    stratum: Tensor | None = None,
    weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the columns given by name, with valid values of the right dtype."""
    check_has_numbers("event", event)
    event = check_event(event)
    columns = {"event": event, "time": check_time(time, event.shape[0])}
    if entry is not None:
        columns["entry"] = check_entry(entry, columns["time"])
    if stratum is not None:
        columns["stratum"] = check_codes("stratum", stratum, len(event))
    if weight is not None:
        columns["weight"] = check_weight(weight, len(event))
    check_devices(columns, event.device, "event")
    return columns


def check_status(status: Any, n_samples: int | None = None) -> Tensor:
    """Return `status` as an int64 tensor: 0 for a censored row, else the number of the cause."""
    value = check_vector("status", status, n_samples)
    hint = "Pass 0 for a censored row, and 1 to the number of causes for an event."
    if value.is_floating_point():
        raise TypeError(f"`status` must hold integers, got {value.dtype}. {hint}")
    value = value.long()
    if value.device.type == "cpu" and value.numel() and array(value).min() < 0:
        _refuse("status", "be at least 0", value < 0, value, hint)
    return value


def check_risk_columns(
    status: Any,
    time: Tensor | None,
    entry: Tensor | None = None,
    stratum: Tensor | None = None,
    weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the columns given by name; a row of weight 0 has the status 0."""
    check_has_numbers("status", status)
    status = check_status(status)
    if isinstance(time, Tensor) and time.device != status.device:
        check_device("time", time, status.device, "status")
    columns = check_columns(status > 0, time, entry, stratum, weight)
    del columns["event"]
    if "weight" in columns:
        status = status.masked_fill(columns["weight"] == 0, 0)
    return {"status": status, **columns}


def check_any_cause(n_events: int, n_samples: int) -> None:
    """Raise `NoEventError` unless there is an event of some cause."""
    if n_events == 0:
        raise NoEventError(
            f"`status` must be above 0 at least once, got {n_samples} rows that are censored or of "
            "weight 0. The partial likelihood is a product over events: use larger batches, or "
            "leave such a batch out."
        )


def check_grid(times: Any, n_samples: int) -> Tensor:
    """Return `times` of shape (n_times,) or (n_samples, n_times), at least 0."""
    check_unmasked("times", times)
    try:
        value = to_tensor(times)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"`times` must be numeric, got {describe(times)}.") from error
    check_dense("times", value)
    check_has_numbers("times", value)
    check_constant("times", value)
    value = signed("times", value.detach())
    if value.ndim not in (1, 2) or (value.ndim == 2 and len(value) not in (1, n_samples)):
        raise ValueError(
            f"`times` must have shape (n_times,) or ({n_samples}, n_times), "
            f"got {tuple(value.shape)}."
        )
    flat = value.reshape(-1)
    _refuse("times", "be at least 0", ~(flat >= 0), flat, "Time starts at 0.")
    return value


def check_probability(probability: Any) -> Tensor:
    """Return probabilities as a floating-point tensor within [0, 1]."""
    if isinstance(probability, Tensor):
        check_dense("probability", probability)
    if getattr(probability, "ndim", 1) != 1:
        raise ValueError(
            "`probability` must be a number or of shape (n_quantiles,), "
            f"got {describe(probability)}."
        )
    value = check_vector("probability", probability)
    check_has_numbers("probability", value)
    hint = "It is the probability that the event has happened: 0.5 gives the median."
    _refuse("probability", "be within [0, 1]", ~((value >= 0) & (value <= 1)), value, hint)
    if value.is_floating_point():
        return value.float() if value.itemsize < 4 else value
    return value.double()


def check_any_event(n_events: int, n_samples: int) -> None:
    """Raise `NoEventError` unless there is an event."""
    if n_events == 0:
        raise NoEventError(
            f"`event` must be True at least once, got {n_samples} rows that are censored or of "
            "weight 0. The Cox partial likelihood is a product over events: use larger batches, "
            "or leave such a batch out."
        )


def unpack_target(event: Any, time: Any, first: str = "event", **options: Any) -> dict[str, Any]:
    """Return the parts of a target, given one by one or as a mapping in place of the first."""
    if not isinstance(event, Mapping):
        return {first: event, "time": time, **options}
    given = [name for name, value in {"time": time, **options}.items() if value is not None]
    if given:
        raise TypeError(f"`{given[0]}` must be a key of the mapping, got both.")
    unknown = sorted(set(event) - {first, "time", *options})
    if unknown or first not in event or "time" not in event:
        known = ", ".join(repr(name) for name in (first, "time", *options))
        raise ValueError(
            f"The keys of a target must be among {known}, with {first} and time, got {list(event)}."
        )
    return {**options, **event}
