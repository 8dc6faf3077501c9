"""Mathematics of the losses on tensors: pure functions that need torch and numpy."""

from sksurvtorch.functional._competing_risk_sets import CompetingRiskSets
from sksurvtorch.functional._risk_set import RiskSets
from sksurvtorch.functional.aft import aft_neg_log_likelihood
from sksurvtorch.functional.aft_times import (
    aft_cumulative_hazard,
    aft_log_hazard,
    aft_log_survival,
    aft_mean,
    aft_mean_residual_life,
    aft_median,
    aft_quantile,
    aft_sample,
    aft_survival,
)
from sksurvtorch.functional.breslow import BreslowBaseline, breslow_baseline
from sksurvtorch.functional.competing_risks import competing_risks_neg_log_likelihood
from sksurvtorch.functional.cox import cox_neg_partial_log_likelihood
from sksurvtorch.functional.fine_gray import FineGrayRows, fine_gray_weights
from sksurvtorch.functional.incidence import (
    CompetingRisksBaseline,
    CumulativeIncidence,
    competing_risks_baseline,
    cumulative_incidence,
)
from sksurvtorch.functional.segmentation import (
    affinities_terms,
    hot_distance_terms,
    weighted_error,
)
from sksurvtorch.functional.weibull import (
    weibull_cumulative_hazard,
    weibull_log_cumulative_hazard,
    weibull_log_hazard,
    weibull_mean,
    weibull_median,
    weibull_neg_log_likelihood,
    weibull_quantile,
    weibull_sample,
    weibull_survival,
)

__all__ = [
    "BreslowBaseline",
    "CompetingRiskSets",
    "CompetingRisksBaseline",
    "CumulativeIncidence",
    "FineGrayRows",
    "RiskSets",
    "affinities_terms",
    "aft_cumulative_hazard",
    "aft_log_hazard",
    "aft_log_survival",
    "aft_mean",
    "aft_mean_residual_life",
    "aft_median",
    "aft_neg_log_likelihood",
    "aft_quantile",
    "aft_sample",
    "aft_survival",
    "breslow_baseline",
    "competing_risks_baseline",
    "competing_risks_neg_log_likelihood",
    "cox_neg_partial_log_likelihood",
    "cumulative_incidence",
    "fine_gray_weights",
    "hot_distance_terms",
    "weibull_cumulative_hazard",
    "weibull_log_cumulative_hazard",
    "weibull_log_hazard",
    "weibull_mean",
    "weibull_median",
    "weibull_neg_log_likelihood",
    "weibull_quantile",
    "weibull_sample",
    "weibull_survival",
    "weighted_error",
]
