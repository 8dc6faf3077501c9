"""Linear nets have the coefficients of scikit-survival and lifelines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, WeibullAFTFitter
from sklearn.preprocessing import StandardScaler
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from tests.property.small_fits import LINEAR, both_ties, load_data_set


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
