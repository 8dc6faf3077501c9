"""Values of the segmentation losses that can be checked by hand, shapes and dtypes."""

from __future__ import annotations

import copy
import pickle
from math import exp, log

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

from sksurvtorch.exceptions import IgnoredWeightWarning
from sksurvtorch.functional import affinities_terms, hot_distance_terms, weighted_error
from sksurvtorch.losses import AffinitiesLoss, DummyLoss, HotDistanceLoss, Loss, MSELoss

P = torch.tensor([[[2.0, 5.0]]], dtype=torch.float64)
T = torch.tensor([[[0.0, 6.0]]], dtype=torch.float64)
W = torch.tensor([[[3.0, 0.5]]], dtype=torch.float64)
LOSSES = {
    "dummy": DummyLoss,
    "mse": MSELoss,
    "affinities": lambda **options: AffinitiesLoss(2, 0.5, **options),
    "hot distance": HotDistanceLoss,
}
every_loss = pytest.mark.parametrize("kind", LOSSES)


def volumes(*shape, dtype=torch.float64):
    rng = torch.Generator().manual_seed(0)
    prediction = torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)
    target = torch.rand(shape, generator=rng, dtype=torch.float64).to(dtype)
    return prediction, target


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (3 * 4 + 0.5 * 1) / 2),
        ({"normalize": "weight"}, (3 * 4 + 0.5 * 1) / 3.5),
        ({"reduction": "sum"}, 3 * 4 + 0.5 * 1),
        ({"weighting": "dacapo"}, (9 * 4 + 0.25 * 1) / 2),
        ({"weighting": "dacapo", "normalize": "weight"}, (9 * 4 + 0.25 * 1) / 3.5),
        ({"weighting": "dacapo", "reduction": "sum"}, 9 * 4 + 0.25 * 1),
    ],
)
def test_a_squared_error_counts_by_its_weight(options, expected):
    assert MSELoss(**options).compute(P, T, W).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, (3 * 2 + 0.5) / 2), ({"normalize": "weight"}, 6.5 / 3.5), ({"reduction": "sum"}, 6.5)],
)
def test_an_absolute_error_counts_by_its_weight(options, expected):
    assert DummyLoss(**options).compute(P, T, W).item() == pytest.approx(expected)


def test_without_weight_both_weightings_agree():
    for kind, elements in ((MSELoss, (4, 1)), (DummyLoss, (2, 1))):
        for weighting in ("linear", "dacapo"):
            for normalize in ("voxels", "weight"):
                loss = kind(weighting=weighting, normalize=normalize)
                assert loss.compute(P, T).item() == sum(elements) / 2


@pytest.mark.parametrize("normalize", ["voxels", "weight"])
def test_what_dacapo_leaves_out_is_left_out_with_a_warning(normalize):
    options = {"weighting": "dacapo", "normalize": normalize}
    for loss in (DummyLoss(**options), AffinitiesLoss(1, 1.0, **options)):
        with pytest.warns(IgnoredWeightWarning):
            value = loss.compute(P, T, W)
        assert value == loss.compute(P, T)


def test_affinities_are_a_cross_entropy_and_descriptors_a_squared_error():
    prediction = torch.tensor([[[0.0], [log(3)]]])  # probabilities 1/2 and 3/4
    target = torch.tensor([[[1.0], [0.25]]])
    weight = torch.tensor([[[3.0], [2.0]]])
    terms = AffinitiesLoss(1, 0.1).terms(prediction, target, weight)
    assert terms["affinities"].item() == pytest.approx(3 * log(2))
    assert terms["lsds"].item() == pytest.approx(0.1 * 2 * 0.25)


def test_each_term_is_a_mean_over_its_own_channels():
    prediction, target = torch.zeros(1, 4, 5), torch.zeros(1, 4, 5)
    terms = AffinitiesLoss(3, 1.0).terms(prediction, target)
    assert terms["affinities"].item() == pytest.approx(log(2))
    assert terms["lsds"].item() == pytest.approx(0.25)
    weight = torch.ones(1, 4, 5)
    weight[:, 3:] = 2
    terms = AffinitiesLoss(3, 1.0, normalize="weight").terms(prediction, target, weight)
    assert terms["lsds"].item() == pytest.approx(0.25)


