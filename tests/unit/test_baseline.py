"""Baseline hazards of a fitted Cox model: steps of each stratum, in numbers that can be checked."""

from __future__ import annotations

import copy
import io
import pickle

import joblib
import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor
from sksurvtorch.estimators import _baseline, _functions
from sksurvtorch.estimators._baseline import Baseline
from sksurvtorch.functional import BreslowBaseline

# Stratum 0 has H = 0.5 from 1 on and H = 2 from 3 on, stratum 1 has H = 1 from 2 on, 2 no event.
STEPS = Baseline(np.array([0, 2, 3, 3]), np.array([1.0, 3.0, 2.0]), np.log([0.5, 2.0, 1.0]))
TIMES = np.array([0.0, 1.0, 2.0, 2.5, 3.0, 4.0])
CUMULATIVE_HAZARD = [[0, 0.5, 0.5, 0.5, 2, 2], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]
SAME_HAZARD = np.zeros(3)
EACH = np.arange(3)


def test_a_stratum_keeps_its_value_until_its_next_event():
    np.testing.assert_allclose(np.exp(STEPS.table(EACH, TIMES)), CUMULATIVE_HAZARD, 1e-15)
    np.testing.assert_allclose(np.exp(STEPS.table(np.array([1]), np.array([2.0]))), [[1.0]], 1e-15)


def test_of_several_events_between_two_times_the_last_counts():
    np.testing.assert_allclose(np.exp(STEPS.table(EACH, np.array([0, 5]))[:, 1]), [2, 1, 0], 1e-15)


def test_a_hazard_ratio_multiplies_the_cumulative_hazard_of_its_stratum():
    stratum, hazard_ratio = np.array([1, 0, 1]), np.array([1.0, 2.0, 3.0])
    expected = hazard_ratio[:, None] * np.array(CUMULATIVE_HAZARD)[stratum]
    values = STEPS.over_time(np.log(hazard_ratio), stratum, TIMES, survival=False)
    np.testing.assert_allclose(values, expected, 1e-14)
    values = STEPS.over_time(np.log(hazard_ratio), stratum, TIMES, survival=True)
    np.testing.assert_allclose(values, np.exp(-expected), 1e-14)


def test_times_may_come_in_any_order_and_twice():
    times = [5, 0, 4, 2, 0]
    values = STEPS.over_time(SAME_HAZARD, EACH, TIMES[times], survival=False)
    np.testing.assert_allclose(values, np.array(CUMULATIVE_HAZARD)[:, times], 1e-15)


def test_each_value_has_a_stratum_and_a_time_of_its_own():
    stratum = np.repeat(EACH, len(TIMES))
    found = np.exp(STEPS.at(stratum, np.tile(TIMES, 3)))
    np.testing.assert_allclose(found, np.ravel(CUMULATIVE_HAZARD), 1e-15)
    backwards = np.exp(STEPS.at(stratum[::-1], np.tile(TIMES, 3)[::-1]))
    np.testing.assert_array_equal(backwards, found[::-1])


def test_thinned_steps_are_close_at_both_ends():
    assert np.array_equal(STEPS.thinned(2).times, STEPS.times)
    times = np.concatenate([np.arange(1000.0), [5, 6, 7]])
    many = Baseline(np.array([0, 1000, 1000, 1003]), times, times - 3)
    few = many.thinned(50)
    assert few.offsets.tolist()[1:] == [few.offsets[1], few.offsets[1], few.offsets[1] + 3]
    first = few.times[: few.offsets[1]]
    assert 40 < len(first) <= 50
    assert first[:2].tolist() == [0, 1]
    assert first[-2:].tolist() == [998, 999]
    assert 30 < np.diff(first).max() < 35  # half pi times 1000 / 49
    np.testing.assert_array_equal(few.log_cumulative_hazard, few.times - 3)


def test_a_quantile_is_the_first_event_of_the_stratum_that_reaches_it():
    """-log(1 - p) is 0.36 for p = 0.3, 0.69 for 0.5 and 2.3 for 0.9."""
    probability = np.array([0, 0.3, 0.5, 0.9, 1])
    expected = [
        [0, 1, 3, np.inf, np.inf],
        [0, 2, 2, np.inf, np.inf],
        [0, np.inf, np.inf, np.inf, np.inf],
    ]
    np.testing.assert_array_equal(STEPS.quantile(SAME_HAZARD, EACH, probability), expected)
    # Stratum 0 has H = 1 and 4 for a hazard ratio of 2, stratum 1 has H = 3 for one of 3.
    mixed = STEPS.quantile(np.log([3.0, 2.0, 9.0, 1.0]), np.array([1, 0, 2, 1]), probability)
    expected = [[0, 2, 2, 2, np.inf], [0, 1, 1, 3, np.inf], expected[2], expected[1]]
    np.testing.assert_array_equal(mixed, expected)


def test_a_quantile_that_is_just_reached_is_reached():
    just = np.log(-np.log1p(-np.array([0.5])))
    baseline = Baseline(np.array([0, 2]), np.array([4, 7]), np.append(just, just + 1))
    assert baseline.quantile(np.zeros(1), np.array([0]), np.array([0.5])) == [[4.0]]


def test_the_restricted_mean_is_the_area_under_the_steps():
    """One interval after the other: up to 1, to 2, to 2.5, to 3 and to 4."""
    length = np.diff(TIMES)
    expected = (length * np.exp(-np.array(CUMULATIVE_HAZARD)[:, :-1])).sum(1)
    for times in (TIMES, TIMES[1:]):  # the first time of a fit is seldom 0
        mean = STEPS.restricted_mean(SAME_HAZARD, EACH, times)
        np.testing.assert_allclose(mean, expected, 1e-15)
    assert STEPS.restricted_mean(np.zeros(1), np.array([0]), np.array([7.0])) == [7.0]


