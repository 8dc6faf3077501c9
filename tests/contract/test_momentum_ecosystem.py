"""What scikit-learn, pickle and repeated training do with an estimator in momentum mode."""

from __future__ import annotations

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from tests.contract.momentum_mode import both, small, survival_data, watched
from tests.contract.stored import Rows

# No default among them.
PARAMETERS = {
    "momentum": True,
    "momentum_steps": 3,
    "momentum_rate": 0.5,
    "momentum_warmup": False,
}


@pytest.fixture(scope="module")
def data():
    return survival_data()


def chunks(data):
    """The data in three parts."""
    X, y = data
    return [(X[rows], y[rows]) for rows in np.split(np.arange(60), 3)]


def state(model):
    """All weights, steps and rows of the bank of a fitted model."""
    net = model.net_
    tensors = dict(net.module_.state_dict())
    bank = getattr(net.criterion_, "bank", None)
    if bank is not None:
        tensors |= {"output": bank.output, **bank.columns}
    return {name: tensor.tolist() for name, tensor in tensors.items()}


@both
def test_a_clone_keeps_the_parameters_and_fits_the_same(kind, data):
    model = small(kind, **PARAMETERS).fit(*data)
    copied = clone(model)
    assert {name: copied.get_params()[name] for name in PARAMETERS} == PARAMETERS
    assert not hasattr(copied, "net_")
    assert state(copied.fit(*data)) == state(model)


@both
def test_parameters_that_are_set_are_those_that_are_given(kind, data):
    later = small(kind, momentum=False).set_params(**PARAMETERS)
    assert later.get_params() == small(kind, **PARAMETERS).get_params()
    assert state(later.fit(*data)) == state(small(kind, **PARAMETERS).fit(*data))


@both
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("momentum", False),
        ("momentum_steps", 0),
        ("momentum_rate", 0.3),
        ("momentum_warmup", False),
    ],
)
def test_each_parameter_matters_but_for_the_steps_of_a_weibull_model(kind, name, value, data):
    risk, other = (
        small(kind, **changed).fit(*data).predict(data[0]) for changed in ({}, {name: value})
    )
    has_none = kind is WeibullAFTRegressor and name == "momentum_steps"
    assert np.array_equal(risk, other) == has_none


def spread(model, X, y):
    """A score that any change of a model changes; concordance is made of few numbers."""
    return model.predict(X).std()


