"""The targets of segmentation equal twins that loop over voxels, themselves checked by hand."""

import itertools
import math

import numpy as np
import pytest

from sksurvtorch import targets
from tests import segmentation_twins as twins

SHAPES = {1: (17,), 2: (7, 6), 3: (4, 5, 3), 4: (3, 2, 4, 3)}
# Powers of two, so that distances which tie in exact numbers tie in floats.
SAMPLINGS = {
    1: [1.0, 4.0],
    2: [1, (2.0, 0.5)],
    3: [2, (4.0, 1.0, 1.0), (0.5, 1.0, 2.0)],
    4: [1.0, (1.0, 4.0, 2.0, 2.0)],
}
KINDS = [bool, np.uint8, np.uint16, np.int32, np.int64, np.uint64]
DIMENSIONS = pytest.mark.parametrize("ndim", SHAPES)
MASKED = pytest.mark.parametrize("masked", [False, True], ids=["-", "mask"])
ALL_KINDS = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: np.dtype(kind).name)


def frozen(array):
    """Nothing may write to what it is given."""
    array.setflags(write=False)
    return array


def random_labels(seed, ndim, *, kind=np.int64):
    """Touching blocks of four labels and background, with single voxels among them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, [-(-n // 2) for n in SHAPES[ndim]])
    for axis in range(ndim):
        labels = labels.repeat(2, axis)
    labels = labels[tuple(slice(n) for n in SHAPES[ndim])]
    noisy = rng.random(labels.shape) < 0.15
    return frozen(np.where(noisy, rng.integers(0, 5, labels.shape), labels).astype(kind))


def random_mask(seed, ndim, masked):
    rng = np.random.default_rng(seed)
    return frozen(rng.random(SHAPES[ndim]) < 0.85) if masked else None


def random_offsets(seed, ndim):
    """Faces in both directions, long steps, and two longer than the volume."""
    faces = np.eye(ndim, dtype=int)
    long = np.random.default_rng(seed).integers(-3, 4, (4, ndim))
    outside = [[0] * (ndim - 1) + [SHAPES[ndim][-1]], [-100] + [1] * (ndim - 1)]
    return [o for o in np.concatenate([faces, -faces, long, outside]).tolist() if any(o)]


def assert_equal(actual, expected, dtype):
    assert actual.dtype == dtype
    np.testing.assert_array_equal(actual, expected)


def assert_near(actual, expected):
    """As near as float32 is to the twin's float64."""
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


def assert_distances(actual, expected):
    """Both the distances and where they are valid."""
    assert_near(actual[0], expected[0])
    assert_equal(actual[1], expected[1], bool)


# The twins by hand.


def test_the_twin_of_affinities_by_hand():
    labels = np.array([1, 1, 2, 2, 0, 0])
    affinity, valid = twins.affinities(labels, [(1,), (-2,), (9,)])
    assert affinity.tolist() == [[1, 0, 1, 0, 0, 0], [0] * 6, [0] * 6]
    assert valid.tolist() == [[True] * 5 + [False], [False] * 2 + [True] * 4, [False] * 6]
    affinity, valid = twins.affinities(labels, [(1,)], mask=labels < 2)
    assert affinity.tolist() == [[1, 0, 0, 0, 0, 0]]
    assert valid.tolist() == [[True, False, False, False, True, False]]


def test_the_twin_of_distances_by_hand():
    labels = np.array([0, 0, 3, 3, 3])
    distance, valid = twins.signed_distance(labels, scale=None, sampling=2.0)
    assert distance.tolist() == [-3, -1, 1, 3, 5]
    assert valid.all()
    mask = np.array([True, True, True, True, False])
    distance, valid = twins.signed_distance(labels, scale=2.0, mask=mask)
    assert valid.tolist() == [True, True, True, False, False]
    assert distance.tolist() == [-math.tanh(0.75), -math.tanh(0.25), math.tanh(0.25), 0, 0]
    corner = twins.signed_distance(np.array([[1, 0], [0, 0]]), scale=None, sampling=(2.0, 1.0))[0]
    assert corner.tolist() == [[0.5, -0.5], [-1, -math.sqrt(2)]]
    assert twins.signed_distance(np.ones(2), scale=None)[0].tolist() == [math.inf] * 2


