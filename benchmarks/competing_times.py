"""Seconds of two causes beside those of a Cox model, for `competing_risks.py`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from competing_data import simulated
from defaults import table
from sksurv.util import Surv

from sksurvtorch import CompetingRisksNNRegressor, CoxNNRegressor
from sksurvtorch.nets import competing_risks_y


def kept(path: Path, count: int, measure: Callable[[int], dict[str, float]]):
    """Return what was measured, of which what is known is read."""
    found = json.loads(path.read_text()) if path.exists() else []
    for place in range(len(found), count):
        found.append(measure(place))
        path.write_text(json.dumps(found))
    return found[:count]


def programs(n: int):
    """Return functions that make and fit a model with some parameters to the same rows."""
    X, status, when, *_ = simulated("nonlinear", n, 0)
    targets = Surv.from_arrays(status > 0, when), competing_risks_y(status, when)
    kinds = {
        "Cox": (CoxNNRegressor, targets[0], {}),
        "cause-specific": (CompetingRisksNNRegressor, targets[1], {}),
        "subdistribution": (CompetingRisksNNRegressor, targets[1], {"hazard": "subdistribution"}),
    }

    def run(name: str, **parameters: object):
        kind, y, own = kinds[name]
        model = kind(random_state=0, **own, **parameters)
        start = time.process_time()
        model.fit(X.astype("float32"), y)
        return model, time.process_time() - start

    return {name: (lambda name=name, **given: run(name, **given)) for name in kinds}


def in_turn(measures: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Return the medians of seconds of programs that take turns.

    Of several turns the first warms up, and does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(rounds):
        for name, measure in measures.items():
            taken = measure()
            if turn or rounds == 1:
                seconds[name].append(taken)
    return {name: float(np.median(each)) for name, each in seconds.items()}


def times_of(what: str, n: int) -> dict[str, float]:
    """Return the seconds of one kind of work in each model."""
    run = programs(n)
    if what.startswith("epoch"):
        networks, batch = what.split(", ")[1:]
        n_estimators = 1 if networks == "1 network" else 15
        size = n if batch == "all rows" else int(batch.split()[-1])

        def epoch(fit: Callable) -> float:
            each = [
                fit(n_estimators=n_estimators, batch_size=size, max_epochs=k)[1] for k in (1, 5)
            ]
            return (each[1] - each[0]) / 4

        return in_turn({name: lambda f=f: epoch(f) for name, f in run.items()}, 4)
    if what == "fit":
        # The first fit of a process loads what torch needs.
        run["Cox"](max_epochs=1)
        return in_turn({name: lambda f=f: f()[1] for name, f in run.items()}, 1)
    people = np.random.default_rng(1).standard_normal((10_000, 10)).astype("float32")
    models = {name: f(max_epochs=1, n_estimators=15)[0] for name, f in run.items()}
    grid = None if what.endswith("all times") else np.linspace(0.1, 2, 100)

    def predict(model: object) -> float:
        start = time.process_time()
        if isinstance(model, CoxNNRegressor):
            model.predict_survival_function(people, return_array=True, times=grid)
        else:
            model.predict_cumulative_incidence(people, return_array=True, times=grid)
        return time.process_time() - start

    return in_turn({name: lambda m=m: predict(m) for name, m in models.items()}, 4)


TIMED = [
    ("epoch, 1 network, batches of 256", 20_000, (1.3, 1.6)),
    ("epoch, 1 network, all rows", 20_000, (1.3, 1.6)),
    ("epoch, 15 networks, batches of 256", 20_000, (1.3, 1.6)),
    ("fit", 1000, None),
    ("fit", 20_000, None),
    ("predict 10,000 people, 100 times", 20_000, None),
    ("predict 10,000 people, all times", 1000, None),
]


def table_of_times(folder: Path) -> str:
    """Return the times beside those of the Cox model."""
    rows = []
    for what, n, goals in TIMED:
        (found,) = kept(folder / f"{what} {n}.json", 1, lambda _, what=what, n=n: times_of(what, n))
        print(what, n, found, flush=True)
        ratios = [found[name] / found["Cox"] for name in ("cause-specific", "subdistribution")]
        cells = [f"{ratio:.2f}" for ratio in ratios]
        if goals:
            cells = [
                f"{ratio:.2f} ({'≤' if ratio <= goal else '**>**'} {goal})"
                for ratio, goal in zip(ratios, goals, strict=True)
            ]
        rows.append([what, f"{n:,}", *(f"{seconds:.3g}" for seconds in found.values()), *cells])
    head = ["work", "rows of the fit", "Cox, s", "cause-specific, s", "subdistribution, s"]
    return table(rows, [*head, "ratio, cause-specific", "ratio, subdistribution"])
