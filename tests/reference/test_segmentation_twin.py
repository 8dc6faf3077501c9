"""The segmentation losses equal a twin that loops over their elements, value and gradient."""

import contextlib
import math
import warnings

import numpy as np
import pytest
import torch

from sksurvtorch import losses
from sksurvtorch.exceptions import IgnoredWeightWarning
from sksurvtorch.functional import _dense
from tests import segmentation_twins as twins
from tests.cohorts import assert_close, value_and_gradient

# Channels, and what AffinitiesLoss wants to know.
LOSSES = {
    "MSELoss": (3, {}),
    "DummyLoss": (3, {}),
    "AffinitiesLoss": (5, {"num_affinities": 3, "ratio": 2.5}),
    "AffinitiesLoss without descriptors": (3, {"num_affinities": 3, "ratio": 2.5}),
    "HotDistanceLoss": (4, {}),
}
NAMES = pytest.mark.parametrize("name", LOSSES)
REDUCTIONS = pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
NORMALIZE = pytest.mark.parametrize("normalize", ["voxels", "weight"])
WEIGHTING = pytest.mark.parametrize("weighting", ["linear", "dacapo"])
SPATIAL = [(7,), (3, 2), (2, 3, 2)]


def random_batch(seed, name, spatial, *, batch=2, spread=2.0):
    """Predictions and targets in float64; some targets are 0, 1, or the prediction."""
    rng = np.random.default_rng(seed)
    shape = (batch, LOSSES[name][0], *spatial)
    prediction = rng.normal(0.0, spread, shape)
    target = np.where(rng.random(shape) < 0.5, rng.integers(0, 2, shape), rng.random(shape))
    return prediction, np.where(rng.random(shape) < 0.1, prediction, target)


def random_weights(seed, shape):
    """None, and weights of all kinds and shapes, each with a sum that is not zero."""
    rng = np.random.default_rng(seed)
    n, c, *spatial = shape
    ones = [1] * len(spatial)
    return [
        None,
        rng.random(shape),
        (rng.random(shape) < 0.6).astype(float),
        rng.choice([0.0, 0.3, 1.0, 7.0], (n, 1, *spatial), p=[0.2, 0.3, 0.3, 0.2]),
        rng.uniform(0.5, 3.0, (1, c, *ones)),
        rng.uniform(0.5, 3.0, (n, 1, *ones)),
        rng.uniform(1.0, 30.0, (1, 1, *spatial)),
        np.full((1, 1, *ones), 2.0),
    ]


def package(name, *, num_affinities=None, ratio=None, **options):
    if name.startswith("AffinitiesLoss"):
        return losses.AffinitiesLoss(num_affinities, ratio, **options)
    return getattr(losses, name)(**options)


def loss_and_gradient(name, prediction, target, weight, *, cotangent=None, **options):
    """Of the package; that a weight is ignored is said exactly where it is."""
    ignored = weight is not None and twins.ignores_weight(
        name.split()[0], prediction.shape[1], weighting=options["weighting"], **LOSSES[name][1]
    )
    with pytest.warns(IgnoredWeightWarning) if ignored else contextlib.nullcontext():
        loss = package(name, **LOSSES[name][1], **options)
        return value_and_gradient(
            loss.compute, prediction, target, weight=weight, cotangent=cotangent
        )


def twin(name, *arrays, of=twins.loss, cotangent=None, **options):
    value, slope = of(name.split()[0], *arrays, **LOSSES[name][1], **options)
    slope = slope if cotangent is None else slope * cotangent.numpy()
    return torch.as_tensor(value), torch.as_tensor(slope)


def tensors(*arrays, dtype=torch.float64):
    return [None if x is None else torch.as_tensor(x).to(dtype) for x in arrays]


def as_double(tensor):
    return None if tensor is None else tensor.detach().double().numpy()


def cotangent_of(shape, reduction):
    if reduction != "none":
        return None
    return torch.linspace(-1.0, 2.0, math.prod(shape), dtype=torch.float64).reshape(shape)


