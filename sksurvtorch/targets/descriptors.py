"""Local shape descriptors: what an object looks like around a voxel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from sksurvtorch.targets._arrays import Mask, check_labels, check_lengths

TRUNCATE = 3.0  # the window ends at as many standard deviations


def local_shape_descriptors(
    labels: ArrayLike, sigma: float | Sequence[float], *, sampling: float | Sequence[float] = 1.0
) -> NDArray[np.float32]:
    r"""Size, mean offset and covariance of an object in a Gaussian window around each voxel.

    With the weights of the window over the voxels of the same label, m their sum, :math:`\mu_a`
    the mean offset along axis a and :math:`c_{ab}` the covariance of the offsets, the channels are

    * :math:`\mu_a / (2 \sigma_a) + 1/2` for each of the d axes;
    * :math:`c_{aa} / \sigma_a^2` for each axis;
    * :math:`c_{ab} / (2 \sqrt{c_{aa} c_{bb}}) + 1/2` for each pair of axes, in the order (0, 1),
      (0, 2), (1, 2);
    * m.

    Parameters
    ----------
    labels : int array of shape (...)
        Objects; 0 is the background.
    sigma : float or one for each axis
        Standard deviation of the window, in the unit of `sampling`; it ends at three of them.
    sampling : float or one for each axis, default=1.0
        Size of a voxel.

    Returns
    -------
    float32 array of shape (2 * d + d * (d - 1) / 2 + 1, ...)
        6 channels in two dimensions, 10 in three. Within [0, 1], to which what lies outside is
        clipped by definition; 0 in the background. A correlation is 1/2 where a variance is 0.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    Notes
    -----
    Each object is filtered in its bounding box: time in proportion to the sum of their sizes.

    References
    ----------
    .. [1] A. Sheridan et al., "Local shape descriptors for neuron segmentation", Nature Methods 20,
       2023, doi:10.1038/s41592-022-01711-z.

    Examples
    --------
    A voxel at the left end of a line sees the line to its right, so its mean offset is above 1/2:

    >>> from sksurvtorch.targets import local_shape_descriptors
    >>> offset, variance, size = local_shape_descriptors([0, 1, 1, 1, 0], sigma=1.0)
    >>> offset.round(2)
    array([0.  , 0.75, 0.5 , 0.25, 0.  ], dtype=float32)
    """
    labels, _ = check_labels(labels, None)
    lengths = check_lengths("sampling", sampling, labels.ndim)
    sigmas = check_lengths("sigma", sigma, labels.ndim)
    n_axes = labels.ndim
    n_channels = 2 * n_axes + n_axes * (n_axes - 1) // 2 + 1
    descriptors = np.zeros((n_channels, *labels.shape), dtype=np.float32)
    # find_objects makes a list as long as the largest label.
    values, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape) + int(values[0] != 0)
    for number, box in enumerate(ndimage.find_objects(compact), start=1):
        inside = compact[box] == number
        descriptors[:, *box][:, inside] = _of_object(inside, lengths, sigmas)
    return descriptors


def _of_object(
    inside: Mask, lengths: NDArray[np.float64], sigmas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the descriptors, of shape (n_channels, n_voxels), of an object in its box."""

    def windowed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return sums of values over the window around each voxel."""
        sums: NDArray[np.float64] = ndimage.gaussian_filter(
            values * inside, sigmas / lengths, mode="constant", truncate=TRUNCATE
        )
        return sums[inside]

    # Coordinates count from the middle of the box, so that little cancels in the covariance.
    axes = range(inside.ndim)
    ticks = [(np.arange(n) - (n - 1) / 2) * lengths[a] for a, n in enumerate(inside.shape)]
    coordinates = np.meshgrid(*ticks, indexing="ij")
    size = windowed(np.ones(inside.shape))
    mean = [windowed(c) / size for c in coordinates]

    def covariance(a: int, b: int) -> NDArray[np.float64]:
        """Return the covariance of two coordinates within the window."""
        square: NDArray[np.float64] = windowed(coordinates[a] * coordinates[b]) / size
        return square - mean[a] * mean[b]

    variance = np.stack([covariance(a, a) for a in axes])
    spread = variance > 1e-9 * sigmas[:, None] ** 2  # the rest is rounding
    channels = [(mean[a] - coordinates[a][inside]) / (2 * sigmas[a]) + 0.5 for a in axes]
    channels += [variance[a] / sigmas[a] ** 2 for a in axes]
    for a, b in combinations(axes, 2):
        scale = np.sqrt(np.where(spread[a] & spread[b], variance[a] * variance[b], np.inf))
        channels.append(covariance(a, b) / scale / 2 + 0.5)
    return np.stack([*channels, size]).clip(0, 1)
