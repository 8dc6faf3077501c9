"""Pictures of predictions and fits, in the manner of scikit-learn's displays.

They take any fitted model in scikit-survival's form, alone or in a pipeline or search. matplotlib
is loaded when something is drawn.
"""

from sksurvtorch.displays.calibration import SurvivalCalibrationDisplay
from sksurvtorch.displays.d_calibration import DCalibrationDisplay
from sksurvtorch.displays.loss_curve import LossCurveDisplay
from sksurvtorch.displays.risk_groups import RiskGroupsDisplay
from sksurvtorch.displays.survival_function import SurvivalFunctionDisplay

__all__ = [
    "DCalibrationDisplay",
    "LossCurveDisplay",
    "RiskGroupsDisplay",
    "SurvivalCalibrationDisplay",
    "SurvivalFunctionDisplay",
]