def test_the_twin_of_hot_and_distance_by_hand():
    labels, mask = np.array([1, 1, 2, 0]), np.array([True, True, True, False])
    target, valid = twins.hot_distance(labels, scale=None, mask=mask)
    assert target.tolist() == [[1, 1, 1, 0], [1.5, 0.5, 0.5, 0]]
    assert valid.tolist() == [[True, True, True, False]] * 2
    target, valid = twins.hot_distance(labels, scale=None, classes=[2, 1])
    assert target[:2].tolist() == [[0, 0, 1, 0], [1, 1, 0, 0]]
    assert target[2:].tolist() == [[-1.5, -0.5, 0.5, -0.5], [1.5, 0.5, -0.5, -1.5]]


def test_the_twin_of_balance_weights_by_hand():
    weight = twins.balance_weights(np.array([[1, 0, 0, 0], [0, 0, 0, 0]]))
    np.testing.assert_allclose(weight, [[2, 2 / 3, 2 / 3, 2 / 3], [1 / 1.9] * 4])
    mask = np.array([[True, True, False, False]])
    weight = twins.balance_weights(np.array([[1, 0, 9, 9], [1, 1, 9, 9]]), mask)
    np.testing.assert_allclose(weight, [[1, 1, 0, 0], [1 / 1.9, 1 / 1.9, 0, 0]])


def test_the_twin_of_descriptors_by_hand():
    """Two voxels weigh 1 and exp(-2); the window reaches two voxels."""
    mean, variance, mass = twins.local_shape_descriptors(np.array([1, 1, 0]), 0.5).T[0]
    w = math.exp(-2)
    p = w / (1 + w)
    assert mean == pytest.approx(p + 0.5, rel=1e-14)
    assert variance == pytest.approx(4 * p * (1 - p), rel=1e-14)
    assert mass == pytest.approx((1 + w) / (1 + 2 * w + 2 * w**4), rel=1e-14)
    slope = lambda labels: twins.local_shape_descriptors(np.array(labels), 1.0)[4]  # noqa: E731
    np.testing.assert_allclose(slope([[1, 2], [2, 1]]), [[1, 0], [0, 1]], atol=1e-14)
    assert slope([[1, 1], [0, 2]]).tolist() == [[0.5, 0.5], [0, 0.5]]


@pytest.mark.parametrize(
    ("apart", "labels"), [(0.05, [1, 1, 0]), (0.35, [1, 1, 1]), (0.15, [1, 1, 0])]
)
def test_the_twins_of_the_watershed_and_components_by_hand(apart, labels):
    """The last two of three voxels attract by 0.3, the first and the last repel each other."""
    affinity = np.array([[0.9, 0.8, 0.0], [apart, 0.0, 0.0]])
    offsets = [(1,), (2,)]
    assert twins.mutex_watershed(affinity, offsets).tolist() == labels
    assert twins.components(affinity, offsets).tolist() == [1, 1, 1]
    assert twins.components(affinity, offsets, threshold=0.85).tolist() == [1, 1, 0]
    assert twins.components(affinity, offsets, threshold=0.9).tolist() == [0, 0, 0]


def test_the_twins_of_face_components_and_passes_by_hand():
    inside = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 0]], bool)
    assert twins.face_components(inside).tolist() == [[1, 0, 2], [1, 0, 2], [0, 3, 0]]
    height = np.array([3.0, 5.0, 1.0, 4.0, 9.0, 2.0])
    starts = np.array([True, False, False, False, False, False])
    lowest = twins.passes(height, np.arange(6) < 5, starts)
    assert lowest.tolist() == [3, 5, 5, 5, 9, math.inf]


# The package by the twins.


@ALL_KINDS
@MASKED
@DIMENSIONS
def test_affinities(ndim, masked, kind):
    labels, mask = random_labels(ndim, ndim, kind=kind), random_mask(ndim, ndim, masked)
    offsets = random_offsets(ndim, ndim)
    ours = targets.affinities(labels, offsets, mask=mask)
    expected = twins.affinities(labels, offsets, mask=mask)
    assert_equal(ours[0], expected[0], np.float32)
    assert_equal(ours[1], expected[1], bool)
    assert 0 < expected[0].sum() < expected[1].sum()


@pytest.mark.parametrize("scale", [None, 0.7, 10])
@MASKED
@DIMENSIONS
def test_signed_distance(ndim, masked, scale):
    for seed, sampling in enumerate(SAMPLINGS[ndim]):
        labels, mask = random_labels(seed, ndim), random_mask(seed, ndim, masked)
        options = {"scale": scale, "sampling": sampling, "mask": mask}
        expected = twins.signed_distance(labels, **options)
        assert_distances(targets.signed_distance(labels, **options), expected)
        assert expected[1].any()
        assert masked != expected[1].all()


