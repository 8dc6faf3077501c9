"""Which rows each process has, and of which data."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sksurv.util import Surv

from sksurvtorch.nets import competing_risks_y

#: Rows; those from CENSORED on have no event; rows in a batch of all processes together.
N, CENSORED, BATCH = 96, 76, 24
#: Where the rows of each process begin, by the number of processes.
LAYOUTS = {
    # The last process has no event, and of four the second has one row.
    "uneven": {1: [0], 2: [0, CENSORED], 4: [0, 40, 41, CENSORED]},
    "few": {1: [0], 2: [0, N - 1], 4: [0, 1, 2, N - 1]},
    "events": {1: [0], 2: [0, 30], 4: [0, 10, 24, 50]},
}
#: After so many seconds a process tells where it is, and ends.
LIMIT = 90
ALL = ("entry", "stratum", "sample_weight")


@dataclass(frozen=True)
class Share:
    """Which of the processes this is, and which rows it has."""

    rank: int
    size: int
    folder: Path

    @property
    def accelerator(self):
        return "auto" if self.size > 1 else None

    @property
    def last(self):
        return self.rank == self.size - 1

    def rows(self, layout="uneven"):
        return slice(*[*LAYOUTS[layout][self.size], N][self.rank : self.rank + 2])

    def if_last(self, **given):
        """What the last process alone is given."""
        return given if self.last else {}


def cohort():
    """Ties, late entry, weights of 0, and strata of which one process alone has rows."""
    rng = np.random.default_rng(0)
    X, times = rng.normal(size=(N, 3)), rng.integers(1, 13, N).astype(float)
    event = (rng.random(N) < 0.3 + 0.4 * (X[:, 0] > 0)) & (np.arange(N) < CENSORED)
    stratum = rng.choice(["a", "b"], N).astype("U9")
    stratum[:6], stratum[-6:] = "z: first", "A: last"
    weight = rng.uniform(0.5, 2.0, N)
    weight[::9] = 0.0
    return {
        "X": X,
        "y": Surv.from_arrays(event, times),
        "entry": np.floor(rng.random(N) * times),
        "stratum": stratum,
        "sample_weight": weight,
    }


DATA = cohort()
#: The events of those with a low second feature are of a second cause.
RISKS = competing_risks_y(DATA["y"]["event"] * (1 + (DATA["X"][:, 1] < 0)), DATA["y"]["time"])


def mapped(share):
    """X in a file."""
    name = share.folder / f"X{share.size}_{share.rank}.npy"
    np.save(name, DATA["X"])
    return np.load(name, mmap_mode="r")


def wait_for(*paths, seconds=30.0):
    """Wait for files, and without torch.distributed."""
    until = time.monotonic() + seconds
    while not all(path.exists() for path in paths):
        if time.monotonic() > until:
            raise TimeoutError(f"{paths} did not come.")
        time.sleep(0.01)
