"""Fitted models and their functions through pickle, joblib and deepcopy."""

from __future__ import annotations

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from skorch.exceptions import DeviceWarning
from sksurv.util import Surv

from tests.contract.small_models import both, predictions, small


def _by_pickle(model, path):
    return pickle.loads(pickle.dumps(model))


def _by_joblib(model, path):
    joblib.dump(model, path / "model.joblib")
    return joblib.load(path / "model.joblib")


def _by_memory_map(model, path):
    joblib.dump(model, path / "model.joblib")
    return joblib.load(path / "model.joblib", mmap_mode="r")


def _by_deepcopy(model, path):
    return copy.deepcopy(model)


@both
@pytest.mark.parametrize("again", [_by_pickle, _by_joblib, _by_memory_map, _by_deepcopy])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_stored_model_predicts_the_same_to_the_bit(
    kind, again, early_stopping, veterans, tmp_path
):
    X, y = veterans
    model = small(kind, early_stopping=early_stopping, dropout=0.2).fit(X, y)
    stored = again(model, tmp_path)
    np.testing.assert_array_equal(predictions(stored, X), predictions(model, X))
    assert stored.get_params() == model.get_params()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # it is cut short
@both
@pytest.mark.parametrize("again", [_by_pickle, _by_joblib, _by_deepcopy])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs"])
def test_a_stored_model_trains_on_as_the_original(kind, again, optimizer, veterans, tmp_path):
    model = small(kind, dropout=0.2, optimizer=optimizer, lr_schedule="constant").fit(*veterans)
    stored = again(model, tmp_path)
    for either in (model, stored):
        either.partial_fit(*veterans)
    np.testing.assert_array_equal(stored.predict(veterans[0]), model.predict(veterans[0]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@both
def test_a_model_from_a_gpu_predicts_without_one_and_says_what_training_needs(kind, veterans):
    X, y = veterans
    model = kind(n_estimators=1, max_epochs=2, dropout=0.1, random_state=0).fit(X, y)
    risk = model.predict(X)
    gpu = torch.device("cuda")  # as it would have been trained there
    model.device_ = model.net_.device = model.net_.random_stream.device = gpu
    with pytest.warns(DeviceWarning):
        loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict(X), risk)
    with pytest.raises(ValueError, match=r"^`device` must name a device of this machine"):
        loaded.partial_fit(X, y)


@both
def test_a_copy_does_not_share_weights(kind, veterans):
    X, y = veterans
    model = small(kind).fit(X, y)
    before = predictions(model, X)
    copy.deepcopy(model).partial_fit(X, y)
    np.testing.assert_array_equal(predictions(model, X), before)


@both
def test_functions_can_be_stored(kind, veterans):
    X, y = veterans
    functions = small(kind).fit(X, y).predict_survival_function(X[:3])
    for stored, function in zip(pickle.loads(pickle.dumps(functions)), functions, strict=True):
        assert stored(0) == 1
        np.testing.assert_array_equal(stored([1.5, 40, 99.9]), function([1.5, 40, 99.9]))


@both
def test_a_stored_model_holds_no_training_data(kind):
    rng = np.random.default_rng(0)
    sizes = []
    for n in (500, 1000):
        X = rng.normal(size=(n, 20))
        time = np.resize(np.arange(1.0, 9.0), n)
        y = Surv.from_arrays(np.arange(n) % 3 > 0, time)
        model = small(kind, batch_size=None, early_stopping=True).fit(X, y)
        sizes.append(len(pickle.dumps(model)))
    # 500 rows more: less than a byte for each.
    assert abs(sizes[1] - sizes[0]) < 500
