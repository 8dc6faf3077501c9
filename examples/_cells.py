"""What the examples of segmentation share: simulated cells, a network, scores and colors."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.metrics import adapted_rand_error, contingency_table, variation_of_information
from skimage.segmentation import expand_labels, find_boundaries
from torch import Tensor, nn

SPACING = 26  # between the centers of cells, in pixels


def simulate_cells(
    n_images: int, size: int, random_state: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Simulate images of cells that touch, with dark membranes of uneven contrast.

    Cells are the Voronoi regions of jittered points, warped by a smooth field; one region in five
    is empty.

    Parameters
    ----------
    n_images : int
        Number of images.
    size : int
        Height and width in pixels.
    random_state : int
        Seed.

    Returns
    -------
    images : float32 array of shape (n_images, 1, size, size)
        Brightness, about 0 to 1.
    labels : int array of shape (n_images, size, size)
        Cells 1, 2, ...; 0 is the background.
    """
    rng = np.random.default_rng(random_state)
    images, labels = zip(*(_simulate(size, rng) for _ in range(n_images)), strict=True)
    return np.stack(images)[:, None].astype(np.float32), np.stack(labels)


def _simulate(size: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Return one image and its labels."""

    def smooth(sigma: float) -> NDArray:
        """Return smooth noise with standard deviation 1."""
        noise = gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap")
        return noise / noise.std()

    side = np.arange(-SPACING, size + SPACING, SPACING)
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    points = points + SPACING * rng.uniform(-0.45, 0.45, points.shape)
    is_cell = rng.random(len(points)) > 0.2
    where = np.indices((size, size)) + 2.5 * np.stack([smooth(6), smooth(6)])
    distance, nearest = KDTree(points).query(where.transpose(1, 2, 0), k=2)
    region, inside = nearest[..., 0], is_cell[nearest[..., 0]]
    labels = np.unique(np.where(inside, region + 1, 0), return_inverse=True)[1]

    # Half the difference of the two distances is about the distance to the border.
    membrane = np.exp(-0.5 * (np.diff(distance)[..., 0] / 2 / 0.9) ** 2)
    membrane *= is_cell[nearest].any(-1) * np.clip(0.75 + 0.35 * smooth(3), 0.6, 1)
    brightness = np.where(is_cell, rng.uniform(0.65, 0.85, len(points)), 0.42)[region]
    image = gaussian_filter(brightness - 0.55 * membrane + 0.07 * inside * smooth(1.5), 0.7)
    # Uneven light and the noise of the camera.
    return image + 0.08 * smooth(25) + 0.06 * rng.standard_normal(image.shape), labels


def threshold_cells(image: NDArray) -> NDArray[np.int64]:
    """Segment an image without learning: smooth, cut at Otsu's threshold, take what hangs together.

    Parameters
    ----------
    image : array of shape (height, width)
        Brightness.

    Returns
    -------
    int array of shape (height, width)
        Cells 1, 2, ..., grown back over their membranes; 0 is the background.
    """
    smooth = gaussian_filter(image, 1)
    return expand_labels(label(smooth > threshold_otsu(smooth), connectivity=1), 3)


class UNet(nn.Module):
    """U-Net with two levels below the first, for images with sides that 4 divides.

    Parameters
    ----------
    n_channels_out : int
        Number of channels of the output; the input has one.
    width : int, default=8
        Number of channels of the first level, doubled on each below.
    """

    def __init__(self, n_channels_out: int, width: int = 8) -> None:
        super().__init__()
        self.down = nn.ModuleList([_convolutions(1, width), _convolutions(width, 2 * width)])
        self.bottom = _convolutions(2 * width, 4 * width)
        self.up = nn.ModuleList(
            [_convolutions(6 * width, 2 * width), _convolutions(3 * width, width)]
        )
        self.out = nn.Conv2d(width, n_channels_out, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the output, a channel for each map.

        Parameters
        ----------
        image : tensor of shape (n_images, 1, height, width)
            Brightness.

        Returns
        -------
        tensor of shape (n_images, n_channels_out, height, width)
            Not activated.
        """
        # On a CPU convolutions of few channels take 2/3 of the time with channels last.
        x = image.contiguous(memory_format=torch.channels_last)
        skipped = []
        for convolutions in self.down:
            skipped.append(convolutions(x))
            x = nn.functional.max_pool2d(skipped[-1], 2)
        x = self.bottom(x)
        for convolutions in self.up:
            x = nn.functional.interpolate(x, scale_factor=2)
            x = convolutions(torch.cat([x, skipped.pop()], dim=1))
        return self.out(x)


def _convolutions(n_in: int, n_out: int) -> nn.Sequential:
    """Return two convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for n in (n_in, n_out):
        convolution = nn.Conv2d(n, n_out, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers)


def score(truth: Iterable[NDArray], predicted: Iterable[NDArray]) -> tuple[float, float]:
    """Compare segmentations where the truth has a cell; the lower both scores, the better.

    Parameters
    ----------
    truth, predicted : sequence of int arrays of shape (height, width)
        Labels, image by image.

    Returns
    -------
    error : float
        Adapted Rand error, 0 to 1, mean over the images.
    variation : float
        Variation of information in bits, from splits and merges together, mean over the images.
    """
    scores = []
    for true, found in zip(truth, predicted, strict=True):
        true, found = true[true != 0], found[true != 0]
        variation = variation_of_information(true, found).sum()
        scores.append([adapted_rand_error(true, found)[0], variation])
    error, variation = np.mean(scores, axis=0)
    return float(error), float(variation)


def paint(labels: NDArray, like: NDArray | None = None) -> NDArray:
    """Color the cells, with dark outlines, for ``imshow``.

    Parameters
    ----------
    labels : int array of shape (height, width)
        Cells 1, 2, ...; 0 is the background.
    like : int array of shape (height, width), optional
        Other labels. A cell gets the color of the one of these with which it is matched.

    Returns
    -------
    array of shape (height, width, 3)
        Red, green and blue.
    """
    color = np.arange(labels.max() + 1)
    if like is not None:
        color[1:] += like.max()
        overlap = contingency_table(like, labels).toarray()[1:, 1:]
        one, other = linear_sum_assignment(overlap, maximize=True)
        is_match = overlap[one, other] > 0
        color[1 + other[is_match]] = 1 + one[is_match]
    # Steps of the golden ratio keep the hues of successive numbers apart.
    n = np.arange(color.max() + 1)
    table = hsv_to_rgb(np.stack([n * 0.618 % 1, 0.35 + 0.1 * (n % 4), 0.95 - 0.1 * (n % 3)], -1))
    table[0] = 0.13
    picture = table[color[labels]]
    picture[find_boundaries(labels, mode="inner")] *= 0.55
    return picture
