"""Fits of competing risks: those of scikit-survival and lifelines, and of `CoxNNRegressor`."""

from __future__ import annotations

import lifelines
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import expm
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.nonparametric import cumulative_incidence_competing_risks
from sksurv.util import Surv

from sksurvtorch import CompetingRisksNNRegressor, CoxNNRegressor
from sksurvtorch.functional import competing_risks_baseline, fine_gray_weights
from sksurvtorch.nets import competing_risks_y
from tests.contract.risk_models import Outputs, columns_of, either_hazard, linear, risks, small


@pytest.fixture(scope="module")
def rows():
    """Three causes, with ties within a cause and between causes."""
    return risks(400, n_causes=3, n_times=60, dtype=np.float64)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_a_linear_model_has_the_coefficients_of_scikit_survival(ties, rows):
    X, y = rows
    ours = linear(ties=ties).fit(X, y)
    assert ours.coef_.shape == (3, 4)
    for cause in (1, 2, 3):
        one = Surv.from_arrays(y["status"] == cause, y["time"])  # other events are censorings
        theirs = CoxPHSurvivalAnalysis(ties=ties, n_iter=100, tol=1e-12).fit(X, one)
        np.testing.assert_allclose(ours.coef_[cause - 1], theirs.coef_, atol=1e-5)
        expected = [f(ours.unique_times_) for f in theirs.predict_cumulative_hazard_function(X[:9])]
        found = ours.predict_cumulative_hazard_function(X[:9], return_array=True, cause=cause)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def by_lifelines(X, start, stop, event, weight, stratum=None):
    """Coefficients of a weighted Cox model of rows (start, stop]."""
    names = [f"x{k}" for k in range(X.shape[1])]
    frame = pd.DataFrame(X, columns=names).assign(event=event, weight=weight)
    options = {"event_col": "event", "weights_col": "weight"}
    if stratum is None:
        frame = frame.assign(start=start, stop=stop, id=np.arange(len(X)))
        columns = {"id_col": "id", "start_col": "start", "stop_col": "stop"}
        fitter = lifelines.CoxTimeVaryingFitter()
        fitter.fit(frame, **columns, **options, fit_options={"precision": 1e-9})
    else:  # it has both strata and entries, and Efron's ties
        frame = frame.assign(start=start, stop=stop, stratum=stratum)
        columns = {"duration_col": "stop", "entry_col": "start", "strata": ["stratum"]}
        fitter = lifelines.CoxPHFitter()
        fitter.fit(frame, **columns, **options, robust=True, fit_options={"precision": 1e-9})
    return fitter.params_[names].to_numpy()


@pytest.mark.parametrize("names", [("entry",), ("stratum",), ("entry", "stratum", "sample_weight")])
def test_entries_strata_and_weights_as_in_lifelines(names, rows):
    X, y = rows
    columns = columns_of(y, *names)
    ours = linear().fit(X, y, **columns)
    weight = columns.get("sample_weight", np.ones(len(y)))
    entry = columns.get("entry", np.zeros(len(y)))
    kept = weight > 0
    for cause in (1, 2, 3):
        event = y["status"] == cause
        given = (X, entry, y["time"], event, weight, columns.get("stratum"))
        theirs = by_lifelines(*(None if x is None else x[kept] for x in given))
        np.testing.assert_allclose(ours.coef_[cause - 1], theirs, atol=1e-5)


@pytest.mark.parametrize(
    "names", [(), ("entry",), ("stratum",), ("entry", "stratum", "sample_weight")]
)
def test_subdistribution_hazards_are_weighted_fits_of_lifelines(names, rows):
    X, y = rows
    columns = columns_of(y, *names)
    ours = linear(hazard="subdistribution").fit(X, y, **columns)
    given = {name: columns[name] for name in ("entry",) if name in columns}
    if "stratum" in columns:
        given["stratum"] = np.unique(columns["stratum"], return_inverse=True)[1]
    if "sample_weight" in columns:
        given["weight"] = columns["sample_weight"]
    tensors = {"status": y["status"].copy(), "time": y["time"].copy(), **given}
    tensors = {name: torch.from_numpy(column) for name, column in tensors.items()}
    for cause in (1, 2, 3):
        expanded = fine_gray_weights(**tensors, cause=cause)
        counts = expanded.weight > 0
        row, start, stop, event, weight = (x[counts].numpy() for x in expanded)
        stratum = columns["stratum"][row] if "stratum" in columns else None
        theirs = by_lifelines(X[row], start, stop, event, weight, stratum)
        np.testing.assert_allclose(ours.coef_[cause - 1], theirs, atol=1e-5)
    plain = linear().fit(X, y, **columns)
    assert np.abs(plain.coef_ - ours.coef_).max() > 0.1


ONE_CAUSE = {
    "linear": {"hidden_layer_sizes": (), "optimizer": "lbfgs"},
    "linear, Adam": {"hidden_layer_sizes": ()},
    "one network": {"n_estimators": 1},
    "one network, early stopping": {
        "n_estimators": 1,
        "early_stopping": True,
        "n_iter_no_change": 2,
        "lr": 0.05,
        "max_epochs": 40,
    },
    "15 networks": {},
    "15 networks, early stopping": {"early_stopping": True, "n_iter_no_change": 1, "lr": 0.1},
    "breslow": {"n_estimators": 1, "ties": "breslow"},
}


