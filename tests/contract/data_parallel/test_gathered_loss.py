"""`GatheredLoss` in a training loop of one's own has the loss and gradient of all rows."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from sksurvtorch.losses import CoxPHLoss, GatheredLoss, WeibullAFTLoss
from tests import twins
from tests.contract.data_parallel import loops, shares
from tests.contract.data_parallel.launches import FLOAT32, FLOAT64, assert_equal, cases, sizes


@functools.cache
def twin(name):
    """Loss and gradient of the weights for all rows of each batch, by loops over the rows."""
    loss, n_outputs, columns = loops.LOSSES[name]
    module, told = loops.linear(n_outputs), []
    for rows in loops.batches_of(shares.Share(0, 1, Path()), "uneven"):
        module.zero_grad()
        output = module(torch.tensor(shares.DATA["X"][rows]))
        target = loops.columns_of(columns, rows)
        reduction = getattr(loss, "reduction", "sum")
        if isinstance(loss, WeibullAFTLoss):
            losses, gradient = twins.weibull(output.detach(), **target)
            n = target.get("weight", torch.ones(len(rows))).sum() if reduction == "mean" else 1
            value = losses.sum() / n
            output.backward(gradient / n)
        else:
            ties = getattr(loss, "ties", "breslow")
            value = twins.cox(output, **target, ties=ties, reduction=reduction)
            value.backward()
        gradient = torch.cat([weight.grad.flatten() for weight in module.parameters()])
        told.append([value.item(), *gradient.tolist()])
    return {"loss, gradient": told}


@cases([f"{name}, {layout}" for name in loops.LOSSES for layout in shares.LAYOUTS], "loss: {}")
def test_loss_and_gradient_are_those_of_all_rows(run, name, size):
    loss, _, layout = name.rpartition(", ")
    told = run(f"loss: {name}", size)
    rows = np.array([result["rows"] for result in told])
    assert rows.sum(0).tolist() == [20, 20, 20, 20, 16]
    assert (rows == 0).any() or layout != "few"
    assert_equal([{**result, "rows": 0} for result in told], {**twin(loss), "rows": 0}, FLOAT64)


@pytest.mark.parametrize("name", loops.LOSSES)
def test_loss_and_gradient_in_float32(run, name):
    told = run(f"loss in float32: {name}", 2)
    assert_equal([{**result, "rows": 0} for result in told], {**twin(name), "rows": 0}, FLOAT32)


def test_gradients_that_are_added_up_are_divided_by_the_number_of_processes(run):
    told, expected = run("loss: gradients added up", 2), twin("efron, all columns")
    assert_equal([{**result, "rows": 0} for result in told], {**expected, "rows": 0}, FLOAT64)


@sizes
def test_the_bank_spans_the_processes(run, size):
    expected = loops.gathered_momentum(shares.Share(0, 1, Path()))
    assert len(expected["bank"]) == 40
    assert_equal(run("loss: momentum", size), expected, FLOAT64)


def test_without_other_processes_it_is_the_loss_itself():
    output = torch.from_numpy(shares.DATA["X"][:, :1])
    target = loops.columns_of(("entry", "stratum", "weight"))
    expected = CoxPHLoss()(output, target)
    assert torch.equal(GatheredLoss(CoxPHLoss())(output, target), expected)
    assert torch.equal(GatheredLoss(CoxPHLoss())(output, **target), expected)


def test_it_says_what_its_loss_says():
    assert GatheredLoss(WeibullAFTLoss()).sum_over_samples
    assert not GatheredLoss(CoxPHLoss()).sum_over_samples
    assert not GatheredLoss(loops.by_hand).sum_over_samples


def test_a_loss_is_an_instance_that_returns_one_number():
    expected = r"^`loss` must be a loss such as CoxPHLoss\(\), got <class .* Make an instance first"
    with pytest.raises(TypeError, match=expected):
        GatheredLoss(CoxPHLoss)
    expected = "^`loss` must have the reduction 'mean' or 'sum', got 'none': rows belong to several"
    with pytest.raises(ValueError, match=expected):
        GatheredLoss(CoxPHLoss(reduction="none"))
