"""Every sentence that refuses features, targets, entries or weights, word for word."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor, load, save
from sksurvtorch.exceptions import NoEventError
from tests.unit.refusals import (
    AT_RISK,
    EVENT,
    MAKE_Y,
    NOT_Y,
    POSITIVE,
    TIME,
    X,
    Y,
    both,
    of_kind,
    refuses,
)


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
            structured(("status", int, 2 * EVENT), ("t", float, TIME)),
            "The first field of `y`, 'status', must be bool, True for an observed event, got int64 "
            "up to 2. Competing events need CompetingRisksNNRegressor. To count other causes as "
            "censorings, make the event of `status == 1`: that gives the hazard of this cause "
            "among those without any event, and 1 - survival is then no probability of it.",
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
            "`y['time']` must be finite, got nan (2 of 20 rows). Impute or remove these rows.",
        ),
        (Y[:10], "`y` must have one row for each of X, 20, got 10."),
    ],
    ids=["plain", "list", "2d", "three", "int_event", "causes", "swapped", "text", "nan", "short"],
)
def test_y_of_the_wrong_kind(kind, y, sentence):
    refuses(lambda: kind().fit(X, y), ValueError, of_kind(kind, sentence))


@both
def test_y_none(kind):
    sentence = (
        f"This {kind.__name__} requires y to be passed, but the target y is None. It must be a "
        f"structured array with the fields event and time. {MAKE_Y}"
    )
    refuses(lambda: kind().fit(X, None), ValueError, of_kind(kind, sentence))


@both
def test_y_a_frame(kind):
    frame = pd.DataFrame({"event": EVENT, "time": TIME})
    with pytest.raises((ValueError, TypeError), match=r"^`y` must be a structured array"):
        kind().fit(X, frame)


@both
def test_no_time_is_negative(kind):
    refuses(
        lambda: kind().fit(X, Surv.from_arrays(EVENT, TIME - 3)),
        ValueError,
        "`y['time']` must be at least 0, got -2.0 (2 of 20 rows). Time counts from the origin of "
        "each row, so it cannot lie before it.",
    )


def test_cox_takes_a_time_of_zero():
    model = CoxNNRegressor(n_estimators=1, max_epochs=1).fit(X, Surv.from_arrays(EVENT, TIME - 1))
    assert model.unique_times_[0] == 0


def test_weibull_takes_positive_times_only():
    y = Surv.from_arrays(EVENT, TIME - 1)
    sentence = POSITIVE.format("y['time']", "0.0 (1 of 20 rows)")
    refuses(lambda: WeibullAFTRegressor().fit(X, y), ValueError, sentence)


@both
@pytest.mark.parametrize(
    ("entry", "error", "sentence"),
    [
        (
            TIME - (TIME <= 18),
            ValueError,
            f"`entry` must be less than the time of its row, got 19.0 (2 of 20 rows). {AT_RISK}",
        ),
        (
            np.where(TIME == 5, np.nan, 0.0),
            ValueError,
            f"`entry` must be less than the time of its row, got nan (1 of 20 rows). {AT_RISK}",
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
    action = kind().fit if place == "fit" else kind(n_estimators=1, max_epochs=1).fit(X, Y).predict
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
def test_one_row_is_refused(kind):
    sentence = "X must have at least 2 samples to fit, got n_samples = 1."
    refuses(lambda: kind().fit(X[:1], Y[:1]), ValueError, sentence)


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


@both
def test_weights_that_hide_values_or_places_are_refused(kind):
    sentence = (
        "`sample_weight` must not be masked, got 1 masked values of 20. Leave them out, or fill "
        "them by sample_weight.filled(...)."
    )
    masked = np.ma.masked_equal(TIME, 3)
    refuses(lambda: kind().fit(X, Y, sample_weight=masked), ValueError, sentence)
    model = kind(n_estimators=1, max_epochs=1).fit(X, Y)
    refuses(lambda: model.score(X, Y, sample_weight=masked), ValueError, sentence)
    sentence = (
        "`sample_weight` must be a dense tensor of real numbers, got the layout "
        "torch.sparse_coo. Pass sample_weight.to_dense()."
    )
    sparse = torch.ones(20).to_sparse()
    refuses(lambda: kind().fit(X, Y, sample_weight=sparse), TypeError, sentence)


def test_strata_that_are_missing_are_refused_by_fit():
    """Otherwise fit takes what no prediction would."""
    with pytest.raises((ValueError, TypeError), match="`stratum`"):
        CoxNNRegressor(n_estimators=1, max_epochs=1).fit(X, Y, stratum=np.where(EVENT, np.nan, 1.0))


RANGE = (
    "`sample_weight` must have a sum from 1e-300 to 1e+30, got {}. Divide the weights by their "
    "mean."
)


@both
@pytest.mark.parametrize(
    ("weight", "options", "sentence"),
    [
        (1e200, {}, RANGE.format("2e+201")),
        (1e36, {}, RANGE.format("2e+37")),
        (1e308, {}, RANGE.format("inf")),
        (1e-308, {}, RANGE.format("2e-307")),
        (
            1e-200,
            {"alpha": 10},
            "`sample_weight` must have a sum from 1e-14 to 1e+30, got 2e-199. `alpha`, a penalty "
            "of 10, allows no smaller one. Divide the weights by their mean, or set `alpha` to 0.",
        ),
    ],
)
def test_weights_that_no_loss_can_take_are_named(kind, weight, options, sentence):
    model = kind(n_estimators=1, max_epochs=1, **{"alpha": 0} | options)
    refuses(lambda: model.fit(X, Y, sample_weight=np.full(20, weight)), ValueError, sentence)


@both
@pytest.mark.parametrize("weight", [1e28, 1e-200])
def test_within_them_their_unit_does_not_matter(kind, weight):
    """Without a penalty, whose strength would be another one."""
    options = {"hidden_layer_sizes": (), "optimizer": "lbfgs", "alpha": 0.0}
    model, other = kind(**options).fit(X, Y), kind(**options)
    other.fit(X, Y, sample_weight=np.full(20, weight))
    np.testing.assert_allclose(other.predict(X), model.predict(X), atol=1e-5)


@pytest.mark.parametrize(
    ("stratum", "got"),
    [
        (["a", 1] * 10, "number and str"),
        (np.array(["a", 1] * 10, dtype=object), "number and str"),
        ([True, "a"] * 10, "bool and str"),
        (pd.period_range("2020", periods=20, freq="M"), "Period"),
        ([date(2020, 1, 1), 1] * 10, "date and number"),
        ([1 + 2j] * 20, "complex"),
    ],
    ids=["list", "objects", "bools", "periods", "dates", "complex"],
)
def test_labels_of_strata_that_cannot_be_compared_or_saved(stratum, got):
    refuses(
        lambda: CoxNNRegressor(n_estimators=1, max_epochs=1).fit(X, Y, stratum=stratum),
        TypeError,
        "`stratum` must be numbers, bools, text or dates, all of one kind, got "
        f"{got}. Convert the labels, for instance to text.",
    )


@pytest.mark.parametrize("dtype", [object, "string", "category"])
@pytest.mark.parametrize("missing", [pd.NA, None, np.nan])
def test_labels_of_strata_that_are_missing(dtype, missing):
    stratum = pd.Series(["a", missing] * 10, dtype=dtype)
    with pytest.raises(ValueError, match=r"^`stratum` must not be missing, got .* \(10 of 20 rows"):
        CoxNNRegressor(n_estimators=1, max_epochs=1).fit(X, Y, stratum=stratum)


@pytest.mark.parametrize(
    "stratum",
    [
        ["a", "b"] * 10,
        pd.Series(["a", "b"] * 10, dtype="category"),
        pd.Series([1, 2] * 10, dtype="Int64"),
        [1, 2.5] * 10,
        np.array([True, False] * 10, dtype=object),
        pd.Series(pd.to_datetime(["2020-01-01", "2021-06-01"] * 10)),
        [date(2020, 1, 1), date(2021, 6, 1)] * 10,
        np.array(["2020", "2021"] * 10, dtype="datetime64[Y]"),
    ],
    ids=["text", "category", "Int64", "numbers", "bools", "timestamps", "dates", "years"],
)
def test_labels_of_strata_of_all_kinds_are_known_again_and_saved(stratum, tmp_path):
    model = CoxNNRegressor(n_estimators=1, max_epochs=1).fit(X, Y, stratum=stratum)
    coded = CoxNNRegressor(n_estimators=1, max_epochs=1, random_state=0).fit(
        X, Y, stratum=np.arange(20) % 2
    )
    again = CoxNNRegressor(n_estimators=1, max_epochs=1, random_state=0).fit(X, Y, stratum=stratum)
    np.testing.assert_array_equal(coded.predict(X), again.predict(X))
    save(model, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.strata_.dtype == model.strata_.dtype
    np.testing.assert_array_equal(loaded.strata_, model.strata_)
    wanted = model.predict_survival_function(X, return_array=True, stratum=stratum)
    found = loaded.predict_survival_function(X, return_array=True, stratum=stratum)
    np.testing.assert_array_equal(found, wanted)


@both
def test_samples_of_different_lengths(kind):
    refuses(
        lambda: kind(max_epochs=1).fit([[1.0, 2.0], [1.0]] * 10, Y),
        ValueError,
        "`X` must have samples of one shape, got some of different lengths. Pad or cut them.",
    )


@both
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_images_without_a_module(kind, make):
    refuses(
        lambda: kind(max_epochs=1).fit(make(np.zeros((20, 1, 4, 4), dtype=np.float32)), Y),
        ValueError,
        f"Found array with dim 4, while dim <= 2 is required by {kind.__name__}. Give a `module` "
        "that takes samples of several axes, such as images.",
    )


@both
def test_bfloat16_features_have_their_values(kind):
    rows = torch.tensor(X).bfloat16()
    fits = [
        kind(n_estimators=1, max_epochs=1, random_state=0).fit(x, Y)
        for x in (rows, rows.float().numpy())
    ]
    np.testing.assert_array_equal(*(model.predict(rows) for model in fits))


@both
@pytest.mark.parametrize("options", [{}, {"momentum": True}, {"optimizer": "lbfgs"}])
def test_a_fit_in_inference_mode_is_that_outside(kind, options):
    options = {"n_estimators": 1, "max_epochs": 20, "random_state": 0, **options}
    outside = kind(**options).fit(X, Y)
    with torch.inference_mode():
        inside = kind(**options).fit(torch.tensor(X), Y)
        inside_risk = inside.predict(X)
    np.testing.assert_array_equal(inside_risk, outside.predict(X))
    np.testing.assert_array_equal(
        inside.set_params(max_epochs=1).partial_fit(X, Y).predict(X),
        outside.set_params(max_epochs=1).partial_fit(X, Y).predict(X),
    )
