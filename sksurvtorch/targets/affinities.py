"""Affinities: whether a voxel and a neighbour belong to the same object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sksurvtorch._validation import check_number, check_option
from sksurvtorch.targets._arrays import (
    Labels,
    Mask,
    check_labels,
    check_map,
    check_offsets,
    from_extra,
    in_order,
    pair,
)

METHODS = ("mutex", "components")


def affinities(
    labels: ArrayLike, offsets: Sequence[Sequence[int]], *, mask: ArrayLike | None = None
) -> tuple[NDArray[np.float32], Mask]:
    """Affinities of a label volume, and where they are known.

    Parameters
    ----------
    labels : int array of shape (...)
        Objects; 0 is the background, which has no affinity to anything.
    offsets : sequence of n_offsets int vectors
        From a voxel to its neighbour, one number for each axis.
    mask : bool array of the shape of `labels`, optional
        True where the labels are known.

    Returns
    -------
    affinity : float32 array of shape (n_offsets, ...)
        1 where a voxel and its neighbour have the same label, other than 0, else 0.
    valid : bool array of shape (n_offsets, ...)
        True where the neighbour is in the volume and both labels are known: the weight of a loss.
        Elsewhere `affinity` is 0.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    References
    ----------
    .. [1] S. C. Turaga et al., "Convolutional networks can learn to generate affinity graphs for
       image segmentation", Neural Computation 22, 2010, doi:10.1162/neco.2009.10-08-881.

    Examples
    --------
    >>> from sksurvtorch.targets import affinities
    >>> affinity, valid = affinities([0, 1, 1, 2, 2], [(1,)])
    >>> affinity
    array([[0., 1., 0., 1., 0.]], dtype=float32)
    >>> valid
    array([[ True,  True,  True,  True, False]])
    """
    labels, known = check_labels(labels, mask)
    offsets = check_offsets(offsets, labels.ndim)
    affinity = np.zeros((len(offsets), *labels.shape), dtype=np.float32)
    valid = np.zeros(affinity.shape, dtype=bool)
    for k, offset in enumerate(offsets):
        here, there = pair(labels.shape, offset)
        valid[k][here] = True if known is None else known[here] & known[there]
        same = (labels[here] == labels[there]) & (labels[here] != 0)
        affinity[k][here] = same & valid[k][here]
    return affinity, valid


def affinities_to_labels(
    affinity: ArrayLike,
    offsets: Sequence[Sequence[int]],
    *,
    threshold: float = 0.5,
    method: str = "mutex",
) -> NDArray[np.int64]:
    """Cut a volume into objects by its affinities.

    Parameters
    ----------
    affinity : floating-point array of shape (n_offsets, ...)
        The higher, the more likely a voxel and its neighbour belong together.
    offsets : sequence of n_offsets int vectors
        From a voxel to its neighbour, one number for each axis.
    threshold : float, default=0.5
        Above it an affinity holds together, below it separates.
    method : {"mutex", "components"}, default="mutex"
        ``"mutex"`` is the mutex watershed: pairs are joined or kept apart in the order of how far
        their affinity is from the threshold. It makes use of long offsets, and one leak does not
        join two objects. Needs mwatershed, which is in the extra ``segmentation``.
        ``"components"`` joins all pairs above the threshold.

    Returns
    -------
    int64 array of shape (...)
        Objects 1, 2, ... in the order of their first voxel. A voxel that is joined with no other
        is background, 0.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.
    ImportError
        If mwatershed is missing.

    Notes
    -----
    O(n log n) time in the number of affinities.

    References
    ----------
    .. [1] S. Wolf et al., "The mutex watershed: efficient, parameter-free image partitioning",
       ECCV 2018, doi:10.1007/978-3-030-01225-0_34.

    Examples
    --------
    >>> from sksurvtorch.targets import affinities_to_labels
    >>> affinities_to_labels([[0.1, 0.9, 0.2, 0.8, 0.0]], [(1,)], method="components")
    array([0, 1, 1, 2, 2])
    """
    check_option("method", method, METHODS)
    check_number("threshold", threshold, float, float("-inf"))
    affinity = check_map("affinity", affinity)
    if affinity.ndim < 2 or affinity.size == 0:
        raise ValueError(f"`affinity` must have shape (n_offsets, ...), got {affinity.shape}.")
    steps = check_offsets(offsets, affinity.ndim - 1)
    if len(steps) != len(affinity):
        raise ValueError(
            f"`offsets` must be as many as the channels of `affinity`, {len(affinity)}, "
            f"got {len(steps)}."
        )
    if method == "components":
        return in_order(_components(affinity > threshold, steps))
    return in_order(_mutex_watershed(affinity.astype(np.float64) - threshold, steps))


def _mutex_watershed(attraction: NDArray[np.float64], offsets: list[tuple[int, ...]]) -> Labels:
    """Return the label of each voxel's object, 0 where a voxel is alone."""
    mwatershed = from_extra("mwatershed", 'method="mutex"')
    shape = attraction.shape[1:]
    # mwatershed panics at a step that is longer than the volume.
    fits = [
        k for k, o in enumerate(offsets) if all(abs(s) < n for s, n in zip(o, shape, strict=True))
    ]
    if not fits:
        return np.zeros(shape, dtype=np.int64)
    labels = mwatershed.agglom(attraction[fits], [offsets[k] for k in fits])
    # It gives a label to a voxel that is attracted, even if it may not join.
    _, where, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.where(counts[where].reshape(shape) > 1, labels, 0)


def _components(joined: Mask, offsets: list[tuple[int, ...]]) -> Labels:
    """Return the number of each voxel's component, 0 where a voxel is alone."""
    shape = joined.shape[1:]
    voxel = np.arange(np.prod(shape)).reshape(shape)
    edges = []
    for of_offset, offset in zip(joined, offsets, strict=True):
        here, there = pair(shape, offset)
        is_edge = of_offset[here]
        edges.append((voxel[here][is_edge], voxel[there][is_edge]))
    one, other = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(voxel.size,) * 2)
    component = connected_components(graph, directed=False)[1].astype(np.int64) + 1
    in_company = np.zeros(voxel.size, dtype=bool)
    in_company[one] = in_company[other] = True
    return np.where(in_company, component, 0).reshape(shape)
