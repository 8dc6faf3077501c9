"""Displays of models with strata: the stratum of each sample reaches all predictions."""

import inspect

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksurvtorch import CompetingRisksNNRegressor, CoxNNRegressor, WeibullAFTRegressor, displays
from sksurvtorch.displays import (
    CumulativeIncidenceDisplay,
    DCalibrationDisplay,
    IncidenceCalibrationDisplay,
    RiskGroupsDisplay,
    SurvivalCalibrationDisplay,
    SurvivalFunctionDisplay,
)
from tests.unit.displays import patients
from tests.unit.displays.patients import X
from tests.unit.refusals import refuses


def followed_up(y, last=2000):
    """An outcome whose follow-up ends then, for the old and the young."""
    y = y.copy()
    event, time = y.dtype.names
    y[event][y[time] > last] = 0
    y[time] = np.minimum(y[time], last)
    return y


Y, Y_CAUSES = map(followed_up, (patients.Y, patients.Y_CAUSES))
TIME = Y_CAUSES["time"]
# The old have five times as many events in a given time as the young.
AGE = np.where(X["age"] > 72, "old", "young")
FEATURES = X[["bmi", "hr", "sysbp"]]
LATE = TIME > 365
FEW = slice(0, 6)

# What draws each display that predicts curves, of a model of one cause or of several.
OF_ONE = {
    "survival": SurvivalFunctionDisplay.from_estimator,
    "bands": lambda *data, **options: SurvivalFunctionDisplay.from_estimator(
        *data, level=0.9, samples=[0, 1], **options
    ),
    "calibration": lambda *data, **options: SurvivalCalibrationDisplay.from_estimator(
        *data, time=365, **options
    ),
    "d-calibration": DCalibrationDisplay.from_estimator,
}
OF_SEVERAL = {
    "incidence": lambda model, X, y, **options: CumulativeIncidenceDisplay.from_estimator(
        model, X, **options
    ),
    "incidence of groups": IncidenceCalibrationDisplay.from_estimator,
}
of_one = pytest.mark.parametrize("draw", OF_ONE.values(), ids=OF_ONE)
of_several = pytest.mark.parametrize("draw", OF_SEVERAL.values(), ids=OF_SEVERAL)

MISSING = "`stratum` must be given, as in `fit`, got None."
TOO_MUCH = "`stratum` must be left out, as in `fit`, got one."
UNKNOWN = "`stratum` must hold strata of `fit`, got 'x' (500 of 500 rows)."


@pytest.fixture(scope="module")
def stratified():
    model = CoxNNRegressor(n_estimators=5, max_epochs=2, random_state=0)
    return model.fit(FEATURES, Y, stratum=AGE)


@pytest.fixture(scope="module")
def stratified_causes():
    model = CompetingRisksNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs")
    return model.fit(FEATURES, Y_CAUSES, stratum=AGE)


def same_pictures(found, expected):
    """Assert that two displays have drawn the same lines and areas."""
    assert len(found.ax_.lines) == len(expected.ax_.lines)
    for line, wanted in zip(found.ax_.lines, expected.ax_.lines, strict=True):
        np.testing.assert_allclose(line.get_xydata(), wanted.get_xydata(), rtol=1e-12)
    assert len(found.ax_.collections) == len(expected.ax_.collections)
    for area, wanted in zip(found.ax_.collections, expected.ax_.collections, strict=True):
        for path, other in zip(area.get_paths(), wanted.get_paths(), strict=True):
            np.testing.assert_allclose(path.vertices, other.vertices, rtol=1e-12)


@pytest.mark.parametrize("times", [None, [0, 30, 365]])
def test_survival_and_its_bands(stratified, times):
    rows = {"X": FEATURES[FEW], "stratum": AGE[FEW]}
    assert set(AGE[FEW]) == {"old", "young"}
    for level in (None, 0.8):
        found = SurvivalFunctionDisplay.from_estimator(stratified, times=times, level=level, **rows)
        survival = stratified.predict_survival_function(times=found.times, **rows)
        bounds = None
        if level is not None:
            bounds = stratified.predict_survival_interval(level=level, times=found.times, **rows)
            np.testing.assert_array_equal(found.bounds, bounds)
        np.testing.assert_array_equal(found.survival, survival)
        same_pictures(
            found,
            SurvivalFunctionDisplay.from_predictions(
                survival, found.times, bounds=bounds, level=level
            ),
        )


