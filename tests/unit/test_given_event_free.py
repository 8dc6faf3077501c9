"""Predictions given event-free at a time, and times of each row: by hand, and every refusal."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from sksurvtorch import CompetingRisksNNRegressor, CoxNNRegressor
from sksurvtorch.estimators._baseline import Baseline
from sksurvtorch.estimators._functions import FollowUp, check_conditional_after, check_times
from sksurvtorch.functional import competing_risks_baseline, cumulative_incidence
from sksurvtorch.nets import competing_risks_y
from tests.unit.refusals import TIME, X, Y, refuses

# Stratum 0 has H = 0.5 from 1 on and H = 2 from 3 on, stratum 1 has H = 1 from 2 on, 2 no event.
STEPS = Baseline(np.array([0, 2, 3, 3]), np.array([1.0, 3.0, 2.0]), np.log([0.5, 2.0, 1.0]))
TIMES = np.array([0.0, 1.0, 2.0, 2.5, 3.0, 4.0])
SAME_HAZARD, EACH = np.zeros(3), np.arange(3)
AFTER = np.array([1.0, 0.5, 3.0])
LEFT = [[0, 0, 0, 0, 1.5, 1.5], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]
Y_CAUSES = competing_risks_y(np.arange(20) % 3, TIME)


def test_hazards_count_from_the_time_event_free():
    for survival, expected in ((False, np.array(LEFT)), (True, np.exp(-np.array(LEFT)))):
        values = STEPS.over_time(SAME_HAZARD, EACH, TIMES, survival=survival, after=AFTER)
        np.testing.assert_allclose(values, expected, rtol=1e-15)
    values = STEPS.over_time(np.log([3.0, 2.0, 1.0]), EACH, TIMES, survival=False, after=AFTER)
    np.testing.assert_allclose(values, np.array([[3.0], [2.0], [1.0]]) * LEFT, rtol=1e-14)


def test_each_sample_has_times_of_its_own():
    times = np.array([[4.0, 0.0], [1.0, 2.0], [1.0, 5.0]])
    values = STEPS.over_time(SAME_HAZARD, EACH, times, survival=False)
    np.testing.assert_allclose(values, [[2, 0], [0, 1], [0, 0]], rtol=1e-15)
    values = STEPS.over_time(SAME_HAZARD, EACH, times, survival=False, after=AFTER)
    np.testing.assert_allclose(values, [[1.5, 0], [0, 1], [0, 0]], rtol=1e-15)


def test_a_quantile_given_event_free_at_a_step():
    """In stratum 0 a hazard of 1.5 is left at time 1, and 1 - exp(-1.5) is 0.78."""
    probability = np.array([0.0, 0.1, 0.77, 0.79])
    found = STEPS.quantile(SAME_HAZARD, EACH, probability, AFTER)
    inf = np.inf
    np.testing.assert_array_equal(found, [[1, 3, 3, inf], [0.5, 2, inf, inf], [3, inf, inf, inf]])


def test_the_time_that_remains():
    """In stratum 0 from 1 on survival is 1 until 3, and then exp(-1.5) until 4."""
    expected = [2 + np.exp(-1.5), 1.5 + 2 * np.exp(-1), 1]
    for times in (TIMES, TIMES[1:]):
        found = STEPS.mean_residual_life(SAME_HAZARD, EACH, times, AFTER)
        np.testing.assert_allclose(found, expected, rtol=1e-15)
        mean = STEPS.restricted_mean(SAME_HAZARD, EACH, times, AFTER)
        np.testing.assert_allclose(mean, np.add(expected, AFTER), rtol=1e-15)


def incidences(hazard="cause-specific", **options):
    """Of three, one has an event of cause 1, then one of two that of cause 2."""
    status, time = torch.tensor([1, 2, 0]), torch.tensor([1.0, 2.0, 3.0])
    baseline = competing_risks_baseline(torch.zeros(3, 2), status, time, hazard=hazard)
    return cumulative_incidence(torch.zeros(2, 2), baseline, **options)


def test_incidences_by_hand():
    """At 1 an event of cause 2 is left, with the hazard of one half."""
    last = 1 - np.exp(-0.5)
    curves = incidences(times=torch.tensor([1.5, 2.0]), after=torch.tensor([1, 2]))
    np.testing.assert_allclose(curves.incidence[0], [[0, 0], [0, last]], rtol=1e-15)
    np.testing.assert_allclose(curves.survival[0], [1, np.exp(-0.5)], rtol=1e-15)
    assert (curves.incidence[1] == 0).all()
    assert (curves.survival[1] == 1).all()
    curves = incidences(times=torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
    first = 1 - np.exp(-1 / 3)
    expected = [[[first, 0], [np.exp(-1 / 3) * last, 0]], [[first, first], [0, 0]]]
    np.testing.assert_allclose(curves.incidence, expected, rtol=1e-15)


def test_incidences_of_subdistribution_hazards_by_hand():
    """Cause 2 has a third left at risk, since the event of cause 1 stays: F = 1 - exp(-1/3)."""
    curves = incidences("subdistribution", times=torch.tensor([2.0]), after=torch.tensor([1.0, 0]))
    share = 1 - np.exp(-1 / 3)
    np.testing.assert_allclose(curves.incidence[0], [[0], [share / (1 - share)]], rtol=1e-14)
    np.testing.assert_allclose(curves.incidence[1], [[share], [share]], rtol=1e-14)
    assert curves.survival is None


@pytest.mark.parametrize("times", [[2.0, 9.0, 2.0], []])
def test_no_times_and_several(times):
    for hazard in ("cause-specific", "subdistribution"):
        after = torch.tensor([1.0, 0.0])
        for shape in ((-1,), (1, -1)):
            grid = torch.tensor(times).reshape(shape)
            curves = incidences(hazard, times=grid, after=after)
            assert curves.incidence.shape == (2, 2, len(times))


# Refusals.

IS_THE_TIME = "It is the time at which a sample is known to be event-free."
CALLS = {
    "predict_survival_function": (),
    "predict_cumulative_hazard_function": (),
    "predict_median": (),
    "predict_expectation": (),
    "predict_quantile": (0.5,),
    "predict_cumulative_incidence": (),
    "predict_restricted_mean_time_lost": (),
}
OF_COX = [*CALLS][:5]
OF_CAUSES = [*CALLS][:2] + [*CALLS][5:]


@pytest.fixture(scope="module")
def cox():
    return CoxNNRegressor(hidden_layer_sizes=(), max_epochs=1).fit(X, Y)


@pytest.fixture(scope="module")
def causes():
    return CompetingRisksNNRegressor(hidden_layer_sizes=(), max_epochs=1).fit(X, Y_CAUSES)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            "late",
            "`conditional_after` must be a number, or numbers of shape (20,), got <U4 of shape "
            f"(). {IS_THE_TIME}",
        ),
        (
            [1.0, 2.0],
            "`conditional_after` must be a number, or numbers of shape (20,), got float64 of shape "
            f"(2,). {IS_THE_TIME}",
        ),
        (
            True,
            "`conditional_after` must be a number, or numbers of shape (20,), got bool of shape "
            f"(). {IS_THE_TIME}",
        ),
        (
            -1.5,
            "`conditional_after` must be within [0, 20.0], the follow-up of the fit, got -1.5 (1 "
            "of 1). Time starts at 0.",
        ),
        (
            np.where(TIME > 18, np.nan, TIME),
            "`conditional_after` must be within [0, 20.0], the follow-up of the fit, got nan (2 of "
            "20). Time starts at 0.",
        ),
        (
            TIME + 1,
            "`conditional_after` must be within [0, 20.0], the follow-up of the fit, got 21.0 (1 "
            "of 20). A Cox model says nothing about later times.",
        ),
    ],
    ids=["text", "two", "bool", "negative", "nan", "late"],
)
def test_a_time_event_free(cox, causes, value, sentence):
    for model, methods in ((cox, OF_COX), (causes, OF_CAUSES)):
        for name in methods:
            call = partial(getattr(model, name), X, *CALLS[name], conditional_after=value)
            refuses(call, ValueError, sentence)
    refuses(lambda: cox.predict_mean_residual_life(X, value), ValueError, sentence)


def test_models_without_an_end_take_any_time():
    found = check_conditional_after(1e9, 2, FollowUp(np.inf))
    np.testing.assert_array_equal(found, [1e9, 1e9])
    assert found.dtype == np.float64
    found[0] = 0  # one's own
    refuses(
        lambda: check_conditional_after(np.inf, 2, FollowUp(np.inf)),
        ValueError,
        "`conditional_after` must be at least 0 and finite, got inf (1 of 1). Time starts at 0.",
    )
    assert check_conditional_after(torch.tensor([1, 2]), 2, FollowUp(np.inf)).tolist() == [1.0, 2.0]
    masked = np.ma.array([1.0, 2.0], mask=[True, False])
    with pytest.raises(ValueError, match=r"^`conditional_after` must not be masked, got 1 masked"):
        check_conditional_after(masked, 2, FollowUp(np.inf))


@pytest.mark.parametrize(
    ("times", "shape"), [([[1.0]], (1, 1)), (5.0, ()), (np.ones((20, 2, 1)), (20, 2, 1))]
)
def test_times_of_another_shape(cox, causes, times, shape):
    sentence = (
        "`times` must be numbers of shape (n_times,), or (20, n_times) for a row of each sample, "
        f"got float64 of shape {shape}."
    )
    for model in (cox, causes):
        for name in ("predict_survival_function", "predict_cumulative_hazard_function"):
            refuses(partial(getattr(model, name), X, times=times), ValueError, sentence)
    refuses(lambda: causes.predict_cumulative_incidence(X, times=times), ValueError, sentence)


def test_rows_of_times_are_counted_one_by_one():
    refuses(
        lambda: check_times([[1.0, -1.0], [np.nan, 2.0]], FollowUp(9.0), 2),
        ValueError,
        "`times` must be within [0, 9.0], the follow-up of the fit, got -1.0 (2 of 4). Time starts "
        "at 0.",
    )


@pytest.mark.parametrize("kind", [CoxNNRegressor, CompetingRisksNNRegressor])
def test_bands_have_the_same_times_for_all(kind):
    model = kind(n_estimators=5, hidden_layer_sizes=(2,), max_epochs=1, random_state=0)
    model.fit(X, Y if kind is CoxNNRegressor else Y_CAUSES)
    name = "survival" if kind is CoxNNRegressor else "cumulative_incidence"
    refuses(
        lambda: getattr(model, f"predict_{name}_interval")(X, times=np.ones((20, 2))),
        ValueError,
        "`times` must be numbers of shape (n_times,), got float64 of shape (20, 2). All samples "
        "have the same times in bands, intervals and paths.",
    )


def test_subdistribution_hazards_that_do_not_agree():
    """Of ten rows all have had an event at the end, by models that count some of them twice."""
    y = competing_risks_y([1, 2] * 5, np.arange(1.0, 11.0))
    model = CompetingRisksNNRegressor(
        hidden_layer_sizes=(), max_epochs=1, hazard="subdistribution"
    ).fit(X[:10], y)
    hint = "cause-specific hazards."
    with pytest.raises(ValueError, match=r"must add up to less than 1 over the causes") as raised:
        model.predict_cumulative_incidence(4 * X[:10], True, conditional_after=3.0)
    assert str(raised.value).endswith(
        "The models of the causes do not agree there: ask for earlier times, or fit "
        "cause-specific hazards."
    )
    grid = [3.0, *model.unique_times_[3:]]
    total = model.predict_cumulative_incidence(4 * X[:10], times=grid).sum(1)
    largest, bad = total.max(1), (total.max(1) > 1 + 1e-9) | (total[:, 0] >= 1)
    assert f"got {largest[bad][0]:.8g} ({bad.sum()} of 10 samples)." in str(raised.value)
    early = model.predict_cumulative_incidence(X[:10], times=[3.0], conditional_after=2.0)
    assert early.shape == (10, 2, 1)
    refuses(
        lambda: model.predict_cumulative_hazard_function(X[:10], cause=1, conditional_after=2.0),
        ValueError,
        "`conditional_after` must be None for subdistribution hazards, got a value. Those who have "
        "had another event stay at risk of this one: their hazard is not that of samples without "
        f"any. Ask for incidences, or fit {hint}",
    )
    with pytest.raises(ValueError, match=r"^`hazard` must be 'cause-specific' for survival"):
        model.predict_survival_function(X[:10], conditional_after=2.0)


def test_nobody_left():
    """Where all have had an event by the models, nothing is known of those who have not."""
    y = competing_risks_y([1, 2] * 5, np.arange(1.0, 11.0))
    model = CompetingRisksNNRegressor(
        hidden_layer_sizes=(), max_epochs=1, hazard="subdistribution"
    ).fit(X[:10], y)
    with pytest.raises(ValueError, match=r"^Incidences of subdistribution hazards must add up"):
        model.predict_cumulative_incidence(100 * X[:10], times=[0.0], conditional_after=9.0)
