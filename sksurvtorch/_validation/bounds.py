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
    lower: Any, upper: Any, n_samples: int, *, names: tuple[str, str] = ("lower", "upper")
) -> tuple[Tensor, Tensor]:
    """Return both bounds in one dtype, with 0 <= lower <= upper, each row saying something."""
    low = check_vector(names[0], lower, n_samples)
    high = check_vector(names[1], upper, n_samples)
    check_device(names[1], high, low.device, names[0])
    wide = comparable(low, high)
    if low.device.type == "cpu" and _are_bounds(*map(array, wide)):  # nearly always
        return wide
    hint = "A left-censored row has a lower bound of 0."
    _refuse(names[0], "be finite", ~torch.isfinite(low), low, hint)
    _refuse(names[0], "be at least 0", low < 0, low, "Time starts at 0.")
    hint = "A right-censored row has an infinite upper bound."
    _refuse(names[1], "not be missing", torch.isnan(high), high, hint)
    low, high = wide
    hint = "The event lies in (lower, upper], or at both if they are equal."
    _refuse(names[1], f"be at least {names[0]} in each row", high < low, high, hint)
    hint = "No event can lie at or before time 0."
    _refuse(names[1], "be positive", high <= 0, high, hint)
    empty = (low == 0) & (high == torch.inf)
    if empty.device.type == "cpu" and not transforms() & {"Vmap", "Trace"} and bool(empty.any()):
        raise ValueError(
            f"`{names[0]}` and `{names[1]}` must bound the time of the event in each row, got 0 "
            f"and infinity ({int(empty.sum())} of {len(empty)} rows). Such rows say nothing: leave "
            "them out."
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
