"""The losses as criteria of a plain skorch net, and skorch's features in ours."""

from __future__ import annotations

import builtins
import contextlib
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from skorch import NeuralNet
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import SliceDict, predefined_split
from sksurv.datasets import load_whas500
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR

from sksurvtorch import CoxNNRegressor, CoxPHLoss, WeibullAFTLoss, WeibullAFTRegressor
from sksurvtorch.exceptions import NonFiniteLossError, NonFiniteLossWarning, SkippedBatchWarning
from sksurvtorch.nets import SurvivalNet, survival_target
from sksurvtorch.nets import loader as loader_module
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.loader import BatchLoader

KINDS = (CoxNNRegressor, WeibullAFTRegressor)
LOSSES = (CoxPHLoss, WeibullAFTLoss)

both = pytest.mark.parametrize("kind", KINDS)
both_losses = pytest.mark.parametrize("loss", LOSSES)


@pytest.fixture(scope="module")
def patients():
    """240 rows, standardised, in random order, with years as the unit of time."""
    X, y = load_whas500()
    rows = np.random.default_rng(0).permutation(len(X))[:240]
    X = X.to_numpy(dtype=np.float32)[rows]
    return (X - X.mean(0)) / X.std(0), Surv.from_arrays(y["fstat"], y["lenfol"] / 365.25)[rows]


@pytest.fixture(scope="module")
def images():
    """8 x 8 images; the brighter the blob, wherever it is, the higher the hazard."""
    rng = np.random.default_rng(0)
    n = 240
    brightness = rng.uniform(0, 3, n)
    row, column = rng.integers(1, 7, (2, n))
    y, x = np.mgrid[:8, :8]
    distance = (y - row[:, None, None]) ** 2 + (x - column[:, None, None]) ** 2
    X = 0.1 * rng.normal(size=(n, 8, 8)) + brightness[:, None, None] * np.exp(-distance / 2)
    time = rng.exponential(np.exp(-2 * brightness))
    censoring = rng.exponential(0.3, n)
    target = Surv.from_arrays(time <= censoring, np.minimum(time, censoring))
    return X[:, None].astype(np.float32), target


class Mlp(nn.Module):
    def __init__(self, n_outputs=1, width=8, dropout=0.0):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(14, width), nn.Tanh(), nn.Dropout(dropout), nn.Linear(width, n_outputs)
        )

    def forward(self, X):
        return self.layers(X)


