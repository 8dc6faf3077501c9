"""Every error sentence of the segmentation losses and targets, word for word."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from skorch import NeuralNetRegressor
from torch import nn

from sksurvtorch import targets
from sksurvtorch.functional import affinities_terms, hot_distance_terms, weighted_error
from sksurvtorch.losses import AffinitiesLoss, DummyLoss, HotDistanceLoss, MSELoss
from sksurvtorch.nets import LossTerms
from tests.unit.refusals import refuses

NAN, INF = float("nan"), float("inf")
P = torch.zeros(1, 2, 3)
COMPLEX = P.to(torch.complex64)
NOT_REAL = (
    "`{0}` must be a dense tensor of real numbers, got torch.complex64. Pass {0}.real or "
    "{0}.abs(), whichever is meant."
)
LOSSES = {
    "dummy": DummyLoss,
    "mse": MSELoss,
    "affinities": lambda **options: AffinitiesLoss(1, 0.5, **options),
    "hot distance": HotDistanceLoss,
}
every_loss = pytest.mark.parametrize("kind", LOSSES)
COUNTS = (
    "`weight` must be finite and at least 0, got {} ({} of 6 elements). A weight multiplies the "
    "loss of its element; 0 leaves the element out."
)
EVEN = (
    "`{}` must have an even number of channels, hot ones and then as many distances, got shape {}."
)


def with_value(value, place=(0, 0, 1)):
    """Ones with another value at one place, which is in the first channel."""
    tensor = torch.ones(1, 2, 3)
    tensor[place] = value
    return tensor


@every_loss
def test_forms_of_a_target(kind):
    loss = LOSSES[kind]()
    keys = "The keys of a target must be 'target' and, optionally, 'weight', got {}."
    for mapping in ({}, {"weight": P}, {"target": P, "mask": P}):
        refuses(lambda y=mapping: loss(P, y), ValueError, keys.format(list(mapping)))
    number = "A target that is a sequence must hold two tensors, target and weight, got {}."
    for sequence in ((), (P,), [P, P, P]):
        refuses(lambda y=sequence: loss(P, y), ValueError, number.format(len(sequence)))


@every_loss
def test_kinds_of_a_prediction(kind):
    loss = LOSSES[kind]()
    sentence = "`prediction` must be a floating-point tensor, got {}."
    for prediction, name in (
        (P.long(), "torch.int64. Pass prediction.float()"),
        (P.bool(), "torch.bool. Pass prediction.float()"),
        (P.numpy(), "ndarray"),
        (None, "NoneType"),
    ):
        refuses(lambda p=prediction: loss(p, P), TypeError, sentence.format(name))
    refuses(lambda: loss(COMPLEX, P), TypeError, NOT_REAL.format("prediction"))
    sentence = "`prediction` must have at least one axis and one element, got shape {}."
    for prediction in (torch.zeros(()), torch.zeros(0, 2, 3)):
        refuses(
            lambda p=prediction: loss.compute(p, p),
            ValueError,
            sentence.format(tuple(prediction.shape)),
        )


@every_loss
def test_kinds_and_shapes_of_a_target(kind):
    loss = LOSSES[kind]()
    sentence = "`target` must be a real tensor, got {}."
    refuses(lambda: loss(P, COMPLEX), TypeError, NOT_REAL.format("target"))
    refuses(
        lambda: loss(P, P.numpy()),
        TypeError,
        sentence.format("ndarray of shape (1, 2, 3) and dtype float32"),
    )
    refuses(lambda: loss(P, None), TypeError, sentence.format("NoneType"))
    sentence = (
        "`target` must have the shape of `prediction`, (1, 2, 3), got {}. Samples come first, "
        "channels second, then the spatial axes."
    )
    for shape in ((2, 3), (1, 1, 3), (1, 2, 3, 1), (1, 3, 2, 3)):
        y = torch.zeros(shape)
        refuses(lambda y=y: loss(P, y), ValueError, sentence.format(shape))


@every_loss
@pytest.mark.parametrize("weighting", ["linear", "dacapo"])
def test_kinds_and_shapes_of_a_weight(kind, weighting):
    loss = LOSSES[kind](weighting=weighting)
    sentence = "`weight` must be a real tensor, got {}."
    refuses(lambda: loss(P, (P, COMPLEX)), TypeError, NOT_REAL.format("weight"))
    refuses(lambda: loss(P, (P, 1.0)), TypeError, sentence.format("float"))
    sentence = (
        "`weight` must have the shape of `prediction`, (1, 2, 3), or 1 in place of some of its "
        "axes, got {}."
    )
    for shape in ((), (3,), (2, 3), (2, 2, 3), (1, 2, 2), (1, 1, 2, 3)):
        w = torch.ones(shape)
        refuses(lambda w=w: loss(P, (P, w)), ValueError, sentence.format(shape))


def test_channels():
    loss = HotDistanceLoss()
    for shape in ((2, 3, 4), (2, 1), (4,)):
        odd = torch.zeros(shape)
        refuses(lambda x=odd: loss(x, x), ValueError, EVEN.format("prediction", shape))
        refuses(
            lambda x=odd: hot_distance_terms(x, x), ValueError, EVEN.format("prediction", shape)
        )
        refuses(
            lambda x=odd: HotDistanceLoss.activate(x), ValueError, EVEN.format("prediction", shape)
        )
        refuses(lambda x=odd: loss.split(x), ValueError, EVEN.format("x", shape))
    sentence = "`num_affinities` must be at most the number of channels, got 3 and a prediction of "
    for shape in ((1, 2, 3), (5, 2), (4,)):
        x = torch.zeros(shape)
        refuses(lambda x=x: AffinitiesLoss(3, 1)(x, x), ValueError, f"{sentence}shape {shape}.")


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ((0, 1.0), ValueError, "`num_affinities` must be at least 1, got 0."),
        ((-2, 1.0), ValueError, "`num_affinities` must be at least 1, got -2."),
        ((1.0, 1.0), TypeError, "`num_affinities` must be an integer, got 1.0 of type float."),
        ((True, 1.0), TypeError, "`num_affinities` must be an integer, got True of type bool."),
        (("3", 1.0), TypeError, "`num_affinities` must be an integer, got '3' of type str."),
        ((1, -0.5), ValueError, "`lsds_to_affs_weight_ratio` must be at least 0, got -0.5."),
        ((1, NAN), ValueError, "`lsds_to_affs_weight_ratio` must be finite, got nan."),
        ((1, INF), ValueError, "`lsds_to_affs_weight_ratio` must be finite, got inf."),
        (
            (1, None),
            TypeError,
            "`lsds_to_affs_weight_ratio` must be a number, got None of type NoneType.",
        ),
    ],
)
def test_numbers_of_affinities(arguments, error, sentence):
    refuses(lambda: AffinitiesLoss(*arguments), error, sentence)
    names = dict(zip(("num_affinities", "lsds_to_affs_weight_ratio"), arguments, strict=True))
    refuses(lambda: affinities_terms(P, P, **names), error, sentence)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            {"reduction": "avg"},
            "`reduction` must be one of 'mean', 'sum', 'none', got 'avg'.",
        ),
        ({"reduction": None}, "`reduction` must be one of 'mean', 'sum', 'none', got None."),
        ({"normalize": "batch"}, "`normalize` must be one of 'voxels', 'weight', got 'batch'."),
        ({"weighting": "DaCapo"}, "`weighting` must be one of 'linear', 'dacapo', got 'DaCapo'."),
    ],
)
def test_options(option, sentence):
    for kind in LOSSES.values():
        refuses(lambda kind=kind: kind(**option), ValueError, sentence)
    refuses(lambda: weighted_error(P, P, **option), ValueError, sentence)
    refuses(lambda: hot_distance_terms(P, P, **option), ValueError, sentence)
    numbers = {"num_affinities": 1, "lsds_to_affs_weight_ratio": 1.0}
    refuses(lambda: affinities_terms(P, P, **numbers, **option), ValueError, sentence)


def test_kind_of_error():
    sentence = (
        "`kind` must be one of 'absolute_error', 'squared_error', 'cross_entropy', got 'mse'."
    )
    refuses(lambda: weighted_error(P, P, kind="mse"), ValueError, sentence)


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("value", "shown"), [(-0.5, "-0.5"), (NAN, "nan"), (INF, "inf")])
def test_weights_that_do_not_count(kind, reduction, value, shown):
    loss = LOSSES[kind](reduction=reduction)
    weight = with_value(value)
    refuses(lambda: loss(P, (P, weight)), ValueError, COUNTS.format(shown, 1))
    weight[0, 1] = value
    refuses(lambda: loss(P, (P, weight)), ValueError, COUNTS.format(shown, 4))


@every_loss
@pytest.mark.parametrize("value", [-0.5, NAN, INF])
@pytest.mark.filterwarnings("ignore::sksurvtorch.exceptions.IgnoredWeightWarning")
def test_dacapo_takes_any_weight(kind, value):
    found = LOSSES[kind](weighting="dacapo")(P + 1, (P, with_value(value)))
    assert found.isfinite() == (value == -0.5 or kind == "dummy")


@pytest.mark.parametrize("weighting", ["linear", "dacapo"])
def test_weights_that_sum_to_0(weighting):
    sentence = (
        "`weight` must be positive somewhere to divide by its sum, got only zeros for the {}. "
        'Leave such a batch out, or use normalize="voxels".'
    )
    first, second = torch.ones(1, 2, 3), torch.ones(1, 2, 3)
    first[:, 0] = 0
    second[:, 1] = 0
    none = torch.zeros(1, 1, 1)
    for loss, weight, name in (
        (MSELoss, none, "squared_error"),
        (lambda **o: AffinitiesLoss(1, 1, **o), none, "affinities"),
        (lambda **o: AffinitiesLoss(1, 1, **o), first, "affinities"),
        (lambda **o: AffinitiesLoss(1, 1, **o), second, "lsds"),
        (HotDistanceLoss, first, "hot"),
        (HotDistanceLoss, second, "distance"),
    ):
        criterion = loss(weighting=weighting, normalize="weight")
        refuses(lambda c=criterion, w=weight: c(P, (P, w)), ValueError, sentence.format(name))
    if weighting == "linear":
        loss = DummyLoss(normalize="weight")
        refuses(lambda: loss(P, (P, none)), ValueError, sentence.format("absolute_error"))
    for options in ({"reduction": "sum"}, {"reduction": "none"}):
        loss = MSELoss(weighting=weighting, normalize="weight", **options)
        assert loss(P + 1, (P, none)).eq(0).all()


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("value", [NAN, INF])
def test_targets_that_count(kind, reduction, value):
    sentence = (
        f"`target` must be finite where it counts, got {value!r} ({{}} of 6 elements). "
        "Give such elements the weight 0."
    )
    loss = LOSSES[kind](reduction=reduction)
    target = with_value(value)
    refuses(lambda: loss(P + 1, target), ValueError, sentence.format(1))
    refuses(lambda: loss(P + 1, (target, torch.ones(1, 1, 3))), ValueError, sentence.format(1))
    target[0, 1, 1:] = value
    weight = with_value(0.0)
    refuses(lambda: loss(P + 1, (target, weight)), ValueError, sentence.format(2))
    moving = target.clone().requires_grad_()
    refuses(lambda: loss(P + 1, (moving, weight)), ValueError, sentence.format(2))


def test_loss_terms_want_a_criterion_with_terms():
    net = NeuralNetRegressor(
        nn.Linear,
        module__in_features=2,
        module__out_features=1,
        callbacks=[LossTerms()],
        criterion=nn.MSELoss,
        max_epochs=1,
        verbose=0,
    )
    X = np.zeros((10, 2), dtype=np.float32)
    refuses(
        lambda: net.fit(X, X[:, :1]),
        TypeError,
        "The criterion of `LossTerms` must have a dictionary `last_terms`, got MSELoss. "
        "Subclass sksurvtorch.losses.Loss.",
    )


LABELS = np.array([[0, 1, 1], [2, 2, 0]])
OF_LABELS = {
    "affinities": lambda labels, **mask: targets.affinities(labels, [(0, 1)], **mask),
    "signed_distance": lambda labels, **mask: targets.signed_distance(labels, scale=1.0, **mask),
    "hot_distance": lambda labels, **mask: targets.hot_distance(labels, scale=1.0, **mask),
    "local_shape_descriptors": lambda labels: targets.local_shape_descriptors(labels, 1.0),
}
every_target = pytest.mark.parametrize("name", OF_LABELS)
every_masked = pytest.mark.parametrize("name", list(OF_LABELS)[:3])


@every_target
def test_labels(name):
    function = OF_LABELS[name]
    for kind in ("float64", "complex128", "<U1", "object"):
        labels = LABELS.astype(kind)
        sentence = f"`labels` must be integer or bool, got {labels.dtype}."
        refuses(lambda labels=labels: function(labels), TypeError, sentence)
    for shape in ((), (0, 3)):
        labels = np.zeros(shape, dtype=int)
        sentence = f"`labels` must have at least one axis and one voxel, got shape {shape}."
        refuses(lambda labels=labels: function(labels), ValueError, sentence)
    sentence = (
        "`labels` must be at least 0, the background, got -3. Mark voxels that are not annotated "
        "with `mask`."
    )
    labels = np.where(LABELS == 1, -3, LABELS)
    labels[1, 2] = -1
    refuses(lambda: function(labels), ValueError, sentence)


@every_masked
def test_masks(name):
    function = OF_LABELS[name]
    labels = np.where(LABELS == 1, -3, LABELS)
    value, valid = function(labels, mask=labels >= 0)
    assert np.isfinite(value[valid]).all()
    sentence = (
        "`labels` must be at least 0, the background, got -3. Mark voxels that are not annotated "
        "with `mask`."
    )
    refuses(lambda: function(labels, mask=LABELS < 2), ValueError, sentence)
    refuses(
        lambda: function(LABELS, mask=np.ones_like(LABELS)),
        TypeError,
        "`mask` must be bool, True where the labels are known, got int64.",
    )
    refuses(
        lambda: function(LABELS, mask=np.ones((1, 3), dtype=bool)),
        ValueError,
        "`mask` must have the shape of the labels, (2, 3), got (1, 3).",
    )


@pytest.mark.parametrize(
    "offsets", [[], [1, 0], [(1,)], [(1, 0, 0)], [(1.0, 0.0)], [(True, False)]]
)
def test_shapes_of_offsets(offsets):
    sentence = (
        "`offsets` must be integers of shape (n_offsets, 2), one for each spatial axis, "
        f"got {offsets!r}."
    )
    refuses(lambda: targets.affinities(LABELS, offsets), ValueError, sentence)
    affinity = np.zeros((1, 2, 3))
    refuses(lambda: targets.affinities_to_labels(affinity, offsets), ValueError, sentence)


def test_an_offset_of_zero():
    offsets = [(0, 1), (0, 0)]
    sentence = (
        "`offsets` must lead to another voxel, got [(0, 1), (0, 0)]. Leave out the zero offset."
    )
    refuses(lambda: targets.affinities(LABELS, offsets), ValueError, sentence)
    affinity = np.zeros((2, 2, 3))
    refuses(lambda: targets.affinities_to_labels(affinity, offsets), ValueError, sentence)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ((1.0, 2.0, 3.0), "`{}` must be a number or one for each of 2 axes, got (1.0, 2.0, 3.0)."),
        ([[1.0, 2.0]], "`{}` must be a number or one for each of 2 axes, got [[1.0, 2.0]]."),
        (0.0, "`{}` must be positive and finite, got 0.0."),
        ((1.0, -2.0), "`{}` must be positive and finite, got (1.0, -2.0)."),
        (NAN, "`{}` must be positive and finite, got nan."),
        (INF, "`{}` must be positive and finite, got inf."),
    ],
)
def test_lengths(value, sentence):
    descriptors = targets.local_shape_descriptors
    sampling = sentence.format("sampling")
    refuses(lambda: descriptors(LABELS, value), ValueError, sentence.format("sigma"))
    refuses(lambda: descriptors(LABELS, 1.0, sampling=value), ValueError, sampling)
    for function in (targets.signed_distance, targets.hot_distance):
        refuses(lambda f=function: f(LABELS, scale=1, sampling=value), ValueError, sampling)


@pytest.mark.parametrize(
    ("scale", "error", "sentence"),
    [
        (0, ValueError, "`scale` must be more than 0, got 0."),
        (-1.0, ValueError, "`scale` must be more than 0, got -1.0."),
        (NAN, ValueError, "`scale` must be finite, got nan."),
        (INF, ValueError, "`scale` must be finite, got inf."),
        ("1", TypeError, "`scale` must be a number, got '1' of type str."),
    ],
)
def test_scales(scale, error, sentence):
    for function in (targets.signed_distance, targets.hot_distance):
        refuses(lambda f=function: f(LABELS, scale=scale), error, sentence)


def test_classes():
    sentence = "`classes` must name at least one label, got none."
    refuses(lambda: targets.hot_distance(LABELS, scale=1.0, classes=[]), ValueError, sentence)


def test_targets_to_balance():
    balance = targets.balance_weights
    target = np.array([[0.0, 1.0, 0.5], [0.0, 2.0, 1.0]])
    sentence = "`target` must be 0 or 1 where it counts, got {} ({} of 6 elements)."
    refuses(lambda: balance(target), ValueError, sentence.format("0.5", 2))
    mask = target != 0.5
    refuses(lambda: balance(target, mask), ValueError, sentence.format("2.0", 1))
    nan = np.where(target == 2, NAN, 0)
    refuses(lambda: balance(nan), ValueError, sentence.format("nan", 1))
    refuses(
        lambda: balance(LABELS == 1, mask.astype(float)),
        TypeError,
        "`mask` must be bool, True for what counts, got float64.",
    )
    refuses(
        lambda: balance(LABELS == 1, mask[:, :2]),
        ValueError,
        "`mask` must broadcast to the shape of `target`, (2, 3), got (2, 2).",
    )
    sentence = "`clip` must be two shares, 0 < least <= largest, got {!r}."
    for clip in ((0, 0.5), (0.6, 0.5), (-0.1, 1.0), (NAN, 0.5), (0.1, NAN)):
        refuses(
            lambda clip=clip: balance(LABELS == 1, clip=clip), ValueError, sentence.format(clip)
        )
    sentence = "`channel_axis` must be an axis of `target`, got {} and the shape {}."
    for axis, shape in ((2, (2, 3)), (-3, (2, 3)), (0, ())):
        x = np.zeros(shape)
        refuses(
            lambda x=x, axis=axis: balance(x, channel_axis=axis),
            ValueError,
            sentence.format(axis, shape),
        )


@pytest.mark.parametrize("method", ["mutex", "components"])
def test_affinities_to_cut(method):
    def cut(affinity, offsets=((1, 0), (0, 1)), **options):
        return targets.affinities_to_labels(affinity, offsets, method=method, **options)

    affinity = np.zeros((2, 2, 3))
    refuses(
        lambda: cut(affinity.astype(int)),
        TypeError,
        "`affinity` must be a floating-point array, got int64.",
    )
    affinity[1, 0, :2] = NAN
    refuses(lambda: cut(affinity), ValueError, "`affinity` must not be NaN, got 2 of 12 elements.")
    for shape in ((), (2,), (0, 2, 3), (2, 0, 3)):
        x = np.zeros(shape)
        sentence = f"`affinity` must have shape (n_offsets, ...), got {shape}."
        refuses(lambda x=x: cut(x), ValueError, sentence)
    sentence = "`offsets` must be as many as the channels of `affinity`, 3, got 2."
    refuses(lambda: cut(np.zeros((3, 2, 3))), ValueError, sentence)
    refuses(
        lambda: cut(np.zeros((2, 2, 3)), threshold="high"),
        TypeError,
        "`threshold` must be a number, got 'high' of type str.",
    )
    refuses(
        lambda: cut(np.zeros((2, 2, 3)), threshold=NAN),
        ValueError,
        "`threshold` must be finite, got nan.",
    )


def test_method():
    refuses(
        lambda: targets.affinities_to_labels(np.zeros((1, 3)), [(1,)], method="watershed"),
        ValueError,
        "`method` must be one of 'mutex', 'components', got 'watershed'.",
    )


def test_distances_to_cut():
    cut = targets.distances_to_labels
    distance = np.zeros((2, 3))
    refuses(lambda: cut(LABELS), TypeError, "`distance` must be a floating-point array, got int64.")
    refuses(
        lambda: cut(distance, LABELS),
        TypeError,
        "`hot` must be a floating-point array, got int64.",
    )
    nan = np.where(LABELS == 1, NAN, 0)
    refuses(lambda: cut(nan), ValueError, "`distance` must not be NaN, got 2 of 6 elements.")
    refuses(lambda: cut(distance, nan), ValueError, "`hot` must not be NaN, got 2 of 6 elements.")
    refuses(
        lambda: cut(distance, distance[None]),
        ValueError,
        "`hot` must have the shape of `distance`, (2, 3), got (1, 2, 3).",
    )
    for name in ("hot_threshold", "seed_threshold"):
        refuses(
            lambda name=name: cut(distance, **{name: None}),
            TypeError,
            f"`{name}` must be a number, got None of type NoneType.",
        )
        refuses(
            lambda name=name: cut(distance, **{name: NAN}),
            ValueError,
            f"`{name}` must be finite, got nan.",
        )


def test_packages_of_the_extra(monkeypatch):
    install = "Install it with: pip install 'sksurvtorch[segmentation]'"
    monkeypatch.setitem(sys.modules, "mwatershed", None)
    refuses(
        lambda: targets.affinities_to_labels(np.zeros((1, 3)), [(1,)]),
        ImportError,
        f'method="mutex" needs mwatershed. {install}',
    )
    # The other method does without.
    assert not targets.affinities_to_labels(np.zeros((1, 3)), [(1,)], method="components").any()
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    refuses(
        lambda: targets.distances_to_labels(np.zeros(3)),
        ImportError,
        f"`distances_to_labels` needs scikit-image. {install}",
    )
