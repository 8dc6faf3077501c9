"""Competing risks with scikit-learn and scikit-survival: functions, searches, copies."""

from __future__ import annotations

import copy
import pickle

import joblib
import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.datasets import load_cgvhd
from sksurv.functions import StepFunction
from sksurv.preprocessing import OneHotEncoder

from sksurvtorch import CompetingRisksNNRegressor
from sksurvtorch.metrics import concordance_index_competing_risks
from tests.contract.risk_models import columns_of, either_hazard, linear, risks, small

STEP = "competingrisksnnregressor"


@pytest.fixture(scope="module")
def cgvhd():
    """100 rows: 86 events of cause 1, and 5 of each of two others."""
    X, y = load_cgvhd()
    return OneHotEncoder().fit_transform(X).astype(float), y


@pytest.fixture(scope="module", params=["cause-specific", "subdistribution"])
def fitted(request, cgvhd):
    model = CompetingRisksNNRegressor(max_epochs=3, random_state=0, hazard=request.param)
    return model.fit(*cgvhd)


def everything(model, X):
    """All that a model says of X."""
    incidence = model.predict_cumulative_incidence(X, return_array=True)
    return np.column_stack(
        [
            model.predict(X),
            model.predict_log_hazard_ratio(X),
            model.predict_restricted_mean_time_lost(X),
            incidence.reshape(len(X), -1),
        ]
    )


def test_incidences_are_step_functions_through_the_array(fitted, cgvhd):
    X, y = cgvhd[0][:9], cgvhd[1]
    times = fitted.unique_times_
    np.testing.assert_array_equal(times, np.unique(y["ftime"]))
    array = fitted.predict_cumulative_incidence(X, return_array=True)
    functions = fitted.predict_cumulative_incidence(X)
    assert functions.shape == (9, 3)
    assert all(isinstance(function, StepFunction) for function in functions.flat)
    found = [[function(times) for function in row] for row in functions]
    np.testing.assert_array_equal(found, array)
    middle = (times[1:] + times[:-1]) / 2
    np.testing.assert_array_equal([f(middle) for f in functions[:, 1]], array[:, 1, :-1])
    assert all(function(0.0) == 0 for function in functions.flat)
    with pytest.raises(ValueError, match="must be within"):
        functions[0, 0](times[-1] + 1)
    for cause in (1, 2, 3):
        one = fitted.predict_cumulative_incidence(X, cause=cause)
        assert one.shape == (9,)
        np.testing.assert_array_equal([f(times) for f in one], array[:, cause - 1])
        one = fitted.predict_cumulative_incidence(X, return_array=True, cause=cause)
        np.testing.assert_array_equal(one, array[:, cause - 1])


def test_hazards_and_survival_are_step_functions_through_the_array(fitted, cgvhd):
    X = cgvhd[0][:9]
    calls = [("predict_cumulative_hazard_function", {"cause": cause}, 0.0) for cause in (1, 3)]
    if fitted.hazard == "cause-specific":
        calls.append(("predict_cumulative_hazard_function", {}, 0.0))
        calls.append(("predict_survival_function", {}, 1.0))
    for name, options, start in calls:
        array = getattr(fitted, name)(X, return_array=True, **options)
        functions = getattr(fitted, name)(X, **options)
        assert functions.shape == (9,)
        found = [function(fitted.unique_times_) for function in functions]
        np.testing.assert_array_equal(found, array)
        assert all(function(0.0) == start for function in functions)


def test_values_at_times_asked_for_are_those_of_the_functions(fitted, cgvhd):
    X, times = cgvhd[0][:9], fitted.unique_times_
    asked = [times[-1], 0.0, times[0] / 2, times[3], times[3], (times[5] + times[6]) / 2]
    array = fitted.predict_cumulative_incidence(X, times=asked)
    expected = [[f(asked) for f in row] for row in fitted.predict_cumulative_incidence(X)]
    np.testing.assert_array_equal(array, expected)
    other = np.array(asked, dtype=">f8")  # the other byte order
    np.testing.assert_array_equal(fitted.predict_cumulative_incidence(X, times=other), array)
    options = {"cause": 2}
    functions = fitted.predict_cumulative_hazard_function(X, **options)
    array = fitted.predict_cumulative_hazard_function(X, times=asked, **options)
    np.testing.assert_array_equal(array, [f(asked) for f in functions])