@ALL_KINDS
def test_signed_distance_of_any_kind_of_labels(kind):
    labels, mask = random_labels(5, 2, kind=kind), random_mask(5, 2, True)
    expected = twins.signed_distance(labels, scale=2.0, mask=mask)
    assert_distances(targets.signed_distance(labels, scale=2.0, mask=mask), expected)


@pytest.mark.parametrize("few", [1, 2, 3])
def test_signed_distance_of_a_single_object_far_away(few):
    """Most voxels are farther from the boundary than from the faces of the volume."""
    labels = np.zeros((9, 8, 7), np.uint8)
    labels[:few, :2, few:] = 1
    mask = np.ones(labels.shape, bool)
    mask[8, 7, 0] = mask[4, 4, 4] = False
    for options in ({}, {"mask": mask}, {"mask": mask, "sampling": (1.0, 4.0, 0.5)}):
        expected = twins.signed_distance(labels, scale=None, **options)
        assert_distances(targets.signed_distance(labels, scale=None, **options), expected)


@MASKED
def test_signed_distance_with_a_sampling_that_is_no_power_of_two(masked):
    """What ties but for rounding may be valid or not; elsewhere both agree."""
    sampling = (0.3, 1.1, 0.7)
    labels, mask = random_labels(8, 3), random_mask(8, 3, masked)
    ours = targets.signed_distance(labels, scale=None, sampling=sampling, mask=mask)
    expected = twins.signed_distance(labels, scale=None, sampling=sampling, mask=mask)
    d, u = twins.unsigned_distances(labels, sampling=sampling, mask=mask)
    clear = ~np.isclose(d, u, rtol=1e-6)
    assert clear.mean() > 0.5
    assert_distances([part[clear] for part in ours], [part[clear] for part in expected])


@pytest.mark.parametrize("classes", [None, [1], [4, 2, 77], [0, 3]])
@MASKED
@DIMENSIONS
def test_hot_distance(ndim, masked, classes):
    labels, mask = random_labels(11, ndim, kind=np.uint8), random_mask(12, ndim, masked)
    sampling = SAMPLINGS[ndim][-1]
    options = {"scale": 3.0, "sampling": sampling, "mask": mask, "classes": classes}
    expected = twins.hot_distance(labels, **options)
    assert_distances(targets.hot_distance(labels, **options), expected)


@MASKED
@DIMENSIONS
def test_hot_distance_of_bool_labels(ndim, masked):
    labels, mask = random_labels(13, ndim, kind=bool), random_mask(14, ndim, masked)
    expected = twins.hot_distance(labels, scale=3.0, mask=mask)
    assert_distances(targets.hot_distance(labels, scale=3.0, mask=mask), expected)


MASKS = {"-": None, "full": (4, 5, 6, 3), "channels": (4, 1, 1, 1), "voxels": (1, 5, 6, 3)}


@pytest.mark.parametrize("clip", [(0.05, 0.95), (0.3, 0.4), (1e-6, 1.0)])
@pytest.mark.parametrize("channel_axis", [0, 1, -1])
@pytest.mark.parametrize("shape", MASKS.values(), ids=MASKS.keys())
@pytest.mark.parametrize("kind", [bool, np.uint8, np.float32, np.float64])
def test_balance_weights(kind, shape, channel_axis, clip):
    rng = np.random.default_rng(0)
    target = rng.random((4, 5, 6, 3)) < rng.random((4, 1, 1, 3)) ** 2
    target = frozen(target.astype(kind))
    mask = None if shape is None else frozen(rng.random(shape) < 0.6)
    options = {"channel_axis": channel_axis, "clip": clip}
    ours = targets.balance_weights(target, mask, **options)
    assert_near(ours, twins.balance_weights(target, mask, **options))


def test_balance_weights_of_channels_of_one_value_of_no_value_and_of_unknown_ones():
    target = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, np.nan, 7.0], [-1.0, 5.0, np.inf]])
    mask = np.isin(target, [0, 1])
    ours = targets.balance_weights(target, mask)
    assert_near(ours, twins.balance_weights(target, mask))
    assert not ours[3].any()


@pytest.mark.parametrize("sigma", [0.1, 1.3, 4])
@DIMENSIONS
def test_local_shape_descriptors(ndim, sigma):
    for seed, sampling in enumerate(SAMPLINGS[ndim]):
        labels = random_labels(seed, ndim)
        ours = targets.local_shape_descriptors(labels, sigma, sampling=sampling)
        expected = twins.local_shape_descriptors(labels, sigma, sampling=sampling)
        assert_near(ours, expected)


