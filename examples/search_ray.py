"""
A search on Ray
===============

Ray's joblib backend starts its workers for every search, each with one thread, on the CPUs of a
local or a remote Ray. Needs ``pip install ray``.

The script takes the number of folds as an argument; the default is 5.
"""

import os
import sys
from time import perf_counter

import joblib
import numpy as np
import ray
import torch
from ray.util.joblib import register_ray
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sksurv.datasets import load_gbsg2
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor


def score(model, X, y):
    """Return the concordance, and in which process it was computed, with how many threads."""
    place = {"process": os.getpid(), "threads": torch.get_num_threads()}
    return {"concordance": model.score(X, y), **place}


def make_search(n_folds):
    """Return a search, and the data to fit it to."""
    X, y = load_gbsg2()  # 686 women after surgery for breast cancer
    y = Surv.from_arrays(event=y["cens"], time=y["time"])
    encode = make_column_transformer(
        (
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            make_column_selector(dtype_exclude="number"),
        ),
        remainder="passthrough",
    )
    model = make_pipeline(encode, CoxNNRegressor(n_estimators=1, random_state=0))
    grid = {
        "coxnnregressor__hidden_layer_sizes": [(32,), (64, 64)],
        "coxnnregressor__alpha": [1, 10, 100],
    }
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=0).split(X, y["event"])
    return GridSearchCV(model, grid, cv=list(folds), scoring=score, refit="concordance"), X, y


def scores(search, name):
    """Return one of the scores for each split and candidate."""
    columns = [f"split{split}_test_{name}" for split in range(search.n_splits_)]
    return np.array([search.cv_results_[column] for column in columns])


def report(name, search, seconds):
    """Print how long a search took, and where it fitted."""
    processes = set(scores(search, "process").ravel())
    others = len(processes - {os.getpid()})
    threads = scores(search, "threads").max()
    print(f"{name:10}{seconds:8.1f}{len(processes):11}{others:8}{threads:9.0f}")


def main():
    torch.set_num_threads(1)  # in this process; networks this small gain nothing from more
    search, X, y = make_search(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    print("           seconds  processes  others  threads")
    start = perf_counter()
    alone = clone(search).fit(X, y)
    report("n_jobs=1", alone, perf_counter() - start)

    start = perf_counter()
    os.environ.update(RAY_worker_niceness="0")  # by default workers give way to other programs
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level="error")
    register_ray()
    ready = perf_counter()
    with joblib.parallel_config("ray", n_jobs=2):
        search.fit(X, y)
    report("ray", search, perf_counter() - ready)
    ray.shutdown()
    print(f"Ray took {ready - start:.1f} s to start")

    equal = np.array_equal(scores(search, "concordance"), scores(alone, "concordance"))
    print(f"scores equal to the bit: {equal}")
    print(f"best parameters: {search.best_params_}")
    print(f"concordance: {search.best_score_:.4f}")


if __name__ == "__main__":
    main()
