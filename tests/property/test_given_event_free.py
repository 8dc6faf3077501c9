"""Predictions given event-free at a time: they follow from the plain curves, which are the twin."""

from __future__ import annotations

import numpy as np
import pytest
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor
from sksurvtorch.estimators import _functions
from sksurvtorch.functional import _incidence_curves
from tests.contract.risk_models import Outputs, either_hazard, risks, small
from tests.property.small_fits import fit_small

CLOSE = {"rtol": 1e-12, "atol": 1e-13}


@pytest.fixture(scope="module", params=["plain", "strata"])
def cox(request, patients):
    """A model, new rows, what predictions are given besides, and a time for each row."""
    X, event, time = patients
    stratum = None
    if request.param == "strata":  # of the same follow-up: test_follow_up_of_strata has others
        stratum, time = np.arange(len(X)) % 3, time.copy()
        for rows in (np.flatnonzero(stratum == code) for code in range(3)):
            time[rows[time[rows].argmax()]] = time.max()
    model = fit_small(CoxNNRegressor, (X, event, time), stratum=stratum)
    after = np.random.default_rng(0).uniform(0, 300, len(X))
    after[:3] = [0.0, time.max(), np.sort(time)[40]]  # the last is one at which curves step
    return model, X, {} if stratum is None else {"stratum": stratum}, after


def at_own(model, X, after, given):
    """Survival at the time of each sample: the diagonal of a table."""
    return np.diag(model.predict_survival_function(X, times=after, **given))


def test_survival_and_hazard_are_those_of_the_plain_curves(cox):
    model, X, given, after = cox
    grid = np.linspace(0, model.unique_times_[-1], 60)[::-1]
    survival = model.predict_survival_function(X, times=grid, **given)
    expected = np.where(
        grid >= after[:, None], survival / at_own(model, X, after, given)[:, None], 1
    )
    found = model.predict_survival_function(X, times=grid, conditional_after=after, **given)
    np.testing.assert_allclose(found, expected, **CLOSE)
    hazard = model.predict_cumulative_hazard_function(
        X, times=grid, conditional_after=after, **given
    )
    np.testing.assert_allclose(hazard, -np.log(expected), rtol=1e-9, atol=1e-13)
    assert (found[grid <= after[:, None]] == 1).all()
    assert (hazard[grid <= after[:, None]] == 0).all()


def test_functions_are_the_arrays_at_any_time(cox):
    model, X, given, after = cox
    between = np.random.default_rng(1).uniform(0, model.unique_times_[-1], 50)
    grid = np.concatenate([[0], between, model.unique_times_])
    for method in (model.predict_survival_function, model.predict_cumulative_hazard_function):
        values = method(X, times=grid, conditional_after=after, **given)
        for function, row in zip(method(X, conditional_after=after, **given), values, strict=True):
            np.testing.assert_array_equal(function(grid), row)
        array = method(X, return_array=True, conditional_after=after, **given)
        np.testing.assert_array_equal(array, values[:, 51:])


def test_event_free_at_0_is_no_news(cox):
    model, X, given, _ = cox
    for method in (
        model.predict_median,
        model.predict_expectation,
        lambda X, **options: model.predict_quantile(X, [0, 0.1, 0.5, 1], **options),
        lambda X, **options: model.predict_survival_function(X, True, **options),
        lambda X, **options: model.predict_cumulative_hazard_function(X, True, **options),
    ):
        np.testing.assert_array_equal(method(X, conditional_after=0, **given), method(X, **given))
    remaining = model.predict_mean_residual_life(X, 0.0, **given)
    np.testing.assert_allclose(remaining, model.predict_expectation(X, **given), rtol=1e-13)


def test_one_time_for_all_is_that_time_for_each(cox):
    model, X, given, _ = cox
    each = np.full(len(X), 50)
    for method in ("predict_median", "predict_expectation", "predict_mean_residual_life"):
        found = [getattr(model, method)(X, conditional_after=s, **given) for s in (50, each)]
        np.testing.assert_array_equal(*found)
    found = [
        model.predict_survival_function(X, True, conditional_after=s, **given) for s in (50.0, each)
    ]
    np.testing.assert_array_equal(*found)


