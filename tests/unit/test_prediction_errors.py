"""Every sentence of a prediction, a score or an attribute that is refused, word for word."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sksurv.exceptions import NoComparablePairException
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from tests.unit.refusals import KINDS, NOT_Y, STRATUM, TIME, X, Y, both, of_kind, refuses

METHODS = (
    "predict",
    "predict_survival_function",
    "predict_cumulative_hazard_function",
    "predict_median",
    "predict_expectation",
)


@both
@pytest.mark.parametrize("method", [*METHODS, "score", "predict_quantile"])
def test_prediction_before_fit(kind, method):
    further = {"score": (Y,), "predict_quantile": (0.5,)}.get(method, ())
    refuses(
        lambda: getattr(kind(), method)(X, *further),
        NotFittedError,
        f"This {kind.__name__} instance is not fitted yet. Call 'fit' with appropriate arguments "
        "before using this estimator.",
    )


@both
def test_the_wrong_number_of_features(kind):
    model = kind(n_estimators=1, max_epochs=1).fit(X, Y)
    sentence = f"X has 2 features, but {kind.__name__} is expecting 3 features as input."
    for method in METHODS:
        refuses(lambda method=method: getattr(model, method)(X[:, :2]), ValueError, sentence)
    refuses(lambda: model.score(X[:, :2], Y), ValueError, sentence)
    refuses(lambda: model.partial_fit(X[:, :2], Y), ValueError, sentence)


@both
def test_a_sample_of_another_shape(kind):
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 1))
    samples = np.random.default_rng(0).normal(size=(20, 2, 3))
    model = kind(module=module, max_epochs=1).fit(samples, Y)
    refuses(
        lambda: model.predict(samples.transpose(0, 2, 1)),
        ValueError,
        "A sample of X must have shape (2, 3), as in `fit`, got (3, 2).",
    )


@both
@pytest.mark.parametrize(
    "method", ["predict_survival_function", "predict_cumulative_hazard_function"]
)
def test_times_without_their_name(kind, method):
    model = kind(n_estimators=1, max_epochs=1).fit(X, Y)
    refuses(
        lambda: getattr(model, method)(X, [5.0]),
        TypeError,
        "`return_array` must be True or False, got [5.0]. Times are given by name: times=...",
    )
    assert getattr(model, method)(X, np.True_).shape == (20, 20)


@both
def test_score_wants_survival_data(kind):
    model = kind(n_estimators=1, max_epochs=1).fit(X, Y)
    sentence = NOT_Y.format("ndarray of shape (20,) and dtype float64")
    refuses(lambda: model.score(X, TIME), ValueError, of_kind(kind, sentence))


@both
def test_score_without_a_comparable_pair(kind):
    model = kind(n_estimators=1, max_epochs=1).fit(X, Y)
    refuses(
        lambda: model.score(X[:2], Surv.from_arrays([False, False], [1.0, 2.0])),
        NoComparablePairException,
        "The rows must hold a comparable pair, an event and a row that is at risk after it, "
        "got 0 events in 2 rows of positive weight. The concordance index is not defined: score "
        "more rows at once.",
    )


def stratified():
    """A linear Cox model of two strata."""
    return CoxNNRegressor(hidden_layer_sizes=(), max_epochs=1).fit(X, Y, stratum=STRATUM)


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_stratum_that_was_not_in_fit(method):
    other = np.where(STRATUM == "a", "c", STRATUM)
    sentence = r"^`stratum` must hold strata of `fit`, got .*'c'\)? \(10 of 20 rows\)\.$"
    with pytest.raises(ValueError, match=sentence):
        getattr(stratified(), method)(X, stratum=other)


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_stratum_that_is_missing(method):
    with pytest.raises(ValueError, match=r"^`stratum` must be given, as in `fit`, got None"):
        getattr(stratified(), method)(X)


def test_a_stratum_too_many():
    model = CoxNNRegressor(hidden_layer_sizes=(), max_epochs=1).fit(X, Y)
    refuses(
        lambda: model.predict_survival_function(X, stratum=STRATUM),
        ValueError,
        "`stratum` must be left out, as in `fit`, got one.",
    )


@pytest.mark.parametrize("place", ["fit", "predict"])
def test_strata_of_another_length(place):
    def act():
        if place == "fit":
            CoxNNRegressor().fit(X, Y, stratum=STRATUM[:3])
        stratified().predict_median(X, stratum=STRATUM[:3])

    refuses(act, ValueError, "`stratum` must have shape (20,), got (3,).")


@both
@pytest.mark.parametrize(
    ("probability", "sentence"),
    [
        (
            [0.5, 1.5],
            "`probability` must be within [0, 1], got 1.5 (1 of 2 rows). It is the probability "
            "that the event has happened: 0.5 gives the median.",
        ),
        (
            float("nan"),
            "`probability` must be within [0, 1], got nan (1 of 1 rows). It is the probability "
            "that the event has happened: 0.5 gives the median.",
        ),
    ],
)
def test_a_quantile_beyond_one(kind, probability, sentence):
    model = kind(n_estimators=1, max_epochs=1).fit(X, Y)
    refuses(lambda: model.predict_quantile(X, probability), ValueError, sentence)


@both
@pytest.mark.parametrize(
    "method", ["predict_survival_function", "predict_cumulative_hazard_function"]
)
@pytest.mark.parametrize("times", [[1.0, -2.0, np.nan], [np.inf], [1e9]], ids=str)
def test_times_outside_of_the_model(kind, method, times):
    model = kind(n_estimators=1, max_epochs=1).fit(X, Y)
    if kind is CoxNNRegressor:
        rule = f"within [0, {TIME.max()!s}], the follow-up of the fit"
        hint = "A Cox model says nothing about later times; leave them out."
        if len(times) == 3:
            hint = "Time starts at 0."
    else:
        rule, hint = "at least 0 and finite", "Time starts at 0."
        if times == [1e9]:
            assert getattr(model, method)(X, times=times).shape == (len(X), 1)
            return
    count = 2 if len(times) == 3 else 1
    got = times[1] if len(times) == 3 else times[0]
    refuses(
        lambda: getattr(model, method)(X, times=times),
        ValueError,
        f"`times` must be {rule}, got {got} ({count} of {len(times)}). {hint}",
    )


@both
@pytest.mark.parametrize("times", [5.0, [[1.0]], ["one"]], ids=str)
def test_times_that_are_no_vector_of_numbers(kind, times):
    model = kind(n_estimators=1, max_epochs=1).fit(X, Y)
    with pytest.raises(ValueError, match=r"^`times` must be numbers of shape \(n_times,\)"):
        model.predict_survival_function(X, times=times)


def test_attributes_of_other_models():
    cox = CoxNNRegressor()
    sentence = "Only the linear model, hidden_layer_sizes=(), has `coef_`."
    refuses(lambda: cox.coef_, AttributeError, sentence)
    for model in (
        WeibullAFTRegressor(),
        WeibullAFTRegressor(hidden_layer_sizes=(), shape="per_sample"),
    ):
        for name in ("coef_", "intercept_"):
            refuses(
                lambda name=name, model=model: getattr(model, name),
                AttributeError,
                "Only the linear model, hidden_layer_sizes=(), of shape 'shared' has `coef_` and "
                "`intercept_`.",
            )
    refuses(
        lambda: WeibullAFTRegressor(shape="per_sample").shape_,
        AttributeError,
        "Only a model of shape 'shared' has `shape_`.",
    )
    for kind in KINDS:
        assert not hasattr(kind(), "coef_")
        with pytest.raises(NotFittedError):
            _ = kind(hidden_layer_sizes=()).coef_
