"""Competing risks in momentum mode: the bank holds status and time of earlier batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import nn

from sksurvtorch import CompetingRisksNNRegressor, CoxNNRegressor
from sksurvtorch.functional import CompetingRiskSets
from sksurvtorch.functional import competing_risks_neg_log_likelihood as competing
from sksurvtorch.losses import CompetingRisksLoss, Momentum, MomentumLoss, MomentumNetwork
from sksurvtorch.nets import competing_risks_target, competing_risks_y
from sksurvtorch.nets.targets import competing_risks_target_of
from tests.cohorts import assert_close
from tests.competing_twins import loss as twin
from tests.competing_twins import random_risks

HAZARDS = ("cause-specific", "subdistribution")
either_hazard = pytest.mark.parametrize("hazard", HAZARDS)
BASE = {"momentum": True, "hidden_layer_sizes": (4,), "max_epochs": 3, "random_state": 0}


class Watch(Callback):
    """Keeps inputs, both outputs and the loss of each step."""

    def __init__(self, batches):
        self.batches = batches

    def __deepcopy__(self, memo):
        return self

    def on_batch_end(self, net, batch, training, loss, y_pred, **kwargs):
        self.batches.append((batch[0], *y_pred, loss.item()))


def patients(n=120):
    """Three features: the first is for cause 1, the second for cause 2."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3)).astype(np.float32)
    each = rng.exponential(np.exp(-X[:, :2]))
    time, censoring = each.min(1), rng.exponential(2.0, n)
    status = np.where(time <= censoring, 1 + each.argmin(1), 0)
    return X, competing_risks_y(status, np.minimum(time, censoring))


@either_hazard
@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("with_", [(), ("weight",), ("stratum",)], ids=str)
def test_the_loss_is_that_of_bank_and_batch_together(with_, ties, hazard):
    cohort = random_risks(3, n=36, with_=with_)
    target = {name: x for name, x in cohort.target.items() if x is not None}
    criterion = MomentumLoss(CompetingRisksLoss(ties=ties, hazard=hazard), bank_size=12)
    averages = cohort.log_hazard_ratio + 0.5  # what the average says of the rows
    for rows in torch.arange(36).split(12):
        online = cohort.log_hazard_ratio[rows].requires_grad_()
        batch = {name: x[rows] for name, x in target.items()}
        found = criterion((online, averages[rows]), batch)
        (gradient,) = torch.autograd.grad(found, online)
        pool = torch.arange(max(0, int(rows[0]) - 12), int(rows[-1]) + 1)
        of_pool = cohort.log_hazard_ratio[rows].detach().requires_grad_()
        output = torch.cat([averages[pool[:-12]], of_pool])
        columns = {name: x[pool] for name, x in target.items()}
        expected = twin(output, **columns, ties=ties, hazard=hazard)
        (expected_gradient,) = torch.autograd.grad(expected, of_pool)
        assert_close(found.detach(), expected.detach())
        assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("with_", [(), ("weight",), ("stratum", "entry")], ids=str)
