"""Warnings of fits that have no optimum, or have not come to it."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog
from sklearn.exceptions import ConvergenceWarning
from sksurv.datasets import load_aids, load_gbsg2, load_veterans_lung_cancer, load_whas500
from sksurv.preprocessing import OneHotEncoder
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, LogNormalAFTRegressor, WeibullAFTRegressor
from sksurvtorch.nets import interval_censored_y

KINDS = (CoxNNRegressor, WeibullAFTRegressor)
both = pytest.mark.parametrize("kind", KINDS)
REMEDY = (
    "which separate rows with an event from rows without. Set `alpha` above 0, or leave features "
    "out."
)


def said(kind, X, y, given=None, **parameters):
    """What a linear fit warns of."""
    options = {"hidden_layer_sizes": (), "optimizer": "lbfgs", "random_state": 0}
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        kind(**options | parameters).fit(X, y, **given or {})
    assert all(warning.category is ConvergenceWarning for warning in record)
    return [str(warning.message) for warning in record]


def can_rise(never_negative, zero):
    """Whether a direction has products of at least 0, some above, and others of 0."""
    if len(never_negative) == 0:
        return False
    found = linprog(
        -never_negative.sum(0),
        A_ub=-never_negative,
        b_ub=np.zeros(len(never_negative)),
        A_eq=zero if len(zero) else None,
        b_eq=np.zeros(len(zero)) if len(zero) else None,
        bounds=(-1, 1),
    )
    return -found.fun > 1e-6


def cox_has_no_maximum(X, event, time, stratum, entry):
    """Whether each event can have the highest log hazard ratio of its risk set, by a programme."""
    pairs = [
        X[i] - X[j]
        for i in np.flatnonzero(event)
        for j in np.flatnonzero((time >= time[i]) & (entry < time[i]) & (stratum == stratum[i]))
    ]
    return can_rise(np.array(pairs), np.empty((0, X.shape[1])))


def weibull_has_no_maximum(X, event):
    """Whether the scale of censored rows alone can be raised, by a programme."""
    X = np.column_stack([X, np.ones(len(X))])
    return can_rise(X[~event], X[event])


def small_data(seed):
    """Rows with a rare level, a common one, and a number."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(12, 40))
    X = np.column_stack([rng.random(n) < 0.1, rng.random(n) < 0.4, rng.normal(size=n).round(1)])
    event = rng.random(n) < 0.4
    event[:2] = True
    return rng, X.astype(float), event, rng.exponential(size=n).round(1) + 0.1


def no_maximum(messages):
    """Whether a fit warns of that, and of nothing else."""
    assert all(message.startswith("The likelihood has no maximum") for message in messages)
    return len(messages) == 1


# Without a maximum L-BFGS uses up its epochs, of which half as many as by default are enough.
N_EPOCHS = 50


@pytest.mark.parametrize("seed", range(24))
def test_a_cox_model_warns_just_where_there_is_no_maximum(seed):
    rng, X, event, time = small_data(seed)
    stratum = rng.integers(0, 2, len(X)) if seed % 3 == 0 else np.zeros(len(X))
    entry = time * rng.uniform(0, 0.8, len(X)) if seed % 3 == 1 else np.zeros(len(X))
    wanted = cox_has_no_maximum(X, event, time, stratum, entry)
    messages = said(
        CoxNNRegressor,
        X,
        Surv.from_arrays(event, time),
        {"stratum": stratum, "entry": entry},
        ties=("efron", "breslow")[seed % 2],
        max_epochs=N_EPOCHS,
    )
    assert no_maximum(messages) == wanted


@pytest.mark.parametrize("seed", range(16))
def test_a_weibull_model_warns_just_where_there_is_no_maximum(seed):
    _, X, event, time = small_data(seed)
    messages = said(WeibullAFTRegressor, X, Surv.from_arrays(event, time), max_epochs=N_EPOCHS)
    assert no_maximum(messages) == weibull_has_no_maximum(X, event)


