"""Functions of time, as scikit-survival hands them out, and their values as an array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sksurv.functions import StepFunction

from sksurvtorch._validation import for_numpy

# Values that are worked out at once: they stay in the processor's cache.
_PIECE = 2**16


def pieces(n_samples: int, n_times: int) -> Iterator[slice]:
    """Cut samples into pieces, so that what they need at all times besides the result is little."""
    step = max(1, _PIECE // max(1, n_times))
    for start in range(0, n_samples, step):
        yield slice(start, start + step)


def evenly(n_rows: int, most: int) -> np.ndarray:
    """Return the numbers of all rows, or of so many at most that lie evenly among them."""
    if n_rows <= most:
        return np.arange(n_rows)
    return np.linspace(0, n_rows - 1, most).astype(np.int64)


@dataclass(frozen=True)
class FollowUp:
    """Up to which time a model says something of samples.

    Attributes
    ----------
    last : float, or array of shape (n_samples,)
        Last time; infinite if the model goes on. With strata that of the stratum of each sample.
    stratum : array of shape (n_samples,), or None
        Labels of the strata of the samples; None without strata.
    """

    last: Any
    stratum: np.ndarray | None = None

    def check(self, name: str, times: np.ndarray, hint: str) -> None:
        """Raise unless all times are from 0 to the last one.

        Parameters
        ----------
        name : str
            What the times are.
        times : array of shape (n_times,), or (n_samples, n_times)
            Times, for all samples or those of each.
        hint : str
            What to do about later ones.
        """
        last = self.last if self.stratum is None else np.inf
        bad = ~((times >= 0) & (times <= last) & np.isfinite(times))
        if bad.any():
            rule, first = "at least 0 and finite", times[bad][0]
            if last < np.inf:
                rule = f"within [0, {last!s}], the follow-up of the fit"
            if not first > last or last == np.inf:
                hint = "Time starts at 0."
            raise ValueError(
                f"`{name}` must be {rule}, got {first!s} ({bad.sum()} of {times.size}). {hint}"
            )
        if self.stratum is not None:
            own = np.atleast_2d(times)
            late = np.broadcast_to(own.max(axis=1, initial=0), self.last.shape) > self.last
            self.refuse("within [0, {}]", name, own, late, hint)

    def refuse(self, rule: str, name: str, times: np.ndarray, late: np.ndarray, hint: str) -> None:
        """Raise if there are samples for which a time is beyond the last one of their stratum.

        Parameters
        ----------
        rule : str
            What the times must be, with a place for the last time.
        name : str
            What the times are.
        times : array of shape (1, n_times), or (n_samples, n_times)
            Times, for all samples or those of each.
        late : bool array of shape (n_samples,)
            Which samples it is.
        hint : str
            What to do.
        """
        if not late.any():
            return
        assert self.stratum is not None
        row = int(late.argmax())
        last, own = self.last[row], np.broadcast_to(times, (len(late), times.shape[1]))[row]
        raise ValueError(
            f"`{name}` must be {rule.format(last)}, the follow-up of the stratum "
            f"{self.stratum[row : row + 1].tolist()[0]!r} in the fit, got {own[own > last][0]!s} "
            f"({late.sum()} of {len(late)} samples). {hint} "
            "`last_times_` has the last time of each stratum."
        )


def check_times(times: Any, follow_up: FollowUp, n_samples: int | None = None) -> np.ndarray:
    """Return the times at which a function is wanted, in any order.

    Parameters
    ----------
    times : array-like of shape (n_times,), or (n_samples, n_times)
        Times, for all samples or those of each.
    follow_up : FollowUp
        Up to which time the function is known.
    n_samples : int, optional
        Number of samples; None where they have to share their times, as in bands.

    Returns
    -------
    array of the shape of `times`
        The times.
    """
    grid = np.asarray(times)
    fits = grid.ndim == 1 or (grid.ndim == 2 and len(grid) == n_samples)
    if not fits or grid.dtype.kind not in "iuf":
        rows = "" if n_samples is None else f", or ({n_samples}, n_times) for a row of each sample"
        hint = ""
        if n_samples is None and grid.ndim == 2:
            hint = " All samples have the same times in bands, intervals and paths."
        raise ValueError(
            f"`times` must be numbers of shape (n_times,){rows}, got {grid.dtype} of shape "
            f"{grid.shape}.{hint}"
        )
    hint = "A Cox model says nothing about later times; leave them out."
    follow_up.check("times", grid, hint)
    return grid


def check_conditional_after(value: Any, n_samples: int, follow_up: FollowUp) -> np.ndarray:
    """Return the time at which each sample is known to be event-free.

    Parameters
    ----------
    value : float or array-like of shape (n_samples,)
        One time for all samples, or that of each.
    n_samples : int
        Number of samples.
    follow_up : FollowUp
        Up to which time the model says something.

    Returns
    -------
    float64 array of shape (n_samples,)
        The times.
    """
    after = np.asarray(for_numpy("conditional_after", value))
    if after.shape not in ((), (n_samples,)) or after.dtype.kind not in "iuf":
        raise ValueError(
            f"`conditional_after` must be a number, or numbers of shape ({n_samples},), got "
            f"{after.dtype} of shape {after.shape}. It is the time at which a sample is known to "
            "be event-free."
        )
    hint = "A Cox model says nothing about later times."
    follow_up.check("conditional_after", after[..., None], hint)
    return np.broadcast_to(after, n_samples).astype(float)


def step_functions(times: np.ndarray, values: np.ndarray, start: float) -> np.ndarray:
    """Return functions with these values at the times, of the shape of all axes but the last.

    Parameters
    ----------
    times : array of shape (n_times,)
        Times of the steps, ascending.
    values : array of shape (..., n_times)
        Value from each step on.
    start : float
        Value before the first step.

    Returns
    -------
    array of shape (...) of StepFunction
        The functions.
    """
    times = times.astype(float)
    functions = np.empty(values.shape[:-1], dtype=object)
    for place in np.ndindex(functions.shape):
        functions[place] = BaselineStepFunction(times, values[place], start=start)
    return functions


class BaselineStepFunction(StepFunction):
    """Step function that has a given value before its first step.

    scikit-survival's own takes the value of the first step there, so that survival at time 0 falls
    below 1 if the earliest time of the training data is an event.

    Parameters
    ----------
    x : array of shape (n_times,)
        Times of the steps, ascending.
    y : array of shape (n_times,)
        Value from each step on.
    start : float
        Value before the first step: 1 for survival, 0 for the cumulative hazard.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, *, start: float) -> None:
        super().__init__(x, y)
        self.start = start

    def __call__(self, x: Any) -> Any:
        """Return the value at one time or an array of times, within `domain`."""
        value = super().__call__(x)
        before = np.atleast_1d(x) < self.x[0]
        if not before.any():
            return value
        value = np.where(before, self.start, value)
        return value[0] if len(value) == 1 else value


class ContinuousFunction(StepFunction):
    """Function of time that is exact at any time from 0 on, in the form of a step function.

    `x` and `y` hold it at the times of the training data, for code that reads them.

    Parameters
    ----------
    x : array of shape (n_times,)
        Times, ascending.
    y : array of shape (n_times,)
        Values there.
    function : callable
        Takes an array of times and returns the values there.
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray, function: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        super().__init__(x, y, domain=(0, np.inf))
        self.function = function

    def __call__(self, x: Any) -> Any:
        """Return the value at one time or an array of times."""
        x = np.atleast_1d(np.asarray(x, dtype=float))
        if not np.isfinite(x).all():
            raise ValueError("x must be finite")
        if x.min() < 0:
            raise ValueError(f"x must be within [{self.domain[0]:f}; {self.domain[1]:f}]")
        value = self.function(x)
        return value[0] if len(value) == 1 else value
