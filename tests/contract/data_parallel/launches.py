"""Launches of `worker.py`, what its processes wrote, and comparisons with what was expected."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.contract.data_parallel import forks, worker

ROOT = Path(__file__).parents[3]
#: Seconds after which a launch is ended.
PATIENCE = 120

FLOAT64, FLOAT32 = 1e-10, 1e-5
# A line search of L-BFGS stops where rounding hides the loss, which is flat to the square of the
# distance: the root of 1e-16, and more where features are correlated.
LINE_SEARCH = 1e-6

sizes = pytest.mark.parametrize("size", [2, 4])


def cases(names, form="{}"):
    """Parametrize with names and numbers of processes, four where they run that case."""
    known = [(name, size) for size in (2, 4) for name in names]
    pairs = [(name, size) for name, size in known if form.format(name) in worker.SUITES[str(size)]]
    return pytest.mark.parametrize(("name", "size"), pairs)


def launch(size, suite, folder, *, by="torchrun"):
    """Run a suite in processes, and return the exit status and what the launcher said."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", str(size), worker.__file__, suite, str(folder)]
    if by == "forks":
        command = [sys.executable, forks.__file__, str(size), suite, str(folder)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    with subprocess.Popen(
        command,
        env=environment,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as launcher:
        try:
            said, _ = launcher.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            launcher.terminate()  # torchrun ends the processes, which killing it would not
            said, _ = launcher.communicate()
            return None, f"It took more than {PATIENCE} s.\n{said}"
    return launcher.returncode, said


def written(folder, rank):
    """What a process has written, by case."""
    told = {}
    if not (folder / f"{rank}.pickle").exists():
        return told
    with open(folder / f"{rank}.pickle", "rb") as file:
        while True:
            try:
                name, result = pickle.load(file)
            except (EOFError, pickle.UnpicklingError):  # where it was ended
                return told
            told[name] = result


def difference(told, expected, tolerance):
    """What is not as expected, relative to the largest number or to one."""
    if told.keys() != expected.keys():
        return [f"{sorted(told.keys() ^ expected.keys())} are in one only"]
    found = []
    for name, numbers in expected.items():
        ours, theirs = np.asarray(told[name]), np.asarray(numbers)
        if ours.shape != theirs.shape:
            found.append(f"{name}: shape {ours.shape}, expected {theirs.shape}")
        elif theirs.dtype.kind not in "iuf":
            found += [f"{name}: {ours.tolist()}"] if (ours != theirs).any() else []
        elif not np.array_equal(ours, theirs):  # which takes equal infinities for equal
            ours, theirs = (x[np.isfinite(ours) | np.isfinite(theirs)] for x in (ours, theirs))
            off = np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())
            found += [] if off <= tolerance else [f"{name}: off by {off:.1e}"]
    return found


def assert_equal(told, expected, tolerance=0.0):
    """Equal in all processes, with all that differs in the message."""
    found = [(rank, difference(result, expected, tolerance)) for rank, result in enumerate(told)]
    trouble = [f"process {rank}: {'; '.join(what)}" for rank, what in found if what]
    assert not trouble, f"allowed are {tolerance:.0e}\n" + "\n".join(trouble)