@either_hazard
@pytest.mark.parametrize("case", ONE_CAUSE)
def test_one_cause_is_a_cox_model(case, hazard):
    X, y = risks(200, dtype=np.float64)
    y["status"] = y["status"] > 0
    one = Surv.from_arrays(y["status"] == 1, y["time"])
    columns = columns_of(y, "entry", "stratum", "sample_weight")
    settings = {"dtype": "float64", "batch_size": 64, "max_epochs": 4, "random_state": 0}
    settings |= ONE_CAUSE[case]
    if settings.get("optimizer") == "lbfgs":
        settings |= {"batch_size": None, "max_epochs": 50}
    cox = CoxNNRegressor(**settings).fit(X, one, **columns)
    ours = CompetingRisksNNRegressor(hazard=hazard, **settings).fit(X, y, **columns)
    close = {"rtol": 1e-7, "atol": 1e-7}  # what rounding becomes in the steps of Adam
    assert ours.n_iter_ == cox.n_iter_
    assert ours.n_estimators_ == cox.n_estimators_
    np.testing.assert_allclose(ours.predict(X), cox.predict(X), **close)
    np.testing.assert_allclose(ours.predict_members(X), cox.predict_members(X), **close)
    np.testing.assert_allclose(ours.member_weights_, cox.member_weights_, **close)
    np.testing.assert_allclose(
        ours.net_.history[:, "train_loss"], cox.net_.history[:, "train_loss"], rtol=1e-9
    )
    given = {"stratum": columns["stratum"], "return_array": True}
    survival = cox.predict_survival_function(X, **given)
    incidence = ours.predict_cumulative_incidence(X, **given)
    np.testing.assert_allclose(incidence[:, 0], 1 - survival, atol=1e-7)
    cumulative_hazard = cox.predict_cumulative_hazard_function(X, **given)
    found = ours.predict_cumulative_hazard_function(X, cause=1, **given)
    np.testing.assert_allclose(found, cumulative_hazard, **close)
    lost = ours.predict_restricted_mean_time_lost(X, stratum=columns["stratum"])[:, 0]
    expected = cox.unique_times_[-1] - cox.predict_expectation(X, stratum=columns["stratum"])
    np.testing.assert_allclose(lost, expected, atol=1e-5)
    np.testing.assert_array_equal(ours.log_baseline_cumulative_hazard_.shape[:2], (2, 1))
    np.testing.assert_allclose(
        ours.log_baseline_cumulative_hazard_[:, 0], cox.log_baseline_cumulative_hazard_, **close
    )
    assert ours.score(X, y) == pytest.approx(cox.score(X, one), abs=1e-12)
    if "early" in case:
        assert 1 < ours.n_iter_ < settings.get("max_epochs", 30)
        np.testing.assert_allclose(
            ours.net_.history[:, "valid_loss"], cox.net_.history[:, "valid_loss"], rtol=1e-9
        )
    if cox.n_estimators_ > 1:
        assert cox.n_estimators_ == 15
        np.testing.assert_allclose(ours.oob_prediction_, cox.oob_prediction_, **close)
        assert np.isnan(ours.oob_prediction_).sum() == (columns["sample_weight"] == 0).sum()
        assert ours.oob_score_ == pytest.approx(cox.oob_score_, abs=1e-12)
    if "linear" in case:
        np.testing.assert_allclose(ours.coef_, cox.coef_[None], **close)


def of_zeros(y, hazard="cause-specific"):
    """A network that says 0 for all rows."""
    X = np.zeros((len(y), 2))
    return small(module=Outputs(), hazard=hazard, max_epochs=1, batch_size=None).fit(X, y), X[:1]


@either_hazard
@pytest.mark.parametrize("n", [100, 1_000])
def test_a_network_that_says_0_gives_curves_of_aalen_johansen(n, hazard):
    rng = np.random.default_rng(n)
    time = np.round(rng.exponential(1.0, n), 4) + 0.0001
    status = rng.choice([0, 1, 2], n, p=[0.3, 0.4, 0.3])
    model, X = of_zeros(competing_risks_y(status, time), hazard)
    at, expected = cumulative_incidence_competing_risks(status, time)
    early = at <= 2.5  # later few are at risk
    found = model.predict_cumulative_incidence(X, times=at[early])[0]
    error = np.abs(found - expected[1:, early]).max()
    assert 1e-2 / n < error < 2 / n


def test_incidences_are_exponentials_of_the_matrix_of_the_steps(rows):
    X, y = rows
    model = small(module=lambda: Outputs(3), batch_size=None).fit(X, y)
    baseline = competing_risks_baseline(
        torch.from_numpy(X[:, :3]), *(torch.from_numpy(y[name].copy()) for name in y.dtype.names)
    )
    incidence = model.predict_cumulative_incidence(X[:5], return_array=True)
    survival = model.predict_survival_function(X[:5], return_array=True)
    for row in range(5):
        state = np.eye(4)[0]
        for step, t in zip(baseline.log_hazard.T.numpy(), baseline.times.numpy(), strict=True):
            matrix = np.zeros((4, 4))
            matrix[0, 1:] = np.exp(step + X[row, :3])
            matrix[0, 0] = -matrix[0].sum()
            state = state @ expm(matrix)
            place = np.searchsorted(model.unique_times_, t)
            np.testing.assert_allclose(incidence[row, :, place], state[1:], atol=1e-12)
            np.testing.assert_allclose(survival[row, place], state[0], atol=1e-12)


def test_subdistribution_incidences_are_one_less_the_exponential_of_the_hazard(rows):
    X, y = rows
    model = linear(hazard="subdistribution").fit(X, y)
    incidence = model.predict_cumulative_incidence(X, return_array=True)
    for cause in (1, 2, 3):
        hazard = model.predict_cumulative_hazard_function(X, return_array=True, cause=cause)
        np.testing.assert_allclose(incidence[:, cause - 1], -np.expm1(-hazard), atol=1e-12)
    assert incidence.sum(1).max() > 1  # which is why survival is not offered
