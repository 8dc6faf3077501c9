"""A training whose loss or weights turn into NaN or infinity."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback

from sksurvtorch.exceptions import NonFiniteLossError, NonFiniteLossWarning
from tests.contract.small_models import both, fitted

REMEDY = "Scale the features, lower `lr`, or raise `alpha`."


class PoisonWeight(Callback):
    """Puts NaN into a weight at the start or end of an epoch."""

    def __init__(self, epoch, event="on_epoch_begin"):
        self.epoch = epoch
        self.event = event

    def _poison(self, net):
        if len(net.history) == self.epoch:
            with torch.no_grad():
                next(net.module_.parameters()).view(-1)[0] = float("nan")

    def on_epoch_begin(self, net, **kwargs):
        if self.event == "on_epoch_begin":
            self._poison(net)

    def on_epoch_end(self, net, **kwargs):
        if self.event == "on_epoch_end":
            self._poison(net)


class PoisonLastBatch(Callback):
    """Puts NaN into a weight after the last batch of the last epoch."""

    def on_batch_end(self, net, training, **kwargs):
        if training and net.history[-1, "epoch"] == net.max_epochs:
            with torch.no_grad():
                next(net.module_.parameters()).view(-1)[0] = float("nan")


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_loss_that_is_nan_stops_with_the_last_good_weights(kind, early_stopping, whas500):
    X, _ = whas500
    options = {"early_stopping": early_stopping, "lr_schedule": "constant"}
    with pytest.warns(NonFiniteLossWarning) as record:
        model = fitted(kind, whas500, [("nan", PoisonWeight(3))], **options)
    assert [str(warning.message) for warning in record] == [
        f"The loss or a weight was not finite in epoch 3. {REMEDY} Training stopped with the "
        "weights of the epoch before."
    ]
    assert model.n_iter_ == 3
    expected = fitted(kind, whas500, max_epochs=2, **options).predict(X)
    np.testing.assert_array_equal(model.predict(X), expected)
    assert np.isfinite(model.predict_survival_function(X, return_array=True)).all()


@both
def test_a_weight_that_turns_nan_after_the_last_epoch_is_noticed(kind, whas500):
    """The loss of that epoch was good, so only the weights tell."""
    with pytest.warns(NonFiniteLossWarning, match="in epoch 6"):
        model = fitted(kind, whas500, [("nan", PoisonLastBatch())])
    assert np.isfinite(model.predict(whas500[0])).all()


@both
def test_a_loss_that_is_nan_from_the_start_is_an_error(kind, whas500):
    with pytest.raises(NonFiniteLossError) as error:
        fitted(kind, whas500, [("nan", PoisonWeight(1))])
    assert str(error.value) == f"The loss or a weight was not finite in epoch 1. {REMEDY}"


@both
def test_a_huge_learning_rate_is_an_error_or_a_warning(kind, whas500):
    with pytest.raises((NonFiniteLossError, NonFiniteLossWarning), match="lower `lr`"):
        fitted(kind, whas500, lr=1e30, optimizer="sgd", lr_schedule="constant")


@both
@pytest.mark.parametrize("good_before", [False, True])
def test_a_model_whose_fit_failed_does_not_predict_nan(kind, good_before, whas500):
    X, y = whas500
    model = kind(n_estimators=1, max_epochs=1, random_state=0)
    if good_before:
        model.fit(X, y)
    with pytest.raises(NonFiniteLossError):
        model.set_params(callbacks=[("nan", PoisonWeight(1))]).fit(X, y)
    with contextlib.suppress(NotFittedError):
        assert np.isfinite(model.predict(X)).all()
