"""What the examples of searches in several processes have to print, for `test_examples`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

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


CHECKS: dict[str, Callable[[str, Path], None]] = {
    "search_joblib": partial(check_search, engine="loky"),
    "search_dask": partial(check_search, engine="dask"),
    "search_ray": partial(check_search, engine="ray"),
}

#: What has to be installed besides, or else the example is skipped.
NEEDS = {"search_dask": "distributed", "search_ray": "ray"}
