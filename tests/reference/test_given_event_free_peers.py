"""Equal to lifelines 0.30: curves given event-free at a time, start-stop rows, recurrent events."""

from __future__ import annotations

import lifelines
import numpy as np
import pytest
from lifelines.datasets import load_recur, load_rossi, load_stanford_heart_transplants
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor

LINEAR = {"hidden_layer_sizes": (), "optimizer": "lbfgs"}


@pytest.fixture(scope="module")
def rossi():
    """Fits of both to the same data."""
    frame = load_rossi()
    theirs = lifelines.CoxPHFitter().fit(frame, "week", "arrest")
    X = frame.drop(columns=["week", "arrest"]).astype(float)
    y = Surv.from_arrays(frame["arrest"] == 1, frame["week"].astype(float))
    return theirs, CoxNNRegressor(**LINEAR).fit(X, y), X


def test_survival_given_event_free(rossi):
    """lifelines sets the clock back to 0: its times are those that have passed since."""
    theirs, ours, X = rossi
    after, since = np.linspace(1, 40, len(X)).round(), np.arange(12.0)
    times = after[:, None] + since
    expected = theirs.predict_survival_function(X, times=since, conditional_after=after).T
    found = ours.predict_survival_function(X, times=times, conditional_after=after)
    # Between two times of the data lifelines draws a line in place of a step.
    weeks = ours.unique_times_
    steps = np.isin(times, weeks) & np.isin(after, weeks)[:, None]
    assert steps.mean() > 0.8
    # lifelines stops its optimiser at a precision of 1e-7.
    np.testing.assert_allclose(found[steps], expected.to_numpy()[steps], rtol=1e-6)


def test_median_given_event_free(rossi):
    theirs, ours, X = rossi
    risky = X.assign(prio=X["prio"] + 15)
    expected = theirs.predict_median(risky, conditional_after=np.full(len(X), 20.0))
    found = ours.predict_median(risky, conditional_after=20) - 20
    # lifelines looks at 20 weeks after each of its times: those that have an event are right.
    known = np.isin(expected + 20, ours.unique_times_) & np.isin(found, ours.unique_times_)
    assert known.sum() > 0.75 * np.isfinite(found).sum()
    np.testing.assert_array_equal(found[known], expected[known])


def test_start_stop_rows_and_the_survival_of_a_path():
    rows = load_stanford_heart_transplants()
    covariates = ["age", "year", "surgery", "transplant"]
    theirs = lifelines.CoxTimeVaryingFitter().fit(rows, id_col="id", event_col="event")
    y = Surv.from_arrays(rows["event"] == 1, rows["stop"])
    ours = CoxNNRegressor(**LINEAR).fit(rows[covariates], y, entry=rows["start"])
    np.testing.assert_allclose(ours.coef_, theirs.params_[covariates], rtol=1e-5)
    labels, survival = ours.predict_survival_path(
        rows[covariates], subject=rows["id"], entry=rows["start"], exit=rows["stop"]
    )
    # The baseline of lifelines is Breslow's, of covariates that are centred.
    hazard = theirs.baseline_cumulative_hazard_["baseline hazard"]
    partial = theirs.predict_partial_hazard(rows).to_numpy()
    ends = rows.groupby("id")["stop"].last()
    for k in (0, 3, 50, 102):
        own = (rows["id"] == labels[k]).to_numpy()
        total = sum(
            ratio * hazard[(hazard.index > start) & (hazard.index <= stop)].diff().sum()
            + ratio * step_at_start(hazard, start, stop)
            for ratio, start, stop in zip(
                partial[own], rows["start"][own], rows["stop"][own], strict=True
            )
        )
        known = np.flatnonzero(~np.isnan(survival[k]))
        assert ours.unique_times_[known[-1]] == ends[labels[k]]
        np.testing.assert_allclose(survival[k, known[-1]], np.exp(-total), rtol=1e-6)


def step_at_start(hazard, start, stop):
    """The first step within (start, stop], which a difference leaves out."""
    within = hazard[(hazard.index > start) & (hazard.index <= stop)]
    before = hazard[hazard.index <= start]
    if not len(within):
        return 0.0
    return within.iloc[0] - (before.iloc[-1] if len(before) else 0.0)


@pytest.fixture(scope="module")
def recurrences():
    """Times of recurrent events in 400 people, from each to the next (Hosmer and Lemeshow)."""
    rows = load_recur().rename(columns={"TIME0": "start", "TIME1": "stop", "CENSOR": "event"})
    return rows.sort_values(["ID", "start"], ignore_index=True)


def test_recurrent_events_as_by_andersen_and_gill(recurrences):
    """A row for each time between two events of a person, who is at risk again after each."""
    rows = recurrences
    columns = ["AGE", "TREAT", "start", "stop", "event", "ID"]
    theirs = lifelines.CoxTimeVaryingFitter().fit(rows[columns], id_col="ID", event_col="event")
    y = Surv.from_arrays(rows["event"] == 1, rows["stop"].astype(float))
    X, entry = rows[["AGE", "TREAT"]].astype(float), rows["start"]
    ours = CoxNNRegressor(**LINEAR).fit(X, y, entry=entry)
    np.testing.assert_allclose(ours.coef_, theirs.params_[["AGE", "TREAT"]], rtol=1e-5)
    # The cumulative hazard is then the expected number of events of a person.
    hazard = ours.predict_cumulative_hazard_function(
        X, times=np.column_stack([entry, rows["stop"]]).astype(float)
    )
    expected = (hazard[:, 1] - hazard[:, 0]).sum()
    np.testing.assert_allclose(expected, rows["event"].sum(), rtol=1e-9)


def test_recurrent_events_with_a_baseline_for_each_number_of_them(recurrences):
    """The conditional model of Prentice, Williams and Peterson: the number is the stratum."""
    rows = recurrences
    frame = rows.drop(columns=["ID"]).rename(columns={"stop": "time"}).astype(float)
    theirs = lifelines.CoxPHFitter().fit(
        frame, "time", "event", entry_col="start", strata=["EVENT"]
    )
    y = Surv.from_arrays(rows["event"] == 1, rows["stop"].astype(float))
    X = rows[["AGE", "TREAT"]].astype(float)
    ours = CoxNNRegressor(**LINEAR).fit(X, y, entry=rows["start"], stratum=rows["EVENT"])
    np.testing.assert_allclose(ours.coef_, theirs.params_[["AGE", "TREAT"]], rtol=1e-5)
