"""Fit, set_params, refit, fail, copy: what was fitted answers until another fit has succeeded."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor, load, save
from sksurvtorch.exceptions import NoEventError, NonFiniteLossError
from tests.contract.small_models import Mlp, both, predictions, small
from tests.contract.test_interrupted_training import FailInSecondEpoch
from tests.contract.test_non_finite_losses import PoisonWeight

CHANGES = {
    "optimizer": {"optimizer": "lbfgs"},
    "dtype": {"dtype": "float64"},
    "module": {"module": Mlp},
    "linear": {"hidden_layer_sizes": ()},
    "wider": {"hidden_layer_sizes": (16,)},
    "momentum": {"momentum": True},
    "alpha": {"alpha": 1.0},
}
STARTS = {
    "deep": {},
    "linear": {"hidden_layer_sizes": ()},
    "double": {"dtype": "float64"},
    "lbfgs": {"hidden_layer_sizes": (), "optimizer": "lbfgs"},
}


@pytest.fixture(scope="module")
def started(whas500):
    """A function that returns a fitted model, which is fitted once."""
    return functools.cache(lambda kind, start: small(kind, **STARTS[start]).fit(*whas500))


@both
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("change", CHANGES)
def test_the_fitted_model_answers_whatever_is_set_for_the_next_fit(
    kind, start, change, started, whas500, tmp_path
):
    X, _ = whas500
    model = started(kind, start)
    model.set_params(**small(kind, **STARTS[start]).get_params())
    wanted, linear = predictions(model, X), hasattr(model, "coef_")
    coefficients = model.coef_ if linear else None
    model.set_params(**CHANGES[change])
    np.testing.assert_array_equal(predictions(model, X), wanted)
    assert hasattr(model, "coef_") == linear
    if linear:
        np.testing.assert_array_equal(model.coef_, coefficients)
    np.testing.assert_array_equal(predictions(pickle.loads(pickle.dumps(model)), X), wanted)
    save(model, tmp_path / "model.safetensors")
    given = {} if change != "module" else {"module": Mlp}
    np.testing.assert_array_equal(
        predictions(load(tmp_path / "model.safetensors", **given), X), wanted
    )


@pytest.mark.parametrize("shape", ["shared", "per_sample"])
def test_a_weibull_model_keeps_the_meaning_of_its_shape(shape, whas500):
    model = small(WeibullAFTRegressor, hidden_layer_sizes=(), shape=shape).fit(*whas500)
    had = hasattr(model, "shape_"), hasattr(model, "coef_"), hasattr(model, "intercept_")
    assert had == (shape == "shared",) * 3
    model.set_params(shape="per_sample" if shape == "shared" else "shared")
    assert (hasattr(model, "shape_"), hasattr(model, "coef_"), hasattr(model, "intercept_")) == had


def test_a_model_of_images_takes_images_whatever_is_set_next():
    X = np.random.default_rng(0).normal(size=(20, 1, 4, 4)).astype(np.float32)
    y = Surv.from_arrays(np.ones(20, dtype=bool), np.arange(1.0, 21))
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    model = CoxNNRegressor(module=module, max_epochs=1).fit(X, y)
    wanted = model.predict(X)
    np.testing.assert_array_equal(model.set_params(module=None).predict(X), wanted)


class WrongWidth(nn.Module):
    """A network whose output has three columns."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(14, 3)

    def forward(self, X):
        return self.layer(X)


FAILURES = {
    "parameter": ({"lr": -1.0}, {}, ValueError),
    "callback": ({"callbacks": [("failing", FailInSecondEpoch())]}, {}, RuntimeError),
    "module": ({"module": WrongWidth, "hidden_layer_sizes": (64, 64)}, {}, ValueError),
    "diverged": ({"callbacks": [("nan", PoisonWeight(1))]}, {}, NonFiniteLossError),
    "censored": ({}, {"event": False}, NoEventError),
    "features": ({}, {"n_features": 3, "event": False}, NoEventError),
    "short": ({}, {"n_rows": 5}, ValueError),
}


@both
@pytest.mark.parametrize("failure", FAILURES)
def test_a_fit_that_fails_leaves_the_model_as_it_was(kind, failure, whas500, tmp_path):
    X, y = whas500
    parameters, data, error = FAILURES[failure]
    new = small(kind, **parameters)
    bad_X, bad_y = X[: data.get("n_rows"), : data.get("n_features")], y.copy()
    if not data.get("event", True):
        bad_y["event"] = False
    with pytest.raises(error):
        new.fit(bad_X, bad_y)
    learned = [name for name in vars(new) if name.endswith("_") and not name.startswith("_")]
    assert learned == []
    model = small(kind).fit(X, y)
    before, wanted = model.get_params(), predictions(model, X)
    attributes = {name: value for name, value in vars(model).items() if name not in before}
    with pytest.raises(error):
        model.set_params(**parameters).fit(bad_X, bad_y)
    left = {name: value for name, value in vars(model).items() if name not in before}
    assert left.keys() == attributes.keys()
    assert all(left[name] is value for name, value in attributes.items())
    np.testing.assert_array_equal(predictions(model, X), wanted)
    model.set_params(**before)
    save(model, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(predictions(load(tmp_path / "model.safetensors"), X), wanted)
