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
    expected = len(event) / n_bins
    statistic = float(np.square(counts - expected).sum() / expected)
    return DCalibration(statistic, float(chi2.sf(statistic, n_bins - 1)), counts / len(event))


def _check_survival(survival: Any, n_samples: int) -> Array:
    """Return one probability for each sample."""
    checked = np.asarray(survival, dtype=float)
    if checked.shape != (n_samples,):
        raise ValueError(
            f"`survival` must have shape ({n_samples},), one for each sample at its own time, got "
            f"{checked.shape}."
        )
    bad = ~((checked >= -_ROUNDING) & (checked <= 1 + _ROUNDING))
    if bad.any():
        raise ValueError(
            f"`survival` must be within [0, 1], got {checked[bad][0]:g} ({bad.sum()} of "
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
