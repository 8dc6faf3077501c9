"""How time and memory grow with the number of rows.

``python -m speed.scale N`` prints, for N rows of 100 features, seconds and the peak of memory in
MiB, X included.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from sksurvtorch import CoxNNRegressor
from speed.data import patients
from speed.measure import duration, forget_peak, in_fresh_process, status, table

N_FEATURES = 100
SIZES = (1_000, 10_000, 100_000, 1_000_000)
NAMES = ("linear model", "epoch of the network", "predict", "score")


def measure(n: int) -> dict[str, float]:
    """Return the seconds of each step and the peak of memory."""
    network = CoxNNRegressor(
        n_estimators=1, batch_size=1024, random_state=0, lr_schedule="constant"
    )
    linear = CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs")
    small = patients(300, N_FEATURES)
    for model in (network, linear):
        model.set_params(max_epochs=1).fit(*small).score(*small)
    linear.set_params(max_epochs="auto")
    before = status("VmRSS")
    X, y = patients(n, N_FEATURES)
    forget_peak()
    n_epochs = 1 + max(1, 30_000 // n)  # enough to see a difference
    steps = {
        "one": lambda: network.fit(X, y),
        "more": lambda: network.set_params(max_epochs=n_epochs).fit(X, y),
        "linear model": lambda: linear.fit(X, y),
        "predict": lambda: network.predict(X),
        "score": lambda: network.score(X, y),
    }
    found = {}
    for name, step in steps.items():
        times = []
        for _ in range(3):
            network.set_params(max_epochs=1)
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        found[name] = float(np.median(times))
    found["epoch of the network"] = (found.pop("more") - found.pop("one")) / (n_epochs - 1)
    return {**found, "MiB": status("VmHWM") - before, "X": X.nbytes / 2**20}


def report(picture: Path, sizes: tuple[int, ...] = SIZES) -> str:
    """Measure each size in a process of its own, draw them, and return a table."""
    found = [json.loads(in_fresh_process("scale", n)) for n in sizes]
    draw(picture, sizes, found)
    rows = [
        [f"{n:,}", *(duration(f[name]) for name in NAMES), f"{f['MiB']:.0f} MiB ({f['X']:.0f})"]
        for n, f in zip(sizes, found, strict=True)
    ]
    return table(["rows", *NAMES, "peak (X)"], rows)


def draw(picture: Path, sizes: tuple[int, ...], found: list[dict[str, float]]) -> None:
    """Draw time and memory over the number of rows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name in NAMES:
        left.loglog(sizes, [f[name] for f in found], marker="o", label=name)
    left.loglog(sizes, [found[-1]["score"] * n / sizes[-1] for n in sizes], "k:", label="∝ rows")
    left.set(xlabel="rows", ylabel="seconds")
    left.legend(frameon=False, fontsize="small")
    right.loglog(sizes, [f["MiB"] for f in found], marker="o", label="peak of all steps")
    right.loglog(sizes, [f["X"] for f in found], "k:", label="X in float32")
    right.set(xlabel="rows", ylabel="MiB")
    right.legend(frameon=False, fontsize="small")
    figure.savefig(picture, dpi=150)


def main() -> None:
    """Measure one size."""
    torch.set_num_threads(1)
    print(json.dumps(measure(int(sys.argv[1]))))


if __name__ == "__main__":
    main()
