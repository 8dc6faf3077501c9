"""Networks of several inputs: X as a mapping of arrays."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch import NeuralNet
from skorch.callbacks import EpochScoring
from skorch.helper import SliceDict
from sksurv.util import Surv
from torch import nn

from sksurvtorch import (
    CoxPHLoss,
    load,
    save,
)
from sksurvtorch.nets import SurvivalNet, TrainingCheckpoint, survival_target
from tests.contract.small_models import both, both_losses, predictions
from tests.unit.refusals import refuses

N = 90


class Mixed(nn.Module):
    """An image, a table and a code for each sample."""

    def __init__(self, n_outputs=1):
        super().__init__()
        self.image = nn.Conv2d(1, 2, 3)
        self.code = nn.Embedding(5, 2)
        self.head = nn.Linear(2 * 2 * 2 + 3 + 2, n_outputs)

    def forward(self, table, image, code):
        parts = self.image(image).flatten(1), table, self.code(code.long())
        return self.head(torch.cat(parts, 1).tanh())


class Flat(nn.Module):
    """The same network, which takes one array apart itself."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, X):
        image, code, table = X.split([16, 1, 3], dim=1)
        return self.module(image=image.reshape(-1, 1, 4, 4), code=code[:, 0], table=table)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return {
        "image": rng.normal(size=(N, 1, 4, 4)),
        "code": rng.integers(0, 5, N),
        "table": pd.DataFrame(rng.normal(size=(N, 3)), columns=["a", "b", "c"]),
    }


@pytest.fixture(scope="module")
def y(inputs):
    rng = np.random.default_rng(1)
    time = rng.exponential(np.exp(-inputs["table"]["a"].to_numpy()))
    return Surv.from_arrays(rng.random(N) < 0.7, time)


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return Mixed()


def flat(inputs):
    """The inputs in one array, in the order of `Flat`."""
    parts = inputs["image"].reshape(N, 16), inputs["code"][:, None], inputs["table"].to_numpy()
    return np.concatenate(parts, axis=1)


OPTIONS = {
    "batches": {"batch_size": 20},
    "whole": {"batch_size": None},
    "momentum": {"batch_size": 20, "momentum": True},
    "early_stopping": {"early_stopping": True},
    "lbfgs": {"optimizer": "lbfgs", "alpha": 5.0, "max_epochs": 500, "dtype": "float32"},
    "double": {"dtype": "float64"},
}


def new(kind, module, **options):
    return kind(module=module, random_state=0, **{"max_epochs": 3} | options)


@both
@pytest.mark.parametrize("name", OPTIONS)
def test_a_fit_is_that_of_a_network_that_takes_one_array_apart(kind, name, inputs, y, module):
    options = OPTIONS[name]
    model = new(kind, module, **options).fit(inputs, y)
    other = new(kind, Flat(copy.deepcopy(module)), **options).fit(flat(inputs), y)
    wanted = predictions(other, flat(inputs))
    np.testing.assert_array_equal(predictions(model, inputs), wanted)
    in_another_order = {name: inputs[name] for name in sorted(inputs, reverse=True)}
    np.testing.assert_array_equal(predictions(model, in_another_order), wanted)
    assert model.input_shape_ == {"image": (1, 4, 4), "code": (), "table": (3,)}
    weight = np.arange(N) % 3
    assert model.score(inputs, y, weight) == other.score(flat(inputs), y, weight)


