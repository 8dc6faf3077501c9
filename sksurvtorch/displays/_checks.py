"""Checks of what the displays are given, and the predictions they ask a model for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sksurvtorch._validation import (
    check_entry,
    check_interval_y,
    check_survival_y,
    check_vector,
    is_interval_y,
)
from sksurvtorch.displays._estimates import Array, Outcome

#: Probabilities may be off by what sums of float32 are off.
ROUNDING = 1e-5


def model_with(estimator: Any, method: str) -> Any:
    """Return the estimator, or the best one of a search, which does not pass the method on."""
    model = getattr(estimator, "best_estimator_", estimator)
    if not hasattr(model, method):
        check_is_fitted(model)  # says so of a search that has no best estimator yet
        raise TypeError(
            f"`estimator` must have the method `{method}`, got {type(model).__name__}. Pass a "
            "survival model, or a pipeline or a search that ends in one."
        )
    return model


def final_step(estimator: Any) -> Any:
    """Return the model at the end of searches and pipelines."""
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        else:
            return estimator


def predict_functions(estimator: Any, X: Any, **given: Any) -> Sequence[Any]:
    """Return the predicted survival functions."""
    functions: Sequence[Any] = model_with(
        estimator, "predict_survival_function"
    ).predict_survival_function(X, **given)
    return functions


def common_domain(functions: Sequence[Any]) -> tuple[float, float]:
    """Return the first and the last time at which all functions are defined."""
    lows, highs = zip(*(function.domain for function in functions), strict=True)
    return max(lows), min(highs)


def evaluate(functions: Sequence[Any], times: Array, name: str) -> Array:
    """Return the functions at some times, or raise if `name`, which gave these, is outside."""
    low, high = common_domain(functions)
    bad = (times < low) | (times > high)
    if bad.any():
        raise ValueError(
            f"`{name}` must be within [{low:g}, {high:g}], where all predicted survival functions "
            f"are defined, got {times[bad][0]:g}. Leave out what lies outside."
        )
    return np.stack([np.atleast_1d(function(times)) for function in functions])


def check_times(times: Any, name: str = "times") -> Array:
    """Return ascending times, at least 0."""
    grid = np.asarray(times)
    if grid.ndim != 1 or grid.dtype.kind not in "iuf" or not len(grid):
        raise ValueError(
            f"`{name}` must be numbers of shape (n_times,), got {grid.dtype} of shape {grid.shape}."
        )
    if not (np.isfinite(grid).all() and grid[0] >= 0 and (np.diff(grid) > 0).all()):
        raise ValueError(f"`{name}` must be finite, at least 0 and ascending without ties.")
    return grid


def check_y(
    y: Any, entry: Any, n_samples: int | None, owner: str
) -> tuple[Array, Array, Array | None]:
    """Return event, time and entry, the last one at least 0, or None if nobody enters late."""
    event, time = check_survival_y(y, owner)
    _check_length(len(event), n_samples)
    if entry is None:
        return event, time, None
    entry = check_entry(np.asarray(entry), check_vector("time", time)).numpy()
    if not (entry > 0).any():
        return event, time, None
    if not (time > 0).all():
        raise ValueError(
            "`time` must be positive where some enter late, got 0. A row is at risk on (entry, "
            "time], from 0 on: leave out those that were never at risk."
        )
    return event, time, np.maximum(entry, 0)


def check_outcome(y: Any, entry: Any, n_samples: int | None, owner: str) -> Outcome:
    """Return event, time and entry, or the bounds of interval-censored times."""
    if not is_interval_y(y):
        return check_y(y, entry, n_samples, owner)
    lower, upper = check_interval_y(y, owner)
    _check_length(len(lower), n_samples)
    if entry is not None:
        raise ValueError(
            "`entry` must be left out for interval-censored times, got a column. Turnbull's "
            "estimate is computed without late entry here: leave out the rows that enter late."
        )
    return lower, upper


def _check_length(n_rows: int, n_samples: int | None) -> None:
    """Raise unless there is an outcome for each prediction."""
    if n_samples is not None and n_rows != n_samples:
        raise ValueError(f"`y` must have one row for each prediction, {n_samples}, got {n_rows}.")


def check_finite(name: str, value: Any, n_samples: int) -> Array:
    """Return one finite number for each sample."""
    checked: Array = check_vector(name, np.asarray(value), n_samples).numpy()
    if not np.isfinite(checked).all():
        n_bad = int((~np.isfinite(checked)).sum())
        raise ValueError(f"`{name}` must be finite, got {n_bad} of {n_samples} that are not.")
    return checked


def check_survival(survival: Any, name: str = "survival") -> Array:
    """Return probabilities as floats within [0, 1]."""
    checked = np.asarray(survival, dtype=float)
    bad = ~((checked >= -ROUNDING) & (checked <= 1 + ROUNDING))
    if bad.any():
        raise ValueError(
            f"`{name}` must be within [0, 1], got {checked[bad][0]:g} ({bad.sum()} of "
            f"{checked.size}). It is the probability that the event is later."
        )
    return checked


def check_curves(survival: Any, times: Array) -> Array:
    """Return probabilities of one sample or more at some times."""
    checked = check_survival(survival)
    if checked.ndim != 2 or checked.shape[1] != len(times) or not len(checked):
        raise ValueError(
            f"`survival` must have shape (n_samples, {len(times)}), a column for each of "
            f"`times`, got {checked.shape}."
        )
    return checked


def check_groups(groups: Any, n_samples: int) -> tuple[Array, list[str]]:
    """Return codes from 0 on and the labels of the groups, in order."""
    values = np.asarray(groups)
    if values.shape != (n_samples,):
        raise ValueError(f"`groups` must have shape ({n_samples},), got {values.shape}.")
    if any(value is None or value != value for value in values):
        raise ValueError("`groups` must name a group for each sample, got missing values.")
    categories = getattr(getattr(groups, "cat", groups), "categories", None)
    present = np.unique(values)
    if categories is not None:
        present = np.array([label for label in categories if label in present])
    codes = np.array([{label: k for k, label in enumerate(present)}[value] for value in values])
    return codes, [str(label) for label in present]
