"""What the displays estimate: Kaplan-Meier curves, numbers at risk, the log-rank test."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sksurv.compare import compare_survival
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from sksurvtorch.metrics import Turnbull

Array = NDArray[Any]
#: Times, survival there, and its interval of shape (2, n_times), as scikit-survival returns them.
KaplanMeier = tuple[Array, Array, Array]


def kaplan_meier(event: Array, time: Array, entry: Array | None = None) -> KaplanMeier:
    """Return the Kaplan-Meier estimate with its pointwise 95 % interval, log-log."""
    times, survival, conf_int = kaplan_meier_estimator(event, time, entry, conf_type="log-log")
    return times, survival, conf_int


def turnbull_at(curve: Turnbull, time: float) -> tuple[float, Array] | None:
    """Return the middle of the survival that is possible at a time and its range, or None."""
    if np.isinf(curve.right[-1]) and time > curve.left[-1]:
        return None
    ends = np.concatenate(curve.survival_bounds([time]))
    return float(ends.mean()), ends


def survival_at(curve: KaplanMeier, time: float) -> tuple[float, Array] | None:
    """Return the estimate at a time and its interval, or None where there is none."""
    times, survival, conf_int = curve
    # After the last time of the data survival is known only if it has fallen to 0.
    if time > times[-1] and survival[-1] > 0:
        return None
    last = np.searchsorted(times, time, side="right") - 1
    return (1.0, np.ones(2)) if last < 0 else (float(survival[last]), conf_int[:, last])


def count_at_risk(times: Array, time: Array, entry: Array | None = None) -> Array:
    """Count the rows at risk at some times: those on (entry, time], from 0 on if entry is 0."""
    remaining = len(time) - np.searchsorted(np.sort(time), times, side="left")
    if entry is None:
        return remaining
    entered = np.sort(entry)
    before = np.searchsorted(entered, times, side="left")
    at_start = np.searchsorted(entered, times, side="right")
    return remaining - len(time) + np.where(times > 0, before, at_start)


def log_rank_p_value(event: Array, time: Array, codes: Array) -> float | None:
    """Return the p-value of the log-rank test, or None where the test is not defined."""
    if codes.max() == 0 or not event.any():
        return None
    try:
        return float(compare_survival(Surv.from_arrays(event, time), codes)[1])
    except np.linalg.LinAlgError:  # a group without anybody at risk at any event
        return None
