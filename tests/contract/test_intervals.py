"""Bands and intervals of both estimators, beside twins that are made from the members alone."""

from __future__ import annotations

import pickle
import warnings
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from scipy.optimize import minimize
from sklearn.base import clone

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor, load, save
from sksurvtorch.estimators._missed import kernel_of, missed_variance
from tests.contract.interval_twin import Twin, all_intervals
from tests.contract.small_models import own_columns
from tests.contract.test_ensemble_training import Watch
from tests.unit.refusals import refuses

LEVEL = 0.8


@pytest.fixture(scope="module")
def distinct(whas500):
    """Rows that can be told by their features, of which 5 does not divide the numbers.

    One feature has an effect that is a parabola, which members of few epochs miss.
    """
    X, y = (part[:203].copy() for part in whas500)
    y["time"] *= np.exp(-3 * ((X[:, 1] - X[:, 1].mean()) / X[:, 1].std()) ** 2)
    return X + np.arange(203, dtype=np.float32)[:, None] / 10_000, y


@pytest.fixture(scope="module")
def columns():
    """Entry, stratum and weight of each row."""
    rng = np.random.default_rng(0)
    return {
        "entry": rng.uniform(0, 1e-3, 203),
        "stratum": rng.choice(["a", "b", "c"], 203, p=[0.7, 0.25, 0.05]),
        "sample_weight": rng.uniform(0.5, 2, 203),
    }


NAMES = {"cox": CoxNNRegressor, "weibull": WeibullAFTRegressor}
#: With how many members, and with which columns a model is fitted.
CASES = {
    "15": (15, ()),
    "12": (12, ()),
    "5": (5, ()),
    "weights": (10, ("sample_weight",)),
    "all columns": (10, ("sample_weight", "stratum", "entry")),
}


@pytest.fixture(scope="module", params=[f"{kind}: {case}" for kind in NAMES for case in CASES])
def case(request, distinct, columns):
    """A fitted model, its columns, the rows that its members have seen, and what they predict."""
    name, what = request.param.split(": ")
    kind = NAMES[name]
    n_estimators, used = CASES[what]
    X, y = distinct
    given = {name: own for name, own in own_columns(kind, columns).items() if name in used}
    entry = given.get("entry")
    if entry is not None:
        given["entry"] = np.minimum(entry, y["time"] / 2)
    options = {"hidden_layer_sizes": (8,), "max_epochs": 3, "batch_size": 48, "lr": 0.05}
    model = kind(n_estimators=n_estimators, random_state=0, callbacks=[Watch()], **options)
    model.fit(X, y, **given)
    return Twin(model, X, y, given)


def test_bands_are_a_jackknife_of_the_members_curves(case):
    model, y = case.model, case.y
    for row in range(6):
        own = case.stratum == case.stratum[row]
        times = np.unique(y["time"][own & y["event"]])
        if not case.is_cox:
            times = times[::10]
        where = {name: given[[row]] for name, given in case.asked.items()}
        X = case.X[[row]]
        lower, upper = model.predict_cumulative_hazard_interval(X, LEVEL, times=times, **where)
        (point,) = model.predict_cumulative_hazard_function(X, times=times, **where)
        sd = np.sqrt([case.variance(row, time) for time in times])
        factor = np.exp(case.quantile(LEVEL) * sd)
        # Curves rise: a lower bound holds from its time on, an upper one up to it.
        expected_lower = np.maximum.accumulate(point / factor)
        expected_upper = np.minimum.accumulate((point * factor)[::-1])[::-1]
        np.testing.assert_allclose(lower[0], expected_lower, rtol=1e-3)
        np.testing.assert_allclose(upper[0], expected_upper, rtol=1e-3)


