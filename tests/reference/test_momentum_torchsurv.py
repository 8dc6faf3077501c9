"""Equal to `torchsurv.loss.momentum.Momentum` of torchsurv 0.2.0 in its well-defined cases."""

import pytest
import torch
import torchsurv.loss.cox
import torchsurv.loss.momentum
from torch import nn

from sksurvtorch.losses import CoxPHLoss, Momentum
from tests.cohorts import assert_close

N_STEPS = 15
OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.5),
    # Where a gradient vanishes Adam makes steps out of its rounding, unless eps is above that.
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, eps=1e-4),
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1, bias=False))


def batches(batch_size):
    """Inputs, events and distinct times: torchsurv's risk sets go by sort order where times tie."""
    torch.manual_seed(1)
    for time in torch.randperm(N_STEPS * batch_size).split(batch_size):
        event = torch.rand(batch_size) < 0.6
        event[0] = True
        yield torch.randn(batch_size, 4), event, 1.0 + time


def theirs(*, batch_size, steps, rate):
    return torchsurv.loss.momentum.Momentum(
        network(),
        torchsurv.loss.cox.neg_partial_log_likelihood,
        batchsize=batch_size,
        steps=steps,
        rate=rate,
    )


def ours(*, batch_size, steps, rate, **options):
    """Of the batches in torchsurv's pool the current one is the last; the others are the bank."""
    options = {"bank_size": batch_size * (steps - 1), "rate": rate, "warmup": False} | options
    return Momentum(network(), CoxPHLoss(), **options)


def train(momentum, optimizer, batch_size):
    """Losses of the steps, and the weights of the target after each."""
    optimizer, losses, targets = OPTIMIZERS[optimizer](momentum.online.parameters()), [], []
    for batch in batches(batch_size):
        loss = momentum(*batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        targets.append(nn.utils.parameters_to_vector(momentum.target.parameters()).clone())
    return torch.stack(losses), torch.stack(targets)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rate", [0.0, 0.9, 0.999])
@pytest.mark.parametrize(
    ("batch_size", "steps"),
    [(8, 20), (8, 10), (8, 3), (8, 2), (8, 1), (2, 5)],
    ids=["never_full", "full_late", "full_early", "two_batches", "no_bank", "small_batches"],
)
def test_losses_and_target_networks(batch_size, steps, rate, optimizer):
    settings = {"batch_size": batch_size, "steps": steps, "rate": rate}
    found = train(ours(**settings), optimizer, batch_size)
    expected = train(theirs(**settings), optimizer, batch_size)
    assert_close(found[0], expected[0], 1e-5)
    assert_close(found[1], expected[1], 1e-5)


@pytest.mark.parametrize("change", [{"bank_size": 32}, {"rate": 0.91}, {"warmup": True}], ids=str)
def test_other_settings_would_not_pass_for_the_same(change):
    settings = {"batch_size": 8, "steps": 4, "rate": 0.9}
    _, found = train(ours(**settings | change), "sgd", 8)
    _, expected = train(theirs(**settings), "sgd", 8)
    assert (found - expected).abs().max() > 1e-3