def test_without_descriptors_the_affinities_are_all():
    prediction, target = volumes(2, 3, 4, 4)
    loss = AffinitiesLoss(3, 7.0)
    assert set(loss.terms(prediction, target)) == {"affinities"}
    expected = nn.BCEWithLogitsLoss()(prediction, target)
    torch.testing.assert_close(loss.compute(prediction, target), expected)


def test_hot_comes_first_and_distance_second():
    prediction = torch.tensor([[[0.0], [3.0]]])
    target = torch.tensor([[[1.0], [1.0]]])
    weight = torch.tensor([[[2.0], [0.5]]])
    loss = HotDistanceLoss()
    assert loss.compute(prediction, target, weight).item() == pytest.approx(2 * log(2) + 0.5 * 4)
    halves = zip(*(loss.split(x) for x in (prediction, target, weight)), strict=True)
    (hot_p, hot_t, hot_w), (distance_p, distance_t, distance_w) = halves
    assert loss.hot_loss(hot_p, hot_t, hot_w).item() == pytest.approx(2 * log(2))
    assert loss.distance_loss(distance_p, distance_t, distance_w).item() == pytest.approx(2)


def test_the_examples_of_dacapo():
    """Its docstrings say 9, 0 and 0.5; on floats its classes give 9, 0 and 38.018."""
    assert (
        DummyLoss(reduction="sum").compute(torch.tensor([1.0, 2, 3]), torch.tensor([4, 5, 6])) == 9
    )
    row = torch.tensor([1.0, 2.0, 3.0])
    assert MSELoss().compute(row, row, torch.ones(3)) == 0
    prediction = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])
    target = torch.tensor([[9, 10, 11, 12], [13, 14, 15, 16]])
    loss = AffinitiesLoss(3, 0.5).compute(prediction, target, torch.ones(2, 4))
    assert loss.item() == pytest.approx(38.018, abs=5e-4)


@every_loss
def test_terms_add_up_and_can_be_read_afterwards(kind):
    loss = LOSSES[kind]()
    assert loss.last_terms == {}
    prediction, target = volumes(2, 4, 5, 6)
    prediction.requires_grad_()
    value = loss(prediction, target)
    terms = loss.terms(prediction, target)
    assert loss.last_terms == terms
    torch.testing.assert_close(sum(terms.values()), value, rtol=1e-15, atol=0)
    assert all(term.requires_grad for term in terms.values())
    assert not any(term.requires_grad for term in loss.last_terms.values())


@every_loss
@pytest.mark.parametrize("weighting", ["linear", "dacapo"])
@pytest.mark.parametrize("n_axes", [0, 1, 2, 3, 4])
def test_without_reduction_the_shape_stays(kind, weighting, n_axes):
    shape = (2, 4, 3, 2, 3, 2)[: 2 + n_axes]
    prediction, target = volumes(*shape)
    loss = LOSSES[kind](reduction="none", weighting=weighting)
    assert loss(prediction, target).shape == shape
    assert loss.last_terms == {}


@every_loss
@pytest.mark.parametrize("weighting", ["linear", "dacapo"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_is_computed_in_single(kind, weighting, dtype):
    prediction, target = volumes(2, 4, 5, 6, dtype=dtype)
    prediction.requires_grad_()
    loss = LOSSES[kind](weighting=weighting)
    value = loss(prediction, target)
    assert value.dtype == torch.promote_types(dtype, torch.float32)
    value.backward()
    assert prediction.grad.dtype == dtype
    wide = prediction.detach().double().requires_grad_()
    expected = loss(wide, target.double())
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(prediction.grad, wide.grad.to(dtype), rtol=2e-3, atol=1e-7)


def test_half_precision_sums_do_not_overflow():
    prediction = torch.full((1, 1, 100, 100), 10.0, dtype=torch.float16)
    assert MSELoss(reduction="sum")(prediction, torch.zeros_like(prediction)) == 1e6


@every_loss
@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64]
)
def test_targets_and_weights_of_any_real_dtype_are_cast(kind, dtype):
    prediction, target = volumes(2, 4, 5, 6, dtype=torch.float32)
    target, weight = (target > 0.5), (prediction > 0)
    loss = LOSSES[kind]()
    expected = loss.compute(prediction, target.float(), weight.float())
    assert torch.equal(loss.compute(prediction, target.to(dtype), weight.to(dtype)), expected)


