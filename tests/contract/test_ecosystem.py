"""What scikit-learn, joblib and pandas do with an estimator."""

from __future__ import annotations

import copy
import pickle
import time

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.inspection import permutation_importance
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import GradientNormClipping
from skorch.exceptions import DeviceWarning
from sksurv.datasets import load_veterans_lung_cancer
from sksurv.preprocessing import OneHotEncoder
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.nets.rows import MappedRows
from tests.contract.stored import mapped

KINDS = (CoxNNRegressor, WeibullAFTRegressor)
N_COLUMNS = 8

both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def patients():
    X, y = load_veterans_lung_cancer()
    return OneHotEncoder().fit_transform(X).astype(float), y


@pytest.fixture(scope="module")
def columns(patients):
    """Entry, stratum and weight of each row."""
    _, y = patients
    rng = np.random.default_rng(0)
    return {
        "entry": y["Survival_in_days"] * rng.uniform(0, 0.9, len(y)),
        "stratum": rng.choice(["a", "b"], len(y)),
        "sample_weight": rng.uniform(0.5, 2, len(y)),
    }


def small(kind, **parameters):
    defaults = {"hidden_layer_sizes": (8,), "max_epochs": 3, "batch_size": 50, "random_state": 0}
    return kind(**{**defaults, **parameters})


def own_columns(kind, columns):
    """The columns that a kind takes."""
    names = ["entry", "sample_weight"] + ["stratum"] * (kind is CoxNNRegressor)
    return {name: columns[name] for name in names}


def predictions(model, X):
    """All that a model says of X, without strata."""
    return np.column_stack(
        [
            model.predict(X),
            model.predict_median(X),
            model.predict_expectation(X),
            model.predict_survival_function(X, return_array=True),
        ]
    )


class Net(nn.Module):
    def __init__(self, n_outputs=1, width=3):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(N_COLUMNS, width), nn.Tanh(), nn.Linear(width, n_outputs)
        )

    def forward(self, X):
        return self.layers(X)


FURTHER = {
    "module": Net,
    "module__width": 5,
    "optimizer": torch.optim.SGD,
    "optimizer__momentum": 0.5,
    "optimizer__nesterov": True,
    "iterator_train__shuffle": False,
    "callbacks": [("clip", GradientNormClipping)],
    "callbacks__clip__gradient_clip_value": 0.1,
}


@both
def test_clone_keeps_every_parameter(kind):
    plain = kind().get_params()
    model = kind(**FURTHER, dropout=0.3, random_state=7)
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    assert copied.get_params() == {**plain, **FURTHER, "dropout": 0.3, "random_state": 7}
    assert set(kind().get_params()) == set(plain)
    assert clone(kind().set_params(**FURTHER)).get_params() == {**plain, **FURTHER}


@both
def test_a_clone_is_not_fitted_and_fits_the_same(kind, patients):
    model = small(kind, optimizer__weight_decay=0.1).fit(*patients)
    copied = clone(model)
    assert not hasattr(copied, "net_")
    copied.fit(*patients)
    np.testing.assert_array_equal(predictions(copied, patients[0]), predictions(model, patients[0]))


@both
@pytest.mark.parametrize(
    "changed",
    [
        {"module__width": 2},
        {"optimizer__momentum": 0.9},
        {"iterator_train__shuffle": False},
        {"callbacks__clip__gradient_clip_value": 0.01},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_each_prefixed_parameter_reaches_its_part(kind, changed, patients):
    common = {**FURTHER, "max_epochs": 2, "batch_size": 50, "random_state": 0, "lr": 0.1}
    del common["iterator_train__shuffle"]  # on by default
    model = kind(**common).fit(*patients)
    other = kind(**{**common, **changed}).fit(*patients)
    assert not np.array_equal(model.predict(patients[0]), other.predict(patients[0]))


@both
def test_repr_and_parameters_survive_the_constructor(kind):
    model = kind(alpha=3.0, module__width=4)
    assert "alpha=3.0" in repr(model)
    assert model.get_params()["module__width"] == 4
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(hiden_layer_sizes=(3,))


@both
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("hidden_layer_sizes", [(), (4,)]),
        ("alpha", [0.1, 100.0]),
        ("optimizer__weight_decay", [0.0, 10.0]),
    ],
)
def test_a_search_in_a_pipeline_reaches_each_parameter(kind, name, values, patients):
    X, y = (part[::2] for part in patients)
    pipeline = make_pipeline(StandardScaler(), small(kind, lr=0.05))
    step = kind.__name__.lower()
    search = GridSearchCV(pipeline, {f"{step}__{name}": values}, cv=KFold(2), error_score="raise")
    search.fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    by_hand = [
        cross_val_score(
            make_pipeline(StandardScaler(), small(kind, **{"lr": 0.05, name: value})),
            X,
            y,
            cv=KFold(2),
        ).mean()
        for value in values
    ]
    np.testing.assert_array_equal(scores, by_hand)
    np.testing.assert_array_equal(
        search.best_estimator_[-1].get_params()[name], values[np.argmax(scores)]
    )
    assert search.score(X, y) == search.best_estimator_.score(X, y)


