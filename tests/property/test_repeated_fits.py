"""One estimator fitted again: anew, with a warm start, and in parts."""

from __future__ import annotations

import numpy as np
import pytest
from sksurv.util import Surv

from tests.property.small_fits import LINEAR, both, fit_small, risk_and_survival, small, take_rows


@both
@pytest.mark.parametrize(
    "parameters", [{}, {"early_stopping": True, "dropout": 0.3}, LINEAR], ids=["", "early", "lbfgs"]
)
def test_fit_twice_is_fit_once(kind, parameters, patients):
    X, event, time = patients
    once = fit_small(kind, patients, **parameters)
    expected = risk_and_survival(once, X)
    twice = once.fit(X, Surv.from_arrays(event, time))
    np.testing.assert_array_equal(risk_and_survival(twice, X), expected)
    other = fit_small(kind, take_rows(patients, slice(30, 110)), **parameters)
    other.fit(X, Surv.from_arrays(event, time))
    np.testing.assert_array_equal(risk_and_survival(other, X), expected)


@both
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_warm_start_goes_on_where_fit_ended(kind, dropout, patients):
    X, event, time = patients
    y = Surv.from_arrays(event, time)
    options = {"lr_schedule": "constant", "dropout": dropout, "warm_start": True}
    warm = small(kind, **options, max_epochs=3).fit(X, y).fit(X, y)
    whole = small(kind, **options, max_epochs=6).fit(X, y)
    assert warm.n_iter_ == whole.n_iter_ == 6
    np.testing.assert_array_equal(risk_and_survival(warm, X), risk_and_survival(whole, X))


@both
def test_partial_fits_are_the_epochs_of_a_fit(kind, patients):
    X, event, time = patients
    y = Surv.from_arrays(event, time)
    parts = small(kind, lr_schedule="constant")
    for _ in range(3):
        assert parts.partial_fit(X, y) is parts
    whole = small(kind, lr_schedule="constant", max_epochs=3).fit(X, y)
    np.testing.assert_array_equal(risk_and_survival(parts, X), risk_and_survival(whole, X))


@both
def test_partial_fit_learns_from_parts_of_the_data(kind, patients):
    X, event, time = patients
    y = Surv.from_arrays(event, time)
    fitted = small(kind, lr=0.01)
    for _ in range(5):
        for part in np.array_split(np.arange(len(X)), 3):
            fitted.partial_fit(X[part], y[part])
    assert fitted.score(X, y) > 0.7
    assert fitted.n_iter_ == 15
    np.testing.assert_array_equal(fitted.unique_times_, np.unique(time[part]))


@both
def test_fit_without_warm_start_forgets(kind, patients):
    X, event, time = patients
    fitted = fit_small(kind, take_rows(patients, slice(0, 70))).partial_fit(
        X, Surv.from_arrays(event, time)
    )
    fitted.fit(X[:, :3], Surv.from_arrays(event, time))
    assert fitted.n_features_in_ == 3
    assert fitted.n_iter_ == 4
    expected = fit_small(kind, (X[:, :3], event, time))
    np.testing.assert_array_equal(fitted.predict(X[:, :3]), expected.predict(X[:, :3]))
