"""Theorems for both estimators, and data that are small or hard."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter, WeibullAFTFitter
from lifelines.datasets import load_rossi
from scipy.integrate import quad
from sklearn.preprocessing import StandardScaler
from sksurv.datasets import load_gbsg2, load_veterans_lung_cancer, load_whas500
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.linear_model.coxph import BreslowEstimator
from sksurv.preprocessing import OneHotEncoder
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor

KINDS = (CoxNNRegressor, WeibullAFTRegressor)
LINEAR = {"hidden_layer_sizes": (), "optimizer": "lbfgs"}

both = pytest.mark.parametrize("kind", KINDS)
both_ties = pytest.mark.parametrize("ties", ["efron", "breslow"])


def load(name):
    """Features, event and time of a data set, one-hot encoded."""
    if name == "rossi":
        frame = load_rossi()
        X = frame.drop(columns=["week", "arrest"])
        return X.astype(float), frame["arrest"].to_numpy(dtype=bool), frame["week"].to_numpy(float)
    loader = {
        "whas500": load_whas500,
        "gbsg2": load_gbsg2,
        "veterans": load_veterans_lung_cancer,
    }[name]
    X, y = loader()
    X = X.astype(float) if name == "whas500" else OneHotEncoder().fit_transform(X).astype(float)
    event, time = (y[field] for field in y.dtype.names)
    return X, event, time


@pytest.fixture(scope="module")
def patients():
    """Veterans, standardised."""
    X, event, time = load("veterans")
    return StandardScaler().fit_transform(X), event, time


def model(kind, **parameters):
    """A small net in float64: float32 lets two equal sums drift apart."""
    defaults = {
        "hidden_layer_sizes": (8,),
        "max_epochs": 4,
        "batch_size": 50,
        "dtype": "float64",
        "random_state": 0,
    }
    return kind(**{**defaults, **parameters})


def fit(kind, data, *, weight=None, entry=None, stratum=None, **parameters):
    """A small net fitted to features, event and time."""
    X, event, time = data
    columns = {"sample_weight": weight, "entry": entry, "stratum": stratum}
    columns = {name: column for name, column in columns.items() if column is not None}
    return model(kind, **parameters).fit(X, Surv.from_arrays(event, time), **columns)


def rows(data, index):
    return tuple(column[index] for column in data)


def everything(fitted, X):
    """Risk and survival of each sample."""
    survival = fitted.predict_survival_function(X, return_array=True)
    return np.column_stack([fitted.predict(X), survival])


@both
@pytest.mark.parametrize(
    "parameters", [{}, {"early_stopping": True, "dropout": 0.3}, LINEAR], ids=["", "early", "lbfgs"]
)
def test_fit_twice_is_fit_once(kind, parameters, patients):
    X, event, time = patients
    once = fit(kind, patients, **parameters)
    expected = everything(once, X)
    twice = once.fit(X, Surv.from_arrays(event, time))
    np.testing.assert_array_equal(everything(twice, X), expected)
    other = fit(kind, rows(patients, slice(30, 110)), **parameters)
    other.fit(X, Surv.from_arrays(event, time))
    np.testing.assert_array_equal(everything(other, X), expected)


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_survival_falls_from_one_within_its_bounds(kind, dtype, patients):
    X, _, _ = patients
    fitted = fit(kind, patients, dtype=dtype, lr=0.3, alpha=0.0, max_epochs=20)
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
    fitted = fit(CoxNNRegressor, patients)
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
    fitted = fit(WeibullAFTRegressor, patients, shape=shape)
    quantile = fitted.predict_quantile(X, PROBABILITIES)
    np.testing.assert_array_equal(quantile[:, 0], 0)
    assert np.isinf(quantile[:, -1]).all()
    for function, times in zip(fitted.predict_survival_function(X), quantile, strict=True):
        np.testing.assert_allclose(function(times[:-1]), 1 - PROBABILITIES[:-1], rtol=1e-9)


@both
def test_the_median_is_the_quantile_of_one_half(kind, patients):
    X, _, _ = patients
    fitted = fit(kind, patients)
    median = fitted.predict_median(X)
    assert median.shape == (len(X),)
    np.testing.assert_allclose(median, fitted.predict_quantile(X, 0.5), rtol=1e-12)
    np.testing.assert_array_equal(
        fitted.predict_quantile(X, 0.5), fitted.predict_quantile(X, [0.5])[:, 0]
    )


def test_a_cox_expectation_is_the_integral_of_survival_over_the_follow_up(patients):
    X, _, _ = patients
    fitted = fit(CoxNNRegressor, patients)
    ends = np.append(0.0, fitted.unique_times_)
    middle, width = (ends[1:] + ends[:-1]) / 2, np.diff(ends)
    survival = fitted.predict_survival_function(X)
    expected = [function(middle) @ width for function in survival]  # steps: the midpoint is exact
    np.testing.assert_allclose(fitted.predict_expectation(X), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", ["shared", "per_sample"])
def test_a_weibull_expectation_is_the_integral_of_survival(patients, shape):
    X, _, _ = patients
    fitted = fit(WeibullAFTRegressor, patients, shape=shape)
    expectation, median = fitted.predict_expectation(X), fitted.predict_median(X)
    for row in range(0, len(X), 20):
        (function,) = fitted.predict_survival_function(X[row : row + 1])
        unit = median[row]
        integral = quad(lambda u, f=function, unit=unit: f(u * unit), 0, np.inf, limit=200)[0]
        # The accuracy of the quadrature.
        np.testing.assert_allclose(expectation[row], integral * unit, rtol=1e-6)


@pytest.mark.parametrize("shape", ["shared", "per_sample"])
@pytest.mark.parametrize("unit", [1 / 365.25, 86_400.0])
def test_the_unit_of_time_scales_weibull_predictions(patients, shape, unit):
    X, event, time = patients
    days = fit(WeibullAFTRegressor, patients, shape=shape)
    other = fit(WeibullAFTRegressor, (X, event, time * unit), shape=shape)
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
    days = fit(WeibullAFTRegressor, patients).predict(X)
    other = fit(WeibullAFTRegressor, (X, event, time * unit)).predict(X)
    np.testing.assert_allclose(other, days, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "change",
    [np.sqrt, lambda t: 1e6 * t**3, lambda t: np.unique(t, return_inverse=True)[1]],
    ids=["sqrt", "cube", "rank"],
)
def test_cox_risks_are_unchanged_under_an_increasing_map_of_time(patients, change):
    X, event, time = patients
    expected = fit(CoxNNRegressor, patients)
    other = fit(CoxNNRegressor, (X, event, change(time)))
    np.testing.assert_array_equal(other.predict(X), expected.predict(X))
    np.testing.assert_array_equal(everything(other, X), everything(expected, X))


@pytest.mark.parametrize("hidden_layer_sizes", [(), (8,)])
def test_the_built_in_cox_net_cannot_shift_its_output(patients, hidden_layer_sizes):
    """A constant is not identified, and Adam would walk along it on rounding noise."""
    module = fit(CoxNNRegressor, patients, hidden_layer_sizes=hidden_layer_sizes).net_.module_
    shapes = [tuple(parameter.shape) for parameter in module.parameters()]
    assert (1,) not in shapes


class Shifted(nn.Module):
    """A net whose output has a constant added."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 1))
        self.shift = shift

    def forward(self, X):
        return self.net(X) + self.shift


