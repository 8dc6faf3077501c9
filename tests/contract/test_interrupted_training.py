"""What is left of a training that Ctrl-C or an error of a callback has ended."""

from __future__ import annotations

import pickle

import pytest
from skorch.callbacks import Callback

from tests.contract.small_models import StopAfter, both, fitted


class InterruptBatch(Callback):
    """Presses Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, **kwargs):
        if len(net.history) >= self.epoch:
            raise KeyboardInterrupt


class InterruptStart(Callback):
    """Presses Ctrl-C before the first batch of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) >= self.epoch:
            raise KeyboardInterrupt


@both
@pytest.mark.parametrize("when", [StopAfter, InterruptBatch, InterruptStart])
@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_ctrl_c_leaves_a_usable_model(kind, when, epoch, optimizer, whas500):
    X, y = whas500
    stop = ("stop", when(epoch))
    model = fitted(kind, whas500, [stop], optimizer=optimizer, lr_schedule="constant")
    assert model.score(X, y) > 0.6
    survival = model.predict_survival_function(X, return_array=True)
    assert ((survival >= 0) & (survival <= 1)).all()
    assert len(model.net_.history) == epoch
    model.set_params(callbacks=None).partial_fit(X, y)
    assert model.score(X, y) > 0.6


@both
def test_ctrl_c_under_early_stopping_leaves_a_usable_model(kind, whas500):
    X, y = whas500
    model = fitted(kind, whas500, [("stop", InterruptBatch(2))], early_stopping=True)
    assert model.score(X, y) > 0.6


class SizeOfPickle(Callback):
    """Keeps the size of the net's pickle."""

    def on_epoch_end(self, net, **kwargs):
        self.size_ = len(pickle.dumps(net))


class FailInSecondEpoch(Callback):
    """Fails in the second epoch."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise RuntimeError("as asked")


@both
def test_a_pickle_from_a_training_is_small_and_a_failed_one_leaves_nothing(kind, whas500):
    model = fitted(kind, whas500, [("pickled", SizeOfPickle())], max_epochs=6, batch_size=50)
    assert dict(model.net_.callbacks_)["pickled"].size_ < 1_000_000
    model.set_params(warm_start=True, callbacks=[("failing", FailInSecondEpoch())])
    model.net_.history.clear()
    with pytest.raises(RuntimeError, match="as asked"):
        model.fit(*whas500)
    assert not {"train_batches_", "_squared_weights", "_listeners_of_training"} & {
        *vars(model.net_)
    }
