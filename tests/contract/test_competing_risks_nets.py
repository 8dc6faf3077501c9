"""The loss of competing risks as criterion of a net: plain skorch, and `SurvivalNet`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_validate
from skorch import NeuralNet
from skorch.callbacks import EpochScoring
from skorch.helper import SliceDict
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CompetingRisksLoss, CoxPHLoss, WeibullAFTLoss
from sksurvtorch.functional import CompetingRiskSets
from sksurvtorch.functional import competing_risks_neg_log_likelihood as competing
from sksurvtorch.metrics import concordance_index_competing_risks
from sksurvtorch.nets import (
    SurvivalNet,
    competing_risks_target,
    competing_risks_y,
    survival_target,
)
from sksurvtorch.nets.targets import target_of

either_hazard = pytest.mark.parametrize("hazard", ["cause-specific", "subdistribution"])


def patients(n=400):
    """The first feature raises the hazard of cause 1, the second that of cause 2."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    one, two = rng.exponential(np.exp(-1.5 * X[:, 0])), rng.exponential(np.exp(-1.5 * X[:, 1]))
    time = np.minimum(np.minimum(one, two), rng.exponential(1.0, n))
    status = np.select([time == one, time == two], [1, 2], 0)
    return X, competing_risks_y(status, np.ceil(100 * time))


def net(kind, hazard, **options):
    torch.manual_seed(0)
    defaults = {"max_epochs": 25, "lr": 0.3, "batch_size": 100, "train_split": None, "verbose": 0}
    return kind(
        nn.Linear,
        module__in_features=4,
        module__out_features=2,
        module__bias=False,
        criterion=CompetingRisksLoss,
        criterion__hazard=hazard,
        iterator_train__shuffle=True,
        **(defaults | options),
    )


@either_hazard
@pytest.mark.parametrize("kind", [NeuralNet, SurvivalNet])
def test_a_net_learns_which_feature_is_for_which_cause(kind, hazard):
    X, y = patients()
    target = competing_risks_target(y)
    assert isinstance(target, SliceDict)
    fitted = net(kind, hazard).fit(X, target)
    weights = fitted.module_.weight.detach().abs()
    assert (weights[:, :2].argmax(1) == torch.tensor([0, 1])).all()
    risk = fitted.predict(X)
    for cause in (1, 2):
        found = concordance_index_competing_risks(y, risk[:, cause - 1], cause=cause)[0]
        assert found > 0.75
    folds = cross_validate(
        clone(fitted),
        X,
        target,
        cv=KFold(2, shuffle=True, random_state=0),
        scoring=lambda model, X, y: -model.get_loss(model.forward(X), y).item(),
    )
    assert np.isfinite(folds["test_score"]).all()


@either_hazard
def test_batches_of_a_survival_net_have_the_censoring_of_all_rows(hazard):
    """A step of plain gradient descent on each batch, by the loss of its risk sets."""
    X, y = patients()
    batches, seen = [], []

    class Watched(SurvivalNet):
        def train_step(self, batch, **options):
            seen.append((batch, self.module_.weight.detach().clone()))
            result = super().train_step(batch, **options)
            batches.append(result["loss"].item())
            return result

    fitted = net(Watched, hazard, max_epochs=1, lr=0.1).fit(X, y)
    assert len(batches) == 4
    target = competing_risks_target(y)
    whole = CompetingRiskSets(
        torch.from_numpy(target["status"]), torch.from_numpy(target["time"]), hazard=hazard
    )
    features = torch.from_numpy(X)
    for ((inputs, _), weight), loss in zip(seen, batches, strict=True):
        rows = torch.tensor([int((features == row).all(1).nonzero()) for row in inputs])
        expected = competing(inputs @ weight.T, risk_sets=whole.take(rows))
        assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert fitted.history[0, "train_loss"] == pytest.approx(np.mean(batches), rel=0.1)


