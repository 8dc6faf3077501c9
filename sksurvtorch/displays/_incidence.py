"""What the displays of competing risks share: predictions, checks, the Aalen-Johansen estimate."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

from sksurvtorch._validation import check_competing_risks_y, check_number
from sksurvtorch.displays import _checks as checks
from sksurvtorch.displays._estimates import Array, count_at_risk
from sksurvtorch.displays._given import first_time, options_given
from sksurvtorch.metrics._last_step import last_step

#: Times, incidence there, and its interval of shape (2, n_times).
AalenJohansen = tuple[Array, Array, Array]

# Enough for a step to look like one.
_N_TIMES = 501
# Probabilities may be off by what sums of float32 are off.
_ROUNDING = 1e-5


def model_of_causes(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the model at the end of searches and pipelines, and X as it comes to it."""
    method = "predict_cumulative_incidence"
    model, X = last_step(estimator, X, method)
    return checks.model_with(model, method), X


def predict_incidence(
    model: Any, X: Any, times: Any, stratum: Any, conditional_after: Any = None
) -> tuple[Array, Array]:
    """Return the incidences of all causes, (n_samples, n_causes, n_times), and their times."""
    options = options_given(model, "predict_cumulative_incidence", conditional_after, stratum)
    if times is not None:
        times = checks.check_times(times)
        return model.predict_cumulative_incidence(X, times=times, **options), times
    functions = model.predict_cumulative_incidence(X, **options)
    low, high = checks.common_domain(functions.ravel())
    times = np.linspace(first_time(conditional_after, low, high), high, _N_TIMES)
    values = np.stack([function(times) for function in functions.ravel()])
    return values.reshape(*functions.shape, _N_TIMES), times


def check_incidence(incidence: Any, shape: str, n_times: int, n_axes: tuple[int, ...]) -> Array:
    """Return probabilities as floats within [0, 1], with a column for each time."""
    checked = np.asarray(incidence, dtype=float)
    if checked.ndim not in n_axes or checked.shape[-1] != n_times or not checked.size:
        raise ValueError(
            f"`incidence` must have shape {shape}, with a column for each of the {n_times} times, "
            f"got {checked.shape}."
        )
    bad = ~((checked >= -_ROUNDING) & (checked <= 1 + _ROUNDING))
    if bad.any():
        raise ValueError(
            f"`incidence` must be within [0, 1], got {checked[bad][0]:g} ({bad.sum()} of "
            f"{checked.size}). It is the probability that the event has happened."
        )
    return checked


def check_sum(incidence: Array) -> None:
    """Raise where the incidences of all causes add up to more than 1."""
    largest = incidence.sum(axis=0).max()
    if largest > 1 + _ROUNDING:
        raise ValueError(
            f"`incidence` must add up to at most 1 over the causes, got {largest:g}. Incidences of "
            "cause-specific hazards do; those of subdistribution hazards need not."
        )


def check_outcome(
    y: Any, entry: Any, n_samples: int, owner: str
) -> tuple[Array, Array, Array | None]:
    """Return status, time and entry, the last one at least 0, or None if nobody enters late."""
    status, time = check_competing_risks_y(y, owner)
    # The other displays ask for the same of entry, which does not depend on the kind of the event.
    plain = np.empty(len(status), dtype=[("event", bool), ("time", float)])
    plain["event"], plain["time"] = status > 0, time
    return status, *checks.check_y(plain, entry, n_samples, owner)[1:]


def check_cause(status: Array, cause: Any) -> None:
    """Raise unless a cause has events."""
    check_number("cause", cause, int, 1)
    if not (status == cause).any():
        found = ", ".join(str(code) for code in np.unique(status[status > 0])) or "none"
        raise ValueError(
            f"`cause` must have events in `y`, got {cause}. Causes with events there: {found}."
        )


def aalen_johansen(
    status: Array, time: Array, entry: Array | None, cause: int
) -> tuple[AalenJohansen, Array]:
    """Return the incidence of one cause with its pointwise 95 % interval, and who is at risk."""
    times, place = np.unique(time, return_inverse=True)
    n_at_risk = count_at_risk(times, time, entry)
    n_events = np.bincount(place[status > 0], minlength=len(times))
    own = np.bincount(place[status == cause], minlength=len(times))
    survival = np.append(1.0, np.cumprod(1 - n_events / n_at_risk)[:-1])
    incidence = np.cumsum(survival * own / n_at_risk)

    # Aalen's variance: M. Pintilie, "Competing Risks: A Practical Perspective", Wiley, 2006,
    # equation 4.5. Where one row is at risk, or none is left, a term is not defined, and left out.
    left, n = n_at_risk - n_events, np.maximum(n_at_risk, 2)
    a = np.where((left > 0) & (n_at_risk > 1), n_events / (np.maximum(left, 1) * (n - 1)), 0)
    of_own = np.where(n_at_risk > 1, survival * own * (n_at_risk - own) / (n * (n - 1)), 0)
    b = np.cumsum(of_own * survival / n)
    c = np.where(left > 0, of_own / np.maximum(left, 1), 0)
    # The sum over j of (F(t) - F(j))^2 a(j) - 2 (F(t) - F(j)) c(j), by running sums.
    square = incidence * (incidence * np.cumsum(a) - 2 * np.cumsum(incidence * a))
    square += np.cumsum(np.square(incidence) * a)
    cross = incidence * np.cumsum(c) - np.cumsum(incidence * c)
    variance = np.maximum(square + b - 2 * cross, 0)  # rounding may leave it below 0
    return (times, incidence, _interval(incidence, variance)), n_at_risk


def _interval(incidence: Array, variance: Array) -> Array:
    """Return the interval on the scale log(-log F); an incidence of 0 or 1 has none."""
    inside = (incidence > 0) & (incidence < 1)
    base = np.where(inside, incidence, 0.5)
    width = ndtri(0.975) * np.sqrt(variance) / (base * np.abs(np.log(base)))
    bounds = base ** np.exp(np.stack([width, -width]))
    return np.where(inside, bounds, np.clip(incidence, 0, 1))
