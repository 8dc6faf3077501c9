"""Estimators for scikit-learn: the only place that knows scikit-survival."""

from sksurvtorch.estimators.competing_risks import CompetingRisksNNRegressor
from sksurvtorch.estimators.cox import CoxNNRegressor
from sksurvtorch.estimators.weibull import WeibullAFTRegressor

__all__ = ["CompetingRisksNNRegressor", "CoxNNRegressor", "WeibullAFTRegressor"]
