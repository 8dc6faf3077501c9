"""Every error sentence of momentum, word for word, and what is left behind an error."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sksurvtorch.losses import CoxPHLoss, Momentum, MomentumLoss, MomentumNetwork, WeibullAFTLoss
from tests.unit.refusals import refuses

EVENT = torch.tensor([True, False, True])
TIME = torch.tensor([1.0, 2.0, 3.0])
ZEROS = torch.zeros(3)
COLUMNS = {
    "entry": TIME - 1,
    "stratum": torch.tensor([0, 0, 1]),
    "weight": TIME,
    "index": torch.tensor([1, 2, 3]),
}


def momentum(backbone=None, loss=None, *, bank_size=3, **options):
    backbone = backbone or nn.Linear(2, 1)
    return Momentum(backbone, loss or CoxPHLoss(), bank_size=bank_size, **options)


def step(criterion, event=EVENT, time=TIME, **columns):
    return criterion((ZEROS, ZEROS), event, time, **columns)


NO_LOSS = "`loss` must be a loss such as CoxPHLoss(), got {!r}. Make an instance first."
NO_REDUCTION = (
    "`loss` must have the reduction 'mean' or 'sum', got 'none': rows of the bank belong to "
    "earlier batches."
)
NO_MODULE = "`backbone` must be a torch.nn.Module, or a class or function that makes one, got {!r}."
NO_PAIR = (
    "`output` must be the pair of outputs of a MomentumNetwork in training mode, got {}. Wrap the "
    "network in a MomentumNetwork."
)

ARGUMENTS = {
    "loss_class": ({"loss": CoxPHLoss}, TypeError, NO_LOSS.format(CoxPHLoss)),
    "loss_name": ({"loss": "cox"}, TypeError, NO_LOSS.format("cox")),
    "loss_of_rows": ({"loss": CoxPHLoss(reduction="none")}, ValueError, NO_REDUCTION),
    "weibull_of_rows": ({"loss": WeibullAFTLoss(reduction="none")}, ValueError, NO_REDUCTION),
    "bank_size_negative": (
        {"bank_size": -1},
        ValueError,
        "`bank_size` must be at least 0, got -1.",
    ),
    "bank_size_float": (
        {"bank_size": 2.5},
        TypeError,
        "`bank_size` must be an integer, got 2.5 of type float.",
    ),
    "bank_size_of_weibull": (
        {"bank_size": None, "loss": WeibullAFTLoss()},
        TypeError,
        "`bank_size` must be an integer, got None of type NoneType.",
    ),
    "rate_one": (
        {"rate": 1.0},
        ValueError,
        "`rate` must be at least 0.0 and less than 1.0, got 1.0.",
    ),
    "rate_negative": (
        {"rate": -0.1},
        ValueError,
        "`rate` must be at least 0.0 and less than 1.0, got -0.1.",
    ),
    "rate_text": (
        {"rate": "fast"},
        TypeError,
        "`rate` must be a number, got 'fast' of type str.",
    ),
    "warmup": ({"warmup": 1}, TypeError, "`warmup` must be True or False, got 1."),
    "gradient": (
        {"gradient": "other"},
        ValueError,
        "`gradient` must be one of 'exact', 'balanced', got 'other'.",
    ),
    "backbone": ({"backbone": 3}, TypeError, NO_MODULE.format(3)),
    "backbone_name": ({"backbone": "linear"}, TypeError, NO_MODULE.format("linear")),
    "backbone_made": ({"backbone": str}, TypeError, NO_MODULE.format(str)),
    "backbone_lazy": (
        {"backbone": nn.Sequential(nn.LazyLinear(4), nn.LazyLinear(1))},
        ValueError,
        "`backbone` must have all its weights, got a lazy module. Call it once on a batch before.",
    ),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(case):
    options, error, sentence = ARGUMENTS[case]
    refuses(lambda: momentum(**options), error, sentence)


def test_whether_outputs_are_paired_is_a_flag():
    refuses(
        lambda: MomentumNetwork(nn.Linear(2, 1), paired="yes"),
        TypeError,
        "`paired` must be True or False, got 'yes'.",
    )


UNPAIRED = {
    "plain": (
        ZEROS,
        TypeError,
        NO_PAIR.format("Tensor of shape (3,) and dtype torch.float32"),
    ),
    "three": ((ZEROS, ZEROS, ZEROS), TypeError, NO_PAIR.format("tuple")),
    "unequal": (
        (ZEROS, ZEROS[:2]),
        ValueError,
        "`output` must be a pair of one shape, got (3,) and (2,).",
    ),
}


@pytest.mark.parametrize("case", UNPAIRED)
def test_outputs_that_are_no_pair_in_training_mode(case):
    output, error, sentence = UNPAIRED[case]
    criterion = MomentumLoss(CoxPHLoss(), bank_size=3)
    refuses(lambda: criterion(output, EVENT, TIME), error, sentence)
    assert len(criterion.bank) == 0


@pytest.mark.parametrize("name", ["time", *COLUMNS])
def test_a_target_without_event(name):
    refuses(
        lambda: momentum()(torch.zeros(3, 2), **{name: TIME}),
        TypeError,
        f"`event` must come with the rest of a target, got None beside `{name}`.",
    )


def test_a_loss_of_rows_from_a_function():
    criterion = MomentumLoss(lambda output, event, time: output, bank_size=3)
    refuses(lambda: step(criterion), ValueError, "`loss` must return one number, got (3,).")


REPEATED = (
    "`index` must not repeat within a batch, got {} more than once. It tells the rows apart, and "
    "a row can be at risk only once."
)
BATCHES = {
    "nan_time": (
        {"time": torch.tensor([1.0, float("nan"), 2.0])},
        ValueError,
        "`time` must be finite, got nan (1 of 3 rows). Impute or remove these rows.",
    ),
    "no_time": (
        {"time": None},
        TypeError,
        "`time` must be a tensor of shape (n_samples,), got None.",
    ),
    "late_entry": (
        {"entry": torch.tensor([0.0, 2.0, 0.0])},
        ValueError,
        "`entry` must be less than the time of its row, got 2.0 (1 of 3 rows). A row is at risk "
        "on (entry, time], which may not be empty.",
    ),
    "half_an_event": (
        {"event": torch.tensor([0.5, 1.0, 0.0])},
        ValueError,
        "`event` must be bool, or 0 and 1, got 0.5 (1 of 3 rows). Pass True for an observed event "
        "and False for a censored one.",
    ),
    "negative_weight": (
        {"weight": 2 - TIME},
        ValueError,
        "`weight` must be finite and at least 0, got -1.0 (1 of 3 rows). A weight multiplies the "
        "loss of its row; 0 leaves the row out.",
    ),
    "float_index": (
        {"index": TIME},
        TypeError,
        "`index` must hold integer codes, got torch.float32. Encode the labels first, for instance "
        "with numpy.unique(..., return_inverse=True).",
    ),
    "short_index": (
        {"index": torch.tensor([1, 2])},
        ValueError,
        "`index` must have shape (3,), got (2,).",
    ),
    "repeated_index": ({"index": torch.tensor([5, -4, 5])}, ValueError, REPEATED.format(5)),
}


@pytest.mark.parametrize("n_before", [0, 1])
@pytest.mark.parametrize("case", BATCHES)
def test_a_refused_batch_does_not_enter_the_bank(case, n_before):
    wrong, error, sentence = BATCHES[case]
    criterion = MomentumLoss(CoxPHLoss(), bank_size=4)
    other = {name: COLUMNS[name] for name in wrong.keys() & COLUMNS.keys()}
    for _ in range(n_before):
        step(criterion, **other)
    refuses(lambda: step(criterion, **wrong), error, sentence)
    assert len(criterion.bank) == 3 * n_before
    step(criterion, **other)


def test_a_batch_that_the_loss_refuses_does_not_enter_it_either():
    criterion, output = MomentumLoss(CoxPHLoss(), bank_size=4), torch.zeros(3, 2)
    refuses(
        lambda: criterion((output, output), EVENT, TIME),
        ValueError,
        "`log_hazard_ratio` must have shape (n_samples, 1), got (3, 2).",
    )
    assert len(criterion.bank) == 0
    step(criterion)


@pytest.mark.parametrize("bank_size", [1, 4])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_comes_with_every_batch_or_with_none(name, bank_size):
    sentence = "`{}` must come with every batch or with none, got both: the rows in the bank {} it."
    column = {name: COLUMNS[name]}
    for first, second, fault in (({}, column, "lack"), (column, {}, "have")):
        criterion = MomentumLoss(CoxPHLoss(), bank_size=bank_size)
        step(criterion, **first)
        for _ in range(2):
            refuses(
                lambda second=second, criterion=criterion: step(criterion, **second),
                ValueError,
                sentence.format(name, fault),
            )
        step(criterion, **first)
