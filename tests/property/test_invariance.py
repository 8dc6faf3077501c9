"""Changes that do not matter: units, scales of time, shifts of the output, the order of rows."""

from __future__ import annotations

import numpy as np
import pytest

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from tests.property.small_fits import (
    LINEAR,
    ShiftedNet,
    both,
    both_ties,
    fit_small,
    risk_and_survival,
    take_rows,
)


@pytest.mark.parametrize("shape", ["shared", "per_sample"])
@pytest.mark.parametrize("unit", [1 / 365.25, 86_400.0])
def test_the_unit_of_time_scales_weibull_predictions(patients, shape, unit):
    X, event, time = patients
    days = fit_small(WeibullAFTRegressor, patients, shape=shape)
    other = fit_small(WeibullAFTRegressor, (X, event, time * unit), shape=shape)
    # The logarithm of another unit is rounded otherwise, and each step of the training anew.
    close = {"rtol": 1e-7, "atol": 1e-9}
    for name in ("predict_median", "predict_expectation"):
        expected = getattr(days, name)(X) * unit
        np.testing.assert_allclose(getattr(other, name)(X), expected, **close)
    quantiles = [fitted.predict_quantile(X, [0.1, 0.7]) for fitted in (days, other)]
    np.testing.assert_allclose(quantiles[1], quantiles[0] * unit, **close)
    survival = [fitted.predict_survival_function(X, return_array=True) for fitted in (days, other)]
    np.testing.assert_allclose(*survival, **close)
    scales, shapes = zip(*(fitted.predict_params(X) for fitted in (days, other)), strict=True)
    np.testing.assert_allclose(scales[1], scales[0] * unit, **close)
    np.testing.assert_allclose(*shapes, **close)


@pytest.mark.parametrize("unit", [1 / 365.25, 86_400.0])
def test_the_unit_of_time_leaves_weibull_risks_equal(patients, unit):
    X, event, time = patients
    days = fit_small(WeibullAFTRegressor, patients).predict(X)
    other = fit_small(WeibullAFTRegressor, (X, event, time * unit)).predict(X)
    np.testing.assert_allclose(other, days, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "change",
    [np.sqrt, lambda t: 1e6 * t**3, lambda t: np.unique(t, return_inverse=True)[1]],
    ids=["sqrt", "cube", "rank"],
)
def test_cox_risks_are_unchanged_under_an_increasing_map_of_time(patients, change):
    X, event, time = patients
    expected = fit_small(CoxNNRegressor, patients)
    other = fit_small(CoxNNRegressor, (X, event, change(time)))
    np.testing.assert_array_equal(other.predict(X), expected.predict(X))
    np.testing.assert_array_equal(risk_and_survival(other, X), risk_and_survival(expected, X))


@pytest.mark.parametrize("hidden_layer_sizes", [(), (8,)])
def test_the_built_in_cox_net_cannot_shift_its_output(patients, hidden_layer_sizes):
    """A constant is not identified, and Adam would walk along it on rounding noise."""
    module = fit_small(CoxNNRegressor, patients, hidden_layer_sizes=hidden_layer_sizes).net_.module_
    shapes = [tuple(parameter.shape) for parameter in module.parameters()]
    assert (1,) not in shapes


@both_ties
@pytest.mark.parametrize("shift", [-1000.0, 3.0, 1000.0])
def test_a_constant_added_to_the_output_changes_no_cox_curve(patients, shift, ties):
    X, _, _ = patients
    parameters = {"module": ShiftedNet, "ties": ties, "lr_schedule": "constant"}
    plain = fit_small(CoxNNRegressor, patients, **parameters)
    other = fit_small(CoxNNRegressor, patients, **parameters, module__shift=shift)
    # Adding 1000 leaves 13 digits behind the point, and each step of the training rounds anew.
    close = {"rtol": 1e-8, "atol": 1e-10}
    np.testing.assert_allclose(other.predict(X), plain.predict(X) + shift, **close)
    for method in ("predict_survival_function", "predict_cumulative_hazard_function"):
        ours, theirs = (getattr(fitted, method)(X, return_array=True) for fitted in (other, plain))
        np.testing.assert_allclose(ours, theirs, **close)
    np.testing.assert_array_equal(other.predict_median(X), plain.predict_median(X))


@both
def test_the_unit_of_a_feature_does_not_matter(kind, patients):
    """The built-in net standardises its input."""
    X, event, time = patients
    factor = 2.0 ** np.arange(-20, 20, 5)
    expected = fit_small(kind, patients).predict(X)
    # A power of two changes no digit.
    other = fit_small(kind, (X * factor, event, time)).predict(X * factor)
    np.testing.assert_allclose(other, expected, rtol=1e-9, atol=1e-9)
    shifted = fit_small(kind, (X + 100, event, time)).predict(X + 100)
    np.testing.assert_allclose(shifted, expected, rtol=1e-6, atol=1e-6)


@both
def test_the_order_of_the_rows_does_not_matter_to_a_linear_net(kind, patients):
    X, _, _ = patients
    order = np.random.default_rng(0).permutation(len(X))
    ours, expected = (
        fit_small(kind, take_rows(patients, order), **LINEAR),
        fit_small(kind, patients, **LINEAR),
    )
    np.testing.assert_allclose(ours.coef_, expected.coef_, rtol=1e-5, atol=1e-7)
