"""Whether what a file says that a fit has learned can have been learned by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sksurvtorch.persistence._encoding import Unknown

_STEPS = ("offsets", "times", "log_cumulative_hazard")
_MEMBERS = ("offsets", "times", "members")
_SCORES = ("score", "mass", "reserve")
_CALIBRATION = ("slope", "missed")


def check_learned(learned: dict[str, Any]) -> None:
    """Raise unless each attribute is of the kind that a fit sets, and all fit each other."""
    for name, value in learned.items():
        if not _CHECKS[name](value):
            raise Unknown(f"{value!r:.80} for {name}")
    names = learned.get("feature_names_in_")
    shape = learned.get("input_shape_") or (learned.get("n_features_in_"),)
    if names is not None and shape != (len(names),):
        raise Unknown(f"{len(names)} names of features and samples of shape {shape}")
    steps = learned.get("_baseline_steps") or learned.get("_incidence_steps")
    if steps is not None:
        strata, n_strata = learned["strata_"], len(steps["offsets"]) - 1
        if n_strata != (1 if strata is None else len(strata)):
            raise Unknown(f"a baseline hazard of {n_strata} strata")
        if not _are_last_times(learned["last_times_"], learned["unique_times_"], steps):
            raise Unknown(f"{learned['last_times_']!r:.80} as the last times of the strata")
        if len(steps.get("log_hazard", ())) != learned.get("n_causes_", 0):
            raise Unknown(f"baseline hazards of {len(steps['log_hazard'])} causes")
        basis = learned.get("_interval_basis")
        if basis is not None and len(basis.get("offsets", ())) != n_strata + 1:
            raise Unknown("baseline hazards of members for other strata")
        if basis is not None and len(basis["slope"]) != learned.get("n_causes_", 1):
            raise Unknown("intervals for another number of causes")


def is_whole(value: Any, least: int, most: float = 2**63 - 1) -> bool:
    """Whether this is a whole number in a range."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_finite(value: Any, least: float = -np.inf) -> bool:
    """Whether this is a finite number, not below `least`."""
    number = isinstance(value, float) or is_whole(value, -(2**53), 2**53)
    return number and bool(np.isfinite(value)) and value >= least


def _is_shape(value: Any) -> bool:
    """Whether this is a shape, or shapes of inputs by name."""
    if isinstance(value, dict):
        return len(value) > 0 and all(
            name.isidentifier() and isinstance(shape, tuple) and _is_shape(shape)
            for name, shape in value.items()
        )
    return isinstance(value, tuple) and all(is_whole(length, 0) for length in value)


def _is_vector(value: Any, kinds: str) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in kinds


def _are_names(value: Any) -> bool:
    return _is_vector(value, "OU") and all(isinstance(name, str) for name in value.tolist())


def _are_times(value: Any) -> bool:
    vector = _is_vector(value, "iufb") and len(value) > 0 and bool(np.isfinite(value).all())
    return vector and bool((value[1:] > value[:-1]).all())


def _are_last_times(value: np.ndarray, times: np.ndarray, steps: dict[str, np.ndarray]) -> bool:
    """Whether these are times or 0, the last among them, none before an event of its stratum."""
    offsets = steps["offsets"]
    if len(value) != len(offsets) - 1 or value.max() != times[-1]:
        return False
    has_events = np.diff(offsets) > 0
    last_events = steps["times"][offsets[1:][has_events] - 1]
    is_time = np.isin(value, times) | (value == 0)
    return bool(is_time.all() and (value[has_events] >= last_events).all())


def _are_strata(value: Any) -> bool:
    """Whether these are no strata, or labels that ascend."""
    if value is None:
        return True
    if not (_is_vector(value, "biufUOM") and len(value) > 0):
        return False
    try:
        return bool((value[1:] > value[:-1]).all())
    except TypeError:  # labels that have no order
        return False


