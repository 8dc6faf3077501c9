"""Few rows, many features, rare events, constant columns, and times that are large or whole."""

from __future__ import annotations

import numpy as np
import pytest
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from tests.property.small_fits import LINEAR, both, fit_small, risk_and_survival, simulate, small


# Many features separate few rows, or fit their times, and five epochs may be few.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@both
@pytest.mark.parametrize("hidden_layer_sizes", [(), (64, 64)])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    ("n", "p", "censored"),
    [(30, 2, 0.3), (60, 1, 0.3), (50, 150, 0.3), (100, 500, 0.3), (200, 3, 0.95)],
    ids=["30_rows", "one_feature", "150_features", "500_features", "rare_events"],
)
def test_small_and_hard_data_fit(kind, hidden_layer_sizes, optimizer, n, p, censored):
    X, event, time = simulate(n, p, censored=censored)
    options = {"hidden_layer_sizes": hidden_layer_sizes, "optimizer": optimizer}
    if p > 100 and hidden_layer_sizes and optimizer == "adam":
        options["n_estimators"] = 5  # of so many features fifteen take three times as long
    fitted = kind(**options, max_epochs=5, random_state=0).fit(X, Surv.from_arrays(event, time))
    survival = fitted.predict_survival_function(X, return_array=True)
    assert ((survival >= 0) & (survival <= 1)).all()
    assert np.isfinite(fitted.predict(X)).all()
    assert fitted.score(X, Surv.from_arrays(event, time)) > 0.6


@both
def test_two_rows_are_enough(kind):
    fitted = kind(max_epochs=2).fit([[1.0], [2.0]], Surv.from_arrays([True, True], [1.0, 3.0]))
    first, second = fitted.predict([[1.0], [2.0]])
    assert np.isfinite([first, second]).all()
    assert first >= second


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_weibull_fits_in_batches_of_any_size(batch_size):
    X, event, time = simulate(30, 2)
    fitted = fit_small(WeibullAFTRegressor, (X, event, time), batch_size=batch_size)
    assert fitted.score(X, Surv.from_arrays(event, time)) > 0.6


@both
def test_constant_columns_count_for_nothing(kind):
    X, event, time = simulate(80, 2)
    y = Surv.from_arrays(event, time)
    constants = [np.zeros(80), np.full(80, 0.1), np.full(80, -1e6), np.full(80, 1 / 3)]
    more = np.column_stack([constants[0], X, *constants[1:]])
    ours, theirs = kind(**LINEAR).fit(more, y), kind(**LINEAR).fit(X, y)
    # The mean of equal numbers is rounded.
    np.testing.assert_allclose(ours.coef_[[0, 3, 4, 5]], 0, atol=1e-7)
    np.testing.assert_allclose(ours.coef_[1:3], theirs.coef_, rtol=1e-5)
    assert kind(max_epochs=3, random_state=0).fit(more, y).score(more, y) > 0.6


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -0.99, 1e3 + 1 / 3])
def test_a_constant_whose_mean_is_rounded_does_no_harm(kind, value, dtype):
    """The mean of 60 times 0.1 is not 0.1, and a tiny difference is no information."""
    _, event, time = simulate(60, 1)
    fitted = fit_small(kind, (np.full((60, 1), value), event, time), dtype=dtype)
    assert np.ptp(fitted.predict([[value], [value]])) == 0
    expected = fit_small(kind, (np.zeros((60, 1)), event, time), dtype=dtype)
    ours, theirs = (
        model.predict_median([[at]]) for model, at in ((fitted, value), (expected, 0.0))
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


@both
def test_nothing_but_constants_predicts_the_same_for_all(kind):
    X, event, time = simulate(50, 2)
    fitted = kind(max_epochs=3, random_state=0).fit(np.ones_like(X), Surv.from_arrays(event, time))
    # A matrix product sums its last rows in another order.
    assert np.ptp(fitted.predict(np.ones_like(X))) < 1e-6


@both
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint32, np.float32, np.float64])
def test_times_of_any_type_are_the_same_times(kind, dtype):
    X, event, _ = simulate(60, 2)
    time = 1 + np.arange(60) % 37
    y = np.zeros(60, dtype=[("event", bool), ("time", dtype)])
    y["event"], y["time"] = event, time
    expected = fit_small(kind, (X, event, time.astype(float)))
    ours = small(kind).fit(X, y)
    np.testing.assert_array_equal(risk_and_survival(ours, X), risk_and_survival(expected, X))


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_large_times_that_differ_by_one_are_not_tied(dtype):
    """In float32 1e9 and 1e9 + 1 are one number."""
    X, event, _ = simulate(60, 2)
    rank = np.random.default_rng(0).permutation(60)
    large = (10**9 - 60 + rank).astype(dtype)
    ours, expected = (
        fit_small(CoxNNRegressor, (X, event, large)),
        fit_small(CoxNNRegressor, (X, event, rank)),
    )
    np.testing.assert_array_equal(risk_and_survival(ours, X), risk_and_survival(expected, X))
    # Times within 6e-8 of one another are near the end of what a shape can follow.
    weibull = fit_small(WeibullAFTRegressor, (X, event, large))
    assert len(weibull.unique_times_) == 60
    assert np.isfinite(risk_and_survival(weibull, X)).all()
    assert 10**9 - 100 < weibull.predict_median(X).mean() < 10**9 + 100


@both
def test_times_up_to_1e9_fit_in_single_precision(kind):
    X, event, time = simulate(120, 2)
    large = np.ceil(time / time.max() * 1e9).astype(np.int64)
    fitted = kind(n_estimators=1, max_epochs=5, random_state=0).fit(
        X, Surv.from_arrays(event, large)
    )
    assert fitted.score(X, Surv.from_arrays(event, large)) > 0.65
    assert 1e7 < np.median(fitted.predict_median(X)) < 1e9
