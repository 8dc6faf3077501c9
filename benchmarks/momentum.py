"""What momentum is worth at small batches: concordance against batch size, with and without.

Run ``python benchmarks/momentum.py`` (half an hour on two cores); it writes ``momentum.md`` beside
itself and the figure in ``docs/images``.
"""

from __future__ import annotations

import argparse
import os
import warnings
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import defaults
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from defaults import simulate, table
from joblib import Parallel, delayed
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sksurv.util import Surv
from torch import Tensor, nn

from sksurvtorch import CoxNNRegressor
from sksurvtorch.exceptions import SkippedBatchWarning
from sksurvtorch.metrics import concordance_index_censored
from sksurvtorch.nets import MLP

HERE = Path(__file__).parent
FIGURE = HERE.parent / "docs" / "images" / "momentum-benchmark.png"
DATA = ["whas500", "gbsg2", "flchain", "interaction", "digits"]
BATCH_SIZES = [4, 8, 16, 32, 64, 256, None]
SCHEDULES = ["cosine", "constant"]


class ConvNet(nn.Module):
    """Two convolutions and a linear layer, for images of 8 × 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 1, bias=False),
        )

    def forward(self, X: Tensor) -> Tensor:
        """Return log hazard ratios."""
        return self.layers(X)


def load(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features and survival target of a data set; the simulated ones differ by seed."""
    if name == "interaction":
        return simulate(name, 3000, seed)[:2]
    if name == "digits":  # the larger the digit that is seen, the earlier the event
        images, digit = load_digits(return_X_y=True)
        rng = np.random.default_rng(seed)
        t = rng.exponential(np.exp(-0.35 * (digit - 4.5)))
        c = rng.exponential(2.0, len(t))
        return images.reshape(-1, 1, 8, 8) / 16, Surv.from_arrays(t <= c, np.minimum(t, c))
    X, y = defaults.load(name)
    event, when = y.dtype.names
    return X.fillna(X.median()).to_numpy(), Surv.from_arrays(y[event], y[when])


def compare(
    name: str, batch_size: int | None, schedule: str, seed: int, n_steps: int
) -> dict[str, float]:
    """Return the concordance on held-out rows: without momentum, and of both of its networks."""
    X, y = load(name, seed)
    X, X_test, y, y_test = train_test_split(X, y, stratify=y["event"], random_state=seed)
    network = {"module": ConvNet}
    if name != "digits":
        network = {"module": MLP, "module__n_features": X.shape[1], "module__bias": False}
        mean, spread = X.mean(axis=0), X.std(axis=0)
        X, X_test = (X - mean) / spread, (X_test - mean) / spread
    n_batches = 1 if batch_size is None else -(-len(X) // batch_size)
    result = {}
    for momentum in (False, True):
        model = CoxNNRegressor(
            **network,
            batch_size=batch_size,
            max_epochs=max(1, round(n_steps / n_batches)),
            lr_schedule=schedule,
            alpha=10.0,
            momentum=momentum,
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SkippedBatchWarning)
            model.fit(X, y)
        result["target" if momentum else "plain"] = model.score(X_test, y_test)
    with torch.no_grad():
        online = model.net_.module_.online.eval()(torch.tensor(X_test, dtype=torch.float32))
    risk_score = online[:, 0].double().numpy()
    result["online"] = concordance_index_censored(y_test["event"], y_test["time"], risk_score)[0]
    # How often the average has seen each row: its length is a ninth of a shorter training.
    covered = min(1 / (1 - model.momentum_rate), n_batches * model.max_epochs / 9)
    result["passes"] = covered * (batch_size or len(X)) / len(X)
    return result


def run(n_steps: int, n_seeds: int, jobs: Parallel) -> pd.DataFrame:
    """Return one row for each data set, batch size, schedule and seed."""
    cases = list(product(DATA, BATCH_SIZES, SCHEDULES, range(n_seeds)))
    results = jobs(delayed(compare)(*case, n_steps) for case in cases)
    keys = pd.DataFrame(cases, columns=["data", "batch_size", "schedule", "seed"])
    return keys.join(pd.DataFrame(results))


def summary(results: pd.DataFrame, schedule: str) -> str:
    """Format means over the seeds, and the difference to no momentum with its standard error."""
    rows = []
    for name, size in product(DATA, BATCH_SIZES):
        of_size = results["batch_size"].isna() if size is None else results["batch_size"] == size
        chosen = results[(results["data"] == name) & of_size & (results["schedule"] == schedule)]
        difference = chosen["target"] - chosen["plain"]
        means = [f"{chosen[column].mean():.4f}" for column in ("plain", "target", "online")]
        noise = difference.std(ddof=1) / len(difference) ** 0.5
        passes = f"{chosen['passes'].mean():.1f}"
        rows.append(
            [name, size or "all", passes, *means, f"{difference.mean():+.4f} ± {noise:.4f}"]
        )
    head = ["data", "batch", "passes", "without", "target", "online", "target − without"]
    return table(rows, head)


def draw(results: pd.DataFrame) -> None:
    """Draw concordance against batch size."""
    figure, axes = plt.subplots(1, len(DATA), figsize=(13, 3.2), layout="constrained")
    places = range(len(BATCH_SIZES))
    for ax, name in zip(axes, DATA, strict=True):
        chosen = results[(results["data"] == name) & (results["schedule"] == "constant")]
        means = chosen.fillna({"batch_size": np.inf}).groupby("batch_size").mean(numeric_only=True)
        ax.plot(places, means["plain"], "o--", color="0.45", label="without momentum")
        ax.plot(places, means["online"], "s:", color="tab:orange", label="online network")
        ax.plot(places, means["target"], "o-", color="tab:blue", label="target network")
        ax.set_xticks(places, [size or "all" for size in BATCH_SIZES])
        ax.set(title=name, xlabel="batch size")
    axes[0].set_ylabel("concordance on held-out rows")
    axes[0].legend(frameon=False, fontsize="small")
    figure.savefig(FIGURE, dpi=110)


def main() -> None:
    """Run everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with Parallel(n_jobs=options.jobs) as jobs:
        results = run(options.steps, options.seeds, jobs)
    draw(results)
    text = TEXT.format(
        steps=options.steps,
        seeds=options.seeds,
        cosine=summary(results, "cosine"),
        constant=summary(results, "constant"),
    )
    page = HERE / "momentum.md"
    page.write_text(text)
    print(text)


TEXT = """# Concordance with and without momentum

Written by `python benchmarks/momentum.py`.

Concordance on held-out rows, a quarter of the data; mean of {seeds} splits (and simulations). A
training takes {steps} optimizer steps whatever the batch size (but sees each row once at least), so
small batches have seen fewer rows. Tables of numbers get the built-in network, but from random
first weights; `digits` are images of 8 × 8 pixels, the hazard grows with the digit that is seen,
and the network has two convolutions; `interaction` is simulated with the log hazard ratio
3 x₁x₂ + x₃. Adam, learning rate 0.001, `alpha=10`.

*Without* is `momentum=False`; *target* and *online* are the two networks of `momentum=True`, of
which the target predicts. *Passes* is the number of passes over the training data that the average
covers at the end.
± is the standard error of the difference, over the same splits and first weights.

## Learning rate that falls along a cosine (the default)

{cosine}
## Constant learning rate

{constant}
![Concordance against batch size](../docs/images/momentum-benchmark.png)

*Constant learning rate.*
"""

if __name__ == "__main__":
    main()
