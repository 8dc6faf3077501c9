"""Scores of predictions: concordance, Brier scores of competing risks, and calibration."""

from sksurvtorch.metrics._calibration import DCalibration, d_calibration
from sksurvtorch.metrics._competing_risks import (
    concordance_index_competing_risks,
    concordance_index_competing_risks_ipcw,
)
from sksurvtorch.metrics._concordance import concordance_index_censored, concordance_index_ipcw
from sksurvtorch.metrics._incidence import (
    IncidenceCalibration,
    brier_score_incidence,
    incidence_calibration,
    integrated_brier_score_incidence,
)
from sksurvtorch.metrics._scorers import make_incidence_scorer

__all__ = [
    "DCalibration",
    "IncidenceCalibration",
    "brier_score_incidence",
    "concordance_index_censored",
    "concordance_index_competing_risks",
    "concordance_index_competing_risks_ipcw",
    "concordance_index_ipcw",
    "d_calibration",
    "incidence_calibration",
    "integrated_brier_score_incidence",
    "make_incidence_scorer",
]
