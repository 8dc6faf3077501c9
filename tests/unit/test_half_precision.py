"""Half precision: losses in float32, and gradients that are right where they can be represented."""

from __future__ import annotations

import pytest
import torch

from sksurvtorch import CoxPHLoss, WeibullAFTLoss
from sksurvtorch.losses import GatheredLoss, Momentum, MomentumLoss

HALVES = pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])


def compared(loss, at, half, *args, **columns):
    """Value and gradient of a prediction in half precision, and of the same numbers in float64."""
    at = at.to(half)
    made = []
    for dtype in (half, torch.float64):
        moving = at.to(dtype, copy=True).requires_grad_()
        value = loss(moving, *args, **columns)
        value.sum().backward()
        assert moving.grad.dtype == dtype
        made.append((value.detach(), moving.grad))
    (value, gradient), (exact, exact_gradient) = made
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=1e-6)
    return gradient, exact_gradient


def same_where_representable(gradient, exact):
    """Equal to rounding."""
    eps = torch.finfo(gradient.dtype).eps
    tiny = torch.finfo(gradient.dtype).smallest_normal * eps
    assert exact.abs().max() < torch.finfo(gradient.dtype).max
    torch.testing.assert_close(gradient.double(), exact, rtol=eps, atol=tiny)


def survival_data(n):
    """Rows with ties, some of them censored."""
    generator = torch.Generator().manual_seed(n)
    event = torch.rand(n, generator=generator) < 0.7
    time = torch.randint(1, 50, (n,), generator=generator)
    return event, time, torch.randn(n, 2, generator=generator)


@HALVES
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("factor", [1, 1000])
def test_losses_have_the_values_of_float64(half, reduction, factor):
    event, time, at = survival_data(300)
    weight = factor * torch.linspace(0.01, 1, 300)
    for kind, output in ((CoxPHLoss, at[:, 0]), (WeibullAFTLoss, at / 4)):
        loss = kind(reduction=reduction)
        found = compared(loss, output, half, event, time.float() / 20, weight=weight)
        same_where_representable(*found)


def test_the_sum_of_a_weibull_loss_has_rows_beyond_a_share_of_the_range():
    n = 1000
    time = torch.ones(n)
    time[0] = 500
    loss = WeibullAFTLoss(reduction="sum")
    gradient, exact = compared(loss, torch.zeros(n, 1), torch.float16, torch.ones(n).bool(), time)
    assert exact[0].item() == pytest.approx(-499)
    assert gradient[0].item() == -499
    same_where_representable(gradient, exact)


def test_a_row_may_have_a_loss_beyond_float16():
    columns = torch.tensor([False]), torch.tensor([100_000.0])
    loss = WeibullAFTLoss(reduction="none")
    gradient, exact = compared(loss, torch.zeros(1, 1), torch.float16, *columns)
    assert exact.item() == pytest.approx(-100_000)
    assert gradient.item() == -65504  # held at the end of the range, with its sign


def test_a_gradient_that_a_mean_brings_into_the_range_is_right():
    n = 1000
    time = torch.ones(n)
    time[0] = 1_000_000
    gradient, exact = compared(
        WeibullAFTLoss(), torch.zeros(n, 1), torch.float16, torch.ones(n).bool(), time
    )
    same_where_representable(gradient, exact)


def test_a_scaler_of_gradients_sees_what_leaves_the_range():
    at = torch.zeros(1, 1, dtype=torch.float16, requires_grad=True)
    (2.0**16 * WeibullAFTLoss()(at, torch.tensor([False]), torch.tensor([3.0]))).backward()
    assert at.grad.item() == -torch.inf


@HALVES
def test_the_sum_of_a_cox_loss_leaves_the_range_of_float16(half):
    n = 20_000
    columns = torch.ones(n).bool(), torch.arange(n)
    found = compared(CoxPHLoss(reduction="sum"), torch.zeros(n), half, *columns)
    same_where_representable(*found)
    value = CoxPHLoss(reduction="sum")(torch.zeros(n, dtype=torch.float16), *columns)
    assert value.item() == pytest.approx(178_076, abs=1)  # log 20 000!


@HALVES
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("gradient", ["exact", "balanced"])
def test_a_bank_has_the_values_of_float64(half, reduction, gradient):
    event, time, at = survival_data(3000)
    weight = torch.linspace(1, 100, 3000)

    def loss(at):
        momentum = MomentumLoss(CoxPHLoss(reduction=reduction), bank_size=1000, gradient=gradient)
        total = 0
        for rows in torch.arange(3000).split(1000):
            pair = at[rows], at[rows].detach()
            total = total + momentum(pair, event[rows], time[rows], weight=weight[rows])
        return total

    same_where_representable(*compared(loss, at[:, 0], half))


@HALVES
def test_a_bank_without_events_has_the_loss_0(half):
    output = torch.full((3000,), 100.0, dtype=half, requires_grad=True)
    columns = torch.zeros(3000).bool(), torch.arange(3000)
    value = MomentumLoss(CoxPHLoss(), bank_size=10_000)((output, output), *columns)
    value.backward()
    assert value.item() == 0
    assert torch.equal(output.grad, torch.zeros(3000, dtype=half))


@HALVES
def test_other_ways_to_a_loss_are_in_float32_too(half):
    event, time, at = survival_data(2000)
    gathered = GatheredLoss(CoxPHLoss(reduction="sum"))
    same_where_representable(*compared(gathered, at[:, 0], half, event, time))
    network = torch.nn.Linear(2, 1, bias=False).to(half)
    momentum = Momentum(network, CoxPHLoss(reduction="sum"), bank_size=100)
    assert momentum(at.to(half), event, time).dtype == torch.float32
    twin = torch.func.grad(lambda at: CoxPHLoss()(at, event, time))(at[:, 0].to(half))
    assert twin.dtype == half
