"""What is true of the losses of dense predictions whatever the data."""

from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sksurvtorch.functional import _dense, weighted_error
from sksurvtorch.losses import AffinitiesLoss, DummyLoss, HotDistanceLoss, MSELoss
from tests.cohorts import assert_close, value_and_gradient

LOSSES = {
    "dummy": DummyLoss,
    "mse": MSELoss,
    "affinities": lambda **options: AffinitiesLoss(1, 0.5, **options),
    "hot distance": HotDistanceLoss,
}
KINDS = ("absolute_error", "squared_error", "cross_entropy")
every_loss = pytest.mark.parametrize("kind", LOSSES)


@st.composite
def volumes(draw):
    """Prediction, target within [0, 1] and positive weight, each of the same shape."""
    shape = (draw(st.integers(1, 3)), 2, *draw(st.lists(st.integers(1, 4), max_size=3)))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    spread = draw(st.sampled_from([0.1, 3.0, 50.0]))
    prediction = spread * torch.randn(shape, generator=rng, dtype=torch.float64)
    target = torch.rand(shape, generator=rng, dtype=torch.float64)
    weight = 0.1 + torch.rand(shape, generator=rng, dtype=torch.float64)
    return prediction, target, weight


def loss_and_gradient(kind, prediction, target, weight=None, **options):
    return value_and_gradient(LOSSES[kind](**options).compute, prediction, target, weight)


def assert_same(one, other, tolerance=1e-12):
    assert_close(one[0], other[0], tolerance)
    assert_close(one[1], other[1], tolerance)


@pytest.mark.parametrize("kind", ["dummy", "mse"])
@pytest.mark.parametrize("weighting", ["linear", "dacapo"])
@pytest.mark.filterwarnings("ignore::sksurvtorch.exceptions.IgnoredWeightWarning")
@given(data=volumes())
def test_a_perfect_prediction_costs_nothing_and_any_other_something(kind, weighting, data):
    prediction, target, weight = data
    loss = LOSSES[kind](weighting=weighting)
    assert loss.compute(target, target, weight) == 0
    assert loss.compute(prediction, target, weight) > 0


@given(data=volumes())
def test_the_cross_entropy_of_a_certain_target_falls_towards_certain_logits(data):
    _, target, weight = data
    hard = (target > 0.5).double()
    towards = 2 * hard - 1
    steps = torch.linspace(-40, 40, 9, dtype=torch.float64)
    losses = [weighted_error(s * towards, hard, weight, kind="cross_entropy") for s in steps]
    assert all(later < sooner for sooner, later in pairwise(losses))
    assert 0 < losses[-1] < 1e-16


@given(data=volumes())
def test_the_logit_of_a_soft_target_has_the_least_cross_entropy(data):
    prediction, target, weight = data
    target = target.clamp(1e-3, 1 - 1e-3)

    def cross_entropy(p):
        return weighted_error(p, target, weight, kind="cross_entropy", reduction="sum")

    least, gradient = value_and_gradient(cross_entropy, target.logit())
    assert_close(gradient, torch.zeros_like(gradient))
    assert cross_entropy(target.logit() + prediction) > least


@every_loss
@given(data=volumes(), place=st.integers(0, 10**6))
def test_an_element_of_weight_2_counts_twice(kind, data, place):
    prediction, target, weight = data
    place %= weight.numel()

    def loss(value):
        changed = weight.clone()
        changed.view(-1)[place] = value
        return loss_and_gradient(kind, prediction, target, changed, reduction="sum")

    none, one, two = loss(0.0), loss(1.0), loss(2.0)
    assert_same([a + b for a, b in zip(two, none, strict=True)], [2 * a for a in one])
    assert none[1].view(-1)[place] == 0
    elements = LOSSES[kind](reduction="none").compute(prediction, target)
    assert_close(one[0] - none[0], elements.view(-1)[place], 1e-12 * (1 + two[0].item()))


@every_loss
@given(data=volumes())
def test_a_sample_of_weight_2_is_there_twice_and_one_of_weight_0_is_not(kind, data):
    prediction, target, weight = data

    def loss(*columns):
        return LOSSES[kind](reduction="sum").compute(*columns)

    factor = torch.ones((len(weight),) + (1,) * (weight.ndim - 1), dtype=torch.float64)
    factor[0] = 2
    twice = [torch.cat([x, x[:1]]) for x in data]
    assert_close(loss(prediction, target, factor * weight), loss(*twice))
    factor[0] = 0
    without = [x[1:] for x in data]
    expected = loss(*without) if len(weight) > 1 else 0.0
    assert_close(loss(prediction, target, factor * weight), torch.as_tensor(expected).double())


@every_loss
@pytest.mark.parametrize("normalize", ["voxels", "weight"])
@given(data=volumes(), seed=st.integers(0, 1000))
def test_the_order_of_voxels_and_of_samples_does_not_matter(kind, normalize, data, seed):
    rng = torch.Generator().manual_seed(seed)
    expected = loss_and_gradient(kind, *data, normalize=normalize)
    samples = torch.randperm(len(data[0]), generator=rng)
    found = loss_and_gradient(kind, *(x[samples] for x in data), normalize=normalize)
    assert_same(found, (expected[0], expected[1][samples]))
    flat = [x.flatten(2) if x.ndim > 2 else x[..., None] for x in data]
    voxels = torch.randperm(flat[0].shape[2], generator=rng)
    found = loss_and_gradient(kind, *(x[..., voxels] for x in flat), normalize=normalize)
    gradient = expected[1].reshape(flat[0].shape)[..., voxels]
    assert_same(found, (expected[0], gradient))


