"""What accelerated failure time models predict, whatever their distribution."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.stats import fisk, lognorm, weibull_min
from sksurv.util import Surv

from sksurvtorch import LogLogisticAFTRegressor, LogNormalAFTRegressor, WeibullAFTRegressor
from tests.contract.aft_models import AFT_KINDS, every, inspected, small

TIMES = np.array([0.0, 0.3, 1.0, 2.5, 40.0])


@pytest.fixture(scope="module")
def data():
    X, y = inspected()
    upper = np.where(np.isfinite(y["upper"]), y["upper"], y["lower"])
    return X, Surv.from_arrays(np.isfinite(y["upper"]), upper)


@pytest.fixture(scope="module", params=AFT_KINDS, ids=lambda kind: kind.__name__)
def model(request, data):
    """Five networks with a shape for each sample."""
    return small(request.param, n_estimators=5, shape="per_sample").fit(*data)


def twin(model, X):
    """The distributions of the samples, by scipy."""
    scale, shape = model.predict_params(X)
    return {
        WeibullAFTRegressor: lambda: weibull_min(shape, scale=scale),
        LogNormalAFTRegressor: lambda: lognorm(1 / shape, scale=scale),
        LogLogisticAFTRegressor: lambda: fisk(shape, scale=scale),
    }[type(model)]()


def test_predictions_are_those_of_the_distribution(model, data):
    X, _ = data
    known = twin(model, X)
    survival = model.predict_survival_function(X, times=TIMES)
    expected = np.array([known.sf(t) for t in TIMES]).T
    np.testing.assert_allclose(survival, expected, rtol=1e-9)  # scipy subtracts from 1
    hazard = model.predict_cumulative_hazard_function(X, times=TIMES)
    expected = np.array([-known.logsf(t) for t in TIMES]).T
    np.testing.assert_allclose(hazard, expected, rtol=1e-10, atol=1e-300)
    quantile = model.predict_quantile(X, [0.1, 0.9])
    np.testing.assert_allclose(quantile, np.array([known.ppf(p) for p in (0.1, 0.9)]).T)
    np.testing.assert_allclose(model.predict_median(X), known.median())
    np.testing.assert_allclose(model.predict_expectation(X), known.mean())
    # The risk score is minus the log median, counted from the middle of the log times.
    np.testing.assert_allclose(
        model.predict(X), model.log_time_center_ - np.log(known.median()), atol=1e-12
    )


def test_functions_are_exact_at_any_time(model, data):
    X = data[0][:3]
    for given in (None, [0.0, 0.7, 3.0]):
        functions = model.predict_survival_function(X, conditional_after=given)
        values = model.predict_survival_function(X, times=TIMES, conditional_after=given)
        np.testing.assert_array_equal([function(TIMES) for function in functions], values)
        at_own = model.predict_survival_function(X, return_array=True, conditional_after=given)
        np.testing.assert_array_equal([function.y for function in functions], at_own)


def test_times_of_each_row(model, data):
    X = data[0][:5]
    own = np.linspace(0, 8, 15).reshape(5, 3)
    for given in (None, np.array([0.0, 1.0, 2.0, 0.5, 3.0])):
        whole = model.predict_survival_function(X, times=own.ravel(), conditional_after=given)
        expected = whole.reshape(5, 5, 3)[np.arange(5), np.arange(5)]
        values = model.predict_survival_function(X, times=own, conditional_after=given)
        np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_given_event_free(model, data):
    X = data[0][:20]
    after = np.linspace(0, 3, 20)
    known = twin(model, X)
    later = after[:, None] + np.array([0.0, 0.2, 1.0, 10.0])
    survival = model.predict_survival_function(X, times=later, conditional_after=after)
    expected = np.array([known.sf(t) for t in later.T]).T / known.sf(after)[:, None]
    np.testing.assert_allclose(survival, expected, rtol=1e-9)
    before = model.predict_survival_function(X, times=after[:, None] / 2, conditional_after=after)
    assert (before == 1).all()
    hazard = model.predict_cumulative_hazard_function(X, times=later, conditional_after=after)
    np.testing.assert_allclose(np.exp(-hazard), survival, rtol=1e-13)
    quantile = model.predict_quantile(X, [0.2, 0.7], conditional_after=after)
    back = model.predict_survival_function(X, times=quantile, conditional_after=after)
    np.testing.assert_allclose(back, np.tile([0.8, 0.3], (20, 1)), rtol=1e-10)
    median = model.predict_median(X, conditional_after=after)
    assert (median >= model.predict_median(X)).all()
    np.testing.assert_array_equal(
        model.predict_median(X, conditional_after=0), model.predict_median(X)
    )


def test_mean_of_what_is_left(model, data):
    X = data[0][:4]
    after = np.array([0.0, 0.4, 1.0, 6.0])
    left = model.predict_mean_residual_life(X, after)
    # Survival given s, by the logarithm of the time that is left: a bell, whose area a sum has.
    left_at = np.exp(np.linspace(-30, 30, 2001))
    for row, (s, mean) in enumerate(zip(after, left, strict=True)):
        sample = X[row : row + 1]
        survival = model.predict_survival_function(sample, times=s + left_at, conditional_after=s)
        area = np.trapezoid(survival[0] * left_at, dx=0.03)
        np.testing.assert_allclose(mean, area, rtol=1e-6)
    np.testing.assert_allclose(model.predict_expectation(X, conditional_after=after), after + left)


def test_far_beyond_all_times(model, data):
    X = data[0][:4]
    far = 1e3 * model.predict_median(X)
    assert np.isfinite(model.predict_cumulative_hazard_function(X, times=far[:, None])).all()
    median = model.predict_median(X, conditional_after=far)
    assert (median > far).all()
    back = model.predict_survival_function(X, times=median[:, None], conditional_after=far)
    # A time so far out has few digits left for what is beyond it.
    np.testing.assert_allclose(back, 0.5, atol=1e-4)
    assert (model.predict_mean_residual_life(X, far) > 0).all()


def test_a_path_of_equal_rows_is_the_curve(model, data):
    X = data[0][:2]
    rows, subject = np.repeat(X, 3, axis=0), np.repeat(["a", "b"], 3)
    entry, exit = np.tile([0.0, 1.0, 2.0], 2), np.tile([1.0, 2.0, np.inf], 2)
    labels, survival = model.predict_survival_path(
        rows, subject=subject, entry=entry, exit=exit, times=TIMES
    )
    assert labels.tolist() == ["a", "b"]
    plain = model.predict_survival_function(X, times=TIMES)
    np.testing.assert_allclose(survival, plain, rtol=1e-10)


def test_bands_and_their_inverse(model, data):
    X = data[0][:10]
    curve = model.predict_survival_function(X, times=TIMES[1:])
    lower, upper = model.predict_survival_interval(X, times=TIMES[1:])
    assert ((lower <= curve) & (curve <= upper)).all()
    hazards = model.predict_cumulative_hazard_interval(X, times=TIMES[1:])
    np.testing.assert_allclose(np.exp(-hazards[0]), upper, rtol=1e-12)
    np.testing.assert_allclose(np.exp(-hazards[1]), lower, rtol=1e-12)
    early, late = model.predict_quantile_interval(X, 0.4)
    for times, bound in ((early, 0), (late, 1)):
        finite = np.isfinite(times)
        at = model.predict_survival_interval(X[finite], times=times[finite])[bound]
        np.testing.assert_allclose(np.diag(at), 0.6, rtol=1e-9)
    shortest, longest = model.predict_time_interval(X, 0.8)
    assert (shortest < model.predict_median(X)).all()
    assert (longest > model.predict_median(X)).all()


def test_a_curve_keeps_the_numbers_of_its_own_sample(model, data):
    one, all_ = (
        len(pickle.dumps(model.predict_survival_function(X, conditional_after=1.0)[0]))
        for X in (data[0][:2], data[0])
    )
    assert one == all_


@every
def test_a_time_of_0_names_the_distribution(kind, data):
    X, y = data
    zero = y.copy()
    zero["time"][0] = 0
    name = {"Weibull": "Weibull", "LogNormal": "log-normal", "LogLogistic": "log-logistic"}
    model = name[kind.__name__.removesuffix("AFTRegressor")]
    with pytest.raises(ValueError, match=rf"got 0\.0 \(1 of 150 rows\)\. The {model} density is"):
        small(kind).fit(X, zero)


@every
def test_the_time_interval_has_equal_hazards_at_its_ends(kind, data):
    X, y = data
    model = small(kind, n_estimators=5).fit(X, y)
    for bound in model.predict_time_interval(X, 0.5):
        hazard = model.predict_cumulative_hazard_function(X, times=bound[:, None])
        np.testing.assert_allclose(hazard, hazard[0, 0], rtol=1e-9)


def test_a_shape_of_one_or_less_has_no_mean():
    X = np.linspace(-1, 1, 60)[:, None]
    time = np.exp(4 * np.random.default_rng(0).logistic(size=60))
    model = small(LogLogisticAFTRegressor, hidden_layer_sizes=(), optimizer="lbfgs")
    model.fit(X, Surv.from_arrays(np.ones(60, bool), time))
    assert model.shape_ < 1
    assert (model.predict_expectation(X) == np.inf).all()
    assert (model.predict_mean_residual_life(X, 1.0) == np.inf).all()


def test_the_docstring_has_the_parameters():
    for kind in AFT_KINDS:
        sections = ["Parameters", "Attributes", "See Also", "Notes", "Examples"]
        places = [kind.__doc__.index(f"\n{name}\n---") for name in sections]
        assert places == sorted(places)
        assert kind.__doc__.splitlines()[0].endswith("model whose scale is a neural network.")
        for name in (*kind().get_params(), "net_", "log_time_center_"):
            assert name in kind.__doc__


@every
def test_more_features_than_events_do_not_make_the_shape_grow(kind):
    """With a penalty of the log scale alone new samples have a log likelihood of -11 and less."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 80))
    time, end = rng.exponential(np.exp(X[:, 0])), rng.exponential(2, 160)
    y = Surv.from_arrays(time <= end, np.minimum(time, end))
    options = {"hidden_layer_sizes": (8,), "random_state": 0}
    ours, without = (kind(**options, alpha=a).fit(X[:60], y[:60]) for a in ("auto", 1e6))
    assert ours.log_likelihood(X[60:], y[60:]) > without.log_likelihood(X[60:], y[60:]) - 0.5
