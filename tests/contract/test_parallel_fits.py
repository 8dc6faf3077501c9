"""Fits by joblib in processes and threads are those of one process, to the bit."""

from __future__ import annotations

import time

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from torch import nn

from sksurvtorch import CoxNNRegressor
from tests.contract.small_models import KINDS, N_VETERANS_FEATURES, both, predictions, small


def fit_and_predict(model, X, y):
    return predictions(model.fit(X, y), X)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_parallel_fits_are_sequential_fits_to_the_bit(backend, veterans):
    """With dropout, whose random numbers torch draws from one generator per process."""
    X, y = veterans
    models = [
        small(kind, dropout=0.4, norm="batch", random_state=seed, max_epochs=4)
        for kind in KINDS
        for seed in range(3)
    ]
    jobs = [joblib.delayed(fit_and_predict)(clone(model), X, y) for model in models]
    alone = [function(*args, **kwargs) for function, args, kwargs in jobs]
    together = joblib.Parallel(n_jobs=2, backend=backend)(jobs)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, other)


class SlowNet(nn.Module):
    """Lets other threads run between one random number and the next."""

    def __init__(self, n_outputs=1):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(N_VETERANS_FEATURES, n_outputs)

    def forward(self, X):
        for _ in range(3):
            X = self.drop(X)
            time.sleep(1e-4)
        return self.last(X)


@both
def test_dropout_of_one_fit_is_not_touched_by_another_thread(kind, veterans):
    X, y = veterans
    jobs = [
        joblib.delayed(fit_and_predict)(small(kind, module=SlowNet, random_state=seed), X, y)
        for seed in range(4)
    ]
    alone = [function(*args, **kwargs) for function, args, kwargs in jobs]
    together = joblib.Parallel(n_jobs=4, backend="threading")(jobs)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_parallel_search_is_the_sequential_one_to_the_bit(backend, veterans):
    X, y = veterans
    grid = {"dropout": [0.0, 0.5]}
    search = GridSearchCV(small(CoxNNRegressor), grid, cv=KFold(2), error_score="raise")
    expected = search.fit(X, y)
    with joblib.parallel_backend(backend, n_jobs=2):
        parallel = clone(search).set_params(n_jobs=2).fit(X, y)
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(parallel.cv_results_[name], expected.cv_results_[name])
    np.testing.assert_array_equal(parallel.predict(X), expected.predict(X))
