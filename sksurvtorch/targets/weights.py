"""Weights that balance classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sksurvtorch._validation import for_numpy


def balance_weights(
    target: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    channel_axis: int = 0,
    clip: tuple[float, float] = (0.05, 0.95),
) -> NDArray[np.float32]:
    r"""Weights with which the zeros and ones of each channel count the same.

    With f the share of ones among the elements of a channel that count, a one has the weight
    :math:`1 / (2 f)` and a zero :math:`1 / (2 (1 - f))`.

    Parameters
    ----------
    target : array of zeros and ones
        Affinities or classes, of any number of axes.
    mask : bool array that broadcasts to the shape of `target`, optional
        True for the elements that count, such as ``valid`` from `affinities`.
    channel_axis : int, default=0
        Axis of the channels; all other axes, samples too, are counted together.
    clip : (float, float), default=(0.05, 0.95)
        Least and largest share in the formula, so that a rare class has no huge weight.

    Returns
    -------
    float32 array of the shape of `target`
        The mean over the elements that count is 1 if no share was clipped; 0 outside `mask`.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    Examples
    --------
    >>> from sksurvtorch.targets import balance_weights
    >>> balance_weights([[0, 0, 0, 1]])  # three quarters, one quarter
    array([[0.6666667, 0.6666667, 0.6666667, 2.       ]], dtype=float32)
    """
    target = np.asarray(for_numpy("target", target))
    if target.ndim == 0 or not -target.ndim <= channel_axis < target.ndim:
        raise ValueError(
            f"`channel_axis` must be an axis of `target`, got {channel_axis} and the shape "
            f"{target.shape}."
        )
    low, high = clip
    if not 0 < low <= high:
        raise ValueError(f"`clip` must be two shares, 0 < least <= largest, got {clip!r}.")
    counted = np.ones((), dtype=bool) if mask is None else np.asarray(for_numpy("mask", mask))
    if counted.dtype != bool:
        raise TypeError(f"`mask` must be bool, True for what counts, got {counted.dtype}.")
    try:
        counted = np.broadcast_to(counted, target.shape)
    except ValueError as error:
        raise ValueError(
            f"`mask` must broadcast to the shape of `target`, {target.shape}, got {counted.shape}."
        ) from error
    bad = counted & (target != 0) & (target != 1)
    if bad.any():
        raise ValueError(
            f"`target` must be 0 or 1 where it counts, got {target[bad][0]} "
            f"({bad.sum()} of {target.size} elements)."
        )
    axes = tuple(np.delete(np.arange(target.ndim), channel_axis))
    n_counted = counted.sum(axis=axes, keepdims=True)
    n_ones = (counted & (target == 1)).sum(axis=axes, keepdims=True)
    share = n_ones / np.maximum(n_counted, 1)  # without elements no weight is used
    of_ones, of_zeros = (0.5 / np.clip(f, low, high) for f in (share, 1 - share))
    weight = np.where(counted, np.where(target == 1, of_ones, of_zeros), 0)
    return weight.astype(np.float32)
