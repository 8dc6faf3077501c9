"""What tests of errors share: an assertion, data of 20 rows, and sentences of several of them."""

from __future__ import annotations

import numpy as np
import pytest
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor

KINDS = (CoxNNRegressor, WeibullAFTRegressor)

both = pytest.mark.parametrize("kind", KINDS)

EVENT = np.arange(20) % 2 == 0
TIME = np.arange(1.0, 21.0)
X = np.random.default_rng(0).normal(size=(20, 3))
Y = Surv.from_arrays(EVENT, TIME)
STRATUM = np.resize(["a", "b"], 20)

MAKE_Y = "Make one with sksurv.util.Surv.from_arrays(event, time)."
BY_BOUNDS = "sksurvtorch.nets.interval_censored_y(lower, upper)."
NOT_Y = (
    "`y` must be a structured array of shape (n_samples,) with two fields, the event indicator "
    f"and the time, got {{}}. {MAKE_Y}"
)
AT_RISK = "A row is at risk on (entry, time], which may not be empty."
POSITIVE = (
    "`{}` must be positive, got {}. The Weibull density is zero or infinite at time 0: add half "
    "a unit of time to all rows, or leave out those that were never at risk."
)


def of_kind(kind, sentence):
    """The sentence of a kind: some also take bounds of the time."""
    if kind is CoxNNRegressor:
        return sentence
    if sentence.endswith("no probability of it."):
        return f"{sentence} Bounds of the time need {BY_BOUNDS}"
    return sentence.replace(MAKE_Y, f"{MAKE_Y[:-1]}, or of bounds of the time with {BY_BOUNDS}")


def refuses(action, error, sentence):
    """Assert that an action raises just this error with just this sentence."""
    with pytest.raises(error) as raised:
        action()
    assert raised.type is error
    assert str(raised.value) == sentence