def test_the_small_data_are_of_both_kinds():
    """Or the two tests above would show nothing."""
    cox, weibull = [], []
    for seed in range(24):
        _, X, event, time = small_data(seed)
        nothing = np.zeros(len(X))
        cox.append(cox_has_no_maximum(X, event, time, nothing, nothing))
        weibull.append(weibull_has_no_maximum(X, event))
    assert 6 <= sum(cox) <= 18
    assert 6 <= sum(weibull) <= 18


def with_a_level_without_events(n=200):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=n), "never": (rng.random(n) < 0.3).astype(float)})
    event = (rng.random(n) < 0.6) & (X["never"] == 0).to_numpy()
    return X, Surv.from_arrays(event, rng.exponential(np.exp(-X["x"].to_numpy())))


@both
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("weight", [1e-6, 1.0, 1e6])
def test_the_warning_names_the_feature(kind, optimizer, weight):
    X, y = with_a_level_without_events()
    given = {"sample_weight": np.full(len(X), weight)}
    # Adam is far from the optimum in any case: the warning takes the model there by itself.
    options = {"optimizer": optimizer, "max_epochs": 100 if optimizer == "lbfgs" else 10}
    sentence = "The likelihood has no maximum: it rises without end with the coefficients of {}, "
    assert said(kind, X, y, given, **options) == [sentence.format("'never'") + REMEDY]
    found = said(kind, X.to_numpy(), y, given, **options)
    assert found == [sentence.format("feature 1") + REMEDY]
    assert said(kind, X, y, given, **options, alpha=weight) == []


@both
def test_a_small_penalty_leaves_a_maximum(kind):
    """The likelihood alone is flat there; with its penalty it has one."""
    X, y = with_a_level_without_events()
    model = kind(hidden_layer_sizes=(), optimizer="lbfgs", alpha=1e-5).fit(X, y)
    assert np.ptp(model.predict(X)) > 10  # as far out as where there is none
    assert said(kind, X, y, alpha=1e-5) == []


