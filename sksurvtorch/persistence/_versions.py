"""What files of earlier versions of the format held, in the form of today."""

from __future__ import annotations

from typing import Any

import numpy as np

from sksurvtorch.estimators._baseline import Baseline
from sksurvtorch.persistence._encoding import Unknown

# Of version 1: the baseline hazard of a Cox model at all times, (n_strata, n_unique_times).
_TABLE = "log_baseline_cumulative_hazard_"


def upgrade(learned: dict[str, Any]) -> dict[str, Any]:
    """Return what a fit has learned under the names of today."""
    if not {_TABLE, "unique_times_"} <= learned.keys():
        return learned
    table, times = learned[_TABLE], learned["unique_times_"]
    if np.ndim(table) != 2 or np.shape(table)[1:] != np.shape(times):
        raise Unknown(f"a baseline hazard of shape {np.shape(table)}")
    others = {name: value for name, value in learned.items() if name != _TABLE}
    return {**others, "_baseline_steps": dict(vars(Baseline.from_table(table, times)))}
