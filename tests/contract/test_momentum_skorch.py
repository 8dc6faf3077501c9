"""A pair of networks and a loss with a bank in skorch: plain, as our net, and in the estimators."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from skorch import NeuralNet
from skorch.callbacks import Callback, Checkpoint, EarlyStopping
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn

from sksurvtorch import CoxPHLoss, WeibullAFTLoss, WeibullAFTRegressor
from sksurvtorch.exceptions import NonFiniteLossError, NonFiniteLossWarning
from sksurvtorch.losses import MomentumLoss, MomentumNetwork
from sksurvtorch.metrics import concordance_index_censored
from sksurvtorch.nets import SurvivalNet, survival_target
from tests.contract.momentum_mode import both, small, survival_data, vector

both_nets = pytest.mark.parametrize("kind", [NeuralNet, SurvivalNet])


@pytest.fixture(scope="module")
def data():
    """Of 64 rows: batches of 16 are equal in either net."""
    X, y = survival_data(64)
    return X.astype(np.float32), survival_target(y, index=np.arange(64))


class Small(nn.Module):
    def __init__(self, n_outputs=1):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, n_outputs))

    def forward(self, X):
        return self.layers(X)


def net_of(kind, **options):
    """A net with the pair of networks, not initialised."""
    defaults = {
        "module__backbone": Small,
        "criterion__loss": CoxPHLoss(),
        "criterion__bank_size": 40,
        "optimizer": torch.optim.Adam,
        "lr": 0.02,
        "max_epochs": 3,
        "batch_size": 16,
        "train_split": None,
        "verbose": 0,
    }
    return kind(MomentumNetwork, criterion=MomentumLoss, **{**defaults, **options})


def fitted(net, data):
    torch.manual_seed(0)
    return net.fit(*data)


def bank_of(net):
    bank = net.criterion_.bank
    return {"output": bank.output.tolist(), **{k: v.tolist() for k, v in bank.columns.items()}}


def assert_same(net, other, X):
    """Equal to the bit: predictions, both networks, and the bank."""
    np.testing.assert_array_equal(net.predict(X), other.predict(X))
    assert torch.equal(vector(net.module_), vector(other.module_))
    assert net.module_.n_averaged == other.module_.n_averaged
    assert bank_of(net) == bank_of(other)


def concordance(net, X, y):
    return concordance_index_censored(y["event"], y["time"], net.predict(X)[:, 0])[0]


def outputs(part, X):
    with torch.no_grad():
        return part(torch.from_numpy(X)).numpy()


@both_nets
def test_a_net_predicts_with_the_target(kind, data):
    net = fitted(net_of(kind), data)
    np.testing.assert_array_equal(net.predict(data[0]), outputs(net.module_.target, data[0]))
    assert not np.allclose(net.predict(data[0]), outputs(net.module_.online, data[0]), atol=1e-4)


@both_nets
@pytest.mark.parametrize("indexed", [False, True])
def test_the_validation_loss_is_the_plain_loss_of_the_target(kind, indexed, data):
    X, y = data
    columns = {name: column for name, column in y.items() if indexed or name != "index"}
    split = ValidSplit(4)
    net = net_of(kind, train_split=split, iterator_valid__batch_size=-1)
    net = fitted(net, (X, type(y)(**columns)))
    (_, rows) = next(iter(split.check_cv(None).split(np.arange(64))))
    event, time = (torch.from_numpy(y[name][rows]) for name in ("event", "time"))
    target, online = (
        CoxPHLoss()(torch.from_numpy(outputs(part, X[rows])), event, time).item()
        for part in (net.module_.target, net.module_.online)
    )
    assert net.history[-1, "valid_loss"] == pytest.approx(target, rel=1e-6)
    assert target != pytest.approx(online, rel=1e-4)


@pytest.mark.parametrize("gradient", ["exact", "balanced"])
def test_our_net_trains_as_plain_skorch_to_the_bit(gradient, data):
    ours, theirs = (
        fitted(net_of(kind, criterion__gradient=gradient), data)
        for kind in (SurvivalNet, NeuralNet)
    )
    assert_same(ours, theirs, data[0])
    np.testing.assert_allclose(
        ours.history[:, "train_loss"], theirs.history[:, "train_loss"], rtol=1e-6
    )


class BankIndex(Callback):
    """Keeps who is in the bank after each batch."""

    def on_train_begin(self, net, **kwargs):
        self.seen_ = []

    def on_batch_end(self, net, batch, **kwargs):
        self.seen_.append(
            (batch[1]["index"].tolist(), net.criterion_.bank.columns["index"].tolist())
        )


@both_nets
def test_no_row_is_twice_in_the_bank(kind, data):
    net = net_of(kind, iterator_train__shuffle=True, callbacks=[("who", BankIndex())])
    seen, expected = dict(fitted(net, data).callbacks_)["who"].seen_, []
    assert len(seen) == 12
    for batch, bank in seen:
        expected = ([row for row in expected if row not in batch] + batch)[-40:]
        assert bank == expected


@both_nets
def test_a_net_learns_in_cross_validation(kind, data):
    net = net_of(kind, max_epochs=20, lr=0.05, batch_size=8)
    torch.manual_seed(0)
    result = cross_validate(net, *data, scoring=concordance, cv=KFold(2), error_score="raise")
    assert result["test_score"].min() > 0.7


def spread(net, X, y):
    return net.predict(X).std()


@both_nets
def test_a_search_reaches_bank_and_average(kind, data):
    grid = {"criterion__bank_size": [8, 40], "module__rate": [0.0, 0.5]}
    net = net_of(kind)
    search = GridSearchCV(net, grid, scoring=spread, cv=KFold(2), refit=False, error_score="raise")
    torch.manual_seed(0)
    scores = search.fit(*data).cv_results_["mean_test_score"]
    by_hand = []
    torch.manual_seed(0)
    for given in search.cv_results_["params"]:
        parts = [
            net_of(kind, **given).fit(data[0][train], data[1][train]).predict(data[0][test])
            for train, test in KFold(2).split(data[0])
        ]
        by_hand.append(np.mean([part.std() for part in parts]))
    np.testing.assert_allclose(scores, by_hand, rtol=1e-6)
    assert len(set(scores)) == 4


@both_nets
def test_a_clone_fits_the_same(kind, data):
    net = fitted(net_of(kind, module__rate=0.5, criterion__bank_size=20), data)
    copied = clone(net)
    assert copied.get_params()["module__rate"] == 0.5
    assert copied.get_params()["criterion__bank_size"] == 20
    assert not copied.initialized_
    assert_same(fitted(copied, data), net, data[0])


@both_nets
def test_fit_twice_is_fit_once(kind, data):
    net = net_of(kind)
    once = pickle.loads(pickle.dumps(fitted(net, data)))
    assert_same(fitted(net, data), once, data[0])


@both_nets
def test_a_pickled_net_trains_on_as_the_original(kind, data):
    net = fitted(net_of(kind), data)
    stored = pickle.loads(pickle.dumps(net))
    assert_same(stored, net, data[0])
    assert_same(stored.partial_fit(*data), net.partial_fit(*data), data[0])


@both_nets
def test_saved_parameters_train_on_as_the_original(kind, data, tmp_path):
    net = fitted(net_of(kind), data)
    paths = {name: tmp_path / name for name in ("f_params", "f_criterion", "f_optimizer")}
    net.save_params(**paths)
    loaded = net_of(kind).initialize()
    loaded.load_params(**paths)
    assert_same(loaded, net, data[0])
    assert_same(loaded.partial_fit(*data), net.partial_fit(*data), data[0])


@both_nets
def test_a_checkpoint_resumes_to_the_bit(kind, data, tmp_path):
    checkpoint = Checkpoint(dirname=tmp_path, monitor=None, f_criterion="criterion.pt")
    whole = fitted(net_of(kind, max_epochs=5), data)
    fitted(net_of(kind, max_epochs=2, callbacks=[("save", checkpoint)]), data)
    resumed = net_of(kind, max_epochs=3).initialize()
    resumed.load_params(checkpoint=checkpoint)
    assert_same(resumed.partial_fit(*data), whole, data[0])


@both_nets
def test_early_stopping_restores_the_best_target(kind, data):
    """Judged by skorch on rows that have no number."""
    X, y = data
    plain = {name: column for name, column in y.items() if name != "index"}
    dataset = net_of(kind).initialize().get_dataset if kind is SurvivalNet else Dataset
    valid = dataset(X[48:], type(y)(**plain)[48:])
    stop = EarlyStopping(patience=3, load_best=True)
    net = net_of(kind, lr=0.3, max_epochs=60, train_split=predefined_split(valid))
    net = fitted(net.set_params(callbacks=[("stop", stop)]), (X[:48], type(y)(**plain)[:48]))
    losses = net.history[:, "valid_loss"]
    assert len(losses) < 60
    assert losses[-1] > min(losses)
    rows = (torch.from_numpy(y[name][48:]) for name in ("event", "time"))
    loss = CoxPHLoss()(torch.from_numpy(net.predict(X[48:])), *rows)
    assert loss.item() == pytest.approx(min(losses), rel=1e-6)


LOSSES = {"Weibull": (WeibullAFTLoss, 2, 40), "Cox without a bank": (CoxPHLoss, 1, 0)}


@both_nets
@pytest.mark.parametrize("case", LOSSES)
def test_without_a_bank_the_online_network_is_trained_as_alone(kind, case, data):
    loss, n_outputs, size = LOSSES[case]
    pair = net_of(
        kind, module__backbone=lambda: Small(n_outputs), criterion__loss=loss(),
        criterion__bank_size=size,
    )  # fmt: skip
    options = {k: getattr(pair, k) for k in ("optimizer", "lr", "max_epochs", "batch_size")}
    X, y = data
    plain = type(y)(**{name: column for name, column in y.items() if name != "index"})
    alone = NeuralNet(
        Small, loss, module__n_outputs=n_outputs, train_split=None, verbose=0, **options
    )
    alone, pair = fitted(alone, (X, plain)), fitted(pair, data)
    assert pair.criterion_.bank is None
    assert torch.equal(vector(pair.module_.online), vector(alone.module_))
    assert not torch.equal(vector(pair.module_.target), vector(alone.module_))


def test_compiled_networks_train_the_same(data):
    nets = [
        fitted(net_of(SurvivalNet, compile=compiled, **options), data)
        for compiled, options in ((False, {}), (True, {"compile__backend": "eager"}))
    ]
    plain, compiled = nets
    assert compiled.module_.online._compiled_call_impl is not None
    # Compilation may order sums in another way.
    np.testing.assert_allclose(compiled.predict(data[0]), plain.predict(data[0]), atol=1e-5)
    stored = pickle.loads(pickle.dumps(compiled))
    np.testing.assert_allclose(stored.predict(data[0]), plain.predict(data[0]), atol=1e-5)


@both
def test_a_checkpoint_brings_an_estimator_back(kind, tmp_path):
    X, y = survival_data()
    files = {} if kind is WeibullAFTRegressor else {"f_criterion": "criterion.pt"}
    checkpoint = Checkpoint(dirname=tmp_path, monitor=None, **files)
    model = small(kind, callbacks=[("save", checkpoint)]).fit(X, y)
    other = small(kind, random_state=1, max_epochs=1).fit(X, y)
    assert not np.array_equal(other.predict(X), model.predict(X))
    other.net_.load_params(checkpoint=checkpoint)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    assert other.net_.module_.n_averaged == 24
    if files:
        assert bank_of(other.net_) == bank_of(model.net_)


class Poison(Callback):
    """Puts NaN into a weight of the online network at the start of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            with torch.no_grad():
                next(net.module_.online.parameters()).view(-1)[0] = torch.nan