@both
def test_a_search_in_a_pipeline_is_cross_validation_of_each_in_any_process(kind, data):
    X, y = data
    step = kind.__name__.lower()
    grid = [
        {f"{step}__momentum": [False, True]},
        {f"{step}__momentum_steps": [0, 2]},
        {f"{step}__momentum_rate": [0.0, 0.9], f"{step}__momentum_warmup": [False, True]},
    ]
    pipeline = make_pipeline(StandardScaler(), small(kind, lr=0.1, max_epochs=2))
    folds = {"cv": KFold(2), "scoring": spread, "error_score": "raise"}
    search = GridSearchCV(pipeline, grid, **folds).fit(X, y)
    by_hand = [
        cross_val_score(clone(pipeline).set_params(**given), X, y, **folds).mean()
        for given in search.cv_results_["params"]
    ]
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_array_equal(scores, by_hand)
    # Warm-up keeps these few steps below either rate, and there is nothing to keep at a rate of 0.
    assert len(set(scores)) == (6 if kind is CoxNNRegressor else 4)
    parallel = clone(search).set_params(n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(parallel.cv_results_["mean_test_score"], scores)
    np.testing.assert_array_equal(parallel.predict(X), search.predict(X))


def _by_pickle(model, path):
    return pickle.loads(pickle.dumps(model))


def _by_joblib(model, path):
    joblib.dump(model, path / "model.joblib")
    return joblib.load(path / "model.joblib")


def _by_deepcopy(model, path):
    return copy.deepcopy(model)


@both
@pytest.mark.parametrize("again", [_by_pickle, _by_joblib, _by_deepcopy])
def test_a_stored_model_predicts_and_trains_on_to_the_bit(kind, again, data, tmp_path):
    model = small(kind, dropout=0.3, norm="batch").fit(*data)
    stored = again(model, tmp_path)
    assert state(stored) == state(model)
    for either in (model, stored):
        either.partial_fit(*data)
    assert state(stored) == state(model)
    for name in ("predict", "predict_median"):
        expected = getattr(model, name)(data[0])
        np.testing.assert_array_equal(getattr(stored, name)(data[0]), expected)


@both
def test_training_a_copy_leaves_the_original_alone(kind, data):
    model = small(kind).fit(*data)
    before = state(model)
    copy.deepcopy(model).partial_fit(*data)
    assert state(model) == before


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_fit_twice_is_fit_once(kind, early_stopping, data):
    options = {"early_stopping": early_stopping, "dropout": 0.3}
    once = state(small(kind, **options).fit(*data))
    twice = small(kind, **options).fit(*chunks(data)[0]).fit(*data)
    assert state(twice) == once
    assert state(small(kind, random_state=1, **options).fit(*data)) != once


@both
@pytest.mark.parametrize("random_state", [None, 0])
def test_the_global_random_states_are_left_alone(kind, random_state, data):
    def random_states():
        name, keys, *rest = np.random.get_state()  # noqa: NPY002
        return name, keys.tolist(), *rest, torch.get_rng_state().tolist()

    before = random_states()
    model = small(kind, random_state=random_state, dropout=0.3, early_stopping=True).fit(*data)
    model.partial_fit(*data).predict(data[0])
    assert random_states() == before


@both
def test_epochs_of_partial_fit_are_those_of_fit_even_with_a_pickle_in_between(kind, data):
    options = {"lr_schedule": "constant", "dropout": 0.3, "norm": "batch"}
    whole = small(kind, max_epochs=3, **options).fit(*data)
    pieces, stored = (small(kind, **options) for _ in range(2))
    for _ in range(3):
        pieces.partial_fit(*data)
        stored = pickle.loads(pickle.dumps(stored)).partial_fit(*data)
    assert state(stored) == state(pieces) == state(whole)


@pytest.mark.parametrize("store", [np.asarray, Rows])
def test_chunks_that_come_again_share_a_bank_with_each_row_once(store, data):
    """Also augmented or shuffled; chunks differ by their times, which are all different."""
    X, y = data
    parts = chunks((X, Surv.from_arrays(np.ones(60, dtype=bool), y["time"])))
    model, sizes = small(CoxNNRegressor), []
    rng = np.random.default_rng(0)
    for X, y in 2 * parts:
        rows = rng.permutation(20)
        X = store(X[rows] + 0.01 * rng.normal(size=X.shape))
        bank = model.partial_fit(X, y[rows]).net_.criterion_.bank
        sizes.append(len(bank))
        for name in ("index", "time"):
            assert len(bank.columns[name].unique()) == len(bank)
    assert sizes == [20, 40, 60, 60, 60, 60]


def test_the_risk_sets_of_a_chunk_span_the_chunks_before(data):
    first, second, _ = chunks(data)
    model = small(CoxNNRegressor).partial_fit(*first)
    other = copy.deepcopy(model)
    bank = other.net_.criterion_.bank
    bank.output += 1e3 * torch.linspace(0, 1, len(bank))[:, None]
    losses = [
        either.partial_fit(*second).net_.history[-1, "train_loss"] for either in (model, other)
    ]
    assert losses[1] > losses[0] + 1


def test_a_chunk_in_one_batch_uses_the_bank(data):
    first, second, _ = chunks(data)
    model = small(CoxNNRegressor, batch_size=None).partial_fit(*first).partial_fit(*second)
    assert len(model.net_.criterion_.bank) == 40


def test_strata_of_different_chunks_have_risk_sets_of_their_own(data):
    model = small(CoxNNRegressor)
    for chunk, label in zip(chunks(data), "abc", strict=True):
        model.partial_fit(*chunk, stratum=np.repeat(label, 20))
    bank = model.net_.criterion_.bank
    assert len(bank.columns["stratum"].unique()) == 3


@both
def test_a_warm_start_goes_on_with_the_average_and_the_bank(kind, data):
    first, second, _ = chunks(data)
    model = small(kind, warm_start=True).fit(*first)
    module, criterion = model.net_.module_, model.net_.criterion_
    watch = watched(model, *second)
    assert model.net_.module_ is module
    assert module.n_averaged == 2 * 3 * 3
    assert model.net_.criterion_ is criterion
    if kind is CoxNNRegressor:
        # 20 rows of the first fit and a batch of the second: 7 rows.
        assert len(watch.bank_[0]) == 27
        assert len(criterion.bank) == 40


@both
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("momentum", True, False),
        ("momentum_steps", 10, 2),
        ("momentum_rate", 0.999, 0.5),
        ("momentum_warmup", True, False),
    ],
)
def test_a_parameter_may_not_change_where_training_goes_on(kind, call, name, old, new, data):
    model = small(kind, warm_start=True).fit(*data).set_params(**{name: new})
    with pytest.raises(ValueError, match=name) as error:
        getattr(model, call)(*data)
    assert str(error.value) == (
        f"`{name}` must stay {old} where the training of a network goes on, got {new}. Fit with "
        "warm_start=False to make a new network."
    )
    model.set_params(warm_start=False).fit(*data)


ERRORS = [
    ("momentum", "yes", TypeError, "`momentum` must be True or False, got 'yes'."),
    ("momentum_steps", -1, ValueError, "`momentum_steps` must be at least 0, got -1."),
    (
        "momentum_steps",
        2.5,
        TypeError,
        "`momentum_steps` must be an integer, got 2.5 of type float.",
    ),
    (
        "momentum_rate",
        1.0,
        ValueError,
        "`momentum_rate` must be at least 0.0 and less than 1.0, got 1.0.",
    ),
    ("momentum_warmup", None, TypeError, "`momentum_warmup` must be True or False, got None."),
    (
        "optimizer",
        "lbfgs",
        ValueError,
        "`momentum` must be False for L-BFGS, got True. It takes all rows at once and ends at an "
        "optimum: there is nothing to average, and no earlier batch.",
    ),
]


@both
@pytest.mark.parametrize(("name", "value", "category", "message"), ERRORS)
def test_an_invalid_parameter_is_refused(kind, name, value, category, message, data):
    with pytest.raises(category) as error:
        small(kind, **{name: value}).fit(*data)
    assert str(error.value) == message


@both
@pytest.mark.parametrize(("name", "value"), [error[:2] for error in ERRORS[1:5]])
def test_and_so_it_is_without_momentum(kind, name, value, data):
    with pytest.raises((TypeError, ValueError), match=f"^`{name}` must be"):
        small(kind, momentum=False, **{name: value}).fit(*data)


def test_the_bank_follows_the_batch_size_of_a_later_training(data):
    model = small(CoxNNRegressor, momentum_steps=3, batch_size=4, warm_start=True).fit(*data)
    for batch_size in (10, 2):
        model.set_params(batch_size=batch_size).fit(*data)
        assert model.net_.criterion_.bank.size == len(model.net_.criterion_.bank) == 3 * batch_size
        assert model.net_.get_params()["criterion__bank_size"] == 3 * batch_size