@either_hazard
def test_columns_reach_the_loss(hazard):
    X, y = patients()
    rng = np.random.default_rng(1)
    columns = {
        "stratum": rng.choice(["a", "b"], len(y)),
        "weight": rng.choice([0.0, 1.0, 2.0], len(y)),
    }
    if hazard == "cause-specific":
        columns["entry"] = y["time"] * rng.uniform(0, 0.9, len(y))
    target = competing_risks_target(y, **columns)
    assert set(target) == {"status", "time", *columns}
    for kind in (NeuralNet, SurvivalNet):
        fitted = net(kind, hazard, max_epochs=1, batch_size=-1 if kind is NeuralNet else 400, lr=0)
        fitted.fit(X, target)
        weight = fitted.module_.weight.detach()
        tensors = {name: torch.as_tensor(x) for name, x in target.items()}
        expected = competing(torch.from_numpy(X) @ weight.T, **tensors, hazard=hazard)
        assert fitted.history[0, "train_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_scoring_callbacks_get_status_and_time():
    X, y = patients()

    def score(net, X, y):
        assert y.dtype.names == ("status", "time")
        return concordance_index_competing_risks(y, net.predict(X)[:, 0])[0]

    callback = EpochScoring(score, on_train=True, name="concordance", lower_is_better=False)
    fitted = net(SurvivalNet, "cause-specific", callbacks=[callback], max_epochs=3).fit(X, y)
    assert fitted.history[-1, "concordance"] > 0.7


def test_outputs_without_events_are_told():
    X, y = patients()
    y["status"] = np.minimum(y["status"], 1)
    with pytest.raises(ValueError, match=r"^`log_hazard_ratio` must have 1 columns, one for each"):
        net(SurvivalNet, "cause-specific").fit(X, y)


def test_rows_without_the_last_cause_train_a_net_that_knows_of_it():
    X, status, time = torch.randn(30, 3), torch.arange(30) % 2, torch.arange(1.0, 31)
    y = competing_risks_target(competing_risks_y(status, time))
    net = SurvivalNet(
        nn.Linear(3, 3, bias=False), criterion=CompetingRisksLoss, criterion__n_causes=3,
        max_epochs=1, verbose=0,
    )  # fmt: skip
    net.fit(X, y).partial_fit(X, y)
    assert net.predict(X).shape == (30, 3)
    with pytest.raises(ValueError, match="`log_hazard_ratio` must have 3 columns, the `n_causes`"):
        CompetingRisksLoss(n_causes=3)(torch.zeros(30, 2), status, time)
    with pytest.raises(ValueError, match="`n_causes` must be at least 1, got 0"):
        CompetingRisksLoss(n_causes=0)


@pytest.mark.parametrize(
    ("criterion", "target", "sentence"),
    [
        (CompetingRisksLoss, survival_target, "status and time for CompetingRisksLoss, got event"),
        (CoxPHLoss, competing_risks_target, "event and time for CoxPHLoss, got status"),
        (WeibullAFTLoss, competing_risks_target, "event and time for WeibullAFTLoss, got status"),
    ],
)
def test_a_target_of_the_other_kind_is_refused(criterion, target, sentence):
    status, time = np.arange(6) % 2, np.arange(1.0, 7)
    make = competing_risks_y if target is competing_risks_target else Surv.from_arrays
    y = target(make(status if target is competing_risks_target else status > 0, time))
    net = SurvivalNet(nn.Linear(3, 2), criterion=criterion, max_epochs=1, verbose=0)
    with pytest.raises(ValueError, match=f"`y` must have {sentence}, time. Make it with"):
        net.fit(torch.randn(6, 3), y)


@either_hazard
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_members_of_an_ensemble_add_up_their_losses(reduction, hazard):
    _, y = patients(60)
    columns = {name: torch.as_tensor(x) for name, x in competing_risks_target(y).items()}
    criterion = CompetingRisksLoss(hazard=hazard, reduction=reduction)
    whole = target_of(criterion, columns, lay_out=True)
    assert whole.event.sum() == (y["status"] > 0).sum()
    parts = [whole.take(torch.arange(start, 60, 3)) for start in range(3)]
    outputs = torch.randn(3, 20, 2, generator=torch.Generator().manual_seed(0)).double()
    factors = [1.0, 2.0, 0.5]
    found = parts[0].sum_of_losses(criterion, outputs, None, parts, factors)
    each = zip(factors, parts, outputs, strict=True)
    expected = sum(factor * part.loss(criterion, x, None) for factor, part, x in each)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