def test_score_is_the_concordance_of_the_cause(cgvhd):
    X, y = cgvhd
    model = linear(alpha=1.0).fit(X, y)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    scores = set()
    for cause in (1, 2, 3):
        model.set_params(cause=cause)
        risk_score = model.predict(X)
        np.testing.assert_array_equal(risk_score, model.predict_log_hazard_ratio(X)[:, cause - 1])
        np.testing.assert_array_equal(model.predict_members(X), risk_score[None])
        expected = concordance_index_competing_risks(y, risk_score, cause=cause)[0]
        assert model.score(X, y) == expected
        weighted = concordance_index_competing_risks(
            y, risk_score, cause=cause, sample_weight=weight
        )[0]
        assert model.score(X, y, weight) == weighted
        scores.add(expected)
    assert len(scores) == 3
    assert model.score(X, y) > 0.75


def test_a_cause_that_is_changed_changes_the_risk_score_alone():
    X, y = risks()
    model = small(n_estimators=5).fit(X, y)
    before = everything(model, X)
    other = small(n_estimators=5, cause=2).fit(X, y)
    model.set_params(cause=2)
    after = everything(model, X)
    np.testing.assert_array_equal(after[:, 1:], before[:, 1:])
    np.testing.assert_array_equal(after[:, 0], before[:, 2])
    # Nothing of the training depends on it.
    np.testing.assert_array_equal(everything(other, X), after)
    np.testing.assert_array_equal(other.predict_members(X), model.predict_members(X))
    expected = concordance_index_competing_risks(y, other.oob_prediction_, cause=2)[0]
    assert other.oob_score_ == expected
    assert other.oob_score_ != model.oob_score_


def test_a_hazard_that_is_changed_counts_from_the_next_fit():
    X, y = risks()
    model = small().fit(X, y)
    before = everything(model, X)
    model.set_params(hazard="subdistribution")
    np.testing.assert_array_equal(everything(model, X), before)
    survival = model.predict_survival_function(X, return_array=True)
    assert survival.shape == (len(X), len(model.unique_times_))
    expected = small(hazard="subdistribution").fit(X, y)
    np.testing.assert_array_equal(everything(model.fit(X, y), X), everything(expected, X))
    with pytest.raises(ValueError, match="`hazard` must be 'cause-specific' for survival"):
        model.predict_survival_function(X)


def test_parameters_are_kept_by_clone_and_set():
    options = {"hazard": "subdistribution", "cause": 2, "n_causes": 3, "optimizer__eps": 1e-6}
    model = small(**options)
    assert options.items() <= clone(model).get_params().items()
    X, y = risks()
    fitted = model.fit(X, y)
    again = clone(fitted)
    assert not hasattr(again, "net_")
    np.testing.assert_array_equal(everything(again.fit(X, y), X), everything(fitted, X))
    assert fitted.n_causes_ == 3


@either_hazard
@pytest.mark.parametrize("n_estimators", [1, 3])
def test_copies_predict_and_train_on_the_same(hazard, n_estimators, tmp_path):
    X, y = risks()
    given = {"stratum": columns_of(y, "stratum")["stratum"]}
    model = small(hazard=hazard, n_estimators=n_estimators).fit(X, y, **given)
    joblib.dump(model, tmp_path / "model.joblib")
    copies = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        joblib.load(tmp_path / "model.joblib"),
        joblib.load(tmp_path / "model.joblib", mmap_mode="r"),
    ]
    expected = model.predict_cumulative_incidence(X, return_array=True, **given)
    lost = model.predict_restricted_mean_time_lost(X, **given)
    model.partial_fit(X, y, **given)
    for other in copies:
        found = other.predict_cumulative_incidence(X, return_array=True, **given)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(other.predict_restricted_mean_time_lost(X, **given), lost)
        assert other.get_params() == model.get_params()
        functions = other.predict_cumulative_incidence(X[:2], stratum=given["stratum"][:2])
        again = pickle.loads(pickle.dumps(functions))
        assert again[1, 1](5.0) == functions[1, 1](5.0)
    for other in copies[:3]:
        other.partial_fit(X, y, **given)
        np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_a_search_in_a_pipeline(cgvhd):
    X, y = cgvhd
    folds = KFold(3)
    pipeline = make_pipeline(StandardScaler(), small(lr=0.05, n_causes=3))
    grid = {f"{STEP}__alpha": [1.0, 1e6], f"{STEP}__hazard": ["cause-specific", "subdistribution"]}
    search = GridSearchCV(pipeline, grid, cv=folds, error_score="raise").fit(X, y)
    for place, params in enumerate(search.cv_results_["params"]):
        for fold, (train, test) in enumerate(folds.split(X)):
            model = clone(pipeline).set_params(**params).fit(X.iloc[train], y[train])
            expected = model.score(X.iloc[test], y[test])
            assert search.cv_results_[f"split{fold}_test_score"][place] == expected
    best = search.best_estimator_
    assert search.score(X, y) == best.score(X, y)
    incidence = best[-1].predict_cumulative_incidence(best[:-1].transform(X), return_array=True)
    assert incidence.shape == (100, 3, len(best[-1].unique_times_))


