"""Bands around predicted curves, by a jackknife over the members of an ensemble.

Five members share a division of the rows, and each leaves out one of its five parts: their
predictions are a delete-a-group jackknife of a quantity q,

    variance of q = 4/5 * sum of (q of a member - mean of the five)^2 .

Several divisions are averaged with the weights that their members have in the prediction. As they
have different penalties, the variance between their means is added, which tells how much the
penalty matters. What is jackknifed is the log cumulative hazard, log(-log S), of the whole curve.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.stats import t as student

from sksurvtorch.estimators._baseline import Baseline
from sksurvtorch.estimators._functions import pieces
from sksurvtorch.estimators._settings import N_FOLDS

#: Steps of a stratum, and of each cause, at which the members' baselines are kept.
STEPS = 200
#: Lower and upper bounds.
Pair = tuple[np.ndarray, np.ndarray]

# Logarithms of the first and the last float above 0.
_LEAST, _MOST = -745.0, 710.0
# Halvings of a range of that length that leave no more than the rounding of a float.
_HALVINGS = 64


@dataclass(frozen=True, eq=False)
class Jackknife:
    """Delete-a-group jackknife over divisions of the rows into five parts, and between them.

    Attributes
    ----------
    share : array of shape (n_divisions,)
        Weights of the divisions, which add up to 1.
    """

    share: np.ndarray

    @classmethod
    def of(cls, weights: np.ndarray) -> Self:
        """Return that of members with these weights; an incomplete division has no part in it."""
        n_divisions = len(weights) // N_FOLDS
        share = weights[: n_divisions * N_FOLDS].reshape(n_divisions, N_FOLDS).sum(1)
        return cls(share / share.sum())

    def deviations(self, values: np.ndarray, *, log: bool = False) -> np.ndarray:
        """Return deviations whose squares add up to the variance.

        Parameters
        ----------
        values : array of shape (n_members, ...)
            Values of the members; with `log` logarithms, which may be -inf.
        log : bool, default=False
            Where a logarithm of a division is -inf, take deviations of the numbers relative to
            their mean, to which those of logarithms are close where they are small.

        Returns
        -------
        array of shape (6 * n_divisions, ...)
            Deviations from the mean of a division, times the root of 4/5 of its weight, and those
            of each mean from the mean of all, times the root of the weight.
        """
        n_divisions, rest = len(self.share), values.shape[1:]
        share = self.share.reshape(-1, 1, *[1] * len(rest))
        each = values[: n_divisions * N_FOLDS].reshape(n_divisions, N_FOLDS, *rest)
        zero = log & np.isneginf(each).any(1, keepdims=True)
        known = np.where(zero, 0.0, each)
        mean = known.mean(1, keepdims=True)
        deviation = known - mean
        if zero.any():
            highest = each.max(1, keepdims=True)
            number = np.exp(each - highest)
            relative = number.mean(1, keepdims=True)
            deviation = np.where(zero, number / relative - 1, deviation)
            mean = np.where(zero, highest + np.log(relative), mean)
        within = np.sqrt((1 - 1 / N_FOLDS) * share) * deviation
        between = np.sqrt(share) * (mean - (share * mean).sum(0))
        return np.concatenate([within.reshape(-1, *rest), between.reshape(-1, *rest)])

    def quantile(self, level: float) -> float:
        """Return how many standard deviations lie between a curve and its bound."""
        # One division has 4 degrees of freedom, several those of a weighted sum of independent
        # variances (Satterthwaite 1946, doi:10.2307/3002019).
        freedom = (N_FOLDS - 1) / (self.share @ self.share)
        quantile: float = student.ppf((1 + level) / 2, freedom).item()
        return quantile


@dataclass(frozen=True, eq=False)
class SteppedBand:
    """Band around the curves of samples that have a baseline hazard in common.

    Attributes
    ----------
    baseline : Baseline
        Baseline hazard of the prediction.
    of_members : Baseline
        Steps of the strata at which `members` are known.
    members : array of shape (n_members, n_steps)
        Log cumulative baseline hazard of each member at the steps of `of_members`.
    jackknife : Jackknife
        What makes variances of members.
    quantile : float
        Number of standard deviations between curve and bound.
    """

    baseline: Baseline
    of_members: Baseline
    members: np.ndarray
    jackknife: Jackknife
    quantile: float

    def over_time(
        self,
        log_hazard_ratio: np.ndarray,
        each: np.ndarray,
        extra: np.ndarray,
        stratum: np.ndarray,
        times: np.ndarray,
    ) -> Pair:
        """Return bounds of the log cumulative hazard over time.

        Parameters
        ----------
        log_hazard_ratio : array of shape (n_samples,)
            Prediction.
        each : array of shape (n_members, n_samples)
            Log hazard ratios by the members.
        extra : array of shape (n_samples,)
            Variance to be added.
        stratum : int array of shape (n_samples,)
            Numbers of the strata.
        times : array of shape (n_times,)
            Times, in any order.

        Returns
        -------
        pair of arrays of shape (n_samples, n_times)
            Lower and upper bounds.
        """
        lower, upper = (np.full((len(stratum), len(times)), -np.inf) for _ in range(2))
        for rows, steps, low, high in self._pieces(log_hazard_ratio, each, extra, stratum):
            column = np.searchsorted(steps, times, side="right") - 1
            begun = np.flatnonzero(column >= 0)
            for bound, values in ((lower, low), (upper, high)):
                bound[np.ix_(rows, begun)] = values[:, column[begun]]
        return lower, upper

    def reached(
        self,
        log_hazard_ratio: np.ndarray,
        each: np.ndarray,
        extra: np.ndarray,
        stratum: np.ndarray,
        needed: np.ndarray,
    ) -> Pair:
        """Return when the upper and the lower bound come to some log cumulative hazards."""
        earliest, latest = (np.full((len(stratum), len(needed)), np.inf) for _ in range(2))
        for rows, steps, low, high in self._pieces(log_hazard_ratio, each, extra, stratum):
            ends = np.append(steps.astype(float), np.inf)
            for time, values in ((earliest, high), (latest, low)):
                for column, value in enumerate(needed):
                    time[rows, column] = ends[(values < value).sum(1)]
        return earliest, latest

    def _pieces(
        self, log_hazard_ratio: np.ndarray, each: np.ndarray, extra: np.ndarray, stratum: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Iterate over samples of one stratum with events, its steps, and the bounds there.

        A curve can only rise. So a lower bound holds from its time on, an upper one up to it.
        """
        own = self.jackknife.deviations(each)
        alone = (own * own).sum(0) + extra
        for code in np.unique(stratum):
            of_stratum = np.flatnonzero(stratum == code)
            steps, log_hazard = self.baseline.steps(code)
            if len(steps) == 0:  # no event, so nothing is known of its curve
                continue
            of_steps = self._deviations(code, steps)
            common = (of_steps * of_steps).sum(0)
            for piece in pieces(len(of_stratum), len(steps)):
                rows = of_stratum[piece]
                variance = 2 * own[:, rows].T @ of_steps
                variance += common
                variance += alone[rows, None]
                # Of a sum of squares, which rounding can leave below 0.
                half = self.quantile * np.sqrt(np.maximum(variance, 0, out=variance))
                curve = log_hazard + log_hazard_ratio[rows, None]
                high = np.minimum.accumulate((curve + half)[:, ::-1], axis=1)[:, ::-1]
                yield rows, steps, np.maximum.accumulate(curve - half, axis=1), high

    def _deviations(self, code: int, steps: np.ndarray) -> np.ndarray:
        """Return the deviations of the members' baselines at all steps of a stratum."""
        start, end = self.of_members.offsets[[code, code + 1]]
        known = self.jackknife.deviations(self.members[:, start:end], log=True)
        place = np.searchsorted(self.of_members.times[start:end], steps, side="right") - 1
        return known[:, place]


