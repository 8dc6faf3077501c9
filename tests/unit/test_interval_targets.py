"""Interval-censored y: made of columns, told from other kinds, and refused word for word."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.helper import SliceDict
from sksurv.util import Surv

from sksurvtorch import CompetingRisksNNRegressor, CoxNNRegressor
from sksurvtorch._validation import check_interval_y, is_interval_y
from sksurvtorch.nets import interval_censored_y, survival_target
from tests.unit.refusals import X, refuses

INF = np.inf
LOWER = [1.0, 0.0, 2.0, 4.0]
UPPER = [3.0, 2.0, 2.0, INF]
Y = interval_censored_y(LOWER, UPPER)
MAKE = "Make one with sksurvtorch.nets.interval_censored_y(lower, upper)."
ORDER = "The event lies in (lower, upper], or at both if they are equal."
AFT = (
    "Interval-censored times need WeibullAFTRegressor, LogNormalAFTRegressor or "
    "LogLogisticAFTRegressor: a Cox model has no likelihood for them here."
)


@pytest.mark.parametrize(
    "convert",
    [list, np.array, torch.tensor, pd.Series, lambda x: pd.DataFrame({"x": x})["x"]],
    ids=["list", "array", "tensor", "series", "column"],
)
def test_columns_become_two_fields_in_order(convert):
    y = interval_censored_y(convert(LOWER), convert(UPPER))
    assert y.dtype == np.dtype([("lower", float), ("upper", float)])
    assert y["lower"].tolist() == LOWER
    assert y["upper"].tolist() == UPPER


def test_integers_become_floats():
    y = interval_censored_y(np.array([1, 2]), np.array([2, 2], dtype=np.uint8))
    assert y.dtype == np.dtype([("lower", float), ("upper", float)])
    assert y["upper"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("lower", "upper", "sentence"),
    [
        ([1, np.nan], [2, 3], "`lower` must be finite, got nan (1 of 2 rows). A left-censored row "
         "has a lower bound of 0."),
        ([1, INF], [2, INF], "`lower` must be finite, got inf (1 of 2 rows). A left-censored row "
         "has a lower bound of 0."),
        ([-1, -2], [2, 3], "`lower` must be at least 0, got -1.0 (2 of 2 rows). Time starts at 0."),
        ([1, 1], [2, np.nan], "`upper` must not be missing, got nan (1 of 2 rows). A "
         "right-censored row has an infinite upper bound."),
        ([1, 3], [2, 2], "`upper` must be at least lower in each row, got 2.0 (1 of 2 rows). "
         + ORDER),
        ([0, 1], [0, 1], "`upper` must be positive, got 0.0 (1 of 2 rows). No event can lie at or "
         "before time 0."),
        ([0, 0, 1], [INF, INF, 2], "`lower` and `upper` must bound the time of the event in each "
         "row, got 0 and infinity (2 of 3 rows). Such rows say nothing: leave them out."),
        ([1, 2], [1], "`upper` must have shape (2,), got (1,)."),
        ([[1, 2]], [[1, 2]], "`lower` must have shape (n_samples,), got (1, 2)."),
    ],
    ids=["nan", "inf", "negative", "missing", "order", "zero", "silent", "length", "shape"],
)  # fmt: skip
def test_columns_of_wrong_content(lower, upper, sentence):
    refuses(lambda: interval_censored_y(lower, upper), ValueError, sentence)


@pytest.mark.parametrize(
    ("lower", "sentence"),
    [
        (["a", "b"], "`lower` must be numeric, got <U1."),
        ([True, False], "`lower` must hold numeric times, got bool."),
    ],
)
def test_columns_of_the_wrong_kind(lower, sentence):
    refuses(lambda: interval_censored_y(lower, [1, 2]), TypeError, sentence)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (Y, True),
        (Y[:0], True),
        (np.zeros(3, [("lower", int), ("upper", np.float32)]), True),
        (np.zeros(3, [("upper", float), ("lower", float)]), False),
        (np.zeros(3, [("lower", bool), ("upper", float)]), False),
        (np.zeros(3, [("lower", float), ("upper", "U3")]), False),
        (np.zeros(3, [("lower", float), ("upper", float), ("x", float)]), False),
        (Surv.from_arrays([True], [1.0]), False),
        (np.zeros((3, 2)), False),
        (pd.DataFrame({"lower": [1.0], "upper": [2.0]}), False),
        (None, False),
    ],
)
def test_which_arrays_are_of_intervals(y, expected):
    assert is_interval_y(y) is expected


def test_bounds_are_columns_of_float64_of_their_own():
    y = np.zeros(2, [("lower", np.int8), ("upper", np.float32)])
    y["lower"], y["upper"] = [1, 2], [1, INF]
    for found, expected in zip(check_interval_y(y), ([1, 2], [1, INF]), strict=True):
        assert found.dtype == np.float64
        assert found.flags.c_contiguous
        assert found.tolist() == expected


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        (None, "This Model requires y to be passed, but the target y is None. It must be a "
         f"structured array with the fields lower and upper. {MAKE}"),
        (np.zeros(3), "`y` must be a structured array of shape (n_samples,) with two fields, the "
         f"lower bound and the upper bound, got ndarray of shape (3,) and dtype float64. {MAKE}"),
        (np.zeros(3, [("lower", float)]), "`y` must have two fields, the lower bound and the "
         f"upper bound, got 1: lower. {MAKE}"),
        (np.zeros(3, [("upper", float), ("lower", float)]), "The fields of `y` must be 'lower' "
         f"and 'upper', in this order, got 'upper' and 'lower'. {MAKE}"),
        (np.zeros(3, [("lower", float), ("upper", bool)]), "The field 'upper' of `y` must hold "
         f"numeric times, got bool. {MAKE}"),
        (np.array([(2.0, 1.0)], Y.dtype), "`y['upper']` must be at least y['lower'] in each row, "
         f"got 1.0 (1 of 1 rows). {ORDER}"),
    ],
    ids=["none", "plain", "one", "swapped", "bool", "order"],
)  # fmt: skip
def test_y_that_is_no_array_of_intervals(y, sentence):
    refuses(lambda: check_interval_y(y, "Model"), ValueError, sentence)


def test_a_cox_model_names_the_models_of_intervals():
    sentence = (
        "`y` must have the event indicator and the time as its fields, got lower and upper. " + AFT
    )
    y = interval_censored_y(np.arange(20), np.arange(1, 21))
    refuses(lambda: CoxNNRegressor().fit(X, y), ValueError, sentence)


def test_a_model_of_competing_risks_names_the_models_of_intervals():
    sentence = "`y` must have the status and the time as its fields, got lower and upper. " + AFT
    y = np.ones(20, [("lower", np.int64), ("upper", float)])
    refuses(lambda: CompetingRisksNNRegressor().fit(X, y), ValueError, sentence)


def test_a_target_has_what_was_given_and_slices():
    columns = {"entry": [0.5, 0, 1, 0], "weight": [1.0, 2, 3, 4], "index": range(4)}
    target = survival_target(Y, **columns)
    assert isinstance(target, SliceDict)
    assert set(target) == {"lower", "upper", *columns}
    part = target[np.array([2, 0])]
    assert part["lower"].tolist() == [2, 1]
    assert part["upper"].tolist() == [2, 3]
    assert part["entry"].tolist() == [1, 0.5]
    assert part["weight"].tolist() == [3, 1]
    assert part["index"].tolist() == [2, 0]
    assert set(survival_target(Y)) == {"lower", "upper"}


def test_columns_that_a_target_of_intervals_cannot_have():
    refuses(
        lambda: survival_target(Y, stratum=[0, 1, 0, 1]),
        ValueError,
        "`stratum` must be None with intervals, got strata. Accelerated failure time models have "
        "none.",
    )
    refuses(
        lambda: survival_target(Y, weight=[1.0]),
        ValueError,
        "`weight` must have shape (4,), got (1,).",
    )
