"""Weights that are all huge or all tiny: the value of usual weights, or a sentence that says so."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from sksurvtorch import CoxPHLoss, WeibullAFTLoss
from sksurvtorch.functional import RiskSets, breslow_baseline
from sksurvtorch.losses import (
    AffinitiesLoss,
    DummyLoss,
    GatheredLoss,
    HotDistanceLoss,
    MomentumLoss,
    MSELoss,
)

N = 8
G = torch.Generator().manual_seed(0)
EVENT = torch.tensor([1, 1, 0, 1, 0, 1, 1, 0]).bool()
TIME = torch.tensor([1.0, 2, 2, 2, 3, 4, 5, 5], dtype=torch.float64)
WEIGHT = torch.rand(N, generator=G).double() + 0.5
ONE, TWO = torch.randn(N, generator=G), torch.randn(N, 2, generator=G)
DENSE = torch.randn(2, 4, 3, generator=G)
SENTENCE = (
    "`weight` must have a sum from 1e-300 to 1e+300, got weights up to {}. Divide them by their "
    "mean."
)


def gradient_of(loss, at, **columns):
    """Value and gradient."""
    at = at.clone().requires_grad_()
    value = loss(at, EVENT, TIME, **columns)
    value.backward()
    return value.detach(), at.grad


def momentum(at, *args, **columns):
    """A loss with a bank."""
    return MomentumLoss(CoxPHLoss(), bank_size=5)((at, at), *args, **columns)


USERS = {
    "cox": CoxPHLoss(),
    "cox sum": CoxPHLoss(reduction="sum", ties="breslow"),
    "cox rows": CoxPHLoss(reduction="none"),
    "momentum": momentum,
    "gathered": GatheredLoss(CoxPHLoss()),
    "baseline": breslow_baseline,
    "risk sets": lambda at, *args, **columns: RiskSets(*args, **columns),
    "weibull": lambda at, *args, **columns: WeibullAFTLoss()(TWO, *args, **columns),
    "weibull sum": lambda at, *a, **c: WeibullAFTLoss(reduction="sum")(TWO, *a, **c),
}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("value", [1e308, 1.7e308, 1e-308, 5e-324])
def test_weights_out_of_range_are_named(user, value):
    weight = torch.full((N,), value, dtype=torch.float64)
    with pytest.raises(ValueError, match=f"^{re.escape(SENTENCE.format(repr(value)))}$"):
        USERS[user](ONE, EVENT, TIME, weight=weight)
    weight[1:] = 0  # one row alone
    with pytest.raises(ValueError, match="must have a sum from"):
        USERS[user](ONE, EVENT, TIME, weight=weight)


@pytest.mark.parametrize("power", [-990, -130, -30, 30, 130, 990])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_factor_of_all_weights_changes_no_mean(power, dtype):
    # A power of 2, so that nothing is rounded.
    factor = 2.0**power
    for loss, at in ((CoxPHLoss(), ONE), (CoxPHLoss(ties="breslow"), ONE), (momentum, ONE)):
        value, gradient = gradient_of(loss, at.to(dtype), weight=WEIGHT)
        scaled, found = gradient_of(loss, at.to(dtype), weight=factor * WEIGHT)
        tolerance = {"rtol": max(1e-11, 2 * torch.finfo(dtype).eps), "atol": 1e-7}
        torch.testing.assert_close(found, gradient, **tolerance)
        shift = power * np.log(2.0)  # the partial likelihood has the weights in its logarithms
        torch.testing.assert_close(scaled.double() - shift, value.double(), rtol=0, atol=1e-4)
    loss = WeibullAFTLoss()
    expected = gradient_of(loss, TWO.to(dtype), weight=WEIGHT)
    found = gradient_of(loss, TWO.to(dtype), weight=factor * WEIGHT)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("kind", [DummyLoss, MSELoss, HotDistanceLoss, AffinitiesLoss])
@pytest.mark.parametrize("normalize", ["voxels", "weight"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [1e308, 3e38, 1e-308 / 2, 1e-40])
def test_weights_of_dense_losses(kind, normalize, dtype, value):
    arguments = (2, 0.5) if kind is AffinitiesLoss else ()
    loss = kind(*arguments, normalize=normalize)
    at = DENSE.to(dtype, copy=True).requires_grad_()
    target, weight = (DENSE > 0).double(), torch.full(DENSE.shape, value, dtype=torch.float64)
    if dtype == torch.float64 and value in (3e38, 1e-40):
        found = loss(at, (target, weight))
        found.backward()
        usual = DENSE.to(dtype, copy=True).requires_grad_()
        expected = loss(usual, (target, torch.ones_like(weight)))
        expected.backward()
        factor = 1.0 if normalize == "weight" else value
        torch.testing.assert_close(found / factor, expected, rtol=1e-12, atol=0)
        torch.testing.assert_close(at.grad / factor, usual.grad, rtol=1e-12, atol=1e-15)
        return
    computed = torch.float64 if dtype == torch.float64 else torch.float32
    sentence = (
        f"`weight` must have a sum within the range of {computed}, in which the loss is computed, "
        f"got weights up to {value!r}. Divide them by their mean."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        loss(at, (target, weight))


def test_weights_of_dense_losses_may_vanish():
    assert MSELoss()(DENSE, (DENSE, torch.zeros_like(DENSE))) == 0
