"""
Survival from images in small batches
=====================================

Does momentum help a convolutional network that is trained in batches of a few images? In a batch of
four, an event is compared with at most three others. With ``momentum=True`` the risk sets also
contain the last ten batches, and a running average of the network predicts.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor

torch.set_num_threads(1)
plt.switch_backend("Agg")  # a picture needs no screen

# %%
# The data
# --------
# The images are real: 1797 digits written by hand, of 8 × 8 pixels. **The times are simulated**:
# the log hazard rises by 0.35 from each digit to the next, so a 9 has its event about 23 times as
# early as a 0. Censoring does not depend on the digit. The network sees pixels, never the digit.

images, digit = load_digits(return_X_y=True)
X = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)  # samples, channels, rows, columns


def simulate(seed):
    """Draw times for all images."""
    rng = np.random.default_rng(seed)
    time = rng.exponential(np.exp(-0.35 * (digit - 4.5)))
    censoring = rng.exponential(2.0, len(digit))
    return Surv.from_arrays(time <= censoring, np.minimum(time, censoring))


y = simulate(0)
print(f"{len(X)} images, {y['event'].mean():.0%} with an event in the first simulation")

# %%
# The network
# -----------
# Any module with one output can be a Cox model. Its last layer has no bias, as a constant added to
# the log hazard ratio changes nothing.


class ConvNet(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self, n_channels=8):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, n_channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(n_channels, 2 * n_channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * n_channels, 1, bias=False),
        )

    def forward(self, X):
        """Return log hazard ratios of shape (n_samples, 1)."""
        return self.layers(X)


# %%
# With and without momentum
# -------------------------
# Both get the same images, initial weights and number of optimizer steps, 540. So one pass over the
# data in batches of 2 has as many steps as two passes in batches of 4, or eight in batches of 16.
# Each seed draws new times, a new split and new weights. The concordance of the digit itself is
# that of the true hazard ratio, which no network should be expected to exceed.

seeds = range(5)
n_epochs = {2: 1, 4: 2, 16: 8}
concordance = {(size, momentum): [] for size in n_epochs for momentum in (False, True)}
limit = []
for seed in seeds:
    y = simulate(seed)
    X_train, X_test, y_train, y_test, _, digit_test = train_test_split(
        X, y, digit, test_size=0.4, stratify=y["event"], random_state=seed
    )
    limit.append(concordance_index_censored(y_test["event"], y_test["time"], digit_test)[0])
    for size, momentum in concordance:
        model = CoxNNRegressor(
            module=ConvNet,
            lr=0.003,
            batch_size=size,
            max_epochs=n_epochs[size],
            momentum=momentum,
            random_state=seed,
        ).fit(X_train, y_train)
        concordance[size, momentum].append(model.score(X_test, y_test))

print(f"\n{'concordance on held-out images':36}{'difference':>20}")
print(f"{'batch size':12}{'without':>12}{'momentum':>12}{'± standard error':>20}")
for size in n_epochs:
    without, with_momentum = (np.array(concordance[size, momentum]) for momentum in (False, True))
    difference = with_momentum - without
    error = difference.std(ddof=1) / len(difference) ** 0.5
    print(
        f"{size:<12}{without.mean():12.3f}{with_momentum.mean():12.3f}"
        f"{difference.mean():+11.4f} ± {error:.4f}"
    )
print(f"the digit itself: {np.mean(limit):.3f}")

# %%
# In batches of 2 and of 4 momentum is better by about 0.01. This is between two and three standard
# errors; with five pairs, significance at the 5 % level needs 2.8. The longer runs of
# ``benchmarks/momentum.py`` found 0.006 ± 0.002 at batches of 4. In batches of 16 there is no
# difference beyond chance: risk sets of 16 are nearly as good as large ones.
#
# A larger batch has more effect than momentum: from 4 images to 16 the concordance rises by 0.03
# without momentum, although the network also sees four times as many images in the same number of
# steps. Momentum is for images so large that memory does not allow such a batch.

# %%
# What the network has learned
# ----------------------------
# The last model was trained in batches of 16 with momentum. Above are held-out images from the
# lowest to the highest predicted risk, row by row. Below on the right are the predictions for each
# digit, and the line from which the times were drawn. The level of a log hazard ratio has no
# meaning, so both have mean 0. The predictions rise with the digit, less steeply than the truth at
# the upper end.

log_hazard_ratio = model.predict(X_test)
log_hazard_ratio -= log_hazard_ratio.mean()
ascending = np.argsort(log_hazard_ratio)
shown = ascending[np.linspace(0, len(ascending) - 1, 24).round().astype(int)]

figure = plt.figure(figsize=(11, 6), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=[1, 2.4])
above.suptitle("Held-out images by predicted log hazard ratio, row by row")
for axis, row in zip(above.subplots(2, 12).flat, shown, strict=True):
    axis.imshow(X_test[row, 0], cmap="gray_r", vmin=0, vmax=1)
    axis.set_title(f"{log_hazard_ratio[row]:+.1f}", fontsize=9)
    axis.set_axis_off()
left, right = below.subplots(1, 2)
for place, size in enumerate(n_epochs):
    for seed in seeds:
        pair = [concordance[size, momentum][seed] for momentum in (False, True)]
        left.plot([place - 0.15, place + 0.15], pair, color="0.7", lw=1, zorder=1)
    for momentum, color in ((False, "tab:orange"), (True, "tab:blue")):
        values = concordance[size, momentum]
        x = place + (0.15 if momentum else -0.15)
        label = ("with" if momentum else "without") + " momentum" if place == 0 else None
        left.scatter(np.full(len(values), x), values, color=color, s=28, label=label)
left.axhline(np.mean(limit), color="k", ls=":", lw=1)
left.text(-0.4, np.mean(limit) + 0.002, "the digit itself", va="bottom")
left.set_xticks(range(len(n_epochs)), n_epochs)
left.set(xlabel="Batch size", ylabel="Concordance on held-out images", xlim=(-0.45, 2.45))
left.set_title("540 steps; a line joins the same data and weights", fontsize=11)
left.legend(loc="lower right", frameon=False)
groups = [log_hazard_ratio[digit_test == k] for k in range(10)]
drawn = right.boxplot(groups, positions=range(10), widths=0.6, showfliers=False)
plt.setp(drawn["medians"], color="tab:blue")
right.plot(range(10), 0.35 * (np.arange(10) - digit_test.mean()), "k--", lw=1.2, label="simulated")
right.set(xlabel="Digit, which the network does not see", ylabel="Log hazard ratio")
right.set_title("Predictions: median, quartiles and range without outliers", fontsize=11)
right.legend(loc="upper left", frameon=False)
for axis in (left, right):
    axis.spines[["top", "right"]].set_visible(False)
figure.savefig("plot_images_momentum.png", dpi=150)
print("\nImages in order of risk and concordances: plot_images_momentum.png")
