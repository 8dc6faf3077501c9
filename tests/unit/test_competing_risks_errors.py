"""Sentences of the functions of competing risks, word for word."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sksurvtorch import CompetingRisksLoss
from sksurvtorch.exceptions import NoEventError
from sksurvtorch.functional import (
    CompetingRiskSets,
    competing_risks_baseline,
    cumulative_incidence,
    fine_gray_weights,
)
from sksurvtorch.functional import competing_risks_neg_log_likelihood as competing
from sksurvtorch.losses import GatheredLoss, MomentumLoss
from sksurvtorch.nets import competing_risks_target, competing_risks_y
from tests.unit.refusals import refuses

S = torch.tensor([1, 2, 0])
T = torch.tensor([1.0, 2.0, 3.0])
Z = torch.zeros(3, 2)
SETS = CompetingRiskSets(S, T)
MAKE_Y = "Make one with sksurvtorch.nets.competing_risks_y(status, time)."
CODES = "Pass 0 for a censored row, and 1 to the number of causes for an event."
NO_EVENT = (
    "`status` must be above 0 at least once, got 3 rows that are censored or of weight 0. The "
    "partial likelihood is a product over events: use larger batches, or leave such a batch out."
)
ONE_KIND = (
    "`loss` must be one of events of one kind, got CompetingRisksLoss(ties='efron', "
    "hazard='cause-specific', reduction='mean'): outputs and targets are handed on with `event`, "
    "not `status`. Call this loss itself, with larger batches."
)
GAP = (
    "`entry` must leave a row at risk throughout for `hazard='subdistribution'`, got none when "
    "rows enter at 2.0, after an event and before one of another cause: the probability to have "
    "entered cannot be estimated. Leave out the rows before that time, or take "
    "`hazard='cause-specific'`."
)

CASES = {
    "hazard": (
        lambda: competing(Z, S, T, hazard="specific"),
        ValueError,
        "`hazard` must be one of 'cause-specific', 'subdistribution', got 'specific'.",
    ),
    "hazard_of_module": (
        lambda: CompetingRisksLoss(hazard="specific"),
        ValueError,
        "`hazard` must be one of 'cause-specific', 'subdistribution', got 'specific'.",
    ),
    "ties": (
        lambda: CompetingRiskSets(S, T, ties="exact"),
        ValueError,
        "`ties` must be one of 'efron', 'breslow', got 'exact'.",
    ),
    "reduction": (
        lambda: competing(Z, S, T, reduction="average"),
        ValueError,
        "`reduction` must be one of 'mean', 'sum', 'none', got 'average'.",
    ),
    "no_events": (lambda: competing(Z, 0 * S, T), NoEventError, NO_EVENT),
    "no_events_of_positive_weight": (
        lambda: competing(Z, S, T, weight=torch.tensor([0.0, 0.0, 1.0])),
        NoEventError,
        NO_EVENT,
    ),
    "more_causes_than_columns": (
        lambda: competing(Z, S + 1, T),
        ValueError,
        "`log_hazard_ratio` must have a column for each cause, and the largest `status` is 3, got "
        "2. Give the network 3 outputs.",
    ),
    "one_column": (
        lambda: competing(Z[:, 0], S, T),
        ValueError,
        "`log_hazard_ratio` must have a column for each cause, and the largest `status` is 2, got "
        "1. Give the network 2 outputs.",
    ),
    "columns_of_risk_sets": (
        lambda: competing(torch.zeros(3, 3), risk_sets=SETS),
        ValueError,
        "`log_hazard_ratio` must have 2 columns, one for each cause of `risk_sets`, got the shape "
        "(3, 3). Make the risk sets, or the CompetingRisksLoss of a net, with `n_causes` as the "
        "network has outputs.",
    ),
    "n_causes": (
        lambda: CompetingRiskSets(S, T, n_causes=1),
        ValueError,
        "`n_causes` must be at least the largest `status`, 2, got 1. The causes are numbered from "
        "1 on.",
    ),
    "no_causes": (
        lambda: CompetingRiskSets(S, T, n_causes=0),
        ValueError,
        "`n_causes` must be at least 1, got 0.",
    ),
    "rows": (
        lambda: competing(Z[:2], S, T),
        ValueError,
        "`log_hazard_ratio` must have 3 rows, got 2: one for each row of `status` and `time`.",
    ),
    "axes": (
        lambda: competing(Z[None], S, T),
        ValueError,
        "`log_hazard_ratio` must have shape (n_samples, n_causes), or (n_samples,) for one cause, "
        "got (1, 3, 2).",
    ),
    "no_columns": (
        lambda: competing(Z[:, :0], S, T),
        ValueError,
        "`log_hazard_ratio` must have shape (n_samples, n_causes), or (n_samples,) for one cause, "
        "got (3, 0).",
    ),
    "whole_outputs": (
        lambda: competing(Z.long(), S, T),
        TypeError,
        "`log_hazard_ratio` must be a floating-point tensor, got torch.int64. Pass "
        "log_hazard_ratio.float().",
    ),
    "floating_status": (
        lambda: competing(Z, S.float(), T),
        TypeError,
        f"`status` must hold integers, got torch.float32. {CODES}",
    ),
    "negative_status": (
        lambda: fine_gray_weights(S - 1, T),
        ValueError,
        f"`status` must be at least 0, got -1 (1 of 3 rows). {CODES}",
    ),
    "no_status": (
        lambda: competing(Z),
        TypeError,
        "`status` must be a tensor of shape (n_samples,), got None.",
    ),
    "no_time": (
        lambda: competing(Z, S),
        TypeError,
        "`time` must be a tensor of shape (n_samples,), got None.",
    ),
    "risk_sets_alone": (
        lambda: competing(Z, S, T, risk_sets=SETS),
        TypeError,
        "`risk_sets` must come alone, got status, time, entry, stratum or weight besides. They are "
        "part of the risk sets already.",
    ),
    "hazard_of_risk_sets": (
        lambda: CompetingRisksLoss(hazard="subdistribution")(Z, risk_sets=SETS),
        ValueError,
        "`risk_sets` must have the hazard 'subdistribution' of this loss, got 'cause-specific'.",
    ),
    "ties_of_risk_sets": (
        lambda: CompetingRisksLoss(ties="breslow")(Z, risk_sets=SETS),
        ValueError,
        "`risk_sets` must have the ties 'breslow' of this loss, got 'efron'.",
    ),
    "keys": (
        lambda: CompetingRisksLoss()(Z, {"event": S, "time": T}),
        ValueError,
        "The keys of a target must be among 'status', 'time', 'entry', 'stratum', 'weight', with "
        "status and time, got ['event', 'time'].",
    ),
    "empty_batch": (
        lambda: SETS.split(torch.tensor([0, 2]), [1, 1]),
        NoEventError,
        NO_EVENT.replace("3 rows", "1 rows"),
    ),
    "event_of_momentum": (
        lambda: MomentumLoss(CompetingRisksLoss(), bank_size=3)((Z, Z), {"event": S, "time": T}),
        ValueError,
        "The keys of a target must be among 'status', 'time', 'entry', 'stratum', 'weight', "
        "'index', 'log_censoring', with status and time, got ['event', 'time'].",
    ),
    "floating_status_of_momentum": (
        lambda: MomentumLoss(CompetingRisksLoss(), bank_size=3)((Z, Z), S.float(), T),
        TypeError,
        f"`status` must hold integers, got torch.float32. {CODES}",
    ),
    "length_of_momentum": (
        lambda: MomentumLoss(CompetingRisksLoss(), bank_size=3)((Z[:2], Z[:2]), S, T),
        ValueError,
        "`status` must have shape (2,), got (3,).",
    ),
    "causes_of_momentum": (
        lambda: MomentumLoss(CompetingRisksLoss(), bank_size=3)((Z, Z), S + 1, T),
        ValueError,
        "`log_hazard_ratio` must have a column for each cause, and the largest `status` is 3, got "
        "2. Give the network 3 outputs.",
    ),
    "gathered": (lambda: GatheredLoss(CompetingRisksLoss()), TypeError, ONE_KIND),
    "cause": (
        lambda: fine_gray_weights(S, T, cause=0),
        ValueError,
        "`cause` must be at least 1, got 0.",
    ),
    "columns_of_baseline": (
        lambda: cumulative_incidence(Z[:, :1], competing_risks_baseline(Z, S, T), T),
        ValueError,
        "`log_hazard_ratio` must have 2 columns, one for each cause of `baseline`, got 1.",
    ),
    "status_of_y": (
        lambda: competing_risks_y([1, -1], [1, 2]),
        ValueError,
        f"`status` must be at least 0, got -1 (1 of 2 rows). {CODES}",
    ),
    "time_of_y": (
        lambda: competing_risks_y([1, 0], [1, -2]),
        ValueError,
        "`y['time']` must be at least 0, got -2.0 (1 of 2 rows). Time counts from the origin of "
        "each row, so it cannot lie before it.",
    ),
    "lengths_of_y": (
        lambda: competing_risks_y([1, 0], [1]),
        ValueError,
        "`time` must have shape (2,), got (1,).",
    ),
    "no_y": (
        lambda: competing_risks_target(None),
        ValueError,
        "This target requires y to be passed, but the target y is None. It must be a structured "
        f"array with the fields status and time. {MAKE_Y}",
    ),
    "plain_y": (
        lambda: competing_risks_target(np.zeros(3)),
        ValueError,
        "`y` must be a structured array of shape (n_samples,) with two fields, the status and the "
        f"time, got ndarray of shape (3,) and dtype float64. {MAKE_Y}",
    ),
    "floating_y": (
        lambda: competing_risks_target(np.zeros(3, [("status", float), ("time", float)])),
        ValueError,
        "The first field of `y`, 'status', must hold integers, 0 for a censored row, else the "
        f"number of the cause of its event, got float64. {MAKE_Y}",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_sentences(name):
    refuses(*CASES[name])


@pytest.mark.parametrize(
    "call",
    [
        lambda **c: competing(torch.zeros(5, 2), **c, hazard="subdistribution"),
        lambda **c: CompetingRiskSets(**c, hazard="subdistribution"),
        fine_gray_weights,
    ],
    ids=["loss", "risk sets", "rows"],
)
def test_a_gap_in_the_follow_up_is_refused(call):
    """At 2 the only one at risk has an event of cause 2; others enter then."""
    columns = {
        "status": torch.tensor([2, 1, 2, 1, 0]),
        "time": torch.tensor([2.0, 3, 4, 5, 6]),
        "entry": torch.tensor([0.0, 2, 2, 3, 2]),
    }
    refuses(lambda: call(**columns), ValueError, GAP)
    strata = torch.tensor([0, 1, 1, 1, 1])
    call(**columns, stratum=strata)  # nothing crosses a gap of another stratum
    columns["status"] = torch.tensor([0, 1, 2, 1, 0])
    call(**columns)  # a censored row needs no weight
    columns["status"] = torch.tensor([1, 1, 0, 1, 0])
    call(**columns)  # nor an event before others of the same cause
    columns["status"], columns["entry"][0] = torch.tensor([2, 1, 2, 1, 0]), 1.0
    columns["time"][0] = 2.5
    call(**columns)  # it overlaps with the others
