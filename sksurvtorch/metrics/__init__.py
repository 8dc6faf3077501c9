"""Scores of predictions: concordance in O(n log n) time, and calibration over all times."""

from sksurvtorch.metrics._calibration import DCalibration, d_calibration
from sksurvtorch.metrics._concordance import concordance_index_censored, concordance_index_ipcw

__all__ = [
    "DCalibration",
    "concordance_index_censored",
    "concordance_index_ipcw",
    "d_calibration",
]
