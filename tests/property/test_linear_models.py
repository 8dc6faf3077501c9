"""Linear nets have the coefficients of scikit-survival and lifelines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, WeibullAFTFitter
from scipy import stats
from scipy.optimize import minimize
from sklearn.preprocessing import StandardScaler
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from sksurvtorch import (
    CoxNNRegressor,
    LogLogisticAFTRegressor,
    LogNormalAFTRegressor,
    WeibullAFTRegressor,
)
from tests.property.small_fits import LINEAR, both_ties, load_data_set, simulate


@both_ties
@pytest.mark.parametrize("name", ["whas500", "gbsg2", "rossi"])
def test_coef_of_a_linear_cox_is_that_of_scikit_survival(name, ties):
    X, event, time = load_data_set(name)
    y = Surv.from_arrays(event, time)
    ours = CoxNNRegressor(**LINEAR, ties=ties).fit(X, y)
    theirs = CoxPHSurvivalAnalysis(ties=ties, n_iter=100, tol=1e-13).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4)


@both_ties
@pytest.mark.parametrize("alpha", [1.0, 100.0])
def test_alpha_of_a_linear_cox_is_that_of_scikit_survival(alpha, ties):
    """On standardised features, which the net penalises."""
    X, event, time = load_data_set("gbsg2")
    X, y = StandardScaler().fit_transform(X), Surv.from_arrays(event, time)
    ours = CoxNNRegressor(**LINEAR, ties=ties, alpha=alpha).fit(X, y)
    theirs = CoxPHSurvivalAnalysis(alpha=alpha, ties=ties, n_iter=100, tol=1e-13).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4)


@pytest.mark.parametrize("name", ["whas500", "gbsg2", "rossi"])
def test_a_linear_weibull_is_that_of_lifelines(name):
    X, event, time = load_data_set(name)
    # The optimiser of lifelines stops early on features of very different sizes.
    X = pd.DataFrame(StandardScaler().fit_transform(X), columns=X.columns)
    ours = WeibullAFTRegressor(**LINEAR).fit(X, Surv.from_arrays(event, time))
    theirs = WeibullAFTFitter().fit(X.assign(event=event, time=time), "time", "event").params_
    np.testing.assert_allclose(ours.coef_, theirs["lambda_"][X.columns], rtol=1e-3)
    np.testing.assert_allclose(ours.intercept_, theirs["lambda_"]["Intercept"], rtol=1e-3)
    np.testing.assert_allclose(ours.shape_, np.exp(theirs["rho_"]["Intercept"]), rtol=1e-3)


ERRORS = {
    WeibullAFTRegressor: stats.gumbel_l,
    LogNormalAFTRegressor: stats.norm,
    LogLogisticAFTRegressor: stats.logistic,
}


@pytest.mark.parametrize(
    "data", [load_data_set("veterans"), simulate(30, 40)], ids=["veterans", "40 features"]
)
@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_alpha_of_an_aft_model_penalises_shape_times_log_scale(kind, data):
    """By scipy, from two starts: there is one optimum, with more features than rows too."""
    X, event, time = data
    X, log_time = StandardScaler().fit_transform(X), np.log(time)
    center, spread = log_time.mean(), log_time.std()
    z, ones = (log_time - center) / spread, np.ones((len(X), 1))
    design, error, alpha = np.hstack([ones, X]), ERRORS[kind], 10.0

    def loss(b):
        """`b`: the log shape, and the other coefficients times the shape."""
        residual = np.exp(b[0]) * z - design @ b[1:]
        terms = np.where(event, error.logpdf(residual) + b[0], error.logsf(residual))
        return -terms.sum() + alpha / 2 * (b[2:] @ b[2:])

    starts = np.zeros(2 + X.shape[1]), np.r_[1.0, np.full(1 + X.shape[1], 0.1)]
    one, other = (minimize(loss, start, method="BFGS", options={"gtol": 1e-4}) for start in starts)
    np.testing.assert_allclose(one.x, other.x, atol=1e-4)
    model = kind(**LINEAR, alpha=alpha).fit(X, Surv.from_arrays(event, time))
    shape = model.shape_ * spread
    assert np.log(shape) == pytest.approx(one.x[0], abs=1e-4)
    np.testing.assert_allclose(model.coef_ / spread * shape, one.x[2:], atol=1e-4)


def test_entry_and_weight_of_a_linear_net_are_those_of_lifelines():
    X, event, time = load_data_set("rossi")
    rng = np.random.default_rng(0)
    entry = np.floor(time * rng.uniform(0, 0.8, len(X)))
    weight = rng.integers(1, 4, len(X))
    X = pd.DataFrame(StandardScaler().fit_transform(X), columns=X.columns)
    frame = X.assign(event=event, time=time, entry=entry, weight=weight)
    y = Surv.from_arrays(event, time)
    options = {"entry_col": "entry", "weights_col": "weight"}
    cox = CoxNNRegressor(**LINEAR).fit(X, y, sample_weight=weight, entry=entry)
    theirs = CoxPHFitter().fit(frame, "time", "event", **options, robust=False).params_
    # lifelines stops at 1e-5 or so.
    np.testing.assert_allclose(cox.coef_, theirs[X.columns], rtol=1e-3)
    weibull = WeibullAFTRegressor(**LINEAR).fit(X, y, sample_weight=weight, entry=entry)
    theirs = WeibullAFTFitter().fit(frame, "time", "event", **options).params_
    np.testing.assert_allclose(weibull.coef_, theirs["lambda_"][X.columns], rtol=1e-3)
    np.testing.assert_allclose(weibull.shape_, np.exp(theirs["rho_"]["Intercept"]), rtol=1e-3)
