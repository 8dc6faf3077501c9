"""Checks of intervals in which events lie, and of times known to be event-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sksurvtorch._validation.options import transforms
from sksurvtorch._validation.survival import (
    _refuse,
    check_time,
    check_vector,
    comparable,
    density_at_zero,
    unpack_target,
)
from sksurvtorch._validation.tensors import array, check_device

_EITHER = "Pass either event and time, or lower and upper."


def check_outcome(event: Any, time: Any, lower: Any, upper: Any) -> bool:
    """Return whether an outcome is given by bounds; raise unless it is that or event and time."""
    columns = {"event": event, "time": time, "lower": lower, "upper": upper}
    given = [name for name, column in columns.items() if column is not None]
    if given not in (["event", "time"], ["lower", "upper"]):
        listed = ", ".join(given) if given else "none of them"
        raise TypeError(
            "The outcome must be given by `event` and `time` or by `lower` and `upper`, got "
            f"{listed}. {_EITHER}"
        )
    return given == ["lower", "upper"]


def check_bounds(
    lower: Any, upper: Any, n_samples: int, *, model: str = "Weibull"
) -> tuple[Tensor, Tensor]:
    """Return both bounds in one dtype, with 0 <= lower <= upper, each row saying something."""
    low = check_vector("lower", lower, n_samples)
    high = check_vector("upper", upper, n_samples)
    check_device("upper", high, low.device, "lower")
    wide = comparable(low, high)
    if low.device.type == "cpu" and _are_bounds(*map(array, wide)):  # nearly always
        return wide
    low = check_time(low, n_samples, name="lower")
    _refuse("lower", "be at least 0", low < 0, low, "Time starts at 0.")
    hint = "Pass inf for a right-censored row."
    _refuse("upper", "be a number or inf", torch.isnan(high), high, hint)
    hint = density_at_zero(model)
    _refuse("upper", "be positive", high <= 0, high, hint)
    low, high = wide
    hint = "The event lies in (lower, upper], or at this time if both are equal."
    _refuse("upper", "be at least the lower bound of its row", high < low, high, hint)
    empty = (low == 0) & (high == torch.inf)
    if empty.device.type == "cpu" and not transforms() & {"Vmap", "Trace"} and bool(empty.any()):
        raise ValueError(
            "`lower` and `upper` must say something about each row, got 0 and inf in "
            f"{int(empty.sum())} of {len(empty)} rows. Leave these rows out."
        )
    return low, high


def _are_bounds(low: Any, high: Any) -> bool:
    """Whether two arrays are bounds that say something."""
    finite = high < float("inf")
    ordered = (low >= 0) & (high >= low) & (high > 0)
    return bool((ordered & (finite | (low > 0)) & (low < float("inf"))).all())


def check_entry_of_bounds(entry: Any, lower: Tensor, upper: Tensor) -> Tensor:
    """Return `entry` as a tensor that is before the end of each row, be it exact or censored."""
    value = check_vector("entry", entry, len(lower))
    check_device("entry", value, lower.device, "lower")
    within = (lower < upper) & (upper < torch.inf)
    end = torch.where(within, upper, lower)
    early, late = comparable(value, end)
    hint = (
        "A row is at risk on (entry, upper], or up to the time of its event or its right "
        "censoring, which may not be empty."
    )
    _refuse("entry", "be less than the end of its row", ~(early < late), value, hint)
    return value


def check_after(after: Any, n_samples: int) -> Tensor:
    """Return times at which rows are known to be event-free, finite and at least 0."""
    value = check_time(after, n_samples, name="after")
    _refuse("after", "be at least 0", value < 0, value, "Time starts at 0.")
    return value


def unpack_aft_target(event: Any, time: Any, **options: Any) -> dict[str, Any]:
    """Return the parts of a target by event and time, or by the options lower and upper."""
    if isinstance(event, Mapping) and ("lower" in event or "upper" in event):
        given = [name for name, value in {"time": time, **options}.items() if value is not None]
        if given:
            raise TypeError(f"`{given[0]}` must be a key of the mapping, got both.")
        unknown = sorted(set(event) - set(options))
        if unknown or "lower" not in event or "upper" not in event:
            known = ", ".join(repr(name) for name in options)
            raise ValueError(
                f"The keys of a target of intervals must be among {known}, with lower and upper, "
                f"got {list(event)}."
            )
        return {"event": None, "time": None, **options, **event}
    if isinstance(event, Mapping):
        bounds = {name: options.pop(name) for name in ("lower", "upper")}
        given = [name for name, value in bounds.items() if value is not None]
        if given:
            raise TypeError(f"`{given[0]}` must be a key of the mapping, got both.")
    return unpack_target(event, time, **options)