def test_news_come_one_after_the_other(cox):
    """S(t | u) = S(t | s) / S(u | s) for s < u."""
    model, X, given, after = cox
    later = after + (model.unique_times_[-1] - after) / 3
    rows = np.column_stack([later, later + 40]).clip(max=model.unique_times_[-1])
    early, late = (
        model.predict_survival_function(X, times=rows, conditional_after=known, **given)
        for known in (after, later)
    )
    np.testing.assert_allclose(late[:, 1], early[:, 1] / early[:, 0], rtol=1e-11)
    assert (late[:, 0] == 1).all()


def test_a_quantile_is_the_first_time_at_which_survival_is_that_low(cox):
    model, X, given, after = cox
    probabilities = np.array([0.05, 0.3, 0.5, 0.97])
    survival = model.predict_survival_function(X, True, conditional_after=after, **given)
    low = survival[:, :, None] <= 1 - probabilities
    low = np.concatenate([low, np.ones_like(low[:, :1])], axis=1)
    times = np.append(model.unique_times_, np.inf)
    found = model.predict_quantile(X, probabilities, conditional_after=after, **given)
    np.testing.assert_array_equal(found, times[low.argmax(axis=1)])
    assert 10 < np.isfinite(found).sum() < found.size - 10
    assert (found > after[:, None]).all()
    median = model.predict_median(X, conditional_after=after, **given)
    np.testing.assert_array_equal(median, found[:, 2])
    ends = model.predict_quantile(X, [0.0, 1.0], conditional_after=after, **given)
    np.testing.assert_array_equal(ends[:, 0], after)
    assert np.isinf(ends[:, 1]).all()


def test_the_least_probability_asks_for_the_next_event(cox):
    """Not for one that has passed, whatever rounding does."""
    model, X, given, after = cox
    found = model.predict_quantile(X, 1e-300, conditional_after=after, **given)
    hazard = model.predict_cumulative_hazard_function(X, True, conditional_after=after, **given)
    times = np.append(model.unique_times_, np.inf)
    more = np.hstack([hazard > 0, np.ones((len(X), 1), dtype=bool)])
    np.testing.assert_array_equal(found, times[more.argmax(axis=1)])


def test_the_mean_is_the_integral_of_survival(cox):
    model, X, given, after = cox
    last = model.unique_times_[-1]
    # Steps: the midpoint is exact between all times at which there may be one.
    for rows in np.array_split(np.arange(len(X)), 3):
        ends = np.unique([0, *model.unique_times_, *after[rows]])
        middle, width = (ends[1:] + ends[:-1]) / 2, np.diff(ends)
        own = {name: column[rows] for name, column in given.items()}
        survival = model.predict_survival_function(
            X[rows], times=middle, conditional_after=after[rows], **own
        )
        mean = model.predict_expectation(X[rows], conditional_after=after[rows], **own)
        np.testing.assert_allclose(mean, survival @ width, rtol=1e-12)
        later = np.where(middle > after[rows, None], survival, 0)
        remaining = model.predict_mean_residual_life(X[rows], after[rows], **own)
        np.testing.assert_allclose(remaining, later @ width, rtol=1e-12, atol=1e-10)
        np.testing.assert_allclose(remaining + after[rows], mean, rtol=1e-12)
    assert (model.predict_mean_residual_life(X, last, **given) == 0).all()
    just = np.nextafter(last, 0)
    assert (model.predict_mean_residual_life(X, just, **given) == last - just).all()


def test_times_of_each_row_are_the_diagonal_of_those_of_all(cox):
    model, X, given, after = cox
    rows = np.random.default_rng(2).uniform(0, model.unique_times_[-1], (len(X), 4))
    rows[:, 3] = rows[:, 0]
    for options in ({}, {"conditional_after": after}):
        for method in (model.predict_survival_function, model.predict_cumulative_hazard_function):
            found = method(X, times=rows, **options, **given)
            assert found.shape == rows.shape
            for k in range(4):
                table = method(X, times=rows[:, k], **options, **given)
                np.testing.assert_array_equal(found[:, k], np.diag(table))
    assert model.predict_survival_function(X, times=rows[:, :0], **given).shape == (len(X), 0)


