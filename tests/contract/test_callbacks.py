"""Callbacks in an estimator: skorch's own, and those that change the net or its batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR

from sksurvtorch import CoxNNRegressor
from tests.contract.small_models import BatchLosses, CountEvents, both, fitted


class FrozenPart(Callback):
    """Puts a part of the network into evaluation mode, as one does with a normalisation."""

    def on_epoch_begin(self, net, **kwargs):
        net.module_[1].eval()

    def on_batch_end(self, net, **kwargs):
        self.modes_ = [part.training for part in net.module_]


def test_a_part_in_evaluation_mode_stays_so_and_prediction_is_in_it_alone(whas500):
    X, y = whas500
    module = nn.Sequential(nn.Linear(X.shape[1], 4), nn.Dropout(0.5), nn.Linear(4, 1))
    options = {"module": module, "max_epochs": 2, "batch_size": 50, "random_state": 0}
    model = CoxNNRegressor(callbacks=[("frozen", FrozenPart())], **options).fit(X, y)
    assert dict(model.net_.callbacks_)["frozen"].modes_ == [True, False, True]
    risk = model.predict(X)
    model.net_.module_[1].train()
    np.testing.assert_array_equal(model.predict(X), risk)


class AddCallback(Callback):
    """Adds another callback while the training runs."""

    def __init__(self, other):
        self.other = other

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 3:
            net.callbacks_.append(("count", self.other.initialize()))
            self.other.on_train_begin(net)


@both
def test_a_callback_that_comes_late_is_called(kind, whas500):
    model = fitted(
        kind, whas500, [("late", AddCallback(CountEvents()))], max_epochs=6, batch_size=None
    )
    assert len(dict(model.net_.callbacks_)["late"].other.seen_) == 3


class AddToBatches(Callback):
    """Writes to the batches, as an augmentation does."""

    def on_batch_begin(self, net, batch=None, **kwargs):
        batch[0].add_(1.0)


@both
@pytest.mark.parametrize("mode", ["memory", "r", "r+"])
@pytest.mark.parametrize("own", [True, False])
def test_a_callback_that_writes_to_batches_leaves_the_data_as_they_are(
    kind, mode, own, whas500, tmp_path
):
    X, y = whas500
    y = y[np.argsort(y["time"])]  # rows that are taken as they lie
    X = np.ascontiguousarray(X, dtype=np.float32)
    given = X.copy()
    if mode != "memory":
        np.save(tmp_path / "X.npy", X)
        given = np.load(tmp_path / "X.npy", mmap_mode=mode)
    options = {"module": nn.Linear(X.shape[1], 1)} if own else {"hidden_layer_sizes": ()}
    fitted(kind, (given, y), [("noise", AddToBatches())], batch_size=None, max_epochs=2, **options)
    np.testing.assert_array_equal(given, X)


@both
def test_weights_of_any_memory_format_are_kept(kind, whas500):
    def network():
        convolution = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
        pool = nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(convolution, pool, nn.Flatten(), nn.Linear(3, 1))

    images = np.random.default_rng(0).standard_normal((len(whas500[1]), 2, 5, 5))
    model = kind(module=network, max_epochs=2, random_state=0).fit(images, whas500[1])
    assert np.isfinite(model.predict(images)).all()


@both
def test_clipping_in_an_estimator_bounds_the_step(kind, whas500):
    plain = {"optimizer": "sgd", "lr": 1.0, "lr_schedule": "constant", "max_epochs": 1}
    plain |= {"batch_size": None, "alpha": 0.0, "module": nn.Linear(14, 1)}
    clip = ("clip", GradientNormClipping(1e-3))
    start = fitted(kind, whas500, **{**plain, "lr": 1e-30})
    steps = []
    for callbacks in (None, [clip]):
        weight = fitted(kind, whas500, callbacks, **plain).net_.module_.state_dict()
        before = start.net_.module_.state_dict()
        steps.append(sum((weight[k] - before[k]).square().sum() for k in weight).sqrt().item())
    assert steps[0] > 0.01
    assert steps[1] == pytest.approx(1e-3, rel=1e-3)


@both
def test_a_scheduler_in_an_estimator_steps_with_each_batch(kind, whas500):
    rate = LRScheduler(ExponentialLR, gamma=0.5, step_every="batch")
    options = {"max_epochs": 2, "lr": 0.08, "lr_schedule": "constant"}
    model = fitted(kind, whas500, [("rate", rate)], **options)
    # 240 rows in batches of 48: 5 steps an epoch.
    assert model.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0.08 / 2**10)


@both
def test_the_built_in_schedule_ends_at_zero(kind, whas500):
    model = fitted(kind, whas500, max_epochs=3, lr=0.08)
    assert model.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


@both
def test_a_callback_of_the_user_is_copied(kind, whas500):
    """It keeps what it has seen, and a search fits many times."""
    given = BatchLosses()
    model = fitted(kind, whas500, [("losses", given)], max_epochs=1)
    assert not hasattr(given, "losses_")
    assert len(dict(model.net_.callbacks_)["losses"].losses_) == 5
