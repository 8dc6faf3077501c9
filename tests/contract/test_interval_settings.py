"""Bands and intervals with other settings, what is refused, and coverage of a simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor, load, save
from sksurvtorch.estimators import _cox_intervals
from tests.contract.interval_twin import all_intervals
from tests.contract.small_models import Mlp, both, fitted
from tests.unit.refusals import refuses

PREDICT = (
    "predict_survival_interval",
    "predict_cumulative_hazard_interval",
    "predict_median_interval",
    "predict_risk_interval",
    "predict_time_interval",
)


def all_refuse(model, X, sentence):
    """Assert that each method refuses."""
    for name in PREDICT:
        refuses(lambda name=name: getattr(model, name)(X), ValueError, sentence)


@both
@pytest.mark.parametrize("n_estimators", [1, 4])
def test_few_networks_are_refused(kind, n_estimators, whas500):
    model = fitted(kind, whas500, n_estimators=n_estimators, max_epochs=1)
    all_refuse(
        model,
        whas500[0],
        f"`n_estimators` must be at least 5 in `fit` for an interval, got {n_estimators}. "
        "Intervals come from how much networks differ that have left out different rows.",
    )


@both
def test_levels_are_refused(kind, whas500):
    X, _ = whas500
    model = fitted(kind, whas500, n_estimators=5, max_epochs=1)
    for name in PREDICT:
        for level in (0.0, 1.0, -0.5, 90):
            refuses(
                lambda name=name, level=level: getattr(model, name)(X, level),
                ValueError,
                f"`level` must be more than 0 and less than 1, got {level!r}.",
            )
        refuses(
            lambda name=name: getattr(model, name)(X, "0.9"),
            TypeError,
            "`level` must be a number, got '0.9' of type str.",
        )


@both
def test_a_training_that_goes_on_leaves_no_intervals(kind, whas500, tmp_path):
    X, y = whas500
    sentence = (
        "Intervals must come from one call of `fit`, got a model of `partial_fit` or of a training "
        "that was resumed. Call `fit` with warm_start=False."
    )
    model = fitted(kind, whas500, n_estimators=5, max_epochs=1)
    before = all_intervals(model, X)
    model.set_params(warm_start=True).fit(X, y)
    all_refuse(model, X, sentence)
    model.set_params(warm_start=False).fit(X, y)
    for name, (pair, _) in all_intervals(model, X).items():
        np.testing.assert_array_equal(pair, before[name][0])
    model.partial_fit(X, y)
    all_refuse(model, X, sentence)
    save(model, tmp_path / "model")
    all_refuse(load(tmp_path / "model"), X, sentence)
    all_refuse(clone(model).partial_fit(X, y), X, sentence)


@both
def test_times_are_refused_as_for_curves(kind, whas500):
    X, _ = whas500
    model = fitted(kind, whas500, n_estimators=5, max_epochs=1)
    for times in ([-1.0], ["a"], [1e9] if kind is CoxNNRegressor else [np.inf]):
        with pytest.raises(ValueError, match="`times` must be") as expected:
            model.predict_survival_function(X, times=times)
        refuses(
            lambda times=times: model.predict_survival_interval(X, times=times),
            ValueError,
            str(expected.value).replace(f", or ({len(X)}, n_times) for a row of each sample", ""),
        )
    with pytest.raises(ValueError, match=r"All samples have the same times in bands, intervals"):
        model.predict_survival_interval(X, times=np.ones((len(X), 1)))


def test_strata_are_asked_for_as_for_curves(whas500):
    X, y = whas500
    model = CoxNNRegressor(n_estimators=5, max_epochs=1, random_state=0)
    model.fit(X, y, stratum=np.resize(["a", "b"], len(X)))
    for name in (*PREDICT[:3], PREDICT[4]):
        with pytest.raises(ValueError, match="`stratum` must be given, as in `fit`, got None"):
            getattr(model, name)(X)
        lower, _ = getattr(model, name)(X[:2], stratum=["b", "a"])
        assert len(lower) == 2
    a, b = (model.predict_survival_interval(X[:1], stratum=[s]) for s in "ab")
    assert not np.array_equal(a, b)


@both
@pytest.mark.parametrize(
    "options",
    [
        {"module": Mlp, "module__n_outputs": 1},
        {"early_stopping": True},
        {"hidden_layer_sizes": (), "optimizer": "lbfgs", "max_epochs": 20},
        {"norm": "batch"},
        {"alpha": (1.0, 100.0), "n_estimators": 10},
    ],
    ids=["own module", "early stopping", "linear", "batch norm", "own penalties"],
)
def test_other_settings(kind, options, whas500):
    X, _ = whas500
    if kind is WeibullAFTRegressor and "module" in options:
        options = {**options, "shape": "shared"}
    model = fitted(kind, whas500, **{"n_estimators": 5, "max_epochs": 2, **options})
    for (lower, upper), point in all_intervals(model, X).values():
        assert ((lower <= point) & (point <= upper)).all()
    lower, upper = model.predict_time_interval(X)
    assert (lower <= upper).all()
    assert (lower < upper).mean() > 0.9


def test_early_stopping_rows_have_no_part_in_the_scores(whas500):
    _, y = whas500
    model = fitted(CoxNNRegressor, whas500, n_estimators=5, max_epochs=2, early_stopping=True)
    n_events = y["event"].sum()
    assert len(model._interval_basis["score"]) == n_events - round(0.2 * n_events)


def parabola(n_samples, n_features, height):
    """Features, of which the first has an effect that is a parabola, and the outcome."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_samples, n_features))
    exponential = rng.exponential(size=n_samples) * np.exp(-height * X[:, 0] ** 2)
    time, censoring = exponential ** (1 / 1.5), rng.exponential(2.0, n_samples)
    return X, Surv.from_arrays(time <= censoring, np.minimum(time, censoring))


