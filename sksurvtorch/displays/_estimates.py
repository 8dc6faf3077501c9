"""What the displays estimate: observed survival, numbers at risk, the log-rank test."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sksurv.compare import compare_survival
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from sksurvtorch.metrics import Turnbull, turnbull

Array = NDArray[Any]
#: Times, survival there, and its interval of shape (2, n_times), as scikit-survival returns them.
KaplanMeier = tuple[Array, Array, Array]
#: Event, time and entry; or the lower and upper bounds of interval-censored times.
Outcome = tuple[Array, Array, Array | None] | tuple[Array, Array]


def estimate(outcome: Outcome, rows: Any = slice(None)) -> KaplanMeier | Turnbull:
    """Return the estimate of survival that suits the outcome, of some of its rows."""
    if len(outcome) == 2:
        lower, upper = outcome
        return turnbull(lower[rows], upper[rows])
    event, time, entry = outcome
    return kaplan_meier(event[rows], time[rows], None if entry is None else entry[rows])


def kaplan_meier(event: Array, time: Array, entry: Array | None = None) -> KaplanMeier:
    """Return the Kaplan-Meier estimate with its pointwise 95 % interval, log-log."""
    times, survival, conf_int = kaplan_meier_estimator(event, time, entry, conf_type="log-log")
    return times, survival, conf_int


def survival_at(curve: KaplanMeier | Turnbull, time: float) -> tuple[float, Array] | None:
    """Return the estimate at a time and its interval, or None where there is none."""
    # That of Turnbull is the middle of what is possible at the time, and has its range.
    if isinstance(curve, Turnbull):
        ends = np.concatenate(curve.survival_bounds([time]))
        return None if time > last_time(curve) and ends[1] > 0 else (float(ends.mean()), ends)
    times, survival, conf_int = curve
    # After the last time of the data survival is known only if it has fallen to 0.
    if time > times[-1] and survival[-1] > 0:
        return None
    last = np.searchsorted(times, time, side="right") - 1
    return (1.0, np.ones(2)) if last < 0 else (float(survival[last]), conf_int[:, last])


def last_time(curve: KaplanMeier | Turnbull) -> float:
    """Return the end of the follow-up."""
    if isinstance(curve, Turnbull):
        return float(curve.left[-1] if np.isinf(curve.right[-1]) else curve.right[-1])
    return float(curve[0][-1])


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