@pytest.mark.parametrize("shared", [1, 2, 16])
def test_pieces_and_shared_tables_do_not_change_values(shared, monkeypatch):
    rng = np.random.default_rng(0)
    stratum, log_hazard_ratio = rng.integers(0, 3, 50), rng.standard_normal(50)
    one_by_one = [
        np.concatenate(
            [
                STEPS.over_time(eta, code, TIMES, survival=True)[0],
                STEPS.over_time(eta, code, TIMES, survival=False)[0],
                STEPS.restricted_mean(eta, code, TIMES),
            ]
        )
        for eta, code in zip(log_hazard_ratio[:, None], stratum[:, None], strict=True)
    ]
    monkeypatch.setattr(_functions, "_PIECE", 3 * len(TIMES))
    monkeypatch.setattr(_baseline, "_SHARED", shared)
    made = [
        STEPS.over_time(log_hazard_ratio, stratum, TIMES, survival=True),
        STEPS.over_time(log_hazard_ratio, stratum, TIMES, survival=False),
        STEPS.restricted_mean(log_hazard_ratio, stratum, TIMES)[:, None],
    ]
    np.testing.assert_allclose(np.hstack(made), one_by_one, 1e-14)


def test_a_table_has_the_strata_of_a_few_pieces(monkeypatch):
    """Not those of all samples, which may be as many as the strata of the fit."""
    asked = []
    table = Baseline.table
    monkeypatch.setattr(_functions, "_PIECE", len(TIMES))
    monkeypatch.setattr(_baseline, "_SHARED", 2)
    monkeypatch.setattr(
        Baseline,
        "table",
        lambda self, strata, times: asked.append(strata.tolist()) or table(self, strata, times),
    )
    STEPS.over_time(np.zeros(5), np.array([2, 0, 0, 0, 1]), TIMES, survival=True)
    assert asked == [[0, 2], [0], [1]]


def breslow(stratum, times, values):
    stratum = None if stratum is None else torch.tensor(stratum)
    return BreslowBaseline(stratum, torch.tensor(times), torch.tensor(values, dtype=torch.float64))


def test_strata_without_events_have_no_steps():
    made = Baseline.of(breslow([1, 1, 3], [1, 2, 1], [-2.0, -1.0, 0.0]), n_strata=5)
    assert made.offsets.tolist() == [0, 0, 2, 2, 3, 3]
    assert made.n_strata == 5
    assert made.times.tolist() == [1, 2, 1]
    assert Baseline.of(breslow(None, [1, 2], [-2.0, -1.0]), n_strata=1).offsets.tolist() == [0, 2]


def test_a_value_lowered_by_rounding_is_raised_within_its_stratum_alone():
    made = Baseline.of(breslow([0, 0, 0, 1], [1, 2, 3, 1], [-2.0, -1.0, -1.5, -3.0]), n_strata=2)
    assert made.log_cumulative_hazard.tolist() == [-2.0, -1.0, -1.0, -3.0]


def test_the_steps_of_a_table_are_those_it_was_made_from():
    made = Baseline.from_table(STEPS.table(EACH, TIMES), TIMES)
    for name, array in vars(STEPS).items():
        np.testing.assert_array_equal(getattr(made, name), array)


@pytest.fixture(scope="module")
def stratified():
    """A model of 3 strata, of which one has no event, with its data."""
    rng = np.random.default_rng(0)
    X, stratum = rng.standard_normal((60, 2)), np.arange(60) % 3
    y = Surv.from_arrays((rng.random(60) < 0.5) & (stratum < 2), rng.integers(1, 20, 60))
    return (
        CoxNNRegressor(n_estimators=1, max_epochs=2, random_state=0).fit(X, y, stratum=stratum),
        X,
        y,
        stratum,
    )


def test_the_table_of_a_model_is_made_when_it_is_read(stratified):
    model, _, y, stratum = stratified
    table = model.log_baseline_cumulative_hazard_
    assert table.shape == (3, len(model.unique_times_))
    first = [y["time"][y["event"] & (stratum == code)].min() for code in (0, 1)]
    np.testing.assert_array_equal(np.isinf(table[0]), model.unique_times_ < first[0])
    np.testing.assert_array_equal(np.isinf(table[1]), model.unique_times_ < first[1])
    assert np.isneginf(table[2]).all()
    assert "log_baseline_cumulative_hazard_" not in vars(model)
    with pytest.raises(AttributeError):
        model.log_baseline_cumulative_hazard_ = table


def test_there_is_no_table_before_a_fit():
    model = CoxNNRegressor()
    assert not hasattr(model, "log_baseline_cumulative_hazard_")
    with pytest.raises(NotFittedError, match="not fitted yet"):
        _ = model.log_baseline_cumulative_hazard_


def test_a_model_keeps_a_step_for_each_event_and_no_table(stratified):
    model, _, y, stratum = stratified
    events = {(*pair,) for pair in zip(stratum[y["event"]], y["time"][y["event"]], strict=True)}
    assert len(model._baseline.times) == len(events)
    assert max(np.size(array) for array in vars(model._baseline).values()) == len(events)
    arrays = [value for value in vars(model).values() if isinstance(value, np.ndarray)]
    assert all(array.ndim == 1 for array in arrays)


def through_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), through_joblib]
)
def test_a_copy_has_the_baseline_of_its_model(copied, stratified):
    model, X, _, stratum = stratified
    other = copied(model)
    for method in ("predict_median", "predict_expectation"):
        np.testing.assert_array_equal(
            getattr(other, method)(X, stratum=stratum), getattr(model, method)(X, stratum=stratum)
        )
    assert other._baseline.times is not model._baseline.times