def test_the_estimator_takes_the_censoring_of_all_rows_into_the_bank(with_):
    """That of a pool of few rows would be noise, and with late entry could not be estimated."""
    cohort = random_risks(5, n=60, with_=with_)
    columns = {name: x.numpy() for name, x in cohort.target.items() if x is not None}
    y = competing_risks_y(columns.pop("status"), columns.pop("time"))
    if "weight" in columns:
        columns["sample_weight"] = columns.pop("weight")
    X = np.arange(60.0).reshape(-1, 1)
    batches = []
    options = {"max_epochs": 1, "batch_size": 10, "momentum_steps": 2, "dtype": "float64"}
    CompetingRisksNNRegressor(
        **BASE | options,
        alpha=0.0,
        hazard="subdistribution",
        callbacks=[Watch(batches)],
    ).fit(X, y, **columns)
    kept = cohort.rows(cohort.weight > 0) if "weight" in with_ else cohort
    whole = CompetingRiskSets(**kept.target, hazard="subdistribution")
    numbers = torch.arange(60)[cohort.weight > 0] if "weight" in with_ else torch.arange(60)
    assert len(batches) == -(-len(kept) // 10)
    pool = torch.zeros(0, dtype=torch.int64)
    outputs = torch.zeros(0, 2, dtype=torch.float64)
    for inputs, online, target, loss in batches:
        rows = torch.searchsorted(numbers, inputs[:, 0].long())
        both = torch.cat([pool, rows])
        expected = competing(torch.cat([outputs, online]), risk_sets=whole.take(both))
        assert loss == pytest.approx(expected.item(), rel=1e-12)
        pool, outputs = both[-20:], torch.cat([outputs, target])[-20:]


def test_rows_of_another_call_have_weights_on_the_same_scale():
    """Of two calls each has its own curve of the censoring, and no other constant."""
    criterion = CompetingRisksLoss(hazard="subdistribution")

    def columns(status, time):
        given = {"status": torch.tensor(status), "time": torch.tensor(time)}
        return competing_risks_target_of(given, criterion, 2).for_bank()

    # Nobody is censored before the events, so the row of the first call has a weight of 1.
    first, second = columns([2], [2.0]), columns([1] + [0] * 9, [3.0 + k for k in range(10)])
    momentum = MomentumLoss(criterion, bank_size=100)
    momentum((torch.zeros(1, 2), torch.zeros(1, 2)), first)
    loss = momentum((torch.zeros(10, 2), torch.zeros(10, 2)), second)
    # Both risk sets have 11 rows.
    assert (2 * loss).exp().item() == pytest.approx(11 * 11, rel=1e-5)


def test_a_row_of_weight_0_is_no_event():
    criterion = MomentumLoss(CompetingRisksLoss(), bank_size=4)
    status, time, weight = torch.tensor([2, 1, 0]), torch.arange(3), torch.tensor([0.0, 1.0, 1.0])
    zeros = torch.zeros(3, 2)
    loss = criterion((zeros, zeros), status, time, weight=weight)
    assert loss.exp().item() == pytest.approx(2.0)
    assert criterion.bank.columns["status"].tolist() == [0, 1, 0]


def test_a_batch_that_is_judged_has_its_own_censoring():
    cohort = random_risks(3, n=12)
    target = {name: x for name, x in cohort.target.items() if x is not None}
    criterion = MomentumLoss(CompetingRisksLoss(hazard="subdistribution"), bank_size=4).eval()
    known = {**target, "log_censoring": torch.zeros(12)}
    expected = twin(cohort.log_hazard_ratio, **target, hazard="subdistribution")
    assert_close(criterion(cohort.log_hazard_ratio, known), expected)


def test_momentum_in_a_plain_loop():
    torch.manual_seed(0)
    X, y = patients()
    momentum = Momentum(nn.Linear(3, 2, bias=False), CompetingRisksLoss(), bank_size=40, rate=0.9)
    optimizer = torch.optim.Adam(momentum.online.parameters(), lr=0.02)
    status, time = (torch.from_numpy(y[name].copy()) for name in ("status", "time"))
    for _ in range(20):
        for rows in torch.randperm(len(y)).split(20):
            momentum(torch.from_numpy(X[rows]), status[rows], time[rows]).backward()
            optimizer.step()
            optimizer.zero_grad()
    weight = momentum.target.weight.detach()
    assert (weight.argmax(1) == torch.tensor([0, 1])).all()


def test_a_plain_skorch_net():
    X, y = patients()
    net = NeuralNet(
        MomentumNetwork,
        module__backbone=nn.Linear(3, 2),
        criterion=MomentumLoss,
        criterion__loss=CompetingRisksLoss(),
        criterion__bank_size=30,
        batch_size=15,
        max_epochs=2,
        train_split=None,
        verbose=0,
    )
    net.fit(X, competing_risks_target(y, index=np.arange(len(y))))
    assert len(net.criterion_.bank) == 30
    assert net.criterion_.bank.columns.keys() == {"status", "time", "index"}


@either_hazard
def test_the_estimator_learns_from_single_rows(hazard):
    """A batch of one has no likelihood of its own."""
    X, y = patients(300)
    options = BASE | {"batch_size": 1, "hidden_layer_sizes": (), "momentum_steps": 100}
    model = CompetingRisksNNRegressor(hazard=hazard, **options).fit(X, y)
    assert model.n_estimators_ == 1
    assert model.score(X, y) > 0.65
    assert model.set_params(cause=2).score(X, y) > 0.65
    assert len(model.net_.criterion_.bank) == 100


@pytest.mark.parametrize("strata", [False, True])
def test_one_cause_is_the_cox_model(strata):
    X, y = patients()
    both = [("event", bool), ("time", float)]
    plain = np.array(list(zip(y["status"] > 0, y["time"], strict=True)), dtype=both)
    one = competing_risks_y(y["status"] > 0, y["time"])
    columns = {"stratum": np.where(X[:, 2] > 0, "a", "b")} if strata else {}
    options = BASE | {"batch_size": 16, "dtype": "float64"}
    ours = CompetingRisksNNRegressor(**options).fit(X, one, **columns)
    cox = CoxNNRegressor(**options).fit(X, plain, **columns)
    np.testing.assert_allclose(ours.predict(X), cox.predict(X), rtol=0, atol=1e-12)


@either_hazard
def test_calls_of_partial_fit_keep_the_bank(hazard):
    """Other weights make another curve of the censoring, and no other rows."""
    X, y = patients()
    options = BASE | {"batch_size": 16, "momentum_steps": 2, "hazard": hazard}
    model = CompetingRisksNNRegressor(**options)
    for last in (1, 2):
        model.partial_fit(X, y, sample_weight=np.linspace(1, last, len(y)))
    index = model.net_.criterion_.bank.columns["index"]
    assert len(index) == len(set(index.tolist())) == 32
    assert int(index.max()) < len(y)
