"""Momentum put aside and taken up again: modes, dtypes, copies, and saving mid-training."""

from __future__ import annotations

import copy
import io
import pickle
from math import log

import pytest
import torch
from torch import nn

from sksurvtorch.losses import CoxPHLoss, Momentum, MomentumLoss

INPUTS = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.0]])
EVENT = torch.tensor([True, False, True])
TIME = torch.tensor([2.0, 3.0, 1.0])
COLUMNS = {"entry": TIME - 1, "stratum": torch.tensor([0, 0, 1]), "weight": 2 * TIME}
INDEX = torch.tensor([4, 5, 6])


def small(bank_size=8, **options):
    """Momentum of a network with every kind of state, and its optimizer."""
    layers = nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Tanh(), nn.Linear(4, 1)
    momentum = Momentum(nn.Sequential(*layers), CoxPHLoss(), bank_size=bank_size, **options)
    return momentum, torch.optim.Adam(momentum.online.parameters(), lr=0.1)


def train(parts, steps):
    """Train for these steps, each with its own seed; return the losses."""
    momentum, optimizer = parts
    losses = []
    for step in steps:
        torch.manual_seed(step)
        columns = {"event": EVENT, "time": torch.randn(3).double(), "weight": torch.rand(3)}
        loss = momentum(torch.randn(3, 2), **columns, index=torch.randperm(12)[:3])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def saved(*parts):
    """The bytes of the states of modules and optimizers."""
    file = io.BytesIO()
    torch.save([part.state_dict() for part in parts], file)
    return file.getvalue()


def loaded(parts, *, into):
    """Save the states, and load them as safely as torch can."""
    states = torch.load(io.BytesIO(saved(*parts)), weights_only=True)
    for part, state in zip(into, states, strict=True):
        part.load_state_dict(state)
    return into


def used():
    """Momentum with a bank, an average and an optimizer of its own, to be overwritten."""
    parts = small()
    train(parts, [98, 99])
    return parts


@pytest.mark.parametrize(
    "copied",
    [
        lambda parts: loaded(parts, into=small()),
        lambda parts: loaded(parts, into=used()),
        copy.deepcopy,
        lambda parts: pickle.loads(pickle.dumps(parts)),
    ],
    ids=["state_dict", "state_dict_into_used", "deepcopy", "pickle"],
)
@pytest.mark.parametrize("n_before", [0, 1, 7])
def test_a_training_taken_up_again_goes_on_to_the_bit(copied, n_before):
    parts = small()
    train(parts, range(n_before))
    again = copied(parts)
    assert len(again[0].criterion.bank) == min(8, 3 * n_before)
    losses = train(again, range(10, 16))
    # Second, so that it would show if the copy shared a tensor with it.
    assert train(parts, range(10, 16)) == losses
    assert saved(*again) == saved(*parts)


def test_a_larger_bank_takes_the_rows_of_a_smaller_one():
    parts = small()
    train(parts, range(5))
    larger = loaded(parts, into=small(bank_size=100))
    assert len(larger[0].criterion.bank) == len(parts[0].criterion.bank)
    assert train(larger, [10]) == train(parts, [10])
    train(larger, range(11, 20))
    assert len(larger[0].criterion.bank) > 8


@pytest.mark.parametrize(("bank_size", "n_rows"), [(2, 3), (7, 8)])
def test_a_smaller_bank_refuses_them(bank_size, n_rows):
    full = MomentumLoss(CoxPHLoss(), bank_size=8)
    zeros = torch.zeros(n_rows)
    full((zeros, zeros), torch.ones(n_rows).bool(), zeros)
    with pytest.raises(ValueError) as raised:  # noqa: PT011 -- the sentence follows
        MomentumLoss(CoxPHLoss(), bank_size=bank_size).load_state_dict(full.state_dict())
    assert str(raised.value) == (
        f"`bank_size` must be at least {n_rows} to load this state, got {bank_size}: so many rows "
        "are in the bank that was saved."
    )


@pytest.mark.parametrize(
    ("base", "step"),
    [(torch.tensor([17 * 10**17]), 1), (torch.tensor([1.0]).double(), 2.0**-52)],
    ids=["nanoseconds", "float64"],
)
@pytest.mark.parametrize("convert", ["half", "bfloat16", "float", "double", "load"])
def test_times_and_entries_keep_their_precision(convert, base, step):
    """Of the banked rows two are at risk at the event: one ends before it and one enters late."""
    momentum = Momentum(nn.Linear(1, 1, bias=False), CoxPHLoss(), bank_size=10)
    time = torch.cat([base, base + step, base + 2 * step, base + 2 * step])
    entry = torch.cat([base - step, base - step, base, base + step])
    momentum(torch.zeros(4, 1), torch.zeros(4).bool(), time, entry=entry)
    if convert == "load":
        momentum.load_state_dict(copy.deepcopy(momentum.state_dict()))
    else:
        getattr(momentum, convert)()
    inputs = torch.zeros(1, 1).to(momentum.online.weight)
    loss = momentum(inputs, torch.tensor([True]), time[1:2], entry=entry[:1])
    assert loss.item() == pytest.approx(log(3), rel=1e-2)  # of 4 it would be 1.39


def test_in_evaluation_mode_all_is_the_targets_and_nothing_changes():
    momentum, _ = parts = small()
    train(parts, range(2))
    before = saved(momentum)
    output = momentum.eval().target(INPUTS)
    assert not torch.equal(output, momentum.online(INPUTS))
    assert torch.equal(momentum(INPUTS), output)
    assert torch.equal(momentum.network(INPUTS), output)
    loss = momentum(INPUTS, EVENT, TIME, **COLUMNS, index=INDEX)
    assert torch.equal(loss, CoxPHLoss()(output, EVENT, TIME, **COLUMNS))
    for judged in (output, (output, INPUTS)):
        assert torch.equal(momentum.criterion(judged, EVENT, TIME, **COLUMNS), loss)
    assert saved(momentum.train()) == before


def test_without_a_target_training_mode_gives_the_online_output_and_no_step():
    momentum, _ = parts = small(rate=0.5)
    train(parts, range(2))
    before = saved(momentum.criterion, momentum.target), momentum.network.n_averaged
    torch.manual_seed(0)
    output = momentum(INPUTS)
    torch.manual_seed(0)
    assert torch.equal(output, momentum.online(INPUTS))
    assert output.requires_grad
    assert (saved(momentum.criterion, momentum.target), momentum.network.n_averaged) == before


def test_modes_are_those_of_the_online_network():
    momentum, _ = small()
    for module in (momentum, momentum.network):
        for mode in (False, True):
            assert (module.train() if mode else module.eval()) is module
            assert {part.training for part in momentum.online.modules()} == {mode}
            assert not any(part.training for part in momentum.target.modules())


def test_a_small_bank_lets_go_of_a_large_batch():
    momentum = Momentum(nn.Linear(2, 1), CoxPHLoss(), bank_size=10)
    momentum(torch.randn(10_000, 2), torch.ones(10_000), torch.rand(10_000))
    assert len(saved(momentum)) < 20_000


def test_after_a_change_of_dtype_the_loss_follows_the_network():
    momentum = small()[0].double()
    momentum(INPUTS.double(), EVENT, TIME)
    momentum.float()
    assert momentum(INPUTS, EVENT, TIME).dtype == torch.float32
    assert momentum.criterion.bank.output.dtype == torch.float32
