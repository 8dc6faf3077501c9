"""Baseline hazard of a fitted Cox model: the steps of each stratum, and what follows from them.

Strata "a" and "b" with events at 1 and 3, and at 2, are

    offsets                [0,          2,    3]   "a" has the steps 0:2, "b" has 2:3
    times                  [1,    3,    2      ]
    log_cumulative_hazard  [-2.0, -0.5, -1.0   ]

A table of all strata at all times would be (2, 3) here; where each of many strata has few events it
is nearly empty, and larger than the data by far. So it is made for the strata that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import numpy as np

from sksurvtorch.estimators._functions import pieces
from sksurvtorch.functional import BreslowBaseline
from sksurvtorch.nets.columns import stratum_labels

# Pieces of samples that share a table: where strata are few, making it costs little then.
_SHARED = 16


@dataclass(frozen=True, eq=False)
class Baseline:
    """Log cumulative baseline hazard, as the steps of all strata, one stratum after the other.

    Attributes
    ----------
    offsets : int array of shape (n_strata + 1,)
        Stratum i has the steps from ``offsets[i]`` up to, but not with, ``offsets[i + 1]``.
    times : array of shape (n_steps,)
        Times of the steps, ascending within a stratum.
    log_cumulative_hazard : float64 array of shape (n_steps,)
        Value from each step on, not descending within a stratum; it is -inf before the first one.
    """

    offsets: np.ndarray
    times: np.ndarray
    log_cumulative_hazard: np.ndarray

    @classmethod
    def of(cls, breslow: BreslowBaseline, n_strata: int) -> Self:
        """Take over Breslow's estimate; a stratum may have no event in it."""
        times = breslow.times.numpy()
        stratum = np.zeros(len(times), int) if breslow.stratum is None else breslow.stratum.numpy()
        offsets = np.searchsorted(stratum, np.arange(n_strata + 1))
        log_cumulative_hazard = breslow.log_cumulative_hazard.numpy().astype(float)
        for steps in map(slice, offsets[:-1], offsets[1:]):
            # Rounding could let a sum over more events be lower.
            of_stratum = log_cumulative_hazard[steps]
            np.maximum.accumulate(of_stratum, out=of_stratum)
        return cls(offsets, times, log_cumulative_hazard)

    @classmethod
    def from_table(cls, table: np.ndarray, times: np.ndarray) -> Self:
        """Find the steps of a table, of shape (n_strata, n_times)."""
        before = np.hstack([np.full((len(table), 1), -np.inf), table[:, :-1]])
        stratum, column = np.nonzero(table != before)
        offsets = np.searchsorted(stratum, np.arange(len(table) + 1))
        return cls(offsets, times[column], table[stratum, column])

    @property
    def n_strata(self) -> int:
        """Number of strata of the fit."""
        return len(self.offsets) - 1

    def table(self, strata: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return the log cumulative hazard of some strata, a row each, at ascending times."""
        start, end = self.offsets[strata], self.offsets[strata + 1]
        row = np.repeat(np.arange(len(strata)), end - start)
        behind = np.cumsum(end - start)  # the steps of this stratum and of those before it
        step = np.arange(len(row)) + (end - behind)[row]
        column = np.searchsorted(times, self.times[step])
        inside = column < len(times)
        table = np.full((len(strata), len(times)), -np.inf)
        # Of several steps between two times the last one stays.
        table[row[inside], column[inside]] = self.log_cumulative_hazard[step[inside]]
        return np.maximum.accumulate(table, axis=1, out=table)

    def steps(self, stratum: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the times of the steps of a stratum, and the log cumulative hazard from each."""
        steps = self._steps(stratum)
        return self.times[steps], self.log_cumulative_hazard[steps]

    def at(self, stratum: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Return the log cumulative hazard of a stratum at a time, one of each for each value."""
        return self._find(stratum, time, self._keys())

    def thinned(self, most: int) -> Self:
        """Return at most so many steps of each stratum, close to each other at both ends."""
        kept = []
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            kept.append(start + spaced(end - start, most))
        steps = np.concatenate(kept)
        offsets = np.concatenate([[0], np.cumsum([len(own) for own in kept])])
        return type(self)(offsets, self.times[steps], self.log_cumulative_hazard[steps])

    def over_time(
        self,
        log_hazard_ratio: np.ndarray,
        stratum: np.ndarray,
        times: np.ndarray,
        *,
        survival: bool,
        after: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return survival or the cumulative hazard of each sample at each time.

        Parameters
        ----------
        log_hazard_ratio : array of shape (n_samples,)
            Log hazard ratios.
        stratum : int array of shape (n_samples,)
            Numbers of the strata.
        times : array of shape (n_times,), or (n_samples, n_times)
            Times, for all samples or those of each, in any order.
        survival : bool
            Whether to return survival.
        after : array of shape (n_samples,), optional
            Times at which the samples are known to be event-free: hazards count from there.

        Returns
        -------
        array of shape (n_samples, n_times)
            Values of the curves.
        """
        values = np.empty((len(stratum), times.shape[-1]))
        passed = self._passed(stratum, after)
        for piece in self._fill(stratum, times, values):
            own = None if passed is None else passed[piece]
            _evaluate(log_hazard_ratio[piece], values[piece], own, survival=survival)
        return values

    def quantile(
        self,
        log_hazard_ratio: np.ndarray,
        stratum: np.ndarray,
        probability: np.ndarray,
        after: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return when the event of each sample has happened with each probability, or infinity."""
        with np.errstate(divide="ignore"):
            hazard = -np.log1p(-probability)
        quantile = self.reached(log_hazard_ratio, stratum, hazard, after)
        quantile[:, probability == 0] = 0.0 if after is None else after[:, None]
        return quantile

    def reached(
        self,
        log_hazard_ratio: np.ndarray,
        stratum: np.ndarray,
        hazard: np.ndarray,
        after: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return when each sample has come to each cumulative hazard, or infinity."""
        with np.errstate(divide="ignore"):
            needed = np.log(hazard) - log_hazard_ratio[:, None]
        passed = self._passed(stratum, after)
        if passed is not None:
            needed = np.logaddexp(needed, passed[:, None])
        quantile = np.empty(needed.shape)
        order = np.argsort(stratum, kind="stable")
        asked, start = np.unique(stratum[order], return_index=True)
        for code, rows in zip(asked, np.split(order, start[1:]), strict=True):
            steps = self._steps(code)
            times = np.append(self.times[steps].astype(float), np.inf)
            logs = self.log_cumulative_hazard[steps]
            reached = np.searchsorted(logs, needed[rows])
            if passed is not None:  # rounding may have lost a small hazard beside a large one
                later = np.searchsorted(logs, passed[rows, None], side="right")
                reached = np.maximum(reached, later)
            quantile[rows] = times[reached]
        return quantile

    def restricted_mean(
        self,
        log_hazard_ratio: np.ndarray,
        stratum: np.ndarray,
        times: np.ndarray,
        after: np.ndarray | None = None,
        last: Any = np.inf,
    ) -> np.ndarray:
        """Return the integral of survival of each sample from 0 to `last`, or the last time."""
        # Each of `last` is one of the times, or 0.
        length = np.diff(times, prepend=0)
        # Survival is 1 up to the first time.
        mean = np.full(len(stratum), np.minimum(length[0], last), dtype=float)
        for piece, survival in self._survival_of_pieces(
            log_hazard_ratio, stratum, times[:-1], after, last
        ):
            mean[piece] += survival @ length[1:]
        return mean

    def mean_residual_life(
        self,
        log_hazard_ratio: np.ndarray,
        stratum: np.ndarray,
        times: np.ndarray,
        after: np.ndarray,
        last: Any = np.inf,
    ) -> np.ndarray:
        """Return the integral of survival of each sample from `after` to `last`, or the end."""
        # Not the restricted mean less that time, which would cancel where little is left.
        later = np.append(times, times[-1])[np.searchsorted(times, after, side="right")]
        # Nothing happens before the next time.
        mean: np.ndarray = np.minimum(later, last).astype(float) - after
        length = np.diff(times)
        for piece, survival in self._survival_of_pieces(
            log_hazard_ratio, stratum, times[:-1], after, last
        ):
            np.copyto(survival, 0.0, where=times[:-1] <= after[piece, None])
            mean[piece] += survival @ length
        return mean

    def _survival_of_pieces(
        self,
        log_hazard_ratio: np.ndarray,
        stratum: np.ndarray,
        times: np.ndarray,
        after: np.ndarray | None,
        last: Any,
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Iterate over pieces of samples and their survival, which is 0 from their last time on."""
        passed = self._passed(stratum, after)
        cut = pieces(len(stratum), len(times) + 1)
        for piece, table, row in self._tables(stratum, times, cut):
            survival = np.take(table, row, axis=0)
            own = None if passed is None else passed[piece]
            _evaluate(log_hazard_ratio[piece], survival, own, survival=True)
            if np.ndim(last):
                np.copyto(survival, 0.0, where=times >= last[piece, None])
            yield piece, survival

    def _passed(self, stratum: np.ndarray, after: np.ndarray | None) -> np.ndarray | None:
        """Return the log cumulative hazard that each sample has passed event-free."""
        return None if after is None else self.at(stratum, after)

    def _fill(self, stratum: np.ndarray, times: np.ndarray, values: np.ndarray) -> Iterator[slice]:
        """Fill in the log cumulative baseline hazard of samples, piece by piece."""
        cut = pieces(*values.shape)
        if times.ndim == 2:
            keys = self._keys()
            for piece in cut:
                values[piece] = self._find(stratum[piece, None], times[piece], keys)
                yield piece
            return
        for piece, table, row in self._tables(stratum, times, cut):
            # Without a buffer; none is outside.
            np.take(table, row, axis=0, out=values[piece], mode="clip")
            yield piece

    def _keys(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the distinct times, and numbers of the steps that ascend over all strata."""
        if self.n_strata == 1:
            return self.times, np.arange(len(self.times))
        distinct = np.unique(self.times)
        width = len(distinct) + 1  # of the keys of a stratum
        of_steps = np.repeat(np.arange(self.n_strata), np.diff(self.offsets)) * width
        return distinct, of_steps + np.searchsorted(distinct, self.times, side="right")

    def _find(
        self, stratum: np.ndarray, time: np.ndarray, keys: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        """Return the log cumulative hazard of strata at times, given the keys."""
        distinct, of_steps = keys
        place = np.searchsorted(distinct, time, side="right")
        if self.n_strata > 1:
            asked = stratum * (len(distinct) + 1) + place
            place = np.searchsorted(of_steps, asked, side="right")
        place -= 1
        begun = place >= self.offsets[stratum]
        value = np.full(place.shape, -np.inf)
        value[begun] = self.log_cumulative_hazard[place[begun]]
        return value

    def _steps(self, stratum: int) -> slice:
        """Return where the steps of a stratum stand."""
        return slice(self.offsets[stratum], self.offsets[stratum + 1])

    def _tables(
        self, stratum: np.ndarray, times: np.ndarray, cut: Iterator[slice]
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Add to each piece of samples a table, and the row of each of its samples there."""
        ascending, column = np.unique(times, return_inverse=True)
        while some := list(islice(cut, _SHARED)):
            start = some[0].start
            asked, row = np.unique(stratum[start : some[-1].stop], return_inverse=True)
            table = np.take(self.table(asked, ascending), column, axis=1)
            for piece in some:
                yield piece, table, row[piece.start - start : piece.stop - start]


def spaced(n_steps: int, most: int) -> np.ndarray:
    """Return at most so many places of steps, the first and the last among them."""
    if n_steps <= most:
        return np.arange(n_steps)
    # Few events have happened at one end, few are at risk at the other.
    places = (1 - np.cos(np.linspace(0, np.pi, most))) / 2 * (n_steps - 1)
    return np.unique(places.round().astype(int))


def find_strata(stratum: Any, labels: np.ndarray | None, n_samples: int) -> np.ndarray:
    """Return the number of the stratum of each sample, given the labels of the fit."""
    if (stratum is None) != (labels is None):
        rule = "be left out, as in `fit`" if labels is None else "be given, as in `fit`"
        got = "None" if stratum is None else "one"
        raise ValueError(f"`stratum` must {rule}, got {got}.")
    if labels is None:
        return np.zeros(n_samples, dtype=int)
    stratum = stratum_labels(stratum, n_samples)
    unknown = ~np.isin(stratum, labels)
    if unknown.any():
        raise ValueError(
            f"`stratum` must hold strata of `fit`, got {stratum[unknown].tolist()[0]!r} "
            f"({unknown.sum()} of {n_samples} rows)."
        )
    return np.asarray(np.searchsorted(labels, stratum))


def _evaluate(
    log_hazard_ratio: np.ndarray, values: np.ndarray, passed: np.ndarray | None, *, survival: bool
) -> None:
    """Make survival or cumulative hazards of the logarithms of the baseline's.

    Parameters
    ----------
    log_hazard_ratio : array of shape (n_samples,)
        Log hazard ratios.
    values : array of shape (n_samples, n_times)
        Log cumulative baseline hazards, which become the values.
    passed : array of shape (n_samples,), or None
        Log cumulative baseline hazards that the samples have passed event-free.
    survival : bool
        Whether to make survival.
    """
    past = None if passed is None else _take_infinite_apart(log_hazard_ratio, values, passed)
    values += log_hazard_ratio[:, None]
    with np.errstate(over="ignore"):  # an infinite hazard is a survival of 0
        np.exp(values, out=values)
    if not survival:
        if past is not None:
            np.maximum(np.subtract(values, past[:, None], out=values), 0, out=values)
        return
    if past is None:
        np.negative(values, out=values)
    else:
        np.minimum(np.subtract(past[:, None], values, out=values), 0, out=values)
    np.exp(values, out=values)


def _take_infinite_apart(
    log_hazard_ratio: np.ndarray, values: np.ndarray, passed: np.ndarray
) -> np.ndarray:
    """Return the cumulative hazards that have passed; of logarithms subtract infinite ones."""
    with np.errstate(over="ignore"):
        past: np.ndarray = np.exp(log_hazard_ratio + passed)
    infinite = np.isinf(past)
    if infinite.any():
        before, now = passed[infinite, None], values[infinite]
        with np.errstate(divide="ignore"):
            values[infinite] = now + np.log1p(-np.exp(np.minimum(before - now, 0)))
        past[infinite] = 0.0
    return past
