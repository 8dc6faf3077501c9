"""Scores of competing risks: hazardous' numbers, loops over pairs, scikit-survival with one cause.

The figures were printed by hazardous 0.2.0 (lifelines 0.30.3) for the data of `data` below, with
``ytr`` and ``yte`` as data frames of event and duration, and F the predictions:

    brier_score_incidence(ytr, yte, F, TIMES, event_of_interest=k)
    integrated_brier_score_incidence(ytr, yte, F, TIMES, event_of_interest=k)
    concordance_index_incidence(yte, F, ipcw_estimator=None, time_grid=TIMES, event_of_interest=k)
    concordance_index_incidence(
        yte, F, y_train=ytr, time_grid=TIMES, event_of_interest=k, taus=[1.2]
    )
"""

import numpy as np
import pytest
from sksurv.exceptions import NoComparablePairException
from sksurv.metrics import brier_score, integrated_brier_score
from sksurv.nonparametric import (
    CensoringDistributionEstimator,
    cumulative_incidence_competing_risks,
)
from sksurv.util import Surv, check_y_survival

from sksurvtorch.metrics import (
    brier_score_incidence,
    concordance_index_censored,
    concordance_index_competing_risks,
    concordance_index_competing_risks_ipcw,
    concordance_index_ipcw,
    incidence_calibration,
    integrated_brier_score_incidence,
)
from sksurvtorch.nets import competing_risks_y

TIMES = np.array([0.2, 0.4, 0.8, 1.2])
BRIER = {
    1: [0.12193183, 0.188951, 0.20836066, 0.23145428],
    2: [0.14610234, 0.20896575, 0.24147918, 0.26112662],
}
INTEGRATED = {1: 0.1985136025830562, 2: 0.22611695602626203}
CONCORDANCE = {1: 0.75007267, 2: 0.69150966}
CONCORDANCE_IPCW = {1: 0.74819751, 2: 0.6938491}


def data(seed, n):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    one, two = rng.exponential(np.exp(-x)), rng.exponential(np.exp(0.5 * x))
    censoring = rng.exponential(2.0, n)
    time = np.minimum(np.minimum(one, two), censoring)
    return x, competing_risks_y(np.select([time == one, time == two], [1, 2], 0), time)


def predictions(x, cause):
    slope = {1: 1.0, 2: -0.5}[cause]
    return 1 - np.exp(-np.exp(slope * x)[:, None] * TIMES * np.exp(-TIMES))


def tied(seed, n=60, n_times=12, shares=(0.3, 0.4, 0.3)):
    """Ties of times within and between causes, and of estimates."""
    rng = np.random.default_rng(seed)
    status = rng.choice(len(shares), n, p=shares)
    y = competing_risks_y(status, rng.integers(1, n_times, n))
    return y, rng.integers(0, 9, n) / 8


@pytest.mark.parametrize("cause", [1, 2])
def test_the_numbers_of_hazardous(cause):
    (_, train), (x, test) = data(0, 400), data(1, 300)
    estimate = predictions(x, cause)
    times, scores = brier_score_incidence(train, test, estimate, TIMES, cause=cause)
    np.testing.assert_array_equal(times, TIMES)
    np.testing.assert_allclose(scores, BRIER[cause], atol=5e-9)
    found = integrated_brier_score_incidence(train, test, estimate, TIMES, cause=cause)
    assert found == pytest.approx(INTEGRATED[cause], rel=1e-12)
    last = estimate[:, -1]
    found = concordance_index_competing_risks(test, last, cause=cause)[0]
    assert found == pytest.approx(CONCORDANCE[cause], abs=5e-9)
    found = concordance_index_competing_risks_ipcw(train, test, last, cause=cause, tau=1.2)[0]
    assert found == pytest.approx(CONCORDANCE_IPCW[cause], abs=5e-9)


def pairs(y, estimate, cause, weight_of, tau=np.inf):
    """Weights of concordant, discordant and tied pairs, pair by pair."""
    status, time = y["status"], y["time"]
    totals = [0.0, 0.0, 0.0]
    for i in np.flatnonzero((status == cause) & (time < tau)):
        for j in range(len(y)):
            outlives = time[j] > time[i] or (time[j] == time[i] and status[j] == 0)
            is_other = status[j] not in (0, cause)
            if j == i or not (outlives or (is_other and time[j] <= time[i])):
                continue
            kind = 2 if estimate[i] == estimate[j] else int(estimate[i] < estimate[j])
            totals[kind] += weight_of(i, j, is_other and time[j] <= time[i])
    return totals


@pytest.mark.parametrize("cause", [1, 2])
def test_pairs_by_loops(cause):
    for seed in range(5):
        y, estimate = tied(seed)
        expected = pairs(y, estimate, cause, lambda i, j, other: 1)
        found = concordance_index_competing_risks(y, estimate, cause=cause)
        assert list(found[1:4]) == expected
        assert found[0] == (expected[0] + expected[2] / 2) / sum(expected)
        weight = np.random.default_rng(seed).integers(0, 4, len(y))
        expected = pairs(y, estimate, cause, lambda i, j, other: weight[i] * weight[j])  # noqa: B023
        found = concordance_index_competing_risks(y, estimate, cause=cause, sample_weight=weight)
        assert list(found[1:4]) == expected