@dataclass(frozen=True, eq=False)
class LinearBand:
    """Band around curves that are linear in v, the scaled log time.

    The variance at v is ``at_0 + 2 * mixed * v + slope * v**2``, one of each for each sample.

    Attributes
    ----------
    level, rise : arrays of shape (n_samples,)
        Curve at v = 0, and its slope, which is above 0.
    at_0, mixed, slope : arrays of shape (n_samples,)
        Variance at v = 0, covariance of level and slope, and variance of the slope.
    quantile : float
        Number of standard deviations between curve and bound.
    """

    level: np.ndarray
    rise: np.ndarray
    at_0: np.ndarray
    mixed: np.ndarray
    slope: np.ndarray
    quantile: float

    @classmethod
    def of(
        cls,
        jackknife: Jackknife,
        level: np.ndarray,
        rise: np.ndarray,
        each: tuple[np.ndarray, np.ndarray],
        extra: np.ndarray,
        quantile: float,
    ) -> Self:
        """Return the band, given levels and slopes of the members, (n_members, n_samples)."""
        a, b = (jackknife.deviations(values) for values in each)
        return cls(level, rise, (a * a).sum(0) + extra, (a * b).sum(0), (b * b).sum(0), quantile)

    def over_time(self, v: np.ndarray) -> Pair:
        """Return bounds of the curves at some v, two arrays (n_samples, n_times)."""
        low, high = (np.empty((len(self.level), len(v))) for _ in range(2))
        begun = v > -np.inf
        low[:, ~begun] = high[:, ~begun] = -np.inf
        for piece in pieces(*low.shape):
            for bound, sign in ((low, -1), (high, 1)):
                bound[piece, begun] = self._bound(v[begun][None], sign, piece)
        return low, high

    def reached(self, needed: np.ndarray, least: float, most: float) -> Pair:
        """Return the v at which the upper and the lower bound come to some values, or ±inf."""
        earliest, latest = (np.empty((len(self.level), len(needed))) for _ in range(2))
        for v, sign in ((earliest, 1), (latest, -1)):
            below, above = (np.full(v.shape, end) for end in (least, most))
            for _ in range(_HALVINGS):
                middle = (below + above) / 2
                is_above = self._bound(middle, sign, slice(None)) >= needed
                above[is_above] = middle[is_above]
                below[~is_above] = middle[~is_above]
            v[:] = above
            v[self._bound(np.full(v.shape, least), sign, slice(None)) >= needed] = -np.inf
            v[self._bound(np.full(v.shape, most), sign, slice(None)) < needed] = np.inf
        return earliest, latest

    def _bound(self, v: np.ndarray, sign: int, piece: slice) -> np.ndarray:
        """Return one of the bounds at finite v, of shape (n_samples or 1, n_values)."""
        level, rise, at_0, mixed, slope = (
            values[piece, None]
            for values in (self.level, self.rise, self.at_0, self.mixed, self.slope)
        )
        # A hyperbola. Where it falls, the bound of a later or earlier time says more, as above.
        surplus = self.quantile**2 * slope - rise**2
        turns = surplus > 0
        divisor = np.where(turns, slope, 1.0)
        least = np.maximum(at_0 - mixed**2 / divisor, 0)
        away = rise * np.sqrt(least / (divisor * np.where(turns, surplus, 1.0)))
        turn = -mixed / divisor - sign * away
        clipped = np.maximum(v, turn) if sign > 0 else np.minimum(v, turn)
        v = np.where(turns, clipped, v)
        variance = np.maximum(at_0 + v * (2 * mixed + v * slope), 0)
        bound: np.ndarray = level + rise * v + sign * self.quantile * np.sqrt(variance)
        return bound


def log_time_range(center: float, spread: float) -> tuple[float, float]:
    """Return between which v the times are floats above 0 and finite."""
    return (_LEAST - center) / spread, (_MOST - center) / spread


def as_curves(lower: np.ndarray, upper: np.ndarray, *, survival: bool) -> Pair:
    """Return bounds of survival or of the cumulative hazard, given those of its logarithm."""
    with np.errstate(over="ignore"):  # an infinite hazard is a survival of 0
        hazards = np.exp(lower), np.exp(upper)
    return (np.exp(-hazards[1]), np.exp(-hazards[0])) if survival else hazards
