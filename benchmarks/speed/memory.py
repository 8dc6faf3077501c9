"""Peak memory of a fit and of a prediction, in a process of its own.

``python -m speed.memory KIND N P`` prints, in units of X in float32, the peaks of `fit` and
`predict` above what the process had before X was there, and the seconds of both.
"""

from __future__ import annotations

import sys
import time

import torch

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from speed.data import patients
from speed.measure import forget_peak, status

KINDS = {
    "network": lambda: CoxNNRegressor(
        n_estimators=1, max_epochs=1, batch_size=4096, random_state=0
    ),
    "15 networks": lambda: CoxNNRegressor(n_estimators=15, max_epochs=1, random_state=0),
    "linear": lambda: CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs", random_state=0),
    "Weibull network": lambda: WeibullAFTRegressor(
        n_estimators=1, max_epochs=1, batch_size=4096, random_state=0
    ),
}


def main() -> None:
    """Measure one kind."""
    torch.set_num_threads(1)
    kind, n, p = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    model = KINDS[kind]()
    small = patients(300, p)
    model.fit(*small).predict(small[0])  # loads what torch loads on first use
    before = status("VmRSS")
    X, y = patients(n, p)
    size = X.nbytes / 2**20
    found = []
    for act in (lambda: model.fit(X, y), lambda: model.predict(X)):
        forget_peak()
        start = time.perf_counter()
        act()
        found += [(status("VmHWM") - before) / size, time.perf_counter() - start]
    print(*found)


if __name__ == "__main__":
    main()
