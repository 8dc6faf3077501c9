"""
Cells and the distance to their borders
=======================================

Segment images of touching cells into one object for each cell, with a small network that predicts
two maps: where there is a cell (hot), and how far it is to the nearest border (distance).
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from _cells import UNet, paint, score, simulate_cells, threshold_cells
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping, GradientNormClipping
from skorch.helper import SliceDict

from sksurvtorch.losses import HotDistanceLoss
from sksurvtorch.nets import LossTerms
from sksurvtorch.targets import balance_weights, distances_to_labels, hot_distance

torch.set_num_threads(1)
plt.switch_backend("Agg")  # a picture needs no screen

# %%
# The data and the target
# -----------------------
# The distance d to the nearest border, in pixels and negative in the background, becomes tanh(d /
# 8), because it need not be exact deep in a cell. Four pixels in five belong to a cell.
# `balance_weights` gives cells and background the same total weight in the first channel.

images, labels = simulate_cells(30, size=120, random_state=0)
test_images, test_labels = simulate_cells(5, size=160, random_state=1)
print(f"{len(images)} images to learn from, with {labels.max(axis=(1, 2)).sum()} cells")
print(f"{len(test_images)} images held out, with {test_labels.max(axis=(1, 2)).sum()} cells")
print(f"{(labels != 0).mean():.0%} of the pixels are in a cell")

target = np.stack([hot_distance(cells, scale=8)[0] for cells in labels])
weight = np.ones_like(target)
weight[:, :1] = balance_weights(target[:, :1], channel_axis=1)

# %%
# The network
# -----------
# The loss is a criterion of skorch as it is, the sum of a cross-entropy (hot) and a squared error
# (distance). `LossTerms` records the two in the history. As in any net of skorch, gradients are
# clipped and the weights of the best epoch kept by callbacks. The best epoch has the least loss on
# the fifth of the images that skorch sets aside.

torch.manual_seed(0)
net = NeuralNet(
    UNet,
    module__n_channels_out=2,
    criterion=HotDistanceLoss,
    predict_nonlinearity=HotDistanceLoss.activate,
    optimizer=torch.optim.Adam,
    lr=0.005,
    batch_size=1,
    iterator_train__shuffle=True,
    max_epochs=22,
    callbacks=[
        ("terms", LossTerms()),
        ("clip", GradientNormClipping(0.5)),
        ("best", EarlyStopping(patience=22, load_best=True)),
    ],
    verbose=0,
)
net.fit(images, SliceDict(target=target, weight=weight))
best = net.history[:, "valid_loss"].index(min(net.history[:, "valid_loss"]))
print("\nloss on images set aside, best epoch")
for name in ("hot", "distance"):
    print(f"{name:10}{net.history[best, f'valid_{name}']:8.3f}")

# %%
# Held-out images
# ---------------
# Both scores are 0 for a perfect segmentation. Cells start as the regions where the distance is
# above 0.5, more than four pixels from any border, and grow downhill until they meet.

predicted = net.predict(test_images)
segmented = {
    "threshold": [threshold_cells(image[0]) for image in test_images],
    "hot and distance": [distances_to_labels(distance, hot) for hot, distance in predicted],
}
print(f"\n{'held out':20}{'adapted Rand error':>20}{'variation of information':>26}")
for name, found in segmented.items():
    error, variation = score(test_labels, found)
    print(f"{name:20}{error:20.3f}{variation:26.2f}")

# %%
# The first held-out image. Cells of a segmentation have the color of the matching cell in the
# truth. Solid lines are the terms of the validation loss, dashed lines those of the training loss.


def title(name):
    """Name a segmentation and its error on the image shown."""
    return f"{name}: error {score(test_labels[:1], segmented[name][:1])[0]:.2f}"


truth = test_labels[0]
hot, distance = predicted[0]
gray, hot_map = ({"cmap": name, "vmin": 0, "vmax": 1} for name in ("gray", "magma"))
distance_map = {"cmap": "RdBu", "vmin": -1, "vmax": 1}
panels = {
    "held out: input": (test_images[0, 0], gray),
    "truth": (paint(truth), {}),
    title("threshold"): (paint(segmented["threshold"][0], like=truth), {}),
    title("hot and distance"): (paint(segmented["hot and distance"][0], like=truth), {}),
    "truth: distance": (hot_distance(truth, scale=8)[0][1], distance_map),
    "predicted: distance": (distance, distance_map),
    "predicted: hot": (hot, hot_map),
}
figure, axes = plt.subplots(2, 4, figsize=(12, 6.7), layout="constrained")
figure.get_layout_engine().set(h_pad=0.08)
curves, *maps = axes[1]
for axis, (name, (panel, style)) in zip([*axes[0], *maps], panels.items(), strict=True):
    drawn = axis.imshow(panel, **style)
    axis.set_title(name)
    axis.set_axis_off()
    if axis in maps:
        label = "probability" if style is hot_map else "tanh(d / 8)"
        bar = axis.inset_axes((0.1, -0.09, 0.8, 0.04))
        figure.colorbar(drawn, cax=bar, orientation="horizontal", label=label)

epochs = np.arange(1, len(net.history) + 1)
for name, color in (("hot", "tab:red"), ("distance", "tab:blue")):
    curves.plot(epochs, net.history[:, f"train_{name}"], color=color, ls="--", lw=1)
    curves.plot(epochs, net.history[:, f"valid_{name}"], color=color, lw=1.8, label=name)
curves.set(title="terms of the loss", xlabel="epoch", yscale="log", box_aspect=1)
curves.spines[["top", "right"]].set_visible(False)
curves.legend(frameon=False)
figure.savefig("plot_segmentation_hot_distance.png", dpi=150)
print("\nInput, truth, prediction and segmentation: plot_segmentation_hot_distance.png")