def test_the_slope_is_that_of_a_model_of_the_out_of_bag_predictions(case):
    output, y = case.out_of_bag(), case.y
    if case.is_cox:
        frame = pd.DataFrame({"score": output[:, 0], "event": y["event"], "time": y["time"]})
        frame = frame.assign(**case.given)
        names = {"sample_weight": "weights_col", "entry": "entry_col"}
        columns = {names[name]: name for name in case.given if name in names}
        if "stratum" in case.given:
            columns["strata"] = ["stratum"]
        with warnings.catch_warnings():  # of weights that are no whole numbers
            warnings.simplefilter("ignore")
            peer = CoxPHFitter().fit(frame, "time", "event", **columns)
        assert case.slope == pytest.approx(np.clip(peer.params_["score"], 0, 2), abs=2e-3)
        return
    model = case.model
    v = (np.log(y["time"]) - model.log_time_center_) / model.log_time_spread_
    shape, middle = np.exp(output[:, 1]), output[:, 0].mean()

    def loss(x):
        log_scale = middle + x[1] + x[0] * (output[:, 0] - middle)
        log_hazard = shape * (v - log_scale)
        hazard = np.exp(log_hazard)
        if "entry" in case.given:
            entry = (np.log(case.entry) - model.log_time_center_) / model.log_time_spread_
            hazard = hazard - np.exp(shape * (entry - log_scale))
        return case.weight @ (hazard - y["event"] * log_hazard)

    expected = minimize(loss, [1.0, 0.0], bounds=[(0, 2), (None, None)]).x[0]
    assert case.slope == pytest.approx(expected, abs=1e-3)


def test_what_all_members_have_missed_is_judged_by_rows_left_out(case):
    score, information = case.derivatives()
    kernel = kernel_of(case.X.astype(float))
    deviations = np.stack([*case.deviations(case.outputs[:, :, 0])])
    expected = missed_variance(kernel, score, information, deviations)
    # The information of a Cox model comes from one difference of derivatives, to a tenth or so.
    assert case.missed == pytest.approx(expected, rel=0.1 if case.is_cox else 1e-4, abs=0.003)


def test_risk_intervals_are_a_jackknife_of_the_members_scores(case):
    model, X = case.model, case.X[:20]
    lower, upper = model.predict_risk_interval(X, LEVEL)
    each = model.predict_members(X)
    n_divisions = model.n_estimators // 5
    share = model.member_weights_[: 5 * n_divisions].reshape(n_divisions, 5).sum(1)
    share = share / share.sum()
    divided = each[: 5 * n_divisions].reshape(n_divisions, 5, 20)
    variance = share @ (0.8 * ((divided - divided.mean(1, keepdims=True)) ** 2).sum(1))
    variance += share @ (divided.mean(1) - share @ divided.mean(1)) ** 2
    common = np.array([case.common_variance(row) for row in range(20)])
    if not case.is_cox:  # on the scale of log time, in the unit of the user
        common /= (np.exp(case.mean_output()[:20, 1]) / model.log_time_spread_) ** 2
    half = case.quantile(LEVEL) * np.sqrt(variance + common)
    np.testing.assert_allclose(upper - model.predict(X), half, rtol=1e-4)
    np.testing.assert_allclose(model.predict(X) - lower, half, rtol=1e-4)


def test_times_are_calibrated_on_rows_left_out(case):
    model, y, weight = case.model, case.y, case.weight
    if "entry" in case.given:
        refuses(
            lambda: model.predict_time_interval(case.X, **case.asked),
            ValueError,
            "`y` must have events at known times, and `entry` be left out, in `fit` for the "
            "interval of a time, got intervals or late entry. The interval is made of the hazards "
            "at known times of people who were followed from time 0.",
        )
        return
    scores, masses = [], []
    for row in np.flatnonzero(y["event"]):
        by = [k for k in range(model.n_estimators) if row not in case.seen[k]]
        own = model.member_weights_[by]
        hazards = np.array([case.hazard(k, row, y["time"][row]) for k in by])
        scores.append(own @ hazards / own.sum())
        kept = 1.0
        for at in np.unique(y["time"][~y["event"] & (y["time"] < y["time"][row])]):
            censored = ~y["event"] & (y["time"] == at)
            kept *= 1 - weight[censored].sum() / weight[(y["time"] > at) | censored].sum()
        masses.append(weight[row] / kept)
    scores, masses = np.array(scores), np.array(masses)
    whole, new = weight.sum() + weight.mean(), weight.mean()
    for level in (0.5, 0.9):
        low = [h for h in scores if masses[scores < h].sum() + new <= whole * (1 - level) / 2]
        high = [h for h in scores
                if whole - masses[scores <= h].sum() <= whole * (1 - level) / 2]  # fmt: skip
        found = model._hazard_bounds(level)
        assert found[0] == pytest.approx(max(low, default=0.0), rel=1e-4)
        assert found[1] == pytest.approx(min(high, default=np.inf), rel=1e-4)
        lower, upper = model.predict_time_interval(case.X[:20], level, **case.asked)
        for bound, hazard in ((lower, found[0]), (upper, found[1])):
            expected = model.predict_quantile(case.X[:20], 1 - np.exp(-hazard), **case.asked)
            np.testing.assert_allclose(bound, expected, rtol=1e-9)
        assert (lower <= upper).all()
        assert (lower < upper).any()


