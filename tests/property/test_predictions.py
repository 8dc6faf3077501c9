"""Survival, quantiles, median and expectation agree with one another, and with the baseline."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from sksurv.linear_model.coxph import BreslowEstimator

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from tests.property.small_fits import both, fit_small


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_survival_falls_from_one_within_its_bounds(kind, dtype, patients):
    X, _, _ = patients
    fitted = fit_small(kind, patients, dtype=dtype, lr=0.3, alpha=0.0, max_epochs=20)
    X = np.vstack([X, 30 * X])  # far from the training data as well
    survival = fitted.predict_survival_function(X, return_array=True)
    assert ((survival >= 0) & (survival <= 1)).all()
    assert (np.diff(survival, axis=1) <= 0).all()
    hazard = fitted.predict_cumulative_hazard_function(X, return_array=True)
    assert (hazard >= 0).all()
    assert (hazard[:, 1:] >= hazard[:, :-1]).all()


PROBABILITIES = np.array([0.0, 0.1, 0.25, 0.5, 0.9, 0.99, 1.0])


def test_a_cox_quantile_is_the_first_time_at_which_survival_is_that_low(patients):
    X, _, _ = patients
    fitted = fit_small(CoxNNRegressor, patients)
    survival = fitted.predict_survival_function(X, return_array=True)
    times = np.append(fitted.unique_times_, np.inf)
    low = survival[:, :, None] <= 1 - PROBABILITIES[1:-1]
    low = np.concatenate([low, np.ones_like(low[:, :1])], axis=1)
    quantile = fitted.predict_quantile(X, PROBABILITIES)
    assert quantile.shape == (len(X), len(PROBABILITIES))
    np.testing.assert_array_equal(quantile[:, 1:-1], times[low.argmax(axis=1)])
    assert np.isinf(quantile).any()
    # No survival is 0 within the follow-up, and S(0) = 1 already is at most 1 - 0.
    assert np.isinf(quantile[:, -1]).all()
    assert (quantile[:, 0] <= quantile[:, 1]).all()


@pytest.mark.parametrize("shape", ["shared", "per_sample"])
def test_weibull_survival_at_a_quantile_is_what_is_left(patients, shape):
    X, _, _ = patients
    fitted = fit_small(WeibullAFTRegressor, patients, shape=shape)
    quantile = fitted.predict_quantile(X, PROBABILITIES)
    np.testing.assert_array_equal(quantile[:, 0], 0)
    assert np.isinf(quantile[:, -1]).all()
    for function, times in zip(fitted.predict_survival_function(X), quantile, strict=True):
        np.testing.assert_allclose(function(times[:-1]), 1 - PROBABILITIES[:-1], rtol=1e-9)


@both
def test_the_median_is_the_quantile_of_one_half(kind, patients):
    X, _, _ = patients
    fitted = fit_small(kind, patients)
    median = fitted.predict_median(X)
    assert median.shape == (len(X),)
    np.testing.assert_allclose(median, fitted.predict_quantile(X, 0.5), rtol=1e-12)
    np.testing.assert_array_equal(
        fitted.predict_quantile(X, 0.5), fitted.predict_quantile(X, [0.5])[:, 0]
    )


def test_a_cox_expectation_is_the_integral_of_survival_over_the_follow_up(patients):
    X, _, _ = patients
    fitted = fit_small(CoxNNRegressor, patients)
    ends = np.append(0.0, fitted.unique_times_)
    middle, width = (ends[1:] + ends[:-1]) / 2, np.diff(ends)
    survival = fitted.predict_survival_function(X)
    expected = [function(middle) @ width for function in survival]  # steps: the midpoint is exact
    np.testing.assert_allclose(fitted.predict_expectation(X), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", ["shared", "per_sample"])
def test_a_weibull_expectation_is_the_integral_of_survival(patients, shape):
    X, _, _ = patients
    fitted = fit_small(WeibullAFTRegressor, patients, shape=shape)
    expectation, median = fitted.predict_expectation(X), fitted.predict_median(X)
    for row in range(0, len(X), 20):
        (function,) = fitted.predict_survival_function(X[row : row + 1])
        unit = median[row]
        integral = quad(lambda u, f=function, unit=unit: f(u * unit), 0, np.inf, limit=200)[0]
        # The accuracy of the quadrature.
        np.testing.assert_allclose(expectation[row], integral * unit, rtol=1e-6)


def test_the_baseline_is_that_of_breslow(patients):
    X, event, time = patients
    fitted = fit_small(CoxNNRegressor, patients)
    alone = BreslowEstimator().fit(fitted.predict(X), event, time)
    ours = fitted.predict_survival_function(X, return_array=True)
    theirs = [
        function(fitted.unique_times_)
        for function in alone.get_survival_function(fitted.predict(X))
    ]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-14)
