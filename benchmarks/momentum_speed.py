"""What a step of momentum costs, beside a plain step and beside torchsurv's.

Run ``python benchmarks/momentum_speed.py`` on a quiet machine, with the extra ``bench``; it writes
``momentum_speed.md`` beside itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from defaults import table
from momentum import ConvNet
from torch import nn
from torchsurv.loss.cox import neg_partial_log_likelihood
from torchsurv.loss.momentum import Momentum as TorchsurvMomentum

from sksurvtorch.losses import CoxPHLoss, Momentum


def networks() -> dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]]:
    """Return networks, and the shape of a sample of each."""

    def perceptron(n_features: int, width: int) -> nn.Module:
        sizes = [n_features, width, width]
        layers = [
            part for n_in, n_out in pairwise(sizes) for part in (nn.Linear(n_in, n_out), nn.ReLU())
        ]
        return nn.Sequential(*layers, nn.Linear(width, 1, bias=False))

    return {
        "20-64-64-1": (lambda: perceptron(20, 64), (20,)),
        "100-256-256-1": (lambda: perceptron(100, 256), (100,)),
        "convolutions": (ConvNet, (1, 8, 8)),
    }


def step_times(kind: str, batch_size: int = 256, bank_size: int = 8192) -> dict[str, float]:
    """Return median microseconds of a training step, of each program in turn."""
    make, shape = networks()[kind]
    n = 16_384
    rng = torch.Generator().manual_seed(0)
    X = torch.randn(n, *shape, generator=rng)
    event = torch.rand(n, generator=rng) < 0.5
    when = torch.randperm(n, generator=rng).float()  # torchsurv would round float64 to ties
    rows, loss = torch.arange(n), CoxPHLoss()

    def stepping(model: nn.Module, with_target: bool, with_index: bool) -> Callable[[int], None]:
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(trained, fused=True)

        def step(number: int) -> None:
            start = number * batch_size % n
            batch = slice(start, start + batch_size)
            optimizer.zero_grad()
            if not with_target:
                value = loss(model(X[batch]), event[batch], when[batch])
            elif with_index:
                value = model(X[batch], event[batch], when[batch], index=rows[batch])
            else:
                value = model(X[batch], event[batch], when[batch])
            value.backward()
            optimizer.step()

        return step

    plain = make()

    def forward(number: int) -> None:
        with torch.no_grad():
            plain(X[:batch_size])

    theirs = TorchsurvMomentum(
        make(), neg_partial_log_likelihood, batchsize=batch_size, steps=bank_size // batch_size + 1
    )
    candidates = {
        "plain": stepping(plain, False, False),
        "forward": forward,
        "sksurvtorch": stepping(Momentum(make(), loss, bank_size=bank_size), True, True),
        "torchsurv": stepping(theirs, True, False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(120):
        for name, step in candidates.items():
            for _ in range(1 if name == "torchsurv" else 5):
                start = time.perf_counter()
                step(number)
                seconds[name].append(time.perf_counter() - start)
    # The first steps fill the bank.
    return {name: 1e6 * float(np.median(s[len(s) // 3 :])) for name, s in seconds.items()}


def speed() -> str:
    """Format the times of a step."""
    rows = []
    for kind in networks():
        t = step_times(kind)
        ratio = t["sksurvtorch"] / (t["plain"] + t["forward"])
        times = [f"{t[name]:.0f}" for name in ("plain", "forward", "sksurvtorch", "torchsurv")]
        rows.append([kind, *times, f"{ratio:.2f}", f"{t['torchsurv'] / t['sksurvtorch']:.1f}"])
    head = ["network", "plain step", "forward", "momentum", "torchsurv"]
    return table(rows, [*head, "momentum / (plain + forward)", "torchsurv / momentum"])


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    text = TEXT.format(table=speed())
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


TEXT = """# Time of a training step with momentum

Written by `python benchmarks/momentum_speed.py`. Microseconds, median, one thread; batches of 256,
a bank of 8 192 rows, Adam. The programs take turns, five steps each (torchsurv one). *Plain* is a
step without momentum, *forward* one more pass through the network, *momentum* `losses.Momentum`
with an `index`. The two perceptrons are named by their widths; the third network has two
convolutions over images of 8 × 8 pixels.

{table}"""

if __name__ == "__main__":
    main()
