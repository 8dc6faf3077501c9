"""What the segmentation losses cost in time and memory, beside DaCapo's own classes.

Run ``python benchmarks/segmentation.py`` on a quiet machine, with the environment that ``make``
makes; it writes ``segmentation.md`` beside itself. Linux only: the peak of memory is the kernel's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from dacapo_losses import load
from defaults import table
from torch import Tensor

from sksurvtorch.losses import AffinitiesLoss, HotDistanceLoss, MSELoss

SHAPE = (1, 20, 128, 128, 128)
PROGRAMS = ("DaCapo", "linear", "dacapo")
MEBIBYTE = 2**20


def losses(name: str) -> dict[str, Callable[..., Tensor]]:
    """Return a loss as each program computes it."""
    dacapo = load()
    if name == "MSELoss":
        theirs, make = dacapo.MSELoss(), MSELoss
    elif name == "HotDistanceLoss":
        theirs, make = dacapo.HotDistanceLoss(), HotDistanceLoss
    else:
        ratio = SHAPE[1] // 2, 0.5
        theirs = dacapo.AffinitiesLoss(*ratio)

        def make(**options: str) -> AffinitiesLoss:
            return AffinitiesLoss(*ratio, **options)

    ours = {weighting: make(weighting=weighting).compute for weighting in ("linear", "dacapo")}
    return {"DaCapo": theirs.compute, **ours}


def operands(shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, Tensor, Tensor]:
    """Return a prediction, a target and weights of 0 and 1."""
    rng = torch.Generator().manual_seed(0)
    prediction = torch.randn(shape, generator=rng).requires_grad_()
    target = (torch.rand(shape, generator=rng) < 0.5).float()
    return prediction, target, (torch.rand(shape, generator=rng) < 0.4).float()


def step(loss: Callable[..., Tensor], prediction: Tensor, target: Tensor, weight: Tensor) -> None:
    """Go forward and backward."""
    prediction.grad = None
    loss(prediction, target, weight).backward()


def seconds(name: str, n_rounds: int = 7) -> dict[str, float]:
    """Return the median seconds of a step, of each program in turn."""
    candidates, arguments = losses(name), operands()
    taken: dict[str, list[float]] = {program: [] for program in candidates}
    for number in range(n_rounds + 1):
        for program, loss in candidates.items():
            start = time.perf_counter()
            step(loss, *arguments)
            if number:  # the first warms up
                taken[program].append(time.perf_counter() - start)
    return {program: float(np.median(times)) for program, times in taken.items()}


def status(field: str) -> float:
    """Return a field of the process's status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field))
    return int(line.split()[1]) / 1024


def extra_memory(name: str, program: str) -> float:
    """Return by how many MiB a step raises the memory of this process at its peak."""
    loss = losses(name)[program]
    step(loss, *operands((1, 20, 16, 16, 16)))  # loads what torch loads on first use
    arguments = operands()
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    step(loss, *arguments)
    return status("VmHWM") - before


def in_fresh_process(name: str, program: str) -> float:
    """Return `extra_memory` of a new process."""
    command = [sys.executable, __file__, name, program]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def report() -> str:
    """Format times and memory."""
    rows = []
    for name in ("MSELoss", "AffinitiesLoss", "HotDistanceLoss"):
        times = seconds(name)
        memory = {program: in_fresh_process(name, program) for program in PROGRAMS}
        rows.append(
            [
                name,
                *(f"{1000 * times[program]:.0f}" for program in PROGRAMS),
                f"{times['DaCapo'] / times['linear']:.1f}",
                *(f"{memory[program]:.0f}" for program in PROGRAMS),
                f"{memory['DaCapo'] / memory['linear']:.2f}",
            ]
        )
    gradient = 4 * np.prod(SHAPE) / MEBIBYTE
    head = ["loss", *(f"{p}, ms" for p in PROGRAMS), "time, DaCapo / linear"]
    head += [*(f"{p}, MiB" for p in PROGRAMS), "memory, DaCapo / linear"]
    return TEXT.format(table=table(rows, head), gradient=gradient)


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        print(extra_memory(*sys.argv[1:]))
        return
    text = report()
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


TEXT = """# Time and memory of the segmentation losses

Written by `python benchmarks/segmentation.py`. A loss and its gradient on a prediction of
1 × 20 × 128 × 128 × 128 in float32, with weights of 0 and 1, one thread. *DaCapo* are the classes
of dacapo-ml 0.3.5, *linear* and *dacapo* ours with that `weighting`. Milliseconds: medians of seven
rounds in which the programs take turns. MiB: by how much one step raises the memory of a fresh
process at its peak.

{table}
{gradient:.0f} MiB of the memory are the gradient of the prediction, which every program needs. With
linear weights there is little else: all operations are applied to a block of the volume while it is
in the cache. `weighting="dacapo"` runs DaCapo's operations in DaCapo's order, to be equal to the
last bit, so it needs the same time and memory as DaCapo.
"""

if __name__ == "__main__":
    main()
