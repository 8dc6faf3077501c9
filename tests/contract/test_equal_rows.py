"""Equal rows have equal predictions, wherever they stand and whatever comes along."""

from __future__ import annotations

import numpy as np
import pytest
from sksurv.util import Surv

from sksurvtorch import CompetingRisksNNRegressor, CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.nets import competing_risks_y

KINDS = {
    "cox": CoxNNRegressor,
    "weibull": WeibullAFTRegressor,
    "causes": CompetingRisksNNRegressor,
}
# 30 features: with few of them products of matrices round all rows alike.
PATIENTS = np.random.default_rng(0).normal(size=(7, 30))


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    """A kind of model, rows of seven kinds of patients, and the outcome."""
    rng = np.random.default_rng(1)
    X = PATIENTS[rng.integers(0, 7, 203)]
    time, event = rng.exponential(np.exp(-X[:, 0])) + 0.1, rng.random(203) < 0.7
    if request.param == "causes":
        return KINDS[request.param], X, competing_risks_y(event * rng.integers(1, 3, 203), time)
    return KINDS[request.param], X, Surv.from_arrays(event, time)


@pytest.mark.parametrize(
    "options",
    [{}, {"n_estimators": 15}, {"norm": "layer"}, {"momentum": True}],
    ids=["one", "15", "layer norm", "momentum"],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equal_rows_have_equal_predictions(kind, dtype, options):
    make, X, y = kind
    if make is CompetingRisksNNRegressor and dtype == "float32" and "n_estimators" not in options:
        pytest.skip("products with two columns round by where a row stands in memory")
    options = {"n_estimators": 1, "max_epochs": 1, "random_state": 0, **options}
    model = make(dtype=dtype, **options).fit(X, y)
    scores = model.predict(X)
    assert len(np.unique(scores)) == 7
    for n_rows in (1, 2, 7, 63, 65, 130):
        np.testing.assert_array_equal(model.predict(X[:n_rows]), scores[:n_rows])
    if options["n_estimators"] > 1:
        members = model.predict_members(X)
        np.testing.assert_array_equal(model.predict_members(X[5:70]), members[:, 5:70])
        assert len(np.unique(members, axis=1).T) == 7


def test_the_order_of_rows_leaves_the_score_as_it_is(kind):
    make, X, y = kind
    model = make(n_estimators=15, max_epochs=1, random_state=0).fit(X, y)
    order = np.random.default_rng(2).permutation(len(X))
    assert model.score(X[order], y[order]) == model.score(X, y)
