"""Each example runs as a user would run it, without a word on stderr."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
ROW = re.compile(r"^([\w-]+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", re.MULTILINE)
MODELS = {
    "CoxNNRegressor",
    "WeibullAFTRegressor",
    "CoxPHSurvivalAnalysis",
    "CoxnetSurvivalAnalysis",
    "RandomSurvivalForest",
}


def run(script, folder):
    """Run a script in a folder and return what it prints."""
    done = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def check_quickstart(printed, folder):
    rows = {name: [float(number) for number in numbers] for name, *numbers in ROW.findall(printed)}
    harrell, ipcw, reference, _ = rows.pop("Kaplan-Meier")
    assert harrell == ipcw == 0.5
    assert rows.keys() == MODELS
    for name, (harrell, ipcw, brier, seconds) in rows.items():
        assert 0.5 < harrell < 1, name
        assert 0.5 < ipcw < 1, name
        assert 0 < brier < reference, name
        assert seconds > 0, name
    assert (folder / "quickstart.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_runs(script, tmp_path):
    printed = run(script, tmp_path)
    if script.stem == "quickstart":
        check_quickstart(printed, tmp_path)


def test_quickstart_is_there():
    assert "quickstart" in [script.stem for script in SCRIPTS]