@both_ties
@pytest.mark.parametrize("shift", [-1000.0, 3.0, 1000.0])
def test_a_constant_added_to_the_output_changes_no_cox_curve(patients, shift, ties):
    X, _, _ = patients
    parameters = {"module": Shifted, "ties": ties, "lr_schedule": "constant"}
    plain = fit(CoxNNRegressor, patients, **parameters)
    other = fit(CoxNNRegressor, patients, **parameters, module__shift=shift)
    # Adding 1000 leaves 13 digits behind the point, and each step of the training rounds anew.
    close = {"rtol": 1e-8, "atol": 1e-10}
    np.testing.assert_allclose(other.predict(X), plain.predict(X) + shift, **close)
    for method in ("predict_survival_function", "predict_cumulative_hazard_function"):
        ours, theirs = (getattr(fitted, method)(X, return_array=True) for fitted in (other, plain))
        np.testing.assert_allclose(ours, theirs, **close)
    np.testing.assert_array_equal(other.predict_median(X), plain.predict_median(X))


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_weight_of_zero_removes_the_row(kind, early_stopping, patients):
    X, event, time = patients
    weight = np.random.default_rng(0).choice([0.0, 1.0, 2.5], len(X))
    there = weight > 0
    options = {"early_stopping": early_stopping}
    weighted = fit(kind, (X, event, time), weight=weight, **options)
    removed = fit(kind, rows(patients, there), weight=weight[there], **options)
    np.testing.assert_array_equal(weighted.unique_times_, removed.unique_times_)
    np.testing.assert_array_equal(everything(weighted, X), everything(removed, X))


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [(CoxNNRegressor, {"ties": "breslow"}), (WeibullAFTRegressor, {})],
)
def test_a_whole_weight_is_the_row_repeated(kind, parameters, patients):
    X, _, _ = patients
    weight = np.random.default_rng(0).integers(1, 4, len(X))
    weighted = fit(kind, patients, weight=weight, **LINEAR, **parameters)
    repeated = fit(
        kind, rows(patients, np.repeat(np.arange(len(X)), weight)), **LINEAR, **parameters
    )
    # Both searches end within 1e-12 of the least loss, that is within 1e-6 in the weights.
    np.testing.assert_allclose(
        everything(weighted, X), everything(repeated, X), rtol=1e-5, atol=1e-6
    )


