"""Every sentence of the survival losses and of their functions on tensors, word for word."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sksurvtorch import CoxPHLoss, WeibullAFTLoss
from sksurvtorch.exceptions import NoEventError
from sksurvtorch.functional import (
    RiskSets,
    cox_neg_partial_log_likelihood,
    weibull_neg_log_likelihood,
    weibull_quantile,
    weibull_survival,
)
from sksurvtorch.nets import survival_target
from tests.unit.refusals import AT_RISK, NOT_Y, POSITIVE, TIME, refuses

E = torch.tensor([True, True, False])
T = torch.tensor([1.0, 2.0, 3.0])
Z = torch.zeros(3)
ONE_COLUMN = torch.zeros(3, 1)
RISK_SETS = RiskSets(E, T)
cox = cox_neg_partial_log_likelihood
weibull = weibull_neg_log_likelihood

NO_EVENT = (
    "`event` must be True at least once, got {} rows that are censored or of weight 0. The Cox "
    "partial likelihood is a product over events: use larger batches, or leave such a batch out."
)
RISK_SETS_ALONE = (
    "`risk_sets` must come alone, got event, time, entry, stratum or weight besides. They are part "
    "of the risk sets already."
)
WEIGHT_OF_A_ROW = "A weight multiplies the loss of its row; 0 leaves the row out."
COX_KEYS = "'event', 'time', 'entry', 'stratum', 'weight'"

CASES = {
    "ties": (
        lambda: cox(Z, E, T, ties="exact"),
        ValueError,
        "`ties` must be one of 'efron', 'breslow', got 'exact'.",
    ),
    "ties_of_risk_sets": (
        lambda: RiskSets(E, T, ties="exact"),
        ValueError,
        "`ties` must be one of 'efron', 'breslow', got 'exact'.",
    ),
    "ties_of_module": (
        lambda: CoxPHLoss(ties="exact"),
        ValueError,
        "`ties` must be one of 'efron', 'breslow', got 'exact'.",
    ),
    "reduction": (
        lambda: cox(Z, E, T, reduction="average"),
        ValueError,
        "`reduction` must be one of 'mean', 'sum', 'none', got 'average'.",
    ),
    "reduction_of_weibull": (
        lambda: weibull(ONE_COLUMN, E, T, reduction=None),
        ValueError,
        "`reduction` must be one of 'mean', 'sum', 'none', got None.",
    ),
    "reduction_of_cox_module": (
        lambda: CoxPHLoss(reduction="average"),
        ValueError,
        "`reduction` must be one of 'mean', 'sum', 'none', got 'average'.",
    ),
    "reduction_of_weibull_module": (
        lambda: WeibullAFTLoss(reduction="average"),
        ValueError,
        "`reduction` must be one of 'mean', 'sum', 'none', got 'average'.",
    ),
    "no_event_given": (
        lambda: cox(Z),
        TypeError,
        "`event` must be a tensor of shape (n_samples,), got None.",
    ),
    "no_time_given": (
        lambda: cox(Z, E),
        TypeError,
        "`time` must be a tensor of shape (n_samples,), got None.",
    ),
    "risk_sets_besides_event": (
        lambda: cox(Z, E, T, risk_sets=RISK_SETS),
        TypeError,
        RISK_SETS_ALONE,
    ),
    "risk_sets_besides_weight": (
        lambda: cox(Z, weight=T, risk_sets=RISK_SETS),
        TypeError,
        RISK_SETS_ALONE,
    ),
    "risk_sets_besides_in_module": (
        lambda: CoxPHLoss()(Z, time=T, risk_sets=RISK_SETS),
        TypeError,
        RISK_SETS_ALONE,
    ),
    "risk_sets_of_other_ties": (
        lambda: CoxPHLoss(ties="breslow")(Z, risk_sets=RISK_SETS),
        ValueError,
        "`risk_sets` must have the ties 'breslow' of this loss, got 'efron'.",
    ),
    "two_columns": (
        lambda: cox(torch.zeros(3, 2), E, T),
        ValueError,
        "`log_hazard_ratio` must have shape (n_samples, 1), got (3, 2).",
    ),
    "integer_prediction": (
        lambda: cox(Z.long(), E, T),
        TypeError,
        "`log_hazard_ratio` must be a floating-point tensor, got torch.int64. Pass "
        "log_hazard_ratio.float().",
    ),
    "array_prediction": (
        lambda: cox(np.zeros(3), E, T),
        TypeError,
        "`log_hazard_ratio` must be a floating-point tensor, got ndarray.",
    ),
    "more_rows": (
        lambda: cox(torch.zeros(4), E, T),
        ValueError,
        "`log_hazard_ratio` must have 3 rows, got 4: one for each row of `event` and `time`.",
    ),
    "short_time": (
        lambda: cox(Z, E, T[:2]),
        ValueError,
        "`time` must have shape (3,), got (2,).",
    ),
    "event_of_two_axes": (
        lambda: cox(Z, E[:, None], T),
        ValueError,
        "`event` must have shape (n_samples,), got (3, 1).",
    ),
    "half_an_event": (
        lambda: cox(Z, torch.tensor([0.5, 1.0, 0.0]), T),
        ValueError,
        "`event` must be bool, or 0 and 1, got 0.5 (1 of 3 rows). Pass True for an observed event "
        "and False for a censored one.",
    ),
    "nan_time": (
        lambda: cox(Z, E, torch.tensor([1.0, float("nan"), 2.0])),
        ValueError,
        "`time` must be finite, got nan (1 of 3 rows). Impute or remove these rows.",
    ),
    "complex_time": (
        lambda: cox(Z, E, T.cfloat()),
        TypeError,
        "`time` must be a dense tensor of real numbers, got torch.complex64. Pass time.real or "
        "time.abs(), whichever is meant.",
    ),
    "text_time": (
        lambda: cox(Z, E, ["a", "b", "c"]),
        TypeError,
        "`time` must be numeric, got list.",
    ),
    "late_entry": (
        lambda: cox(Z, E, T, entry=T),
        ValueError,
        f"`entry` must be less than the time of its row, got 1.0 (3 of 3 rows). {AT_RISK}",
    ),
    "float_stratum": (
        lambda: cox(Z, E, T, stratum=T),
        TypeError,
        "`stratum` must hold integer codes, got torch.float32. Encode the labels first, for "
        "instance with numpy.unique(..., return_inverse=True).",
    ),
    "negative_weight": (
        lambda: cox(Z, E, T, weight=-T),
        ValueError,
        f"`weight` must be finite and at least 0, got -1.0 (3 of 3 rows). {WEIGHT_OF_A_ROW}",
    ),
    "no_weight": (
        lambda: weibull(ONE_COLUMN, E, T, weight=0 * T),
        ValueError,
        f"`weight` must be positive somewhere, got 3 zeros. {WEIGHT_OF_A_ROW}",
    ),
    "no_event": (lambda: cox(Z, E & ~E, T), NoEventError, NO_EVENT.format(3)),
    "no_event_of_weight": (
        lambda: cox(Z, E, T, weight=torch.tensor([0.0, 0.0, 1.0])),
        NoEventError,
        NO_EVENT.format(3),
    ),
    "no_event_taken": (
        lambda: RISK_SETS.take(torch.tensor([2])),
        NoEventError,
        NO_EVENT.format(1),
    ),
    "three_columns": (
        lambda: weibull(torch.zeros(3, 3), E, T),
        ValueError,
        "`log_params` must have shape (n_samples, 1) or (n_samples, 2), got (3, 3).",
    ),
    "integer_params": (
        lambda: weibull(ONE_COLUMN.int(), E, T),
        TypeError,
        "`log_params` must be a floating-point tensor, got torch.int32. Pass log_params.float().",
    ),
    "zero_time": (
        lambda: weibull(ONE_COLUMN, E, torch.tensor([0.0, 1.0, 0.0])),
        ValueError,
        POSITIVE.format("time", "0.0 (2 of 3 rows)"),
    ),
    "grid_of_three_axes": (
        lambda: weibull_survival(ONE_COLUMN, torch.zeros(2, 2, 2)),
        ValueError,
        "`times` must have shape (n_times,) or (3, n_times), got (2, 2, 2).",
    ),
    "grid_before_zero": (
        lambda: weibull_survival(ONE_COLUMN, torch.tensor([1.0, -1.0])),
        ValueError,
        "`times` must be at least 0, got -1.0 (1 of 2 rows). Time starts at 0.",
    ),
    "probability": (
        lambda: weibull_quantile(ONE_COLUMN, torch.tensor([1.5])),
        ValueError,
        "`probability` must be within [0, 1], got 1.5 (1 of 1 rows). It is the probability that "
        "the event has happened: 0.5 gives the median.",
    ),
    "mapping_and_time": (
        lambda: CoxPHLoss()(Z, {"event": E, "time": T}, T),
        TypeError,
        "`time` must be a key of the mapping, got both.",
    ),
    "unknown_key": (
        lambda: CoxPHLoss()(Z, {"event": E, "time": T, "mass": T}),
        ValueError,
        f"The keys of a target must be among {COX_KEYS}, with event and time, got "
        "['event', 'time', 'mass'].",
    ),
    "missing_key": (
        lambda: CoxPHLoss()(Z, {"event": E}),
        ValueError,
        f"The keys of a target must be among {COX_KEYS}, with event and time, got ['event'].",
    ),
    "stratum_of_weibull": (
        lambda: WeibullAFTLoss()(ONE_COLUMN, {"event": E, "time": T, "stratum": E}),
        ValueError,
        "The keys of a target must be among 'event', 'time', 'entry', 'weight', with event and "
        "time, got ['event', 'time', 'stratum'].",
    ),
    "risk_sets_of_weibull": (
        lambda: WeibullAFTLoss()(ONE_COLUMN, RISK_SETS),
        TypeError,
        "`event` must be numeric, got RiskSets.",
    ),
    "target_of_plain_y": (
        lambda: survival_target(TIME),
        ValueError,
        NOT_Y.format("ndarray of shape (20,) and dtype float64"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_losses_and_targets(case):
    refuses(*CASES[case])