@ALL_KINDS
def test_local_shape_descriptors_of_any_kind_of_labels_with_a_sigma_by_axis(kind):
    labels = random_labels(3, 3, kind=kind)
    options = {"sigma": (2.2, 0.7, 1.0), "sampling": (1.5, 1.0, 0.3)}
    ours = targets.local_shape_descriptors(labels, **options)
    assert_near(ours, twins.local_shape_descriptors(labels, **options))


def test_local_shape_descriptors_of_flat_and_of_parted_objects():
    """One voxel thick along an axis, in two pieces, and out of each other's window."""
    labels = np.zeros((3, 9, 12), np.uint8)
    labels[1, 2:7, 3:8] = 1
    labels[:, 0, 0] = 2
    labels[:, 0, 11] = 2
    labels[0, 8, :] = labels[2, 8, :] = 3
    labels[2, 7, 10] = labels[1, 6, 11] = 4
    for sigma in (0.9, 1.7, (3.0, 2.0, 1.0)):
        ours = targets.local_shape_descriptors(labels, sigma)
        assert_near(ours, twins.local_shape_descriptors(labels, sigma))


HUGE = 2**63 + np.arange(4, dtype=np.uint64)


def test_labels_next_to_each_other_are_different_however_large():
    """Identifiers of 64 bits, which no float tells apart."""
    labels = np.array([[0, *HUGE[:2], 0], [HUGE[0], HUGE[0], HUGE[1], HUGE[2]]], np.uint64)
    small = np.array([[0, 1, 2, 0], [1, 1, 2, 3]])
    offsets = [(0, 1), (1, 0), (-1, 2)]
    for of in (
        lambda x: targets.affinities(x, offsets)[0],
        lambda x: targets.signed_distance(x, scale=1.0)[0],
        lambda x: targets.hot_distance(x, scale=1.0)[0],
        lambda x: targets.local_shape_descriptors(x, 1.0),
    ):
        np.testing.assert_array_equal(of(labels), of(small))
    by_class = targets.hot_distance(labels, scale=1.0, classes=HUGE[:3])[0]
    np.testing.assert_array_equal(
        by_class, targets.hot_distance(small, scale=1.0, classes=[1, 2, 3])[0]
    )


def test_labels_in_another_order_of_memory():
    labels = random_labels(21, 3)
    mask = random_mask(21, 3, True)
    for view in (lambda x: x.T, lambda x: x[::-1, :, ::2], np.asfortranarray):
        offsets = [(0, 0, 1), (-1, 1, 0)]
        ours = targets.affinities(view(labels), offsets, mask=view(mask))
        np.testing.assert_array_equal(
            ours, twins.affinities(view(labels), offsets, mask=view(mask))
        )
        options = {"scale": 2.0, "sampling": (2.0, 1.0, 1.0), "mask": view(mask)}
        assert_distances(
            targets.hot_distance(view(labels), **options),
            twins.hot_distance(view(labels), **options),
        )
        ours = targets.local_shape_descriptors(view(labels), 1.2)
        assert_near(ours, twins.local_shape_descriptors(view(labels), 1.2))


EDGES = {
    "one object": np.ones((3, 4), np.int64),
    "all background": np.zeros((3, 4), np.int64),
    "one voxel": np.ones((1, 1, 1), np.uint8),
    "one voxel of background": np.zeros((1,), bool),
    "flat": np.array([[[[1, 1, 2, 0, 3]]]], np.int32),
}
AT_THE_EDGE = pytest.mark.parametrize("labels", EDGES.values(), ids=EDGES.keys())


@AT_THE_EDGE
@pytest.mark.parametrize("annotated", [None, False, True])
def test_targets_of_volumes_at_the_edge(labels, annotated):
    mask = None if annotated is None else np.full(labels.shape, annotated)
    offsets = [tuple(o) for sign in (1, -2) for o in (sign * np.eye(labels.ndim, dtype=int))]
    np.testing.assert_array_equal(
        targets.affinities(labels, offsets, mask=mask),
        twins.affinities(labels, offsets, mask=mask),
    )
    for scale, of in itertools.product([None, 2.0], ["signed_distance", "hot_distance"]):
        options = {"scale": scale, "sampling": 4, "mask": mask}
        assert_distances(
            getattr(targets, of)(labels, **options), getattr(twins, of)(labels, **options)
        )
    hot, valid = (part[:1] for part in targets.hot_distance(labels, scale=1.0, mask=mask))
    assert_near(targets.balance_weights(hot, valid), twins.balance_weights(hot, valid))
    assert_near(
        targets.local_shape_descriptors(labels, 2.0), twins.local_shape_descriptors(labels, 2.0)
    )


