"""Small data and estimators in momentum mode, and a callback that watches them train."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from skorch.callbacks import Callback
from sksurv.util import Surv
from torch.nn.utils import parameters_to_vector

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from tests.options import merged

both = pytest.mark.parametrize("kind", [CoxNNRegressor, WeibullAFTRegressor])


def survival_data(n=60, seed=0):
    """Three features, of which the first matters."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    time, censoring = rng.exponential(np.exp(-X[:, 0])), rng.exponential(2.0, n)
    return X, Surv.from_arrays(time <= censoring, np.minimum(time, censoring))


def small(kind, **parameters):
    """An estimator in momentum mode, small and quick."""
    defaults = {
        "n_estimators": 1,
        "momentum": True,
        "hidden_layer_sizes": (4,),
        "max_epochs": 3,
        "batch_size": 8,
        "lr": 0.01,
        "dtype": "float64",
        "random_state": 0,
    }
    return kind(**merged(defaults, parameters))


class Watch(Callback):
    """Keeps what each training step saw, and the networks at the end of each epoch."""

    def on_train_begin(self, net, **kwargs):
        self.batches_, self.losses_, self.online_, self.bank_, self.epochs_ = [], [], [], [], []

    def on_batch_begin(self, net, batch, training, **kwargs):
        if training:
            X, y = batch
            self.batches_.append((X, dict(y)))
            self.online_.append(vector(net.module_.online))

    def on_batch_end(self, net, loss, training, **kwargs):
        if training:
            self.losses_.append(loss.item())
            bank = getattr(net.criterion_, "bank", None)
            self.bank_.append(None if bank is None else bank.columns.get("index"))

    def on_epoch_end(self, net, dataset_valid=None, **kwargs):
        self.epochs_.append(copy.deepcopy(net.module_))
        self.valid_ = dataset_valid


def vector(module):
    return parameters_to_vector(module.parameters()).detach().clone()


def watched(model, X, y, **columns):
    """Fit a model, and return what was seen of its last training."""
    model.set_params(callbacks=[("watch", Watch())]).fit(X, y, **columns)
    return dict(model.net_.callbacks_)["watch"]
