"""Bands: the jackknife, what is made of it over time, and weights for the censoring."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student
from sksurv.nonparametric import kaplan_meier_estimator

from sksurvtorch.estimators._bands import Jackknife, LinearBand, SteppedBand, as_curves
from sksurvtorch.estimators._baseline import Baseline
from sksurvtorch.estimators._time_interval import bounds, censoring_survival, learn_scores

EQUAL = np.full(5, 0.2)


def test_the_jackknife_of_means_is_the_variance_of_a_mean():
    # Five groups of one number each: the variance of the mean of all is s^2 / 5.
    numbers = np.array([3.0, 1.0, 4.0, 1.5, 9.0])
    without = (numbers.sum() - numbers) / 4
    variance = (Jackknife.of(EQUAL).deviations(without) ** 2).sum()
    assert variance == pytest.approx(numbers.var(ddof=1) / 5, rel=1e-14)


def test_divisions_count_by_their_weight_and_differ_from_each_other():
    values = np.array([1.0, 2, 3, 4, 5, 12, 10, 10, 8, 10, 77, 99])
    weights = np.array([*[0.05] * 5, *[0.15] * 5, 0.1, 0.1])  # the last two have no division
    within = 0.8 * (0.25 * 10 + 0.75 * 8)
    between = 0.25 * (3 - 8.25) ** 2 + 0.75 * (10 - 8.25) ** 2
    variance = (Jackknife.of(weights).deviations(values) ** 2).sum()
    assert variance == pytest.approx(within + between, rel=1e-14)


@pytest.mark.parametrize(("weights", "freedom"), [(EQUAL, 4), (np.full(15, 1 / 15), 12)])
def test_the_quantile_is_that_of_students_t(weights, freedom):
    assert Jackknife.of(weights).quantile(0.9) == pytest.approx(student.ppf(0.95, freedom))


def test_one_event_has_a_relative_error_of_one():
    # A member has left the only event out; that is Poisson's standard error of a count of 1.
    log_hazard = np.log([1.25, 1.25, 1.25, 1.25, 1.0])
    log_hazard[4] = -np.inf
    deviation = Jackknife.of(EQUAL).deviations(log_hazard, log=True)
    assert (deviation**2).sum() == pytest.approx(1.0, rel=1e-14)
    assert np.isfinite(deviation).all()


def test_relative_deviations_are_close_to_those_of_logarithms():
    log_hazard = np.log(2 + 0.001 * np.arange(10.0))
    weights = np.full(10, 0.1)
    exact = Jackknife.of(weights).deviations(log_hazard)
    some = np.stack([log_hazard, log_hazard], axis=1)
    some[3, 0] = -np.inf  # the first division has a zero at one time, the second nowhere
    found = Jackknife.of(weights).deviations(some, log=True)
    np.testing.assert_allclose(found[:, 1], exact, rtol=1e-12)
    np.testing.assert_allclose(found[5:10, 0], exact[5:10], rtol=1e-12)
    assert abs(found[3, 0]) == pytest.approx(np.sqrt(0.4), rel=1e-9)


@pytest.fixture
def stepped():
    """A band whose members disagree more early than late, and its samples."""
    rng = np.random.default_rng(0)
    times = np.arange(1.0, 9)
    log_hazard = np.log(np.cumsum(np.linspace(0.01, 0.3, 8)))
    noise = rng.normal(size=(5, 8)) * np.array([0.05, 2, 0.05, 1.5, 0.1, 0.1, 0.6, 0.05])
    baseline = Baseline(np.array([0, 8]), times, log_hazard)
    band = SteppedBand(baseline, baseline, log_hazard + noise, Jackknife.of(EQUAL), 2.1)
    each = rng.normal(size=(5, 3))
    return band, (each.mean(0), 0.1 * each, np.array([0.0, 0.1, 0.2]), np.zeros(3, dtype=int))


def test_a_stepped_band_uses_that_curves_rise(stepped):
    band, samples = stepped
    log_hazard_ratio, each, extra, _ = samples
    low, high = (np.empty((3, 8)) for _ in range(2))
    for row in range(3):
        curves = band.members + each[:, row, None]
        variance = 0.8 * ((curves - curves.mean(0)) ** 2).sum(0) + extra[row]
        curve = band.baseline.log_cumulative_hazard + log_hazard_ratio[row]
        raw = curve - 2.1 * np.sqrt(variance), curve + 2.1 * np.sqrt(variance)
        assert (np.diff(raw[0]) < 0).any()
        assert (np.diff(raw[1]) < 0).any()
        low[row] = [raw[0][: k + 1].max() for k in range(8)]
        high[row] = [raw[1][k:].min() for k in range(8)]
    found = band.over_time(*samples, np.array([8.0, 0.5, 3.7, 3.0]))
    for ours, expected in zip(found, (low, high), strict=True):
        np.testing.assert_allclose(ours[:, [0, 2, 3]], expected[:, [7, 2, 2]], rtol=1e-12)
        assert np.isneginf(ours[:, 1]).all()


def test_a_stepped_band_is_reached_where_it_is_crossed(stepped):
    band, samples = stepped
    times = band.baseline.times
    needed = np.array([-np.inf, -2.0, -0.5, 3.0])
    low, high = band.over_time(*samples, times)
    for found, bound in zip(band.reached(*samples, needed), (high, low), strict=True):
        for row in range(3):
            expected = [times[bound[row] >= value][:1].tolist() or [np.inf] for value in needed]
            assert found[row].tolist() == [time for (time,) in expected]


LINES = {
    "usual": (1.5, 0.2),
    "steep": (0.3, 0.4),
    "no correlation": (1.0, 0.0),
}


@pytest.mark.parametrize("case", LINES)
def test_a_linear_band_uses_that_curves_rise(case):
    rise, sd = LINES[case]
    slope = sd * sd
    band = LinearBand(
        np.array([-0.5]), np.array([rise]), np.array([0.09]), np.array([-0.2 * slope]),
        np.array([slope]), 2.1,
    )  # fmt: skip
    v = np.linspace(-30, 30, 6001)
    half = 2.1 * np.sqrt(0.09 - 0.4 * slope * v + slope * v * v)
    low, high = band.over_time(v)
    np.testing.assert_allclose(low[0], np.maximum.accumulate(-0.5 + rise * v - half), atol=1e-4)
    expected = np.minimum.accumulate((-0.5 + rise * v + half)[::-1])[::-1]
    np.testing.assert_allclose(high[0], expected, atol=1e-4)
    assert (low <= -0.5 + rise * v).all()
    assert (high >= -0.5 + rise * v).all()


@pytest.mark.parametrize("case", LINES)
def test_a_linear_band_is_reached_where_it_is_crossed(case):
    rise, sd = LINES[case]
    n = 40
    level = np.linspace(-3, 3, n)
    slope = np.full(n, sd * sd)
    band = LinearBand(level, np.full(n, rise), np.full(n, 0.04), 0.1 * slope, slope, 1.8)
    needed = np.array([-np.inf, -1.0, 0.7, np.inf])
    earliest, latest = band.reached(needed, -300.0, 300.0)
    assert (earliest <= latest).all()
    assert np.isneginf([earliest[:, 0], latest[:, 0]]).all()
    assert np.isposinf([earliest[:, 3], latest[:, 3]]).all()
    for found, sign in ((earliest, 1), (latest, -1)):
        inside = np.isfinite(found[:, 1:3])
        assert inside.any() or case == "steep"
        for row, column in zip(*np.nonzero(inside), strict=True):
            pair = band.over_time(found[row, 1 + column, None])
            value = pair[1 if sign > 0 else 0][row, 0]
            assert value == pytest.approx(needed[1 + column], abs=1e-10)
    if case == "steep":  # some bounds never come so far
        assert np.isneginf(earliest[:, 1]).any()
        assert np.isposinf(latest[:, 2]).any()


def test_bounds_of_survival_lie_the_other_way_round():
    lower, upper = np.log([[0.5]]), np.log([[2.0]])
    np.testing.assert_allclose(as_curves(lower, upper, survival=False), [[[0.5]], [[2.0]]])
    survival = as_curves(lower, upper, survival=True)
    np.testing.assert_allclose(survival, np.exp([[[-2.0]], [[-0.5]]]))
    assert as_curves(np.array([-np.inf]), np.array([800.0]), survival=True)[0] == 0


EVENT = np.array([True, False, True, False, True, True, False, False])
TIME = np.array([2.0, 2, 3, 4, 4, 7, 7, 9])
WEIGHT = np.array([1.0, 2, 0.5, 1, 3, 1, 1, 2])


def test_the_censoring_is_estimated_by_kaplan_and_meier():
    # By hand: at 2 two of weight 10.5 are censored, at 4 one of 5, before 7 none.
    found = censoring_survival(EVENT, TIME, WEIGHT)
    at_4, at_7 = 1 - 2 / 10.5, (1 - 2 / 10.5) * (1 - 1 / 5)
    np.testing.assert_allclose(found[:-1], [1, 1, at_4, at_4, at_4, at_7, at_7], rtol=1e-14)


def test_all_masses_are_the_jumps_of_the_kaplan_meier_curve():
    learned = learn_scores(TIME, EVENT, TIME, None)
    times, survival = kaplan_meier_estimator(EVENT, TIME)
    jumps = -np.diff(survival, prepend=1.0)
    n = len(TIME)
    np.testing.assert_allclose(learned["mass"], jumps[jumps > 0] * n / (n + 1), rtol=1e-12)
    assert learned["score"].tolist() == [2.0, 3, 4, 7] == times[jumps > 0].tolist()


def test_weights_count_as_often_as_rows():
    times = np.arange(1.0, 9)
    counts = np.array([1, 3, 2, 1, 1, 2, 1, 4])
    weighted = learn_scores(times, EVENT, times, counts.astype(float))
    rows = np.repeat(np.arange(8), counts)
    repeated = learn_scores(times[rows], EVENT[rows], times[rows], None)
    n, m = 8, counts.sum()
    mass = np.array([repeated["mass"][repeated["score"] == s].sum() for s in weighted["score"]])
    np.testing.assert_allclose(weighted["mass"] * (n + 1) / n, mass * (m + 1) / m, rtol=1e-12)


def test_without_censoring_bounds_are_order_statistics():
    score = np.random.default_rng(0).permutation(np.arange(1.0, 100))
    learned = learn_scores(score, np.ones(99, dtype=bool), np.arange(99.0), None)
    # Of 99 scores and a new one a hundredth each: five below 5, and five from 95 on.
    assert bounds(learned, 0.9 - 1e-9) == (5.0, 95.0)
    assert bounds(learned, 0.999) == (0.0, np.inf)


@pytest.mark.parametrize(("n", "level", "ranks"), [(19, 0.9, (1, 19)), (199, 0.9, (10, 190))])
def test_a_share_that_is_a_whole_number_of_rows_is_not_rounded_away(n, level, ranks):
    """(1 - 0.9) / 2 is less than 0.05 by its rounding."""
    score = np.arange(1.0, n + 1)
    learned = learn_scores(score, np.ones(n, dtype=bool), score, None)
    assert bounds(learned, level) == ranks


def test_an_upper_bound_needs_times_that_are_seen():
    event = np.arange(100) < 80
    learned = learn_scores(np.arange(100.0), event, np.arange(100.0), None)
    lower, upper = bounds(learned, 0.9)
    assert lower > 0
    assert upper == np.inf
    assert bounds(learned, 0.5)[1] < np.inf