def test_stratified_baselines_are_separate_baselines(patients):
    X, event, time = patients
    stratum = np.array(["x", "z", "y"])[np.arange(len(X)) % 3]
    fitted = fit(CoxNNRegressor, patients, stratum=stratum)
    risk = fitted.predict(X)
    for label in "xyz":
        of = stratum == label
        alone = BreslowEstimator().fit(risk[of], event[of], time[of])
        ours = fitted.predict_survival_function(X, stratum=np.full(len(X), label))
        theirs = alone.get_survival_function(risk)
        within = np.unique(time[of])
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine(within), other(within), rtol=1e-9, atol=1e-14)
    mixed = fitted.predict_survival_function(X, return_array=True, stratum=stratum)
    for label in "xyz":
        one = fitted.predict_survival_function(X, return_array=True, stratum=np.full(len(X), label))
        np.testing.assert_array_equal(mixed[stratum == label], one[stratum == label])


def test_the_baseline_is_that_of_breslow(patients):
    X, event, time = patients
    fitted = fit(CoxNNRegressor, patients)
    alone = BreslowEstimator().fit(fitted.predict(X), event, time)
    ours = fitted.predict_survival_function(X, return_array=True)
    theirs = [
        function(fitted.unique_times_)
        for function in alone.get_survival_function(fitted.predict(X))
    ]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("labels", [[-3, 7], ["a", "b"], [0.5, 1.5], [False, True]])
def test_strata_may_have_any_labels(patients, labels):
    X, _, _ = patients
    stratum, code = np.array(labels)[np.arange(len(X)) % 2], np.arange(len(X)) % 2
    ours = fit(CoxNNRegressor, patients, stratum=stratum)
    theirs = fit(CoxNNRegressor, patients, stratum=code)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_array_equal(
        ours.predict_median(X, stratum=stratum), theirs.predict_median(X, stratum=code)
    )
    assert len(ours.strata_) == 2


@both
def test_entry_before_all_times_is_none(kind, patients):
    X, _, time = patients
    plain = everything(fit(kind, patients), X)
    # Other sums are taken, which round otherwise.
    early = fit(kind, patients, entry=np.zeros(len(X)))
    np.testing.assert_allclose(everything(early, X), plain, rtol=1e-9, atol=1e-11)
    late = fit(kind, patients, entry=0.9 * time)
    assert not np.allclose(everything(late, X), plain, rtol=1e-3)