def test_strata_and_a_time_event_free(stratified):
    rows = {"X": FEATURES[LATE], "stratum": AGE[LATE], "conditional_after": 365}
    found = SurvivalFunctionDisplay.from_estimator(stratified, y=Y[LATE], **rows)
    survival = stratified.predict_survival_function(times=found.times, **rows)
    np.testing.assert_array_equal(found.survival, survival)
    expected = SurvivalFunctionDisplay.from_predictions(
        survival, found.times, Y[LATE], entry=np.full(LATE.sum(), 365.0)
    )
    same_pictures(found, expected)
    refuses(
        lambda: SurvivalFunctionDisplay.from_estimator(stratified, level=0.9, **rows),
        ValueError,
        "`level` must be None beside `conditional_after`, got 0.9. There are bands of curves from "
        "time 0 alone.",
    )


def test_calibration(stratified):
    options = {"time": 365, "n_groups": 5, "entry": np.minimum(TIME / 2, 20)}
    found = SurvivalCalibrationDisplay.from_estimator(
        stratified, FEATURES, Y, stratum=AGE, **options
    )
    survival = stratified.predict_survival_function(FEATURES, times=[365], stratum=AGE)[:, 0]
    expected = SurvivalCalibrationDisplay.from_predictions(Y, survival, **options)
    np.testing.assert_array_equal(found.predicted, expected.predicted)
    np.testing.assert_array_equal(found.observed, expected.observed)
    same_pictures(found, expected)


def test_d_calibration(stratified):
    found = DCalibrationDisplay.from_estimator(stratified, FEATURES, Y, n_bins=8, stratum=AGE)
    own = stratified.predict_survival_function(FEATURES, times=TIME[:, None], stratum=AGE)[:, 0]
    expected = DCalibrationDisplay.from_predictions(Y, own, n_bins=8)
    np.testing.assert_allclose(found.result.shares, expected.result.shares, rtol=1e-12)
    # With strata the curves suit the samples far better than with those of others.
    other = np.where(AGE == "old", "young", "old")
    wrong = DCalibrationDisplay.from_estimator(stratified, FEATURES, Y, n_bins=8, stratum=other)
    assert wrong.result.pvalue < 1e-6 < 0.1 < found.result.pvalue


@pytest.mark.parametrize("after", [None, 100])
def test_incidences_of_all_causes(stratified_causes, after):
    rows = {"X": FEATURES[FEW], "stratum": AGE[FEW], "conditional_after": after}
    for times in (None, [200, 800]):
        found = CumulativeIncidenceDisplay.from_estimator(stratified_causes, times=times, **rows)
        incidence = stratified_causes.predict_cumulative_incidence(times=found.times, **rows)
        np.testing.assert_allclose(found.incidence, incidence.mean(axis=0), rtol=1e-12)
        same_pictures(found, CumulativeIncidenceDisplay.from_predictions(incidence, found.times))


def test_incidence_of_one_cause_by_groups(stratified_causes):
    times = [100, 500, 1000]
    found = IncidenceCalibrationDisplay.from_estimator(
        stratified_causes, FEATURES, Y_CAUSES, cause=2, times=times, stratum=AGE
    )
    incidence = stratified_causes.predict_cumulative_incidence(FEATURES, times=times, stratum=AGE)
    expected = IncidenceCalibrationDisplay.from_predictions(
        Y_CAUSES, incidence[:, 1], times, cause=2
    )
    np.testing.assert_array_equal(found.predicted, expected.predicted)
    same_pictures(found, expected)