@both
def test_copies_and_files_know_the_inputs(kind, inputs, y, module, tmp_path):
    model = new(kind, module).fit(inputs, y)
    wanted = predictions(model, inputs)
    np.testing.assert_array_equal(predictions(pickle.loads(pickle.dumps(model)), inputs), wanted)
    np.testing.assert_array_equal(predictions(clone(model).fit(inputs, y), inputs), wanted)
    save(model, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors", module=Mixed)
    np.testing.assert_array_equal(predictions(loaded, inputs), wanted)
    assert loaded.input_shape_ == model.input_shape_


@both
def test_stored_inputs_stay_where_they_are(kind, inputs, y, module, tmp_path):
    np.save(tmp_path / "image.npy", inputs["image"].astype(np.float32))
    stored = inputs | {"image": np.load(tmp_path / "image.npy", mmap_mode="r")}
    model = new(kind, module, batch_size=20)
    wanted = predictions(model.fit(inputs, y), inputs)
    np.testing.assert_array_equal(predictions(model, stored), wanted)
    np.testing.assert_allclose(predictions(model.fit(stored, y), inputs), wanted, rtol=1e-5)


@both
def test_a_slice_dict_can_be_searched_and_scored(kind, inputs, y, module):
    X = SliceDict(**inputs | {"table": inputs["table"].to_numpy()})
    model = new(kind, module)
    scores = cross_val_score(model, X, y, cv=3)
    assert np.isfinite(scores).all()
    search = GridSearchCV(model, {"alpha": [0.0, 5.0]}, cv=3, error_score="raise").fit(X, y)
    assert search.cv_results_["mean_test_score"][0] == pytest.approx(scores.mean())


@both
def test_a_training_goes_on_after_a_checkpoint(kind, inputs, y, module, tmp_path):
    wanted = new(kind, module, lr_schedule="constant", max_epochs=4).fit(inputs, y)
    checkpoint = [TrainingCheckpoint(tmp_path / "fit.pt")]
    options = {"lr_schedule": "constant", "callbacks": checkpoint}
    new(kind, module, max_epochs=2, **options).fit(inputs, y)
    again = new(kind, module, max_epochs=4, **options).fit(inputs, y)
    np.testing.assert_array_equal(again.predict(inputs), wanted.predict(inputs))


@both
def test_inputs_that_do_not_fit(kind, inputs, y, module):
    def fit(X, module=module):
        return lambda: new(kind, module).fit(X, y)

    refuses(
        fit(inputs, None),
        TypeError,
        "`X` must be one array for the built-in network, got a mapping of 'image', 'code', "
        "'table'. Give a `module` that takes these inputs.",
    )
    refuses(fit({}), ValueError, "The keys of `X` must be arguments of `module`, got [].")
    refuses(
        fit({"a b": inputs["image"]}),
        ValueError,
        "The keys of `X` must be arguments of `module`, got ['a b'].",
    )
    refuses(
        fit(inputs | {"code": inputs["code"][:9]}),
        ValueError,
        "The inputs of `X` must have the same number of rows, got 'image' 90, 'code' 9, "
        "'table' 90.",
    )
    with pytest.raises(ValueError, match=r"^Input table contains NaN\."):
        fit(inputs | {"table": np.full((N, 3), np.nan)})()
    with pytest.raises(ValueError, match=r"^`module` must take X of shape .* 'table'"):
        fit({name: inputs[name] for name in ("image", "code")})()
    model = new(kind, module).fit(inputs, y)
    shapes = "{'image': (1, 4, 4), 'code': (), 'table': (3,)}"
    refuses(
        lambda: model.predict(inputs["image"]),
        ValueError,
        f"A sample of X must have shape {shapes}, as in `fit`, got (1, 4, 4).",
    )
    less = {name: inputs[name] for name in ("image", "code")}
    refuses(
        lambda: model.predict(less),
        ValueError,
        f"A sample of X must have shape {shapes}, as in `fit`, got {{'image': (1, 4, 4), "
        "'code': ()}.",
    )


class Codes(Mixed):
    """Takes codes as they come in a net of skorch: as integers."""

    def forward(self, table, image, code):
        assert code.dtype == torch.int64
        return super().forward(table, image, code)


def as_arrays(inputs):
    return {
        "image": inputs["image"].astype(np.float32),
        "code": inputs["code"],
        "table": inputs["table"].to_numpy(dtype=np.float32),
    }


@both_losses
def test_a_survival_net_takes_what_a_plain_net_takes(loss, inputs, y):
    X, target = as_arrays(inputs), survival_target(y)
    torch.manual_seed(0)
    module = Codes(1 if loss is CoxPHLoss else 2)
    options = {"lr": 0.05, "max_epochs": 4, "verbose": 0, "train_split": None, "batch_size": N}
    plain = NeuralNet(copy.deepcopy(module), loss, **options).fit(X, target)
    net = SurvivalNet(copy.deepcopy(module), loss, **options).fit(X, target)
    wanted = plain.predict(X)
    np.testing.assert_allclose(net.predict(X), wanted, rtol=1e-4, atol=1e-5)
    in_another_order = {name: X[name] for name in sorted(X, reverse=True)}
    np.testing.assert_allclose(net.predict(in_another_order), wanted, rtol=1e-4, atol=1e-5)
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict(X), net.predict(X))


@pytest.mark.parametrize("use_caching", [True, False])
def test_a_survival_net_scores_several_inputs(use_caching, inputs, y):
    seen = []

    def score(net, X, y):
        seen.append(net.predict(X))
        return 0.0

    scoring = EpochScoring(score, on_train=True, use_caching=use_caching)
    net = SurvivalNet(
        Codes(), lr=1e-12, max_epochs=1, callbacks=[scoring], train_split=None, verbose=0
    )
    net.fit(as_arrays(inputs), y)
    (predicted,) = seen
    order = np.sort(net.predict(as_arrays(inputs))[:, 0])
    np.testing.assert_allclose(np.sort(predicted[:, 0]), order, rtol=1e-4, atol=1e-6)


def test_inputs_that_do_not_fit_a_survival_net(inputs, y):
    X = as_arrays(inputs)
    net = SurvivalNet(Codes(), max_epochs=1, train_split=None, verbose=0).fit(X, y)
    shapes = "{'image': (1, 4, 4), 'code': (), 'table': (3,)}"
    refuses(
        lambda: net.predict({"image": X["image"]}),
        ValueError,
        f"The inputs must have the shapes {shapes}, as in `fit`, got {{'image': (1, 4, 4)}}.",
    )
    refuses(
        lambda: net.predict(X["image"]),
        ValueError,
        "X must be a mapping of 'image', 'code', 'table', as in `fit`, got one array of shape "
        "(90, 1, 4, 4).",
    )
    refuses(
        lambda: net.predict(X | {"code": X["code"] + 0.5}),
        TypeError,
        "`code` must be of torch.int64, got torch.float64.",
    )
