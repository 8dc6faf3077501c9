"""Estimators of scikit-learn that train networks with survival losses."""

from sksurvtorch.estimators.competing_risks import CompetingRisksNNRegressor
from sksurvtorch.estimators.cox import CoxNNRegressor
from sksurvtorch.estimators.log_logistic import LogLogisticAFTRegressor
from sksurvtorch.estimators.log_normal import LogNormalAFTRegressor
from sksurvtorch.estimators.weibull import WeibullAFTRegressor

__all__ = [
    "CompetingRisksNNRegressor",
    "CoxNNRegressor",
    "LogLogisticAFTRegressor",
    "LogNormalAFTRegressor",
    "WeibullAFTRegressor",
]
