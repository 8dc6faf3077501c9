"""A search whose fits are in other processes: joblib's loky, Dask, Ray."""

from __future__ import annotations

import os
import pickle
import time
from contextlib import contextmanager
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.pool import PicklingPool
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.datasets import load_whas500

from sksurvtorch import CoxNNRegressor

N_SPLITS = 3
FAILS = -1.0  # no `alpha`
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # torch takes the smaller number


@contextmanager
def loky(patch):
    """Two processes whose threads are limited whatever the environment says."""
    for name in THREADS:
        patch.setenv(name, "2")
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        yield
    get_reusable_executor().shutdown()


@contextmanager
def dask(patch):
    """Two processes whose threads Dask limits, as it does without the variable."""
    distributed = pytest.importorskip("dask.distributed", reason="needs Dask")
    for name in THREADS:
        patch.delenv(name, raising=False)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        yield


@contextmanager
def ray(patch):
    """Two processes whose threads Ray limits, and two GPUs, which Ray does not look for."""
    ray = pytest.importorskip("ray", reason="needs Ray")
    from ray.util.joblib import register_ray

    for name in THREADS:
        patch.delenv(name, raising=False)
    patch.setenv("RAY_worker_niceness", "0")  # on a busy machine they would wait for long
    bases = PicklingPool.__bases__  # of joblib, which Ray's backend changes
    register_ray()
    ray.init(
        "local",
        num_cpus=2,
        num_gpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )
    with joblib.parallel_config("ray", n_jobs=2):
        yield
    ray.shutdown()
    PicklingPool.__bases__ = bases


ENGINES = {"loky": loky, "dask": dask, "ray": ray}


def score(model, X, y, folder=None):
    """Return the concordance, and where it was computed, once two processes compute."""
    if folder is not None:
        (folder / str(os.getpid())).touch()
        end = time.monotonic() + 60
        while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.01)
    place = {"process": os.getpid(), "threads": torch.get_num_threads()}
    return {"concordance": model.score(X, y), **place}


def make_search(**options):
    X, y = load_whas500()
    net = CoxNNRegressor(
        n_estimators=1, hidden_layer_sizes=(8,), dropout=0.2, max_epochs=5, random_state=0
    )
    grid = {"coxnnregressor__alpha": [1.0, FAILS, 100.0]}
    search = GridSearchCV(
        make_pipeline(StandardScaler(), net),
        grid,
        cv=KFold(N_SPLITS, shuffle=True, random_state=0),
        refit="concordance",
        **options,
    )
    return search, X.astype(float), y


def fit(search, X, y):
    """Fit a search one of whose candidates fails."""
    with (
        pytest.warns(UserWarning, match="scores are non-finite"),
        pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 9"),
    ):
        return search.fit(X, y)


def scores(search, name):
    """All of one score, of shape (n_candidates, n_splits)."""
    columns = [search.cv_results_[f"split{k}_test_{name}"] for k in range(N_SPLITS)]
    return np.stack(columns, axis=1)


@pytest.fixture(scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(one_thread):
    """The search in this process."""
    search, X, y = make_search(scoring=score)
    with joblib.parallel_config("sequential"):
        return fit(search, X, y)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    with pytest.MonkeyPatch.context() as patch, ENGINES[request.param](patch):
        yield request.param


@pytest.fixture(scope="module")
def search(engine, one_thread, tmp_path_factory):
    """The search in two other processes."""
    folder = tmp_path_factory.mktemp(engine)
    search, X, y = make_search(scoring=partial(score, folder=folder))
    return fit(search, X, y)


def test_its_results_are_those_of_one_process_to_the_bit(search, alone):
    ours, expected = (scores(one, "concordance") for one in (search, alone))
    np.testing.assert_array_equal(ours, expected)
    assert len(np.unique(ours[~np.isnan(ours)])) == 6
    assert search.best_params_ == alone.best_params_
    assert search.best_score_ == alone.best_score_
    X = make_search()[1]
    np.testing.assert_array_equal(search.predict(X), alone.predict(X))


def test_each_fit_is_in_one_of_two_processes_with_one_thread(search, alone):
    worked = ~np.isnan(scores(search, "concordance"))
    processes = set(scores(search, "process")[worked])
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert set(scores(search, "threads")[worked]) == {1}
    assert set(scores(alone, "process")[worked]) == {os.getpid()}


def test_a_candidate_that_fails_has_the_error_score(search):
    failed = np.isnan(scores(search, "concordance")).all(axis=1)
    np.testing.assert_array_equal(
        failed, search.cv_results_["param_coxnnregressor__alpha"] == FAILS
    )


def test_a_fitted_search_is_fitted_again_and_raises_the_error_of_a_fit(search):
    """scikit-learn sends the fitted search along with each of its tasks."""
    _, X, y = make_search()
    # One fit, as importing takes long in the new process that it has with Ray.
    again = pickle.loads(pickle.dumps(search)).set_params(
        param_grid={"coxnnregressor__alpha": [FAILS]},
        cv=[next(KFold(N_SPLITS).split(X))],
        error_score="raise",
    )
    with pytest.raises(ValueError, match=r"^`alpha` must be .*, got -1.0"):
        again.fit(X, y)


def test_a_search_can_be_pickled(search, alone):
    X = make_search()[1]
    stored = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(stored.predict(X), alone.predict(X))
    np.testing.assert_array_equal(scores(stored, "concordance"), scores(search, "concordance"))


@pytest.mark.parametrize("engine", ["ray"], indirect=True)
def test_ray_gives_each_worker_a_gpu(engine):
    ask = joblib.delayed(os.getenv)("CUDA_VISIBLE_DEVICES")
    with joblib.parallel_config("ray", n_jobs=2, ray_remote_args={"num_gpus": 1}):
        assert sorted(joblib.Parallel()([ask] * 2)) == ["0", "1"]
