"""Scores of predictions: concordance, Brier scores of competing risks, calibration, likelihood."""

from sksurvtorch.metrics._calibration import (
    DCalibration,
    d_calibration,
    d_calibration_interval_censored,
)
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
from sksurvtorch.metrics._intervals import (
    IntervalConcordance,
    concordance_index_interval_censored,
)
from sksurvtorch.metrics._scorers import log_likelihood_scorer, make_incidence_scorer
from sksurvtorch.metrics._turnbull import Turnbull, turnbull

__all__ = [
    "DCalibration",
    "IncidenceCalibration",
    "IntervalConcordance",
    "Turnbull",
    "brier_score_incidence",
    "concordance_index_censored",
    "concordance_index_competing_risks",
    "concordance_index_competing_risks_ipcw",
    "concordance_index_interval_censored",
    "concordance_index_ipcw",
    "d_calibration",
    "d_calibration_interval_censored",
    "incidence_calibration",
    "integrated_brier_score_incidence",
    "log_likelihood_scorer",
    "make_incidence_scorer",
    "turnbull",
]
