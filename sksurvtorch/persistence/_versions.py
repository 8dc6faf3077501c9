"""What files of earlier versions of the format held, in the form of today."""

from __future__ import annotations

from typing import Any

import numpy as np

from sksurvtorch.estimators._baseline import Baseline
from sksurvtorch.persistence._encoding import Unknown

# Of version 1: the baseline hazard of a Cox model at all times, (n_strata, n_unique_times).
_TABLE = "log_baseline_cumulative_hazard_"
# Not in files that 0.1.0 has written, of versions 1 to 3.
_LAST = "last_times_"


def upgrade(learned: dict[str, Any]) -> dict[str, Any]:
    """Return what a fit has learned under the names of today."""
    return _with_last_times(_with_steps(learned))


def _with_steps(learned: dict[str, Any]) -> dict[str, Any]:
    """Return what a fit has learned with the steps of the baseline hazard in place of a table."""
    if not {_TABLE, "unique_times_"} <= learned.keys():
        return learned
    table, times = learned[_TABLE], learned["unique_times_"]
    if np.ndim(table) != 2 or np.shape(table)[1:] != np.shape(times):
        raise Unknown(f"a baseline hazard of shape {np.shape(table)}")
    others = {name: value for name, value in learned.items() if name != _TABLE}
    return {**others, "_baseline_steps": dict(vars(Baseline.from_table(table, times)))}


def _with_last_times(learned: dict[str, Any]) -> dict[str, Any]:
    """Return what a fit has learned with a last time of each stratum.

    Where the file has none it is that of all strata, as far as predictions could be made then.
    """
    if _LAST in learned or not {"strata_", "unique_times_"} <= learned.keys():
        return learned
    strata, times = learned["strata_"], learned["unique_times_"]
    if np.ndim(times) != 1 or (strata is not None and np.ndim(strata) != 1):
        return learned  # which is refused
    n_strata = 1 if strata is None else len(strata)
    return {**learned, _LAST: np.repeat(np.asarray(times)[-1:], n_strata)}
