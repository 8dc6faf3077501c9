"""What the examples of searches in several processes have to print, for `test_examples`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

TORCHRUN = ("-m", "torch.distributed.run", "--standalone")
HELD = re.compile(
    r"process (\d) of (\d): held (\d+) of 5905 rows, "
    r"(concordance 0\.8\d{3}, mean survival after ten years 0\.\d{4})"
)
ROW = re.compile(r"^([\w=]+) +(\d+\.\d) +(\d+) +(\d+) +(\d+)$", re.MULTILINE)


def check_search(printed: str, folder: Path, *, engine: str) -> None:
    """Two other processes with a thread each find what one process does."""
    rows = {
        name: (float(seconds), *map(int, rest)) for name, seconds, *rest in ROW.findall(printed)
    }
    assert rows.keys() == {"n_jobs=1", engine}
    assert rows["n_jobs=1"][1:] == (1, 0, 1)
    assert rows[engine][1:] == (2, 2, 1)
    assert all(seconds > 0 for seconds, *_ in rows.values())
    assert "scores equal to the bit: True" in printed
    assert "'coxnnregressor__hidden_layer_sizes': " in printed
    [concordance] = re.findall(r"^concordance: (0\.\d{4})$", printed, re.MULTILINE)
    assert float(concordance) > 0.65
    assert ("to start" in printed) == (engine != "loky")
    assert not list(folder.iterdir())


def check_data_parallel(printed: str, folder: Path) -> None:
    """Two processes print what one prints, but for the rows that they hold."""
    script = Path(__file__).parents[2] / "examples" / "data_parallel.py"
    two = subprocess.run(
        [sys.executable, *TORCHRUN, "--nproc_per_node=2", script],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    [(rank, size, held, found)] = HELD.findall(printed)
    assert (rank, size, held) == ("0", "1", "5905")
    # torchrun does not buffer: the end of a line is a write of its own, and may come later.
    assert sorted(HELD.findall(two.stdout)) == [
        ("0", "2", "2953", found),
        ("1", "2", "2952", found),
    ]
    assert HELD.sub("", two.stdout).strip() == ""


CHECKS: dict[str, Callable[[str, Path], None]] = {
    "data_parallel": check_data_parallel,
    "search_joblib": partial(check_search, engine="loky"),
    "search_dask": partial(check_search, engine="dask"),
    "search_ray": partial(check_search, engine="ray"),
}
