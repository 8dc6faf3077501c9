"""What other distributions of the time, and intervals, cost beside a Weibull model.

Run ``python benchmarks/aft_times.py``; it takes three minutes and writes ``aft_times.md`` beside
itself. Times are seconds of the processor, of programs that take turns.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from defaults import table
from sksurv.util import Surv

from sksurvtorch import (
    AFTLoss,
    LogLogisticAFTRegressor,
    LogNormalAFTRegressor,
    WeibullAFTRegressor,
)
from sksurvtorch.nets import interval_censored_y, survival_target

KINDS = {
    "weibull": WeibullAFTRegressor,
    "lognormal": LogNormalAFTRegressor,
    "loglogistic": LogLogisticAFTRegressor,
}
ROUNDS = 7


def simulated(n: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return features, right-censored times, and intervals of the same times."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 10))
    event_time = np.exp(1 + 0.7 * X[:, 0] + 0.5 * rng.logistic(size=n))
    censoring = rng.exponential(8, n)
    right = Surv.from_arrays(event_time <= censoring, np.minimum(event_time, censoring))
    gap = rng.uniform(0.5, 2, n)
    number = np.floor(event_time / gap)
    lower, upper = number * gap, np.where(number < 6, (number + 1) * gap, np.inf)
    lower = np.minimum(lower, 6 * gap)
    return X.astype(np.float32), {
        "event and time": right,
        "intervals": interval_censored_y(lower, upper),
    }


def epoch(kind: type, X: np.ndarray, y: np.ndarray, n_estimators: int) -> float:
    """Return the seconds of an epoch."""
    seconds = []
    for max_epochs in (1, 5):
        model = kind(n_estimators=n_estimators, max_epochs=max_epochs, random_state=0)
        start = time.process_time()
        model.fit(X, y)
        seconds.append(time.process_time() - start)
    return (seconds[1] - seconds[0]) / 4


def call(distribution: str, y: np.ndarray, repeats: int = 100) -> float:
    """Return the seconds of a loss of all rows, with its gradient."""
    loss = AFTLoss(distribution=distribution)
    target = {
        name: torch.from_numpy(np.array(column)) for name, column in survival_target(y).items()
    }
    log_params = torch.zeros(len(y), 2, requires_grad=True)
    start = time.process_time()
    for _ in range(repeats):
        log_params.grad = None
        loss(log_params, target).backward()
    return (time.process_time() - start) / repeats


def measured() -> str:
    """Return the table."""
    X, outcomes = simulated(4_000)
    tasks = {"a call, 256 rows": (call, 256), "a call, 3,840 rows": (call, 3_840)}
    tasks |= {"an epoch, 1 network": (epoch, 1), "an epoch, 15 networks": (epoch, 15)}
    programs = {}
    for task, (work, size) in tasks.items():
        for name, kind in KINDS.items():
            for outcome, y in outcomes.items():
                given = (name, y[:size]) if work is call else (kind, X, y, size)
                programs[task, name, outcome] = partial(work, *given)
    seconds: dict[tuple[str, str, str], list[float]] = {key: [] for key in programs}
    for turn in range(ROUNDS + 1):
        for key, run in programs.items():
            taken = run()
            if turn:  # the first warms up
                seconds[key].append(taken)
    median = {key: float(np.median(each)) for key, each in seconds.items()}
    rows: list[list[object]] = []
    for task in tasks:
        base = median[task, "weibull", "event and time"]
        ratios = [
            f"{median[task, name, outcome] / base:.2f}" for name in KINDS for outcome in outcomes
        ]
        rows.append([task, f"{1e3 * base:.3g}", *ratios[1:]])
    head = ["", "Weibull, ms", "its intervals"]
    return table(
        rows, head + [f"{name}{of}" for name in list(KINDS)[1:] for of in ("", ", intervals")]
    )


PAGE = """# Speed of distributions and intervals

What log-normal and log-logistic models cost beside a Weibull model, and intervals beside times that
are known or right-censored: one thread, 4,000 rows with 10 features, batches of 256. The first
column has milliseconds of a Weibull model with event and time; all others are ratios to it, of
medians of {rounds} rounds in which the programs took turns. A call is a loss with its gradient, of
a batch, or of the batches of 15 networks.

{table}
A Weibull loss of event and time is summed by numpy; all others are computed row by row by
operations of torch, of which the log-normal distribution needs most. An epoch has much else to do.

Written by `benchmarks/aft_times.py`.
"""


if __name__ == "__main__":
    page = PAGE.format(rounds=ROUNDS, table=measured())
    (Path(__file__).parent / "aft_times.md").write_text(page)
    print(page)