@both
def test_a_row_cut_in_two_is_the_row(kind, patients):
    """(0, s] and (s, t], the first without an event: what `entry` is for."""
    X, event, time = patients
    cut = 0.4 * time
    entry = np.concatenate([np.zeros(len(X)), cut])
    pieces = (
        np.vstack([X, X]),
        np.concatenate([np.zeros(len(X), dtype=bool), event]),
        np.concatenate([cut, time]),
    )
    whole = fit(kind, patients, **LINEAR)
    in_two = fit(kind, pieces, entry=entry, **LINEAR)
    np.testing.assert_allclose(in_two.coef_, whole.coef_, rtol=1e-5, atol=1e-6)
    grid = np.unique(time)
    for ours, theirs in zip(
        in_two.predict_survival_function(X[:5]), whole.predict_survival_function(X[:5]), strict=True
    ):
        np.testing.assert_allclose(ours(grid), theirs(grid), rtol=1e-4, atol=1e-6)


@both_ties
@pytest.mark.parametrize("name", ["whas500", "gbsg2", "rossi"])
def test_coef_of_a_linear_cox_is_that_of_scikit_survival(name, ties):
    X, event, time = load(name)
    y = Surv.from_arrays(event, time)
    ours = CoxNNRegressor(**LINEAR, ties=ties).fit(X, y)
    theirs = CoxPHSurvivalAnalysis(ties=ties, n_iter=100, tol=1e-13).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4)


@both_ties
@pytest.mark.parametrize("alpha", [1.0, 100.0])
def test_alpha_of_a_linear_cox_is_that_of_scikit_survival(alpha, ties):
    """On standardised features, which the net penalises."""
    X, event, time = load("gbsg2")
    X, y = StandardScaler().fit_transform(X), Surv.from_arrays(event, time)
    ours = CoxNNRegressor(**LINEAR, ties=ties, alpha=alpha).fit(X, y)
    theirs = CoxPHSurvivalAnalysis(alpha=alpha, ties=ties, n_iter=100, tol=1e-13).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4)


@pytest.mark.parametrize("name", ["whas500", "gbsg2", "rossi"])
def test_a_linear_weibull_is_that_of_lifelines(name):
    X, event, time = load(name)
    # The optimiser of lifelines stops early on features of very different sizes.
    X = pd.DataFrame(StandardScaler().fit_transform(X), columns=X.columns)
    ours = WeibullAFTRegressor(**LINEAR).fit(X, Surv.from_arrays(event, time))
    theirs = WeibullAFTFitter().fit(X.assign(event=event, time=time), "time", "event").params_
    np.testing.assert_allclose(ours.coef_, theirs["lambda_"][X.columns], rtol=1e-3)
    np.testing.assert_allclose(ours.intercept_, theirs["lambda_"]["Intercept"], rtol=1e-3)
    np.testing.assert_allclose(ours.shape_, np.exp(theirs["rho_"]["Intercept"]), rtol=1e-3)


def test_entry_and_weight_of_a_linear_net_are_those_of_lifelines():
    X, event, time = load("rossi")
    rng = np.random.default_rng(0)
    entry = np.floor(time * rng.uniform(0, 0.8, len(X)))
    weight = rng.integers(1, 4, len(X))
    X = pd.DataFrame(StandardScaler().fit_transform(X), columns=X.columns)
    frame = X.assign(event=event, time=time, entry=entry, weight=weight)
    y = Surv.from_arrays(event, time)
    options = {"entry_col": "entry", "weights_col": "weight"}
    cox = CoxNNRegressor(**LINEAR).fit(X, y, sample_weight=weight, entry=entry)
    theirs = CoxPHFitter().fit(frame, "time", "event", **options, robust=False).params_
    # lifelines stops at 1e-5 or so.
    np.testing.assert_allclose(cox.coef_, theirs[X.columns], rtol=1e-3)
    weibull = WeibullAFTRegressor(**LINEAR).fit(X, y, sample_weight=weight, entry=entry)
    theirs = WeibullAFTFitter().fit(frame, "time", "event", **options).params_
    np.testing.assert_allclose(weibull.coef_, theirs["lambda_"][X.columns], rtol=1e-3)
    np.testing.assert_allclose(weibull.shape_, np.exp(theirs["rho_"]["Intercept"]), rtol=1e-3)


