"""Groups of samples by what was predicted for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sksurvtorch._validation import check_number
from sksurvtorch._warnings import warn
from sksurvtorch.exceptions import TiedGroupsWarning

Array = NDArray[Any]


def quantile_groups(value: Array, n_groups: int) -> Array:
    """Return codes of groups of about equal size, ascending; equal values stay together."""
    check_number("n_groups", n_groups, int, 1)
    n_samples = len(value)
    if n_groups > n_samples:
        raise ValueError(
            f"`n_groups` must be at most the number of samples, {n_samples}, got {n_groups}."
        )
    # A group ends with the value at its share of the sorted rows, ties included.
    n_below = -(-np.arange(1, n_groups) * n_samples // n_groups)
    ends = np.unique(np.sort(value)[n_below - 1])
    codes: Array = np.unique(np.searchsorted(ends, value, side="left"), return_inverse=True)[1]
    n_found = int(codes.max()) + 1
    if n_found < n_groups:
        warn(
            f"Tied predictions are not split, which leaves {n_found} of the {n_groups} groups "
            "asked for. Lower `n_groups`, or group the samples by other values.",
            TiedGroupsWarning,
        )
    return codes
