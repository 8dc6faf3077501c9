"""How accurate the package is beside others, with defaults and tuned.

Run ``python benchmarks/accuracy.py`` (several hours on one core); it writes ``accuracy.md``
beside itself and a picture into ``docs/images``. Each learner, data set and fold is a line of
``accuracy.jsonl``, and what is there is not measured again: ``--folds 10`` adds five folds, and
``--folds 0`` writes the page alone. Learners whose package is missing are left out, and what is
measured of them stays.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice, product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from accuracy_learners import DEFAULTS, NEEDS, REFERENCE, TUNED, curves, fitted
from accuracy_page import write
from defaults import brier_times
from ensembles import parts
from sksurv.metrics import integrated_brier_score

from sksurvtorch.metrics import concordance_index_censored, concordance_index_ipcw

HERE = Path(__file__).parent
SMALL = ["veterans", "breast_cancer", "lung", "rossi", "whas500", "gbsg2", "aids", "dd"]
SIMULATED = [f"{kind}, n=1000" for kind in ("linear", "gaussian", "interaction", "steps")]
DATA = [*SMALL, *SIMULATED, "flchain"]

Result = dict[str, object]


def fold_of(name: str, fold: int):
    """Return features and target, and the rows to train on and to score, of one fold."""
    per_repeat = 2 if name in SIMULATED else 5
    return next(islice(parts(name, fold // per_repeat + 1), fold, None))


class OutOfTime(BaseException):
    """A learner takes too long; no `Exception`, which a search would take for a bad candidate."""


def expired(*_: object) -> None:
    """Stop a learner that takes too long."""
    raise OutOfTime


def scores(label: str, name: str, fold: int) -> Result:
    """Return the scores and seconds of one learner on one fold."""
    X, y, train, test = fold_of(name, fold)
    event, when = y.dtype.names
    inside, grid = brier_times(y, train, test)
    start = time.process_time()
    model, n_failed = fitted(label, name, X.iloc[train].to_numpy(), y[train])
    middle = time.process_time()
    new = X.iloc[test].to_numpy()
    risk, survival = model.predict(new), curves(model, new, grid)
    end = time.process_time()
    harrell = concordance_index_censored(y[test][event], y[test][when], risk)[0]
    uno = concordance_index_ipcw(y[train], y[test], risk, tau=grid[-1])[0]
    brier = integrated_brier_score(y[train], y[test][inside], survival[inside], grid)
    found = {"harrell": harrell, "uno": uno, "brier": brier}
    found |= {"fit": middle - start, "predict": end - middle}
    found |= {"failed": n_failed} if n_failed else {}
    return {key: round(float(value), 6) for key, value in found.items()}


def measured(label: str, name: str, fold: int, limit: int) -> Result:
    """Return the same, or the error of a learner that failed or took too long."""
    signal.signal(signal.SIGPROF, expired)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return scores(label, name, fold)
    except OutOfTime:
        return {"error": f"over {limit} s"}
    except Exception as error:  # it is printed in the page
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def read(path: Path) -> Iterator[Result]:
    """Yield what was measured."""
    if path.exists():
        yield from map(json.loads, path.read_text().splitlines())


def is_known(path: Path, line: Result) -> bool:
    """Whether a line was measured, perhaps by another process in the meantime."""
    return any(all(each[key] == line[key] for key in line) for each in read(path))


def measure(options: argparse.Namespace) -> None:
    """Measure what is not yet known, one line after the other."""
    here = [label for label in options.learners if find_spec(NEEDS.get(label, "numpy"))]
    # The first fit loads what a learner needs.
    for label in here:
        if not label.endswith("tuned"):
            measured(label, "veterans", 0, options.limit)
    for name, fold, label in product(options.data, range(options.folds), here):
        line: Result = {"data": name, "learner": label, "fold": fold}
        if not is_known(options.results, line):
            line |= measured(label, name, fold, options.limit)
            with options.results.open("a") as file:
                file.write(json.dumps(line) + "\n")


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    every = [REFERENCE, *DEFAULTS, *TUNED]
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--data", nargs="+", default=DATA, choices=DATA, metavar="DATA")
    parser.add_argument("--learners", nargs="+", default=every, choices=every, metavar="LEARNER")
    parser.add_argument("--limit", type=int, default=600, help="seconds of a learner and fold")
    parser.add_argument("--results", type=Path, default=HERE / "accuracy.jsonl")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.folds:
        measure(options)
    write(list(read(options.results)), DATA)


if __name__ == "__main__":
    main()
