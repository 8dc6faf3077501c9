"""
Affinities from images annotated in part
========================================

Segment images of touching cells into one object for each cell, with a small network that predicts
affinities: whether two pixels belong to the same cell. Only 40 % of the pixels are annotated, so
weights tell the loss which ones to use. A second network shows what happens if they are ignored.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
from _cells import UNet, paint, score, simulate_cells, threshold_cells
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping
from skorch.helper import SliceDict

from sksurvtorch.exceptions import IgnoredWeightWarning
from sksurvtorch.losses import AffinitiesLoss
from sksurvtorch.targets import affinities, affinities_to_labels

torch.set_num_threads(1)
plt.switch_backend("Agg")  # a picture needs no screen

# %%
# The data
# --------
# Somebody has annotated 10 of the 25 tiles of each image, and nothing is known about the others.

images, labels = simulate_cells(24, size=120, random_state=0)
test_images, test_labels = simulate_cells(4, size=160, random_state=1)

rng = np.random.default_rng(0)
tiles = rng.permuted(np.tile(np.arange(25) < 10, (len(images), 1)), axis=1).reshape(-1, 5, 5)
annotated = tiles.repeat(24, axis=1).repeat(24, axis=2)
print(f"{len(images)} images to learn from, {annotated.mean():.0%} of the pixels annotated")
print(f"{len(test_images)} images held out, with {test_labels.max(axis=(1, 2)).sum()} cells")

# %%
# The target
# ----------
# Affinities to the next pixel, below and on the right, follow the membranes. Those to pixels
# further away keep two cells apart where a membrane is faint. An affinity is valid if both its
# pixels are annotated, and this is its weight.

offsets = [(1, 0), (0, 1), (8, 0), (0, 8), (8, 8), (8, -8)]
affinity, valid = zip(
    *[affinities(cells, offsets, mask=mask) for cells, mask in zip(labels, annotated, strict=True)],
    strict=True,
)
y = SliceDict(target=np.stack(affinity), weight=np.stack(valid).astype(np.float32))

# %%
# Two networks
# ------------
# The loss is a criterion of skorch as it is. ``weighting="linear"``, the default, multiplies the
# error of an affinity by its weight. ``weighting="dacapo"`` computes what DaCapo does: as there are
# no shape descriptors in further channels, it leaves the weights out, and each pair of pixels that
# nobody has looked at counts as "not the same cell".

segmented = {"threshold": [threshold_cells(image[0]) for image in test_images]}
predicted = {}
for weighting in ("linear", "dacapo"):
    torch.manual_seed(0)
    net = NeuralNet(
        UNet,
        module__n_channels_out=len(offsets),
        criterion=AffinitiesLoss,
        criterion__num_affinities=len(offsets),
        criterion__lsds_to_affs_weight_ratio=0.0,
        criterion__weighting=weighting,
        predict_nonlinearity=AffinitiesLoss.activate,
        optimizer=torch.optim.Adam,
        lr=0.005,
        batch_size=1,
        iterator_train__shuffle=True,
        max_epochs=18,
        callbacks=[("best", EarlyStopping(patience=10, load_best=True))],
        verbose=0,
    )
    with warnings.catch_warnings():
        # The package warns of weights that it leaves out. Here that is the point.
        warnings.simplefilter("ignore", IgnoredWeightWarning)
        net.fit(images, y)
    predicted[weighting] = net.predict(test_images)
    segmented[weighting] = [affinities_to_labels(each, offsets) for each in predicted[weighting]]

# %%
# Held-out images
# ---------------
# Both scores are 0 for a perfect segmentation. The mutex watershed joins a pair of pixels if its
# affinity is above a half. The second network was trained with "not the same cell" for six pairs in
# ten, so it predicts 0.4 times the affinity, and hardly any pixels are joined. Lowering the
# threshold to 0.4 times a half corrects only a part of this.

lower = [affinities_to_labels(each, offsets, threshold=0.2) for each in predicted["dacapo"]]
segmented["dacapo, cut at 0.2"] = lower
print(f"\n{'held out':20}{'adapted Rand error':>20}{'variation of information':>26}")
for name, found in segmented.items():
    error, variation = score(test_labels, found)
    print(f"{name:20}{error:20.3f}{variation:26.2f}")

inside = affinities(test_labels[0], offsets[:2])[0] == 1
print("\nmean affinity of two neighbours in a cell, first image")
for name, maps in predicted.items():
    print(f"{name:20}{maps[0, :2][inside].mean():20.2f}")

# %%
# The first held-out image, and on the left a training image with the annotated cells. Cells of a
# segmentation have the color of the matching cell in the truth.


def title(name):
    """Name a segmentation and its error on the image shown."""
    return f"{name}: error {score(test_labels[:1], segmented[name][:1])[0]:.2f}"


gray = np.clip(images[0, 0], 0, 1)[..., None].repeat(3, axis=2)
seen = np.where(annotated[0, ..., None], 0.35 * gray + 0.65 * paint(labels[0]), 0.8 * gray)
panels = {
    "to learn from: 40 % annotated": seen,
    "held out: input": test_images[0, 0],
    "truth": paint(test_labels[0]),
    title("threshold"): paint(segmented["threshold"][0], like=test_labels[0]),
    "linear: affinity": predicted["linear"][0, :2].mean(axis=0),
    title("linear"): paint(segmented["linear"][0], like=test_labels[0]),
    "dacapo: affinity": predicted["dacapo"][0, :2].mean(axis=0),
    title("dacapo"): paint(segmented["dacapo"][0], like=test_labels[0]),
}
figure, axes = plt.subplots(2, 4, figsize=(12, 7), layout="constrained")
figure.get_layout_engine().set(h_pad=0.08)
for axis, (name, panel) in zip(axes.flat, panels.items(), strict=True):
    drawn = axis.imshow(panel, cmap="magma" if "affinity" in name else "gray", vmin=0, vmax=1)
    axis.set_title(name)
    axis.set_axis_off()
    if "affinity" in name:
        affinity_map = drawn
axes[0, 0].contour(annotated[0], levels=[0.5], colors="white", linewidths=1.2)
bar = figure.colorbar(affinity_map, ax=axes[1], location="bottom", shrink=0.45, aspect=40)
bar.set_label("affinity, mean over the pixels below and on the right")
figure.savefig("plot_segmentation_affinities.png", dpi=150)
print("\nInput, truth, prediction and segmentation: plot_segmentation_affinities.png")
