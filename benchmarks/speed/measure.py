"""Times of programs that take turns, what this machine can do, and rows of a table."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

PEERS = ("torch", "scikit-learn", "scikit-survival", "skorch", "numpy", "torchsurv", "pycox")
PEERS += ("lifelines", "dacapo-ml")


class Row(NamedTuple):
    """One line of the table."""

    work: str
    peer: str
    ours: float  # seconds
    theirs: float  # seconds
    goal: float | None  # theirs / ours to reach
    bound: float | None = None  # seconds that the machine needs for the work alone
    bound_of: str = ""


def medians(
    programs: dict[str, Callable[[], object]], rounds: int = 7, least: float = 0.02
) -> dict[str, float]:
    """Return the median seconds of programs that take turns.

    The first round warms up. A fast program runs as often in its turn as `least` seconds allow.
    """
    repeats = {}
    for name, program in programs.items():
        program()
        start = time.perf_counter()
        program()
        repeats[name] = max(1, round(least / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                program()
            seconds[name].append((time.perf_counter() - start) / repeats[name])
    return {name: float(np.median(times)) for name, times in seconds.items()}


class Machine:
    """What this machine can do in a second with one thread."""

    def __init__(self) -> None:
        far, near = torch.randn(2**24, dtype=torch.float64), torch.randn(2**14, dtype=torch.float64)
        into_far, into_near = torch.empty_like(far), torch.empty_like(near)
        square = torch.randn(512, 512)
        product = torch.empty_like(square)
        programs = {
            "copy": lambda: into_far.copy_(far),
            "copy near": lambda: into_near.copy_(near),
            "exp": lambda: np.exp(near.numpy(), out=into_near.numpy()),
            "log": lambda: torch.log(into_near, out=into_near),
            "multiply": lambda: torch.mm(square, square, out=product),
        }
        seconds = medians(programs)
        #: Bytes moved, read or written, in memory and within the cache.
        self.bytes = 2 * far.nbytes / seconds["copy"]
        self.bytes_near = 2 * near.nbytes / seconds["copy near"]
        #: Evaluations of functions in float64, and operations of a product in float32.
        self.exp = len(near) / seconds["exp"]
        self.log = len(near) / seconds["log"]
        self.operations = 2 * 512**3 / seconds["multiply"]

    def moving(self, n_bytes: float) -> float:
        """Return the seconds that it takes to move bytes."""
        return n_bytes / (self.bytes if n_bytes > 2**22 else self.bytes_near)

    def __str__(self) -> str:
        return (
            f"{processor()}, {os.cpu_count()} cores, one thread used: moves "
            f"{self.bytes / 1e9:.0f} GB/s in memory and {self.bytes_near / 1e9:.0f} GB/s in the "
            f"cache, multiplies {self.operations / 1e9:.0f} GFLOP/s in float32, takes "
            f"{self.exp / 1e6:.0f} million exp and {self.log / 1e6:.0f} million log a second in "
            "float64."
        )


def processor() -> str:
    """Return the name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def versions() -> str:
    """Return the versions that were measured."""
    named = ", ".join(f"{name} {version(name)}" for name in PEERS)
    return f"Python {platform.python_version()}, {named}."


def in_fresh_process(module: str, *arguments: object) -> str:
    """Return what a module of this package prints in a process of its own."""
    command = [sys.executable, "-m", f"speed.{module}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def table(head: list[str], rows: list[list[str]]) -> str:
    """Format a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def duration(seconds: float) -> str:
    """Return seconds in a unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def formatted(rows: list[Row], *, goals: bool = True) -> str:
    """Format rows, with the goal beside what was reached; smaller sizes have no goals."""
    lines = []
    for row in rows:
        ratio = row.theirs / row.ours
        reached = f"{ratio:.3g}×"
        goal = ""
        if goals and row.goal is not None:
            goal = f"{row.goal:.2g}×"
            reached = f"**{reached}**" if ratio < row.goal else reached
        bound = "" if row.bound is None else f"{duration(row.bound)}: {row.bound_of}"
        times = [duration(row.ours), duration(row.theirs)]
        lines.append([row.work, row.peer, *times, reached, goal, bound])
    head = ["task", "compared with", "sksurvtorch", "other", "ratio", "goal", "lower bound"]
    return table(head, lines)


def status(field: str) -> float:
    """Return a field of the process's status in MiB; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """Let the peak of memory start anew."""
    Path("/proc/self/clear_refs").write_text("5")