@both
def test_what_all_networks_miss_widens_bands(kind):
    """Networks that have hardly been trained know nothing of a parabola, and agree in that."""
    found = []
    for height in (0.6, 0.0):
        X, y = parabola(400, 4, height)
        model = kind(n_estimators=5, hidden_layer_sizes=(8,), max_epochs=1, random_state=0)
        model.fit(X, y)
        lower, upper = model.predict_risk_interval(X)
        (missed,) = model._interval_basis["missed"]
        found.append((missed, (upper - lower).mean()))
    (there, wide), (nothing, narrow) = found
    # In units of the output, in which effects on a Weibull model's log scale are small.
    assert there > 0.05
    assert nothing < there / 5
    assert wide > 1.2 * narrow


def test_effects_of_pixels_are_not_looked_for():
    """Samples that are no rows of a table have no features that each have an effect."""
    X, y = parabola(200, 8, 0.6)
    images = X.reshape(-1, 2, 4)
    options = {"n_estimators": 5, "max_epochs": 1, "random_state": 0}
    assert CoxNNRegressor(hidden_layer_sizes=(), **options).fit(X, y)._interval_basis["missed"] > 0
    model = CoxNNRegressor(module=Flat, **options).fit(images, y)
    np.testing.assert_array_equal(model._interval_basis["missed"], [0])
    lower, upper = model.predict_risk_interval(images)
    assert (lower < upper).all()


class Flat(torch.nn.Sequential):
    """A linear model of images of two rows and four columns."""

    def __init__(self):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(8, 1))


def test_many_events_are_thinned(monkeypatch, whas500):
    X, _ = whas500
    exact = fitted(CoxNNRegressor, whas500, n_estimators=5)
    monkeypatch.setattr(_cox_intervals, "STEPS", 30)
    thinned = fitted(CoxNNRegressor, whas500, n_estimators=5)
    assert len(exact._interval_basis["times"]) > 60
    assert 20 < len(thinned._interval_basis["times"]) <= 30
    for (lower, upper), point in all_intervals(thinned, X).values():
        assert ((lower <= point) & (point <= upper)).all()
    for ours, other in zip(
        thinned.predict_survival_interval(X), exact.predict_survival_interval(X), strict=True
    ):
        # The standard error of a baseline changes little from one kept time to the next.
        assert 0 < np.abs(ours - other).mean() < 0.01


