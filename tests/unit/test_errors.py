"""Every error sentence, word for word."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sksurv.exceptions import NoComparablePairException
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor, CoxPHLoss, WeibullAFTLoss, WeibullAFTRegressor
from sksurvtorch.exceptions import NoEventError
from sksurvtorch.functional import (
    RiskSets,
    cox_neg_partial_log_likelihood,
    weibull_neg_log_likelihood,
    weibull_quantile,
    weibull_survival,
)
from sksurvtorch.nets import survival_target

KINDS = (CoxNNRegressor, WeibullAFTRegressor)
MAKE_Y = "Make one with sksurv.util.Surv.from_arrays(event, time)."
NOT_Y = (
    "`y` must be a structured array of shape (n_samples,) with two fields, the event indicator "
    f"and the time, got {{}}. {MAKE_Y}"
)
AT_RISK = "A row is at risk on (entry, time], which may not be empty."
NO_EVENT = (
    "`event` must be True at least once, got {} rows that are censored or of weight 0. The Cox "
    "partial likelihood is a product over events: use larger batches, or leave such a batch out."
)
POSITIVE = (
    "`time` must be positive, got {}. The Weibull density is zero or infinite at time 0: add half "
    "a unit of time to all rows, or leave out those that were never at risk."
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3))
EVENT = np.arange(20) % 2 == 0
TIME = np.arange(1.0, 21.0)
Y = Surv.from_arrays(EVENT, TIME)
STRATUM = np.resize(["a", "b"], 20)

both = pytest.mark.parametrize("kind", KINDS)


def refuses(action, error, sentence):
    """Assert that an action raises just this error with just this sentence."""
    with pytest.raises(error) as raised:
        action()
    assert raised.type is error
    assert str(raised.value) == sentence


def structured(*fields):
    y = np.zeros(20, dtype=[(name, kind) for name, kind, _ in fields])
    for name, _, values in fields:
        y[name] = values
    return y


@both
@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (TIME, NOT_Y.format("ndarray of shape (20,) and dtype float64")),
        (list(TIME), NOT_Y.format("list")),
        (
            Y[:, None],
            NOT_Y.format("ndarray of shape (20, 1) and dtype [('event', '?'), ('time', '<f8')]"),
        ),
        (
            structured(("e", bool, EVENT), ("t", float, TIME), ("s", int, 0)),
            "`y` must have two fields, the event indicator and the time, got 3: e, t, s. " + MAKE_Y,
        ),
        (
            structured(("e", int, EVENT), ("t", float, TIME)),
            "The first field of `y`, 'e', must be bool, True for an observed event, got int64. "
            + MAKE_Y,
        ),
        (
            structured(("t", float, TIME), ("e", bool, EVENT)),
            "The first field of `y`, 't', must be bool, True for an observed event, got float64. "
            + MAKE_Y,
        ),
        (
            structured(("e", bool, EVENT), ("t", "U3", "12")),
            "The second field of `y`, 't', must be a numeric time, got <U3.",
        ),
        (
            Surv.from_arrays(EVENT, np.where(TIME > 18, np.nan, TIME)),
            "`time` must be finite, got nan (2 of 20 rows). Impute or remove these rows.",
        ),
        (Y[:10], "`y` must have one row for each of X, 20, got 10."),
    ],
    ids=["plain", "list", "2d", "three", "int_event", "swapped", "text", "nan", "short"],
)
def test_y_of_the_wrong_kind(kind, y, sentence):
    refuses(lambda: kind().fit(X, y), ValueError, sentence)


@both
def test_y_none(kind):
    sentence = (
        f"This {kind.__name__} requires y to be passed, but the target y is None. It must be a "
        f"structured array with the fields event and time. {MAKE_Y}"
    )
    refuses(lambda: kind().fit(X, None), ValueError, sentence)


@both
def test_y_a_frame(kind):
    frame = pd.DataFrame({"event": EVENT, "time": TIME})
    with pytest.raises((ValueError, TypeError), match=r"^`y` must be a structured array"):
        kind().fit(X, frame)


@both
def test_score_wants_survival_data(kind):
    model = kind(max_epochs=1).fit(X, Y)
    sentence = NOT_Y.format("ndarray of shape (20,) and dtype float64")
    refuses(lambda: model.score(X, TIME), ValueError, sentence)


@both
def test_score_without_a_comparable_pair(kind):
    model = kind(max_epochs=1).fit(X, Y)
    refuses(
        lambda: model.score(X[:2], Surv.from_arrays([False, False], [1.0, 2.0])),
        NoComparablePairException,
        "`event_time` must hold a comparable pair, an event and a row that is at risk after it, "
        "got 0 events in 2 rows of positive weight. The concordance index is not defined: score "
        "more rows at once.",
    )


@both
def test_no_time_is_negative(kind):
    refuses(
        lambda: kind().fit(X, Surv.from_arrays(EVENT, TIME - 3)),
        ValueError,
        "`time` must be at least 0, got -2.0 (2 of 20 rows). Time counts from the origin of each "
        "row, so it cannot lie before it.",
    )


def test_cox_takes_a_time_of_zero():
    model = CoxNNRegressor(max_epochs=1).fit(X, Surv.from_arrays(EVENT, TIME - 1))
    assert model.unique_times_[0] == 0


def test_weibull_takes_positive_times_only():
    y = Surv.from_arrays(EVENT, TIME - 1)
    sentence = POSITIVE.format("0.0 (1 of 20 rows)")
    refuses(lambda: WeibullAFTRegressor().fit(X, y), ValueError, sentence)


@both
@pytest.mark.parametrize(
    ("entry", "error", "sentence"),
    [
        (
            TIME - (TIME <= 18),
            ValueError,
            f"`entry` must be less than `time`, got 19.0 (2 of 20 rows). {AT_RISK}",
        ),
        (
            np.where(TIME == 5, np.nan, 0.0),
            ValueError,
            f"`entry` must be less than `time`, got nan (1 of 20 rows). {AT_RISK}",
        ),
        (TIME[:3], ValueError, "`entry` must have shape (20,), got (3,)."),
        (["a"] * 20, TypeError, "`entry` must be numeric, got <U1."),
    ],
    ids=["late", "nan", "short", "text"],
)
def test_entry(kind, entry, error, sentence):
    refuses(lambda: kind().fit(X, Y, entry=entry), error, sentence)


@both
@pytest.mark.parametrize("place", ["fit", "predict"])
def test_nan_in_x_is_refused_with_scikit_learns_sentence(kind, place):
    gaps = X.copy()
    gaps[3, 1] = np.nan
    action = kind().fit if place == "fit" else kind(max_epochs=1).fit(X, Y).predict
    args = (gaps, Y) if place == "fit" else (gaps,)
    with pytest.raises(
        ValueError, match=f"^Input X contains NaN.\n{kind.__name__} does not accept"
    ):
        action(*args)


@both
@pytest.mark.parametrize("weight", [None, np.where(EVENT, 0.0, 1.0)], ids=["none", "of_weight_0"])
def test_data_without_an_event_are_refused(kind, weight):
    y = Y if weight is not None else Surv.from_arrays(np.zeros(20, dtype=bool), TIME)
    refuses(
        lambda: kind().fit(X, y, sample_weight=weight),
        NoEventError,
        "`y` must have an event, got 20 rows that are censored or of weight 0.",
    )


@both
@pytest.mark.parametrize("n_events", [1, 2])
def test_early_stopping_needs_events_on_both_sides(kind, n_events):
    """A fifth of the rows has, on its share, less than half an event."""
    rng = np.random.default_rng(0)
    y = Surv.from_arrays(np.arange(100) % 97 < n_events, np.arange(1.0, 101.0))
    y["event"][97:] = False
    refuses(
        lambda: kind(early_stopping=True).fit(rng.normal(size=(100, 3)), y),
        ValueError,
        "`validation_fraction` must leave an event on both sides, got 0.2 of "
        f"{n_events} events. Set `early_stopping` to False for so few.",
    )


@both
def test_a_validation_set_of_all_rows_is_refused(kind):
    refuses(
        lambda: kind(early_stopping=True, validation_fraction=1.0).fit(X, Y),
        ValueError,
        "`validation_fraction` must be more than 0.0 and less than 1.0, got 1.0.",
    )


@both
def test_one_row_is_refused(kind):
    sentence = "X must have at least 2 samples to fit, got n_samples = 1."
    refuses(lambda: kind().fit(X[:1], Y[:1]), ValueError, sentence)


@both
@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_an_unknown_device(kind, device):
    sentence = (
        r"^`device` must name a device of this machine, such as 'cpu', 'cuda' or 'auto', got "
        rf"'{device}' \(.+\)\.$"
    )
    with pytest.raises(ValueError, match=sentence):
        kind(device=device).fit(X, Y)


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
    model = kind(max_epochs=1).fit(X, Y)
    sentence = f"X has 2 features, but {kind.__name__} is expecting 3 features as input."
    for method in METHODS:
        refuses(lambda method=method: getattr(model, method)(X[:, :2]), ValueError, sentence)
    refuses(lambda: model.score(X[:, :2], Y), ValueError, sentence)
    refuses(lambda: model.partial_fit(X[:, :2], Y), ValueError, sentence)


@both
def test_a_sample_of_another_shape(kind):
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 1))
    samples = RNG.normal(size=(20, 2, 3))
    model = kind(module=module, max_epochs=1).fit(samples, Y)
    refuses(
        lambda: model.predict(samples.transpose(0, 2, 1)),
        ValueError,
        "A sample of X must have shape (2, 3), as in `fit`, got (3, 2).",
    )


@both
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("optimizer", "'adam', 'sgd', 'lbfgs'"),
        ("activation", "'relu', 'gelu', 'selu', 'silu', 'tanh'"),
        ("norm", "None, 'batch', 'layer'"),
        ("dtype", "'auto', 'float32', 'float64'"),
        ("lr_schedule", "'cosine', 'constant'"),
    ],
)
def test_an_option_that_is_none_of_them(kind, name, options):
    sentence = f"`{name}` must be one of {options}, got 'other'."
    refuses(lambda: kind(**{name: "other"}).fit(X, Y), ValueError, sentence)


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        (CoxNNRegressor, "ties", "'efron', 'breslow'"),
        (WeibullAFTRegressor, "shape", "'shared', 'per_sample'"),
    ],
)
def test_an_own_option_that_is_none_of_them(kind, name, options):
    for value in ("other", None, 1, True):
        sentence = f"`{name}` must be one of {options}, got {value!r}."
        refuses(lambda value=value: kind(**{name: value}).fit(X, Y), ValueError, sentence)


@both
@pytest.mark.parametrize(
    "option",
    [{"activation": "other"}, {"norm": "other"}],
    ids=lambda option: next(iter(option)),
)
def test_options_are_checked_whether_needed_or_not(kind, option):
    """A linear net has no activation, a module of the user's own has its own."""
    for other in ({"hidden_layer_sizes": ()}, {"module": nn.Linear(3, 1)}):
        with pytest.raises(ValueError, match="must be one of"):
            kind(**option, **other, max_epochs=1).fit(X, Y)