@pytest.mark.parametrize(("kind", "lr"), [(CoxNNRegressor, 100.0), (WeibullAFTRegressor, 10.0)])
def test_adam_that_has_gone_too_far_is_not_taken_for_no_maximum(kind, lr):
    """Far out the likelihood is flat, though it has a maximum elsewhere."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    y = Surv.from_arrays(rng.random(200) < 0.6, rng.exponential(np.exp(-X[:, 0])))
    options = {"optimizer": "adam", "lr": lr, "max_epochs": 1}
    gone = kind(hidden_layer_sizes=(), random_state=0, **options).fit(X, y)
    assert np.ptp(gone.predict(X)) > 50
    assert said(kind, X, y, **options) == []


@both
def test_a_reference_without_events_makes_all_other_levels_infinite(kind):
    rng = np.random.default_rng(0)
    level = rng.integers(0, 8, 300)
    X = pd.get_dummies(level, prefix="level", drop_first=True, dtype=float)
    y = Surv.from_arrays((rng.random(300) < 0.6) & (level != 0), rng.exponential(size=300))
    (message,) = said(kind, X, y)
    assert "of 'level_1', 'level_2', 'level_3', 'level_4', 'level_5', 2 more, which" in message


@both
@pytest.mark.parametrize("load", [load_gbsg2, load_veterans_lung_cancer, load_whas500])
@pytest.mark.parametrize("all_levels", [False, True])
def test_data_with_an_optimum_are_fitted_without_a_warning(kind, load, all_levels):
    """With one column for each level there are many optima, and the least of them is found."""
    X, y = load()
    X = pd.get_dummies(X, dtype=float) if all_levels else OneHotEncoder().fit_transform(X)
    assert said(kind, X.astype(float), y) == []


@both
def test_the_arms_of_aids_without_a_death_are_found(kind):
    """Arm 3 has one patient and arm 4 three, of whom nobody died."""
    X, y = load_aids()
    X = OneHotEncoder().fit_transform(X).astype(float)
    arms = X[["txgrp=3", "txgrp=4"]] == 1
    assert [y["censor"][arms[name]].sum() for name in arms] == [0, 0]
    (message,) = said(kind, X, y)
    assert "'txgrp=3', 'txgrp=4', which" in message


@both
def test_lbfgs_that_was_cut_short_warns(kind, recwarn):
    X, y = load_whas500()
    model = kind(hidden_layer_sizes=(), optimizer="lbfgs", max_epochs=1)
    sentence = "L-BFGS has not reached an optimum in 1 epochs. Raise `max_epochs`, or `alpha`."
    with pytest.warns(ConvergenceWarning) as record:
        model.fit(X, y)
    assert [str(warning.message) for warning in record] == [sentence]
    model.partial_fit(X, y)  # which is one epoch of many
    assert len(recwarn) == 0


@pytest.mark.parametrize("alpha", [0.0, 10.0])
@pytest.mark.parametrize("kind", [WeibullAFTRegressor, LogNormalAFTRegressor])
def test_events_that_are_all_at_the_last_time_make_the_shape_infinite(kind, alpha):
    rng = np.random.default_rng(0)
    X, time = rng.normal(size=(30, 2)), rng.uniform(1, 5, 30)
    event = np.arange(30) < 4
    time[event] = 5.0
    sentence = (
        "The likelihood has no maximum: all events are at the last time, 5, and the shape grows "
        "without end. Survival before it is predicted to be 1. Use CoxNNRegressor, or a longer "
        "follow-up."
    )
    options = {"optimizer": "adam", "max_epochs": 2, "alpha": alpha}
    assert said(kind, X, Surv.from_arrays(event, time), **options) == [sentence]
    time[-1] = 5.1
    assert sentence not in said(kind, X, Surv.from_arrays(event, time), **options)


@pytest.mark.parametrize("kind", [WeibullAFTRegressor, LogNormalAFTRegressor])
def test_visits_that_leave_one_time_for_all_events_do_not_determine_the_shape(kind):
    rng = np.random.default_rng(0)
    X, time = rng.normal(size=(40, 2)), rng.exponential(3.0, 40)
    sentence = (
        "The likelihood has no single maximum: all events may have been at one time, 3, and nobody "
        "is known to be free of it later. The shape is not determined, or grows without end. "
        "Nothing but a visit at another time can tell."
    )
    before = time < 3
    for first in (0.0, 2.0):  # not determined, and grows without end
        lower, upper = np.where(before, first, 3.0), np.where(before, 3.0, np.inf)
        assert said(kind, X, interval_censored_y(lower, upper), max_epochs=2) == [sentence]
        for row, bounds in ((before.argmax(), (3.0, 4.0)), ((~before).argmax(), (3.5, np.inf))):
            told = lower.copy(), upper.copy()
            told[0][row], told[1][row] = bounds
            assert sentence not in said(kind, X, interval_censored_y(*told), max_epochs=2)


@pytest.mark.parametrize("kind", [WeibullAFTRegressor, LogNormalAFTRegressor])
def test_features_that_fit_all_times_exactly_make_the_shape_infinite(kind):
    rng = np.random.default_rng(1)
    X, time, event = rng.normal(size=(30, 35)), rng.exponential(3.0, 30), rng.random(30) < 0.6
    y = Surv.from_arrays(event, time)
    sentence = (
        f"The likelihood has no maximum: 35 features fit the times of {event.sum()} events "
        "exactly, and the shape grows without end. Set `alpha` above 0, or leave features out."
    )
    assert said(kind, X, y) == [sentence]
    assert said(kind, X, y, alpha=1.0) == []
    assert said(kind, X[:, :3], y) == []
