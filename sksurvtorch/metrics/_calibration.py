"""Calibration of predicted distributions over all times."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from sksurvtorch._validation import check_number

Array = NDArray[Any]

# Probabilities may be off by what sums of float32 are off.
_ROUNDING = 1e-5


class DCalibration(NamedTuple):
    """Result of `d_calibration`.

    Attributes
    ----------
    statistic : float
        Chi-squared statistic of the differences of the shares to 1 / n_bins.
    pvalue : float
        Probability of a statistic at least as large, if the predictions are calibrated.
    shares : array of shape (n_bins,)
        Share of the samples whose survival, at the time of their event, is in each bin: from
        [0, 1 / n_bins) up to [1 - 1 / n_bins, 1]. They add up to 1.
    """

    statistic: float
    pvalue: float
    shares: Array


def d_calibration(event_indicator: Any, survival: Any, *, n_bins: int = 10) -> DCalibration:
    r"""Test whether predicted distributions of the time are calibrated.

    If the predicted survival functions are right, the probability :math:`S_i(T_i)` of each sample
    at the time of its own event is uniform: a tenth of the samples has one below 0.1, a tenth one
    between 0.1 and 0.2, and so on. Too many at high survival mean that survival is predicted too
    high, too many at low survival that it is predicted too low. Too few at both ends mean that
    curves are too flat, too many at both ends that they are too steep.

    Parameters
    ----------
    event_indicator : bool array of shape (n_samples,)
        True for an observed event, False for a right-censored sample.
    survival : array of shape (n_samples,)
        Predicted survival of each sample at its own time, of the event or of the censoring.
    n_bins : int, default=10
        Number of bins, of equal width.

    Returns
    -------
    DCalibration
        Statistic, p-value and the share of the samples in each bin.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    Notes
    -----
    A sample that is censored where survival is s has a later event, with a survival anywhere
    between 0 and s: it counts as spread evenly over that range [1]_. Such parts fit any prediction,
    so the test is cautious where many are censored.

    A high p-value does not say that predictions are good: those of a Kaplan-Meier curve, the same
    for all, are calibrated. Judge how they tell samples apart by the concordance index as well.

    References
    ----------
    .. [1] H. Haider, B. Hoehn, S. Davis, R. Greiner, "Effective ways to build and evaluate
       individual survival distributions", JMLR 21(85), 2020.

    Examples
    --------
    Two events, and a sample that is censored at a survival of 0.5, which belongs to the lower half:

    >>> from sksurvtorch.metrics import d_calibration
    >>> result = d_calibration([True, True, False], [0.2, 0.9, 0.5], n_bins=2)
    >>> result.shares
    array([0.66666667, 0.33333333])
    >>> round(result.statistic, 3), round(result.pvalue, 3)
    (0.333, 0.564)
    """
    check_number("n_bins", n_bins, int, 2)
    event = np.asarray(event_indicator)
    if event.ndim != 1 or event.dtype != bool or not len(event):
        raise ValueError(
            "`event_indicator` must be bool of shape (n_samples,), got "
            f"{event.dtype} of shape {event.shape}."
        )
    probability = _check_survival(survival, len(event))
    counts = _count(event, probability, int(n_bins))
    return _compare(counts, len(event))


def d_calibration_interval_censored(
    survival_lower: Any, survival_upper: Any, *, n_bins: int = 10
) -> DCalibration:
    """Test whether predicted distributions of interval-censored times are calibrated.

    It is `d_calibration` for samples whose event lies between two times. If survival is predicted
    to be s at the lower one and r at the upper one, the event has a survival anywhere between r and
    s: the sample counts as spread evenly over that range, as one that is right-censored does over
    the range from 0 on [1]_.

    Parameters
    ----------
    survival_lower : array of shape (n_samples,)
        Predicted survival of each sample at its own lower bound; 1 if that is 0.
    survival_upper : array of shape (n_samples,)
        Predicted survival of each sample at its own upper bound; 0 if that is infinite. An event
        at a known time has equal bounds, and so equal survival.
    n_bins : int, default=10
        Number of bins, of equal width.

    Returns
    -------
    DCalibration
        Statistic, p-value and the share of the samples in each bin.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    Notes
    -----
    If the predictions are right, the survival at the event is uniform within the range of its
    sample, so the shares are right on average. Wide intervals fit any prediction, so the test is
    cautious where many are wide.

    References
    ----------
    .. [1] H. Haider, B. Hoehn, S. Davis, R. Greiner, "Effective ways to build and evaluate
       individual survival distributions", JMLR 21(85), 2020.

    Examples
    --------
    An event where survival is 0.2, and one while it falls from 0.9 to 0.4, of which 0.4 to 0.5 is a
    fifth:

    >>> from sksurvtorch.metrics import d_calibration_interval_censored
    >>> d_calibration_interval_censored([0.2, 0.9], [0.2, 0.4], n_bins=2).shares
    array([0.6, 0.4])
    """
    check_number("n_bins", n_bins, int, 2)
    n_samples = np.size(survival_lower)
    high = _check_survival(survival_lower, n_samples, "survival_lower")
    low = _check_survival(survival_upper, n_samples, "survival_upper")
    if not n_samples:
        raise ValueError("`survival_lower` must have at least one sample, got none.")
    rising = low - high > _ROUNDING
    if rising.any():
        first = np.flatnonzero(rising)[0]
        raise ValueError(
            f"`survival_upper` must be at most `survival_lower`, got {low[first]:g} above "
            f"{high[first]:g} ({rising.sum()} of {n_samples}). Survival falls with time."
        )
    return _compare(_spread(np.minimum(low, high), high, int(n_bins)), n_samples)


def _compare(counts: Array, n_samples: int) -> DCalibration:
    """Return the test of counts in bins that are expected to be equal."""
    n_bins = len(counts)
    expected = n_samples / n_bins
    statistic = float(np.square(counts - expected).sum() / expected)
    return DCalibration(statistic, float(chi2.sf(statistic, n_bins - 1)), counts / n_samples)


def _spread(low: Array, high: Array, n_bins: int) -> Array:
    """Return how many samples fall into each bin, each spread evenly between two values."""
    last = np.minimum((high * n_bins).astype(int), n_bins - 1)
    wide = high > low
    counts = np.bincount(last[~wide], minlength=n_bins).astype(float)
    low, high = low[wide], high[wide]
    edges = np.linspace(0, 1, n_bins + 1)
    for number in range(n_bins):
        within = np.minimum(high, edges[number + 1]) - np.maximum(low, edges[number])
        counts[number] += (within.clip(min=0) / (high - low)).sum()
    return counts


def _check_survival(survival: Any, n_samples: int, name: str = "survival") -> Array:
    """Return one probability for each sample."""
    checked = np.asarray(survival, dtype=float)
    if checked.shape != (n_samples,):
        raise ValueError(
            f"`{name}` must have shape ({n_samples},), one for each sample at its own time, got "
            f"{checked.shape}."
        )
    bad = ~((checked >= -_ROUNDING) & (checked <= 1 + _ROUNDING))
    if bad.any():
        raise ValueError(
            f"`{name}` must be within [0, 1], got {checked[bad][0]:g} ({bad.sum()} of "
            f"{n_samples}). It is the probability that the event is later."
        )
    return checked.clip(0, 1)


def _count(event: Array, survival: Array, n_bins: int) -> Array:
    """Return how many samples fall into each bin, of censored ones parts of several bins."""
    last = np.minimum((survival * n_bins).astype(int), n_bins - 1)
    counts = np.bincount(last[event], minlength=n_bins).astype(float)
    last, survival = last[~event], survival[~event]
    at_zero = survival == 0
    counts[0] += at_zero.sum()
    last, survival = last[~at_zero], survival[~at_zero]
    # A part of 1 / (n_bins s) in each bin below that of s, and the rest in that one.
    below = 1 / (n_bins * survival)
    starting = np.bincount(last, below, n_bins + 1)  # of parts that all bins below `last` have
    counts += np.cumsum(starting[::-1])[::-1][1:]
    counts += np.bincount(last, 1 - last * below, n_bins)
    return counts
