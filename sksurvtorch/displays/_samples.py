"""Which samples of a prediction are drawn one by one."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from sksurvtorch._validation import check_number
from sksurvtorch.displays._axes import LINE_STYLES
from sksurvtorch.displays._estimates import Array

# Each needs a line style of its own, and more bands would hide one another.
_MOST_BANDS = len(LINE_STYLES)


def choose_samples(samples: Any, survival: Array) -> Array:
    """Return the indices of samples: those given, or a number of them spread over all."""
    samples = 0 if samples is None else samples
    n_samples = len(survival)
    if isinstance(samples, Integral):
        check_number("samples", samples, int, 0, n_samples + 1)
        number = int(samples)
        ranks = (2 * np.arange(number) + 1) * n_samples // (2 * max(1, number))
        order: Array = np.argsort(survival.mean(axis=1), kind="stable")
        return order[ranks]
    chosen = np.asarray(samples)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
        raise TypeError(f"`samples` must be an integer or an array of them, got {samples!r}.")
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < n_samples:
        raise ValueError(
            f"`samples` must hold indices from 0 to {n_samples - 1}, got from {chosen.min()} "
            f"to {chosen.max()}."
        )
    return chosen


def choose_for_bands(samples: Any, survival: Array) -> Array:
    """Return the indices of the samples to draw with a band, all unless some are chosen."""
    chosen = np.arange(len(survival)) if samples is None else choose_samples(samples, survival)
    if not 1 <= len(chosen) <= _MOST_BANDS:
        raise ValueError(
            f"`samples` must choose 1 to {_MOST_BANDS} samples where each is drawn with its band, "
            f"got {len(chosen)} of {len(survival)}. Pass the indices of a few."
        )
    return chosen
