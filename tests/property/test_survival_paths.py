"""Survival of subjects whose covariates change: theorems, a twin, and every refusal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from tests.contract.risk_models import risks, small
from tests.property.small_fits import fit_small
from tests.unit.refusals import refuses

CLOSE = {"rtol": 1e-12, "atol": 1e-14}


@pytest.fixture(scope="module", params=["plain", "strata"])
def cox(request, patients):
    """A model, rows, and strata if it has some."""
    X, _, _ = patients
    stratum = np.arange(len(X)) % 3 if request.param == "strata" else None
    model = fit_small(CoxNNRegressor, patients, stratum=stratum)
    return model, X, {} if stratum is None else {"stratum": stratum}


def test_covariates_that_stay_give_the_plain_curve(cox):
    model, X, given = cox
    labels, survival = model.predict_survival_path(
        X, subject=np.arange(len(X)), entry=np.zeros(len(X)), exit=np.full(len(X), np.inf), **given
    )
    np.testing.assert_array_equal(labels, np.arange(len(X)))
    expected = model.predict_survival_function(X, return_array=True, **given)
    np.testing.assert_allclose(survival, expected, **CLOSE)


def test_a_late_first_entry_is_a_time_free_of_the_event(cox):
    model, X, given = cox
    entry = np.linspace(0, 400, len(X))
    _, survival = model.predict_survival_path(
        X, subject=np.arange(len(X)), entry=entry, exit=np.full(len(X), np.inf), **given
    )
    options = {"return_array": True, "conditional_after": entry, **given}
    np.testing.assert_allclose(survival, model.predict_survival_function(X, **options), **CLOSE)


def test_a_period_cut_in_two_is_the_same(cox):
    model, X, given = cox
    n = len(X)
    cut, end = np.linspace(1, 500, n), np.full(n, 600.0)
    whole = model.predict_survival_path(
        X, subject=np.arange(n), entry=np.zeros(n), exit=end, **given
    )[1]
    twice = {name: np.tile(column, 2) for name, column in given.items()}
    order = np.random.default_rng(0).permutation(2 * n)  # rows may come in any order
    columns = {
        "subject": np.tile(np.arange(n), 2),
        "entry": np.concatenate([np.zeros(n), cut]),
        "exit": np.concatenate([cut, end]),
        **twice,
    }
    columns = {name: column[order] for name, column in columns.items()}
    labels, survival = model.predict_survival_path(np.tile(X, (2, 1))[order], **columns)
    np.testing.assert_allclose(survival, whole[labels], **CLOSE)
    first = [np.flatnonzero(columns["subject"] == label)[0] for label in labels]
    assert (np.diff(first) > 0).all()


PATH = pd.DataFrame(
    {
        "subject": ["b", "a", "b", "b", "a"],
        "entry": [30.0, 0.0, 10.0, 80.0, 50.0],
        "exit": [80.0, 50.0, 30.0, 200.0, np.inf],
    }
)


def test_hazards_of_the_periods_are_summed(cox):
    """A twin that goes through periods one by one, with functions."""
    model, X, given = cox
    X, given = X[:5], {name: column[:5] for name, column in given.items()}
    times = np.array([150.0, 0.0, 10.0, 20.0, 30.0, 55.0, 200.0, 201.0, 300.0])
    labels, survival = model.predict_survival_path(X, **PATH, times=times, **given)
    functions = model.predict_cumulative_hazard_function(X, **given)
    expected = np.zeros((2, len(times)))
    for function, row in zip(functions, PATH.itertuples(), strict=True):
        k = ["b", "a"].index(row.subject)
        for j, t in enumerate(times):
            if t > row.entry:
                expected[k, j] += function(min(t, row.exit)) - function(row.entry)
    assert labels.tolist() == ["b", "a"]
    known = np.where([times <= 200, times < np.inf], np.exp(-expected), np.nan)
    np.testing.assert_allclose(survival, known, rtol=1e-12)
    assert np.isnan(survival[0]).sum() == 2
    assert (survival[0, [1, 2]] == 1).all()


def test_one_row_of_several_and_times_before_all(cox):
    model, X, given = cox
    given = {name: column[:5] for name, column in given.items()}
    _, survival = model.predict_survival_path(X[:5], **PATH, times=[0.0], **given)
    np.testing.assert_array_equal(survival, [[1.0], [1.0]])
    assert model.predict_survival_path(X[:5], **PATH, times=[], **given)[1].shape == (2, 0)
    late = PATH.assign(entry=PATH["entry"] + 1e6, exit=PATH["exit"] + 1e6)
    _, survival = model.predict_survival_path(X[:5], **late, **given)
    assert (survival == 1).all()  # known to be event-free for longer than the follow-up


@pytest.mark.parametrize("hazard", ["cause-specific", "subdistribution"])
def test_competing_risks_have_the_survival_of_all_causes(hazard):
    X, y = risks(100, dtype=np.float64)
    model = small(hazard=hazard).fit(X, y)
    periods = PATH.assign(entry=PATH["entry"] / 10, exit=PATH["exit"] / 10)
    if hazard == "subdistribution":
        with pytest.raises(ValueError, match=r"^`hazard` must be 'cause-specific' for survival"):
            model.predict_survival_path(X[:5], **periods)
        return
    times = np.array([4.0, 9.0])
    _, survival = model.predict_survival_path(X[:5], **periods, times=times)
    hazards = model.predict_cumulative_hazard_function(X[:5], times=[1.0, 3.0, 4.0, 5.0, 8.0, 9.0])
    b = [hazards[2, 1] - hazards[2, 0], hazards[0, 2] - hazards[0, 1]]
    b.append(hazards[0, 4] - hazards[0, 2] + hazards[3, 5] - hazards[3, 4])
    a = [hazards[1, 2], hazards[1, 3] - hazards[1, 2] + hazards[4, 5] - hazards[4, 3]]
    expected = [[b[0] + b[1], sum(b)], [a[0], sum(a)]]
    np.testing.assert_allclose(survival, np.exp(-np.array(expected)), rtol=1e-12)


# Refusals.

ROWS = {"subject": [1, 1, 2], "entry": [0.0, 5.0, 0.0], "exit": [5.0, 9.0, 3.0]}


@pytest.fixture(scope="module")
def plain(patients):
    return fit_small(CoxNNRegressor, patients), patients[0][:3]


@pytest.mark.parametrize(
    ("changed", "error", "sentence"),
    [
        (
            {"entry": [0.0, 4.0, 0.0]},
            ValueError,
            "`entry` must be the exit of the row before, of the same subject, got 4.0 after 5.0 "
            "for subject 1 (1 of 3 rows). Rows of a subject may not overlap.",
        ),
        (
            {"entry": [0.0, 6.0, 0.0]},
            ValueError,
            "`entry` must be the exit of the row before, of the same subject, got 6.0 after 5.0 "
            "for subject 1 (1 of 3 rows). What happened in a gap is not known: give the rows after "
            "it another label.",
        ),
        (
            {"exit": [5.0, 5.0, 3.0]},
            ValueError,
            "`exit` must be later than the entry of its row, got 5.0 after 5.0 (1 of 3 rows). A "
            "row lasts for (entry, exit], which may not be empty.",
        ),
        (
            {"exit": [5.0, 9.0, np.nan]},
            ValueError,
            "`exit` must be later than the entry of its row, got nan after 0.0 (1 of 3 rows). A "
            "row lasts for (entry, exit], which may not be empty.",
        ),
        (
            {"entry": [-1.0, 5.0, -2.0]},
            ValueError,
            "`entry` must be at least 0 and finite, got -1.0 (2 of 3 rows). Time starts at 0.",
        ),
        (
            {"entry": [0.0, 5.0]},
            ValueError,
            "`entry` must have shape (3,), got (2,).",
        ),
        ({"exit": ["a", "b", "c"]}, TypeError, "`exit` must be numeric, got <U1."),
        ({"subject": [1, 1]}, ValueError, "`subject` must have shape (3,), got (2,)."),
        (
            {"subject": ["a", "a", None]},
            ValueError,
            "`subject` must name a subject for each row, got missing values.",
        ),
        (
            {"times": [[1.0], [2.0], [3.0]]},
            ValueError,
            "`times` must be numbers of shape (n_times,), got float64 of shape (3, 1). All samples "
            "have the same times in bands, intervals and paths.",
        ),
        (
            {"times": [1.0, 1e6]},
            ValueError,
            "`times` must be within [0, 999.0], the follow-up of the fit, got 1000000.0 (1 of 2). "
            "A Cox model says nothing about later times; leave them out.",
        ),
        (
            {"stratum": [1, 1, 1]},
            ValueError,
            "`stratum` must be left out, as in `fit`, got one.",
        ),
    ],
)
def test_what_is_no_path_is_refused(plain, changed, error, sentence):
    model, X = plain
    refuses(lambda: model.predict_survival_path(X, **{**ROWS, **changed}), error, sentence)


def test_a_model_without_strata_refuses_them(patients):
    model = fit_small(WeibullAFTRegressor, patients)
    refuses(
        lambda: model.predict_survival_path(patients[0][:3], **ROWS, stratum=[1, 1, 1]),
        ValueError,
        "`stratum` must be left out of WeibullAFTRegressor, which has no strata, got one.",
    )


def test_before_a_fit():
    with pytest.raises(NotFittedError, match="not fitted yet"):
        CoxNNRegressor().predict_survival_path(np.zeros((3, 1)), **ROWS)
