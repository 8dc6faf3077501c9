"""Scorers of predicted cumulative incidences."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksurvtorch import CompetingRisksNNRegressor, CoxNNRegressor
from sksurvtorch.metrics import (
    concordance_index_competing_risks,
    concordance_index_competing_risks_ipcw,
    integrated_brier_score_incidence,
    make_incidence_scorer,
)
from sksurvtorch.nets import competing_risks_y
from tests.unit.refusals import refuses

LINEAR = {"hidden_layer_sizes": (), "optimizer": "lbfgs", "alpha": 1.0}
TIMES = [0.2, 0.4, 0.8]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    each = rng.exponential(np.exp(-X[:, :2]))
    time, censoring = each.min(1), rng.exponential(2.0, 200)
    status = np.where(time <= censoring, 1 + each.argmin(1), 0)
    return X, competing_risks_y(status, np.minimum(time, censoring))


@pytest.fixture(scope="module")
def model(data):
    return CompetingRisksNNRegressor(**LINEAR).fit(*data)


@pytest.mark.parametrize("cause", [1, 2])
def test_scores_are_those_of_the_metrics(cause, model, data):
    X, y = data
    incidence = model.predict_cumulative_incidence(X, cause=cause, times=TIMES)
    scorer = make_incidence_scorer(cause=cause, times=TIMES)
    brier = integrated_brier_score_incidence(y, y, incidence, TIMES, cause=cause)
    assert scorer(model, X, y) == -brier
    last = incidence[:, 2]
    scorer = make_incidence_scorer("concordance", cause=cause, times=0.8)
    assert scorer(model, X, y) == concordance_index_competing_risks(y, last, cause=cause)[0]
    scorer = make_incidence_scorer("concordance_ipcw", cause=cause, times=[0.8])
    weighted = concordance_index_competing_risks_ipcw(y, y, last, cause=cause, tau=0.8)
    assert scorer(model, X, y) == weighted[0]
    assert scorer(model, X, y) != make_incidence_scorer("concordance", cause=cause)(model, X, y)


def test_default_times_lie_among_the_events(model, data):
    X, y = data
    times = y["time"][y["status"] > 0]
    grid = np.linspace(*np.quantile(times, [0.1, 0.9]), 20)
    assert make_incidence_scorer()(model, X, y) == make_incidence_scorer(times=grid)(model, X, y)
    for score in ("concordance", "concordance_ipcw"):
        at_end = make_incidence_scorer(score, times=grid[-1])(model, X, y)
        assert make_incidence_scorer(score)(model, X, y) == at_end


@pytest.mark.parametrize("score", ["integrated_brier", "concordance", "concordance_ipcw"])
def test_a_search_over_a_pipeline_finds_the_better_penalty(score, data):
    X, y = data[0] * 3 + [5, -2, 0], data[1]  # what the scaler makes of it matters
    pipeline = make_pipeline(StandardScaler(), CompetingRisksNNRegressor(**LINEAR))
    grid = {"competingrisksnnregressor__alpha": [1.0, 1e6]}
    scorer = make_incidence_scorer(score, cause=2)
    search = GridSearchCV(pipeline, grid, scoring=scorer, cv=3, error_score="raise").fit(X, y)
    assert search.best_params_ == {"competingrisksnnregressor__alpha": 1.0}
    first, last = search.best_estimator_[0], search.best_estimator_[-1]
    expected = scorer(last, first.transform(X), y)
    assert search.score(X, y) == scorer(search, X, y) == expected
    assert not np.isnan(cross_val_score(search, X, y, scoring=scorer, cv=2)).any()


def test_a_pipeline_may_have_the_model_alone(model, data):
    X, y = data
    assert make_incidence_scorer()(make_pipeline(model), X, y) == make_incidence_scorer()(
        model, X, y
    )


def test_scorers_are_shown_and_pickled():
    scorer = make_incidence_scorer("concordance", cause=2, times=5)
    assert repr(scorer) == "make_incidence_scorer('concordance', cause=2, times=[5.0])"
    assert pickle.loads(pickle.dumps(scorer)) == scorer
    assert repr(make_incidence_scorer()) == "make_incidence_scorer('integrated_brier', cause=1)"


REFUSED = {
    "score": (
        {"score": "auc"},
        "`score` must be one of 'integrated_brier', 'concordance', 'concordance_ipcw', got 'auc'.",
    ),
    "cause": ({"cause": 0}, "`cause` must be at least 1, got 0."),
    "one_time": (
        {"times": 3},
        "`times` must be at least two that ascend for the integrated Brier score, got [3.0].",
    ),
    "falling": (
        {"times": [3, 2]},
        "`times` must be at least two that ascend for the integrated Brier score, got [3.0, 2.0].",
    ),
    "two_times": (
        {"score": "concordance", "times": [1, 2]},
        "`times` must be one time for a concordance, got [1.0, 2.0].",
    ),
    "infinite": (
        {"times": [1, np.inf]},
        "`times` must be finite, of shape (n_times,), got an array of shape (2,).",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_arguments_that_make_no_scorer(case):
    options, sentence = REFUSED[case]
    refuses(lambda: make_incidence_scorer(**options), ValueError, sentence)


def test_what_cannot_be_scored_is_told(model, data):
    X, y = data
    cox = CoxNNRegressor(max_epochs=1, n_estimators=1)
    refuses(
        lambda: make_incidence_scorer()(cox, X, y),
        TypeError,
        "`estimator` must have the method `predict_cumulative_incidence`, got CoxNNRegressor. Use "
        "a CompetingRisksNNRegressor, or a pipeline or a search that ends in one.",
    )
    other = competing_risks_y(2 * (y["status"] == 2), y["time"])
    for score in ("integrated_brier", "concordance", "concordance_ipcw"):
        refuses(
            lambda: make_incidence_scorer(score)(model, X, other),  # noqa: B023
            ValueError,
            "`y` must have an event of cause 1 for a score, got 200 rows without. Use fewer folds, "
            "or stratify them by the status.",
        )
    at_once = competing_risks_y(y["status"], 0.5 + 0 * y["time"])
    refuses(
        lambda: make_incidence_scorer()(model, X, at_once),
        ValueError,
        "`y` must have events at several times for the integrated Brier score, got all at 0.5. "
        "Give `times`.",
    )