@both
@pytest.mark.parametrize("optimizer", [3, None, nn.Linear])
def test_an_optimizer_that_is_none(kind, optimizer):
    refuses(
        lambda: kind(optimizer=optimizer).fit(X, Y),
        TypeError,
        "`optimizer` must be one of 'adam', 'sgd', 'lbfgs' or a torch.optim class, got "
        f"{optimizer!r}.",
    )


@both
def test_an_instance_of_an_optimizer(kind):
    refuses(
        lambda: kind(optimizer=torch.optim.Adam([torch.zeros(1)])).fit(X, Y),
        TypeError,
        "`optimizer` must be one of 'adam', 'sgd', 'lbfgs' or a torch.optim class, got an instance "
        "of Adam; give options as optimizer__name.",
    )


@both
@pytest.mark.parametrize("callbacks", [[3], [("name", 3)], {"name": "3"}])
def test_callbacks_that_are_none(kind, callbacks):
    item = ("name", "3") if isinstance(callbacks, dict) else callbacks[0]
    refuses(
        lambda: kind(callbacks=callbacks).fit(X, Y),
        TypeError,
        f"`callbacks` must be skorch callbacks, or pairs of a name and a callback, got {item!r}.",
    )


@both
def test_what_a_module_was_called_with_is_said(kind):
    for module, note in (
        (torch.nn.Linear, "`module` was called with no options: give module__name=..."),
        (
            torch.nn.Linear(7, 1),
            f"`module` was called with X of shape (2, {X.shape[1]}) and torch.float32.",
        ),
    ):
        with pytest.raises((TypeError, RuntimeError)) as error:
            kind(module=module).fit(X, Y)
        assert error.value.__notes__ == [note]