def simulate(n, p, *, censored=0.3, seed=0):
    """The first feature doubles the hazard."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    time = rng.weibull(1.5, n) * np.exp(-X[:, 0] / 2)
    event = np.arange(n) % 1000 >= 1000 * censored if n >= 1000 else rng.random(n) >= censored
    event[0] = True
    return X, event, time


@both
@pytest.mark.parametrize("hidden_layer_sizes", [(), (64, 64)])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    ("n", "p", "censored"),
    [(30, 2, 0.3), (60, 1, 0.3), (100, 500, 0.3), (200, 3, 0.95)],
    ids=["30_rows", "one_feature", "500_features", "rare_events"],
)
def test_small_and_hard_data_fit(kind, hidden_layer_sizes, optimizer, n, p, censored):
    X, event, time = simulate(n, p, censored=censored)
    options = {"hidden_layer_sizes": hidden_layer_sizes, "optimizer": optimizer}
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
    fitted = fit(kind, (np.full((60, 1), value), event, time), dtype=dtype)
    assert np.ptp(fitted.predict([[value], [value]])) == 0
    expected = fit(kind, (np.zeros((60, 1)), event, time), dtype=dtype)
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
    expected = fit(kind, (X, event, time.astype(float)))
    ours = model(kind).fit(X, y)
    np.testing.assert_array_equal(everything(ours, X), everything(expected, X))


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_large_times_that_differ_by_one_are_not_tied(dtype):
    """In float32 1e9 and 1e9 + 1 are one number."""
    X, event, _ = simulate(60, 2)
    rank = np.random.default_rng(0).permutation(60)
    large = (10**9 - 60 + rank).astype(dtype)
    ours, expected = fit(CoxNNRegressor, (X, event, large)), fit(CoxNNRegressor, (X, event, rank))
    np.testing.assert_array_equal(everything(ours, X), everything(expected, X))
    # Times within 6e-8 of one another are near the end of what a shape can follow.
    weibull = fit(WeibullAFTRegressor, (X, event, large))
    assert len(weibull.unique_times_) == 60
    assert np.isfinite(everything(weibull, X)).all()
    assert 10**9 - 100 < weibull.predict_median(X).mean() < 10**9 + 100


@both
def test_times_up_to_1e9_fit_in_single_precision(kind):
    X, event, time = simulate(120, 2)
    large = np.ceil(time / time.max() * 1e9).astype(np.int64)
    fitted = kind(max_epochs=5, random_state=0).fit(X, Surv.from_arrays(event, large))
    assert fitted.score(X, Surv.from_arrays(event, large)) > 0.65
    assert 1e7 < np.median(fitted.predict_median(X)) < 1e9


@both
def test_a_frame_is_its_array(kind, patients):
    X, event, time = patients
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    ours, expected = fit(kind, (frame, event, time)), fit(kind, patients)
    np.testing.assert_array_equal(everything(ours, frame), everything(expected, X))
    integers = (10 * frame).astype("int64").assign(flag=frame["x0"] > 0)
    mixed = fit(kind, (integers, event, time))
    expected = fit(kind, (integers.to_numpy(dtype=float), event, time))
    np.testing.assert_array_equal(
        everything(mixed, integers), everything(expected, integers.to_numpy(dtype=float))
    )


@both
def test_samples_of_any_number_of_axes_with_a_module(kind):
    X, event, time = simulate(60, 12)
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    flat = fit(kind, (X, event, time), module=module)
    cube = fit(kind, (X.reshape(60, 2, 3, 2), event, time), module=module)
    np.testing.assert_array_equal(everything(cube, X.reshape(60, 2, 3, 2)), everything(flat, X))


@both
@pytest.mark.parametrize("made_by", ["instance", "class", "function"])
def test_a_module_may_be_an_instance_a_class_or_a_function(kind, made_by, patients):
    X, _, _ = patients
    module = {"instance": Shifted(2.0), "class": Shifted, "function": lambda shift: Shifted(shift)}
    further = {} if made_by == "instance" else {"module__shift": 2.0}
    fitted = fit(kind, patients, module=module[made_by], **further)
    own = [part for part in fitted.net_.module_.modules() if isinstance(part, Shifted)]
    assert own[0].shift == 2.0
    assert own[0] is not module["instance"]
    expected = fit(kind, patients, module=Shifted, module__shift=2.0)
    if made_by != "instance":  # which brings its own random start
        np.testing.assert_array_equal(fitted.predict(X), expected.predict(X))


@both
def test_a_module_of_the_user_is_not_trained(kind, patients):
    module = Shifted()
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    fit(kind, patients, module=module)
    assert all(torch.equal(weight, before[name]) for name, weight in module.state_dict().items())


def test_a_weibull_module_may_give_the_shape_too(patients):
    X, _, _ = patients
    fitted = fit(WeibullAFTRegressor, patients, module=nn.Linear(8, 2), shape="per_sample")
    scale, shape = fitted.predict_params(X)
    assert scale.shape == shape.shape == (len(X),)
    assert np.ptp(shape) > 0


@both
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_warm_start_goes_on_where_fit_ended(kind, dropout, patients):
    X, event, time = patients
    y = Surv.from_arrays(event, time)
    options = {"lr_schedule": "constant", "dropout": dropout, "warm_start": True}
    warm = model(kind, **options, max_epochs=3).fit(X, y).fit(X, y)
    whole = model(kind, **options, max_epochs=6).fit(X, y)
    assert warm.n_iter_ == whole.n_iter_ == 6
    np.testing.assert_array_equal(everything(warm, X), everything(whole, X))


@both
def test_partial_fits_are_the_epochs_of_a_fit(kind, patients):
    X, event, time = patients
    y = Surv.from_arrays(event, time)
    parts = model(kind, lr_schedule="constant")
    for _ in range(3):
        assert parts.partial_fit(X, y) is parts
    whole = model(kind, lr_schedule="constant", max_epochs=3).fit(X, y)
    np.testing.assert_array_equal(everything(parts, X), everything(whole, X))


@both
def test_partial_fit_learns_from_parts_of_the_data(kind, patients):
    X, event, time = patients
    y = Surv.from_arrays(event, time)
    fitted = model(kind, lr=0.01)
    for _ in range(5):
        for part in np.array_split(np.arange(len(X)), 3):
            fitted.partial_fit(X[part], y[part])
    assert fitted.score(X, y) > 0.7
    assert fitted.n_iter_ == 15
    np.testing.assert_array_equal(fitted.unique_times_, np.unique(time[part]))


@both
def test_fit_without_warm_start_forgets(kind, patients):
    X, event, time = patients
    fitted = fit(kind, rows(patients, slice(0, 70))).partial_fit(X, Surv.from_arrays(event, time))
    fitted.fit(X[:, :3], Surv.from_arrays(event, time))
    assert fitted.n_features_in_ == 3
    assert fitted.n_iter_ == 4
    expected = fit(kind, (X[:, :3], event, time))
    np.testing.assert_array_equal(fitted.predict(X[:, :3]), expected.predict(X[:, :3]))


@both
def test_the_unit_of_a_feature_does_not_matter(kind, patients):
    """The built-in net standardises its input."""
    X, event, time = patients
    factor = 2.0 ** np.arange(-20, 20, 5)
    expected = fit(kind, patients).predict(X)
    # A power of two changes no digit.
    other = fit(kind, (X * factor, event, time)).predict(X * factor)
    np.testing.assert_allclose(other, expected, rtol=1e-9, atol=1e-9)
    shifted = fit(kind, (X + 100, event, time)).predict(X + 100)
    np.testing.assert_allclose(shifted, expected, rtol=1e-6, atol=1e-6)


@both
def test_the_order_of_the_rows_does_not_matter_to_a_linear_net(kind, patients):
    X, _, _ = patients
    order = np.random.default_rng(0).permutation(len(X))
    ours, expected = fit(kind, rows(patients, order), **LINEAR), fit(kind, patients, **LINEAR)
    np.testing.assert_allclose(ours.coef_, expected.coef_, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_weibull_fits_in_batches_of_any_size(batch_size):
    X, event, time = simulate(30, 2)
    fitted = fit(WeibullAFTRegressor, (X, event, time), batch_size=batch_size)
    assert fitted.score(X, Surv.from_arrays(event, time)) > 0.6
