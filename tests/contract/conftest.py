"""Data sets that several files fit to."""

from __future__ import annotations

import numpy as np
import pytest
from sksurv.datasets import load_whas500
from sksurv.util import Surv


@pytest.fixture(scope="module")
def whas500():
    """240 rows, standardised, in random order, with years as the unit of time."""
    X, y = load_whas500()
    rows = np.random.default_rng(0).permutation(len(X))[:240]
    X = X.to_numpy(dtype=np.float32)[rows]
    return (X - X.mean(0)) / X.std(0), Surv.from_arrays(y["fstat"], y["lenfol"] / 365.25)[rows]