def test_one_annotated_voxel_has_no_boundary_and_borders_on_the_unknown():
    labels = np.array([0, 1, 0])
    mask = np.array([False, True, False])
    expected = np.array([[0, 1, 0], [0, 0, 0]]), np.array([mask, mask & False])
    assert_distances(targets.hot_distance(labels, scale=1.0, mask=mask), expected)


def random_affinities(seed, ndim, *, threshold=0.5, attract=0.6, outside=True):
    """Affinities at different distances from the threshold, on both sides of it."""
    rng = np.random.default_rng(seed)
    offsets = random_offsets(seed, ndim)
    if not outside:
        offsets = [o for o in offsets if (np.abs(o) < SHAPES[ndim]).all()]
    shape = (len(offsets), *SHAPES[ndim])
    n = math.prod(shape)
    away = (rng.permutation(n) + 1) / (n + 1) * min(threshold, 1 - threshold)
    # Long steps mostly repel, as they do in volumes of small objects.
    near = np.abs(offsets).sum(1) == 1
    attract = np.where(near, attract, attract / 4).repeat(n // len(offsets))
    affinity = threshold + np.where(rng.random(n) < attract, away, -away)
    return frozen(affinity.reshape(shape).astype(np.float32)), offsets


@pytest.mark.parametrize("outside", [False, True], ids=["-", "outside"])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
@pytest.mark.parametrize("attract", [0.02, 0.2, 0.6, 0.9])
@DIMENSIONS
def test_mutex_watershed(ndim, attract, threshold, outside):
    for seed in range(3):
        affinity, offsets = random_affinities(
            seed, ndim, threshold=threshold, attract=attract, outside=outside
        )
        ours = targets.affinities_to_labels(affinity, offsets, threshold=threshold)
        expected = twins.mutex_watershed(affinity, offsets, threshold=threshold)
        assert_equal(ours, expected, np.int64)


def test_a_voxel_that_only_attracts_what_it_must_not_join_is_background():
    affinity = np.array([[0.9, 0.8, 0.0], [0.05, 0.0, 0.0]], np.float32)
    labels = targets.affinities_to_labels(affinity, [(1,), (2,)])
    assert_equal(labels, [1, 1, 0], np.int64)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("threshold", [0.5, 0.9])
@pytest.mark.parametrize("attract", [0.02, 0.2])
@DIMENSIONS
def test_components(ndim, attract, threshold, kind):
    for seed in range(3):
        affinity, offsets = random_affinities(seed, ndim, attract=attract)
        affinity = affinity.astype(kind)
        ours = targets.affinities_to_labels(
            affinity, offsets, threshold=threshold, method="components"
        )
        expected = twins.components(affinity, offsets, threshold=threshold)
        assert_equal(ours, expected, np.int64)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_mutex_watershed_of_other_floats(kind):
    """Few enough edges that their distances from the threshold differ in half precision."""
    rng = np.random.default_rng(4)
    away = rng.permutation(np.arange(1, 151)) / 512
    affinity = 0.5 + np.where(rng.random(150) < 0.5, away, -away)
    affinity = affinity.reshape(5, 5, 6).astype(kind)
    offsets = [(0, 1), (1, 0), (1, 1), (0, -2), (3, -1)]
    expected = twins.mutex_watershed(affinity, offsets)
    assert_equal(targets.affinities_to_labels(affinity, offsets), expected, np.int64)
    assert expected.max() > 1


@pytest.mark.parametrize("method", ["mutex", "components"])
@pytest.mark.parametrize("shape", [(1,), (1, 1, 1), (4,), (2, 3)])
@pytest.mark.parametrize("value", [0.0, 0.75, 1.0])
def test_affinities_all_alike_give_one_object_or_none(value, shape, method):
    offsets = np.eye(len(shape), dtype=int)
    affinity = np.full((len(offsets), *shape), value, np.float32)
    labels = targets.affinities_to_labels(affinity, offsets, method=method)
    assert_equal(labels, np.full(shape, value > 0.5 and math.prod(shape) > 1), np.int64)


@pytest.mark.parametrize("method", ["mutex", "components"])
def test_steps_out_of_the_volume_join_nothing(method):
    """Whatever the affinity there."""
    affinity = np.ones((4, 4), np.float32)
    labels = targets.affinities_to_labels(affinity, [(4,), (-9,), (7,), (3,)], method=method)
    assert_equal(labels, [1, 0, 0, 1], np.int64)


@pytest.mark.parametrize("method", ["mutex", "components"])
def test_objects_are_found_again_in_their_affinities(method):
    """But for those of one voxel; the long steps keep the rest apart."""
    labels = random_labels(31, 3)
    offsets = [*np.eye(3, dtype=int).tolist(), [0, 0, 2], [0, 2, 0], [1, -1, 0]]
    affinity, _ = targets.affinities(labels, offsets)
    twin = twins.components if method == "components" else twins.mutex_watershed
    ours = targets.affinities_to_labels(affinity, offsets, method=method)
    # All edges are as far from the threshold, yet none contradicts another.
    assert_equal(ours, twin(affinity, offsets), np.int64)


def assert_grown_from_seeds(labels, distance, foreground, *, seed_threshold=0.5):
    """What is promised of the objects, by slow means."""
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels > 0, foreground)
    seeds = twins.face_components(foreground & (distance > seed_threshold))
    bodies = twins.face_components(foreground)
    barren = [b for b in range(1, bodies.max() + 1) if not (seeds[bodies == b]).any()]
    starts = [seeds == s for s in range(1, seeds.max() + 1)] + [bodies == b for b in barren]
    assert sorted(np.unique(labels[foreground])) == list(range(1, len(starts) + 1))
    taken = set()
    height = -distance.astype(float)
    lowest = twins.passes(height, foreground, np.logical_or.reduce([foreground & False, *starts]))
    for start in starts:
        (label,) = np.unique(labels[start])
        taken.add(label)
        own = labels == label
        # No voxel is reached by a lower way from another seed, nor from afar.
        np.testing.assert_array_equal(twins.passes(height, own, start)[own], lowest[own])
    assert len(taken) == len(starts)


