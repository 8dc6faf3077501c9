"""What skorch's scoring callbacks are given in an estimator, and in a net."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from skorch.callbacks import BatchScoring, EpochScoring
from skorch.dataset import ValidSplit
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor
from sksurvtorch.nets import SurvivalNet
from sksurvtorch.nets.target import PlainTarget, Spread, SpreadTarget
from tests.contract.small_models import both, small
from tests.unit.refusals import refuses

# Steps this small leave the weights where they were.
STILL = {"lr": 1e-12, "max_epochs": 2, "lr_schedule": "constant"}


@pytest.fixture(scope="module")
def distinct(whas500):
    """Rows whose time says which they are."""
    X, y = whas500
    time = np.random.default_rng(0).permutation(len(y)) + 1.0
    return X, Surv.from_arrays(y["event"], time)


def remember(net, X, y):
    """A score that keeps what it is called with."""
    remember.seen.append((net.predict(X), y))
    return float(len(remember.seen))


@pytest.fixture
def seen():
    remember.seen = []
    return remember.seen


def rows_of(y, distinct):
    """The rows that have these times, whose events are the same."""
    rows = np.array([np.flatnonzero(np.isclose(distinct[1]["time"], time)) for time in y["time"]])
    np.testing.assert_array_equal(distinct[1]["event"][rows[:, 0]], y["event"])
    return rows[:, 0]


@both
@pytest.mark.parametrize("on_train", [True, False])
@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize("momentum", [False, True])
@pytest.mark.parametrize("batch_size", [None, 50])
def test_a_score_of_an_epoch_gets_event_and_time_of_its_rows(
    kind, on_train, use_caching, momentum, batch_size, distinct, seen
):
    scoring = EpochScoring(remember, name="mine", on_train=on_train, use_caching=use_caching)
    options = {"early_stopping": True, "momentum": momentum, "batch_size": batch_size, **STILL}
    model = small(kind, callbacks=[scoring], **options).fit(*distinct)
    output = model._output(distinct[0]).numpy()
    assert len(seen) == 2
    for predicted, y in seen:
        assert y.dtype.names == ("event", "time")
        rows = rows_of(y, distinct)
        assert len({*rows}) == len(rows) == (192 if on_train else 48)
        np.testing.assert_allclose(predicted, output[rows], rtol=1e-4, atol=1e-5)
    assert model.net_.history[:, "mine"] == [1.0, 2.0]


@both
@pytest.mark.parametrize("use_caching", [True, False])
def test_a_score_of_a_batch_gets_event_and_time_of_its_rows(kind, use_caching, distinct, seen):
    scoring = BatchScoring(remember, name="mine", on_train=True, use_caching=use_caching)
    model = small(kind, callbacks=[scoring], batch_size=50, **STILL).fit(*distinct)
    output = model._output(distinct[0]).numpy()
    assert len(seen) == 2 * 5
    for predicted, y in seen:
        np.testing.assert_allclose(predicted, output[rows_of(y, distinct)], rtol=1e-4, atol=1e-5)


@both
def test_the_epoch_that_ends_a_training_is_scored_too(kind, distinct, seen):
    scoring = EpochScoring(remember, name="mine")
    options = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 50, "lr": 0.3}
    model = small(kind, callbacks=[scoring], **options).fit(*distinct)
    assert model.n_iter_ < 50
    assert len(model.net_.history[:, "mine"]) == len(seen) == model.n_iter_


def concordance(net, X, y):
    """Concordance of the rows at hand."""
    return concordance_index_censored(y["event"], y["time"], net.predict(X)[:, 0])[0]


@pytest.mark.parametrize("use_caching", [True, False])
def test_scikit_survival_scores_the_rows_held_out(use_caching, whas500):
    scoring = EpochScoring(concordance, lower_is_better=False, use_caching=use_caching)
    options = {"max_epochs": 3, "early_stopping": True, "callbacks": [scoring]}
    model = small(CoxNNRegressor, **options).fit(*whas500)
    assert all(0.6 < score < 1 for score in model.net_.history[:, "concordance"])


def test_an_extractor_of_the_user_is_left(whas500, seen):
    scoring = EpochScoring(remember, on_train=True, target_extractor=lambda y: y["time"].numpy())
    small(CoxNNRegressor, callbacks=[scoring], max_epochs=1).fit(*whas500)
    ((_, y),) = seen
    np.testing.assert_allclose(np.sort(y), np.sort(whas500[1]["time"]))


@pytest.mark.parametrize("use_caching", [True, False])
def test_a_survival_net_with_a_split_of_skorch(use_caching, distinct, seen):
    scoring = EpochScoring(remember, name="mine", use_caching=use_caching)
    net = SurvivalNet(
        nn.Linear(14, 1), lr=1e-12, max_epochs=1, callbacks=[scoring], verbose=0,
        train_split=ValidSplit(5),
    )  # fmt: skip
    net.fit(*distinct)
    ((predicted, y),) = seen
    rows = rows_of(y, distinct)
    np.testing.assert_allclose(predicted, net.predict(distinct[0])[rows], rtol=1e-4, atol=1e-5)
    assert len(rows) == 48


@both
@pytest.mark.parametrize("scoring", [EpochScoring, BatchScoring])
def test_a_score_of_rows_that_nobody_holds_out_is_refused(kind, scoring, whas500):
    refuses(
        lambda: small(kind, callbacks=[scoring(concordance)]).fit(*whas500),
        ValueError,
        f"`early_stopping` must be True beside {scoring.__name__} of held-out rows, got False. No "
        "rows are held out without it; or set on_train=True.",
    )


@both
@pytest.mark.parametrize("scoring", ["r2", None, r2_score], ids=["name", "none", "function"])
def test_a_metric_that_compares_numbers_is_refused(kind, scoring, whas500):
    refuses(
        lambda: small(kind, callbacks=[EpochScoring(scoring, on_train=True)]).fit(*whas500),
        ValueError,
        f"`scoring` of EpochScoring must be a function of net, X and y, got {scoring!r}. Metrics "
        "of scikit-learn compare numbers, and y has event and time.",
    )


def test_a_metric_of_numbers_that_the_user_extracts(whas500):
    scoring = EpochScoring("r2", on_train=True, target_extractor=lambda y: y["time"].numpy())
    model = small(CoxNNRegressor, callbacks=[scoring]).fit(*whas500)
    assert np.isfinite(model.net_.history[:, "r2"]).all()


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_each_process_scores_the_rows_that_it_holds(rank):
    """In the order of its output: that of the rows of a batch, of which it has some."""
    places = torch.tensor([5, 0, 3, 4, 1])  # of six rows, of which the processes have 2, 2 and 2
    group = SimpleNamespace(rank=rank)
    columns = {"event": torch.tensor([True, False, True, True, False]), "time": places + 0.5}
    target = SpreadTarget(PlainTarget(columns), Spread.of(places, [2, 2, 2], group))
    held = [k for k, place in enumerate(places.tolist()) if place // 2 == rank]
    y = target.outcome()
    np.testing.assert_array_equal(y["time"], columns["time"][held])
    np.testing.assert_array_equal(y["event"], columns["event"][held])