def _are_steps(value: Any) -> bool:
    """Whether these are the arrays of a `Baseline`."""
    if not isinstance(value, dict) or value.keys() != {*_STEPS}:
        return False
    offsets, times, hazard = (value[name] for name in _STEPS)
    if not (_is_vector(offsets, "i") and _is_vector(times, "iufb") and _is_vector(hazard, "f")):
        return False
    if (
        len(offsets) < 2
        or (offsets[0], offsets[-1]) != (0, len(times))
        or len(hazard) != len(times)
    ):
        return False
    # Within a stratum times ascend, and the hazard does not fall; between strata both may.
    inside = np.ones(max(0, len(times) - 1), dtype=bool)
    inside[[end - 1 for end in offsets[1:-1].tolist() if 0 < end < len(times)]] = False
    return bool(
        (np.diff(offsets) >= 0).all()
        and np.isfinite(times).all()
        and not np.isnan(hazard).any()
        and (times[1:] > times[:-1])[inside].all()
        and (hazard[1:] >= hazard[:-1])[inside].all()
    )


def _are_steps_of_causes(value: Any) -> bool:
    """Whether these are the arrays of a `CausesBaseline`."""
    if not isinstance(value, dict) or value.keys() != {*_STEPS, "log_hazard"}:
        return False
    offsets, times, whole = (value[name] for name in _STEPS)
    step = value["log_hazard"]
    if not (isinstance(step, np.ndarray) and step.dtype.kind == "f" and not np.isnan(step).any()):
        return False
    is_table = isinstance(whole, np.ndarray) and whole.ndim == 2 and whole.shape == step.shape
    return is_table and _are_steps_of_members(offsets, times, whole)


def _is_basis(value: Any) -> bool:
    """Whether these are the arrays that intervals are made of."""
    if not isinstance(value, dict) or not all(isinstance(x, np.ndarray) for x in value.values()):
        return False
    scores, others = value.keys() & {*_SCORES}, value.keys() - {*_SCORES}
    if not all(_is_single(value[name]) for name in value.keys() & {"center", "reserve"}):
        return False
    if scores and not (scores == {*_SCORES} and _are_scores(value["score"], value["mass"])):
        return False
    if not others.issuperset(_CALIBRATION):
        return False
    slope, missed = (value[name] for name in _CALIBRATION)
    if not all(_is_vector(x, "f") and np.isfinite(x).all() for x in (slope, missed)):
        return False
    if len(slope) != len(missed) or (missed < 0).any():
        return False
    if others == {*_CALIBRATION, "center"}:
        return len(slope) == 1
    if others != {*_CALIBRATION, *_MEMBERS}:
        return False
    offsets, times, members = (value[name] for name in _MEMBERS)
    if members.ndim == 3:  # of several causes
        one_each = members.shape[1] == len(slope)
        members = members.reshape(-1, members.shape[2])
        return one_each and _are_steps_of_members(offsets, times, members)
    return len(slope) == 1 and _are_steps_of_members(offsets, times, members)


def _are_scores(score: Any, mass: Any) -> bool:
    """Whether these are scores, ascending, and the positive masses of each."""
    vectors = _is_vector(score, "f") and _is_vector(mass, "f") and len(score) == len(mass)
    return vectors and bool(
        (score >= 0).all() and (score[1:] >= score[:-1]).all() and (mass > 0).all()
    )


def _is_single(value: np.ndarray) -> bool:
    return _is_vector(value, "f") and len(value) == 1 and bool(np.isfinite(value).all())


def _are_steps_of_members(offsets: Any, times: Any, members: np.ndarray) -> bool:
    """Whether these are steps of strata, with the log hazard of each member at them."""
    if members.ndim != 2 or members.dtype.kind != "f" or not len(members):
        return False
    return all(
        _are_steps({"offsets": offsets, "times": times, "log_cumulative_hazard": own})
        for own in members
    )


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "n_iter_": lambda value: is_whole(value, 0),
    "_seed": lambda value: is_whole(value, 0, 2**32),
    "n_features_in_": lambda value: is_whole(value, 1),
    "input_shape_": _is_shape,
    "feature_names_in_": _are_names,
    "oob_prediction_": lambda value: _is_vector(value, "f"),
    "_interval_basis": _is_basis,
    "oob_score_": lambda value: isinstance(value, float) and not (value < 0 or value > 1),
    "unique_times_": _are_times,
    "strata_": _are_strata,
    "last_times_": lambda value: _is_vector(value, "iufb"),
    "_baseline_steps": _are_steps,
    "_incidence_steps": _are_steps_of_causes,
    "n_causes_": lambda value: is_whole(value, 1),
    "log_time_center_": is_finite,
    "log_time_spread_": lambda value: is_finite(value, np.finfo(float).tiny),
}
