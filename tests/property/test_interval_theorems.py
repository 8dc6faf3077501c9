"""Theorems of the concordance index and of Turnbull's estimate of interval-censored times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sksurv.exceptions import NoComparablePairException
from sksurv.nonparametric import kaplan_meier_estimator

from sksurvtorch.metrics import (
    concordance_index_censored,
    concordance_index_interval_censored,
    turnbull,
)
from tests.interval_twins import (
    cells_of,
    concordance_twin,
    em_twin,
    is_before,
    log_likelihood_twin,
    random_intervals,
)

KINDS = [("exact", "right", "left", "interval"), ("left", "interval"), ("exact", "interval")]
KINDS += [("right", "left"), ("exact", "right"), ("interval",)]


@st.composite
def intervals(draw, max_rows=30):
    """Rows of some kinds, many with ends in common, an estimate with ties, integer weights."""
    n = draw(st.integers(2, max_rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grid = draw(st.sampled_from([3, 8, None]))
    lower, upper = random_intervals(rng, n, grid=grid, kinds=draw(st.sampled_from(KINDS)))
    estimate = rng.integers(0, draw(st.sampled_from([3, 1000])), n) * 0.1
    return lower, upper, estimate, rng.integers(0, 4, n)


def index_of(lower, upper, estimate, **options):
    return concordance_index_interval_censored(lower, upper, estimate, **options)


@given(intervals(), st.sampled_from([0.0, 1e-8, 0.1, 0.25]), st.booleans())
def test_the_index_is_that_of_all_pairs(data, tied_tol, weighted):
    lower, upper, estimate, weight = data
    weight = weight if weighted else np.ones(len(lower))
    expected = concordance_twin(lower, upper, estimate, tied_tol, weight)
    options = {"tied_tol": tied_tol, "sample_weight": weight if weighted else None}
    if not sum(expected[1:4]):
        with pytest.raises(NoComparablePairException):
            index_of(lower, upper, estimate, **options)
    else:
        assert index_of(lower, upper, estimate, **options) == pytest.approx(expected, rel=1e-14)


@given(intervals(), st.booleans(), st.booleans())
def test_events_and_right_censored_rows_have_the_index_of_harrell(data, weighted, wide):
    lower, upper, estimate, weight = data
    event = np.isfinite(upper)
    time = np.where(event, upper, lower)
    assume(time.all())  # a row that is censored at 0 says nothing
    weight = (weight + 0.1 if wide else weight) if weighted else None
    try:
        expected = concordance_index_censored(event, time, estimate, sample_weight=weight)
    except NoComparablePairException:
        assume(False)
    found = index_of(time, np.where(event, time, np.inf), estimate, sample_weight=weight)
    assert found == expected


@given(intervals(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(data, random):
    lower, upper, estimate, _ = data
    assume(is_before(lower, upper).any())
    order = np.array(random.sample(range(len(lower)), len(lower)))
    expected = index_of(lower, upper, estimate)
    assert index_of(lower[order], upper[order], estimate[order]) == expected
    curve, other = turnbull(lower, upper), turnbull(lower[order], upper[order])
    assert other.log_likelihood == pytest.approx(curve.log_likelihood, abs=1e-7)
    np.testing.assert_array_equal(other.left, curve.left)


@given(intervals())
def test_ascending_maps_of_time_and_estimate_change_nothing(data):
    lower, upper, estimate, _ = data
    assume(is_before(lower, upper).any())
    expected = index_of(lower, upper, estimate)
    # Multiples of 0.1 stay apart.
    assert index_of(np.sqrt(lower), np.sqrt(upper), np.expm1(estimate / 50)) == expected


@given(intervals())
def test_the_reverse_order_has_the_rest_of_the_index(data):
    lower, upper, _, _ = data
    assume(is_before(lower, upper).any())
    estimate = np.random.default_rng(len(lower)).permutation(len(lower))
    found, reverse = index_of(lower, upper, estimate), index_of(lower, upper, -estimate)
    assert found.tied_risk == 0
    assert reverse.concordance == pytest.approx(1 - found.concordance, abs=1e-15)
    assert (reverse.concordant, reverse.discordant) == (found.discordant, found.concordant)


@given(intervals(max_rows=12))
def test_a_weight_is_a_row_repeated(data):
    lower, upper, estimate, weight = data
    rows = np.repeat(np.arange(len(lower)), weight)
    assume(len(rows) and is_before(lower[rows], upper[rows]).any())
    found = index_of(lower, upper, estimate, sample_weight=weight)
    assert found == index_of(lower[rows], upper[rows], estimate[rows])
    curve = turnbull(lower, upper, sample_weight=weight)
    repeated = turnbull(lower[rows], upper[rows])
    assert curve.log_likelihood == pytest.approx(repeated.log_likelihood, abs=1e-7)
    np.testing.assert_array_equal(curve.left, repeated.left)
    np.testing.assert_array_equal(curve.right, repeated.right)


@given(intervals())
def test_no_cell_of_time_can_gain_probability(data):
    """The conditions of Kuhn and Tucker, on a table of all cells: the maximum is global."""
    lower, upper, _, weight = data
    weight = weight + 1
    curve = turnbull(lower, upper, sample_weight=weight)
    assert curve.mass.sum() == pytest.approx(1, abs=1e-12)
    assert (curve.mass >= 0).all()
    assert (curve.left <= curve.right).all()
    assert (curve.right[:-1] <= curve.left[1:]).all()
    begin, end, holds = cells_of(lower, upper)
    # The end of an innermost interval is a cell, but for infinity.
    mass = np.zeros(len(begin))
    for right, own in zip(curve.right, curve.mass, strict=True):
        cell = (end == right) & ((begin == end) | np.isinf(right))
        mass[np.flatnonzero(cell)[-1]] += own
    probability = holds @ mass
    derivative = weight / probability @ holds
    assert derivative.max() <= weight.sum() * (1 + 1.001e-9)
    assert curve.log_likelihood == pytest.approx(weight @ np.log(probability), rel=1e-12)


@given(intervals(max_rows=10))
def test_the_likelihood_is_that_of_many_steps_of_em(data):
    lower, upper, _, weight = data
    weight = weight + 1
    curve = turnbull(lower, upper, sample_weight=weight)
    *_, holds = cells_of(lower, upper)
    mass = em_twin(holds, weight, 300)
    least = log_likelihood_twin(holds, weight, mass)
    # EM is slow where masses vanish.
    assert least - 1e-7 <= curve.log_likelihood <= least + 0.05


@given(intervals())
def test_no_other_distribution_has_a_greater_likelihood(data):
    lower, upper, _, weight = data
    weight = weight + 1
    greatest = turnbull(lower, upper, sample_weight=weight).log_likelihood
    *_, holds = cells_of(lower, upper)
    rng = np.random.default_rng(0)
    for concentration in np.geomspace(0.01, 100, 100):
        mass = rng.dirichlet(np.full(holds.shape[1], concentration))
        if (holds @ mass > 0).all():
            assert log_likelihood_twin(holds, weight, mass) <= greatest + 1e-7


@given(intervals())
def test_without_intervals_it_is_kaplan_meier(data):
    lower, upper, _, _ = data
    event = np.isfinite(upper)
    time = np.where(event, upper, lower)
    curve = turnbull(time, np.where(event, time, np.inf))
    times, survival = kaplan_meier_estimator(event, time)
    for bound in curve.survival_bounds(times[:-1]):
        np.testing.assert_allclose(bound, survival[:-1], rtol=0, atol=1e-12)
    assert curve.survival_bounds(times)[1] == pytest.approx(survival, abs=1e-12)


@given(intervals(), st.sampled_from([1e-3, 365.25, 1e6]))
def test_a_change_of_unit_changes_the_times_alone(data, unit):
    lower, upper, _, _ = data
    curve, other = turnbull(lower, upper), turnbull(lower * unit, upper * unit)
    np.testing.assert_array_equal(other.left, curve.left * unit)
    np.testing.assert_array_equal(other.right, curve.right * unit)
    np.testing.assert_array_equal(other.mass, curve.mass)


@given(intervals())
def test_the_curve_lies_between_its_bounds_and_meets_them_at_the_ends(data):
    lower, upper, _, _ = data
    curve = turnbull(lower, upper)
    times = np.unique(np.append([lower, upper], 0))
    times = times[np.isfinite(times)]
    times = np.sort(np.append(times, (times[1:] + times[:-1]) / 2))
    least, greatest = curve.survival_bounds(times)
    assert (least <= greatest).all()
    assert (np.diff(least) <= 0).all()
    assert (np.diff(greatest) <= 0).all()
    assert greatest[0] == 1
    assert curve.survival[-1] == 0
    for number, (left, right) in enumerate(zip(curve.left, curve.right, strict=True)):
        inside = (left < times) & (times < right)
        assert greatest[inside] - least[inside] == pytest.approx(curve.mass[number], abs=1e-12)
        if np.isfinite(right):
            at_end = curve.survival_bounds([right])
            assert at_end[0] == at_end[1] == curve.survival[number]
