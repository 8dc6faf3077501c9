"""Data sets, simulated and real, and small estimators that are fitted to them in float64."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines.datasets import load_rossi
from sksurv.datasets import load_gbsg2, load_veterans_lung_cancer, load_whas500
from sksurv.preprocessing import OneHotEncoder
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from tests.options import merged

KINDS = (CoxNNRegressor, WeibullAFTRegressor)
LINEAR = {"hidden_layer_sizes": (), "optimizer": "lbfgs"}

both = pytest.mark.parametrize("kind", KINDS)
both_ties = pytest.mark.parametrize("ties", ["efron", "breslow"])


def load_data_set(name):
    """Features, event and time of a data set, one-hot encoded."""
    if name == "rossi":
        frame = load_rossi()
        X = frame.drop(columns=["week", "arrest"])
        return X.astype(float), frame["arrest"].to_numpy(dtype=bool), frame["week"].to_numpy(float)
    loader = {
        "whas500": load_whas500,
        "gbsg2": load_gbsg2,
        "veterans": load_veterans_lung_cancer,
    }[name]
    X, y = loader()
    X = X.astype(float) if name == "whas500" else OneHotEncoder().fit_transform(X).astype(float)
    event, time = (y[field] for field in y.dtype.names)
    return X, event, time


def simulate(n, p, *, censored=0.3, seed=0):
    """The first feature doubles the hazard."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    time = rng.weibull(1.5, n) * np.exp(-X[:, 0] / 2)
    event = np.arange(n) % 1000 >= 1000 * censored if n >= 1000 else rng.random(n) >= censored
    event[0] = True
    return X, event, time


def take_rows(data, index):
    return tuple(column[index] for column in data)


def small(kind, **parameters):
    """A small net in float64: float32 lets two equal sums drift apart."""
    defaults = {
        "n_estimators": 1,
        "hidden_layer_sizes": (8,),
        "max_epochs": 4,
        "batch_size": 50,
        "dtype": "float64",
        "random_state": 0,
    }
    return kind(**merged(defaults, parameters))


def fit_small(kind, data, *, weight=None, entry=None, stratum=None, **parameters):
    """A small net fitted to features, event and time."""
    X, event, time = data
    columns = {"sample_weight": weight, "entry": entry, "stratum": stratum}
    columns = {name: column for name, column in columns.items() if column is not None}
    return small(kind, **parameters).fit(X, Surv.from_arrays(event, time), **columns)


def risk_and_survival(fitted, X):
    """Risk and survival of each sample."""
    survival = fitted.predict_survival_function(X, return_array=True)
    return np.column_stack([fitted.predict(X), survival])


class ShiftedNet(nn.Module):
    """A net whose output has a constant added."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 1))
        self.shift = shift

    def forward(self, X):
        return self.net(X) + self.shift
