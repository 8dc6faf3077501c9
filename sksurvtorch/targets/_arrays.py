"""Checks of arrays, and what the conversions share.

They are not in `_validation`, which the losses import: those need torch alone, and no numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sksurvtorch._validation import for_numpy

Labels = NDArray[Any]
Mask = NDArray[np.bool_]


def check_labels(labels: ArrayLike, mask: ArrayLike | None) -> tuple[Labels, Mask | None]:
    """Return labels, integers of at least 0 where they are known, and the mask of where."""
    array = np.asarray(for_numpy("labels", labels))
    if array.dtype.kind not in "biu":
        raise TypeError(f"`labels` must be integer or bool, got {array.dtype}.")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"`labels` must have at least one axis and one voxel, got shape {array.shape}."
        )
    known = _check_mask(mask, array.shape)
    lowest = array.min() if known is None else array.min(where=known, initial=0)
    if lowest < 0:
        raise ValueError(
            f"`labels` must be at least 0, the background, got {lowest}. Mark voxels that are not "
            "annotated with `mask`."
        )
    return array, known


def _check_mask(mask: ArrayLike | None, shape: tuple[int, ...]) -> Mask | None:
    """Return a mask of the shape of the labels."""
    if mask is None:
        return None
    array = np.asarray(for_numpy("mask", mask))
    if array.dtype != bool:
        raise TypeError(f"`mask` must be bool, True where the labels are known, got {array.dtype}.")
    if array.shape != shape:
        raise ValueError(f"`mask` must have the shape of the labels, {shape}, got {array.shape}.")
    return array


def check_offsets(offsets: Sequence[Sequence[int]], n_axes: int) -> list[tuple[int, ...]]:
    """Return offsets as tuples, none of them zero."""
    array = np.asarray(offsets)
    if array.ndim != 2 or array.shape[1] != n_axes or array.dtype.kind not in "iu":
        raise ValueError(
            f"`offsets` must be integers of shape (n_offsets, {n_axes}), one for each spatial "
            f"axis, got {offsets!r}."
        )
    if not array.any(axis=1).all():
        raise ValueError(
            f"`offsets` must lead to another voxel, got {offsets!r}. Leave out the zero offset."
        )
    return [tuple(offset) for offset in array.tolist()]


def check_lengths(name: str, value: float | Sequence[float], n_axes: int) -> NDArray[np.float64]:
    """Return positive lengths, one for each axis, which may be given as one number."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim > 1 or (array.ndim == 1 and len(array) != n_axes):
        raise ValueError(
            f"`{name}` must be a number or one for each of {n_axes} axes, got {value!r}."
        )
    if not (np.isfinite(array) & (array > 0)).all():
        raise ValueError(f"`{name}` must be positive and finite, got {value!r}.")
    return np.broadcast_to(array, n_axes)


def check_map(name: str, value: ArrayLike) -> NDArray[Any]:
    """Return a map of floating-point numbers, none of them NaN."""
    array = np.asarray(for_numpy(name, value))
    if array.dtype.kind != "f":
        raise TypeError(f"`{name}` must be a floating-point array, got {array.dtype}.")
    n_bad = int(np.isnan(array).sum())
    if n_bad:
        raise ValueError(f"`{name}` must not be NaN, got {n_bad} of {array.size} elements.")
    return array


def pair(shape: tuple[int, ...], offset: Sequence[int]) -> tuple[tuple[slice, ...], ...]:
    """Return where voxels are whose neighbour is in the volume, and where that neighbour is."""
    spans = list(zip(shape, offset, strict=True))
    here = tuple(slice(max(0, -step), max(0, n - max(0, step))) for n, step in spans)
    there = tuple(slice(max(0, step), max(0, n - max(0, -step))) for n, step in spans)
    return here, there


def in_order(labels: Labels) -> NDArray[np.int64]:
    """Number the objects 1, 2, ... in the order of their first voxel; 0 stays 0."""
    values, first, where = np.unique(labels, return_index=True, return_inverse=True)
    objects = np.flatnonzero(values != 0)
    number = np.zeros(len(values), dtype=np.int64)
    number[objects[np.argsort(first[objects])]] = np.arange(1, len(objects) + 1)
    return number[where].reshape(labels.shape)


def from_extra(module: str, what: str) -> Any:
    """Import a module of the extra ``segmentation``."""
    try:
        return import_module(module)
    except ImportError as error:
        package = {"skimage": "scikit-image"}.get(module.partition(".")[0], module)
        raise ImportError(
            f"{what} needs {package}. Install it with: pip install 'sksurvtorch[segmentation]'"
        ) from error