def random_distance(seed, ndim):
    """A few bumps, in (-1, 1)."""
    rng = np.random.default_rng(seed)
    distance = rng.normal(0.0, 1.0, SHAPES[ndim])
    for axis in range(ndim):
        distance = distance + 0.7 * np.roll(distance, 1, axis)
    distance = distance - np.quantile(distance, 0.3 + 0.1 * ndim)
    return frozen(np.tanh(distance).astype(np.float32))


@pytest.mark.parametrize("seed_threshold", [0.5, 0.85])
@DIMENSIONS
def test_distances_grow_to_objects_from_their_seeds(ndim, seed_threshold):
    for seed in range(3):
        distance = random_distance(seed, ndim)
        labels = targets.distances_to_labels(distance, seed_threshold=seed_threshold)
        assert_grown_from_seeds(labels, distance, distance > 0, seed_threshold=seed_threshold)


@pytest.mark.parametrize("hot_threshold", [0.5, 0.2, -1.0])
@DIMENSIONS
def test_distances_grow_inside_what_is_hot(ndim, hot_threshold):
    for seed in range(3):
        distance = random_distance(seed, ndim)
        hot = np.random.default_rng(seed).random(SHAPES[ndim]).astype(np.float32)
        labels = targets.distances_to_labels(distance, frozen(hot), hot_threshold=hot_threshold)
        assert_grown_from_seeds(labels, distance, hot > hot_threshold)


@DIMENSIONS
def test_distances_of_objects_in_steps(ndim):
    """Whole plateaus of equal distances, as targets have them."""
    for seed in range(3):
        labels = random_labels(seed, ndim)
        distance, _ = targets.signed_distance(labels, scale=2.0)
        hot = (labels != 0).astype(np.float32)
        ours = targets.distances_to_labels(distance, hot, seed_threshold=0.3)
        assert_grown_from_seeds(ours, distance, labels != 0, seed_threshold=0.3)


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.3, 1.0, math.inf, -math.inf])
@pytest.mark.parametrize("shape", [(1,), (3, 4), (1, 1, 1, 2)])
def test_distances_all_alike_give_one_object_or_none(shape, value):
    distance = np.full(shape, value, np.float32)
    assert_equal(targets.distances_to_labels(distance), np.full(shape, value > 0), np.int64)
    hot = np.ones(shape, np.float32)
    assert_equal(targets.distances_to_labels(distance, hot), np.ones(shape), np.int64)