def assert_equal_to_the_twin(name, arrays, *, tolerance=1e-12, **options):
    cotangent = cotangent_of(arrays[0].shape, options["reduction"])
    ours = loss_and_gradient(name, *tensors(*arrays), cotangent=cotangent, **options)
    expected = twin(name, *arrays, cotangent=cotangent, **options)
    assert ours[0].dtype == ours[1].dtype == torch.float64
    assert_close(ours[0], expected[0], tolerance)
    assert_close(ours[1], expected[1], tolerance)


# The twin by hand.

ALL = {"reduction": "mean", "normalize": "voxels", "weighting": "linear"}


def test_the_twin_of_the_elements_by_hand():
    assert twins.squared(3.0, 1.0) == (4, 4)
    assert twins.absolute(1.0, 3.0) == (2, -1)
    assert twins.absolute(1.0, 1.0) == (0, 0)
    assert twins.cross_entropy(0.0, 0.25) == (pytest.approx(math.log(2)), 0.25)
    assert twins.cross_entropy(-800.0, 1.0) == (800, -1)
    assert twins.cross_entropy(800.0, 1.0) == (0, 0)
    assert twins.sigmoid_squared(0.0, 1.0) == (0.25, -0.25)
    assert twins.sigmoid_squared(-800.0, 1.0) == (1, 0)
    assert twins.sigmoid_squared(math.log(3), 0.0) == pytest.approx((9 / 16, 9 / 32))


def test_the_twin_of_the_losses_by_hand():
    """One voxel and two channels."""
    prediction, target = np.array([[[0.0], [0.0]]]), np.array([[[1.0], [3.0]]])
    weight = np.array([[[0.5], [2.0]]])

    def value(name, **options):
        return twins.loss(name, prediction, target, weight, **(ALL | options))[0]

    assert value("MSELoss") == (0.5 * 1 + 2 * 9) / 2
    assert value("MSELoss", normalize="weight") == (0.5 * 1 + 2 * 9) / 2.5
    assert value("MSELoss", weighting="dacapo") == (0.25 * 1 + 4 * 9) / 2
    assert value("MSELoss", reduction="none", weighting="dacapo").tolist() == [[[0.25], [36]]]
    assert value("DummyLoss") == (0.5 * 1 + 2 * 3) / 2
    assert value("DummyLoss", weighting="dacapo", normalize="weight") == 2
    log2 = math.log(2)
    assert value("HotDistanceLoss") == pytest.approx(0.5 * log2 + 2 * 9)
    assert value("HotDistanceLoss", weighting="dacapo") == pytest.approx(0.5 * log2 + 4 * 9)
    assert value("HotDistanceLoss", normalize="weight") == pytest.approx(log2 + 9)
    both = {"num_affinities": 1, "ratio": 10.0}
    descriptors = 10 * 2 * 2.5**2
    assert value("AffinitiesLoss", **both) == pytest.approx(0.5 * log2 + descriptors)
    assert value("AffinitiesLoss", weighting="dacapo", **both) == pytest.approx(
        0.5 * log2 + descriptors
    )
    alone = {"num_affinities": 2, "ratio": 10.0}
    assert value("AffinitiesLoss", weighting="dacapo", **alone) == pytest.approx(log2)
    assert value("AffinitiesLoss", **alone) == pytest.approx(2.5 / 2 * log2)


@NAMES
def test_the_slopes_of_the_twin_are_its_differences(name):
    prediction, target = random_batch(0, name, (2,), batch=1)
    # Not where the absolute error has its kink.
    target = target + 0.01
    weight = random_weights(0, prediction.shape)[1]
    for weighting in ("linear", "dacapo"):
        options = {**ALL, "weighting": weighting}
        _, slope = twin(name, prediction, target, weight, **options)
        for e in np.ndindex(prediction.shape):
            step = np.zeros(prediction.shape)
            step[e] = 1e-5
            up, down = (
                twin(name, prediction + s, target, weight, **options)[0] for s in (step, -step)
            )
            # Differences are good to the square of the step, and to eps over it.
            assert (up - down).item() / 2e-5 == pytest.approx(slope[e].item(), abs=1e-9)


@NAMES
@REDUCTIONS
@NORMALIZE
@WEIGHTING
def test_the_twin_of_arrays_is_the_twin(weighting, normalize, reduction, name):
    options = {"reduction": reduction, "normalize": normalize, "weighting": weighting}
    prediction, target = random_batch(1, name, (3, 2))
    for weight in random_weights(1, prediction.shape):
        arrays = prediction, target, weight
        fast = twin(name, *arrays, of=twins.loss_of_arrays, **options)
        for ours, expected in zip(fast, twin(name, *arrays, **options), strict=True):
            assert_close(ours, expected, 1e-13)


