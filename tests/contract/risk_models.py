"""Rows with several causes, and small estimators of competing risks that train in no time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sksurvtorch import CompetingRisksNNRegressor
from sksurvtorch.nets import competing_risks_y
from tests.options import merged

HAZARDS = ("cause-specific", "subdistribution")
either_hazard = pytest.mark.parametrize("hazard", HAZARDS)


def risks(n=150, *, n_causes=2, n_times=40, seed=0, dtype=np.float32):
    """Four features, of which one is for each cause, and times that tie."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    events = rng.exponential(np.exp(-X[:, :n_causes]))
    censoring = rng.exponential(1.5, n)
    first = events.min(1)
    status = np.where(first <= censoring, 1 + events.argmin(1), 0)
    share = 1 - np.exp(-1.5 * np.minimum(first, censoring))
    return X.astype(dtype), competing_risks_y(status, np.ceil(n_times * share))


def columns_of(y, *names):
    """Entry, stratum and weight, those named, so that somebody is at risk throughout."""
    rng = np.random.default_rng(1)
    entry = np.floor(y["time"] * rng.uniform(0, 0.9, len(y)))
    entry[:: len(y) // 10] = 0.0
    columns = {
        "entry": entry,
        "stratum": rng.choice(["a", "b"], len(y)),
        "sample_weight": rng.choice([0.0, 0.5, 1.0, 2.0], len(y)),
    }
    return {name: columns[name] for name in names}


def small(**parameters):
    """A small estimator of one network in float64, not fitted."""
    defaults = {"hidden_layer_sizes": (4,), "n_estimators": 1, "max_epochs": 3, "batch_size": 40}
    defaults |= {"dtype": "float64", "lr": 0.01, "random_state": 0}
    return CompetingRisksNNRegressor(**merged(defaults, parameters))


def linear(**parameters):
    """The linear model at its optimum."""
    defaults = {"hidden_layer_sizes": (), "optimizer": "lbfgs"}
    return CompetingRisksNNRegressor(**defaults | parameters)


class Outputs(nn.Module):
    """A network whose outputs are the first columns of X."""

    def __init__(self, n_causes=2):
        super().__init__()
        self.n_causes = n_causes
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, X):
        return X[:, : self.n_causes] + 0 * self.unused


class Mlp(nn.Module):
    """A network for the four features, with an output for each cause."""

    def __init__(self, n_causes=2, width=5):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, width), nn.Tanh(), nn.Linear(width, n_causes, bias=False)
        )

    def forward(self, X):
        return self.layers(X)
