"""Checks of what estimators take as `y`: structured arrays of two fields."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sksurvtorch._validation.bounds import check_bounds
from sksurvtorch._validation.options import describe
from sksurvtorch._validation.survival import _refuse, check_time, check_vector
from sksurvtorch._validation.tensors import check_has_numbers

_BY_BOUNDS = "sksurvtorch.nets.interval_censored_y(lower, upper)"


def check_survival_y(
    y: Any,
    owner: str = "estimator",
    *,
    name: str = "y",
    positive: bool = False,
    model: str = "Weibull",
    or_bounds: bool = False,
) -> tuple[Any, Any]:
    """Return event and time of scikit-survival's structured array, its two fields in this order."""
    # Sentences name the model whose density needs positive times, and say how an owner that takes
    # bounds of the time, too, gets these.
    hint = "Make one with sksurv.util.Surv.from_arrays(event, time)"
    hint += f", or of bounds of the time with {_BY_BOUNDS}." if or_bounds else "."
    _refuse_intervals(y, owner, name, "event indicator")
    names = _check_fields(y, owner, name, "event indicator", hint)
    event = y[names[0]]
    if event.dtype.kind in "iu" and len(event) and event.max() > 1:
        raise ValueError(
            f"The first field of `{name}`, {names[0]!r}, must be bool, True for an observed event, "
            f"got {event.dtype} up to {event.max()}. Competing events need "
            "CompetingRisksNNRegressor. To count other causes as censorings, make the event of "
            "`status == 1`: that gives the hazard of this cause among those without any event, and "
            "1 - survival is then no probability of it."
            + (f" Bounds of the time need {_BY_BOUNDS}." if or_bounds else "")
        )
    if event.dtype != bool:
        raise ValueError(
            f"The first field of `{name}`, {names[0]!r}, must be bool, True for an observed event, "
            f"got {event.dtype}. {hint}"
        )
    event = event.copy()  # a field of y has the stride of all of it
    return event, _time_of(y, names[1], name, model if positive else None)


def check_competing_risks_y(
    y: Any, owner: str = "estimator", *, name: str = "y"
) -> tuple[Any, Any]:
    """Return status, as int64, and time of a structured array, its two fields in this order."""
    hint = "Make one with sksurvtorch.nets.competing_risks_y(status, time)."
    _refuse_intervals(y, owner, name, "status")
    names = _check_fields(y, owner, name, "status", hint)
    if "time" in names[0].lower() and "time" not in names[1].lower():
        raise ValueError(
            f"The first field of `{name}` must be the status, and the second the time, got "
            f"{names[0]!r} and {names[1]!r}. {hint}"
        )
    field = f"{name}[{names[0]!r}]"
    if y[names[0]].dtype.kind not in "biu":
        raise ValueError(
            f"The first field of `{name}`, {names[0]!r}, must hold integers, 0 for a censored row, "
            f"else the number of the cause of its event, got {y[names[0]].dtype}. {hint}"
        )
    status = check_vector(field, y[names[0]].astype("int64"))
    _refuse(field, "be at least 0", status < 0, status, "0 is a censored row.")
    return status.numpy(), _time_of(y, names[1], name, None)


def is_interval_y(y: Any) -> bool:
    """Whether `y` is a structured array with the two fields lower and upper, both numeric."""
    dtype: Any = getattr(y, "dtype", None)
    names = getattr(dtype, "names", None)
    return names == ("lower", "upper") and all(dtype[field].kind in "iuf" for field in names)


def check_interval_y(y: Any, owner: str = "estimator", *, name: str = "y") -> tuple[Any, Any]:
    """Return the bounds, as float64, of a structured array of interval-censored times."""
    hint = "Make one with sksurvtorch.nets.interval_censored_y(lower, upper)."
    names = _check_fields(y, owner, name, "lower bound", hint, second="upper bound")
    if names != ("lower", "upper"):
        raise ValueError(
            f"The fields of `{name}` must be 'lower' and 'upper', in this order, got {names[0]!r} "
            f"and {names[1]!r}. {hint}"
        )
    for field in names:
        if y[field].dtype.kind not in "iuf":
            raise ValueError(
                f"The field {field!r} of `{name}` must hold numeric times, got {y[field].dtype}. "
                f"{hint}"
            )
    bounds = [y[field].astype("float64") for field in names]
    lower, upper = check_interval(*bounds, names=(f"{name}['lower']", f"{name}['upper']"))
    return lower.numpy(), upper.numpy()


def check_interval(
    lower: Any, upper: Any, *, names: tuple[str, str] = ("lower", "upper")
) -> tuple[Tensor, Tensor]:
    """Return bounds as float64 tensors, 0 <= lower <= upper, that say something about each row."""
    low = _check_bound(names[0], lower, None)
    high = _check_bound(names[1], upper, len(low))
    return check_bounds(low, high, len(low), names=names)


def _check_bound(name: str, value: Any, n_samples: int | None) -> Tensor:
    """Return a column of bounds as a float64 tensor on the CPU."""
    bound = check_vector(name, value, n_samples)
    check_has_numbers(name, bound)
    if bound.dtype == torch.bool:
        raise TypeError(f"`{name}` must hold numeric times, got bool.")
    return bound.to(device="cpu", dtype=torch.float64)


def _refuse_intervals(y: Any, owner: str, name: str, first: str) -> None:
    """Raise if `y` holds interval-censored times."""
    if not is_interval_y(y):
        return
    hint = (
        "What there is for interval-censored times has interval_censored or turnbull in its name."
    )
    if owner.endswith("Regressor"):
        hint = (
            "Interval-censored times need WeibullAFTRegressor, LogNormalAFTRegressor or "
            "LogLogisticAFTRegressor: a Cox model has no likelihood for them here."
        )
    raise ValueError(
        f"`{name}` must have the {first} and the time as its fields, got lower and upper. {hint}"
    )


def _check_fields(
    y: Any, owner: str, name: str, first: str, hint: str, second: str = "time"
) -> tuple[str, str]:
    """Return the names of the two fields of a structured array."""
    if y is None:
        raise ValueError(
            f"This {owner} requires {name} to be passed, but the target {name} is None. It must be "
            f"a structured array with the fields {first.split()[0]} and {second.split()[0]}. {hint}"
        )
    names = getattr(getattr(y, "dtype", None), "names", None)
    if names is None or y.ndim != 1:
        raise ValueError(
            f"`{name}` must be a structured array of shape (n_samples,) with two fields, the "
            f"{first} and the {second}, got {describe(y)}. {hint}"
        )
    if len(names) != 2:
        raise ValueError(
            f"`{name}` must have two fields, the {first} and the {second}, got {len(names)}: "
            f"{', '.join(names)}. {hint}"
        )
    return names[0], names[1]


def _time_of(y: Any, field: str, name: str, model: str | None) -> Any:
    """Return the time of a structured array, positive where a model needs it."""
    time = y[field]
    if time.dtype.kind not in "iuf":
        raise ValueError(
            f"The second field of `{name}`, {field!r}, must be a numeric time, got {time.dtype}."
        )
    wide = {"i": "int64", "u": "uint64", "f": "float64"}[time.dtype.kind]
    of_time = f"{name}[{field!r}]"
    checked = check_time(time.astype(wide), len(y), name=of_time)
    hint = "Time counts from the origin of each row, so it cannot lie before it."
    _refuse(of_time, "be at least 0", checked < 0, checked, hint)
    if model is not None:
        check_time(checked, len(y), name=of_time, positive=True, model=model)
    return checked.numpy()