def poisoned(kind, epoch, **parameters):
    options = {"lr_schedule": "constant", "optimizer": "sgd", **parameters}
    return small(kind, callbacks=[("nan", Poison(epoch))], **options)


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_loss_that_is_nan_stops_with_the_last_good_weights(kind, early_stopping):
    X, y = survival_data()
    options = {"early_stopping": early_stopping}
    with pytest.warns(NonFiniteLossWarning, match="not finite in epoch 3"):
        model = poisoned(kind, 3, max_epochs=6, **options).fit(X, y)
    expected = poisoned(kind, 9, max_epochs=2, **options).fit(X, y)
    assert torch.equal(vector(model.net_.module_), vector(expected.net_.module_))
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


@both
def test_training_can_go_on_after_a_loss_that_was_nan(kind):
    X, y = survival_data()
    with pytest.warns(NonFiniteLossWarning):
        model = poisoned(kind, 3).fit(X, y)
    model.set_params(callbacks=None).partial_fit(X, y)
    assert np.isfinite(model.predict(X)).all()


@both
def test_a_loss_that_is_nan_from_the_start_or_a_huge_rate_is_an_error(kind):
    X, y = survival_data()
    with pytest.raises(NonFiniteLossError, match="not finite in epoch 1"):
        poisoned(kind, 1).fit(X, y)
    with pytest.raises((NonFiniteLossError, NonFiniteLossWarning), match="lower `lr`"):
        small(kind, lr=1e30, optimizer="sgd", lr_schedule="constant").fit(X, y)
