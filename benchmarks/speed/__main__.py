"""Measure everything and write ``docs/benchmarks.md``; ``--quick`` prints smaller sizes instead."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import momentum_speed
import segmentation
import torch

from speed import competing, estimators, loss, memory, scale, search, training
from speed.measure import Machine, Row, formatted, in_fresh_process, table, versions

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rows(machine: Machine, *, quick: bool) -> Iterator[Row]:
    """Measure row by row."""
    for n in (1_000, 10_000, 100_000) if quick else (1_000, 10_000, 100_000, 1_000_000):
        yield from loss.with_ties(n, machine)
    yield loss.with_strata(*((2_000, 200) if quick else (20_000, 2_000)), machine)
    n = 4_000 if quick else 20_000
    for batch_size, goal in ((256, 2.4), (4096, 6.7), (None, 10)):
        yield from training.epoch(n, batch_size, goal, machine)
    for n, goal in ((1_000, 1 / 3),) if quick else ((1_000, 1 / 3), (20_000, 1 / 2)):
        yield estimators.ensemble(n, goal, machine)
    for n in (256, 10_000) if quick else (256, 10_000, 1_000_000):
        yield from competing.losses(n)
    for batch_size in (256,) if quick else (256, 4096, None):
        yield from competing.epochs(4_000 if quick else 20_000, batch_size)
    yield from estimators.linear(*((20_000, 20) if quick else (100_000, 50)), machine)
    yield estimators.score(*((10_000, 10) if quick else (50_000, 50)), against=True)
    yield estimators.score(*((100_000, 2) if quick else (1_000_000, 2)), against=False)
    yield estimators.score_ipcw(100_000 if quick else 1_000_000)
    yield from estimators.survival_functions(1_000 if quick else 10_000, machine)
    yield momentum()
    if not quick:
        yield from segmentation_losses(machine)
    # The default of skorch, that of the estimators, and what Cox models usually take.
    for batch_size in (256,) if quick else (128, 256, None):
        yield estimators.search(batch_size, *((4, 20) if quick else (20, 100)))
    yield imports(3 if quick else 9)


def momentum() -> Row:
    """Compare a step with momentum, a batch of 256 and a bank of 8192."""
    step = {name: t / 1e6 for name, t in momentum_speed.step_times("20-64-64-1").items()}
    return Row(
        "step with momentum, batch 256, bank 8192",
        "torchsurv",
        step["sksurvtorch"],
        step["torchsurv"],
        6,
        step["plain"] + step["forward"],
        "a plain step and one more pass forward",
    )


def segmentation_losses(machine: Machine) -> Iterator[Row]:
    """Compare the segmentation losses with DaCapo's, in time."""
    operands = 4 * 20 * 128**3
    for name in ("MSELoss", "AffinitiesLoss", "HotDistanceLoss"):
        seconds = segmentation.seconds(name, 5)
        yield Row(
            f"`{name}` and gradient, 1 × 20 × 128³",
            "DaCapo",
            seconds["linear"],
            seconds["DaCapo"],
            2,
            machine.moving(5 * operands),
            "three arrays read, the gradient written and scaled",
        )


def segmentation_memory() -> str:
    """Compare the extra memory of the segmentation losses."""
    lines = []
    for name in ("MSELoss", "AffinitiesLoss", "HotDistanceLoss"):
        ours, theirs = (segmentation.in_fresh_process(name, p) for p in ("linear", "DaCapo"))
        lines.append([f"`{name}`", f"{ours:.0f} MiB", f"{theirs:.0f} MiB", f"{ours / theirs:.2f}"])
    return table(["loss, 1 × 20 × 128³", "sksurvtorch", "DaCapo", "sksurvtorch / DaCapo"], lines)


def imports(rounds: int) -> Row:
    """Compare the import with that of torch and scikit-survival, in turn."""
    seconds: dict[str, list[float]] = {"import sksurvtorch": [], "import torch, sksurv": []}
    for _ in range(rounds):
        for code, times in seconds.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - start)
    ours, theirs = (statistics.median(times) for times in seconds.values())
    return Row("`import sksurvtorch`", "`import torch, sksurv`", ours, theirs, 1 / 1.2)


def peaks(n: int, p: int) -> str:
    """Measure the peaks of memory."""
    lines = []
    for kind in memory.KINDS:
        fit, fit_seconds, predict, predict_seconds = map(
            float, in_fresh_process("memory", kind, n, p).split()
        )
        lines.append(
            [
                kind,
                f"{fit:.2f}",
                f"{predict:.2f}",
                f"{fit_seconds:.1f} s",
                f"{predict_seconds:.2f} s",
            ]
        )
    return table(["model", "`fit`", "`predict`", "time of `fit`", "time of `predict`"], lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="speed", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    training.quiet()
    machine = Machine()
    measured = []
    for row in rows(machine, quick=quick):
        measured.append(row)
        print(formatted([row], goals=not quick).splitlines()[-1], flush=True)
    searches, parts = search.report(rounds=1 if quick else 3)
    measured += searches
    cox, weibull = loss.cox_batches(), loss.weibull_batches()
    print(formatted(searches, goals=not quick), parts, cox, weibull, sep="\n")
    if quick:
        return
    text = TEXT.format(
        machine=machine,
        versions=versions(),
        rows=formatted(measured),
        cox=cox,
        weibull=weibull,
        memory=peaks(1_000_000, 100),
        segmentation=segmentation_memory(),
        scale=scale.report(DOCS / "images" / "scale.png"),
        profile=training.profile(),
        search=parts,
    )
    (DOCS / "benchmarks.md").write_text(text)
    print(text)


TEXT = (Path(__file__).with_name("page.md")).read_text()

if __name__ == "__main__":
    main()
