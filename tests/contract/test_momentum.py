"""The momentum mode of the estimators: what is trained, what is kept, and what predicts."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.exceptions import SkippedBatchWarning
from sksurvtorch.functional import breslow_baseline
from sksurvtorch.losses import AFTLoss, CoxPHLoss, MomentumLoss, WeibullAFTLoss
from tests import twins
from tests.cohorts import assert_close
from tests.contract.momentum_mode import both, small, survival_data, vector, watched


@pytest.fixture(scope="module")
def data():
    return survival_data()


def statements(model, X, y):
    """All that a fitted model says, by name."""
    said = {
        "risk": model.predict(X),
        "score": model.score(X, y),
        "survival": model.predict_survival_function(X, return_array=True),
        "median": model.predict_median(X),
        "net": model.net_.predict(X),
    }
    names = ("coef_", "intercept_", "shape_")
    return said | {name: getattr(model, name) for name in names if hasattr(model, name)}


@both
@pytest.mark.parametrize("sizes", [(), (4,)])
def test_all_that_is_predicted_comes_from_the_target(kind, sizes, data):
    model = small(kind, hidden_layer_sizes=sizes).fit(*data)
    said = statements(model, *data)
    pair = model.net_.module_
    with torch.no_grad():
        expected = pair.target(torch.from_numpy(data[0])).numpy()
    np.testing.assert_array_equal(said["net"], expected)
    online = copy.deepcopy(model)
    online.net_.module_.target.load_state_dict(pair.online.state_dict())
    for parameter in pair.online.parameters():
        parameter.data.fill_(torch.nan)
    for name, value in statements(model, *data).items():
        np.testing.assert_array_equal(value, said[name])
    assert {"coef_"} <= said.keys() or sizes
    differs = {k for k, v in statements(online, *data).items() if not np.array_equal(v, said[k])}
    # Medians of a Cox model are among the training times, and few pairs change their order.
    assert differs >= said.keys() - {"score", "median"}


def test_the_baseline_is_that_of_the_target(data):
    X, y = data
    model = small(CoxNNRegressor).fit(X, y)
    event, time = (torch.from_numpy(y[name].copy()) for name in y.dtype.names)
    baseline = breslow_baseline(torch.from_numpy(model.predict(X)), event, time)
    position = torch.searchsorted(baseline.times, torch.from_numpy(model.unique_times_), right=True)
    padded = torch.cat([torch.tensor([-torch.inf]), baseline.log_cumulative_hazard])
    # Batches of other rows round differently.
    np.testing.assert_allclose(model.log_baseline_cumulative_hazard_[0], padded[position], 1e-12)


@both
def test_the_validation_loss_is_the_plain_loss_of_the_target(kind, data):
    model = small(kind, early_stopping=True)
    watch = watched(model, *data)
    loss = CoxPHLoss() if kind is CoxNNRegressor else WeibullAFTLoss()
    target, online = (
        [loss(getattr(pair, name)(watch.valid_.X), watch.valid_.y).item() for pair in watch.epochs_]
        for name in ("target", "online")
    )
    np.testing.assert_allclose(model.net_.history[:, "valid_loss"], target, rtol=1e-12)
    assert not np.isclose(target, online, rtol=1e-6).any()


@both
def test_early_stopping_brings_back_the_best_target(kind, data):
    model = small(kind, early_stopping=True, lr=0.3, alpha=0.0, n_iter_no_change=3, max_epochs=60)
    watch = watched(model, *data)
    losses = model.net_.history[:, "valid_loss"]
    assert len(losses) < 60
    assert losses[-1] > min(losses)
    best = watch.epochs_[int(np.argmin(losses))]
    assert torch.equal(vector(model.net_.module_), vector(best))
    assert not torch.equal(vector(best.target), vector(watch.epochs_[-1].target))


@both
def test_neither_gradient_nor_optimizer_reach_the_target(kind, data):
    model = small(kind, optimizer__weight_decay=10.0, momentum_rate=0.99, momentum_warmup=False)
    watch = watched(model, *data)
    pair = model.net_.module_
    assert all(p.grad is None and not p.requires_grad for p in pair.target.parameters())
    assert all(p.grad is not None for p in pair.online.parameters())
    assert_close(vector(pair.target), averaged(watch.online_, 0.99, False))


def averaged(online, rate, warmup):
    """The average after steps that began with these online weights."""
    average = online[0]
    for step, weights in enumerate(online):
        kept = min(rate, (1 + step) / (10 + step)) if warmup else rate
        average = kept * average + (1 - kept) * weights
    return average


@both
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("warmup", [False, True])
def test_the_target_is_the_running_average_of_the_online_weights(kind, rate, warmup, data):
    model = small(kind, momentum_rate=rate, momentum_warmup=warmup, norm="batch")
    watch = watched(model, *data)
    pair = model.net_.module_
    assert pair.n_averaged == len(watch.online_) == 24
    assert_close(vector(pair.target), averaged(watch.online_, rate, warmup))
    if rate == 0.0:  # a step averages before it moves the online network
        assert torch.equal(vector(pair.target), watch.online_[-1])
    for ours, theirs in zip(pair.target.buffers(), pair.online.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def written_out(start, batches, *, l2, size, lr, rate, ties, warmup):
    """Train a linear Cox model by a plain loop; return losses, online and target weights."""
    online, target, losses = start, start, []
    bank = {name: column[:0] for name, column in batches[0][1].items()}
    bank["output"] = torch.zeros(0).double()
    for step, (X, y) in enumerate(batches):
        kept = min(rate, (1 + step) / (10 + step)) if warmup else rate
        target = kept * target + (1 - kept) * online
        others = ~torch.isin(bank["index"], y["index"])
        older = {name: column[others] for name, column in bank.items()}
        pool = {name: torch.cat([older[name], column]) for name, column in y.items()}
        loss, gradient = pooled_loss(X @ online, older["output"], pool, ties)
        losses.append(loss + l2 / 2 * online.square().sum().item())
        pool["output"] = torch.cat([older["output"], X @ target])
        bank = {name: column[-size:] for name, column in pool.items()}
        online = online - lr * (X.T @ gradient + l2 * online)
    return losses, online, target


def pooled_loss(output, older, pool, ties):
    """Return the mean loss over bank and batch, and its balanced gradient by the batch's output."""
    columns = {name: column for name, column in pool.items() if name != "index"}
    weight = columns.get("weight", torch.ones(len(pool["event"])).double())
    output = output.clone().requires_grad_()
    total = twins.cox(torch.cat([older, output]), **columns, ties=ties, reduction="sum")
    (gradient,) = torch.autograd.grad(total, output)
    information = weight[pool["event"]].sum().item() or 1.0  # without events the total is 0
    share = weight[len(older) :] / weight[len(older) :].sum()
    kappa = 1 - share.square().sum()
    centred = gradient - kappa * share * gradient.sum()
    scale = len(weight) / len(output) / information
    return total.item() / information, scale * centred


