"""Simulated survival data."""

from __future__ import annotations

import numpy as np
from sksurv.util import Surv


def patients(
    n: int, p: int, *, dtype: str = "float32", n_times: int = 1000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return features and target: linear effects, half of the rows censored, tied times."""
    rng = np.random.default_rng(seed)
    X = np.empty((n, p), dtype)
    for start in range(0, n, 10_000):  # without a second copy
        part = X[start : start + 10_000]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
    effect = rng.normal(0, 1 / np.sqrt(p), p).astype(dtype)
    rate = np.exp(-(X @ effect).astype(float))
    event_time, censoring = rng.exponential(rate), rng.exponential(1.0, n)
    time = np.ceil(np.minimum(event_time, censoring) * n_times)
    return X, Surv.from_arrays(event_time <= censoring, time)