@pytest.mark.parametrize("tau", [None, 6])
@pytest.mark.parametrize("cause", [1, 2])
def test_weighted_pairs_by_loops(cause, tau):
    for seed in range(5):
        (y, estimate), (train, _) = tied(seed), tied(100 + seed, n=300, n_times=15)
        curve = CensoringDistributionEstimator()
        curve.fit(Surv.from_arrays(train["status"] > 0, train["time"]))
        g = curve.predict_proba(y["time"])

        def weight(i, j, other, g=g):
            return 1 / (g[i] * (g[j] if other else g[i]))

        expected = pairs(y, estimate, cause, weight, np.inf if tau is None else tau)
        index = (expected[0] + expected[2] / 2) / sum(expected)
        found = concordance_index_competing_risks_ipcw(train, y, estimate, cause=cause, tau=tau)
        assert found[0] == pytest.approx(index, rel=1e-12)
        assert found[1:] == concordance_index_competing_risks(y, estimate, cause=cause)[1:]


def test_one_cause_is_what_it_is_without_competing_risks():
    y, estimate = tied(1, shares=(0.4, 0.6))
    train, _ = tied(2, n=300, n_times=15, shares=(0.4, 0.6))
    plain, plain_train = (Surv.from_arrays(z["status"] > 0, z["time"]) for z in (y, train))
    expected = concordance_index_censored(plain["event"], plain["time"], estimate)
    assert concordance_index_competing_risks(y, estimate) == expected
    expected = concordance_index_ipcw(plain_train, plain, estimate, tau=9)
    found = concordance_index_competing_risks_ipcw(train, y, estimate, tau=9)
    assert found == pytest.approx(expected, rel=1e-12)
    times = np.array([2.5, 4.0, 7.0])
    incidence = np.random.default_rng(0).random((len(y), 3))
    expected = brier_score(plain_train, plain, 1 - incidence, times)[1]
    found = brier_score_incidence(train, y, incidence, times)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    expected = integrated_brier_score(plain_train, plain, 1 - incidence, times)
    found = integrated_brier_score_incidence(train, y, incidence, times)
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("cause", [1, 2])
def test_groups_have_the_estimate_of_scikit_survival(cause):
    y, estimate = tied(4, n=300)
    result = incidence_calibration(y, estimate, 5.5, cause=cause, n_groups=3)
    ends = np.cumsum(result.group_size)
    ordered = y[np.argsort(estimate, kind="stable")]
    assert ends[-1] == 300
    for part, observed in zip(np.split(ordered, ends[:-1]), result.observed, strict=True):
        times, curves = cumulative_incidence_competing_risks(part["status"], part["time"])
        expected = curves[cause, np.searchsorted(times, 5.5, side="right") - 1]
        assert observed == pytest.approx(expected, rel=1e-12)
    assert (np.diff(result.predicted) > 0).all()
    assert result.predicted @ result.group_size == pytest.approx(estimate.sum())


def test_true_incidences_score_best_and_are_calibrated():
    rng = np.random.default_rng(5)
    n = 20_000
    x = rng.normal(size=n)
    one, two = rng.exponential(np.exp(-x)), rng.exponential(np.ones(n))
    censoring = rng.exponential(2.0, n)
    time = np.minimum(np.minimum(one, two), censoring)
    y = competing_risks_y(np.select([time == one, time == two], [1, 2], 0), time)
    total = np.exp(x) + 1
    true = np.exp(x) / total * (1 - np.exp(-total * 0.7))
    score = {}
    for name, estimate in {
        "true": true,
        "low": 0.7 * true,
        "mean": np.full(n, true.mean()),
    }.items():
        score[name] = brier_score_incidence(y, y, estimate[:, None], [0.7])[1][0]
    assert score["true"] < min(score["low"], score["mean"]) - 0.005
    result = incidence_calibration(y, true, 0.7)
    assert np.abs(result.predicted - result.observed).max() < 0.04


def test_what_a_helper_makes_scikit_survival_reads():
    y = competing_risks_y([1, 0, 2], [3, 1, 2])
    status, time = check_y_survival(y, competing_risks=True)
    assert status.tolist() == [1, 0, 2]
    assert time.tolist() == [3, 1, 2]


def test_errors_say_what_to_do():
    y = competing_risks_y([1, 0, 2], [1, 2, 3])
    with pytest.raises(ValueError, match=r"^`estimate` must have shape \(3, 1\), a row for each"):
        brier_score_incidence(y, y, np.zeros((3, 2)), [1.0])
    with pytest.raises(ValueError, match=r"^`estimate` must be within \[0, 1\], got 2 \(1 of 3\)"):
        brier_score_incidence(y, y, np.array([[0], [2], [1.0]]), [1.0])
    with pytest.raises(ValueError, match=r"^`times` must be at least two that ascend, got 2\."):
        integrated_brier_score_incidence(y, y, np.zeros((3, 2)), [2.0, 1.0])
    late = competing_risks_y([1, 0, 0], [1, 2, 3])
    with pytest.raises(ValueError, match=r"^`survival_train` must leave a chance .* none at 3\."):
        brier_score_incidence(late, competing_risks_y([1, 0], [1, 4]), np.zeros((2, 1)), [3.0])
    with pytest.raises(ValueError, match=r"^`time` must be within the follow-up of each group"):
        incidence_calibration(late, [0.1, 0.2, 0.3], 4, n_groups=1)
    with pytest.raises(NoComparablePairException):
        concordance_index_competing_risks(y, [1, 2, 3], cause=3)
    with pytest.raises(NoComparablePairException, match=r"^`tau` must leave an event of cause 1"):
        concordance_index_competing_risks_ipcw(y, y, [1, 2, 3], tau=0.5)
    with pytest.raises(ValueError, match=r"^`cause` must be at least 1, got 0\."):
        concordance_index_competing_risks(y, [1, 2, 3], cause=0)
    with pytest.raises(
        ValueError, match=r"^The first field of `y`, 'a', must hold integers, 0 for"
    ):
        concordance_index_competing_risks(np.zeros(2, [("a", float), ("b", float)]), [1, 2])