@both
def test_cross_validation_scores_each_fold_by_concordance(kind, patients):
    X, y = patients
    X = X.to_numpy()
    folds = KFold(3, shuffle=True, random_state=0)
    result = cross_validate(
        small(kind), X, y, cv=folds, return_estimator=True, return_train_score=True
    )
    for fold, (train, test) in enumerate(folds.split(X)):
        model = small(kind).fit(X[train], y[train])
        assert result["test_score"][fold] == model.score(X[test], y[test])
        assert result["train_score"][fold] == model.score(X[train], y[train])
    predicted = cross_val_predict(small(kind), X, y, cv=folds)
    np.testing.assert_array_equal(predicted[test], model.predict(X[test]))


def _fit_and_predict(model, X, y):
    return predictions(model.fit(X, y), X)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_parallel_fits_are_sequential_fits_to_the_bit(backend, patients):
    """With dropout, whose random numbers torch draws from one generator per process."""
    X, y = patients
    models = [
        small(kind, dropout=0.4, norm="batch", random_state=seed, max_epochs=4)
        for kind in KINDS
        for seed in range(3)
    ]
    jobs = [joblib.delayed(_fit_and_predict)(clone(model), X, y) for model in models]
    alone = [function(*args, **kwargs) for function, args, kwargs in jobs]
    together = joblib.Parallel(n_jobs=2, backend=backend)(jobs)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, other)


class Slow(nn.Module):
    """Lets other threads run between one random number and the next."""

    def __init__(self, n_outputs=1):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(N_COLUMNS, n_outputs)

    def forward(self, X):
        for _ in range(3):
            X = self.drop(X)
            time.sleep(1e-4)
        return self.last(X)


@both
def test_dropout_of_one_fit_is_not_touched_by_another_thread(kind, patients):
    X, y = patients
    jobs = [
        joblib.delayed(_fit_and_predict)(small(kind, module=Slow, random_state=seed), X, y)
        for seed in range(4)
    ]
    alone = [function(*args, **kwargs) for function, args, kwargs in jobs]
    together = joblib.Parallel(n_jobs=4, backend="threading")(jobs)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_parallel_search_is_the_sequential_one_to_the_bit(backend, patients):
    X, y = patients
    grid = {"dropout": [0.0, 0.5]}
    search = GridSearchCV(small(CoxNNRegressor), grid, cv=KFold(2), error_score="raise")
    expected = search.fit(X, y)
    with joblib.parallel_backend(backend, n_jobs=2):
        parallel = clone(search).set_params(n_jobs=2).fit(X, y)
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(parallel.cv_results_[name], expected.cv_results_[name])
    np.testing.assert_array_equal(parallel.predict(X), expected.predict(X))


@both
def test_permutation_importance_finds_the_feature_that_matters(kind, patients):
    X, y = patients
    model = small(kind, max_epochs=10).fit(X, y)
    importance = permutation_importance(model, X, y, n_repeats=3, random_state=0)
    assert X.columns[importance.importances_mean.argmax()] == "Karnofsky_score"


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
    kind, again, early_stopping, patients, tmp_path
):
    X, y = patients
    model = small(kind, early_stopping=early_stopping, dropout=0.2).fit(X, y)
    stored = again(model, tmp_path)
    np.testing.assert_array_equal(predictions(stored, X), predictions(model, X))
    assert stored.get_params() == model.get_params()


