"""What somebody sees who works in a notebook or an editor: completion, diagram, types."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from inspect import signature

import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.datasets import load_whas500

import sksurvtorch
from sksurvtorch import (
    CompetingRisksNNRegressor,
    CoxNNRegressor,
    LogLogisticAFTRegressor,
    LogNormalAFTRegressor,
    WeibullAFTRegressor,
)
from sksurvtorch.nets import competing_risks_y

METHODS = """fit partial_fit predict predict_survival_function predict_cumulative_hazard_function
    predict_members predict_survival_path score get_params set_params get_metadata_routing
    set_fit_request set_partial_fit_request set_score_request"""
FITTED = """net_ unique_times_ device_ n_iter_ n_features_in_ feature_names_in_ n_estimators_
    member_weights_ oob_prediction_ oob_score_"""
OF_TIME = """predict_quantile predict_median predict_expectation predict_survival_interval
    predict_cumulative_hazard_interval predict_quantile_interval predict_median_interval
    predict_risk_interval predict_time_interval"""
OWN = {
    CoxNNRegressor: f"""{OF_TIME} predict_mean_residual_life strata_ last_times_
    log_baseline_cumulative_hazard_""",
    WeibullAFTRegressor: f"""{OF_TIME} predict_mean_residual_life predict_params log_likelihood
    log_time_center_ log_time_spread_ shape_""",
    CompetingRisksNNRegressor: """predict_log_hazard_ratio predict_cumulative_incidence
    predict_cumulative_incidence_interval predict_risk_interval predict_restricted_mean_time_lost
    n_causes_ strata_ last_times_ log_baseline_cumulative_hazard_""",
}


OWN |= {kind: OWN[WeibullAFTRegressor] for kind in (LogNormalAFTRegressor, LogLogisticAFTRegressor)}


@pytest.fixture(scope="module", params=OWN)
def model(request):
    X, y = load_whas500()
    if request.param is CompetingRisksNNRegressor:
        y = competing_risks_y(y["fstat"], y["lenfol"])
    return request.param(max_epochs=1, random_state=0).fit(X, y)


def test_completion_offers_what_is_documented_and_nothing_else(model):
    offered = {name for name in dir(model) if not name.startswith("_")}
    parameters = set(signature(type(model).__init__).parameters) - {"self", "kwargs"}
    assert offered == {*METHODS.split(), *FITTED.split(), *OWN[type(model)].split(), *parameters}


@pytest.mark.parametrize(
    "name", ["estimators", "exceptions", "functional", "losses", "metrics", "persistence"]
)
def test_completion_of_a_module_offers_no_import(name):
    module = import_module(f"sksurvtorch.{name}")
    offered = {item for item in dir(module) if not item.startswith("_")}
    own_files = {item for item in offered if getattr(module, item).__class__.__name__ == "module"}
    assert all(getattr(module, item).__name__.startswith(module.__name__) for item in own_files)
    assert offered - own_files == set(module.__all__)


def test_a_notebook_shows_a_diagram(model):
    page = make_pipeline(StandardScaler(), model)._repr_html_()
    assert type(model).__name__ in page
    assert "StandardScaler" in page


def test_types_are_shipped():
    assert files(sksurvtorch).joinpath("py.typed").is_file()