def test_intervals_hold_the_prediction_and_grow_with_the_level(case):
    model, X = case.model, case.X[:20]
    nested = [all_intervals(model, X, level, **case.asked) for level in (0.01, 0.5, 0.9, 0.999)]
    for name in nested[0]:
        for narrow, wide in pairwise(nested):
            (lower, upper), point = narrow[name]
            assert lower.shape == upper.shape == point.shape
            assert (lower <= point).all(), name
            assert (point <= upper).all(), name
            assert (wide[name][0][0] <= lower).all()
            assert (upper <= wide[name][0][1]).all()
    (lower, upper), _ = nested[-1]["survival"]
    assert (np.diff(lower) <= 0).all()
    assert (np.diff(upper) <= 0).all()
    assert (upper - lower).max() > 0.3
    if not case.given.get("entry", np.zeros(1)).any():
        first, second = (model.predict_time_interval(X, k, **case.asked) for k in (0.5, 0.9))
        assert (second[0] <= first[0]).all()
        assert (first[1] <= second[1]).all()


def test_survival_and_hazard_are_one_band_at_any_times(case):
    model, X = case.model, case.X[:20]
    last = case.last
    times = np.array([last, 0.0, last / 3, last / 2])
    survival = model.predict_survival_interval(X, times=times, **case.asked)
    hazard = model.predict_cumulative_hazard_interval(X, times=times, **case.asked)
    for ours, other in zip(survival, hazard[::-1], strict=True):
        np.testing.assert_allclose(ours, np.exp(-other), rtol=1e-12)
        assert (ours[:, 1] == 1).all()
    whole = model.predict_survival_interval(X, **case.asked)
    grid = model.unique_times_[model.unique_times_ <= last]
    at = model.predict_survival_interval(X, times=grid[::-1], **case.asked)
    for ours, other in zip(whole, at, strict=True):
        np.testing.assert_array_equal(ours[:, : len(grid)], other[:, ::-1])


def test_quantiles_are_where_the_band_has_fallen(case):
    model, X = case.model, case.X[:20]
    for p, label in product((0.1, 0.5, 0.8), np.unique(case.stratum[:20])):
        rows = np.flatnonzero(case.stratum[:20] == label)
        asked = {name: column[rows] for name, column in case.asked.items()}
        pair = model.predict_quantile_interval(X[rows], p, **asked)
        for side, time in enumerate(pair):
            at = np.where(np.isinf(time), case.lasts[rows], time)
            before = np.nextafter(at, 0) if case.is_cox else at * (1 - 1e-6)
            grid = np.concatenate([before, at])
            bound = model.predict_survival_interval(X[rows], times=grid, **asked)[side]
            bound_before, bound_at = np.diag(bound), np.diag(bound[:, len(rows) :])
            assert (bound_before > 1 - p).all()
            reached = bound_at <= (1 - p) * (1 + 1e-9)
            np.testing.assert_array_equal(reached, np.isfinite(time))
    for ours, other in zip(
        model.predict_median_interval(X, **case.asked),
        model.predict_quantile_interval(X, [0.5], **case.asked),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, other[:, 0])


def test_files_pickles_and_equal_fits_have_the_same_intervals(case, tmp_path):
    model, X = case.model, case.X[:20]
    path = tmp_path / "model"
    save(model, path)
    refit = clone(model).fit(case.X, case.y, **case.given)
    expected = all_intervals(model, X, **case.asked)
    restored = load(path, callbacks=None)
    for again in (restored, pickle.loads(pickle.dumps(model)), refit):
        found = all_intervals(again, X, **case.asked)
        for name, (pair, _) in expected.items():
            np.testing.assert_array_equal(found[name][0], pair)
        if not case.given.get("entry", np.zeros(1)).any():
            np.testing.assert_array_equal(
                again.predict_time_interval(X, **case.asked),
                model.predict_time_interval(X, **case.asked),
            )
