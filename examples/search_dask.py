"""
A search on a Dask cluster
==========================

Two worker processes with one thread each, here on this machine; `Client("tcp://host:8786")` uses
the workers of another cluster. The workers import this file again, so its code is below
``if __name__ == "__main__"``. Needs ``pip install dask distributed``.

The script takes the number of folds as an argument; the default is 5.
"""

import os
import sys
from logging import CRITICAL
from time import perf_counter

import dask
import joblib
import numpy as np
import torch
from dask.distributed import Client, LocalCluster
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
    # Dask sets OMP_NUM_THREADS=1 for its workers, unless the variable is set already. Its profiler,
    # which looks at them a hundred times a second, would take a seventh of their time. Its log,
    # which complains where workers are slow to end, is left out: errors of fits are raised anyway.
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=CRITICAL
        ) as cluster,
        Client(cluster),
        joblib.parallel_config("dask"),
    ):
        ready = perf_counter()
        search.fit(X, y)
        report("dask", search, perf_counter() - ready)
    print(f"the cluster took {ready - start:.1f} s to start")

    equal = np.array_equal(scores(search, "concordance"), scores(alone, "concordance"))
    print(f"scores equal to the bit: {equal}")
    print(f"best parameters: {search.best_params_}")
    print(f"concordance: {search.best_score_:.4f}")


if __name__ == "__main__":
    main()
