"""Values of the segmentation targets that can be checked by hand, and their conventions."""

import math

import numpy as np
import pytest

from sksurvtorch.targets import (
    affinities,
    affinities_to_labels,
    balance_weights,
    distances_to_labels,
    hot_distance,
    local_shape_descriptors,
    signed_distance,
)

TOUCHING = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 2, 2, 2, 0],
        [0, 1, 1, 1, 2, 2, 2, 0],
        [0, 1, 1, 1, 2, 2, 2, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [3, 3, 3, 0, 4, 4, 4, 4],
        [3, 3, 3, 0, 4, 4, 4, 4],
        [3, 3, 3, 0, 4, 4, 4, 4],
    ]
)
NEAREST = [(1, 0), (0, 1)]


def test_an_offset_leads_from_a_voxel_to_its_neighbour():
    affinity, valid = affinities([1, 1, 2, 2, 2], [(1,), (-1,), (2,), (5,)])
    assert affinity.tolist() == [[1, 0, 1, 1, 0], [0, 1, 0, 1, 1], [0, 0, 1, 0, 0], [0] * 5]
    assert valid.astype(int).tolist() == [
        [1, 1, 1, 1, 0],
        [0, 1, 1, 1, 1],
        [1, 1, 1, 0, 0],
        [0] * 5,
    ]
    assert (affinity.dtype, valid.dtype) == (np.float32, bool)


def test_an_offset_has_a_step_for_each_axis():
    labels = [[1, 2, 2], [3, 1, 2]]
    affinity, valid = affinities(labels, [(1, 0), (0, 1), (1, 1), (1, -1)])
    assert affinity.tolist() == [
        [[0, 0, 1], [0, 0, 0]],
        [[0, 1, 0], [0, 0, 0]],
        [[1, 1, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0]],
    ]
    assert valid.astype(int).tolist() == [
        [[1, 1, 1], [0, 0, 0]],
        [[1, 1, 0], [1, 1, 0]],
        [[1, 1, 0], [0, 0, 0]],
        [[0, 1, 1], [0, 0, 0]],
    ]


def test_background_has_no_affinity_which_is_known():
    affinity, valid = affinities([0, 0, 1, 0], [(1,)])
    assert affinity.tolist() == [[0, 0, 0, 0]]
    assert valid.tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("hidden", [1, 0, 7, -5])
def test_a_mask_hides_what_is_under_it(hidden):
    labels = np.array([0, 1, 1, hidden, 1, 1, 1, 0])
    mask = np.array([1, 1, 1, 0, 1, 1, 1, 1], dtype=bool)
    affinity, valid = affinities(labels, [(1,)], mask=mask)
    assert affinity.tolist() == [[0, 1, 0, 0, 1, 1, 0, 0]]
    assert valid.astype(int).tolist() == [[1, 1, 0, 0, 1, 1, 1, 0]]
    distance, valid = signed_distance(labels, scale=None, mask=mask)
    assert valid.astype(int).tolist() == [1, 1, 0, 0, 0, 1, 1, 1]
    assert distance.tolist() == [-0.5, 0.5, 0, 0, 0, 1.5, 0.5, -0.5]
    target, valid = hot_distance(labels, scale=None, mask=mask)
    assert target.tolist() == [[0, 1, 1, 0, 1, 1, 1, 0], distance.tolist()]
    assert valid.astype(int).tolist() == [[1, 1, 1, 0, 1, 1, 1, 1], [1, 1, 0, 0, 0, 1, 1, 1]]


def test_objects_that_touch_have_a_boundary():
    distance, valid = signed_distance([1, 1, 1, 2, 2, 0, 0], scale=None)
    assert distance.tolist() == [2.5, 1.5, 0.5, 0.5, 0.5, -0.5, -1.5]
    assert valid.all()
    joined = signed_distance([1, 1, 1, 1, 1, 0, 0], scale=None)[0]
    assert joined.tolist() == [4.5, 3.5, 2.5, 1.5, 0.5, -0.5, -1.5]


def test_a_boundary_is_between_voxels_that_share_a_face():
    distance, _ = signed_distance([[1, 0], [0, 0]], scale=None)
    np.testing.assert_allclose(distance, [[0.5, -0.5], [-0.5, -math.sqrt(1.25)]], rtol=1e-7)


def test_the_faces_of_the_volume_are_no_boundary():
    assert np.isposinf(signed_distance(np.ones((2, 3), int), scale=None)[0]).all()
    assert np.isneginf(signed_distance(np.zeros((2, 3), int), scale=None)[0]).all()
    distance, valid = signed_distance(np.ones((2, 3), int), scale=5.0)
    assert (distance == 1).all()
    assert valid.all()


