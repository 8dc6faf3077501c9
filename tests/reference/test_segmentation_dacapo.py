"""``weighting="dacapo"`` is what the classes of dacapo-ml 0.3.5 compute, to the last bit."""

from __future__ import annotations

import pytest
import torch

from benchmarks.dacapo_losses import load
from sksurvtorch.exceptions import IgnoredWeightWarning
from sksurvtorch.losses import AffinitiesLoss, DummyLoss, HotDistanceLoss, Loss, MSELoss

dacapo = load()

SHAPES = [(2, 4, 33, 17), (1, 6, 9, 10, 11), (3, 2, 5, 7), (2, 8, 64, 64)]
WEIGHTS = {
    "ones": torch.ones_like,
    "zeros and ones": lambda x: (torch.rand_like(x) < 0.4).float(),
    "fractions": torch.rand_like,
    "large": lambda x: 100 * torch.rand_like(x),
    "negative": torch.randn_like,
    "zeros": torch.zeros_like,
}
PAIRS = {
    "mse": lambda shape: (dacapo.MSELoss(), MSELoss(weighting="dacapo")),
    "hot distance": lambda shape: (dacapo.HotDistanceLoss(), HotDistanceLoss(weighting="dacapo")),
    "affinities and lsds": lambda shape: (
        dacapo.AffinitiesLoss(1, 0.37),
        AffinitiesLoss(1, 0.37, weighting="dacapo"),
    ),
    "no lsds": lambda shape: (
        dacapo.AffinitiesLoss(shape[1], 0.37),
        AffinitiesLoss(shape[1], 0.37, weighting="dacapo"),
    ),
    "dummy": lambda shape: (
        dacapo.DummyLoss(),
        DummyLoss(weighting="dacapo", reduction="sum"),
    ),
}
IGNORED = pytest.mark.filterwarnings(
    f"ignore::{IgnoredWeightWarning.__module__}.IgnoredWeightWarning"
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def value_and_gradient(loss, prediction, target, weight, factor=1.0):
    prediction = prediction.clone().requires_grad_()
    value = loss.compute(prediction, target, weight)
    (factor * value).backward()
    return value.detach(), prediction.grad


def bits_of(loss, *operands, factor=1.0):
    """Value and gradient as integers; adding 0 makes the zeros of a gradient positive."""
    value, gradient = value_and_gradient(loss, *operands, factor=factor)
    return value.view(torch.int32), (gradient + 0).view(torch.int32)


@IGNORED
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("pair", PAIRS)
def test_value_and_gradient_are_those_of_dacapo(pair, shape, weight):
    prediction, target = 3 * torch.randn(shape), torch.rand(shape)
    operands = prediction, target, WEIGHTS[weight](prediction)
    theirs, ours = PAIRS[pair](shape)
    for factor in (1.0, 0.3):  # as a gradient scaler would multiply
        value, gradient = bits_of(theirs, *operands, factor=factor)
        ours_value, ours_gradient = bits_of(ours, *operands, factor=factor)
        assert torch.equal(value, ours_value)
        assert torch.equal(gradient, ours_gradient)


@pytest.mark.parametrize("pair", ["hot distance", "affinities and lsds", "mse"])
def test_weights_that_broadcast_count_as_if_they_were_spelled_out(pair):
    shape = (2, 4, 6, 5)
    prediction, target, weight = torch.randn(shape), torch.rand(shape), torch.rand(2, 1, 6, 5)
    theirs, ours = PAIRS[pair](shape)
    value, gradient = bits_of(theirs, prediction, target, weight.expand(shape).contiguous())
    ours_value, ours_gradient = bits_of(ours, prediction, target, weight)
    assert torch.equal(value, ours_value)
    assert torch.equal(gradient, ours_gradient)


@pytest.mark.parametrize("pair", ["hot distance", "affinities and lsds"])
def test_linear_weighting_differs_where_dacapo_squares(pair):
    """So the option is not without effect, and weights of 0 and 1 alone do not show it."""
    shape = (2, 4, 6, 5)
    prediction, target = torch.randn(shape), torch.rand(shape)
    theirs, _ = PAIRS[pair](shape)
    linear = {"hot distance": HotDistanceLoss(), "affinities and lsds": AffinitiesLoss(1, 0.37)}
    for weight, same in ((WEIGHTS["zeros and ones"], True), (torch.rand_like, False)):
        operands = prediction, target, weight(prediction)
        found = linear[pair].compute(*operands).item()
        expected = theirs.compute(*operands).item()
        agrees = found == pytest.approx(expected, rel=1e-6)
        assert agrees == (same or pair == "affinities and lsds")


@pytest.mark.parametrize("calls_init", [True, False])
def test_a_subclass_written_for_dacapo_is_a_criterion(calls_init):
    """The body is what DaCapo's users write; only the base class changes."""

    def subclass(base):
        class Scaled(base):
            def __init__(self, factor):
                if calls_init:
                    super().__init__()
                self.factor = factor

            def compute(self, prediction, target, weight=None):
                return self.factor * (prediction - target).pow(2).mean()

        return Scaled(3.0)

    prediction, target = torch.randn(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    theirs, ours = subclass(dacapo.Loss), subclass(Loss)
    assert torch.equal(ours(prediction, target), theirs.compute(prediction, target))
    assert isinstance(ours, torch.nn.Module)


def test_subclasses_of_its_losses_can_replace_one_half():
    class Halved(HotDistanceLoss):
        def hot_loss(self, prediction, target, weight=None):
            return super().hot_loss(prediction, target, weight) / 2

    prediction, target, weight = (
        torch.randn(2, 4, 3, 3),
        torch.rand(2, 4, 3, 3),
        torch.rand(2, 1, 3, 3),
    )
    whole = HotDistanceLoss().terms(prediction, target, weight)
    changed = Halved()
    value = changed(prediction, (target, weight))
    torch.testing.assert_close(value, whole["hot"] / 2 + whole["distance"])
    torch.testing.assert_close(changed.last_terms["hot"], whole["hot"] / 2)
