"""Neural survival estimators for scikit-learn, trained with torch."""

from sksurvtorch.estimators import (
    CompetingRisksNNRegressor,
    CoxNNRegressor,
    LogLogisticAFTRegressor,
    LogNormalAFTRegressor,
    WeibullAFTRegressor,
)
from sksurvtorch.losses import AFTLoss, CompetingRisksLoss, CoxPHLoss, WeibullAFTLoss
from sksurvtorch.persistence import load, save

__all__ = [
    "AFTLoss",
    "CompetingRisksLoss",
    "CompetingRisksNNRegressor",
    "CoxNNRegressor",
    "CoxPHLoss",
    "LogLogisticAFTRegressor",
    "LogNormalAFTRegressor",
    "WeibullAFTLoss",
    "WeibullAFTRegressor",
    "load",
    "save",
]

__version__ = "0.1.0"
