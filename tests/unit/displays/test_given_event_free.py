"""Curves given event-free at a time: from there on, beside the outcome from there on."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.nonparametric import kaplan_meier_estimator

from sksurvtorch import CoxNNRegressor
from sksurvtorch.displays import CumulativeIncidenceDisplay, SurvivalFunctionDisplay
from tests.unit.displays.patients import EVENT, TIME, TRAIN, X, Y
from tests.unit.refusals import refuses

draw = SurvivalFunctionDisplay.from_estimator
draw_causes = CumulativeIncidenceDisplay.from_estimator
LATE = TIME > 365
LAST = TIME[TRAIN].max()


@pytest.fixture(scope="module")
def linear():
    return CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs").fit(X[TRAIN], Y[TRAIN])


def test_survival_from_there_on(linear):
    display = draw(linear, X[:9], conditional_after=365)
    assert (display.times[0], display.times[-1], len(display.times)) == (365, LAST, 501)
    assert display.line_.get_xdata()[0] == 365
    expected = linear.predict_survival_function(X[:9], times=display.times, conditional_after=365)
    np.testing.assert_array_equal(display.survival, expected)
    assert (display.survival[:, 0] == 1).all()
    assert display.kaplan_meier is None


def test_each_sample_has_a_time_of_its_own(linear):
    after = np.arange(100.0, 109.0)
    display = draw(linear, X[:9], conditional_after=after)
    assert display.times[0] == 100
    options = {"times": [50.0, 700.0], "conditional_after": after}
    own = draw(linear, X[:9], **options)
    expected = linear.predict_survival_function(X[:9], **options)
    np.testing.assert_array_equal(own.survival, expected)


def test_the_kaplan_meier_curve_is_that_of_those_at_risk_from_there_on(linear):
    display = draw(linear, X[LATE], Y[LATE], conditional_after=365)
    expected = kaplan_meier_estimator(EVENT[LATE], TIME[LATE], np.full(LATE.sum(), 365.0))
    np.testing.assert_array_equal(display.kaplan_meier[0], expected[0])
    np.testing.assert_allclose(display.kaplan_meier[1], expected[1], rtol=1e-12)
    # Those with times of their own are at risk from these, or from a later entry on.
    number, time = np.arange(LATE.sum()), TIME[LATE]
    after = np.where(number % 2 == 0, 0.8 * time, 20)
    entry = np.where(number % 3 == 0, 0.9 * time, 0)
    display = draw(linear, X[LATE], Y[LATE], conditional_after=after, entry=entry)
    assert (after < entry).any()
    assert (after > entry).any()
    expected = kaplan_meier_estimator(EVENT[LATE], TIME[LATE], np.maximum(entry, after))
    np.testing.assert_allclose(display.kaplan_meier[1], expected[1], rtol=1e-12)


def test_incidences_from_there_on(causes):
    display = draw_causes(causes, X[:9], conditional_after=365)
    assert (display.times[0], display.times[-1], len(display.times)) == (365, LAST, 501)
    options = {"times": display.times, "conditional_after": 365}
    expected = causes.predict_cumulative_incidence(X[:9], **options).mean(0)
    np.testing.assert_allclose(display.incidence, expected, rtol=1e-12)
    assert (display.incidence[:, 0] == 0).all()
    own = draw_causes(causes, X[:9], times=[300, 400, 500], conditional_after=np.full(9, 365.0))
    options["times"] = [300, 400, 500]
    expected = causes.predict_cumulative_incidence(X[:9], **options).mean(0)
    np.testing.assert_array_equal(own.incidence, expected)


def test_a_pipeline_and_a_search_pass_it_on(linear):
    pipeline = make_pipeline(StandardScaler(), linear)
    search = GridSearchCV(pipeline, {"coxnnregressor__alpha": [1.0]}, cv=2).fit(X, Y)
    display = draw(search, X[:3], conditional_after=100)
    model, Z = search.best_estimator_[-1], search.best_estimator_[:-1].transform(X[:3])
    options = {"times": display.times, "conditional_after": 100}
    np.testing.assert_array_equal(display.survival, model.predict_survival_function(Z, **options))


def test_refusals(linear, cox, causes):
    refuses(
        lambda: draw(cox, X, conditional_after=365),
        TypeError,
        "`conditional_after` must be None for a model whose `predict_survival_function` does not "
        "take it, got 365 and CoxPHSurvivalAnalysis. Give predictions of your own to "
        "`from_predictions`.",
    )
    refuses(
        lambda: draw(linear, X[:1], conditional_after=365, level=0.9),
        ValueError,
        "`level` must be None beside `conditional_after`, got 0.9. There are bands of curves from "
        "time 0 alone.",
    )
    refuses(
        lambda: draw(linear, X, Y, conditional_after=365),
        ValueError,
        "`y` must have times after `conditional_after`, when all samples are known to be "
        f"event-free, got {TIME[~LATE][0]} ({(~LATE).sum()} of 500 rows). Leave these rows out.",
    )
    sentence = (
        f"`conditional_after` must be before the last time of the curves, {LAST:g}, got {LAST:g}. "
        "Nothing is left to draw."
    )
    refuses(lambda: draw(linear, X[:1], conditional_after=LAST), ValueError, sentence)
    refuses(lambda: draw_causes(causes, X[:1], conditional_after=LAST), ValueError, sentence)
    with pytest.raises(ValueError, match=r"^`conditional_after` must be within \[0, "):
        draw(linear, X[:1], conditional_after=-1)
