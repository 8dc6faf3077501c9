"""An epoch of training, against a plain torch loop, pycox and default skorch; its profile."""

from __future__ import annotations

import cProfile
import pstats
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skorch
import torch
import torchtuples
from pycox.models import CoxPH
from torch import nn

from sksurvtorch import CoxNNRegressor
from sksurvtorch.losses import CoxPHLoss
from sksurvtorch.nets import survival_target
from speed.data import patients
from speed.measure import Machine, Row, table

PACKAGE = "sksurvtorch"
N_FEATURES = 32
N_EPOCHS = 3


def network() -> nn.Module:
    """Return the network that all programs train."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(N_FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1, False)
    )


def estimator(batch_size: int | None, n_epochs: int) -> CoxNNRegressor:
    """Return an estimator with this network, without extras."""
    return CoxNNRegressor(
        module=network,
        batch_size=batch_size,
        max_epochs=n_epochs,
        lr_schedule="constant",
        random_state=0,
    )


def programs(n: int, batch_size: int | None) -> dict[str, Callable[[], float]]:
    """Return programs that return the seconds of an epoch."""
    X, y = patients(n, N_FEATURES)
    event, when = torch.from_numpy(y["event"].copy()), torch.from_numpy(y["time"].copy())
    inputs, size = torch.from_numpy(X), batch_size or n

    def ours() -> float:
        times = []
        for n_epochs in (1, 1 + N_EPOCHS):
            start = time.perf_counter()
            estimator(batch_size, n_epochs).fit(X, y)
            times.append(time.perf_counter() - start)
        return (times[1] - times[0]) / N_EPOCHS

    def plain() -> float:
        net, loss = network(), CoxPHLoss()
        optimizer = torch.optim.Adam(net.parameters(), fused=True)
        start = time.perf_counter()
        for _ in range(N_EPOCHS):
            for rows in torch.randperm(n).split(size):
                optimizer.zero_grad()
                loss(net(inputs[rows]), event[rows], when[rows]).backward()
                optimizer.step()
        return (time.perf_counter() - start) / N_EPOCHS

    def pycox() -> float:
        model = CoxPH(network(), torchtuples.optim.Adam)
        target = y["time"].astype("float32"), y["event"].astype("float32")
        start = time.perf_counter()
        model.fit(X, target, batch_size=size, epochs=N_EPOCHS, verbose=False)
        return (time.perf_counter() - start) / N_EPOCHS

    def default_skorch() -> float:
        net = skorch.NeuralNet(
            network,
            CoxPHLoss,
            optimizer=torch.optim.Adam,
            batch_size=size,
            max_epochs=N_EPOCHS,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        ).initialize()
        target = survival_target(y)
        start = time.perf_counter()
        net.partial_fit(X, target)
        return (time.perf_counter() - start) / N_EPOCHS

    return {"ours": ours, "plain": plain, "pycox": pycox, "skorch": default_skorch}


def epoch(n: int, batch_size: int | None, goal: float, machine: Machine) -> list[Row]:
    """Compare an epoch; `goal` is that of default skorch."""
    candidates = programs(n, batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(6):
        for name, program in candidates.items():
            taken = program()
            if number:  # the first warms up
                seconds[name].append(taken)
    median = {name: float(np.median(times)) for name, times in seconds.items()}
    operations = 6 * n * sum(weight.numel() for weight in network().parameters())
    work = f"epoch, n = {n:,}, batches of {batch_size or 'all'}"
    peers = [("plain", "plain torch loop", 1.0), ("pycox", "pycox", 1.3)]
    peers.append(("skorch", "default skorch", goal))
    return [
        Row(
            work,
            peer,
            median["ours"],
            median[name],
            least,
            operations / machine.operations,
            "products of the network, forward and backward",
        )
        for name, peer, least in peers
    ]


def profile(n: int = 20_000, batch_size: int = 256, n_entries: int = 12) -> str:
    """Return where the time of a fit goes, by function."""
    X, y = patients(n, N_FEATURES)
    estimator(batch_size, 1).fit(X, y)  # loads what torch loads on first use
    profiler = cProfile.Profile()
    profiler.runcall(estimator(batch_size, 10).fit, X, y)
    stats = pstats.Stats(profiler)
    total = stats.total_tt
    entries = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:n_entries]
    rows = []
    for (file, _, function), (_, calls, own, _, _) in entries:
        # A compiled function has no file: "<method 'relu' of ...>".
        name = function.split("'")[1] if "'" in function else function.strip("<>").split()[-1]
        place = "compiled, of " + ("numpy" if "numpy" in function else "torch")
        if file != "~":
            parts = Path(file).parts
            roots = [i for i, part in enumerate(parts) if part in ("torch", "skorch", PACKAGE)]
            place = "/".join(parts[max(roots, default=-1) :])
        rows.append([f"`{name}`", place, f"{calls:,}", f"{100 * own / total:.1f} %"])
    return table(["function", "where", "calls", "own time"], rows)


def quiet() -> None:
    """Leave out what the peers warn of."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning)