@both
@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("dropout", -0.1, "at least 0.0 and less than 1.0"),
        ("dropout", 1.5, "at least 0.0 and less than 1.0"),
        ("lr", 0, "more than 0.0"),
        ("lr", -1.0, "more than 0.0"),
        ("lr", float("nan"), "finite"),
        ("alpha", float("inf"), "finite"),
        ("alpha", -1, "at least 0.0"),
        ("max_epochs", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("validation_fraction", 0, "more than 0.0 and less than 1.0"),
        ("validation_fraction", 1.5, "more than 0.0 and less than 1.0"),
        ("n_iter_no_change", 0, "at least 1"),
        ("tol", -1, "at least 0.0"),
        ("hidden_layer_sizes", -1, "at least 1"),
        ("verbose", -1, "at least 0"),
    ],
)
def test_a_number_out_of_range(kind, name, value, rule):
    sentence = f"`{name}` must be {rule}, got {value!r}."
    refuses(lambda: kind(**{name: value}).fit(X, Y), ValueError, sentence)


@both
@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("dropout", "high", "a number"),
        ("dropout", True, "a number"),
        ("lr", None, "a number"),
        ("alpha", "big", "a number"),
        ("max_epochs", 2.5, "an integer"),
        ("max_epochs", None, "an integer"),
        ("batch_size", 10.0, "an integer"),
        ("batch_size", "all", "an integer"),
        ("validation_fraction", "half", "a number"),
        ("n_iter_no_change", 1.5, "an integer"),
        ("tol", None, "a number"),
    ],
)
def test_what_is_no_number(kind, name, value, word):
    sentence = f"`{name}` must be {word}, got {value!r} of type {type(value).__name__}."
    refuses(lambda: kind(**{name: value}).fit(X, Y), TypeError, sentence)


