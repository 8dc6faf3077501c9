"""The parameter `accelerator` in one process."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sksurvtorch import CoxNNRegressor
from sksurvtorch.estimators import _accelerate
from tests.contract.data_parallel import fits, shares
from tests.contract.data_parallel.launches import assert_equal


@pytest.mark.usefixtures("fresh_accelerate")
@pytest.mark.parametrize("options", [{}, {"momentum": True}, {"early_stopping": True}])
def test_in_one_process_it_changes_nothing(options):
    share = shares.Share(0, 1, Path())
    told = [fits.fit(share, shares.ALL, accelerator=x, **options) for x in ("auto", None)]
    assert_equal(told[:1], told[1])


@pytest.mark.usefixtures("fresh_accelerate")
def test_an_accelerator_of_ones_own_keeps_nothing_of_a_training():
    from accelerate import Accelerator

    made, share = Accelerator(cpu=True), shares.Share(0, 1, Path())
    model = fits.estimator(share, accelerator=made, batch_size=shares.BATCH)
    model.fit(shares.DATA["X"], shares.DATA["y"])
    again = pickle.loads(pickle.dumps(clone(model).fit(shares.DATA["X"], shares.DATA["y"])))
    np.testing.assert_array_equal(*(x.predict(shares.DATA["X"]) for x in (model, again)))
    assert not made._models + made._optimizers


@pytest.mark.parametrize("given", [3, True, object(), torch.device("cpu")])
def test_another_accelerator_is_refused(given):
    with pytest.raises(
        TypeError, match=r"^`accelerator` must be None, 'auto' or an accelerate.Accelerator, got"
    ):
        CoxNNRegressor(accelerator=given).fit(shares.DATA["X"], shares.DATA["y"])


def test_another_word_is_refused():
    with pytest.raises(ValueError, match=r"^`accelerator` must be .*'auto'.*, got 'gpu'"):
        CoxNNRegressor(accelerator="gpu").fit(shares.DATA["X"], shares.DATA["y"])


def test_accelerate_is_asked_for_by_its_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"^`accelerator` needs the package accelerate. Install"):
        CoxNNRegressor(accelerator="auto").fit(shares.DATA["X"], shares.DATA["y"])


def test_a_device_with_a_number_is_refused(monkeypatch):
    numbered = torch.device("cuda", 1)
    monkeypatch.setattr(_accelerate.validation, "resolve_device", lambda device: numbered)
    with pytest.raises(ValueError, match=r"^`device` must have no number .*, got 'cuda:1'"):
        CoxNNRegressor(accelerator="auto").fit(shares.DATA["X"], shares.DATA["y"])
