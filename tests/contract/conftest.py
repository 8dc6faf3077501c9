"""Data sets that several files fit to, and accelerate as in a new process."""

from __future__ import annotations

import numpy as np
import pytest
from sksurv.datasets import load_veterans_lung_cancer, load_whas500
from sksurv.preprocessing import OneHotEncoder
from sksurv.util import Surv


@pytest.fixture(scope="module")
def whas500():
    """240 rows, standardised, in random order, with years as the unit of time."""
    X, y = load_whas500()
    rows = np.random.default_rng(0).permutation(len(X))[:240]
    X = X.to_numpy(dtype=np.float32)[rows]
    return (X - X.mean(0)) / X.std(0), Surv.from_arrays(y["fstat"], y["lenfol"] / 365.25)[rows]


@pytest.fixture(scope="module")
def veterans():
    """137 rows as a frame, one-hot encoded."""
    X, y = load_veterans_lung_cancer()
    return OneHotEncoder().fit_transform(X).astype(float), y


@pytest.fixture(scope="module")
def veterans_columns(veterans):
    """Entry, stratum and weight of each row."""
    _, y = veterans
    rng = np.random.default_rng(0)
    return {
        "entry": y["Survival_in_days"] * rng.uniform(0, 0.9, len(y)),
        "stratum": rng.choice(["a", "b"], len(y)),
        "sample_weight": rng.uniform(0.5, 2, len(y)),
    }


@pytest.fixture
def fresh_accelerate():
    """Nothing that accelerate keeps for the whole process, before and after."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