class ImageNet(nn.Module):
    def __init__(self, n_outputs=1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(4, n_outputs),
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


def concordance(net, X, y):
    """The higher the log hazard ratio, or the lower the log scale, the earlier."""
    sign = 1 if isinstance(net.criterion_, CoxPHLoss) else -1
    risk_score = sign * net.predict(X)[:, 0]
    return concordance_index_censored(y["event"], y["time"], risk_score)[0]


def target_columns(y, loss):
    """Entry, stratum (Cox only) and weight."""
    rng = np.random.default_rng(1)
    columns = {"entry": 0.5 * y["time"] * rng.random(len(y)), "weight": rng.uniform(1, 2, len(y))}
    if loss is CoxPHLoss:
        columns["stratum"] = rng.choice(["x", "y"], len(y))
    return columns


@pytest.mark.parametrize("with_", [(), ("entry",), ("weight",), ("stratum",)], ids=str)
def test_a_target_has_what_was_given_and_slices(with_, patients):
    _, y = patients
    columns = {k: v for k, v in target_columns(y, CoxPHLoss).items() if k in with_}
    target = survival_target(y, **columns)
    assert isinstance(target, SliceDict)
    assert set(target) == {"event", "time", *with_}
    assert len(target) == len(y)
    index = np.array([5, 2, 100])
    for rows in (slice(3, 9), index, np.arange(len(y)) % 2 == 0):
        part = target[rows]
        np.testing.assert_array_equal(part["event"], y["event"][rows])
        np.testing.assert_array_equal(part["time"], y["time"][rows])
        for name in set(with_) - {"stratum"}:
            np.testing.assert_array_equal(part[name], columns[name][rows])
    if "stratum" in with_:
        labels = np.unique(columns["stratum"])
        np.testing.assert_array_equal(labels[target["stratum"]], columns["stratum"])


@pytest.mark.parametrize("dtype", [int, np.int8, np.uint64, object])
def test_strata_that_are_integers_keep_their_numbers(dtype):
    """In another part of the data a stratum must not have the number of this one."""
    y = Surv.from_arrays([True, False, True], [1.0, 2.0, 3.0])
    target = survival_target(y, stratum=np.array([7, 3, 7], dtype=dtype))
    assert target["stratum"].tolist() == [7, 3, 7]
    assert target["stratum"].dtype == np.int64
    loss = CoxPHLoss()(torch.zeros(3), **{k: torch.as_tensor(v) for k, v in target.items()})
    assert loss.item() == pytest.approx(np.log(2) / 2)


@both_losses
def test_a_plain_net_learns_with_a_validation_split(loss, patients):
    X, y = patients
    target = survival_target(y)
    net = plain_net(loss, max_epochs=15, train_split=ValidSplit(4)).fit(X, target)
    losses = net.history[:, ("train_loss", "valid_loss")]
    assert np.isfinite(losses).all()
    assert losses[-1][0] < losses[0][0]
    assert concordance(net, X, target) > 0.7


@both_losses
def test_the_loss_of_a_plain_net_is_the_loss_of_its_rows(loss, patients):
    """With entry, weight and stratum: they go through the batches of skorch."""
    X, y = patients
    target = survival_target(y, **target_columns(y, loss))
    net = plain_net(
        loss, lr=0.0, max_epochs=1, batch_size=-1, train_split=None, iterator_train__shuffle=True
    ).fit(X, target)
    output = torch.as_tensor(net.predict(X))
    expected = loss()(output, {k: torch.as_tensor(v) for k, v in target.items()})
    assert net.history[0, "train_loss"] == pytest.approx(expected.item(), rel=1e-6)
    without = loss()(output, *(torch.as_tensor(v) for v in (target["event"], target["time"])))
    assert expected.item() != pytest.approx(without.item(), rel=1e-3)


@both_losses
def test_a_search_around_a_plain_net(loss, patients):
    X, y = patients
    target = survival_target(y)
    # With a learning rate of 0 the net stays at its random start.
    search = GridSearchCV(
        plain_net(loss, train_split=None, max_epochs=8),
        {"lr": [0.0, 0.02]},
        scoring=concordance,
        cv=KFold(2),
        error_score="raise",
    )
    search.fit(X, target)
    assert search.best_params_ == {"lr": 0.02}
    assert search.best_score_ > 0.65
    assert search.score(X, target) == concordance(search.best_estimator_, X, target)


def test_a_search_over_the_options_of_the_criterion(patients):
    X, y = patients
    # Whole years tie.
    target = survival_target(Surv.from_arrays(y["event"], np.ceil(y["time"])))
    search = GridSearchCV(
        plain_net(CoxPHLoss, train_split=None, max_epochs=1, lr=0.0),
        {"criterion__ties": ["efron", "breslow"]},
        scoring=lambda net, X, y: (
            -net.get_loss(net.forward(X), {k: torch.as_tensor(v) for k, v in y.items()}).item()
        ),
        cv=KFold(2),
        error_score="raise",
    )
    efron, breslow = search.fit(X, target).cv_results_["mean_test_score"]
    assert efron > breslow  # its denominators are smaller, and the weights are equal only at lr 0


@both_losses
def test_cross_validation_around_a_net_for_images(loss, images):
    X, y = images
    net = plain_net(loss, module=ImageNet, train_split=None, max_epochs=40, lr=0.05)
    result = cross_validate(
        net, X, survival_target(y), scoring=concordance, cv=KFold(2), error_score="raise"
    )
    assert result["test_score"].min() > 0.75


@both
def test_a_net_for_images_in_an_estimator(kind, images):
    X, y = images
    model = kind(
        module=ImageNet, max_epochs=60, batch_size=60, lr=0.05, alpha=0.0, random_state=0
    ).fit(X[:160], y[:160])
    assert model.score(X[160:], y[160:]) > 0.75


def survival_net(loss, module=Mlp, **options):
    """Our net with the same settings as the plain one."""
    plain = plain_net(loss, module, **options).get_params(deep=False)
    del plain["iterator_train"], plain["iterator_valid"], plain["dataset"]
    own = {k: v for k, v in plain.items() if k not in ("module", "criterion")}
    return SurvivalNet(module, loss, **own)


class BatchLosses(Callback):
    """Keeps the loss of each batch."""

    def on_train_begin(self, net, **kwargs):
        self.losses_ = []

    def on_batch_end(self, net, loss, training, **kwargs):
        if training:
            self.losses_.append(loss.item())


USUAL = {
    "callbacks": None,
    "optimizer": torch.optim.Adam,
    "lr": 0.02,
    "batch_size": 48,
    "max_epochs": 4,
}
# No dropout: torch's own loader draws from the generator that dropout uses.
FEATURES = {
    "none": {},
    "clipping": {"callbacks": [("clip", GradientNormClipping(0.01))]},
    "scheduler": {
        "callbacks": [("rate", LRScheduler(ExponentialLR, gamma=0.9, step_every="batch"))]
    },
    "callback": {"callbacks": [("losses", BatchLosses())]},
    "lbfgs": {
        "optimizer": torch.optim.LBFGS,
        "lr": 0.5,
        "batch_size": -1,
        "max_epochs": 3,
        "optimizer__line_search_fn": "strong_wolfe",
    },
    "momentum": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
}


@both_losses
@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("order", ["any", "by_time"])
def test_weights_are_those_of_plain_skorch_to_the_bit(loss, feature, order, patients):
    """With equal batches in the same order."""
    X, y = (part[:192] for part in patients)
    if order == "by_time":
        rows = y["time"].argsort()[::-1]
        X, y = X[rows], y[rows]
    target = survival_target(y, **target_columns(y, loss))
    options = {"train_split": None, **USUAL, **FEATURES[feature]}
    ours, theirs = (make(loss, **options).fit(X, target) for make in (survival_net, plain_net))
    expected = theirs.module_.state_dict()
    for name, weight in ours.module_.state_dict().items():
        assert torch.equal(weight, expected[name]), name
    if feature == "callback":
        ours, theirs = (dict(net.callbacks_)["losses"].losses_ for net in (ours, theirs))
        assert len(ours) == 16
        np.testing.assert_array_equal(ours, theirs)
    elif feature != "none":
        usual = survival_net(loss, train_split=None, **USUAL).fit(X, target).module_.state_dict()
        assert not torch.equal(usual["layers.0.weight"], expected["layers.0.weight"])


@both_losses
def test_early_stopping_with_a_checkpoint_is_that_of_plain_skorch(loss, patients, tmp_path):
    X, y = patients
    parts = [(X[:192], y[:192]), (X[192:], y[192:])]
    nets = []
    for make in (survival_net, plain_net):
        path = tmp_path / make.__name__
        callbacks = [
            ("stop", EarlyStopping(patience=2)),
            ("best", Checkpoint(dirname=path, load_best=True)),
            ("losses", BatchLosses()),
        ]
        net = make(
            loss, batch_size=48, lr=0.05, max_epochs=60, callbacks=callbacks,
            iterator_valid__batch_size=-1, module__width=32,
        )  # fmt: skip
        dataset = Dataset
        if make is survival_net:
            net.initialize()
            dataset = net.get_dataset
        train, valid = (dataset(X, survival_target(y)) for X, y in parts)
        torch.manual_seed(0)
        net.set_params(train_split=predefined_split(valid))
        nets.append(net.fit(train))
    ours, theirs = nets
    assert len(ours.history) == len(theirs.history) < 60
    # The checkpoint brings back the history too, so that the best epoch is its last.
    best = min(ours.history[:, "valid_loss"])
    assert best == ours.history[-1, "valid_loss"]
    n_batches = [len(dict(net.callbacks_)["losses"].losses_) for net in nets]
    assert n_batches[0] == n_batches[1] > 4 * len(ours.history)
    np.testing.assert_allclose(
        ours.history[:, "valid_loss"], theirs.history[:, "valid_loss"], rtol=1e-6
    )
    expected = theirs.module_.state_dict()
    for name, weight in ours.module_.state_dict().items():
        assert torch.equal(weight, expected[name]), name
    loss_of_best = ours.criterion_(ours.forward(valid_input(parts)), tensors(parts[1][1]))
    assert loss_of_best.item() == pytest.approx(best, rel=1e-6)


def valid_input(parts):
    return torch.as_tensor(parts[1][0])


def tensors(y):
    return {name: torch.as_tensor(column) for name, column in survival_target(y).items()}


def fit(kind, patients, callbacks=None, **parameters):
    """A small estimator of ours, fitted."""
    defaults = {
        "hidden_layer_sizes": (8,),
        "max_epochs": 6,
        "batch_size": 48,
        "lr": 0.01,
        "random_state": 0,
    }
    return kind(callbacks=callbacks, **{**defaults, **parameters}).fit(*patients)


class ValidationRows(Callback):
    """Keeps the validation loss of skorch beside one over all validation rows at once."""

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        net.module_.eval()
        with torch.no_grad():
            whole = net.criterion_(net.module_(dataset_valid.X), dataset_valid.y)
        net.history.record("whole_loss", whole.item())
        net.history.record("n_valid", len(dataset_valid))


@both
def test_the_validation_loss_is_that_of_the_whole_validation_set(kind, patients):
    model = fit(
        kind, patients, [("rows", ValidationRows())], early_stopping=True, batch_size=10,
        max_epochs=3, module=nn.Linear(14, 1),
    )  # fmt: skip
    batches = model.net_.history[:, "valid_batch_count"]
    assert set(batches) == {1}
    assert set(model.net_.history[:, "n_valid"]) == {48}
    np.testing.assert_allclose(
        model.net_.history[:, "valid_loss"], model.net_.history[:, "whole_loss"], rtol=1e-6
    )


@both
def test_early_stopping_restores_the_best_weights(kind, patients):
    X, _ = patients
    model = fit(
        kind, patients, early_stopping=True, lr=0.3, n_iter_no_change=2, max_epochs=40, alpha=0.0
    )
    losses = model.net_.history[:, "valid_loss"]
    assert model.n_iter_ == len(losses) < 40
    assert losses[-1] > min(losses)
    short = fit(
        kind, patients, early_stopping=True, lr=0.3, n_iter_no_change=40, alpha=0.0,
        max_epochs=40,
    )  # fmt: skip
    assert len(short.net_.history) == 40
    best = int(np.argmin(losses)) + 1
    stopped = fit(
        kind, patients, [("stop", StopAfter(best))], early_stopping=True, lr=0.3, alpha=0.0,
        max_epochs=40, n_iter_no_change=40,
    )  # fmt: skip
    np.testing.assert_array_equal(stopped.predict(X), model.predict(X))


class StopAfter(Callback):
    """Presses Ctrl-C at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) >= self.epoch:
            raise KeyboardInterrupt


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
def test_ctrl_c_leaves_a_usable_model(kind, when, epoch, optimizer, patients):
    X, y = patients
    stop = ("stop", when(epoch))
    model = fit(kind, patients, [stop], optimizer=optimizer, lr_schedule="constant")
    assert model.score(X, y) > 0.6
    survival = model.predict_survival_function(X, return_array=True)
    assert ((survival >= 0) & (survival <= 1)).all()
    assert len(model.net_.history) == epoch
    model.set_params(callbacks=None).partial_fit(X, y)
    assert model.score(X, y) > 0.6


@both
def test_ctrl_c_under_early_stopping_leaves_a_usable_model(kind, patients):
    X, y = patients
    model = fit(kind, patients, [("stop", InterruptBatch(2))], early_stopping=True)
    assert model.score(X, y) > 0.6


class Poison(Callback):
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


REMEDY = "Scale the features, lower `lr`, or raise `alpha`."


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_loss_that_is_nan_stops_with_the_last_good_weights(kind, early_stopping, patients):
    X, _ = patients
    options = {"early_stopping": early_stopping, "lr_schedule": "constant"}
    with pytest.warns(NonFiniteLossWarning) as record:
        model = fit(kind, patients, [("nan", Poison(3))], **options)
    assert [str(warning.message) for warning in record] == [
        f"The loss or a weight was not finite in epoch 3. {REMEDY} Training stopped with the "
        "weights of the epoch before."
    ]
    assert model.n_iter_ == 3
    expected = fit(kind, patients, max_epochs=2, **options).predict(X)
    np.testing.assert_array_equal(model.predict(X), expected)
    assert np.isfinite(model.predict_survival_function(X, return_array=True)).all()


@both
def test_a_weight_that_turns_nan_after_the_last_epoch_is_noticed(kind, patients):
    """The loss of that epoch was good, so only the weights tell."""
    with pytest.warns(NonFiniteLossWarning, match="in epoch 6"):
        model = fit(kind, patients, [("nan", PoisonLastBatch())])
    assert np.isfinite(model.predict(patients[0])).all()


class PoisonLastBatch(Callback):
    """Puts NaN into a weight after the last batch of the last epoch."""

    def on_batch_end(self, net, training, **kwargs):
        if training and net.history[-1, "epoch"] == net.max_epochs:
            with torch.no_grad():
                next(net.module_.parameters()).view(-1)[0] = float("nan")


@both
def test_a_loss_that_is_nan_from_the_start_is_an_error(kind, patients):
    with pytest.raises(NonFiniteLossError) as error:
        fit(kind, patients, [("nan", Poison(1))])
    assert str(error.value) == f"The loss or a weight was not finite in epoch 1. {REMEDY}"


@both
def test_a_huge_learning_rate_is_an_error_or_a_warning(kind, patients):
    with pytest.raises((NonFiniteLossError, NonFiniteLossWarning), match="lower `lr`"):
        fit(kind, patients, lr=1e30, optimizer="sgd", lr_schedule="constant")


@both
@pytest.mark.parametrize("good_before", [False, True])
def test_a_model_whose_fit_failed_does_not_predict_nan(kind, good_before, patients):
    X, y = patients
    model = kind(max_epochs=1, random_state=0)
    if good_before:
        model.fit(X, y)
    with pytest.raises(NonFiniteLossError):
        model.set_params(callbacks=[("nan", Poison(1))]).fit(X, y)
    with contextlib.suppress(NotFittedError):
        assert np.isfinite(model.predict(X)).all()


def test_batches_without_events_are_skipped_with_one_warning():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = Surv.from_arrays(np.arange(60) % 20 == 0, rng.exponential(size=60))
    with pytest.warns(SkippedBatchWarning) as record:
        model = CoxNNRegressor(max_epochs=4, batch_size=6, random_state=0).fit(X, y)
    # 3 events in 10 batches, as many as can be in batches of their own.
    assert [str(warning.message) for warning in record] == [
        "Batches without an event were left out of the fit, 28 in all: the Cox partial likelihood "
        "is not defined for them. Use a larger `batch_size`."
    ]
    assert model.net_.history[:, "train_batch_count"] == [3, 3, 3, 3]
    assert np.isfinite(model.predict(X)).all()
    with pytest.warns(SkippedBatchWarning, match="7 in all"):
        model.partial_fit(X, y)


def test_weibull_uses_batches_without_events():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = Surv.from_arrays(np.arange(60) % 20 == 0, rng.exponential(size=60))
    model = WeibullAFTRegressor(max_epochs=2, batch_size=6, random_state=0).fit(X, y)
    assert model.net_.history[:, "train_batch_count"] == [10, 10]


class CountEvents(Callback):
    """Notes events and rows of each training batch."""

    def on_train_begin(self, net, **kwargs):
        self.seen_ = []

    def on_batch_begin(self, net, batch, training, **kwargs):
        X, y = batch
        event = y.event if hasattr(y, "event") else y["event"]
        self.seen_.append((int(event.sum()), len(X)))


@both
@pytest.mark.parametrize("batch_size", [30, 37, 100, 239, None])
def test_events_are_spread_evenly_over_the_batches(kind, batch_size, patients):
    _, y = patients
    model = fit(kind, patients, [("count", CountEvents())], batch_size=batch_size, max_epochs=3)
    seen = np.array(dict(model.net_.callbacks_)["count"].seen_)
    n_batches = len(seen) // 3
    events, rows = seen.reshape(3, n_batches, 2).transpose(2, 0, 1)
    assert (rows.sum(axis=1) == len(y)).all()
    assert (events.sum(axis=1) == y["event"].sum()).all()
    assert rows.max() <= (batch_size or len(y))
    assert np.ptp(rows) <= 1
    # A batch ends between two events: each end may take one more or less.
    assert np.ptp(events) <= 2


def test_each_epoch_has_an_order_of_its_own_and_every_row_once(patients):
    X, y = patients
    net = SurvivalNet(Mlp, batch_size=50).initialize()
    loader = BatchLoader(
        net.get_dataset(X, survival_target(y)), 50, shuffle=True, generator=np.random.default_rng(0)
    )
    first, second = ([batch.numpy() for batch, _ in loader] for _ in range(2))
    for epoch in (first, second):
        rows = np.concatenate(epoch)
        np.testing.assert_array_equal(rows[np.lexsort(rows.T)], X[np.lexsort(X.T)])
    assert not np.array_equal(np.sort(first[0], axis=0), np.sort(second[0], axis=0))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("rows_at_once", [1, 1000, 10**6])
def test_epochs_laid_out_at_once_are_those_drawn_one_by_one(
    patients, rows_at_once, shuffle, monkeypatch
):
    X, y = patients
    net = SurvivalNet(Mlp, batch_size=50).initialize()
    dataset = net.get_dataset(X, survival_target(y))

    def epochs(at_once):
        monkeypatch.setattr(loader_module, "_ROWS_AT_ONCE", at_once)
        generator = np.random.default_rng(0)
        loader = BatchLoader(dataset, 50, shuffle=shuffle, generator=generator)
        for number in range(8):
            if number == 5:
                generator.random()  # someone else draws
            for X, target in loader:
                loss = CoxPHLoss()(X[:, 0], risk_sets=target.risk_sets)
                yield X.numpy(), loss.item(), generator.bit_generator.state

    for one, other in zip(epochs(rows_at_once), epochs(1), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_allclose(one[1], other[1], rtol=1e-6)
        assert one[2] == other[2]


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox, np.random.PCG64])
def test_any_generator_may_draw_the_batches(bits, patients):
    fits = [
        fit(
            CoxNNRegressor,
            patients,
            [],
            max_epochs=4,
            batch_size=50,
            iterator_train__generator=np.random.Generator(bits(0)),
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*(model.predict(patients[0]) for model in fits))


def test_no_more_epochs_are_laid_out_than_were_needed_before(patients, monkeypatch):
    drawn = []
    draw = BatchLoader._draw

    def spy(loader, risk_sets, n_epochs):
        drawn.append(n_epochs)
        return draw(loader, risk_sets, n_epochs)

    monkeypatch.setattr(BatchLoader, "_draw", spy)
    model = fit(CoxNNRegressor, patients, [], max_epochs=9, batch_size=50)
    assert drawn == [1, 1, 2, 4, 8]
    drawn.clear()
    model.partial_fit(*patients)
    assert drawn == [1]


@pytest.mark.parametrize("index", [3, -1, slice(2, 5), [4, 2], np.arange(100) < 7], ids=str)
def test_rows_of_a_dataset_are_indexed_as_a_tensor_is(index):
    X, time = torch.randn(100, 2), torch.arange(100.0)
    dataset = SurvivalDataset(X, {"time": time})
    rows = torch.arange(100)[index] if isinstance(index, slice) else torch.as_tensor(index)
    found = dataset[rows if isinstance(index, slice) else index]
    assert torch.equal(found[0], X[rows])
    assert torch.equal(found[1]["time"], time[rows])


class Pickled(Callback):
    """Keeps the size of the net's pickle."""

    def on_epoch_end(self, net, **kwargs):
        self.size_ = len(pickle.dumps(net))


class Failing(Callback):
    """Fails in the second epoch."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise RuntimeError("as asked")


@both
def test_a_pickle_from_a_training_is_small_and_a_failed_one_leaves_nothing(kind, patients):
    model = fit(kind, patients, [("pickled", Pickled())], max_epochs=6, batch_size=50)
    assert dict(model.net_.callbacks_)["pickled"].size_ < 1_000_000
    model.set_params(warm_start=True, callbacks=[("failing", Failing())])
    model.net_.history.clear()
    with pytest.raises(RuntimeError, match="as asked"):
        model.fit(*patients)
    assert not {"train_batches_", "_squared_weights", "_listeners_of_training"} & {
        *vars(model.net_)
    }


class Frozen(Callback):
    """Puts a part of the network into evaluation mode, as one does with a normalisation."""

    def on_epoch_begin(self, net, **kwargs):
        net.module_[1].eval()

    def on_batch_end(self, net, **kwargs):
        self.modes_ = [part.training for part in net.module_]


def test_a_part_in_evaluation_mode_stays_so_and_prediction_is_in_it_alone(patients):
    X, y = patients
    module = nn.Sequential(nn.Linear(X.shape[1], 4), nn.Dropout(0.5), nn.Linear(4, 1))
    options = {"module": module, "max_epochs": 2, "batch_size": 50, "random_state": 0}
    model = CoxNNRegressor(callbacks=[("frozen", Frozen())], **options).fit(X, y)
    assert dict(model.net_.callbacks_)["frozen"].modes_ == [True, False, True]
    risk = model.predict(X)
    model.net_.module_[1].train()
    np.testing.assert_array_equal(model.predict(X), risk)


class Late(Callback):
    """Adds another callback while the training runs."""

    def __init__(self, other):
        self.other = other

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 3:
            net.callbacks_.append(("count", self.other.initialize()))
            self.other.on_train_begin(net)


@both
def test_a_callback_that_comes_late_is_called(kind, patients):
    model = fit(kind, patients, [("late", Late(CountEvents()))], max_epochs=6, batch_size=None)
    assert len(dict(model.net_.callbacks_)["late"].other.seen_) == 3


@both
def test_a_log_with_a_sink_of_its_own_is_written_though_nothing_is_printed(kind, patients):
    lines = []
    fit(kind, patients, [], max_epochs=3, callbacks__print_log__sink=lines.append)
    assert len(lines) == 5  # with a head of two lines


class Noise(Callback):
    """Writes to the batches, as an augmentation does."""

    def on_batch_begin(self, net, batch=None, **kwargs):
        batch[0].add_(1.0)


@both
@pytest.mark.parametrize("mode", ["memory", "r", "r+"])
@pytest.mark.parametrize("own", [True, False])
def test_a_callback_that_writes_to_batches_leaves_the_data_as_they_are(
    kind, mode, own, patients, tmp_path
):
    X, y = patients
    y = y[np.argsort(y["time"])]  # rows that are taken as they lie
    X = np.ascontiguousarray(X, dtype=np.float32)
    given = X.copy()
    if mode != "memory":
        np.save(tmp_path / "X.npy", X)
        given = np.load(tmp_path / "X.npy", mmap_mode=mode)
    options = {"module": nn.Linear(X.shape[1], 1)} if own else {"hidden_layer_sizes": ()}
    fit(kind, (given, y), [("noise", Noise())], batch_size=None, max_epochs=2, **options)
    np.testing.assert_array_equal(given, X)


@both
@pytest.mark.parametrize("verbose", [0, 2])
def test_a_program_may_replace_print(kind, verbose, patients, monkeypatch):
    """Ray does: what it prints in workers comes through a `print` of its own."""
    lines = []
    monkeypatch.setattr(builtins, "print", lambda *args: lines.append(args))
    # The validation loss would have to fall by 1 in each epoch.
    options = {"early_stopping": True, "n_iter_no_change": 2, "tol": 1.0, "verbose": verbose}
    model = fit(kind, patients, [], max_epochs=9, **options)
    n_epochs = len(model.net_.history)
    assert n_epochs < 9
    # A head of two lines, and the words of early stopping.
    assert len(lines) >= n_epochs + 3 if verbose else not lines
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(patients[0]), model.predict(patients[0]))


@both
def test_weights_of_any_memory_format_are_kept(kind, patients):
    def network():
        convolution = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
        pool = nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(convolution, pool, nn.Flatten(), nn.Linear(3, 1))

    images = np.random.default_rng(0).standard_normal((len(patients[1]), 2, 5, 5))
    model = kind(module=network, max_epochs=2, random_state=0).fit(images, patients[1])
    assert np.isfinite(model.predict(images)).all()


class Known(Callback):
    """Scores the validation set on its own, beside skorch's callbacks."""

    def on_epoch_end(self, net, dataset_valid=None, **kwargs):
        net.history.record("known", squares(net, dataset_valid.X, None))


def squares(net, X, y):
    """A score that needs no target."""
    return float(net.forward(X).square().mean())


@both
@pytest.mark.parametrize(
    "scoring",
    [
        # skorch's cache of an epoch takes no target of several columns, in a plain net neither.
        EpochScoring(squares, name="squares", use_caching=False),
        BatchScoring(squares, name="squares"),
        BatchScoring(squares, name="squares", use_caching=False),
    ],
    ids=["epoch", "batch_cached", "batch"],
)
def test_scoring_callbacks_see_the_validation_set(kind, scoring, patients):
    callbacks = [("known", Known()), ("squares", scoring)]
    # A module of several batches, so that an average over batches would differ.
    options = {"early_stopping": True, "max_epochs": 2, "batch_size": 30}
    history = fit(kind, patients, callbacks, **options).net_.history
    np.testing.assert_allclose(history[:, "squares"], history[:, "known"], rtol=1e-5)


@both
def test_clipping_in_an_estimator_bounds_the_step(kind, patients):
    plain = {"optimizer": "sgd", "lr": 1.0, "lr_schedule": "constant", "max_epochs": 1}
    plain |= {"batch_size": None, "alpha": 0.0, "module": nn.Linear(14, 1)}
    clip = ("clip", GradientNormClipping(1e-3))
    start = fit(kind, patients, **{**plain, "lr": 1e-30})
    steps = []
    for callbacks in (None, [clip]):
        weight = fit(kind, patients, callbacks, **plain).net_.module_.state_dict()
        before = start.net_.module_.state_dict()
        steps.append(sum((weight[k] - before[k]).square().sum() for k in weight).sqrt().item())
    assert steps[0] > 0.01
    assert steps[1] == pytest.approx(1e-3, rel=1e-3)


@both
def test_a_scheduler_in_an_estimator_steps_with_each_batch(kind, patients):
    rate = LRScheduler(ExponentialLR, gamma=0.5, step_every="batch")
    options = {"max_epochs": 2, "lr": 0.08, "lr_schedule": "constant"}
    model = fit(kind, patients, [("rate", rate)], **options)
    # 240 rows in batches of 48: 5 steps an epoch.
    assert model.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0.08 / 2**10)


