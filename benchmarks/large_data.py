"""One epoch over rows in a file: seconds and peak memory of each stage of a fit.

Run ``python benchmarks/large_data.py`` on a quiet machine, Linux only; it writes ``large_data.md``
beside itself. The data of the full size, 20 million rows, take 4 GB of disk while it runs, and the
fits a few minutes. ``--rows 1e6`` prints a smaller table instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

FULL = 20_000_000
N_FEATURES = 50
GOAL = 2048  # MiB
CASES = [("CoxNNRegressor", 4096), ("CoxNNRegressor", 256), ("WeibullAFTRegressor", 4096)]
# Functions of the way of a fit, and the stage that each ends.
STAGES = {
    "_take_data": "check",
    "make_net": "moments and start",
    "_train": "epoch",
    "warn_unless_optimal": "output and baseline",
}


def write(folder: Path, n: int) -> None:
    """Write features, events and times, whose hazard is no linear function of the features."""
    X, event, when = (
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
        for name, dtype, shape in (
            ("X", np.float32, (n, N_FEATURES)),
            ("event", bool, (n,)),
            ("time", np.float64, (n,)),
        )
    )
    rng = np.random.default_rng(0)
    slope = rng.normal(size=N_FEATURES) / 7
    for start in range(0, n, 100_000):
        rows = slice(start, min(start + 100_000, n))
        size = rows.stop - rows.start
        x = X[rows] = rng.standard_normal((size, N_FEATURES), dtype=np.float32)
        log_hazard = x @ slope + 0.5 * x[:, 0] * x[:, 1]
        dead = rng.exponential(size=size) * np.exp(-log_hazard)
        censored = rng.exponential(size=size)
        event[rows], when[rows] = dead <= censored, np.minimum(dead, censored)


def memory(field: str) -> float:
    """Return the resident memory of this process, now (VmRSS) or at its peak (VmHWM), in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field))
    return int(line.split()[1]) / 1024


def watch(module: Any) -> dict[str, tuple[float, float]]:
    """Let the functions of a fit write down when they end, and the peak until then."""
    seen = {"given": (time.perf_counter(), memory("VmRSS"))}

    def watched(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            seen[stage] = time.perf_counter(), memory("VmHWM")
            return result

        return call

    for name, stage in STAGES.items():
        setattr(module, name, watched(getattr(module, name), stage))
    return seen


def fit(folder: Path, name: str, batch_size: int) -> None:
    """Fit in this process, and print what was measured."""
    import sksurvtorch
    from sksurvtorch.estimators import _fit

    X, event, when = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("X", "event", "time")
    )
    y = np.empty(len(X), dtype=[("event", bool), ("time", float)])
    y["event"], y["time"] = event, when
    event._mmap.close(), when._mmap.close()  # their pages would count
    kind = getattr(sksurvtorch, name)
    model = kind(max_epochs=1, batch_size=batch_size, random_state=0)
    seen = watch(_fit)
    model.fit(X, y)
    times, peaks = zip(*seen.values(), strict=True)
    concordance = model.score(X[:20_000], y[:20_000])
    print(json.dumps([peaks, np.diff(times).tolist(), concordance]))


def measure(folder: Path) -> str:
    """Fit each case in a process of its own, and format what it printed."""
    from defaults import table  # its packages would count in the processes that fit

    rows = []
    for name, batch_size in CASES:
        command = [sys.executable, __file__, "--fit", folder, name, str(batch_size)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks, seconds, concordance = json.loads(run.stdout)
        cells = [f"{s:.0f} s, {p:.0f} MiB" for s, p in zip(seconds, peaks[1:], strict=True)]
        whole = f"{peaks[-1]:.0f} MiB"
        whole = whole if peaks[-1] <= GOAL else f"**{whole}**"
        start = f"{peaks[0]:.0f} MiB"
        row = [name, str(batch_size), start, *cells, f"{sum(seconds):.0f} s", whole]
        rows.append([*row, f"{concordance:.3f}"])
    head = ["estimator", "batch", "before", *STAGES.values(), "fit", "peak", "concordance"]
    return table(rows, head)


def main() -> None:
    """Measure, and write the page if the size is the full one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=float, default=FULL)
    parser.add_argument("--folder", type=Path, help="where the data are written")
    parser.add_argument("--fit", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fit:
        folder, name, batch_size = options.fit
        fit(Path(folder), name, int(batch_size))
        return
    n = int(options.rows)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write(Path(folder), n)
        text = TEXT.format(n=f"{n:,}", p=N_FEATURES, size=n * N_FEATURES * 4 / 1e9, goal=GOAL)
        text += measure(Path(folder))
    if n == FULL:
        Path(__file__).with_suffix(".md").write_text(text)
    print(text)


TEXT = """# Data that are larger than memory

Written by `python benchmarks/large_data.py`. One epoch over {n} rows of {p} features in
float32, a file of {size:.1f} GB opened by `np.load(path, mmap_mode="r")`. Each fit is in a fresh
process with one thread. *Peak* is the largest resident memory of the whole process, with the pages
of the file that are mapped; the goal is {goal} MiB, and what is above it is in bold. *Before* is
that of Python with its packages and of the target that is given; the other columns have the
seconds of a stage and the peak until its end. *Check* looks for missing values and for columns that
float32 cannot tell apart; *moments and start* standardises, and fits the linear part to the rows of
one window; *output and baseline* predicts all rows. The concordance is that of the first 20,000
rows. The file was just written, so the system may have had it in its cache.

"""

if __name__ == "__main__":
    main()