def columns_of(y, names):
    """Columns of rows, some of them of weight 0."""
    rng = np.random.default_rng(1)
    columns = {
        "entry": 0.7 * y["time"] * rng.random(len(y)),
        "stratum": rng.choice(["a", "b"], len(y)),
        "sample_weight": rng.choice([0.0, 0.5, 1.0, 3.0], len(y)),
    }
    return {name: columns[name] for name in names}


def linear_cox(start, **parameters):
    """An estimator around a linear network with these weights, and steps that are easily redone."""
    module = nn.Linear(len(start), 1, bias=False).double()
    module.load_state_dict({"weight": start[None]})
    return CoxNNRegressor(
        module=module, momentum=True, optimizer="sgd", lr=0.1, lr_schedule="constant", alpha=2.0,
        max_epochs=3, dtype="float64", random_state=0, **parameters,
    )  # fmt: skip


@pytest.mark.parametrize(
    "names",
    [(), ("sample_weight",), ("entry",), ("stratum",), ("entry", "stratum", "sample_weight")],
    ids=str,
)
@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize(
    ("steps", "rate", "warmup", "ties"),
    [(2, 0.999, True, "efron"), (10, 0.8, True, "breslow"), (5, 0.8, False, "efron")],
)
def test_training_is_the_loop_written_out(names, batch_size, steps, rate, warmup, ties):
    """The exact loss over bank and batch, its gradient scaled and centred."""
    X, y = survival_data(23)
    y["time"] = np.ceil(3 * y["time"])  # ties
    columns = columns_of(y, names)
    start = torch.tensor([0.5, -0.25, 0.125]).double()
    model = linear_cox(
        start, batch_size=batch_size, momentum_steps=steps, momentum_rate=rate,
        momentum_warmup=warmup, ties=ties,
    )  # fmt: skip
    watch = watched(model, X, y, **columns)
    informative = columns.get("sample_weight", np.ones(len(y)))[y["event"]].sum()
    losses, online, target = written_out(
        start, watch.batches_, l2=2.0 / informative, size=steps * batch_size, lr=0.1, rate=rate,
        warmup=warmup, ties=ties,
    )  # fmt: skip
    np.testing.assert_allclose(watch.losses_, losses, rtol=1e-12)
    assert_close(vector(model.net_.module_.online), online)
    assert_close(model.predict(X), torch.from_numpy(X) @ target)


