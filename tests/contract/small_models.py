"""Small estimators and skorch nets that train in no time, and callbacks that watch them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import nn

from sksurvtorch import CoxNNRegressor, CoxPHLoss, WeibullAFTLoss, WeibullAFTRegressor
from tests.options import merged

KINDS = (CoxNNRegressor, WeibullAFTRegressor)
LOSSES = (CoxPHLoss, WeibullAFTLoss)

both = pytest.mark.parametrize("kind", KINDS)
both_losses = pytest.mark.parametrize("loss", LOSSES)

N_VETERANS_FEATURES = 8


def small(kind, **parameters):
    """A small estimator of one network, not fitted."""
    defaults = {"hidden_layer_sizes": (8,), "n_estimators": 1, "max_epochs": 3, "batch_size": 50}
    defaults |= {"random_state": 0}
    return kind(**merged(defaults, parameters))


def fitted(kind, data, callbacks=None, **parameters):
    """A small estimator of ours with one network, fitted."""
    defaults = {
        "hidden_layer_sizes": (8,),
        "n_estimators": 1,
        "max_epochs": 6,
        "batch_size": 48,
        "lr": 0.01,
        "random_state": 0,
    }
    return kind(callbacks=callbacks, **merged(defaults, parameters)).fit(*data)


def own_columns(kind, columns):
    """The columns that a kind takes."""
    names = ["entry", "sample_weight"] + ["stratum"] * (kind is CoxNNRegressor)
    return {name: columns[name] for name in names}


def predictions(model, X):
    """All that a model says of X, without strata."""
    return np.column_stack(
        [
            model.predict(X),
            model.predict_median(X),
            model.predict_expectation(X),
            model.predict_survival_function(X, return_array=True),
        ]
    )


class Mlp(nn.Module):
    """A network for the 14 features of WHAS500."""

    def __init__(self, n_outputs=1, width=8, dropout=0.0):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(14, width), nn.Tanh(), nn.Dropout(dropout), nn.Linear(width, n_outputs)
        )

    def forward(self, X):
        return self.layers(X)


class VeteransNet(nn.Module):
    """A network for the features of the veterans, one-hot encoded."""

    def __init__(self, n_outputs=1, width=3):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(N_VETERANS_FEATURES, width), nn.Tanh(), nn.Linear(width, n_outputs)
        )

    def forward(self, X):
        return self.layers(X)


def plain_net(loss, module=Mlp, **options):
    """A plain skorch net with one of the losses as its criterion."""
    torch.manual_seed(0)
    defaults = {
        "module__n_outputs": 1 if loss is CoxPHLoss else 2,
        "optimizer": torch.optim.Adam,
        "lr": 0.02,
        "max_epochs": 5,
        "batch_size": 64,
        "verbose": 0,
    }
    return NeuralNet(module, criterion=loss, **{**defaults, **options})


def target_columns(y, loss):
    """Entry, stratum (Cox only) and weight."""
    rng = np.random.default_rng(1)
    columns = {"entry": 0.5 * y["time"] * rng.random(len(y)), "weight": rng.uniform(1, 2, len(y))}
    if loss is CoxPHLoss:
        columns["stratum"] = rng.choice(["x", "y"], len(y))
    return columns


class BatchLosses(Callback):
    """Keeps the loss of each batch."""

    def on_train_begin(self, net, **kwargs):
        self.losses_ = []

    def on_batch_end(self, net, loss, training, **kwargs):
        if training:
            self.losses_.append(loss.item())


class CountEvents(Callback):
    """Notes events and rows of each training batch."""

    def on_train_begin(self, net, **kwargs):
        self.seen_ = []

    def on_batch_begin(self, net, batch, training, **kwargs):
        X, y = batch
        event = y.event if hasattr(y, "event") else y["event"]
        self.seen_.append((int(event.sum()), len(X)))


class StopAfter(Callback):
    """Ends the training with an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) >= self.epoch:
            raise KeyboardInterrupt
