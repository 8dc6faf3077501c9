"""Neural survival estimators for scikit-learn, trained with torch."""

from sksurvtorch.estimators import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.losses import CoxPHLoss, WeibullAFTLoss

__all__ = ["CoxNNRegressor", "CoxPHLoss", "WeibullAFTLoss", "WeibullAFTRegressor"]