def test_a_distance_is_in_the_unit_of_the_sampling_and_tanh_limits_it():
    labels = [[0, 0, 1]]
    distance = signed_distance(labels, scale=None, sampling=(7.0, 4.0))[0]
    assert distance.tolist() == [[-6, -2, 2]]
    assert signed_distance(labels, scale=None, sampling=4)[0].tolist() == [[-6, -2, 2]]
    scaled = signed_distance(labels, scale=3.0, sampling=(7.0, 4.0))[0]
    np.testing.assert_allclose(scaled, np.tanh([[-2, -2 / 3, 2 / 3]]), rtol=1e-6)
    # The nearer of two boundaries is along the axis of small voxels.
    distance = signed_distance([[1, 0], [1, 1]], scale=None, sampling=(1.0, 10.0))[0]
    assert distance[0].tolist() == [5, -0.5]
    assert distance[1, 1] == 0.5


def test_classes_come_before_their_distances():
    target, valid = hot_distance([1, 1, 3, 0], scale=None, classes=[3, 1])
    assert target.tolist() == [
        [0, 0, 1, 0],
        [1, 1, 0, 0],
        [-1.5, -0.5, 0.5, -0.5],
        [1.5, 0.5, -0.5, -1.5],
    ]
    assert valid.all()
    assert target.dtype == np.float32


def test_descriptors_of_a_line():
    """Weights 1 and v = exp(-1/2) of the next voxel, over those of the window."""
    v = math.exp(-0.5)
    window = 1 + 2 * sum(math.exp(-(k**2) / 2) for k in (1, 2, 3))
    offset, variance, size = local_shape_descriptors([0, 5, 5, 0, 5], sigma=1.0)
    mean = v / (1 + v)
    far = math.exp(-4.5)  # the window reaches the last voxel, of the same label
    ends = [1 + v + far, 1 + v + math.exp(-2), 1 + far + math.exp(-2)]
    np.testing.assert_allclose(size[[1, 2, 4]] * window, ends, rtol=1e-6)
    offset, variance, size = local_shape_descriptors([0, 5, 5, 6, 0], sigma=1.0)
    np.testing.assert_allclose(offset, [0, 0.5 + mean / 2, 0.5 - mean / 2, 0.5, 0], rtol=1e-6)
    np.testing.assert_allclose(variance, [0, *[mean * (1 - mean)] * 2, 0, 0], atol=1e-7)
    np.testing.assert_allclose(size, np.array([0, 1 + v, 1 + v, 1, 0]) / window, rtol=1e-6)


def test_the_order_of_the_channels_of_descriptors():
    """Offsets, variances, correlations (0, 1), (0, 2), (1, 2), size."""
    bar = np.zeros((5, 5, 5), int)
    bar[2, 2, 2:] = 1
    here = local_shape_descriptors(bar, 1.0)[:, 2, 2, 2]
    assert here.shape == (10,)
    assert here[:2].tolist() == [0.5, 0.5]
    assert here[2] > 0.6
    assert here[3:5].tolist() == [0, 0]
    assert here[5] > 0.1
    assert here[6:9].tolist() == [0.5] * 3
    assert 0 < here[9] < 0.3
    for pair, channel in (((0, 1), 6), ((0, 2), 7), ((1, 2), 8)):
        diagonal = np.zeros((5, 5, 5), int)
        for k in range(5):
            place = [2, 2, 2]
            place[pair[0]] = place[pair[1]] = k
            diagonal[tuple(place)] = 1
        correlations = local_shape_descriptors(diagonal, 1.0)[6:9, 2, 2, 2]
        expected = np.full(3, 0.5)
        expected[channel - 6] = 1
        np.testing.assert_allclose(correlations, expected, atol=1e-6)
        flipped = local_shape_descriptors(np.flip(diagonal, pair[0]), 1.0)[6:9, 2, 2, 2]
        np.testing.assert_allclose(flipped, 1 - expected, atol=1e-6)


def test_descriptors_depend_on_sigma_by_the_size_of_a_voxel_alone():
    here = local_shape_descriptors(TOUCHING, (2.0, 1.0))
    there = local_shape_descriptors(TOUCHING, (20.0, 4.0), sampling=(10.0, 4.0))
    np.testing.assert_allclose(there, here, atol=1e-6)
    assert (here[:, TOUCHING == 0] == 0).all()
    assert here.min() >= 0
    assert here.max() <= 1


@pytest.mark.parametrize("method", ["mutex", "components"])
def test_objects_are_numbered_by_their_first_voxel_and_alone_is_background(method):
    labels = np.array([[0, 9, 9, 0, 4], [7, 0, 0, 0, 4], [7, 0, 3, 0, 0]])
    affinity, _ = affinities(labels, NEAREST)
    found = affinities_to_labels(affinity, NEAREST, method=method)
    assert found.dtype == np.int64
    assert found.tolist() == [[0, 1, 1, 0, 2], [3, 0, 0, 0, 2], [3, 0, 0, 0, 0]]


