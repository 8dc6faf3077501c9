"""Predictions within strata, or given event-free at a time, and the outcome of such samples."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from sksurvtorch._validation import check_survival_y, is_interval_y
from sksurvtorch.displays._checks import final_step
from sksurvtorch.displays._estimates import Array


def strata_given(stratum: Any) -> dict[str, Any]:
    """Return the options of a prediction: `stratum` if there is one, as few models take it."""
    return {} if stratum is None else {"stratum": stratum}


def options_given(
    estimator: Any, method: str, conditional_after: Any, stratum: Any
) -> dict[str, Any]:
    """Return what a method is called with, or raise if it cannot predict given event-free."""
    if conditional_after is None:
        return strata_given(stratum)
    model = final_step(estimator)
    if "conditional_after" not in inspect.signature(getattr(model, method)).parameters:
        raise TypeError(
            f"`conditional_after` must be None for a model whose `{method}` does not take it, got "
            f"{conditional_after!r:.40} and {type(model).__name__}. Give predictions of your own "
            "to `from_predictions`."
        )
    return strata_given(stratum) | {"conditional_after": conditional_after}


def first_time(conditional_after: Any, low: float, high: float) -> float:
    """Return where curves begin: at the earliest time at which a sample is known event-free."""
    if conditional_after is None:
        return low
    first = max(low, float(np.min(conditional_after)))
    if not first < high:
        raise ValueError(
            f"`conditional_after` must be before the last time of the curves, {high:g}, got "
            f"{first:g}. Nothing is left to draw."
        )
    return first


def entry_given(y: Any, entry: Any, conditional_after: Any, owner: str) -> Any:
    """Return the entry of rows that count from the time at which they are known event-free."""
    if conditional_after is None or y is None:
        return entry
    if is_interval_y(y):
        raise ValueError(
            "`y` must have event and time with `conditional_after`, got intervals. Turnbull's "
            "estimate has no late entry; draw the curves without `y`."
        )
    time = check_survival_y(y, owner)[1]
    after: Array = np.broadcast_to(np.asarray(conditional_after, dtype=float), time.shape)
    bad = ~(time > after)
    if bad.any():
        raise ValueError(
            "`y` must have times after `conditional_after`, when all samples are known to be "
            f"event-free, got {time[bad][0]!s} ({bad.sum()} of {len(time)} rows). Leave these "
            "rows out."
        )
    return after if entry is None else np.maximum(np.asarray(entry, dtype=float), after)
