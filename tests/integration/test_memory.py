"""What a loss takes of memory: the peak of a process before and after one call."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the peak of a process is read from /proc"
)

CALL = """
import torch
from sksurvtorch.functional import cox_neg_partial_log_likelihood as loss

torch.manual_seed(0)
n, case = {n}, "{case}"
event = torch.rand(n) < 0.5
time = torch.rand(n, dtype=torch.float64) + 1
if case == "spike":  # a third of the events on one day
    time[event & (torch.rand(n) < 1 / 3)] = 1.5
options = {{}}
if case == "entry":
    options = {{"entry": time * torch.rand(n, dtype=torch.float64)}}
if case == "strata":
    options = {{"stratum": torch.randint(0, n // 10, (n,)), "weight": torch.rand(n)}}
eta = torch.randn(n, requires_grad=True)
loss(eta[:100], event[:100], time[:100]).backward()
before = peak()
loss(eta, event, time, **options).backward()
print(peak() - before)
"""


@pytest.fixture
def extra_mebibytes(printed):
    """A function that returns by how much one call with its gradient raises the peak."""
    return lambda n, case: printed(CALL.format(n=n, case=case))


@pytest.mark.parametrize("case", ["plain", "spike", "entry", "strata"])
def test_a_million_rows_take_less_than_a_gibibyte(case, extra_mebibytes):
    assert extra_mebibytes(1_000_000, case) < 1024


def test_a_spike_of_ties_takes_no_more_memory_than_none(extra_mebibytes):
    """Padding distinct times by the largest tie would take gigabytes here."""
    assert extra_mebibytes(100_000, "spike") < extra_mebibytes(100_000, "plain") + 50


VOLUME = """
import torch
from sksurvtorch.losses import {loss}

def step(size):
    prediction = torch.empty(1, 20, size, size, size).normal_().requires_grad_()
    target, weight = (torch.empty(prediction.shape).uniform_() for _ in range(2))
    before = peak()
    {loss}({arguments})(prediction, (target, weight)).backward()
    return (peak() - before) / (prediction.nbytes / 2**20)

step(8)  # loads what torch loads on first use
print(step(80))
"""


@pytest.mark.parametrize(
    ("loss", "arguments"), [("MSELoss", ""), ("AffinitiesLoss", "10, 0.5"), ("HotDistanceLoss", "")]
)
def test_a_segmentation_loss_takes_little_more_than_its_gradient(loss, arguments, printed):
    """Plain expressions take from 2 to 3 times as much."""
    assert 0.9 < printed(VOLUME.format(loss=loss, arguments=arguments)) < 1.3


FIT = """
import numpy as np, torch
from sksurv.util import Surv
from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.estimators import _linear

_linear._N_EPOCHS = 1  # as much memory as more of them
rng = np.random.default_rng(0)
n, p = 120_000, 100
model = {model}

def data(n):
    y = Surv.from_arrays(rng.random(n) < 0.5, rng.integers(1, 1000, n))
    return rng.standard_normal((n, p), dtype=np.float32), y

model.fit(*data(300))
X, y = data(n)
before = peak()
model.fit(X, y).predict(X)
print((peak() - before) / (X.nbytes / 2**20))
"""


@pytest.mark.parametrize(
    ("model", "bound"),
    [
        ("CoxNNRegressor(n_estimators=1, max_epochs=1, batch_size=4096)", 2.0),
        # The rows of a member, of which its linear start has a copy, and each member's outputs.
        ("CoxNNRegressor(n_estimators=15, max_epochs=1)", 3.0),
        # As much memory as more epochs of it.
        ("CoxNNRegressor(hidden_layer_sizes=(), optimizer='lbfgs', max_epochs=1)", 2.0),
        ("WeibullAFTRegressor(n_estimators=1, max_epochs=1, batch_size=4096)", 1.0),
    ],
)
def test_a_fit_holds_at_most_one_copy_of_float32_inputs(model, bound, printed):
    """In units of X, which itself is not counted; a copy in float64 would be 2 alone."""
    assert printed(FIT.format(model=model)) < bound


STRATA = """
import numpy as np
from sksurv.util import Surv
from sksurvtorch import CoxNNRegressor

rng = np.random.default_rng(0)
model = CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs", max_epochs=1)

def fit_and_predict(n, n_strata):
    X = rng.standard_normal((n, 2), dtype=np.float32)
    y = Surv.from_arrays(rng.random(n) < 0.5, rng.random(n))
    stratum = np.arange(n) % n_strata
    model.fit(X, y, stratum=stratum)
    X, stratum = X[-5:], stratum[-5:]
    model.predict_survival_function(X, stratum=stratum)
    model.predict_survival_function(X, stratum=stratum, times=[model.last_times_.min()])
    model.predict_median(X, stratum=stratum)
    model.predict_expectation(X, stratum=stratum)

fit_and_predict(300, 30)  # loads what is loaded on first use
before = peak()
fit_and_predict({n}, {n_strata})
print(peak() - before)
"""


def test_a_baseline_of_many_strata_takes_no_table_of_them(printed):
    """It would be of 43 000 strata at 100 000 times: 32 GiB."""
    assert printed(STRATA.format(n=100_000, n_strata=43_000)) < 100
