"""Several networks of competing risks: the rows of each, its training, and rows left out."""

from __future__ import annotations

import copy
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch

from sksurvtorch import CompetingRisksLoss
from sksurvtorch.estimators._ensemble import draw_members
from sksurvtorch.functional import CompetingRiskSets
from sksurvtorch.functional import competing_risks_neg_log_likelihood as competing
from sksurvtorch.metrics import concordance_index_competing_risks
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.rows import as_rows
from sksurvtorch.nets.targets import competing_risks_target_of
from tests.contract.risk_models import Mlp, columns_of, either_hazard, risks, small
from tests.contract.test_ensemble_training import Watch
from tests.contract.test_ensembles import rows_of_members


def dataset_of(counts):
    """Rows with so many censorings and events of each cause, in any order of time."""
    rng = np.random.default_rng(0)
    status = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    time = rng.permutation(len(status)) + 1.0
    columns = {"status": torch.from_numpy(status), "time": torch.from_numpy(time)}
    target = competing_risks_target_of(columns, CompetingRisksLoss(), len(counts) - 1)
    return SurvivalDataset(as_rows(torch.zeros(len(status), 1)), target).sorted()


@pytest.mark.parametrize("n_others", [5, 20, 33])
@pytest.mark.parametrize("n_rare", [1, 2, 3, 7, 12])
def test_each_member_leaves_out_its_share_of_each_cause(n_rare, n_others):
    dataset = dataset_of([17, n_others, n_rare])
    cause = dataset.cause
    for seed in range(5):
        kept = draw_members(dataset, 5, seed).numpy()
        n_events = n_rare + n_others
        assert kept.shape == (5, 17 + n_events - -(-n_events // 5) - 4)
        seen = np.stack([np.isin(np.arange(len(cause)), own) for own in kept])
        assert (~seen).any(0).all()  # each row is left out by some member
        for k, count in ((1, n_others), (2, n_rare)):
            left_out = (~seen)[:, cause == k].sum(1)
            # Members have as many events, so that a fifth may take in one of the next.
            assert left_out.max() <= -(-count // 5) + 1
            assert left_out.max() < count or count == 1
            assert left_out.min() < count


def test_several_causes_are_spread_as_one_where_five_divides_them():
    dataset = dataset_of([20, 25, 10, 5])
    kept = draw_members(dataset, 10, 0).numpy()
    counts = {tuple(np.bincount(dataset.cause[own])) for own in kept}
    assert counts == {(16, 20, 8, 4)}
    divisions = [set(range(60)) - set(own) for own in kept]
    assert len(set(map(frozenset, divisions))) == 10


@pytest.mark.parametrize("counts", [(40, 20, 11, 1), (10, 30, 2, 3)])
def test_rows_to_validate_with_are_a_share_of_each_cause(counts):
    dataset = dataset_of(counts)
    train, valid = dataset.split(0.2, 0)
    found = np.bincount(valid.cause, minlength=4)
    assert found.tolist() == [round(0.2 * count) for count in counts]
    assert (found + np.bincount(train.cause, minlength=4)).tolist() == list(counts)


def steps_by_hand(X, y, columns, rows, hazard, ties, n_steps, lr):
    """A network after steps of plain gradient descent, with the censoring of all rows."""
    torch.manual_seed(0)
    network = Mlp().double()
    given = {"status": y["status"].copy(), "time": y["time"].copy(), **columns}
    given = {name: torch.as_tensor(column) for name, column in given.items()}
    sets = CompetingRiskSets(**given, n_causes=2, hazard=hazard, ties=ties).take(rows)
    optimizer = torch.optim.SGD(network.parameters(), lr=lr)
    for _ in range(n_steps):
        optimizer.zero_grad()
        competing(network(torch.from_numpy(X)[rows]), risk_sets=sets).backward()
        optimizer.step()
    with torch.no_grad():
        return network(torch.from_numpy(X)).numpy()


@either_hazard
@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("names", [(), ("entry", "stratum", "sample_weight")])
def test_members_take_the_steps_of_a_plain_loop(hazard, ties, names):
    X, y = risks(dtype=np.float64)
    columns = columns_of(y, *names)
    if names:
        columns["sample_weight"] += 0.1  # a row of weight 0 would be absent
    torch.manual_seed(0)
    model = small(
        module=Mlp().double(), n_estimators=5, hazard=hazard, ties=ties, batch_size=None,
        optimizer="sgd", lr=0.1, lr_schedule="constant", max_epochs=4, callbacks=[Watch()],
    ).fit(X, y, **columns)  # fmt: skip
    of_loss = {name: columns[name] for name in ("entry",) if name in columns}
    if names:
        of_loss["stratum"] = np.unique(columns["stratum"], return_inverse=True)[1]
        of_loss["weight"] = columns["sample_weight"]
    each = [copy.copy(model).set_params(cause=cause).predict_members(X) for cause in (1, 2)]
    for k, rows in enumerate(rows_of_members(model, X)):
        rows = torch.tensor(rows)
        expected = steps_by_hand(X, y, of_loss, rows, hazard, ties, 4, 0.1)
        expected = expected - expected.mean(0)
        for cause in (0, 1):
            np.testing.assert_allclose(each[cause][k], expected[:, cause], atol=1e-10)
    assert np.abs(each[0] - each[0].mean(0)).max() > 1e-3
    found = model.predict_log_hazard_ratio(X)
    np.testing.assert_allclose(found, np.stack([own.mean(0) for own in each], 1), atol=1e-10)


def test_members_are_single_fits_with_the_same_rows():
    X, y = risks(dtype=np.float64)
    torch.manual_seed(0)
    options = {"module": Mlp().double(), "batch_size": None, "max_epochs": 4}
    model = small(n_estimators=5, callbacks=[Watch()], **options).fit(X, y)
    members = [copy.copy(model).set_params(cause=cause).predict_members(X) for cause in (1, 2)]
    for k, rows in enumerate(rows_of_members(model, X)):
        single = small(**options).fit(X[rows], y[rows]).predict_log_hazard_ratio(X)
        expected = single - single.mean(0)
        np.testing.assert_allclose(np.stack(members, 2)[k], expected, atol=1e-10)


@either_hazard
def test_rows_left_out_weight_the_members_by_the_likelihood_of_all_causes(hazard):
    X, y = risks(200, dtype=np.float64)
    options = {"n_estimators": 10, "alpha": [0.1, 300.0], "hazard": hazard, "batch_size": None}
    model = small(**options, max_epochs=15, lr=0.05, callbacks=[Watch()]).fit(X, y)
    seen = rows_of_members(model, X)
    each = [copy.copy(model).set_params(cause=cause).predict_members(X) for cause in (1, 2)]
    each = np.stack(each, 2)
    of_penalties = np.full((2, 200, 2), np.nan)
    for penalty, row in product((0, 1), range(200)):
        members = [5 * penalty + k for k in range(5) if row not in seen[5 * penalty + k]]
        of_penalties[penalty, row] = each[members, row].mean(0)
    columns = {name: torch.from_numpy(y[name].copy()) for name in y.dtype.names}

    def loss(weight):
        output = weight * of_penalties[0] + (1 - weight) * of_penalties[1]
        return competing(torch.from_numpy(output), **columns, hazard=hazard).item()

    weight = 5 * model.member_weights_[0]
    np.testing.assert_allclose(model.member_weights_, np.repeat([weight, 1 - weight], 5) / 5)
    least = min(loss(w) for w in np.linspace(0, 1, 101))
    assert loss(weight) <= least + 1e-6
    expected = weight * of_penalties[0] + (1 - weight) * of_penalties[1]
    np.testing.assert_allclose(model.oob_prediction_, expected[:, 0], atol=1e-6)
    score = concordance_index_competing_risks(y, model.oob_prediction_)[0]
    assert model.oob_score_ == score
    assert 0.6 < score < model.score(X, y)


def test_a_cause_with_one_event_is_no_obstacle():
    X, y = risks()
    y["status"][y["status"] == 2] = 0
    y["status"][np.flatnonzero(y["status"] == 0)[3]] = 2
    for options in ({}, {"early_stopping": True}):
        model = small(n_estimators=5, **options).fit(X, y)
        assert model.n_causes_ == 2
        incidence = model.predict_cumulative_incidence(X, return_array=True)
        assert np.isfinite(incidence).all()
        assert incidence[:, 1].max() > 0
        assert np.isfinite(model.oob_score_)


def test_early_stopping_of_members_restores_their_best_epoch():
    X, y = risks(250)
    model = small(
        n_estimators=3, early_stopping=True, n_iter_no_change=2, lr=0.1, max_epochs=40
    ).fit(X, y)
    losses = model.net_.history[:, "valid_loss"]
    assert 3 < model.n_iter_ < 40
    assert np.argmin(losses) == model.n_iter_ - 3
    again = small(
        n_estimators=3, early_stopping=True, n_iter_no_change=2, lr=0.1, max_epochs=40
    ).fit(X, y)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_a_compiled_ensemble(monkeypatch):
    X, y = risks()
    options = {"n_estimators": 2, "max_epochs": 1}
    plain = small(**options).fit(X, y)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    compiled = small(compile=True, **options).fit(X, y)
    found, expected = (model.predict_log_hazard_ratio(X) for model in (compiled, plain))
    np.testing.assert_allclose(found, expected, atol=1e-9)