@pytest.mark.parametrize("method", ["mutex", "components"])
def test_the_threshold_is_not_above_itself(method):
    affinity = [[0.75, 0.25, 0.5, 0.0]]
    for threshold, expected in ((0.5, [1, 1, 0, 0]), (0.375, [1, 1, 2, 2]), (0.8, [0] * 4)):
        found = affinities_to_labels(affinity, [(1,)], method=method, threshold=threshold)
        assert found.tolist() == expected


def test_one_leak_joins_components_but_not_what_the_mutex_watershed_keeps_apart():
    """Two objects of three voxels with a leak between them, which long offsets contradict."""
    offsets = [(1,), (3,)]
    affinity = np.array([[1, 1, 0.6, 1, 1, 0], [0.0] * 6])
    assert affinities_to_labels(affinity, offsets, method="components").tolist() == [1] * 6
    assert affinities_to_labels(affinity, offsets).tolist() == [1, 1, 1, 2, 2, 2]
    assert affinities_to_labels(affinity[:1], offsets[:1]).tolist() == [1] * 6


@pytest.mark.parametrize("method", ["mutex", "components"])
def test_labels_come_back_from_their_affinities(method):
    for offsets in (NEAREST, [*NEAREST, (3, 0), (0, 3), (-2, 2)]):
        affinity, _ = affinities(TOUCHING, offsets)
        found = affinities_to_labels(affinity, offsets, method=method)
        assert np.array_equal(found, TOUCHING)


def test_labels_come_back_from_their_distances():
    (hot, distance), valid = hot_distance(TOUCHING, scale=1.0)
    assert valid.all()
    for threshold in (0.5, 0.8):
        found = distances_to_labels(distance, hot, seed_threshold=threshold)
        assert np.array_equal(found, TOUCHING)
    assert np.array_equal(distances_to_labels(distance, seed_threshold=0.8), TOUCHING)
    assert np.array_equal(distances_to_labels(distance, hot > 0.5, seed_threshold=0.8), TOUCHING)
    # Each connected part is one object where nothing is a seed.
    parts = np.where(TOUCHING == 2, 1, TOUCHING)
    parts = np.where(parts > 2, parts - 1, parts)
    assert np.array_equal(distances_to_labels(distance, hot, seed_threshold=1.0), parts)


def test_thresholds_of_distances():
    distance = np.array([0.3, 0.9, 0.3, 0.6, 0.3, -0.1])
    assert distances_to_labels(distance).tolist() == [1, 1, 1, 2, 2, 0]
    assert distances_to_labels(distance, seed_threshold=0.6).tolist() == [1, 1, 1, 1, 1, 0]
    hot = np.array([0.1, 0.9, 0.4, 0.9, 0.5, 0.9])
    assert distances_to_labels(distance, hot).tolist() == [0, 1, 0, 2, 0, 3]
    assert distances_to_labels(distance, hot, hot_threshold=0.3).tolist() == [0, 1, 1, 2, 2, 2]


def test_zeros_and_ones_weigh_the_same_and_1_on_average():
    target = np.array([[0, 0, 0, 1], [1, 1, 0, 0]])
    weight = balance_weights(target)
    np.testing.assert_allclose(weight, [[2 / 3, 2 / 3, 2 / 3, 2], [1, 1, 1, 1]], rtol=1e-6)
    assert weight.dtype == np.float32
    np.testing.assert_allclose(weight.mean(axis=1), 1, rtol=1e-6)
    along = balance_weights(target.T, channel_axis=-1)
    np.testing.assert_array_equal(along.T, weight)
    mask = np.array([[True, True, False, True]])
    weight = balance_weights(np.where(mask, target, 9), mask)
    np.testing.assert_allclose(weight, [[0.75, 0.75, 0, 1.5], [0.75, 0.75, 0, 1.5]], rtol=1e-6)


def test_shares_are_clipped():
    target = np.zeros((2, 100))
    target[0, 0] = 1
    weight = balance_weights(target)
    np.testing.assert_allclose(weight[0, :2], [0.5 / 0.05, 0.5 / 0.95], rtol=1e-6)
    np.testing.assert_allclose(weight[1], 0.5 / 0.95, rtol=1e-6)
    weight = balance_weights(target, clip=(0.01, 1.0))
    np.testing.assert_allclose(weight[0, :2], [50, 0.5 / 0.99], rtol=1e-6)
    np.testing.assert_allclose(weight[1], 0.5, rtol=1e-6)