def test_pieces_of_rows_do_not_change_values(cox, monkeypatch):
    model, X, given, after = cox
    rows = np.random.default_rng(2).uniform(0, model.unique_times_[-1], (len(X), 5))

    def predictions():
        return np.column_stack(
            [
                model.predict_survival_function(X, times=rows, conditional_after=after, **given),
                model.predict_survival_function(X, True, conditional_after=after, **given),
                model.predict_expectation(X, conditional_after=after, **given),
                model.predict_mean_residual_life(X, after, **given),
            ]
        )

    whole = predictions()
    monkeypatch.setattr(_functions, "_PIECE", 7 * 5)
    np.testing.assert_allclose(predictions(), whole, rtol=1e-13)


class Times(nn.Module):
    """A network that multiplies the first column of X."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.linear.weight)
        self.linear.weight.requires_grad_(False)
        self.unused = nn.Parameter(self.linear.weight.new_zeros(1))

    def forward(self, X):
        return self.linear(X[:, :1]) + 0 * self.unused


@pytest.fixture(scope="module")
def known():
    """A model whose log hazard ratio is the only feature, and which steps at 1, 2, ..., 40."""
    X = np.zeros((40, 1))
    y = Surv.from_arrays(np.ones(40, dtype=bool), np.arange(1.0, 41.0))
    return CoxNNRegressor(module=Times, max_epochs=1, dtype="float64").fit(X, y)


def test_where_survival_has_long_been_0(known):
    """Steps of 1 / 40, 1 / 39 and so on, times hazard ratios up to 1e5: S(20) is e^-68000."""
    steps = 1 / np.arange(40.0, 0, -1)
    for ratio in (1e3, 1e4, 1e5):
        X = np.log([[ratio]])
        assert known.predict_survival_function(X, times=[20.0]) < 1e-280
        # At the next steps, in steps of the hazard that have been summed from there on.
        expected = np.exp(-ratio * np.cumsum(steps[20:23]))
        times = [21.0, 22.0, 23.0]
        found = known.predict_survival_function(X, times=times, conditional_after=20.5)[0]
        hazard = ratio * steps[:23].sum()
        # The sums that are subtracted are rounded.
        np.testing.assert_allclose(found, expected, rtol=20 * hazard * 2.0**-52)
        median = known.predict_median(X, conditional_after=20.5)
        assert median == 21
        remaining = known.predict_mean_residual_life(X, 20.5)
        np.testing.assert_allclose(remaining, 0.5 + expected.sum(), rtol=1e-9)


def test_where_the_hazard_that_has_passed_is_infinite(known):
    """The next event is then certain, and until it nothing happens."""
    X = np.array([[800.0], [0.0]])
    assert np.isinf(known.predict_cumulative_hazard_function(X, times=[20.0])[0])
    times = [19.0, 20.0, 20.7, 21.0, 40.0]
    found = known.predict_survival_function(X, times=times, conditional_after=20.5)
    np.testing.assert_array_equal(found[0], [1, 1, 1, 0, 0])
    alone = known.predict_survival_function(X[1:], times=times, conditional_after=20.5)
    np.testing.assert_array_equal(found[1], alone[0])
    hazard = known.predict_cumulative_hazard_function(X, times=times, conditional_after=20.5)
    np.testing.assert_array_equal(hazard[0], [0, 0, 0, np.inf, np.inf])
    assert known.predict_median(X, conditional_after=20.5)[0] == 21
    assert known.predict_mean_residual_life(X, 20.5)[0] == 0.5
    # Where both hazards are infinite, and their difference is not: at 21 one of 20 is left.
    far = np.array([[711.5]])
    assert np.isinf(known.predict_cumulative_hazard_function(far, times=[20.0]))
    found = known.predict_cumulative_hazard_function(far, times=[21.0], conditional_after=20.0)
    np.testing.assert_allclose(np.log(found), 711.5 - np.log(20), rtol=1e-13)


def test_an_event_at_time_0_has_passed_at_time_0():
    X = np.zeros((4, 1))
    y = Surv.from_arrays([True, True, False, True], [0.0, 1.0, 1.0, 2.0])
    model = CoxNNRegressor(module=Times, max_epochs=1, dtype="float64").fit(X, y)
    plain = model.predict_survival_function(X[:1], times=[0.0, 1.0])[0]
    assert plain[0] < 1
    found = model.predict_survival_function(X[:1], times=[0.0, 1.0], conditional_after=0)[0]
    np.testing.assert_allclose(found, [1, plain[1] / plain[0]], rtol=1e-14)


# Competing risks.


def causes(hazard="cause-specific", *, scale=1.0, columns=()):
    """A model whose log hazard ratios are the features, rows, and times of the rows."""
    X, y = risks(120, n_causes=3, dtype=np.float64)
    stratum = {"stratum": np.arange(120) % 2} if "stratum" in columns else {}
    options = {"max_epochs": 1, "batch_size": None, "hazard": hazard}
    model = small(module=lambda: Outputs(3), **options).fit(X, y, **stratum)
    new = scale * np.random.default_rng(1).normal(size=(30, 4))
    after = np.random.default_rng(2).uniform(0, model.unique_times_[-1], 30)
    after[:2] = [0.0, model.unique_times_[10]]
    return model, new, {name: column[:30] for name, column in stratum.items()}, after


@pytest.mark.parametrize("columns", [(), ("stratum",)])
def test_incidences_are_those_of_the_plain_curves(columns):
    model, X, given, after = causes(columns=columns, scale=0.5)
    grid = np.linspace(0, model.unique_times_[-1], 50)[::-1]
    incidence = model.predict_cumulative_incidence(X, times=grid, **given)
    table = model.predict_cumulative_incidence(X, times=after, **given)
    past = np.stack([row[:, k] for k, row in enumerate(table)])
    left = at_own(model, X, after, given)
    expected = (incidence - past[:, :, None]) / left[:, None, None]
    expected = np.where(grid >= after[:, None, None], expected, 0)
    found = model.predict_cumulative_incidence(X, times=grid, conditional_after=after, **given)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    one = model.predict_cumulative_incidence(
        X, cause=2, times=grid, conditional_after=after, **given
    )
    np.testing.assert_array_equal(one, found[:, 1])
    functions = model.predict_cumulative_incidence(X, conditional_after=after, **given)
    for place in np.ndindex(functions.shape):
        np.testing.assert_allclose(functions[place](grid), found[place], **CLOSE)


@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
@pytest.mark.parametrize("columns", [(), ("stratum",)])
def test_incidences_and_survival_given_the_same_add_up_to_one(scale, columns):
    model, X, given, after = causes(scale=scale, columns=columns)
    options = {"return_array": True, "conditional_after": after, **given}
    incidence = model.predict_cumulative_incidence(X, **options)
    survival = model.predict_survival_function(X, **options)
    # Survival comes of a difference of hazards, which may be large.
    np.testing.assert_allclose(incidence.sum(1) + survival, 1, rtol=0, atol=1e-9)
    assert ((incidence >= 0) & (incidence <= 1)).all()
    assert (np.diff(incidence, axis=2) >= 0).all()
    hazards = sum(
        model.predict_cumulative_hazard_function(X, cause=k, **options) for k in (1, 2, 3)
    )
    np.testing.assert_allclose(
        model.predict_cumulative_hazard_function(X, **options), hazards, rtol=1e-12
    )
    np.testing.assert_allclose(survival, np.exp(-hazards), rtol=1e-12)


@either_hazard
def test_incidences_given_event_free_at_0_and_at_times_of_each_row(hazard):
    model, X, given, after = causes(hazard, scale=0.3, columns=("stratum",))
    grid = np.linspace(0, 20, 9)
    plain = model.predict_cumulative_incidence(X, times=grid, **given)
    found = model.predict_cumulative_incidence(X, times=grid, conditional_after=0, **given)
    np.testing.assert_array_equal(found, plain)
    rows = np.random.default_rng(3).uniform(0, 20, (30, 4))
    for known in (None, after.clip(max=15)):
        options = {"conditional_after": known, **given}
        found = model.predict_cumulative_incidence(X, times=rows, **options)
        assert found.shape == (30, 3, 4)
        for k in range(4):
            table = model.predict_cumulative_incidence(X, times=rows[:, k], **options)
            expected = np.stack([row[:, j] for j, row in enumerate(table)])
            np.testing.assert_allclose(found[:, :, k], expected, **CLOSE)
    if hazard == "cause-specific":
        survival = model.predict_survival_function(X, times=rows, **options)
        np.testing.assert_allclose(found.sum(1) + survival, 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("columns", [(), ("stratum",)])
def test_time_lost_is_the_integral_of_the_incidence(columns):
    model, X, given, after = causes(columns=columns)
    for until in (model.unique_times_[-1], 17.3):
        ends = np.unique([0, until, *after[after < until], *np.arange(1.0, until)])
        middle, width = (ends[1:] + ends[:-1]) / 2, np.diff(ends)
        options = {"conditional_after": after, **given}
        incidence = model.predict_cumulative_incidence(X, times=middle, **options)
        lost = model.predict_restricted_mean_time_lost(X, until=until, **options)
        np.testing.assert_allclose(lost, incidence @ width, **CLOSE)
        left = model.predict_survival_function(X, times=middle, **options) @ width
        np.testing.assert_allclose(lost.sum(1) + left, until, rtol=1e-12)
        assert (lost[after >= until] == 0).all()


def test_pieces_of_rows_do_not_change_incidences(monkeypatch):
    model, X, given, after = causes(columns=("stratum",))
    rows = np.random.default_rng(2).uniform(0, model.unique_times_[-1], (30, 5))

    def predictions():
        options = {"conditional_after": after, **given}
        incidence = model.predict_cumulative_incidence(X, times=rows, **options)
        lost = model.predict_restricted_mean_time_lost(X, **options)
        return np.concatenate([incidence, lost[:, :, None]], axis=2)

    whole = predictions()
    monkeypatch.setattr(_functions, "_PIECE", 7 * 3 * len(model.unique_times_))
    monkeypatch.setattr(_incidence_curves, "_AT_ONCE", 7 * len(model.unique_times_))
    np.testing.assert_allclose(predictions(), whole, rtol=1e-13)


def test_incidences_of_subdistribution_hazards_given_event_free():
    """What all causes leave at that time is what they share later."""
    model, X, _, after = causes("subdistribution", scale=0.3)
    after = after.clip(max=14)
    grid = np.array([2.0, 9.0, 16.0, 20.0])
    incidence = model.predict_cumulative_incidence(X, times=grid)
    table = model.predict_cumulative_incidence(X, times=after)
    past = np.stack([row[:, k] for k, row in enumerate(table)])
    expected = (incidence - past[:, :, None]) / (1 - past.sum(1))[:, None, None]
    expected = np.where(grid >= after[:, None, None], expected, 0)
    found = model.predict_cumulative_incidence(X, times=grid, conditional_after=after)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
    assert (expected.sum(1) < 1).all()


def test_one_cause_is_the_cox_model():
    X, y = risks(100, n_causes=1, dtype=np.float64)
    model = small(module=lambda: Outputs(1), max_epochs=1, batch_size=None).fit(X, y)
    after = np.random.default_rng(0).uniform(0, 20, 100)
    incidence = model.predict_cumulative_incidence(X, True, cause=1, conditional_after=after)
    survival = model.predict_survival_function(X, True, conditional_after=after)
    np.testing.assert_allclose(incidence, 1 - survival, rtol=0, atol=1e-12)
