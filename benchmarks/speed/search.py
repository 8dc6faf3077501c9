"""A search over default fits of few rows: what part of it is the training, and what the rest is."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from skorch.callbacks import Callback

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.estimators import _fit, _net
from sksurvtorch.nets.ensemble_net import EnsembleNet
from sksurvtorch.nets.members import MemberLoader
from speed.data import patients
from speed.measure import Row, formatted, table

MODELS = (CoxNNRegressor, WeibullAFTRegressor)
N_CANDIDATES, N_FOLDS = 6, 5
#: Functions whose processor time is taken, by what it is called.
TIMED: dict[str, list[tuple[Any, str]]] = {
    "linear start": [(_net, "start_from_linear")],
    "rows left out, weights of members": [
        (_fit, "learn_offsets"),
        (_fit, "learn_from_rows_left_out"),
    ],
    "training": [(EnsembleNet, "train")],
}
#: Methods of the estimators, likewise.
METHODS = {
    "baseline, intervals": ("_fit_baseline", "_learn_intervals"),
    "scores": ("score",),
    "fits": ("fit",),
}


class Steps(Callback):
    """Keeps the network before the first step, and the batches."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Copy the network."""
        self.network_, self.batches_ = copy.deepcopy(net.module_), []
        self.l2_ = net._members.l2

    def on_batch_begin(self, net: Any, batch: Any, **kwargs: Any) -> None:
        """Keep a batch."""
        self.batches_.append(batch)


def steps_alone(kind: Any, X: np.ndarray, y: np.ndarray) -> float:
    """Return the seconds of a fit's steps in a plain loop, with its batches laid out before."""
    model = kind(random_state=0, callbacks=[Steps()]).fit(X, y)
    made = next(c for _, c in model.net_.callbacks_ if isinstance(c, Steps))
    network, criterion = made.network_, model.net_.criterion_
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(made.batches_))
    start = time.process_time()
    for rows, target in made.batches_:
        optimizer.zero_grad()
        output = network(rows.unflatten(0, (network.n_members, -1))).flatten(0, 1)
        penalty = (made.l2_ * network.members.squared_weights()).sum() / 2
        (target.loss(criterion, output, "cpu") + penalty).backward()
        optimizer.step()
        schedule.step()
    return time.process_time() - start


@contextmanager
def timed(kind: Any) -> Iterator[Counter[str]]:
    """Take the processor time of parts of all fits within this context."""
    seconds: Counter[str] = Counter()
    own = {name: [(kind, method) for method in methods] for name, methods in METHODS.items()}
    with ExitStack() as stack:
        for name, places in (TIMED | own).items():
            for place, attribute in places:
                wrapped = _timing(getattr(place, attribute), name, seconds)
                stack.enter_context(mock.patch.object(place, attribute, wrapped))
        drawn = _timing_of_items(MemberLoader.__iter__, "batches drawn", seconds)
        stack.enter_context(mock.patch.object(MemberLoader, "__iter__", drawn))
        yield seconds


def _timing(function: Callable[..., Any], name: str, seconds: Counter[str]) -> Callable[..., Any]:
    """Return a function that adds its time."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[name] += time.process_time() - start

    return wrapped


def _timing_of_items(
    iterate: Callable[[Any], Iterator[Any]], name: str, seconds: Counter[str]
) -> Callable[[Any], Iterator[Any]]:
    """Return a method that iterates, and adds the time between its items."""

    def wrapped(self: Any) -> Iterator[Any]:
        items, end = iterate(self), object()
        while True:
            start = time.process_time()
            item = next(items, end)
            seconds[name] += time.process_time() - start
            if item is end:
                return
            yield item

    return wrapped


def search(kind: Any, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the seconds of a search over default fits, by part; all together make the whole."""
    folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(X, y["event"]))
    grid = {"random_state": list(range(N_CANDIDATES))}
    found = GridSearchCV(kind(), grid, cv=folds, refit=False)
    with timed(kind) as seconds:
        start = time.process_time()
        found.fit(X, y)
        whole = time.process_time() - start
    n_fits = N_CANDIDATES * N_FOLDS
    steps = n_fits * float(np.median([steps_alone(kind, X[own], y[own]) for own, _ in folds]))
    parts = {"training steps": steps, "batches drawn": seconds["batches drawn"]}
    parts["skorch's loop, callbacks"] = seconds["training"] - sum(parts.values())
    parts |= {
        name: seconds[name] for name in (*TIMED, *METHODS) if name not in ("training", "fits")
    }
    scores = parts.pop("scores")
    parts["the rest of fits"] = seconds["fits"] - sum(parts.values())
    return parts | {"scores": scores, "the search itself": whole - seconds["fits"] - scores}


def report(n: int = 625, *, rounds: int = 3) -> tuple[list[Row], str]:
    """Return rows of the table, and a table of parts; the folds of 625 rows train with 500."""
    X, y = patients(n, 10)
    rows, columns = [], []
    for kind in MODELS:
        kind(random_state=0).fit(X, y)  # loads what torch loads on first use
        each = [search(kind, X, y) for _ in range(rounds)]
        parts = {name: float(np.median([one[name] for one in each])) for name in each[0]}
        n_fits = N_CANDIDATES * N_FOLDS
        work = f"`GridSearchCV`, {n_fits} default fits of {kind.__name__}, n = {n * 4 // 5}"
        whole = sum(parts.values())
        rows.append(
            Row(work, "its training steps in a plain loop", whole, parts["training steps"], 0.6)
        )
        columns.append(
            {name: f"{1000 * t / n_fits:.0f} ({t / whole:.0%})" for name, t in parts.items()}
        )
    lines = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return rows, table(["part", *(kind.__name__ for kind in MODELS)], lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    measured, parts = report()
    print(formatted(measured), parts, sep="\n")