@both
def test_whole_numbers_of_rows_and_times(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 2))
    y = Surv.from_arrays(rng.random(150) < 0.7, rng.integers(1, 30, 150))
    model = fitted(kind, (X, y), n_estimators=5, max_epochs=2)
    for (lower, upper), point in all_intervals(model, X[:1]).values():
        assert ((lower <= point) & (point <= upper)).all()


@both
def test_coverage_in_a_linear_simulation(kind):
    """Of 4 data sets of 300 rows the band holds 80 to 99 % of the truth, the interval 84 to 96 %.

    The errors of a data set belong together: its coverage varies by some 0.1, that of four by
    0.05. The 1,200 times of new people vary by 0.01, and the calibration on 300 rows by 0.01.
    """
    bands, times = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(600, 4))
        log_hazard_ratio = X @ [0.8, -0.5, 0.0, 0.0]
        time = (rng.exponential(size=600) * np.exp(-log_hazard_ratio)) ** (1 / 1.5)
        censoring = rng.exponential(2.0, 600)
        y = Surv.from_arrays(time <= censoring, np.minimum(time, censoring))
        model = kind(n_estimators=15, random_state=0, hidden_layer_sizes=(16,), max_epochs=15)
        model.fit(X[:300], y[:300])
        grid = np.quantile(y["time"][:300], np.linspace(0.1, 0.9, 9))
        lower, upper = model.predict_survival_interval(X[300:], times=grid)
        truth = np.exp(-(grid**1.5) * np.exp(log_hazard_ratio[300:, None]))
        bands.append(((lower <= truth) & (truth <= upper)).mean())
        first, last = model.predict_time_interval(X[300:])
        times.append(((first <= time[300:]) & (time[300:] <= last)).mean())
    assert 0.80 < np.mean(bands) < 0.99
    assert 0.84 < np.mean(times) < 0.96


def test_a_stratum_without_events_has_no_band(whas500):
    """Nothing is known of its curve, which stays at 1."""
    X, y = whas500[0][:60], whas500[1][:60].copy()
    stratum = np.repeat(["a", "b", "c"], [40, 15, 5])
    y["event"][55:] = False
    model = CoxNNRegressor(hidden_layer_sizes=(4,), n_estimators=5, max_epochs=1, random_state=0)
    model.fit(X, y, stratum=stratum)
    lower, upper = model.predict_survival_interval(X, stratum=stratum)
    assert (lower[55:] == 1).all()
    assert (upper[55:] == 1).all()
    assert (lower[:40, -1] < upper[:40, -1]).all()
    for bounds in (
        model.predict_median_interval(X, stratum=stratum),
        model.predict_time_interval(X, stratum=stratum)[1:],
    ):
        assert all(np.isinf(bound[55:]).all() for bound in bounds)


@both
def test_a_time_is_known_of_a_cumulative_hazard_far_out(kind, whas500):
    """The probability of the event is 1 - 4e-18 there, which is 1 to a float."""
    X, y = whas500
    model = kind(hidden_layer_sizes=(4,), n_estimators=5, max_epochs=1, random_state=0).fit(X, y)
    basis = model._interval_basis
    basis |= {"score": np.array([40.0]), "mass": np.array([0.9]), "reserve": np.array([0.01])}
    _, upper = model.predict_time_interval(X[:5], level=0.5)
    if kind is CoxNNRegressor:
        assert np.isinf(upper).all()  # within the follow-up
        return
    scale, shape = model.predict_params(X[:5])
    np.testing.assert_allclose((upper / scale) ** shape, 40, rtol=1e-5)
