"""Signed distances to the boundaries of objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from sksurvtorch._validation import check_number, for_numpy
from sksurvtorch.targets._arrays import (
    Labels,
    Mask,
    check_labels,
    check_lengths,
    check_map,
    from_extra,
    in_order,
    pair,
)


def signed_distance(
    labels: ArrayLike,
    *,
    scale: float | None,
    sampling: float | Sequence[float] = 1.0,
    mask: ArrayLike | None = None,
) -> tuple[NDArray[np.float32], Mask]:
    r"""Signed distance to the nearest boundary, and where it is known.

    A boundary point is half way between two voxels that share a face and have different labels, so
    objects that touch have a boundary too. The faces of the volume are none.

    Parameters
    ----------
    labels : int array of shape (...)
        Objects; 0 is the background.
    scale : float or None
        The distance d becomes :math:`\tanh(d / scale)`; None leaves it as it is.
    sampling : float or one for each axis, default=1.0
        Size of a voxel, in the unit of the distance.
    mask : bool array of the shape of `labels`, optional
        True where the labels are known.

    Returns
    -------
    distance : float32 array of shape (...)
        Positive in objects, negative in the background. Without any boundary d is infinite.
    valid : bool array of shape (...)
        True where the label is known and no boundary that the mask may hide can be nearer: the
        weight of a loss. Elsewhere `distance` is 0.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    Notes
    -----
    Euclidean distance transform on a grid of twice the resolution, O(n) time: memory of some
    :math:`2^d` times 20 bytes a voxel in d dimensions.

    Examples
    --------
    >>> from sksurvtorch.targets import signed_distance
    >>> signed_distance([0, 0, 1, 1, 2], scale=None)[0]
    array([-1.5, -0.5,  0.5,  0.5,  0.5], dtype=float32)
    """
    labels, known = check_labels(labels, mask)
    if scale is not None:
        check_number("scale", scale, float, 0, closed=False)
    lengths = check_lengths("sampling", sampling, labels.ndim)
    boundary, hidden = _boundary_points(labels, known)
    distance = _to_nearest(boundary, lengths)
    valid = np.ones(labels.shape, dtype=bool)
    if known is not None:
        valid = known & (distance <= _to_nearest(hidden, lengths))
    distance = np.where(labels != 0, distance, -distance)
    if scale is not None:
        distance = np.tanh(distance / scale)
    return np.where(valid, distance, 0).astype(np.float32), valid


def hot_distance(
    labels: ArrayLike,
    *,
    scale: float | None,
    sampling: float | Sequence[float] = 1.0,
    mask: ArrayLike | None = None,
    classes: Sequence[int] | None = None,
) -> tuple[NDArray[np.float32], Mask]:
    """Classes and signed distances to their boundaries, for `HotDistanceLoss`.

    Parameters
    ----------
    labels : int array of shape (...)
        Objects or classes; 0 is the background.
    scale, sampling, mask : optional
        As in `signed_distance`.
    classes : sequence of n_classes labels, optional
        One class for each label, whose boundary is that of the class. Without them there is one
        class, all that is not background, and the boundaries are those of the objects.

    Returns
    -------
    target : float32 array of shape (2 * n_classes, ...)
        1 in the class and 0 outside for each class, then their signed distances.
    valid : bool array of shape (2 * n_classes, ...)
        True where they are known: the weight of a loss. Elsewhere `target` is 0.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    Examples
    --------
    >>> from sksurvtorch.targets import hot_distance
    >>> hot_distance([0, 0, 1, 1, 2], scale=None)[0]
    array([[ 0. ,  0. ,  1. ,  1. ,  1. ],
           [-1.5, -0.5,  0.5,  0.5,  0.5]], dtype=float32)
    """
    labels, known = check_labels(labels, mask)
    volumes = [labels] if classes is None else [labels == value for value in classes]
    if not volumes:
        raise ValueError("`classes` must name at least one label, got none.")
    hot = np.stack([volume != 0 for volume in volumes])
    hot_valid = np.ones(hot.shape, dtype=bool)
    if known is not None:
        hot_valid &= known
    pairs = [signed_distance(v, scale=scale, sampling=sampling, mask=mask) for v in volumes]
    distance, distance_valid = map(np.stack, zip(*pairs, strict=True))
    target = np.concatenate([(hot & hot_valid).astype(np.float32), distance])
    return target, np.concatenate([hot_valid, distance_valid])


def distances_to_labels(
    distance: ArrayLike,
    hot: ArrayLike | None = None,
    *,
    hot_threshold: float = 0.5,
    seed_threshold: float = 0.5,
) -> NDArray[np.int64]:
    """Cut a volume into objects by signed distances to their boundaries.

    Each part of the foreground where the distance is large is the seed of an object, which grows by
    watershed.

    Parameters
    ----------
    distance : floating-point array of shape (...)
        Signed distances, as predicted; the higher, the deeper in an object.
    hot : floating-point or bool array of the same shape, optional
        Probabilities of the foreground. Without them it is where the distance is positive.
    hot_threshold : float, default=0.5
        Above it a probability makes foreground.
    seed_threshold : float, default=0.5
        Above it a distance makes a seed, in the units of `distance`.

    Returns
    -------
    int64 array of shape (...)
        Objects 1, 2, ... in the order of their first voxel, 0 in the background. A connected part
        of the foreground without a seed is one object.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.
    ImportError
        If scikit-image is missing, which is in the extra ``segmentation``.

    Examples
    --------
    >>> import numpy as np
    >>> from sksurvtorch.targets import distances_to_labels
    >>> distances_to_labels(np.array([-0.5, 0.4, 0.9, 0.4, 0.1, 0.8, 0.3]))
    array([0, 1, 1, 1, 2, 2, 2])
    """
    segmentation = from_extra("skimage.segmentation", "`distances_to_labels`")
    distance = check_map("distance", distance)
    check_number("hot_threshold", hot_threshold, float, float("-inf"))
    check_number("seed_threshold", seed_threshold, float, float("-inf"))
    if hot is None:
        foreground = distance > 0
    else:
        hot = np.asarray(for_numpy("hot", hot))
        hot = check_map("hot", hot.astype(np.float32) if hot.dtype == bool else hot)
        if hot.shape != distance.shape:
            raise ValueError(
                f"`hot` must have the shape of `distance`, {distance.shape}, got {hot.shape}."
            )
        foreground = hot > hot_threshold
    seeds, n_seeds = ndimage.label(foreground & (distance > seed_threshold))
    parts, _ = ndimage.label(foreground)
    without = ~np.isin(parts, parts[seeds > 0]) & foreground
    seeds = np.where(without, n_seeds + parts, seeds)
    return in_order(segmentation.watershed(-distance, seeds, mask=foreground))


def _boundary_points(labels: Labels, known: Mask | None) -> tuple[Mask, Mask]:
    """Mark, on a grid of twice the resolution, the boundaries, and where a mask may hide them."""
    boundary = np.zeros([2 * n - 1 for n in labels.shape], dtype=bool)
    hidden = np.zeros_like(boundary)
    for axis in range(labels.ndim):
        here, there = pair(labels.shape, np.eye(labels.ndim, dtype=int)[axis].tolist())
        between = tuple(slice(int(k == axis), None, 2) for k in range(labels.ndim))
        differ = labels[here] != labels[there]
        if known is not None:
            both = known[here] & known[there]
            differ &= both
            hidden[between] = ~both
        boundary[between] = differ
    return boundary, hidden


def _to_nearest(points: Mask, lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from each voxel to the nearest point of the finer grid."""
    voxels = (slice(None, None, 2),) * points.ndim
    if not points.any():
        return np.full(points[voxels].shape, np.inf)
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~points, sampling=lengths / 2)
    return distance[voxels]