@both
def test_a_stored_model_trains_on_as_the_original(kind, patients):
    model = small(kind, dropout=0.2).fit(*patients)
    stored = pickle.loads(pickle.dumps(model))
    for either in (model, stored):
        either.partial_fit(*patients)
    np.testing.assert_array_equal(stored.predict(patients[0]), model.predict(patients[0]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@both
def test_a_model_from_a_gpu_predicts_without_one_and_says_what_training_needs(kind, patients):
    X, y = patients
    model = kind(max_epochs=2, dropout=0.1, random_state=0).fit(X, y)
    risk = model.predict(X)
    gpu = torch.device("cuda")  # as it would have been trained there
    model.device_ = model.net_.device = model.net_.random_stream.device = gpu
    with pytest.warns(DeviceWarning):
        loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict(X), risk)
    with pytest.raises(ValueError, match=r"^`device` must name a device of this machine"):
        loaded.partial_fit(X, y)


@both
def test_a_copy_does_not_share_weights(kind, patients):
    X, y = patients
    model = small(kind).fit(X, y)
    before = predictions(model, X)
    copy.deepcopy(model).partial_fit(X, y)
    np.testing.assert_array_equal(predictions(model, X), before)


@both
def test_functions_can_be_stored(kind, patients):
    X, y = patients
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


@both
def test_pandas_goes_through_a_pipeline_with_its_names(kind, patients):
    X, y = patients
    pipeline = make_pipeline(StandardScaler(), small(kind)).set_output(transform="pandas")
    pipeline.fit(X, y)
    np.testing.assert_array_equal(pipeline[-1].feature_names_in_, X.columns)
    assert pipeline[-1].n_features_in_ == X.shape[1]
    by_array = make_pipeline(StandardScaler(), small(kind)).fit(X.to_numpy(), y)
    np.testing.assert_array_equal(pipeline.predict(X), by_array.predict(X.to_numpy()))
    assert not hasattr(by_array[-1], "feature_names_in_")


@both
def test_columns_in_another_order_are_refused(kind, patients):
    X, y = patients
    model = small(kind).fit(X, y)
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        model.predict(X[X.columns[::-1]])
    with pytest.raises(ValueError, match="Feature names unseen at fit time"):
        model.predict(X.rename(columns={X.columns[0]: "other"}))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(X.to_numpy())


@both
def test_a_frame_with_its_own_index_gives_rows_by_position(kind, patients):
    X, y = patients
    shuffled = X.set_axis(np.random.default_rng(0).permutation(len(X)))
    weight = pd.Series(np.linspace(0.5, 2, len(X)), index=X.index[::-1])
    ours = small(kind).fit(shuffled, y, sample_weight=weight)
    expected = small(kind).fit(X, y, sample_weight=weight.to_numpy())
    np.testing.assert_array_equal(ours.predict(X), expected.predict(X))


@pytest.fixture
def each_warning():
    """torch warns of some things once in a process only."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@both
@pytest.mark.usefixtures("each_warning")
def test_read_only_data_are_fine(kind, patients, columns):
    """As joblib hands large arrays to its processes."""

    def locked(array):
        array = np.array(array)
        array.flags.writeable = False
        return array

    X, y = map(locked, patients)
    given = own_columns(kind, columns)
    ours = small(kind, dtype="float64").fit(X, y, **{k: locked(v) for k, v in given.items()})
    expected = small(kind, dtype="float64").fit(*map(np.array, patients), **given)
    np.testing.assert_array_equal(ours.predict(X), expected.predict(np.array(X)))
    assert ours.score(X, y, locked(given["sample_weight"])) > 0.5


@both
def test_a_memory_map_is_used_as_it_is(kind, patients, tmp_path, monkeypatch):
    X, y = patients
    X = mapped(X.to_numpy(dtype="float32"), tmp_path)
    sizes = []
    read = MappedRows.read

    def spy(rows, batches, *args):
        assert rows.array is X
        for batch in read(rows, batches, *args):
            sizes.append(len(batch))
            yield batch

    monkeypatch.setattr(MappedRows, "read", spy)
    options = {"hidden_layer_sizes": (4,), "max_epochs": 3, "batch_size": 40, "random_state": 0}
    model = kind(**options).fit(X, y)
    assert sizes.count(137) > 3  # in each epoch, and for the output of all rows
    in_memory = kind(**options).fit(np.array(X), y)
    np.testing.assert_allclose(model.predict(X), in_memory.predict(X), rtol=1e-4, atol=1e-5)
    assert np.std(in_memory.predict(X)) > 0.5


@both
@pytest.mark.parametrize("options", [{"batch_size": 40}, {"early_stopping": True}], ids=str)
def test_it_does_not_matter_whether_x_is_a_memory_map(kind, options, patients, tmp_path):
    """As joblib makes of large arrays that it hands to its processes."""
    X, y = patients
    X = mapped(X.to_numpy(dtype="float64"), tmp_path)
    options |= {"hidden_layer_sizes": (4,), "max_epochs": 5, "dtype": "float64", "random_state": 0}
    models = [kind(**options).fit(x, y) for x in (X, np.array(X))]
    one, other = (model.predict(np.array(X)) for model in models)
    np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


@both
def test_a_linear_model_of_a_memory_map_is_that_of_the_array(kind, patients, tmp_path):
    X, y = patients
    X = mapped(X.to_numpy(dtype="float32"), tmp_path)
    linear = {"hidden_layer_sizes": (), "optimizer": "lbfgs"}
    coefficients = [kind(**linear).fit(x, y).coef_ for x in (X, np.array(X, dtype=float))]
    assert coefficients[0].dtype == np.float64
    np.testing.assert_allclose(*coefficients, rtol=1e-6, atol=1e-8)


@both
def test_fit_leaves_its_input_as_it_was(kind, patients, columns):
    X, y = patients
    given = {"X": X.to_numpy(), "y": y, **own_columns(kind, columns)}
    before = copy.deepcopy(given)
    model = small(kind, dtype="float64").fit(**given)
    model.predict_survival_function(
        given["X"][:3], **({"stratum": given["stratum"][:3]} if "stratum" in given else {})
    )
    for name, value in given.items():
        np.testing.assert_array_equal(value, before[name])


@both
@pytest.mark.parametrize("name", ["entry", "stratum", "sample_weight"])
def test_metadata_are_routed_through_a_pipeline(kind, name, patients, columns):
    X, y = patients
    given = own_columns(kind, columns)
    if name not in given:
        assert not hasattr(kind.fit, name)
        return
    with sklearn.config_context(enable_metadata_routing=True):
        request = dict.fromkeys(given, False) | {name: True}
        net = small(kind).set_fit_request(**request)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), net).fit(
            X, y, **{name: given[name]}
        )
    Z = StandardScaler().fit_transform(X)
    routed = pipeline[-1].net_.module_.state_dict()
    expected = small(kind).fit(Z, y, **{name: given[name]}).net_.module_.state_dict()
    plain = small(kind).fit(Z, y).net_.module_.state_dict()
    assert all(torch.equal(routed[key], expected[key]) for key in expected)
    assert not all(torch.equal(routed[key], plain[key]) for key in plain)


@both
def test_metadata_are_routed_and_split_by_cross_validate(kind, patients, columns):
    X, y = patients
    X = X.to_numpy()
    given = own_columns(kind, columns)
    folds = KFold(2, shuffle=True, random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        net = small(kind).set_fit_request(**dict.fromkeys(given, True))
        net.set_score_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), net)
        scores = cross_validate(pipeline, X, y, cv=folds, params=given)["test_score"]
        search = GridSearchCV(
            pipeline, {f"{kind.__name__.lower()}__lr": [1e-3]}, cv=folds, error_score="raise"
        ).fit(X, y, **given)
    for fold, (train, test) in enumerate(folds.split(X)):
        scaler = StandardScaler().fit(X[train])
        model = small(kind).fit(
            scaler.transform(X[train]), y[train], **{k: v[train] for k, v in given.items()}
        )
        weight = given["sample_weight"][test]
        expected = model.score(scaler.transform(X[test]), y[test], weight)
        assert scores[fold] == expected
        assert search.cv_results_[f"split{fold}_test_score"][0] == expected
        assert expected != model.score(scaler.transform(X[test]), y[test])


@both
def test_one_seed_is_one_model_and_two_are_two(kind, patients):
    X, y = patients
    one, same, other = (
        predictions(small(kind, random_state=seed, dropout=0.2).fit(X, y), X) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    unseeded = [small(kind, random_state=None).fit(X, y).predict(X) for _ in range(2)]
    assert not np.array_equal(*unseeded)


@both
def test_a_random_state_instance_goes_on(kind, patients):
    X, y = patients
    rng = np.random.RandomState(0)
    first, second = (small(kind, random_state=rng).fit(X, y).predict(X) for _ in range(2))
    assert not np.array_equal(first, second)
    again = small(kind, random_state=np.random.RandomState(0)).fit(X, y).predict(X)
    np.testing.assert_array_equal(again, first)


@both
@pytest.mark.parametrize("random_state", [None, 0])
@pytest.mark.parametrize("module", [None, Net, nn.LazyLinear(1)], ids=str)
def test_the_global_random_state_is_left_alone(kind, random_state, module, patients):
    X, y = patients

    def state():
        name, keys, *rest = np.random.get_state()  # noqa: NPY002
        return name, keys.tolist(), *rest, torch.get_rng_state().tolist()

    before = state()
    model = small(
        kind, random_state=random_state, dropout=0.3, early_stopping=True, module=module
    ).fit(X, y)
    model.partial_fit(X, y)
    model.predict_survival_function(X)
    model.predict_quantile(X, [0.2, 0.5])
    assert state() == before


@both
def test_the_global_random_state_does_not_matter(kind, patients):
    X, y = patients
    models = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        models.append(small(kind, dropout=0.3, early_stopping=True).fit(X, y).predict(X))
    np.testing.assert_array_equal(*models)
