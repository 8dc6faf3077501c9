"""Times that are equal but for rounding."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.exceptions import NearlyTiedTimesWarning

LINEAR = {"hidden_layer_sizes": (), "optimizer": "lbfgs"}


def said(time, given=None, kind=CoxNNRegressor):
    """What a fit with these times warns of."""
    rng = np.random.default_rng(0)
    X, event = rng.normal(size=(len(time), 2)), rng.random(len(time)) < 0.6
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        kind(n_estimators=1, max_epochs=1).fit(X, Surv.from_arrays(event, time), **given or {})
    assert all(warning.category is NearlyTiedTimesWarning for warning in record)
    return [str(warning.message) for warning in record]


def times_of_two_programs(dtype=float, n=400):
    """Tenths: half of them as products, half as running sums, which differ in the last digits."""
    step = np.random.default_rng(1).integers(1, 60, n)
    sums = np.cumsum(np.full(60, 0.1, dtype=dtype), dtype=dtype)
    products = (np.arange(1, 61) * np.asarray(0.1, dtype=dtype)).astype(dtype)
    return np.where(np.arange(n) % 2, sums[step - 1], products[step - 1]), step


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_and_products_of_a_step_are_nearly_tied(dtype):
    time, _ = times_of_two_programs(dtype)
    (message,) = said(time.astype(dtype))
    n_near, n_distinct = map(int, re.findall(r"\d+(?= of|  ?distinct)", message)[:2])
    assert n_distinct == len(np.unique(time))
    assert n_near == n_distinct - len(np.unique(time.round(4)))


def test_one_pair_is_enough_and_is_named():
    time = np.append(np.arange(1.0, 40.0), [0.3, 0.1 + 0.2])
    assert said(time) == [
        "1 of 41 distinct times differ from the time before by no more than rounding, such as "
        "0.30000000000000004 from 0.3: they are not tied. Round the times, for instance by "
        "numpy.round(time, 6), if they should be."
    ]
    assert said(np.append(np.arange(1.0, 40.0), np.nextafter(7.0, 0.0))) != []


def test_an_entry_that_is_nearly_a_time_counts():
    time = np.arange(1.0, 21.0) / 10
    entry = np.zeros(20)
    entry[7] = 0.1 + 0.2
    assert said(time) == []
    (message,) = said(time, {"entry": entry})
    assert "0.30000000000000004 from 0.3" in message


@pytest.mark.parametrize(
    "time",
    [
        np.arange(1, 101) + 1_600_000_000_000_000,
        np.arange(1.0, 101.0) + 1_600_000_000_000_000,
        np.arange(1.0, 101.0, dtype=np.float32) + 10_000_000,
        np.arange(1, 101) * 0.1,
        np.random.default_rng(0).exponential(size=20_000),
        np.random.default_rng(0).exponential(size=3_000).astype(np.float32),
        np.random.default_rng(0).uniform(999, 1000, size=20_000),
        np.append(np.arange(1.0, 40.0), [1e200, 1e300]),
    ],
    ids=["integers", "whole", "whole32", "tenths", "many", "many32", "far", "huge"],
)
def test_times_that_differ_are_left_in_peace(time):
    assert said(time) == []


def test_a_weibull_model_needs_no_ties():
    assert said(times_of_two_programs()[0], kind=WeibullAFTRegressor) == []


def test_rounding_as_told_gives_the_fit_of_the_true_times():
    """And without it, another one."""
    time, step = times_of_two_programs()
    rng = np.random.default_rng(0)
    X, event = rng.normal(size=(len(time), 2)), rng.random(len(time)) < 0.6
    wanted = CoxNNRegressor(**LINEAR).fit(X, Surv.from_arrays(event, step)).coef_
    rounded = Surv.from_arrays(event, np.round(time, 6))
    np.testing.assert_allclose(CoxNNRegressor(**LINEAR).fit(X, rounded).coef_, wanted, rtol=1e-7)
    with pytest.warns(NearlyTiedTimesWarning):
        other = CoxNNRegressor(**LINEAR).fit(X, Surv.from_arrays(event, time)).coef_
    assert np.abs(other - wanted).max() > 1e-3