def test_the_reported_loss_is_the_mean_over_the_rows_of_an_epoch(data):
    model = linear_cox(torch.zeros(3), batch_size=7)
    watch = watched(model, *data)
    # 60 rows in 9 batches of 6 or 7.
    rows, losses = [len(batch) for batch, _ in watch.batches_[-9:]], watch.losses_[-9:]
    assert set(rows) == {6, 7}
    expected = np.average(losses, weights=rows)
    assert model.net_.history[-1, "train_loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 100])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_bank_holds_the_latest_rows_each_once(steps, batch_size, data):
    X, y = data
    model = small(CoxNNRegressor, momentum_steps=steps, batch_size=batch_size)
    watch = watched(model, X, y)
    seen = []
    for bank, (_, target) in zip(watch.bank_, watch.batches_, strict=True):
        index = target["index"].tolist()
        seen = [row for row in seen if row not in index] + index
        assert bank.tolist() == seen[-steps * batch_size :]
    assert sorted(seen) == list(range(60))


@pytest.mark.parametrize("batch_size", [1, 8, 1000, None])
@pytest.mark.parametrize("steps", [1, 10])
def test_the_bank_has_room_for_so_many_batches(batch_size, steps, data):
    model = small(CoxNNRegressor, batch_size=batch_size, momentum_steps=steps, max_epochs=1)
    bank = model.fit(*data).net_.criterion_.bank
    assert bank.size == steps * (batch_size or 60)


def test_the_bank_holds_targets_and_outputs_of_the_same_rows(data):
    X, y = data
    frozen = {"momentum_rate": 0.0, "lr": 1e-30, "alpha": 0.0}
    model = small(CoxNNRegressor, **frozen).fit(X, y)
    bank = model.net_.criterion_.bank
    order = np.argsort(y["time"])
    rows = order[np.searchsorted(y["time"][order], bank.columns["time"].numpy())]
    np.testing.assert_array_equal(bank.columns["event"], y["event"][rows])
    np.testing.assert_allclose(bank.output[:, 0], model.predict(X)[rows], 1e-12)


AS_PLAIN = {
    "Cox without a bank": (CoxNNRegressor, {"momentum_steps": 0}),
    "Cox of all rows at once": (CoxNNRegressor, {"batch_size": None}),
    "Weibull": (WeibullAFTRegressor, {}),
    "Weibull per sample": (WeibullAFTRegressor, {"shape": "per_sample"}),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", AS_PLAIN)
def test_the_online_network_is_trained_as_without_momentum_to_the_bit(case, weighted, data):
    kind, parameters = AS_PLAIN[case]
    weight = np.random.default_rng(0).uniform(0.5, 2, 60) if weighted else None
    options = {"batch_size": 16, "dropout": 0.3, "norm": "batch", **parameters}
    model, plain = (
        small(kind, momentum=momentum, **options).fit(*data, weight) for momentum in (True, False)
    )
    online = model.net_.module_.online.state_dict()
    for name, expected in plain.net_.module_.state_dict().items():
        assert torch.equal(online[name], expected), name
    train_loss = plain.net_.history[:, "train_loss"]
    assert model.net_.history[:, "train_loss"] == train_loss
    assert not np.array_equal(model.predict(data[0]), plain.predict(data[0]))


def test_a_bank_changes_how_the_online_network_is_trained(data):
    with_bank, without = (
        small(CoxNNRegressor, momentum_steps=steps).fit(*data).net_ for steps in (10, 0)
    )
    assert not torch.equal(vector(with_bank.module_.online), vector(without.module_.online))


def test_only_a_cox_model_with_steps_has_a_bank(data):
    for kind, steps, criterion in [
        (WeibullAFTRegressor, 10, AFTLoss),
        (CoxNNRegressor, 0, CoxPHLoss),
        (CoxNNRegressor, 10, MomentumLoss),
    ]:
        model = small(kind, momentum_steps=steps, max_epochs=1).fit(*data)
        assert isinstance(model.net_.criterion_, criterion)


def test_batches_of_one_row_reach_the_coefficients_of_all_rows(data):
    X, y = data
    expected = CoxPHSurvivalAnalysis().fit(X, y).coef_
    model = small(CoxNNRegressor, module=nn.Linear(3, 1, bias=False), batch_size=1)
    model.set_params(optimizer="sgd", lr=0.05, max_epochs=15, momentum_steps=60).fit(X, y)
    # The outputs in the bank are those of earlier networks.
    np.testing.assert_allclose(vector(model.net_.module_.target), expected, atol=0.1)


@pytest.mark.parametrize("parameters", [{"momentum": False}, {"momentum_steps": 0}], ids=str)
def test_batches_of_one_row_are_refused_without_a_bank(parameters, data):
    with pytest.raises(ValueError, match="batch_size") as error:
        small(CoxNNRegressor, batch_size=1, **parameters).fit(*data)
    assert str(error.value) == (
        "`batch_size` must be at least 2 for a Cox model, got 1. A risk set of one row has a "
        "likelihood of 1 whatever the network says; set `momentum` to True so that it spans "
        "earlier batches."
    )


@pytest.fixture
def rare_events():
    """3 events in 60 rows."""
    rng = np.random.default_rng(0)
    y = Surv.from_arrays(np.arange(60) % 20 == 0, rng.exponential(size=60))
    return rng.normal(size=(60, 3)), y


def test_batches_without_events_are_used(rare_events):
    """And nobody warns."""
    model = small(CoxNNRegressor, batch_size=6, max_epochs=4)
    watch = watched(model, *rare_events)
    assert model.net_.history[:, "train_batch_count"] == [10] * 4
    without_event = [not y["event"].any() for _, y in watch.batches_]
    assert sum(without_event) == 28
    moved = [not torch.equal(*pair) for pair in zip(watch.online_, watch.online_[1:], strict=False)]
    assert all(moved)


def test_a_bank_that_never_sees_an_event_is_told_once(rare_events):
    with pytest.warns(SkippedBatchWarning) as record:
        small(CoxNNRegressor, batch_size=2, momentum_steps=2).fit(*rare_events)
    assert [str(warning.message) for warning in record] == [
        "Bank and batch, 4 rows, have no event: the Cox partial likelihood has nothing to learn "
        "from such a step. Use larger batches or a larger bank."
    ]


@both
@pytest.mark.parametrize("name", ["entry", "stratum", "sample_weight"])
def test_each_column_reaches_the_training(kind, name, data):
    X, y = data
    if name == "stratum" and kind is WeibullAFTRegressor:
        return
    column = columns_of(y, [name])
    model = small(kind, dtype="float64").fit(X, y, **column)
    assert not np.allclose(model.predict(X), small(kind).fit(X, y).predict(X), atol=1e-4)
    asked = {"stratum": column[name]} if name == "stratum" else {}
    survival = model.predict_survival_function(X, return_array=True, **asked)
    assert ((survival >= 0) & (survival <= 1)).all()


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_rows_of_weight_0_count_as_absent(kind, early_stopping, data):
    X, y = data
    weight = columns_of(y, ["sample_weight"])["sample_weight"]
    there = weight > 0
    model = small(kind, early_stopping=early_stopping)
    with_them = model.fit(X, y, weight).predict(X)
    without = model.fit(X[there], y[there], weight[there]).predict(X)
    np.testing.assert_array_equal(with_them, without)


class ImageNet(nn.Module):
    def __init__(self, n_outputs=1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
            nn.Linear(4, n_outputs),
        )  # fmt: skip

    def forward(self, X):
        return self.layers(X)


@both
def test_a_convolutional_network_with_batch_norm_learns_in_small_batches(kind):
    """The brighter the image, the higher the hazard."""
    rng = np.random.default_rng(0)
    brightness = rng.uniform(0, 3, 240)
    X = rng.normal(size=(240, 1, 8, 8)) + brightness[:, None, None, None]
    time, censoring = rng.exponential(np.exp(-2 * brightness)), rng.exponential(0.3, 240)
    y = Surv.from_arrays(time <= censoring, np.minimum(time, censoring))
    model = small(kind, module=ImageNet, batch_size=8, max_epochs=5, dtype="float32")
    model.fit(X[:160], y[:160])
    assert model.score(X[160:], y[160:]) > 0.75
    pair = model.net_.module_
    tracked = [int(x) for x in pair.target.buffers() if x.ndim == 0]
    assert tracked == [100]
    for ours, theirs in zip(pair.target.buffers(), pair.online.buffers(), strict=True):
        assert torch.equal(ours, theirs)
