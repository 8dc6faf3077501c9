"""Concordance, Turnbull's estimate, and the scorer of interval-censored times: by hand, errors."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.exceptions import NoComparablePairException

from sksurvtorch import CoxNNRegressor
from sksurvtorch.metrics import (
    concordance_index_interval_censored,
    log_likelihood_scorer,
    turnbull,
)
from sksurvtorch.nets import interval_censored_y
from tests.interval_twins import random_intervals
from tests.unit.refusals import refuses

INF = np.inf


@pytest.mark.parametrize(
    ("one", "two", "known"),
    [
        ((1, 2), (3, 4), True),
        ((1, 3), (2, 4), False),
        ((1, 4), (2, 3), False),
        ((1, 2), (2, 4), True),  # both hold no common time
        ((1, 2), (2, 2), True),  # at most at the same time
        ((2, 2), (2, 3), True),
        ((2, 2), (2, INF), True),
        ((2, 2), (2, 2), False),
        ((1, 2), (1, 2), False),
        ((0, 2), (2, INF), True),
        ((0, 3), (2, INF), False),
        ((2, INF), (3, 3), False),
        ((1, INF), (2, INF), False),
        ((1, 3), (2, 2), False),
        ((1, 1), (0, 1), False),
    ],
)
def test_which_pairs_have_a_known_order(one, two, known):
    """The first row is known to be the earlier one, with the greater estimate; or nothing is."""
    far = (10, 11), (12, 13)  # so that one pair is always comparable: four with these two, in order
    lower, upper = np.transpose([one, two, *far]).astype(float)
    censored = np.isinf(upper[:2]).sum()
    found = concordance_index_interval_censored(lower, upper, [4, 3, 2, 1])
    assert found.concordant == known + 5 - 2 * censored
    assert found.discordant == (1 if (two[1] <= one[0] and not known and one != two) else 0)


def test_the_numbers_have_names():
    found = concordance_index_interval_censored([0, 2, 2, 5], [2, 2, 4, INF], [3, 5, 5, 1])
    # Before 2 and (2, 4] is (0, 2], which has a lower estimate; the point 2 is tied with (2, 4].
    assert found.concordance == (3 + 1 / 2) / 6
    assert (found.concordant, found.discordant, found.tied_risk) == (3, 2, 1)
    assert found.tied_time == 3
    assert found[1:] == (3, 2, 1, 3)


def test_close_estimates_are_tied():
    index = concordance_index_interval_censored([0, 2], [1, 3], [1.0, 1.0 + 5e-9])
    assert (index.concordance, index.tied_risk) == (0.5, 1)
    index = concordance_index_interval_censored([0, 2], [1, 3], [1.0, 1.0 + 5e-9], tied_tol=0)
    assert (index.concordance, index.discordant) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"estimate": [1.0]}, ValueError, "`estimate` must have shape (2,), got (1,)."),
        ({"estimate": [1, np.nan]}, ValueError, "`estimate` must be finite, got nan (1 of 2 "
         "rows)."),
        ({"upper": [1, 1]}, ValueError, "`upper` must be at least lower in each row, got 1.0 (1 of "
         "2 rows). The event lies in (lower, upper], or at both if they are equal."),
        ({"lower": [0, 0]}, ValueError, "`lower` and `upper` must bound the time of the event in "
         "each row, got 0 and infinity (1 of 2 rows). Such rows say nothing: leave them out."),
        ({"tied_tol": -1}, ValueError, "`tied_tol` must be at least 0, got -1."),
        ({"sample_weight": [1, -1]}, ValueError, "`sample_weight` must be at least 0, got -1.0 (1 "
         "of 2 rows). A weight of 0 leaves the row out."),
        ({"sample_weight": [1, 0]}, NoComparablePairException, "The rows must hold a comparable "
         "pair, of which one event is known to be the earlier one, got 1 finite upper bounds in 1 "
         "rows of positive weight. The concordance index is not defined: score more rows at once."),
    ],
    ids=["length", "nan", "order", "silent", "tol", "weight", "none"],
)  # fmt: skip
def test_refusals_of_the_index(arguments, error, sentence):
    given = {"lower": [0, 2], "upper": [1, INF], "estimate": [2, 1]} | arguments
    refuses(lambda: concordance_index_interval_censored(**given), error, sentence)


def test_turnbull_by_hand():
    """Two innermost intervals, held by rows (1), (2) and both: each has half of that row."""
    curve = turnbull([0, 1, 3], [2, 5, 5])
    np.testing.assert_array_equal(curve.left, [1, 3])
    np.testing.assert_array_equal(curve.right, [2, 5])
    # p (1 - p) is greatest at 1/2.
    np.testing.assert_allclose(curve.mass, [0.5, 0.5], rtol=0, atol=1e-7)
    np.testing.assert_allclose(curve.survival, [0.5, 0], rtol=0, atol=1e-7)
    assert curve.log_likelihood == pytest.approx(2 * np.log(1 / 2), abs=1e-8)
    # Twice the first row: p² (1 - p) is greatest at 2/3.
    curve = turnbull([0, 1, 3], [2, 5, 5], sample_weight=[2, 1, 1])
    np.testing.assert_allclose(curve.mass, [2 / 3, 1 / 3], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("lower", "upper", "left", "right"),
    [
        ([1], [2], [1], [2]),
        ([2], [2], [2], [2]),
        ([1, 2], [2, 2], [2], [2]),  # the point 2 is in (1, 2]
        ([2, 2], [2, 3], [2, 2], [2, 3]),  # but not in (2, 3]
        ([1, 2], [2, 3], [1, 2], [2, 3]),
        ([2, 2], [2, INF], [2, 2], [2, INF]),
        ([1, 1.5], [2, INF], [1.5], [2]),
        ([0, 0, 1], [4, 3, 2], [1], [2]),
    ],
)
def test_which_intervals_are_innermost(lower, upper, left, right):
    curve = turnbull(lower, upper)
    assert curve.left.tolist() == left
    assert curve.right.tolist() == right


def test_survival_bounds_at_ends_points_and_beyond():
    """A point at 1, the interval (2, 4], and a row that is censored at 6: a third each."""
    curve = turnbull([1, 2, 6], [1, 4, INF])
    least, greatest = curve.survival_bounds([0, 0.5, 1, 2, 3, 4, 6, 7])
    np.testing.assert_allclose(least, np.array([3, 3, 2, 2, 1, 1, 1, 0]) / 3, atol=1e-15)
    np.testing.assert_allclose(greatest, np.array([3, 3, 2, 2, 2, 1, 1, 1]) / 3, atol=1e-15)


def test_one_hundred_iterations_are_enough_for_thousands_of_rows():
    rng = np.random.default_rng(0)
    lower, upper = random_intervals(rng, 5000)
    assert turnbull(lower, upper, max_iter=100).gap <= 1e-9


def test_too_few_iterations_warn():
    lower, upper = random_intervals(np.random.default_rng(0), 50, kinds=("interval", "left"))
    with pytest.warns(ConvergenceWarning) as record:
        curve = turnbull(lower, upper, max_iter=1)
    assert record[0].filename == __file__
    assert str(record[0].message) == (
        "Turnbull's estimate has not converged after 1 iterations: the mean log likelihood of a "
        f"row may be {curve.gap:.1e} below the greatest, and `tol` is 1e-09. Raise `max_iter` or "
        "`tol`."
    )
    assert curve.gap > 1e-3
    best = turnbull(lower, upper)
    assert best.log_likelihood - 50 * curve.gap <= curve.log_likelihood < best.log_likelihood
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        turnbull(lower, upper, max_iter=1, tol=curve.gap * 1.01)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"lower": [], "upper": []}, ValueError, "`lower` must have at least one row, got none."),
        ({"tol": -1.0}, ValueError, "`tol` must be at least 0, got -1.0."),
        ({"max_iter": 0}, ValueError, "`max_iter` must be at least 1, got 0."),
        ({"sample_weight": [0, 0]}, ValueError, "`sample_weight` must have a positive and finite "
         "sum, got 0.0. Divide the weights by their mean."),
        ({"sample_weight": [1]}, ValueError, "`sample_weight` must have shape (2,), got (1,)."),
    ],
    ids=["empty", "tol", "max_iter", "zero", "length"],
)  # fmt: skip
def test_refusals_of_turnbull(arguments, error, sentence):
    refuses(lambda: turnbull(**{"lower": [0, 1], "upper": [2, 3]} | arguments), error, sentence)


class Shifted(BaseEstimator):
    """A model whose log likelihood is the mean of the first column, minus a parameter squared."""

    def __init__(self, shift=0.0):
        self.shift = shift

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def log_likelihood(self, X, y):
        assert set(y.dtype.names) == {"lower", "upper"}
        return np.float64(X[:, 0].mean() - self.shift**2)


ROWS = np.arange(12.0).reshape(6, 2)
BOUNDS = interval_censored_y(np.arange(6), np.arange(1, 7))


def test_the_scorer_calls_the_method_at_the_end_of_a_pipeline():
    model = Shifted(2.0).fit(ROWS, BOUNDS)
    score = log_likelihood_scorer(model, ROWS, BOUNDS)
    assert type(score) is float
    assert score == 5 - 4
    pipe = make_pipeline(StandardScaler(), Shifted(1.0)).fit(ROWS, BOUNDS)
    assert log_likelihood_scorer(pipe, ROWS, BOUNDS) == pytest.approx(-1)
    assert pickle.loads(pickle.dumps(log_likelihood_scorer)) is log_likelihood_scorer


def test_the_scorer_chooses_in_a_search_and_scores_folds():
    pipe = make_pipeline(StandardScaler(), Shifted())
    search = GridSearchCV(
        pipe, {"shifted__shift": [3.0, 0.5, 1.0]}, scoring=log_likelihood_scorer, cv=2
    ).fit(ROWS, BOUNDS)
    assert search.best_params_ == {"shifted__shift": 0.5}
    assert log_likelihood_scorer(search, ROWS, BOUNDS) == pytest.approx(-0.25)
    scores = cross_validate(Shifted(), ROWS, BOUNDS, scoring=log_likelihood_scorer, cv=2)
    assert scores["test_score"].tolist() == [2, 8]


def test_the_scorer_refuses_a_model_without_the_method():
    sentence = (
        "`estimator` must have the method `log_likelihood`, got CoxNNRegressor. Use an accelerated "
        "failure time model such as WeibullAFTRegressor, or a pipeline or a search that ends in "
        "one."
    )
    for model in (CoxNNRegressor(), make_pipeline(CoxNNRegressor())):
        refuses(lambda model=model: log_likelihood_scorer(model, ROWS, BOUNDS), TypeError, sentence)