@every_loss
@given(data=volumes(), factor=st.sampled_from([1e-6, 0.3, 7.0, 1e6]))
def test_a_common_factor_of_the_weights_cancels(kind, data, factor):
    prediction, target, weight = data
    expected = loss_and_gradient(kind, *data, normalize="weight")
    found = loss_and_gradient(kind, prediction, target, factor * weight, normalize="weight")
    assert_same(found, expected)
    linear = loss_and_gradient(kind, *data)
    found = loss_and_gradient(kind, prediction, target, factor * weight)
    assert_same([x / factor for x in found], linear)
    even = loss_and_gradient(
        kind, prediction, target, torch.full_like(weight, factor), normalize="weight"
    )
    assert_same(even, loss_and_gradient(kind, prediction, target))


@every_loss
@pytest.mark.parametrize("normalize", ["voxels", "weight"])
@given(data=volumes(), axes=st.sets(st.integers(0, 4)))
def test_a_weight_counts_as_if_it_were_spelled_out(kind, normalize, data, axes):
    prediction, target, weight = data
    few = weight[tuple(slice(1 if k in axes else None) for k in range(weight.ndim))]
    expected = loss_and_gradient(
        kind, prediction, target, few.expand(weight.shape).clone(), normalize=normalize
    )
    found = loss_and_gradient(kind, prediction, target, few, normalize=normalize)
    assert_same(found, expected)


@every_loss
@pytest.mark.parametrize("weighting", ["linear", "dacapo"])
@pytest.mark.filterwarnings("ignore::sksurvtorch.exceptions.IgnoredWeightWarning")
@given(data=volumes())
def test_a_sum_is_the_mean_times_what_it_is_divided_by(kind, weighting, data):
    weight = data[2]
    sums, means, by_weight = (
        LOSSES[kind](weighting=weighting, **options).terms(*data)
        for options in ({"reduction": "sum"}, {}, {"normalize": "weight"})
    )
    dropped = weighting == "dacapo" and kind == "dummy"
    for k, name in enumerate(sums):
        own = weight if len(sums) == 1 else weight[:, k : k + 1]
        assert_close(means[name] * own.numel(), sums[name])
        assert_close(by_weight[name] * (own.numel() if dropped else own.sum()), sums[name])


SHAPES = [(1,), (7,), (8,), (2, 2), (2, 4, 3), (1, 2, 7), (3, 2, 8), (2, 4, 3, 5), (1, 2, 2, 3, 2)]
LAYOUTS = {
    "none": lambda w: None,
    "contiguous": lambda w: w,
    "transposed": lambda w: w.transpose(0, -1).contiguous().transpose(0, -1),
    "channels": lambda w: w[:, :1] if w.ndim > 1 else w[:1],
    "samples": lambda w: w[:1],
    "last": lambda w: w[..., :1],
    "scalar": lambda w: w[(slice(1),) * w.ndim],
    "expanded": lambda w: w[:1].expand(w.shape),
}


def agree_with_plain(loss, data, layout):
    """The sum and mean in blocks are those of the elements, and so are the gradients."""
    prediction, target, weight = data
    weight = LAYOUTS[layout](weight)
    with_none = lambda p: loss(reduction="none")(p, target, weight).sum()  # noqa: E731
    expected = value_and_gradient(with_none, prediction)
    found = value_and_gradient(loss(reduction="sum"), prediction, target, weight)
    assert_same(found, expected)
    return expected


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_add_up_to_the_whole(layout, shape, size, monkeypatch):
    monkeypatch.setattr(_dense, "BLOCK_SIZE", size)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    rng = torch.Generator().manual_seed(0)
    data = [torch.rand(shape, generator=rng, dtype=torch.float64) for _ in range(3)]
    data[0] = 4 * data[0] - 2
    for kind in KINDS:
        loss = lambda kind=kind, **o: lambda *x: weighted_error(*x, kind=kind, **o)  # noqa: E731
        total, gradient = agree_with_plain(loss, data, layout)
        weight = LAYOUTS[layout](data[2])
        found = value_and_gradient(loss(), data[0], data[1], weight)
        assert_same(found, (total / data[0].numel(), gradient / data[0].numel()))
    if len(shape) > 1:
        for kind in ("affinities", "hot distance"):
            agree_with_plain(lambda k=kind, **o: LOSSES[k](**o).compute, data, layout)


@pytest.mark.parametrize("axes", [(0, 1, 3, 2), (3, 1, 2, 0)])
@every_loss
def test_blocks_of_transposed_volumes(kind, axes, monkeypatch):
    monkeypatch.setattr(_dense, "BLOCK_SIZE", 7)
    rng = torch.Generator().manual_seed(0)
    data = [torch.rand(2, 4, 3, 5, generator=rng, dtype=torch.float64) for _ in range(3)]
    moved = [
        x.permute(axes).contiguous().permute(torch.tensor(axes).argsort().tolist()) for x in data
    ]
    assert not moved[0].is_contiguous()
    for volume in (moved, [data[0], *moved[1:]], [*moved[:2], data[2]]):
        agree_with_plain(lambda **o: LOSSES[kind](**o).compute, volume, "contiguous")


@every_loss
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=volumes(), size=st.integers(1, 30), layout=st.sampled_from(list(LAYOUTS)))
def test_any_block_size_gives_the_same(kind, data, size, layout, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(_dense, "BLOCK_SIZE", size)
        agree_with_plain(lambda **o: LOSSES[kind](**o).compute, data, layout)