# The package by the twin.


@NAMES
@REDUCTIONS
@NORMALIZE
@WEIGHTING
def test_loss_and_gradient_equal_the_twin(weighting, normalize, reduction, name):
    options = {"reduction": reduction, "normalize": normalize, "weighting": weighting}
    for seed, spatial in enumerate(SPATIAL):
        prediction, target = random_batch(seed, name, spatial)
        for weight in random_weights(seed, prediction.shape):
            assert_equal_to_the_twin(name, (prediction, target, weight), **options)


@NAMES
@REDUCTIONS
@WEIGHTING
def test_large_predictions(weighting, reduction, name):
    options = {"reduction": reduction, "normalize": "voxels", "weighting": weighting}
    for spread in (50.0, 800.0):
        prediction, target = random_batch(2, name, (4, 3))
        prediction = spread * np.sign(prediction)
        for weight in (None, random_weights(2, prediction.shape)[3]):
            assert_equal_to_the_twin(name, (prediction, target, weight), **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_cross_entropy_of_a_right_and_certain_prediction_keeps_its_digits(dtype):
    """log(1 + exp(-50)) is 2e-22, not nothing; so is its slope where the target is 0.

    One element a call: a sum would drown it. Without reduction it is torch's, which keeps none.
    """
    options = {"reduction": "sum", "normalize": "voxels", "weighting": "linear"}
    loss = losses.AffinitiesLoss(1, 1.0, **options)
    for logit in (-50.0, -20.0, 20.0, 50.0):
        prediction = torch.tensor([[[logit]]], dtype=dtype)
        target = (prediction > 0).to(dtype)
        value, gradient = value_and_gradient(loss.compute, prediction, target)
        arrays = [as_double(x) for x in (prediction, target)]
        expected, slope = twins.loss("AffinitiesLoss", *arrays, None, num_affinities=1, **options)
        close = {"rtol": 8 * torch.finfo(dtype).eps, "atol": 0.0}
        np.testing.assert_allclose(value.double(), expected, **close)
        if logit < 0:
            np.testing.assert_allclose(gradient.double(), slope, **close)


COUNTED = [
    (name, weighting)
    for name, (n_channels, arguments) in LOSSES.items()
    for weighting in ("linear", "dacapo")
    if not twins.ignores_weight(name.split()[0], n_channels, weighting=weighting, **arguments)
]


@pytest.mark.parametrize(("name", "weighting"), COUNTED)
@REDUCTIONS
@NORMALIZE
def test_what_has_no_weight_may_have_any_target(normalize, reduction, name, weighting):
    """Its gradient is 0, and the others are as if it had another."""
    options = {"reduction": reduction, "normalize": normalize, "weighting": weighting}
    prediction, target = random_batch(3, name, (3, 4))
    for weight in random_weights(3, prediction.shape)[2:4]:
        without = np.broadcast_to(weight == 0, target.shape)
        assert without.any()
        for anything in (math.nan, math.inf, -1e300):
            unknown = np.where(without, anything, target)
            assert_equal_to_the_twin(name, (prediction, unknown, weight), **options)
            cotangent = cotangent_of(target.shape, reduction)
            _, gradient = loss_and_gradient(
                name, *tensors(prediction, unknown, weight), cotangent=cotangent, **options
            )
            assert (gradient[torch.as_tensor(without.copy())] == 0).all()


@NAMES
@REDUCTIONS
@NORMALIZE
@WEIGHTING
def test_single_precision(weighting, normalize, reduction, name):
    options = {"reduction": reduction, "normalize": normalize, "weighting": weighting}
    prediction, target = random_batch(4, name, (3, 4))
    for weight in random_weights(4, prediction.shape):
        given = tensors(prediction, target, weight, dtype=torch.float32)
        cotangent = cotangent_of(prediction.shape, reduction)
        single = None if cotangent is None else cotangent.float()
        ours = loss_and_gradient(name, *given, cotangent=single, **options)
        expected = twin(name, *map(as_double, given), cotangent=cotangent, **options)
        for mine, other in zip(ours, expected, strict=True):
            assert mine.dtype == torch.float32
            # The absolute part is for what cancels, as a sigmoid and its target.
            np.testing.assert_allclose(mine.double(), other, rtol=1e-5, atol=1e-6)


HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


@NAMES
@REDUCTIONS
@HALVES
def test_half_precision_is_computed_in_single(dtype, reduction, name):
    """The result is float32, near the twin at the rounded inputs; the gradient is rounded last."""
    options = {"reduction": reduction, "normalize": "voxels", "weighting": "linear"}
    prediction, target = random_batch(5, name, (3, 4))
    for weight in random_weights(5, prediction.shape):
        given = tensors(prediction, target, weight, dtype=dtype)
        cotangent = cotangent_of(prediction.shape, reduction)
        single = None if cotangent is None else cotangent.float()
        value, gradient = loss_and_gradient(name, *given, cotangent=single, **options)
        expected, slope = twin(name, *map(as_double, given), cotangent=cotangent, **options)
        assert value.dtype == torch.float32
        np.testing.assert_allclose(value.double(), expected, rtol=1e-5, atol=1e-6)
        assert gradient.dtype == dtype
        eps = torch.finfo(dtype).eps
        np.testing.assert_allclose(gradient.double(), slope, rtol=eps, atol=1e-6)


@NAMES
@HALVES
def test_half_predictions_with_targets_and_weights_in_single_precision(dtype, name):
    """As autocast leaves them."""
    prediction, target = random_batch(6, name, (3, 4))
    weight = random_weights(6, prediction.shape)[1]
    (half,) = tensors(prediction, dtype=dtype)
    single = tensors(target, weight, dtype=torch.float32)
    value, gradient = loss_and_gradient(name, half, *single, **ALL)
    expected, _ = twin(name, *map(as_double, (half, *single)), **ALL)
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    np.testing.assert_allclose(value.double(), expected, rtol=1e-5)


# Large tensors, which may be taken block by block.


def layouts(tensor):
    """The same numbers in other orders of memory."""
    last = torch.empty_like(tensor.transpose(1, -1).contiguous()).transpose(1, -1)
    strided = torch.empty((*tensor.shape, 2), dtype=tensor.dtype)[..., 1]
    flipped = torch.empty_like(tensor.transpose(0, -1).contiguous()).transpose(0, -1)
    channels_last = torch.empty_like(tensor).contiguous(memory_format=torch.channels_last_3d)
    return {
        "contiguous": tensor,
        **{
            name: empty.copy_(tensor)
            for name, empty in {
                "channels last": channels_last,
                "transposed": last,
                "flipped": flipped,
                "strided": strided,
            }.items()
        },
    }


def large_batch(name, *, dtype, spatial=(11, 7, 13)):
    """Three samples, for small blocks; the axes have no factor in common."""
    channels = LOSSES[name][0]
    generator = torch.Generator().manual_seed(0)
    shape = (3, channels, *spatial)
    prediction = 3 * torch.randn(shape, generator=generator, dtype=dtype)
    target = torch.rand(shape, generator=generator, dtype=dtype)
    weights = {
        "-": None,
        "full": torch.rand(shape, generator=generator, dtype=dtype),
        "voxels": (torch.rand((3, 1, *spatial), generator=generator) < 0.7).to(dtype),
        "channels": torch.rand((1, channels, 1, 1, 1), generator=generator, dtype=dtype),
    }
    return prediction, target, weights


@pytest.fixture(params=[1_500, 200], ids=["a channel", "two layers of eleven"])
def small_blocks(request, monkeypatch):
    """Blocks of so many elements, which cut the channels of 1001 in one way or another."""
    monkeypatch.setattr(_dense, "BLOCK_SIZE", request.param)


@NAMES
def test_a_batch_of_several_blocks_of_the_usual_size(name):
    prediction, target, weights = large_batch(name, dtype=torch.float64, spatial=(61, 43, 31))
    assert prediction.numel() > 4 * _dense.BLOCK_SIZE
    options = ALL | {"normalize": "weight"}
    for weight in weights.values():
        given = prediction, target, weight
        ours = loss_and_gradient(name, *given, **options)
        expected = twin(name, *map(as_double, given), of=twins.loss_of_arrays, **options)
        assert_close(ours[0], expected[0])
        # A mean's slopes are as small as there are elements.
        assert_close(prediction.numel() * ours[1], prediction.numel() * expected[1])


@pytest.mark.usefixtures("small_blocks")
@NAMES
@REDUCTIONS
@WEIGHTING
def test_a_large_batch(weighting, reduction, name):
    options = {"reduction": reduction, "normalize": "weight", "weighting": weighting}
    prediction, target, weights = large_batch(name, dtype=torch.float64)
    cotangent = cotangent_of(prediction.shape, reduction)
    for weight in weights.values():
        given = prediction, target, weight
        ours = loss_and_gradient(name, *given, cotangent=cotangent, **options)
        expected = twin(
            name, *map(as_double, given), of=twins.loss_of_arrays, cotangent=cotangent, **options
        )
        assert_close(ours[0], expected[0])
        scale = 1.0 if reduction != "mean" else float(prediction.numel())
        assert_close(scale * ours[1], scale * expected[1])


@pytest.mark.usefixtures("small_blocks")
@NAMES
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_a_large_batch_in_single_precision(reduction, name):
    options = {"reduction": reduction, "normalize": "weight", "weighting": "linear"}
    prediction, target, weights = large_batch(name, dtype=torch.float32)
    cotangent = cotangent_of(prediction.shape, reduction)
    single = None if cotangent is None else cotangent.float()
    for weight in weights.values():
        given = prediction, target, weight
        value, gradient = loss_and_gradient(name, *given, cotangent=single, **options)
        expected, slope = twin(
            name, *map(as_double, given), of=twins.loss_of_arrays, cotangent=cotangent, **options
        )
        assert value.dtype == gradient.dtype == torch.float32
        np.testing.assert_allclose(value.double(), expected, rtol=1e-5, atol=1e-6)
        scale = 1.0 if reduction != "mean" else float(prediction.numel())
        np.testing.assert_allclose(scale * gradient, scale * slope, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("small_blocks")
@NAMES
@pytest.mark.parametrize("layout", ["channels last", "transposed", "flipped", "strided"])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_the_order_in_memory_does_not_matter(reduction, layout, name):
    options = {"reduction": reduction, "normalize": "weight", "weighting": "linear"}
    prediction, target, weights = large_batch(name, dtype=torch.float64)
    cotangent = cotangent_of(prediction.shape, reduction)
    expected = twin(
        name,
        *map(as_double, (prediction, target, weights["full"])),
        of=twins.loss_of_arrays,
        cotangent=cotangent,
        **options,
    )
    plain = prediction, target, weights["full"]
    for chosen in ([0], [1, 2], [0, 1, 2]):
        given = [layouts(x)[layout] if i in chosen else x for i, x in enumerate(plain)]
        assert torch.equal(given[0], prediction)
        ours = loss_and_gradient(name, *given, cotangent=cotangent, **options)
        assert_close(ours[0], expected[0])
        scale = 1.0 if reduction != "mean" else float(prediction.numel())
        assert_close(scale * ours[1], scale * expected[1])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("layout", ["transposed", "strided"])
def test_nan_without_weight_in_a_large_batch_in_any_order(layout):
    prediction, target, weights = large_batch("HotDistanceLoss", dtype=torch.float64)
    weight = weights["voxels"]
    target = torch.where(weight.expand_as(target) == 0, math.nan, target)
    given = [layouts(x)[layout] for x in (prediction, target, weight)]
    ours = loss_and_gradient("HotDistanceLoss", *given, **ALL)
    arrays = map(as_double, (prediction, target, weight))
    expected = twin("HotDistanceLoss", *arrays, of=twins.loss_of_arrays, **ALL)
    assert_close(ours[0], expected[0])
    scale = prediction.numel()
    assert_close(scale * ours[1], scale * expected[1])


def test_no_weight_is_not_said_to_be_ignored():
    prediction, target = tensors(*random_batch(7, "DummyLoss", (3,)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses.DummyLoss(weighting="dacapo").compute(prediction, target)
        losses.AffinitiesLoss(3, 1.0, weighting="dacapo").compute(prediction, target)