@both
@pytest.mark.parametrize("value", [np.int64(3), np.array(3)[()]])
def test_numpy_numbers_are_numbers(kind, value):
    model = kind(hidden_layer_sizes=(value,), max_epochs=value, batch_size=value * 3, lr=value / 9)
    assert model.fit(X, Y).n_iter_ == 3


def test_cox_takes_no_batches_of_one():
    refuses(
        lambda: CoxNNRegressor(batch_size=1).fit(X, Y),
        ValueError,
        "`batch_size` must be at least 2 for a Cox model, got 1. A risk set of one row has a "
        "likelihood of 1 whatever the network says; set `momentum` to True so that it spans "
        "earlier batches.",
    )


@both
def test_a_misspelled_parameter_is_refused_by_fit(kind):
    model = kind(hiden_layer_sizes=(3,))
    for action in (model.fit, model.partial_fit):
        refuses(
            lambda action=action: action(X, Y),
            TypeError,
            f"{kind.__name__} has no parameter 'hiden_layer_sizes'. Did you mean "
            "'hidden_layer_sizes'? Besides those of its signature it takes names that start with "
            "module__, optimizer__, iterator_train__, callbacks__.",
        )


@both
@pytest.mark.parametrize("further", [{"optimizer__nonsense": 3}, {"iterator_train__nonsense": 3}])
def test_a_prefixed_parameter_that_nobody_takes_is_refused(kind, further):
    with pytest.raises(TypeError, match="nonsense"):
        kind(**further).fit(X, Y)


@both
def test_a_parameter_of_a_callback_that_is_not_there_is_refused(kind):
    with pytest.raises((TypeError, ValueError), match="nobody"):
        kind(callbacks__nobody__patience=3, max_epochs=1).fit(X, Y)


@both
def test_parameters_of_a_module_without_one(kind):
    refuses(
        lambda: kind(module__width=3).fit(X, Y),
        ValueError,
        "`module` must be given for module__width to have a meaning, got None. The built-in "
        "network takes hidden_layer_sizes, activation, dropout and norm.",
    )