@every_loss
def test_a_target_comes_in_four_forms(kind):
    prediction, target = volumes(3, 4, 5, 6)
    weight = torch.rand(3, 4, 5, 6, dtype=torch.float64)
    loss = LOSSES[kind]()
    weighted = loss.compute(prediction, target, weight)
    packed = torch.stack([target, weight], dim=1)
    for form in ((target, weight), [target, weight], {"target": target, "weight": weight}, packed):
        assert torch.equal(loss(prediction, form), weighted)
    plain = loss.compute(prediction, target)
    for form in (target, (target, None), {"target": target}, {"target": target, "weight": None}):
        assert torch.equal(loss(prediction, form), plain)
    assert not torch.equal(plain, weighted)


@every_loss
@pytest.mark.parametrize("weighting", ["linear", "dacapo"])
@pytest.mark.parametrize("weight_shape", [(2, 1, 5, 6), (1, 4, 1, 1), (1, 1, 5, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("normalize", ["voxels", "weight"])
@pytest.mark.filterwarnings("ignore::sksurvtorch.exceptions.IgnoredWeightWarning")
def test_a_weight_broadcasts(kind, weighting, weight_shape, normalize):
    prediction, target = volumes(2, 4, 5, 6)
    weight = torch.rand(weight_shape, dtype=torch.float64)
    loss = LOSSES[kind](weighting=weighting, normalize=normalize)
    spelled_out = weight.expand(prediction.shape).contiguous()
    expected = loss.compute(prediction, target, spelled_out)
    torch.testing.assert_close(
        loss.compute(prediction, target, weight), expected, rtol=1e-14, atol=0
    )


NAN, INF = float("nan"), float("inf")
# DaCapo's dummy leaves the weight out.
HIDDEN = [
    (kind, weighting, hidden)
    for kind in LOSSES
    for weighting in ("linear", "dacapo")
    for hidden in (NAN, INF, 1e300)
    if (kind, weighting) != ("dummy", "dacapo")
]


@pytest.mark.parametrize(("kind", "weighting", "hidden"), HIDDEN)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_target_under_weight_0_may_be_anything(kind, weighting, reduction, hidden):
    prediction, target = volumes(2, 4, 5, 6)
    weight = (prediction > 0).double()
    loss = LOSSES[kind](weighting=weighting, reduction=reduction)

    def value_and_gradient(target):
        moving = prediction.clone().requires_grad_()
        value = loss.compute(moving, target, weight)
        value.sum().backward()
        return value.detach(), moving.grad

    expected = value_and_gradient(target)
    found = value_and_gradient(torch.where(weight == 0, hidden, target))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert found[1][weight == 0].eq(0).all()


@every_loss
def test_an_empty_mask_has_the_loss_0_and_moves_nothing(kind):
    """The mean over all voxels is 0 then; only a division by the weights is an error."""
    prediction, target = volumes(2, 4, 5, 6)
    prediction.requires_grad_()
    loss = LOSSES[kind]()(prediction, (target, torch.zeros(2, 1, 5, 6)))
    loss.backward()
    assert loss == 0
    assert prediction.grad.eq(0).all()


def test_what_the_network_gives_is_not_hidden():
    """A NaN that a diverged network predicts shows, even under weight 0."""
    prediction, target = volumes(1, 2, 3, 3)
    prediction[0, 1, 1, 1] = float("nan")
    weight = torch.ones_like(target)
    weight[0, 1, 1, 1] = 0
    assert HotDistanceLoss()(prediction, (target, weight)).isnan()


def test_activate_gives_what_the_target_means():
    output = torch.tensor([[[0.0], [log(3)], [-2.0], [5.0]]])
    expected = torch.tensor([[[0.5], [0.75], [-2.0], [5.0]]])
    torch.testing.assert_close(HotDistanceLoss.activate(output), expected)
    expected = torch.tensor([[[0.5], [0.75], [1 / (1 + exp(2))], [1 / (1 + exp(-5))]]])
    torch.testing.assert_close(AffinitiesLoss.activate(output), expected)
    for kind in (MSELoss, DummyLoss, Loss):
        assert torch.equal(kind.activate(output), output)


@every_loss
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_a_copy_has_the_same_options(kind, copied):
    loss = LOSSES[kind](reduction="sum")
    prediction, target = volumes(2, 4, 5, 6)
    twin = copied(loss)
    assert repr(twin) == repr(loss)
    assert torch.equal(twin(prediction, target), loss(prediction, target))


def test_they_say_their_options():
    options = "reduction='mean', normalize='voxels', weighting='linear'"
    assert repr(MSELoss()) == f"MSELoss({options})"
    assert repr(AffinitiesLoss(3, 0.5)) == f"AffinitiesLoss(3, 0.5, {options})"


def test_the_functions_are_what_the_modules_call():
    prediction, target = volumes(2, 4, 5, 6)
    weight = torch.rand(2, 4, 5, 6, dtype=torch.float64)
    options = {"reduction": "sum", "normalize": "weight"}
    found = weighted_error(prediction, target, weight, **options)
    assert torch.equal(found, MSELoss(**options).compute(prediction, target, weight))
    assert hot_distance_terms(prediction, target) == HotDistanceLoss().terms(prediction, target)
    ratio = {"num_affinities": 3, "lsds_to_affs_weight_ratio": 0.5}
    expected = AffinitiesLoss(**ratio).terms(prediction, target, weight)
    assert affinities_terms(prediction, target, weight, **ratio) == expected


def test_a_loss_without_compute_is_abstract():
    class Nothing(Loss):
        pass

    with pytest.raises(TypeError, match=r"abstract method '?compute"):
        Nothing()
    with pytest.raises(TypeError, match="abstract"):
        Loss()


def test_parameters_of_a_subclass_are_seen_whatever_its_init():
    class Learned(Loss):
        def __init__(self):
            self.factor = nn.Parameter(torch.ones(()))

        def compute(self, prediction, target, weight=None):
            return self.factor * (prediction - target).abs().mean()

    assert [name for name, _ in Learned().named_parameters()] == ["factor"]


@every_loss
@pytest.mark.parametrize("normalize", ["voxels", "weight"])
def test_targets_and_weights_that_move_have_their_gradients(kind, normalize):
    """A consistency loss compares two networks; a weight may be learned."""
    prediction, target = volumes(1, 4, 3, 2)
    weight = torch.rand(1, 4, 3, 2, dtype=torch.float64) + 0.1
    operands = tuple(x.requires_grad_() for x in (prediction, target, weight))
    assert torch.autograd.gradcheck(LOSSES[kind](normalize=normalize).compute, operands)


@every_loss
def test_a_second_derivative_is_refused_in_words_unless_nothing_is_reduced(kind):
    prediction, target = volumes(1, 4, 3, 2)
    prediction.requires_grad_()
    loss = LOSSES[kind]().compute(prediction, target)
    with pytest.raises(NotImplementedError, match=r"^The loss .* second .*torch\.func\.hessian"):
        torch.autograd.grad(loss, prediction, create_graph=True)
    with (
        forward_ad.dual_level(),
        pytest.raises(
            NotImplementedError, match=r"^The loss .* forward .* Use torch\.func\.jvp\.$"
        ),
    ):
        LOSSES[kind]().compute(forward_ad.make_dual(prediction, prediction), target)
    compute = LOSSES[kind](reduction="none").compute
    assert torch.autograd.gradgradcheck(compute, (prediction, target))


def test_the_loss_can_be_run_backward_twice():
    prediction, target = volumes(1, 4, 3, 2)
    prediction.requires_grad_()
    loss = HotDistanceLoss().compute(prediction, target)
    (once,) = torch.autograd.grad(loss, prediction, retain_graph=True)
    (twice,) = torch.autograd.grad(loss, prediction)
    assert torch.equal(once, twice)


def test_an_accelerator_is_not_waited_for():
    """The meta device has no values to look at."""
    prediction, target = (x.to("meta") for x in volumes(2, 4, 5, 6))
    prediction.requires_grad_()
    weight = torch.ones(2, 1, 5, 6, device="meta")
    for kind in LOSSES:
        for normalize in ("voxels", "weight"):
            loss = LOSSES[kind](normalize=normalize)(prediction, (target, weight))
            (gradient,) = torch.autograd.grad(loss, prediction)
            assert gradient.shape == prediction.shape
