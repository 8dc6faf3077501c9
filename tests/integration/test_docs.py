"""The code of the README and of the pages runs, block after block, and what is moved to exists."""

from __future__ import annotations

import re
import warnings
from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest
from sksurv.datasets import load_whas500

from benchmarks import dacapo_losses

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
MOVING = "docs/moving.md"
DACAPO = "dacapo.experiments.tasks.losses"
# `code`, of which a table has two columns: there, and here.
CODE = re.compile(r"`([^`]+)`")
ROW = re.compile(r"^\| (.+?) \| (.+?) \|$", re.MULTILINE)
PEER = re.compile(r"(?:torchsurv|torchtuples|pycox|lifelines|dacapo)(?:\.\w+)+")
NOT_HERE = "docs/what_it_does_not_do.md"
ELSEWHERE = re.compile(r"(?:sksurv|sksurvtorch|sklearn|lifelines|pycox)(?:\.\w+)+")


def pages():
    """The pages that have code; what is built or generated is none of them."""
    docs = ROOT / "docs"
    built = {docs / "_build", docs / "auto_examples"}
    paths = [path for path in sorted(docs.rglob("*.md")) if not built & set(path.parents)]
    paths = [path for path in [ROOT / "README.md", *paths] if BLOCK.search(path.read_text())]
    return [path.relative_to(ROOT).as_posix() for path in paths]


def run(page, folder, monkeypatch):
    """Run the code of a page in a folder and return its names."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names = {"__name__": page}
    for block in BLOCK.findall((ROOT / page).read_text()):
        exec(compile(block, page, "exec"), names)
    return names


def rows_of_moving():
    return [row for row in ROW.findall((ROOT / MOVING).read_text()) if not set(row[0]) <= {"-"}]


@pytest.mark.parametrize("page", pages())
def test_code_on_the_page_runs(page, tmp_path, monkeypatch):
    run(page, tmp_path, monkeypatch)


def test_what_is_here_for_those_who_move_runs(tmp_path, monkeypatch):
    names = run(MOVING, tmp_path, monkeypatch)
    snippets = [code for _, here in rows_of_moving() for code in CODE.findall(here)]
    assert len(snippets) > 40
    for code in snippets:
        eval(compile(code, MOVING, "eval"), names)


@pytest.fixture(scope="module")
def peers():
    """The objects of peers whose names cannot be found by import alone."""
    lifelines = import_module("lifelines")
    X, y = load_whas500()
    table = X.assign(event=y["fstat"], time=y["lenfol"])
    fitted = lifelines.CoxPHFitter().fit(table, "time", "event")  # has its methods once fitted
    return {"lifelines.CoxPHFitter": fitted, DACAPO: dacapo_losses.load()}


@pytest.mark.parametrize("package", ["torchsurv", "lifelines", "dacapo", "pycox", "torchtuples"])
def test_what_is_there_exists(package, peers):
    """Names are looked up in the versions that are installed; pycox may be missing."""
    names = {
        code
        for there, _ in rows_of_moving()
        for code in CODE.findall(there)
        if PEER.fullmatch(code) and code.split(".")[0] == package
    }
    assert names
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if package != "dacapo":
            pytest.importorskip(package)
        for name in names:
            find(name, peers)


@pytest.mark.parametrize("package", ["sksurv", "sksurvtorch", "sklearn", "lifelines", "pycox"])
def test_what_is_recommended_instead_exists(package, peers):
    """Names are looked up in the versions that are installed; pycox may be missing."""
    names = {
        code
        for code in CODE.findall((ROOT / NOT_HERE).read_text())
        if ELSEWHERE.fullmatch(code) and code.split(".")[0] == package
    }
    assert names
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(package)
        for name in names:
            find(name, peers)


def find(name, known):
    """Import the longest module of a dotted name, and take the rest as attributes."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        head = ".".join(parts[:n])
        try:
            return reduce(getattr, parts[n:], known[head] if head in known else import_module(head))
        except ModuleNotFoundError:
            continue
    raise AssertionError(name)