@both
def test_the_built_in_schedule_ends_at_zero(kind, patients):
    model = fit(kind, patients, max_epochs=3, lr=0.08)
    assert model.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


@both
def test_a_callback_of_the_user_is_copied(kind, patients):
    """It keeps what it has seen, and a search fits many times."""
    given = BatchLosses()
    model = fit(kind, patients, [("losses", given)], max_epochs=1)
    assert not hasattr(given, "losses_")
    assert len(dict(model.net_.callbacks_)["losses"].losses_) == 5


@both
def test_fit_warns_of_nothing_and_prints_nothing(kind, patients, capsys):
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        fit(kind, patients, early_stopping=True)
    assert not record
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@both
def test_verbose_prints_the_losses(kind, patients, capsys):
    fit(kind, patients, verbose=2, max_epochs=2, early_stopping=True)
    out = capsys.readouterr().out
    assert "train_loss" in out
    assert "valid_loss" in out


@both
def test_the_progress_bar_leaves_a_usable_model(kind, patients):
    X, _ = patients
    model = fit(kind, patients, verbose=1, max_epochs=2)
    np.testing.assert_array_equal(model.predict(X), fit(kind, patients, max_epochs=2).predict(X))


@pytest.mark.parametrize("pack", [lambda X: {"X": X}, lambda X: (X, X)], ids=["dict", "tuple"])
def test_a_survival_net_takes_one_input(pack):
    X, y = np.zeros((4, 2), dtype=np.float32), Surv.from_arrays([True] * 4, [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(TypeError, match=r"^X must be one array or tensor, got (dict|tuple)\. For"):
        SurvivalNet(nn.Linear(2, 1), verbose=0).fit(pack(X), y)