@pytest.mark.parametrize("n_causes", ["auto", 3])
@either_hazard
def test_a_fold_without_the_rarest_cause(n_causes, hazard):
    """All events of cause 3 are in the test rows of the first fold, then in those it trains on."""
    X, y = risks(150, n_causes=3)
    order = np.argsort(y["status"] != 3, kind="stable")
    X, y = X[order], y[order]
    y["status"][5:][y["status"][5:] == 3] = 0
    folds = KFold(3)
    estimator = small(n_causes=n_causes, hazard=hazard)
    result = cross_validate(estimator, X, y, cv=folds, return_estimator=True, error_score="raise")
    assert np.isfinite(result["test_score"]).all()
    found = [model.n_causes_ for model in result["estimator"]]
    assert found == ([2, 3, 3] if n_causes == "auto" else [3, 3, 3])
    first = result["estimator"][0].predict_cumulative_incidence(X, return_array=True)
    if n_causes == 3:
        assert (first[:, 2] == 0).all()
        assert first[:, :2].max() > 0.1
    else:
        assert first.shape[1] == 2


@pytest.mark.parametrize("name", ["entry", "stratum", "sample_weight"])
def test_metadata_are_routed_through_a_pipeline(name):
    X, y = risks()
    given = columns_of(y, "entry", "stratum", "sample_weight")
    with sklearn.config_context(enable_metadata_routing=True):
        net = small().set_fit_request(**dict.fromkeys(given, False) | {name: True})
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, net).fit(X, y, **{name: given[name]})
    Z = StandardScaler().fit_transform(X)
    routed = pipeline[-1].net_.module_.state_dict()
    expected = small().fit(Z, y, **{name: given[name]}).net_.module_.state_dict()
    plain = small().fit(Z, y).net_.module_.state_dict()
    assert all(torch.equal(routed[key], expected[key]) for key in expected)
    assert not all(torch.equal(routed[key], plain[key]) for key in plain)


def test_metadata_are_split_by_cross_validate():
    X, y = risks()
    given = columns_of(y, "entry", "stratum", "sample_weight")
    folds = KFold(2, shuffle=True, random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        net = small().set_fit_request(**dict.fromkeys(given, True))
        net.set_score_request(sample_weight=True)
        scores = cross_validate(net, X, y, cv=folds, params=given)["test_score"]
    for fold, (train, test) in enumerate(folds.split(X)):
        model = small().fit(X[train], y[train], **{k: v[train] for k, v in given.items()})
        assert scores[fold] == model.score(X[test], y[test], given["sample_weight"][test])
        assert scores[fold] != model.score(X[test], y[test])


def test_names_of_fields_and_types_of_columns_do_not_matter():
    X, y = risks()
    other = np.empty(len(y), dtype=[("cause", np.uint8), ("weeks", np.int32)])
    other["cause"], other["weeks"] = y["status"], y["time"]
    ours, theirs = (small().fit(X, outcome) for outcome in (y, other))
    np.testing.assert_array_equal(everything(ours, X), everything(theirs, X))
    assert theirs.score(X, other) == ours.score(X, y)
    assert theirs.predict_cumulative_incidence(X[:1])[0, 0](3.5) >= 0


def test_methods_exist_before_fit():
    for name in ("predict", "predict_survival_function", "predict_cumulative_hazard_function"):
        assert callable(getattr(make_pipeline(StandardScaler(), small()), name))