@both
@pytest.mark.parametrize("module", [3, "Linear"])
def test_a_module_that_is_none(kind, module):
    refuses(
        lambda: kind(module=module).fit(X, Y),
        TypeError,
        "`module` must be a torch.nn.Module, or a class or function that makes one, got "
        f"{module!r}.",
    )


def three():
    return 3


@both
def test_a_function_that_makes_no_module(kind):
    sentence = "`module` must make a torch.nn.Module, got int."
    refuses(lambda: kind(module=three).fit(X, Y), TypeError, sentence)


@pytest.mark.parametrize(
    ("kind", "parameters", "width"),
    [
        (CoxNNRegressor, {}, 1),
        (WeibullAFTRegressor, {}, 1),
        (WeibullAFTRegressor, {"shape": "per_sample"}, 2),
    ],
)
@pytest.mark.parametrize(("module", "got"), [(nn.Linear(3, 3), "(2, 3)"), (nn.LSTM(3, 2), "tuple")])
def test_a_module_with_an_output_of_the_wrong_shape(kind, parameters, width, module, got):
    refuses(
        lambda: kind(module=module, **parameters).fit(X, Y),
        ValueError,
        f"`module` must return a tensor of shape (n_samples, {width}), got {got} for an input of "
        "shape (2, 3).",
    )


def stratified():
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


def test_strata_that_are_missing_are_refused_by_fit():
    """Otherwise fit takes what no prediction would."""
    with pytest.raises((ValueError, TypeError), match="`stratum`"):
        CoxNNRegressor(max_epochs=1).fit(X, Y, stratum=np.where(EVENT, np.nan, 1.0))


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
    model = kind(max_epochs=1).fit(X, Y)
    refuses(lambda: model.predict_quantile(X, probability), ValueError, sentence)


@both
@pytest.mark.parametrize(
    "method", ["predict_survival_function", "predict_cumulative_hazard_function"]
)
@pytest.mark.parametrize("times", [[1.0, -2.0, np.nan], [np.inf], [1e9]], ids=str)
def test_times_outside_of_the_model(kind, method, times):
    model = kind(max_epochs=1).fit(X, Y)
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
    model = kind(max_epochs=1).fit(X, Y)
    with pytest.raises(ValueError, match=r"^`times` must be numbers of shape \(n_times,\), got"):
        model.predict_survival_function(X, times=times)


@both
@pytest.mark.parametrize(
    ("weight", "sentence"),
    [
        (-TIME, "Negative values in data passed to `sample_weight`."),
        (0 * TIME, "Sample weights must contain at least one non-zero number."),
        (np.nan * TIME, "Input sample_weight contains NaN."),
        (TIME[:4], "sample_weight.shape == (4,), expected (20,)!"),
    ],
    ids=["negative", "zero", "nan", "short"],
)
def test_weights_are_refused_with_scikit_learns_sentences(kind, weight, sentence):
    refuses(lambda: kind().fit(X, Y, sample_weight=weight), ValueError, sentence)


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


E = torch.tensor([True, True, False])
T = torch.tensor([1.0, 2.0, 3.0])
Z = torch.zeros(3)
ONE_COLUMN = torch.zeros(3, 1)
RISK_SETS = RiskSets(E, T)
cox = cox_neg_partial_log_likelihood
weibull = weibull_neg_log_likelihood

ALONE = (
    "`risk_sets` must come alone, got event, time, entry, stratum or weight besides. They are part "
    "of the risk sets already."
)
OF_A_ROW = "A weight multiplies the loss of its row; 0 leaves the row out."
COX_KEYS = "'event', 'time', 'entry', 'stratum', 'weight'"

