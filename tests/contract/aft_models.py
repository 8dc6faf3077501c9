"""Small accelerated failure time models, and events that are known to lie in intervals."""

from __future__ import annotations

import numpy as np
import pytest

from sksurvtorch import LogLogisticAFTRegressor, LogNormalAFTRegressor, WeibullAFTRegressor
from sksurvtorch.nets import interval_censored_y
from tests.options import merged

AFT_KINDS = (WeibullAFTRegressor, LogNormalAFTRegressor, LogLogisticAFTRegressor)
every = pytest.mark.parametrize("kind", AFT_KINDS, ids=lambda kind: kind.__name__)


def inspected(n=150, *, seed=0, dtype=np.float32):
    """Three features and intervals between inspections: left, right, inside, and some exact."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    time = np.exp(1 + 0.7 * X[:, 0] + 0.5 * rng.logistic(size=n))
    gap = rng.uniform(0.5, 2, n)
    number = np.floor(time / gap)
    lower, upper = number * gap, (number + 1) * gap
    late = number >= 4
    lower, upper = np.where(late, 4 * gap, lower), np.where(late, np.inf, upper)
    exact = rng.random(n) < 0.2
    y = interval_censored_y(np.where(exact, time, lower), np.where(exact, time, upper))
    return X.astype(dtype), y


def columns_of(y):
    """Entry and weight of rows: some enter within their interval, some after its lower bound."""
    rng = np.random.default_rng(1)
    last = np.where(np.isfinite(y["upper"]), y["upper"], y["lower"])
    entry = np.where(rng.random(len(y)) < 0.5, 0.0, 0.6 * last * rng.random(len(y)))
    return {"entry": entry, "sample_weight": rng.choice([0.0, 0.5, 1.0, 2.0], len(y))}


def small(kind, **parameters):
    """A small estimator of one network in float64, not fitted."""
    defaults = {"hidden_layer_sizes": (4,), "n_estimators": 1, "max_epochs": 3, "batch_size": 40}
    defaults |= {"dtype": "float64", "lr": 0.01, "random_state": 0}
    return kind(**merged(defaults, parameters))
