"""What is left of a training that Ctrl-C, a callback, or the error of one has ended."""

from __future__ import annotations

import pickle
import signal
import threading

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch.callbacks import Callback
from torch import nn

from sksurvtorch import CoxNNRegressor
from sksurvtorch.nets import MLP, SurvivalNet
from tests.contract.small_models import StopAfter, both, fitted, predictions, small


class InterruptBatch(Callback):
    """Ends the training in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, **kwargs):
        if len(net.history) >= self.epoch:
            raise KeyboardInterrupt


class InterruptStart(Callback):
    """Ends the training before the first batch of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) >= self.epoch:
            raise KeyboardInterrupt


@both
@pytest.mark.parametrize("when", [StopAfter, InterruptBatch, InterruptStart])
@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_callback_that_ends_the_training_leaves_a_usable_model(
    kind, when, epoch, optimizer, whas500
):
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
def test_so_does_one_under_early_stopping(kind, whas500):
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


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


class CtrlC(Callback):
    """Ctrl-C is pressed in an epoch, when one of the methods is called."""

    def __init__(self, when, epoch):
        self.when, self.epoch = when, epoch

    def press(self, net, when):
        if when == self.when and len(net.history) >= self.epoch:
            ctrl_c()

    def on_epoch_begin(self, net, **kwargs):
        self.press(net, "epoch begins")

    def on_batch_end(self, net, **kwargs):
        self.press(net, "batch ends")

    def on_epoch_end(self, net, **kwargs):
        self.press(net, "epoch ends")


WHEN = ["epoch begins", "batch ends", "epoch ends"]


def same(model, other, X):
    np.testing.assert_array_equal(predictions(model, X), predictions(other, X))
    return model.n_iter_ == other.n_iter_ == len(model.net_.history)


@both
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "lbfgs"}, {"early_stopping": True}, {"momentum": True}],
    ids=str,
)
def test_ctrl_c_is_raised_when_the_model_can_be_used(kind, when, options, whas500):
    X, y = whas500
    model = small(kind, callbacks=[CtrlC(when, 2)], max_epochs=9, lr=0.01, **options)
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 2"):
        model.fit(X, y)
    assert model.score(X, y) > 0.6
    assert ((survival := model.predict_survival_function(X, return_array=True)) >= 0).all()
    assert (survival <= 1).all()
    assert model.n_iter_ == len(model.net_.history) == 2
    model.set_params(callbacks=None).partial_fit(X, y)
    assert model.score(X, y) > 0.6
    again = pickle.loads(pickle.dumps(model))
    assert same(again, model, X)


@both
def test_the_model_is_that_of_the_epochs_before(kind, whas500):
    model = small(kind, callbacks=[CtrlC("epoch ends", 3)], max_epochs=9, lr_schedule="constant")
    with pytest.raises(KeyboardInterrupt):
        model.fit(*whas500)
    shorter = small(kind, max_epochs=3, lr_schedule="constant").fit(*whas500)
    assert same(model, shorter, whas500[0])