FUNCTIONAL = {
    "ties": (
        lambda: cox(Z, E, T, ties="exact"),
        ValueError,
        "`ties` must be one of 'efron', 'breslow', got 'exact'.",
    ),
    "ties_of_risk_sets": (
        lambda: RiskSets(E, T, ties="exact"),
        ValueError,
        "`ties` must be one of 'efron', 'breslow', got 'exact'.",
    ),
    "ties_of_module": (
        lambda: CoxPHLoss(ties="exact"),
        ValueError,
        "`ties` must be one of 'efron', 'breslow', got 'exact'.",
    ),
    "reduction": (
        lambda: cox(Z, E, T, reduction="average"),
        ValueError,
        "`reduction` must be one of 'mean', 'sum', 'none', got 'average'.",
    ),
    "reduction_of_weibull": (
        lambda: weibull(ONE_COLUMN, E, T, reduction=None),
        ValueError,
        "`reduction` must be one of 'mean', 'sum', 'none', got None.",
    ),
    "reduction_of_cox_module": (
        lambda: CoxPHLoss(reduction="average"),
        ValueError,
        "`reduction` must be one of 'mean', 'sum', 'none', got 'average'.",
    ),
    "reduction_of_weibull_module": (
        lambda: WeibullAFTLoss(reduction="average"),
        ValueError,
        "`reduction` must be one of 'mean', 'sum', 'none', got 'average'.",
    ),
    "no_event_given": (
        lambda: cox(Z),
        TypeError,
        "`event` must be a tensor of shape (n_samples,), got None.",
    ),
    "no_time_given": (
        lambda: cox(Z, E),
        TypeError,
        "`time` must be a tensor of shape (n_samples,), got None.",
    ),
    "risk_sets_besides_event": (lambda: cox(Z, E, T, risk_sets=RISK_SETS), TypeError, ALONE),
    "risk_sets_besides_weight": (lambda: cox(Z, weight=T, risk_sets=RISK_SETS), TypeError, ALONE),
    "risk_sets_besides_in_module": (
        lambda: CoxPHLoss()(Z, time=T, risk_sets=RISK_SETS),
        TypeError,
        ALONE,
    ),
    "risk_sets_of_other_ties": (
        lambda: CoxPHLoss(ties="breslow")(Z, risk_sets=RISK_SETS),
        ValueError,
        "`risk_sets` must have the ties 'breslow' of this loss, got 'efron'.",
    ),
    "two_columns": (
        lambda: cox(torch.zeros(3, 2), E, T),
        ValueError,
        "`log_hazard_ratio` must have shape (n_samples, 1), got (3, 2).",
    ),
    "integer_prediction": (
        lambda: cox(Z.long(), E, T),
        TypeError,
        "`log_hazard_ratio` must be a floating-point tensor, got torch.int64.",
    ),
    "array_prediction": (
        lambda: cox(np.zeros(3), E, T),
        TypeError,
        "`log_hazard_ratio` must be a floating-point tensor, got ndarray.",
    ),
    "more_rows": (
        lambda: cox(torch.zeros(4), E, T),
        ValueError,
        "`log_hazard_ratio` must have 3 rows, got 4: one for each row of `event` and `time`.",
    ),
    "short_time": (
        lambda: cox(Z, E, T[:2]),
        ValueError,
        "`time` must have shape (3,), got (2,).",
    ),
    "event_of_two_axes": (
        lambda: cox(Z, E[:, None], T),
        ValueError,
        "`event` must have shape (n_samples,), got (3, 1).",
    ),
    "half_an_event": (
        lambda: cox(Z, torch.tensor([0.5, 1.0, 0.0]), T),
        ValueError,
        "`event` must be bool, or 0 and 1, got 0.5 (1 of 3 rows). Pass True for an observed event "
        "and False for a censored one.",
    ),
    "nan_time": (
        lambda: cox(Z, E, torch.tensor([1.0, float("nan"), 2.0])),
        ValueError,
        "`time` must be finite, got nan (1 of 3 rows). Impute or remove these rows.",
    ),
    "complex_time": (
        lambda: cox(Z, E, T.cfloat()),
        TypeError,
        "`time` must be real, got torch.complex64.",
    ),
    "text_time": (
        lambda: cox(Z, E, ["a", "b", "c"]),
        TypeError,
        "`time` must be numeric, got list.",
    ),
    "late_entry": (
        lambda: cox(Z, E, T, entry=T),
        ValueError,
        f"`entry` must be less than `time`, got 1.0 (3 of 3 rows). {AT_RISK}",
    ),
    "float_stratum": (
        lambda: cox(Z, E, T, stratum=T),
        TypeError,
        "`stratum` must hold integer codes, got torch.float32. Encode the labels first, for "
        "instance with numpy.unique(..., return_inverse=True).",
    ),
    "negative_weight": (
        lambda: cox(Z, E, T, weight=-T),
        ValueError,
        f"`weight` must be finite and at least 0, got -1.0 (3 of 3 rows). {OF_A_ROW}",
    ),
    "no_weight": (
        lambda: weibull(ONE_COLUMN, E, T, weight=0 * T),
        ValueError,
        f"`weight` must be positive somewhere, got 3 zeros. {OF_A_ROW}",
    ),
    "no_event": (lambda: cox(Z, E & ~E, T), NoEventError, NO_EVENT.format(3)),
    "no_event_of_weight": (
        lambda: cox(Z, E, T, weight=torch.tensor([0.0, 0.0, 1.0])),
        NoEventError,
        NO_EVENT.format(3),
    ),
    "no_event_taken": (
        lambda: RISK_SETS.take(torch.tensor([2])),
        NoEventError,
        NO_EVENT.format(1),
    ),
    "three_columns": (
        lambda: weibull(torch.zeros(3, 3), E, T),
        ValueError,
        "`log_params` must have shape (n_samples, 1) or (n_samples, 2), got (3, 3).",
    ),
    "integer_params": (
        lambda: weibull(ONE_COLUMN.int(), E, T),
        TypeError,
        "`log_params` must be a floating-point tensor, got torch.int32.",
    ),
    "zero_time": (
        lambda: weibull(ONE_COLUMN, E, torch.tensor([0.0, 1.0, 0.0])),
        ValueError,
        POSITIVE.format("0.0 (2 of 3 rows)"),
    ),
    "grid_of_three_axes": (
        lambda: weibull_survival(ONE_COLUMN, torch.zeros(2, 2, 2)),
        ValueError,
        "`times` must have shape (n_times,) or (3, n_times), got (2, 2, 2).",
    ),
    "grid_before_zero": (
        lambda: weibull_survival(ONE_COLUMN, torch.tensor([1.0, -1.0])),
        ValueError,
        "`times` must be at least 0, got -1.0 (1 of 2 rows). Time starts at 0.",
    ),
    "probability": (
        lambda: weibull_quantile(ONE_COLUMN, torch.tensor([1.5])),
        ValueError,
        "`probability` must be within [0, 1], got 1.5 (1 of 1 rows). It is the probability that "
        "the event has happened: 0.5 gives the median.",
    ),
    "mapping_and_time": (
        lambda: CoxPHLoss()(Z, {"event": E, "time": T}, T),
        TypeError,
        "`time` must be a key of the mapping, got both.",
    ),
    "unknown_key": (
        lambda: CoxPHLoss()(Z, {"event": E, "time": T, "mass": T}),
        ValueError,
        f"The keys of a target must be among {COX_KEYS}, with event and time, got "
        "['event', 'time', 'mass'].",
    ),
    "missing_key": (
        lambda: CoxPHLoss()(Z, {"event": E}),
        ValueError,
        f"The keys of a target must be among {COX_KEYS}, with event and time, got ['event'].",
    ),
    "stratum_of_weibull": (
        lambda: WeibullAFTLoss()(ONE_COLUMN, {"event": E, "time": T, "stratum": E}),
        ValueError,
        "The keys of a target must be among 'event', 'time', 'entry', 'weight', with event and "
        "time, got ['event', 'time', 'stratum'].",
    ),
    "risk_sets_of_weibull": (
        lambda: WeibullAFTLoss()(ONE_COLUMN, RISK_SETS),
        TypeError,
        "`event` must be numeric, got RiskSets.",
    ),
    "target_of_plain_y": (
        lambda: survival_target(TIME),
        ValueError,
        NOT_Y.format("ndarray of shape (20,) and dtype float64"),
    ),
}


@pytest.mark.parametrize("case", FUNCTIONAL)
def test_losses_and_targets(case):
    refuses(*FUNCTIONAL[case])


@both
def test_the_constructor_refuses_nothing(kind):
    """As scikit-learn asks: fit does."""
    names = inspect.signature(kind).parameters.keys() - {"kwargs"}
    bad = object()
    model = kind(**dict.fromkeys(names, bad))
    assert all(model.get_params(deep=False)[name] is bad for name in names)
