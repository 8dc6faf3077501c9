"""Every sentence by which `CompetingRisksNNRegressor` refuses something of its own."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sksurv.exceptions import NoComparablePairException
from torch import nn

from sksurvtorch import CompetingRisksNNRegressor
from sksurvtorch.exceptions import NoEventError
from sksurvtorch.nets import competing_risks_y
from tests.unit.refusals import AT_RISK, STRATUM, TIME, X, refuses

STATUS = np.arange(20) % 3
Y = competing_risks_y(STATUS, TIME)
MAKE_Y = "Make one with sksurvtorch.nets.competing_risks_y(status, time)."
AT_MOST = (
    "`cause` must be at most {}, the number of causes of the fit, got {}. It is the largest status "
    "of the rows that count unless `n_causes` is given."
)
OF_OUTPUTS = (
    "`y` must have a status of at most 1, the number of causes that the network has outputs for, "
    "got 2. Set `n_causes` to 2, and fit a new network."
)
NO_SURVIVAL = (
    "`hazard` must be 'cause-specific' for survival and the hazard of all causes together, got "
    "'subdistribution'. Each cause then has a model of its own, whose incidences can add up to "
    "more than 1; give a `cause`, or fit cause-specific hazards."
)
STRATUM_OF_FIT = "`stratum` must be given, as in `fit`, got None."
METHODS = (
    "predict",
    "predict_members",
    "predict_log_hazard_ratio",
    "predict_cumulative_incidence",
    "predict_survival_function",
    "predict_cumulative_hazard_function",
    "predict_restricted_mean_time_lost",
)
OF_STRATA = METHODS[3:]


def linear(**parameters):
    return CompetingRisksNNRegressor(**{"hidden_layer_sizes": (), "max_epochs": 1} | parameters)


def structured(status, time=TIME, dtype=np.int64):
    y = np.zeros(len(time), dtype=[("status", dtype), ("time", float)])
    y["status"], y["time"] = status, time
    return y


@pytest.fixture(scope="module")
def fitted():
    return linear().fit(X, Y)


@pytest.mark.parametrize(
    ("name", "value", "error", "sentence"),
    [
        ("cause", 0, ValueError, "`cause` must be at least 1, got 0."),
        ("cause", -1, ValueError, "`cause` must be at least 1, got -1."),
        ("cause", 1.5, TypeError, "`cause` must be an integer, got 1.5 of type float."),
        ("cause", None, TypeError, "`cause` must be an integer, got None of type NoneType."),
        ("cause", 3, ValueError, AT_MOST.format(2, 3)),
        ("n_causes", 0, ValueError, "`n_causes` must be at least 1, got 0."),
        (
            "n_causes",
            "all",
            TypeError,
            "`n_causes` must be an integer or 'auto', got 'all' of type str.",
        ),
        ("n_causes", 1, ValueError, OF_OUTPUTS),
        (
            "hazard",
            "specific",
            ValueError,
            "`hazard` must be one of 'cause-specific', 'subdistribution', got 'specific'.",
        ),
        ("ties", "exact", ValueError, "`ties` must be one of 'efron', 'breslow', got 'exact'."),
        (
            "module",
            nn.Linear(3, 1),
            ValueError,
            "`module` must return a tensor of shape (n_samples, 2), got (2, 1) for an input of "
            "shape (2, 3).",
        ),
        (
            "module",
            nn.Linear(3, 3),
            ValueError,
            "`module` must return a tensor of shape (n_samples, 2), got (2, 3) for an input of "
            "shape (2, 3).",
        ),
    ],
)
def test_a_parameter(name, value, error, sentence):
    options = {name: value}
    if name == "module":
        options["hidden_layer_sizes"] = (64, 64)
    model = linear(**options)
    refuses(lambda: model.fit(X, Y), error, sentence)
    assert not hasattr(model, "n_causes_")


@pytest.mark.parametrize(
    ("y", "error", "sentence"),
    [
        (
            structured(STATUS - 1),
            ValueError,
            "`y['status']` must be at least 0, got -1 (7 of 20 rows). 0 is a censored row.",
        ),
        (
            structured(STATUS, dtype=float),
            ValueError,
            "The first field of `y`, 'status', must hold integers, 0 for a censored row, else the "
            f"number of the cause of its event, got float64. {MAKE_Y}",
        ),
        (
            structured(0),
            NoEventError,
            "`y` must have an event, got 20 rows that are censored or of weight 0.",
        ),
        (
            TIME,
            ValueError,
            "`y` must be a structured array of shape (n_samples,) with two fields, the status and "
            f"the time, got ndarray of shape (20,) and dtype float64. {MAKE_Y}",
        ),
        (
            None,
            ValueError,
            "This CompetingRisksNNRegressor requires y to be passed, but the target y is None. It "
            f"must be a structured array with the fields status and time. {MAKE_Y}",
        ),
        (
            Y.astype([("ftime", int), ("status", int)]),
            ValueError,
            "The first field of `y` must be the status, and the second the time, got 'ftime' and "
            f"'status'. {MAKE_Y}",
        ),
        (
            structured(np.where(STATUS == 0, 99, STATUS)),
            ValueError,
            "`y` must number the causes of its events from 1 on, got a status of 99, and events "
            "of 3 causes. Give the causes other numbers, or set `n_causes` to 99 if there are so "
            "many.",
        ),
        (Y[:5], ValueError, "`y` must have one row for each of X, 20, got 5."),
        (
            structured(STATUS, np.where(TIME > 18, np.nan, TIME)),
            ValueError,
            "`y['time']` must be finite, got nan (2 of 20 rows). Impute or remove these rows.",
        ),
    ],
    ids=["negative", "float", "no event", "plain", "none", "swapped", "code", "short", "nan"],
)
def test_a_target(y, error, sentence):
    refuses(lambda: linear().fit(X, y), error, sentence)


def test_columns():
    refuses(
        lambda: linear().fit(X, Y, (STATUS == 0).astype(float)),
        NoEventError,
        "`y` must have an event, got 20 rows that are censored or of weight 0.",
    )
    refuses(
        lambda: linear().fit(X, Y, entry=TIME),
        ValueError,
        f"`entry` must be less than the time of its row, got 1.0 (20 of 20 rows). {AT_RISK}",
    )
    y = competing_risks_y([2, 1, 2, 1, 0], [2.0, 3, 4, 5, 6])
    refuses(
        lambda: linear(hazard="subdistribution").fit(X[:5], y, entry=[0.0, 2, 2, 3, 2]),
        ValueError,
        "`entry` must leave a row at risk throughout for `hazard='subdistribution'`, got none when "
        "rows enter at 2.0, after an event and before one of another cause: the probability to "
        "have entered cannot be estimated. Leave out the rows before that time, or take "
        "`hazard='cause-specific'`.",
    )


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_more_causes_than_outputs_in_a_later_call(call):
    one = competing_risks_y(np.minimum(STATUS, 1), TIME)
    model = linear(warm_start=True).fit(X, one)
    before = model.predict(X)
    refuses(lambda: getattr(model, call)(X, Y), ValueError, OF_OUTPUTS)
    np.testing.assert_array_equal(model.predict(X), before)
    assert model.n_iter_ == 1


def test_another_hazard_where_a_training_goes_on():
    model = linear(warm_start=True).fit(X, Y).set_params(hazard="subdistribution")
    refuses(
        lambda: model.fit(X, Y),
        ValueError,
        "`hazard` must stay 'cause-specific' where the training of a network goes on, got "
        "'subdistribution'. Fit with warm_start=False to make a new network.",
    )


def test_too_few_events_to_divide():
    one = structured(np.where(np.arange(20) == 3, 2, 0))
    refuses(
        lambda: CompetingRisksNNRegressor(n_estimators=5).fit(X, one),
        ValueError,
        "`n_estimators` must be 1 for data with 1 events, got 5. Each member of an ensemble leaves "
        "out a fifth of the events, one at least.",
    )
    refuses(
        lambda: linear(early_stopping=True).fit(X, one),
        ValueError,
        "`validation_fraction` must leave an event on both sides, got 0.2 of 1 events. Set "
        "`early_stopping` to False for so few.",
    )


@pytest.mark.parametrize("method", METHODS)
def test_predictions_before_fit(method):
    refuses(
        lambda: getattr(linear(), method)(X),
        NotFittedError,
        "This CompetingRisksNNRegressor instance is not fitted yet. Call 'fit' with appropriate "
        "arguments before using this estimator.",
    )


@pytest.mark.parametrize("method", ["predict", "predict_members", "score"])
@pytest.mark.parametrize("cause", [0, 3])
def test_a_cause_that_was_set_after_the_fit(method, cause, fitted):
    model = copy.copy(fitted).set_params(cause=cause)
    sentence = AT_MOST.format(2, 3) if cause else "`cause` must be at least 1, got 0."
    given = (X, Y) if method == "score" else (X,)
    refuses(lambda: getattr(model, method)(*given), ValueError, sentence)


@pytest.mark.parametrize("method", ["cumulative_incidence", "cumulative_hazard_function"])
def test_a_cause_or_a_time_of_a_function(method, fitted):
    predict = getattr(fitted, f"predict_{method}")
    refuses(lambda: predict(X, cause=3), ValueError, AT_MOST.format(2, 3))
    refuses(lambda: predict(X, cause=0), ValueError, "`cause` must be at least 1, got 0.")
    refuses(
        lambda: predict(X, cause=1.0),
        TypeError,
        "`cause` must be an integer, got 1.0 of type float.",
    )
    refuses(
        lambda: predict(X, times=[3.0, 30.0]),
        ValueError,
        "`times` must be within [0, 20.0], the follow-up of the fit, got 30.0 (1 of 2). A Cox "
        "model says nothing about later times; leave them out.",
    )
    refuses(
        lambda: predict(X, times=[-1.0]),
        ValueError,
        "`times` must be within [0, 20.0], the follow-up of the fit, got -1.0 (1 of 1). Time "
        "starts at 0.",
    )


@pytest.mark.parametrize(
    ("until", "error", "sentence"),
    [
        (
            30,
            ValueError,
            "`until` must be at most 20.0, the follow-up of the fit, got 30. The model says "
            "nothing about later times.",
        ),
        (0, ValueError, "`until` must be more than 0, got 0."),
        (float("nan"), ValueError, "`until` must be finite, got nan."),
        ("end", TypeError, "`until` must be a number, got 'end' of type str."),
    ],
)
def test_the_end_of_time_lost(until, error, sentence, fitted):
    refuses(lambda: fitted.predict_restricted_mean_time_lost(X, until=until), error, sentence)
    refuses(
        lambda: fitted.predict_restricted_mean_time_lost(X, cause=3),
        ValueError,
        AT_MOST.format(2, 3),
    )


def test_survival_of_subdistribution_hazards():
    model = linear(hazard="subdistribution").fit(X, Y)
    refuses(lambda: model.predict_survival_function(X), ValueError, NO_SURVIVAL)
    refuses(lambda: model.predict_cumulative_hazard_function(X), ValueError, NO_SURVIVAL)
    assert model.predict_cumulative_hazard_function(X, cause=1).shape == (20,)


@pytest.mark.parametrize("method", OF_STRATA)
def test_strata_of_predictions(method, fitted):
    stratified = linear().fit(X, Y, stratum=STRATUM)
    predict = getattr(stratified, method)
    refuses(lambda: predict(X), ValueError, STRATUM_OF_FIT)
    refuses(
        lambda: predict(X, stratum=np.resize(["a", "c"], 20)),
        ValueError,
        "`stratum` must hold strata of `fit`, got 'c' (10 of 20 rows).",
    )
    refuses(
        lambda: getattr(fitted, method)(X, stratum=STRATUM),
        ValueError,
        "`stratum` must be left out, as in `fit`, got one.",
    )


def test_a_score_without_a_pair(fitted):
    refuses(
        lambda: fitted.score(X[:2], Y[[0, 3]]),
        NoComparablePairException,
        "The rows must hold a comparable pair, an event and a row that is at risk after it, got 0 "
        "events in 2 rows of positive weight. The concordance index is not defined: score more "
        "rows at once.",
    )


def test_attributes_that_are_not_there():
    message = "Only the linear model, hidden_layer_sizes=(), has `coef_`."
    model = CompetingRisksNNRegressor(n_estimators=1, max_epochs=1).fit(X, Y)
    refuses(lambda: model.coef_, AttributeError, message)
    refuses(
        lambda: linear().log_baseline_cumulative_hazard_,
        NotFittedError,
        "This CompetingRisksNNRegressor instance is not fitted yet. Call 'fit' with appropriate "
        "arguments before using this estimator.",
    )