def test_pipelines_and_searches_pass_strata_on():
    model = CoxNNRegressor(n_estimators=5, max_epochs=1, random_state=0)
    pipeline = make_pipeline(StandardScaler(), model)
    pipeline.fit(FEATURES, Y, coxnnregressor__stratum=AGE)
    search = GridSearchCV(make_pipeline(StandardScaler(), model), {"coxnnregressor__alpha": [0.1]})
    search.set_params(cv=2).fit(FEATURES, Y, coxnnregressor__stratum=AGE)
    for estimator, steps in ((pipeline, pipeline), (search, search.best_estimator_)):
        scaled = steps[:-1].transform(FEATURES)
        options = {"times": [365], "stratum": AGE}
        survival = steps[-1].predict_survival_function(scaled, **options)
        bounds = steps[-1].predict_survival_interval(scaled, 0.7, **options)
        found = SurvivalFunctionDisplay.from_estimator(
            estimator, FEATURES, level=0.7, samples=3, **options
        )
        np.testing.assert_array_equal(found.survival, survival)
        np.testing.assert_array_equal(found.bounds, bounds)
        calibration = SurvivalCalibrationDisplay.from_estimator(
            estimator, FEATURES, Y, time=365, n_groups=1, stratum=AGE
        )
        np.testing.assert_allclose(calibration.predicted, survival.mean(), rtol=1e-12)
        found = DCalibrationDisplay.from_estimator(estimator, FEATURES, Y, stratum=AGE)
        own = steps[-1].predict_survival_function(scaled, times=TIME[:, None], stratum=AGE)
        expected = DCalibrationDisplay.from_predictions(Y, own[:, 0])
        np.testing.assert_allclose(found.result.shares, expected.result.shares, rtol=1e-12)


@of_one
def test_strata_of_one_cause_are_needed_as_in_fit(stratified, draw):
    refuses(lambda: draw(stratified, FEATURES, Y), ValueError, MISSING)
    refuses(lambda: draw(stratified, FEATURES, Y, stratum=np.full(500, "x")), ValueError, UNKNOWN)
    short = "`stratum` must have shape (500,), got (499,)."
    refuses(lambda: draw(stratified, FEATURES, Y, stratum=AGE[1:]), ValueError, short)


@of_several
def test_strata_of_several_causes_are_needed_as_in_fit(stratified_causes, causes, draw):
    refuses(lambda: draw(stratified_causes, FEATURES, Y_CAUSES), ValueError, MISSING)
    refuses(
        lambda: draw(stratified_causes, FEATURES, Y_CAUSES, stratum=np.full(500, "x")),
        ValueError,
        UNKNOWN,
    )
    refuses(lambda: draw(causes, X, Y_CAUSES, stratum=AGE), ValueError, TOO_MUCH)


@of_one
def test_models_without_strata_refuse_them_as_their_predictions_do(cox, stopped, draw):
    plain = CoxNNRegressor(hidden_layer_sizes=(), max_epochs=1, random_state=0).fit(X, Y)
    refuses(lambda: draw(plain, X, Y, stratum=AGE), ValueError, TOO_MUCH)
    assert isinstance(stopped, WeibullAFTRegressor)
    for model in (cox, stopped):  # whose predictions have no such argument
        with pytest.raises(TypeError, match="'stratum'") as own:
            model.predict_survival_function(X, stratum=AGE)
        refuses(lambda model=model: draw(model, X, Y, stratum=AGE), TypeError, str(own.value))


def test_risk_groups_need_no_strata(stratified):
    """Risk scores are those of the features."""
    found = RiskGroupsDisplay.from_estimator(stratified, FEATURES, Y)
    same_pictures(found, RiskGroupsDisplay.from_predictions(Y, stratified.predict(FEATURES)))


def test_every_display_of_predicted_curves_takes_strata():
    found = {
        name: inspect.signature(getattr(displays, name).from_estimator).parameters
        for name in displays.__all__
    }
    without = {name for name, parameters in found.items() if "stratum" not in parameters}
    assert without == {"LossCurveDisplay", "RiskGroupsDisplay"}  # which predict no curves
    for name in found.keys() - without:
        stratum = found[name]["stratum"]
        assert (stratum.kind, stratum.default) == (inspect.Parameter.KEYWORD_ONLY, None)
