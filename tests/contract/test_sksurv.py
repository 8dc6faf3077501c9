"""What scikit-survival asks of an estimator, and does with one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import weibull_min
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.datasets import load_veterans_lung_cancer
from sksurv.functions import StepFunction
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.meta import Stacking
from sksurv.metrics import (
    as_concordance_index_ipcw_scorer,
    as_cumulative_dynamic_auc_scorer,
    as_integrated_brier_score_scorer,
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.preprocessing import OneHotEncoder
from sksurv.testing import assert_chf_properties, assert_survival_function_properties
from sksurv.util import Surv

from sksurvtorch import (
    CoxNNRegressor,
    LogLogisticAFTRegressor,
    LogNormalAFTRegressor,
    WeibullAFTRegressor,
)
from sksurvtorch.estimators import _functions

KINDS = (CoxNNRegressor, WeibullAFTRegressor)
TIMES = np.array([30.0, 60.0, 120.0, 180.0])

both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def patients():
    X, y = load_veterans_lung_cancer()
    return OneHotEncoder().fit_transform(X), y


@pytest.fixture(scope="module", params=(*KINDS, LogNormalAFTRegressor, LogLogisticAFTRegressor))
def fitted(request, patients):
    return request.param(max_epochs=5, random_state=0).fit(*patients)


def small(kind, **parameters):
    """A pipeline that learns something in no time."""
    defaults = {"hidden_layer_sizes": (4,), "n_estimators": 1, "max_epochs": 2, "random_state": 0}
    estimator = kind(**defaults | parameters)
    return Pipeline([("scale", StandardScaler()), ("net", estimator)])


def test_survival_functions_have_the_properties_of_scikit_survival(fitted, patients):
    X, _ = patients
    assert_survival_function_properties(fitted.predict_survival_function(X, return_array=True))


def test_cumulative_hazards_have_the_properties_of_scikit_survival(fitted, patients):
    X, _ = patients
    assert_chf_properties(fitted.predict_cumulative_hazard_function(X, return_array=True))


@pytest.mark.parametrize(
    "method", ["predict_survival_function", "predict_cumulative_hazard_function"]
)
def test_functions_are_step_functions_through_the_array(fitted, patients, method):
    X = patients[0][:9]
    array = getattr(fitted, method)(X, return_array=True)
    functions = getattr(fitted, method)(X)
    times = fitted.unique_times_
    assert functions.shape == (9,)
    assert all(isinstance(function, StepFunction) for function in functions)
    np.testing.assert_array_equal(times, np.unique(patients[1]["Survival_in_days"]))
    np.testing.assert_array_equal([function(times) for function in functions], array)
    np.testing.assert_array_equal([function.y for function in functions], array)
    one_by_one = [[function(time) for time in times[:5]] for function in functions]
    np.testing.assert_array_equal(one_by_one, array[:, :5])


@pytest.mark.parametrize(
    "method", ["predict_survival_function", "predict_cumulative_hazard_function"]
)
def test_values_at_times_asked_for_are_those_of_the_functions(fitted, patients, method):
    X = patients[0][:9]
    times = fitted.unique_times_
    asked = [times[-1], 0.0, times[0] / 2, times[3], times[3], (times[5] + times[6]) / 2]
    array = getattr(fitted, method)(X, times=asked)
    assert array.shape == (9, 6)
    expected = [function(asked) for function in getattr(fitted, method)(X)]
    np.testing.assert_allclose(array, expected, rtol=1e-15)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_arrays_do_not_depend_on_the_pieces_they_are_made_of(fitted, patients, rows, monkeypatch):
    X = patients[0][:9]
    names = ["predict_survival_function", "predict_cumulative_hazard_function"]
    whole = [getattr(fitted, name)(X, return_array=True) for name in names]
    mean = fitted.predict_expectation(X)
    monkeypatch.setattr(_functions, "_PIECE", rows * len(fitted.unique_times_))
    for name, expected in zip(names, whole, strict=True):
        np.testing.assert_array_equal(getattr(fitted, name)(X, return_array=True), expected)
    # A product of matrices may add in another order.
    np.testing.assert_allclose(fitted.predict_expectation(X), mean, rtol=1e-13)


def test_survival_is_exp_of_minus_the_cumulative_hazard(fitted, patients):
    X, _ = patients
    survival = fitted.predict_survival_function(X, return_array=True)
    cumulative_hazard = fitted.predict_cumulative_hazard_function(X, return_array=True)
    np.testing.assert_allclose(survival, np.exp(-cumulative_hazard), rtol=1e-12)


def test_survival_starts_at_one_though_the_earliest_row_is_an_event(fitted, patients):
    X, y = patients
    first = y["Survival_in_days"].argmin()
    assert y["Status"][first]
    for survival, hazard in zip(
        fitted.predict_survival_function(X[:5]),
        fitted.predict_cumulative_hazard_function(X[:5]),
        strict=True,
    ):
        assert survival(0) == 1
        assert hazard(0) == 0
        assert survival(fitted.unique_times_[0]) < 1
        np.testing.assert_array_equal(survival([0, 0]), [1, 1])


def test_cox_survival_is_constant_between_times(patients):
    X, y = patients
    model = CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs").fit(X, y)
    times = model.unique_times_
    middle = (times[1:] + times[:-1]) / 2
    for function in model.predict_survival_function(X[:3]):
        np.testing.assert_array_equal(function(middle), function(times[:-1]))


def test_cox_survival_beyond_the_follow_up_is_refused(patients):
    X, y = patients
    model = CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs").fit(X, y)
    (survival,) = model.predict_survival_function(X[:1])
    with pytest.raises(ValueError, match="must be within"):
        survival(model.unique_times_[-1] + 1)


@pytest.mark.parametrize("shape", ["shared", "per_sample"])
def test_weibull_functions_are_exact_at_any_time(patients, shape):
    X, y = patients
    model = WeibullAFTRegressor(n_estimators=1, shape=shape, max_epochs=2, random_state=0).fit(X, y)
    X = X[:5]
    times = np.array([0.0, 1e-3, 0.5, 17.3, 400.1, 1e4])
    survival = [function(times) for function in model.predict_survival_function(X)]
    hazard = [function(times) for function in model.predict_cumulative_hazard_function(X)]
    scales, shapes = model.predict_params(X)
    exact = [weibull_min(k, scale=s) for s, k in zip(scales, shapes, strict=True)]
    np.testing.assert_allclose(survival, [row.sf(times) for row in exact], rtol=1e-9)
    np.testing.assert_allclose(hazard, [-row.logsf(times) for row in exact], rtol=1e-9)
    assert (np.ptp(shapes) > 0) == (shape == "per_sample")


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_survival_of_a_linear_cox_is_that_of_scikit_survival(patients, ties):
    X, y = patients
    ours = CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs", ties=ties).fit(X, y)
    theirs = CoxPHSurvivalAnalysis(ties=ties, n_iter=100, tol=1e-12).fit(X, y)
    for name in ("predict_survival_function", "predict_cumulative_hazard_function"):
        expected = [function(ours.unique_times_) for function in getattr(theirs, name)(X)]
        actual = getattr(ours, name)(X, return_array=True)
        # The coefficients agree to 1e-5.
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-7)


def test_score_is_the_concordance_of_predict(fitted, patients):
    X, y = patients
    event, time = y["Status"], y["Survival_in_days"]
    risk_score = fitted.predict(X)
    assert fitted.score(X, y) == concordance_index_censored(event, time, risk_score)[0]


def test_predict_is_a_risk(fitted, patients):
    """The higher, the earlier: the median time falls as it rises, and a time would score low."""
    X, y = patients
    assert fitted.score(X, y) > 0.7
    survival = fitted.predict_survival_function(X, return_array=True)
    order = fitted.predict(X).argsort()
    middle = survival[order, survival.shape[1] // 2]
    assert (np.diff(middle) <= 1e-12).all()
    event, time = y["Status"], y["Survival_in_days"]
    assert concordance_index_censored(event, time, fitted.predict_median(X))[0] < 0.5


def test_predict_of_weibull_orders_as_the_median_whatever_the_shape(patients):
    X, y = patients
    model = WeibullAFTRegressor(
        n_estimators=1, shape="per_sample", max_epochs=2, random_state=0
    ).fit(X, y)
    np.testing.assert_array_equal(model.predict(X).argsort(), (-model.predict_median(X)).argsort())


@both
def test_methods_exist_before_fit(kind):
    for estimator in (kind(), make_pipeline(StandardScaler(), kind())):
        for name in (
            "predict",
            "predict_survival_function",
            "predict_cumulative_hazard_function",
            "score",
        ):
            assert callable(getattr(estimator, name))
    for name in ("predict_quantile", "predict_median", "predict_expectation", "partial_fit"):
        assert callable(getattr(kind(), name))


@both
def test_a_pipeline_predicts_functions(kind, patients):
    X, y = patients
    pipeline = small(kind).fit(X, y)
    Z = pipeline["scale"].transform(X)
    for name in ("predict_survival_function", "predict_cumulative_hazard_function"):
        ours = getattr(pipeline, name)(X, return_array=True)
        np.testing.assert_array_equal(ours, getattr(pipeline["net"], name)(Z, return_array=True))
        assert getattr(pipeline, name)(X)[0](50.0) > 0


def ipcw(y_train, y_test, model, X):
    return concordance_index_ipcw(y_train, y_test, model.predict(X), TIMES[-1])[0]


def auc(y_train, y_test, model, X):
    return cumulative_dynamic_auc(y_train, y_test, model.predict(X), TIMES)[1]


def brier(y_train, y_test, model, X):
    survival = [function(TIMES) for function in model.predict_survival_function(X)]
    return -integrated_brier_score(y_train, y_test, np.array(survival), TIMES)


@both
@pytest.mark.parametrize(
    ("wrap", "options", "metric"),
    [
        (as_concordance_index_ipcw_scorer, {"tau": TIMES[-1]}, ipcw),
        (as_cumulative_dynamic_auc_scorer, {"times": TIMES}, auc),
        (as_integrated_brier_score_scorer, {"times": TIMES}, brier),
    ],
)
def test_a_search_around_a_scorer_wrapper_ranks_by_its_metric(
    kind, wrap, options, metric, patients
):
    X, y = patients
    X, time = np.asarray(X, dtype=float), y["Survival_in_days"]
    # The metrics want no test time after the last one of the training.
    y = Surv.from_arrays(y["Status"] & (time <= 300), np.minimum(time, 300))
    folds = KFold(2, shuffle=True, random_state=0)
    # A huge penalty leaves nothing of the risk.
    grid = {"estimator__net__alpha": [1.0, 1e9]}
    search = GridSearchCV(wrap(small(kind), **options), grid, cv=folds, error_score="raise")
    search.fit(X, y)
    for fold, (train, test) in enumerate(folds.split(X)):
        for position, alpha in enumerate(grid["estimator__net__alpha"]):
            model = small(kind, alpha=alpha).fit(X[train], y[train])
            expected = metric(y[train], y[test], model, X[test])
            score = search.cv_results_[f"split{fold}_test_score"][position]
            np.testing.assert_allclose(score, expected, rtol=1e-12)
    assert search.best_params_ == {"estimator__net__alpha": 1.0}
    assert search.predict(X).shape == (len(X),)


def test_stacking_combines_the_risk_scores(patients):
    X, y = patients
    X = np.asarray(X, dtype=float)
    base = [("cox", small(CoxNNRegressor)), ("weibull", small(WeibullAFTRegressor))]
    stack = Stacking(CoxPHSurvivalAnalysis(), base).fit(X, y)
    alone = [model.fit(X, y).predict(X) for _, model in base]
    expected = CoxPHSurvivalAnalysis().fit(np.column_stack(alone), y)
    # Not to the bit: the layout of an array decides how a product with it is summed.
    expected = expected.predict(np.column_stack(alone))
    np.testing.assert_allclose(stack.predict(X), expected, rtol=1e-12)
    event, time = y["Status"], y["Survival_in_days"]
    assert stack.score(X, y) == concordance_index_censored(event, time, stack.predict(X))[0]


@both
def test_the_top_of_a_stack_gives_functions(kind, patients):
    X, y = patients
    base = [("ours", small(CoxNNRegressor)), ("theirs", CoxPHSurvivalAnalysis(alpha=1.0))]
    stack = Stacking(kind(hidden_layer_sizes=(), max_epochs=2), base).fit(X, y)
    survival = stack.predict_survival_function(X, return_array=True)
    assert_survival_function_properties(survival)
    assert survival.shape == (len(X), len(stack.unique_times_))


@both
def test_the_names_of_the_fields_do_not_matter(kind, patients):
    X, y = patients
    other = Surv.from_arrays(*(y[name] for name in y.dtype.names), name_event="a", name_time="b")
    ours, theirs = (
        kind(n_estimators=1, max_epochs=1, random_state=0).fit(X, target) for target in (y, other)
    )
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_a_plain_regressor_is_no_match(patients):
    """The checks above would notice a time in place of a risk."""
    X, y = patients
    time = LinearRegression().fit(X, np.log(y["Survival_in_days"])).predict(X)
    assert concordance_index_censored(y["Status"], y["Survival_in_days"], time)[0] < 0.35
