"""The code of the README and of the pages runs, block after block, and prints what is shown.

A block of Python that is followed at once by a block of text prints that text.
"""

from __future__ import annotations

import ast
import io
import math
import re
import warnings
from collections import Counter
from contextlib import redirect_stdout
from functools import reduce
from importlib import import_module
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sksurv.datasets import load_aids, load_whas500

from benchmarks import dacapo_losses
from sksurvtorch import CoxNNRegressor

ROOT = Path(__file__).parents[2]
# The code, and what it prints.
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n?```text\n(?P<shown>.*?)^```)?", re.DOTALL | re.MULTILINE
)
FENCE = re.compile(r"^```([\w{}-]+)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What is run here; its output; commands; what Sphinx puts in from files that run elsewhere.
RUN, SHOWN, TYPED = "python", "text", {"sh", "console"}
INCLUDED = {"{include}", "{literalinclude}", "{toctree}", "{grid}", "{grid-item-card}"}
# Code that needs what the tests have not: GPUs.
NOT_RUN = Counter({("docs/guide/parallel_search.md", "py"): 1})
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")
# The last name of a call whose value may be thrown away, since it does something.
ACTS = {
    *("print", "fit", "partial_fit", "set_params", "save", "export_onnx", "dump", "append"),
    *("manual_seed", "zero_grad", "backward", "step", "eval", "from_estimator", "set", "close"),
    *("write_table", "savefig", "legend", "plot", "__init__", "set_fit_request", "optimize"),
    *(
        "setLevel",
        "addHandler",
        "simplefilter",
        "set_tracking_uri",
        "log_params",
        "log_metric",
        "info",
    ),
}
# Pages with a pipeline that encodes categories.
ENCODED = {
    f"docs/{page}.md"
    for page in ("getting_started", "how_do_i", "guide/data", "guide/distributions", "guide/tuning")
}
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
    """Run the code of a page in a folder, compare what it prints, and return its names."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names = {"__name__": page}
    for block in BLOCK.finditer((ROOT / page).read_text()):
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(block["code"], page, "exec"), names)
        if block["shown"] is not None:
            compare(printed.getvalue(), block["shown"])
    plt.close("all")  # those of several pages together would be warned of
    return names


def compare(printed, shown):
    """Numbers agree within 5 % or 0.02, since processors round differently; the rest is equal."""
    rest = ["".join(NUMBER.sub("#", text).split()) for text in (printed, shown)]
    assert rest[0] == rest[1], printed
    for got, expected in zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True):
        close = math.isclose(float(got), float(expected), rel_tol=0.05, abs_tol=0.02)
        assert close, f"{got} is not near {expected} in:\n{printed}"


def code_of(page):
    return [block["code"] for block in BLOCK.finditer((ROOT / page).read_text())]


def rows_of_moving():
    return [row for row in ROW.findall((ROOT / MOVING).read_text()) if not set(row[0]) <= {"-"}]


def pages_to_run():
    """One page for each text of code: the start of the site shows what the README shows."""
    blocks = {page: BLOCK.findall((ROOT / page).read_text()) for page in pages()}
    return list({str(text): page for page, text in reversed(blocks.items())}.values())[::-1]


# shap 0.51 sets the colours of a colormap when it is imported.
@pytest.mark.filterwarnings("ignore:The set_:PendingDeprecationWarning")
@pytest.mark.parametrize("page", pages_to_run())
def test_code_on_the_page_runs(page, tmp_path, monkeypatch):
    names = run(page, tmp_path, monkeypatch)
    encoders = [value for value in names.values() if encodes_any_frame(value)]
    assert bool(encoders) == (page in ENCODED)
    for encoder in encoders:
        fit_to_rare_categories(encoder)
    if page == MOVING:  # what is here for those who move runs, too
        snippets = [code for _, here in rows_of_moving() for code in CODE.findall(here)]
        assert len(snippets) > 40
        for code in snippets:
            eval(compile(code, MOVING, "eval"), names)


def encodes_any_frame(value):
    return isinstance(value, ColumnTransformer) and all(
        callable(columns) for *_, columns in value.transformers
    )


def fit_to_rare_categories(encoder):
    """Folds of load_aids lack categories that the other rows have; a warning would be an error."""
    X, y = load_aids()
    unknown = 0
    for train, test in KFold(5, shuffle=True, random_state=0).split(X):
        seen, new = X.iloc[train], X.iloc[test]
        unknown += sum(
            not set(new[name]) <= set(seen[name]) for name in X if X[name].dtype != float
        )
        model = make_pipeline(
            clone(encoder), CoxNNRegressor(n_estimators=1, max_epochs=2, random_state=0)
        )
        assert np.isfinite(model.fit(seen, y[train]).score(new, y[test]))
    assert unknown


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("concordance 0.69", "concordance 0.60"),
        ("concordance 0.69", "Concordance 0.69"),
        ("3 events", "4 events"),
        ("[0.5 inf]", "[0.5 2.0]"),
        ("0.69 0.70", "0.69"),
        ("", "0.69"),
    ],
)
def test_what_is_printed_is_compared(printed, shown):
    compare("risk\n[ 0.41  -1.502]", "risk [0.4 -1.5]")
    with pytest.raises(AssertionError):
        compare(printed, shown)


def test_every_block_of_code_is_run():
    """A block with another fence would not be."""
    fences = Counter(
        (page, kind)
        for page in pages()
        for kind, _ in FENCE.findall((ROOT / page).read_text())
        if kind not in {RUN, SHOWN, *TYPED, *INCLUDED}
    )
    assert fences == NOT_RUN
    for path in [*(ROOT / "docs" / "api").glob("*.rst"), ROOT / "examples" / "README.rst"]:
        assert not re.search(
            r"code-block|testcode|>>>|^[^.\n]*::$", path.read_text(), re.MULTILINE
        ), path


@pytest.mark.parametrize("page", [page for page in pages() if page != "README.md"])
def test_blocks_are_narrow_and_print_what_they_compute(page):
    """A value that is neither kept nor printed is lost where the block is pasted into a file."""
    for kind, block in FENCE.findall((ROOT / page).read_text()):
        if kind in {RUN, SHOWN, *TYPED}:
            assert max(map(len, block.splitlines())) <= 80, block
    for code in code_of(page):
        for statement in ast.walk(ast.parse(code)):
            if isinstance(statement, ast.Expr) and not is_docstring(statement):
                assert acts(statement.value), ast.unparse(statement)


def is_docstring(statement):
    return isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)


def acts(call):
    """Whether an expression is a call that does something."""
    if not isinstance(call, ast.Call):
        return False
    called = call.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in ACTS


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