class Pressed(nn.Module):
    """In which somebody raises KeyboardInterrupt, without a signal."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(14, 1)
        self.n_calls = 0

    def forward(self, X):
        self.n_calls += self.training
        if self.n_calls == 15:
            self.n_calls += 1
            raise KeyboardInterrupt
        return self.layer(X)


def test_so_is_a_keyboard_interrupt_that_no_callback_has_raised(whas500):
    X, y = whas500
    model = CoxNNRegressor(module=Pressed, batch_size=50, max_epochs=9, random_state=0)
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch"):
        model.fit(X, y)
    assert 1 <= model.n_iter_ == len(model.net_.history) < 9
    assert np.isfinite(model.predict(X)).all()


class CountFits(Callback):
    """Ctrl-C in the second fit."""

    fits = 0

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 1:
            CountFits.fits += 1
        if CountFits.fits == 2:
            ctrl_c()


def cross_validation(model, X, y):
    cross_val_score(model, X, y, cv=3, error_score=0.0)


def grid(model, X, y):
    GridSearchCV(model, {"alpha": [1, 2]}, cv=2, error_score=0.0).fit(X, y)


@both
@pytest.mark.parametrize("search", [cross_validation, grid], ids=lambda f: f.__name__)
def test_ctrl_c_ends_a_search(kind, search, whas500):
    CountFits.fits = 0
    model = small(kind, callbacks=[CountFits()])
    with pytest.raises(KeyboardInterrupt):
        search(model, *whas500)
    assert CountFits.fits == 2


def test_ctrl_c_ends_a_net_of_ones_own_which_can_be_used(whas500):
    X, y = whas500
    net = SurvivalNet(
        MLP, module__n_features=14, callbacks=[CtrlC("batch ends", 2)], verbose=0, batch_size=100
    )
    with pytest.raises(KeyboardInterrupt, match="interrupted in epoch 2"):
        net.fit(X, y)
    assert np.isfinite(net.predict(X)).all()
    assert not {"_interruption", "train_batches_"} & {*vars(net)}


@both
@pytest.mark.parametrize("when", [None, "epoch ends"])
def test_the_handler_of_the_program_stays(kind, when, whas500):
    def handler(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    try:
        model = small(kind, callbacks=[CtrlC(when, 1)])
        if when is None:
            model.fit(*whas500)
        else:
            with pytest.raises(KeyboardInterrupt):
                model.fit(*whas500)
        assert signal.getsignal(signal.SIGINT) is handler
        signal.signal(signal.SIGINT, lambda number, frame: None)  # a program that does not mind
        assert small(kind, callbacks=[CtrlC("epoch ends", 1)]).fit(*whas500).n_iter_ == 3
    finally:
        signal.signal(signal.SIGINT, before)


@both
def test_a_fit_in_a_thread_has_no_signals(kind, whas500):
    models = []
    thread = threading.Thread(
        target=lambda: models.append(small(kind, callbacks=[StopAfter(2)]).fit(*whas500))
    )
    thread.start()
    thread.join()
    assert models[0].n_iter_ == 2


class Fail(Callback):
    """Raises an error, or is interrupted twice."""

    def __init__(self, method):
        self.method = method

    def fail(self, method):
        if method == self.method:
            raise OSError("as asked")

    def on_train_begin(self, net, **kwargs):
        self.fail("train begins")

    def on_batch_end(self, net, **kwargs):
        self.fail("batch ends")

    def on_epoch_end(self, net, **kwargs):
        self.fail("epoch ends")

    def on_train_end(self, net, **kwargs):
        self.fail("train ends")


@both
@pytest.mark.parametrize("method", ["train begins", "batch ends", "epoch ends", "train ends"])
@pytest.mark.parametrize("options", [{}, {"momentum": True, "dropout": 0.2}], ids=str)
@pytest.mark.parametrize("warm", [True, False], ids=["warm start", "partial fit"])
def test_a_training_that_fails_leaves_the_model_as_it_was(kind, method, options, warm, whas500):
    X, y = whas500
    other = y[:400].copy()
    model, twin = (small(kind, warm_start=warm, lr=0.05, **options).fit(X, y) for _ in range(2))
    model.set_params(callbacks=[Fail(method)])
    train = model.fit if warm else model.partial_fit
    with pytest.raises(OSError, match="as asked"):
        train(X[:400] + 1, other)
    assert same(model, twin, X)
    # It can be trained on as if nothing had been: weights, optimizer, bank, order, and dropout.
    model.set_params(callbacks=None)
    train(X, y)
    twin.fit(X, y) if warm else twin.partial_fit(X, y)
    assert same(model, twin, X)
    history = [net.history[:, "train_loss"] for net in (model.net_, twin.net_)]
    assert history[0] == history[1]


@both
def test_so_does_one_with_data_that_are_refused(kind, whas500):
    X, y = whas500
    model, twin = (small(kind).fit(X, y) for _ in range(2))
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :3], y)
    X = X.copy()
    X[3, 4] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        model.partial_fit(X, y)
    assert same(model, twin, whas500[0])
