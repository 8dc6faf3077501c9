"""Estimators of several networks: their rows, their predictions, and what a fit can be asked."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import BatchScoring, Callback, EpochScoring
from skorch.dataset import ValidSplit
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor, CoxPHLoss, WeibullAFTRegressor, load, save
from sksurvtorch.estimators import _linear
from sksurvtorch.exceptions import SkippedBatchWarning
from sksurvtorch.metrics import concordance_index_censored
from sksurvtorch.nets import TrainingCheckpoint, survival_target
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.members import MemberLoader
from sksurvtorch.nets.rows import as_rows
from sksurvtorch.nets.target import PlainTarget, cox_target
from tests.contract.small_models import Mlp, StopAfter, both, fitted, predictions
from tests.contract.test_ensemble_training import Watch
from tests.unit.refusals import refuses


def rows_of_members(model, X):
    """The rows that each member has seen in the first epoch, by their features."""
    watch = next(c for _, c in model.net_.callbacks_ if isinstance(c, Watch))
    n_steps = len(watch.steps_) // model.n_iter_
    places = {row.tobytes(): place for place, row in enumerate(np.asarray(X))}
    seen = [set() for _ in range(model.n_estimators)]
    for rows, _, _ in watch.steps_[:n_steps]:
        for own, part in zip(seen, rows.chunk(model.n_estimators), strict=True):
            own.update(places[row.numpy().tobytes()] for row in part)
    return [sorted(own) for own in seen]


@pytest.fixture(scope="module")
def distinct(whas500):
    """Rows that can be told by their features, of which 5 does not divide the numbers."""
    X, y = (part[:203] for part in whas500)
    return X + np.arange(203, dtype=np.float32)[:, None] / 10_000, y


@both
@pytest.mark.parametrize("n_estimators", [3, 5, 7])
def test_each_member_leaves_out_a_fifth(kind, n_estimators, distinct):
    X, y = distinct
    model = fitted(kind, distinct, [Watch()], n_estimators=n_estimators, max_epochs=2)
    seen = rows_of_members(model, X)
    left_out = [set(range(len(X))) - set(rows) for rows in seen]
    n_events = int(y["event"].sum())
    assert {len(rows) for rows in seen} == {203 - -(-n_events // 5) - -(-(203 - n_events) // 5)}
    assert {int(y["event"][rows].sum()) for rows in seen} == {n_events - -(-n_events // 5)}
    if n_estimators >= 5:
        assert set.union(*left_out[:5]) == set(range(len(X)))
        assert sum(map(len, left_out[:5])) <= len(X) + 10  # hardly any row twice
    if n_estimators > 5:
        assert all(left_out[5] != other for other in left_out[:5])


@pytest.mark.parametrize("batch_size", [7, 100])
def test_members_are_dealt_all_of_their_rows_which_ascend_in_a_step(batch_size):
    """Rows in the order of their risk sets need no sort."""
    time, event = torch.arange(50.0, 0.0, -1.0), torch.ones(50, dtype=torch.bool)
    target = cox_target({"event": event, "time": time}, "efron", lay_out=True)
    data = SurvivalDataset(as_rows(np.zeros((50, 1))), target)
    members = torch.stack([torch.arange(40), torch.arange(10, 50)])
    generator = np.random.default_rng(0)
    steps, epochs = MemberLoader(data, batch_size, members=members, generator=generator), []
    for _ in range(2):
        dealt = [target.rows.reshape(2, -1) for _, target in steps]
        assert len(dealt) == len(steps) == -(-40 // batch_size)
        assert all((rows.diff(dim=1) > 0).all() for rows in dealt)
        epochs.append(torch.cat(dealt, 1))
        assert torch.equal(epochs[-1].sort(1).values, members)
    assert torch.equal(*epochs) == (batch_size == 100)


@both
@pytest.mark.parametrize("n_estimators", [3, 5, 7])
def test_out_of_bag_predictions_are_those_of_members_that_have_not_seen_a_row(
    kind, n_estimators, distinct
):
    X, y = distinct
    model = fitted(kind, distinct, [Watch()], n_estimators=n_estimators, max_epochs=2)
    seen = rows_of_members(model, X)
    with torch.no_grad():
        each = model._trained.members(torch.from_numpy(X).expand(n_estimators, -1, -1)).double()
    if kind is CoxNNRegressor:
        each = each - each.mean(1, keepdim=True)
    expected = np.full(len(X), np.nan)
    for row in range(len(X)):
        by = [k for k in range(n_estimators) if row not in seen[k]]
        if by:
            expected[row] = model._risk_score(each[by, row].mean(0, keepdim=True))[0]
    np.testing.assert_allclose(model.oob_prediction_, expected, rtol=1e-4, atol=1e-5)
    known = ~np.isnan(expected)
    assert known.all() == (n_estimators >= 5)
    score = concordance_index_censored(y["event"][known], y["time"][known], expected[known])[0]
    assert model.oob_score_ == pytest.approx(score, abs=2e-3)


def test_a_cox_model_predicts_the_mean_of_its_members(whas500):
    X, _ = whas500
    model = fitted(CoxNNRegressor, whas500, n_estimators=4)
    each = model.predict_members(X)
    assert each.shape == (4, len(X))
    np.testing.assert_allclose(each.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(model.predict(X), each.mean(0), atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 0.01


@pytest.mark.parametrize("shape", ["shared", "per_sample"])
def test_a_weibull_model_has_the_mean_log_scale_and_log_shape(shape, whas500):
    X, _ = whas500
    model = fitted(WeibullAFTRegressor, whas500, n_estimators=4, shape=shape)
    spread, center = model.log_time_spread_, model.log_time_center_
    with torch.no_grad():
        mean = model._trained.members(torch.from_numpy(X).expand(4, -1, -1)).double().mean(0)
    scale, shapes = model.predict_params(X)
    np.testing.assert_allclose(np.log(scale), center + spread * mean[:, 0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(shapes, mean[:, 1].exp() / spread, rtol=1e-5)
    if shape == "shared":
        assert model.shape_ == pytest.approx(shapes[0], rel=1e-6)


@both
def test_one_network_is_no_ensemble(kind, whas500):
    X, _ = whas500
    model = fitted(kind, whas500)
    np.testing.assert_array_equal(model.predict_members(X), model.predict(X)[None])
    assert not hasattr(model, "oob_prediction_")


@both
def test_equal_seeds_give_equal_ensembles_and_leave_the_random_state(kind, whas500):
    X, _ = whas500
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (fitted(kind, whas500, n_estimators=3, dropout=0.2) for _ in range(2))
    np.testing.assert_array_equal(first.predict_members(X), second.predict_members(X))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


KEPT = {
    "default": {},
    "layer norm": {"norm": "layer"},
    "batch norm": {"norm": "batch"},
    "own": {"module": Mlp, "module__n_outputs": 1},
    "linear": {"hidden_layer_sizes": (), "optimizer": "lbfgs", "alpha": 1.0, "max_epochs": 50},
}


@both
@pytest.mark.parametrize("case", KEPT)
def test_files_pickles_and_copies_hold_all_members(kind, case, whas500, tmp_path):
    X, _ = whas500
    model = fitted(kind, whas500, n_estimators=3, **{"max_epochs": 2, **KEPT[case]})
    save(model, tmp_path / "model")
    given = {"module": Mlp} if case == "own" else {}
    for again in (load(tmp_path / "model", **given), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.predict_members(X), model.predict_members(X))
        np.testing.assert_array_equal(predictions(again, X), predictions(model, X))
        np.testing.assert_array_equal(again.oob_prediction_, model.oob_prediction_)
        assert again.oob_score_ == model.oob_score_
        again.set_params(warm_start=True, max_epochs=20).fit(*whas500)
    assert clone(model).n_estimators == 3


def test_linear_members_are_single_linear_fits(whas500):
    X, y = whas500
    options = {"hidden_layer_sizes": (), "optimizer": "lbfgs", "alpha": 1.0, "max_epochs": 50}
    model = fitted(CoxNNRegressor, whas500, [Watch()], n_estimators=5, **options)
    seen = rows_of_members(model, X)
    each = []
    for rows in seen:
        single = fitted(CoxNNRegressor, (X[rows], y[rows]), **options)
        # The penalty is of coefficients of inputs that are standardised alike.
        np.testing.assert_allclose(X[rows].std(0), X.std(0), rtol=0.4)
        each.append(single.coef_)
    np.testing.assert_allclose(model.coef_, np.mean(each, axis=0), atol=0.02)
    score = X @ model.coef_
    np.testing.assert_allclose(model.predict(X), score - score.mean(), atol=1e-5)


@both
def test_a_training_that_goes_on(kind, whas500):
    X, y = whas500
    model = fitted(kind, whas500, n_estimators=3, warm_start=True)
    before = model.predict_members(X)
    model.fit(X, y)
    assert model.n_iter_ == 12
    assert (np.abs(model.predict_members(X) - before).max(1) > 1e-4).all()
    assert not hasattr(model, "oob_prediction_")  # other rows may have come
    model.set_params(n_estimators=4)
    refuses(
        lambda: model.fit(X, y),
        ValueError,
        "`n_estimators` must stay 3 where the training of a network goes on, got 4. Fit with "
        "warm_start=False to make a new network.",
    )


@both
def test_in_partial_fit_all_members_see_all_rows(kind, whas500):
    X, y = whas500
    model = kind(n_estimators=3, callbacks=[Watch()], random_state=0)
    for rows in np.array_split(np.arange(len(X)), 2):
        model.partial_fit(X[rows], y[rows])
        assert [len(own) for own in rows_of_members_of_call(model, X)] == [len(rows)] * 3
    assert model.n_iter_ == 2
    assert not hasattr(model, "oob_score_")


def rows_of_members_of_call(model, X):
    """The rows of the last call."""
    watch = next(c for _, c in model.net_.callbacks_ if isinstance(c, Watch))
    known = {row.tobytes() for row in X}
    parts = zip(*(rows.chunk(model.n_estimators) for rows, _, _ in watch.steps_), strict=True)
    seen = [{row.numpy().tobytes() for part in own for row in part} for own in parts]
    assert all(own <= known for own in seen)
    return [[row for part in own for row in part] for own in [[list(own)] for own in seen]]


@both
def test_the_validation_loss_is_the_mean_of_the_members(kind, whas500):
    held_out = []

    def watch(net, X, y):
        held_out.append((X.X, y))
        return 0.0

    model = fitted(
        kind, whas500, [EpochScoring(watch, name="watch")], n_estimators=3, early_stopping=True,
        max_epochs=2, n_iter_no_change=5, module=Mlp, module__n_outputs=1,
    )  # fmt: skip
    rows, outcome = held_out[-1]
    losses = []
    for output in model._trained.members(rows.expand(3, -1, -1)).detach():
        event, time = (torch.from_numpy(outcome[name].copy()) for name in ("event", "time"))
        if kind is WeibullAFTRegressor:
            log_time = (time.log() - model.log_time_center_) / model.log_time_spread_
            losses.append(float(model._criterion()(output, event, log_time.exp())))
        else:
            losses.append(float(CoxPHLoss()(output, event, time)))
    best = min(model.net_.history[:, "valid_loss"])
    assert best == pytest.approx(np.mean(losses), rel=1e-5)


@both
def test_early_stopping_ends_all_members_and_validation_rows_are_out_of_bag(kind, whas500):
    options = {"early_stopping": True, "lr": 0.3, "n_iter_no_change": 2, "max_epochs": 40}
    model = fitted(kind, whas500, n_estimators=3, alpha=0.0, **options)
    losses = model.net_.history[:, "valid_loss"]
    assert model.n_iter_ == len(losses) < 40
    # A fifth of the rows has been seen by none, and of the rest three fifths by all but one.
    assert 0.6 < np.isfinite(model.oob_prediction_).mean() < 0.75


def concordance(net, X, y):
    return concordance_index_censored(y["event"], y["time"], net.predict(X)[:, 0])[0]


def test_scores_of_epochs_and_batches(whas500):
    scores = [
        ("valid", EpochScoring(concordance, name="valid_c", lower_is_better=False)),
        ("train", EpochScoring(concordance, name="train_c", on_train=True)),
        ("batch", BatchScoring(concordance, name="batch_c", on_train=True)),
    ]
    model = fitted(CoxNNRegressor, whas500, scores, n_estimators=3, early_stopping=True)
    last = model.net_.history[-1]
    assert all(0.5 < last[name] < 1 for name in ("valid_c", "train_c", "batch_c"))


def test_a_checkpoint_resumes_to_the_bit(whas500, tmp_path):
    X, _ = whas500
    options = {"n_estimators": 3, "dropout": 0.1}
    whole = fitted(CoxNNRegressor, whas500, **options)
    checkpoint = TrainingCheckpoint(tmp_path / "fit.pt")
    with pytest.raises(SystemExit):
        fitted(CoxNNRegressor, whas500, [checkpoint, StopHard(3)], **options)
    resumed = fitted(CoxNNRegressor, whas500, [checkpoint], **options)
    np.testing.assert_array_equal(resumed.predict_members(X), whole.predict_members(X))
    np.testing.assert_array_equal(resumed.oob_prediction_, whole.oob_prediction_)


class StopHard(StopAfter):
    """Ends with an error, as a machine that is switched off would."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) >= self.epoch:
            raise SystemExit


@both
def test_a_memory_map_that_is_small_is_as_good_as_memory(kind, whas500, tmp_path):
    X, y = whas500
    np.save(tmp_path / "X.npy", X)
    stored = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = fitted(kind, whas500, n_estimators=5)
    again = fitted(kind, (stored, y), n_estimators=5, iterator_train__window_bytes=X.nbytes)
    np.testing.assert_array_equal(again.predict_members(stored), model.predict_members(X))
    np.testing.assert_array_equal(again.oob_prediction_, model.oob_prediction_)


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LazyConv2d(2, 2), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(1)
        )

    def forward(self, X):
        return self.layers(X)


def test_images_and_lazy_layers(whas500):
    X, y = whas500
    images = np.stack([X[:, :9].reshape(-1, 3, 3)] * 2, axis=1)
    model = fitted(CoxNNRegressor, (images, y), n_estimators=2, module=Image, lr=0.05)
    each = model.predict_members(images)
    assert each.shape == (2, len(X))
    assert np.abs(each[0] - each[1]).max() > 0.01  # weights of their own
    assert model.score(images, y) > 0.6


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 1), nn.Linear(10, 1)

    def forward(self, left, right):
        return self.a(left) + self.b(right)


def test_several_inputs(whas500):
    X, y = whas500
    inputs = {"left": X[:, :4], "right": X[:, 4:]}
    model = fitted(CoxNNRegressor, (inputs, y), n_estimators=2, module=TwoInputs, lr=0.05)
    assert model.predict_members(inputs).shape == (2, len(X))
    assert model.score(inputs, y) > 0.6


@both
def test_a_compiled_ensemble(kind, whas500, monkeypatch):
    X, _ = whas500
    options = {"n_estimators": 2, "max_epochs": 1}
    plain = fitted(kind, whas500, **options)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    compiled = fitted(kind, whas500, compile=True, **options)
    np.testing.assert_allclose(compiled.predict_members(X), plain.predict_members(X), atol=1e-4)


def test_batches_without_an_event_are_left_out_and_said(whas500):
    X, _ = whas500
    event = np.zeros(len(X), dtype=bool)
    event[:10] = True
    y = Surv.from_arrays(event, np.arange(1.0, len(X) + 1))
    with pytest.warns(SkippedBatchWarning):
        model = fitted(CoxNNRegressor, (X, y), n_estimators=3, batch_size=10, max_epochs=2)
    assert np.isfinite(model.predict_members(X)).all()


def test_strata_entries_and_weights(veterans, veterans_columns):
    X, y = veterans
    model = CoxNNRegressor(n_estimators=3, max_epochs=3, random_state=0)
    model.fit(X, y, **veterans_columns)
    stratum = veterans_columns["stratum"]
    survival = model.predict_survival_function(X, return_array=True, stratum=stratum)
    assert survival.shape == (len(X), len(model.unique_times_))
    assert 0.5 < model.oob_score_ < 1


def test_a_search_over_the_number_of_networks(whas500):
    search = GridSearchCV(
        CoxNNRegressor(hidden_layer_sizes=(4,), max_epochs=2, random_state=0),
        {"n_estimators": [1, 2]},
        cv=2,
        error_score="raise",
    )
    assert len(search.fit(*whas500).cv_results_["params"]) == 2


@both
def test_what_several_networks_cannot_do_is_refused(kind, whas500, tmp_path):
    X, y = whas500
    refuses(
        lambda: kind(n_estimators=2, momentum=True).fit(X, y),
        ValueError,
        "`momentum` must be False for several networks, got True beside n_estimators=2. A bank "
        "holds the outputs of one network.",
    )
    refuses(
        lambda: kind(n_estimators=2, accelerator="auto").fit(X, y),
        ValueError,
        "`accelerator` must be None for several networks, got 'auto' beside n_estimators=2. The "
        "members are trained in one process.",
    )
    np.save(tmp_path / "X.npy", X)
    stored = np.load(tmp_path / "X.npy", mmap_mode="r")
    refuses(
        lambda: kind(n_estimators=2, iterator_train__window_bytes=1000).fit(stored, y),
        ValueError,
        "`n_estimators` must be 1 for X that is read piece by piece, got 2. Each member has rows "
        "of its own, from all over the file: set `iterator_train__window_bytes` to "
        f"{X.nbytes} if so much may be held in memory.",
    )
    single = Surv.from_arrays(np.arange(len(X)) == 3, y["time"])
    refuses(
        lambda: kind(n_estimators=2).fit(X, single),
        ValueError,
        "`n_estimators` must be 1 for data with 1 events, got 2. Each member of an ensemble leaves "
        "out a fifth of the events, one at least.",
    )


@both
def test_the_weights_have_the_largest_likelihood_of_rows_left_out(kind, whas500):
    """The best of all weights on a grid is hardly better, and no other is far away."""
    X, y = whas500
    options = {"alpha": (300.0, 1.0), "max_epochs": 40}
    model = fitted(kind, whas500, [Watch()], n_estimators=10, **options)
    weights = model.member_weights_
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert len(set(weights[:5])) == len(set(weights[5:])) == 1
    share = 5 * weights[5]
    assert 0.02 < share < 0.98
    seen = rows_of_members(model, X)
    outputs = model._trained.members(torch.from_numpy(X).expand(10, -1, -1)).detach().double()
    if kind is CoxNNRegressor:
        outputs = outputs - outputs.mean(1, keepdim=True)
    groups = []
    for members in (range(5), range(5, 10)):
        own = torch.empty_like(outputs[0])
        for row in range(len(X)):
            own[row] = torch.stack([outputs[k, row] for k in members if row not in seen[k]]).mean(0)
        groups.append(own)
    event, time = (torch.from_numpy(y[name].copy()) for name in ("event", "time"))
    if kind is WeibullAFTRegressor:
        time = ((time.log() - model.log_time_center_) / model.log_time_spread_).exp()
    loss = model._criterion().eval()
    grid = np.linspace(0, 1, 401)
    losses = [float(loss((1 - w) * groups[0] + w * groups[1], event, time)) for w in grid]
    assert share == pytest.approx(grid[np.argmin(losses)], abs=0.01)
    mean = ((1 - share) * groups[0] + share * groups[1]).double()
    np.testing.assert_allclose(model.oob_prediction_, model._risk_score(mean), rtol=1e-4, atol=1e-4)
    own = model.predict_members(X)
    if kind is CoxNNRegressor:
        np.testing.assert_allclose(model.predict(X), weights @ own, atol=1e-5)


@pytest.mark.parametrize(
    ("n_estimators", "alphas"),
    [(4, [10] * 4), (5, [10] * 5), (12, [10] * 5 + [3] * 5 + [10] * 2),
     (15, [10] * 5 + [3] * 5 + [30] * 5), (18, [10] * 5 + [3] * 5 + [30] * 5 + [10] * 3)],
)  # fmt: skip
def test_groups_of_members_have_penalties_of_their_own(n_estimators, alphas, whas500):
    _, y = whas500
    model = fitted(CoxNNRegressor, whas500, [Penalties()], n_estimators=n_estimators, max_epochs=1)
    seen = next(c for _, c in model.net_.callbacks_ if isinstance(c, Penalties)).l2_
    n_events = int(y["event"].sum())
    np.testing.assert_allclose(seen * (n_events - -(-n_events // 5)), alphas, rtol=1e-5)


class Penalties(Callback):
    def on_train_begin(self, net, **kwargs):
        self.l2_ = net._members.l2.numpy()


@both
def test_an_alpha_for_each_group_needs_its_five_members(kind, whas500):
    for alpha, n_estimators, least in (((1.0, 10.0), 9, 10), ((1.0, 2.0), 1, 10), ([], 5, 5)):
        refuses(
            lambda alpha=alpha, n=n_estimators: kind(alpha=alpha, n_estimators=n).fit(*whas500),
            ValueError,
            "`alpha` must hold at least one value, and at most one for 5 networks, got "
            f"{alpha!r} for n_estimators={n_estimators}. Set `n_estimators` to at least {least}, "
            "or give a number.",
        )
    refuses(
        lambda: kind(alpha=np.ones(2), n_estimators=10).fit(*whas500),
        TypeError,
        "`alpha` must be a number, or a list or tuple of numbers, got ndarray.",
    )


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@both
def test_rows_left_out_are_unknown_to_a_member_from_the_start(kind, alpha):
    """Noise in more features than rows cannot be predicted, though it can be learned by heart."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 80)).astype("f4")
    y = Surv.from_arrays(rng.random(60) < 0.6, rng.exponential(size=60))
    model = kind(
        n_estimators=5, hidden_layer_sizes=(), alpha=alpha, max_epochs=1, random_state=0
    ).fit(X, y)
    assert model.score(X, y) > 0.8
    assert 0.3 < model.oob_score_ < 0.7


@both
def test_members_of_many_rows_start_from_the_optimum_of_some(kind, whas500, monkeypatch):
    """Of rows of their own, from the first time to the last, and close to the optimum of all."""
    X, y = whas500
    used = []
    to_optimum = _linear._to_optimum

    def spy(estimator, module, train, *others):
        to_optimum(estimator, module, train, *others)
        used.append((train.y["time"], _linear.mlp_of(module).linear.weight.detach().clone()))

    monkeypatch.setattr(_linear, "_to_optimum", spy)
    monkeypatch.setattr(_linear, "_TOGETHER", 0)
    options = {"n_estimators": 5, "hidden_layer_sizes": (4,), "max_epochs": 1, "random_state": 0}
    for most in (2**17, 150):
        monkeypatch.setattr(_linear, "_MOST_ROWS", most)
        kind(**options).fit(X, y)
    for (all_times, coefficients), (times, others) in zip(used[:5], used[5:], strict=True):
        assert len(times) == 150 < len(all_times)
        assert set(times.tolist()) <= set(all_times.tolist())
        for extreme in (torch.min, torch.max):
            assert extreme(times) == extreme(all_times)
        assert (others - coefficients).norm() < 0.7 * coefficients.norm()


@both
def test_rows_of_weight_0_have_no_prediction_out_of_bag(kind, whas500):
    X, y = whas500
    weight = np.ones(len(X))
    weight[::3] = 0
    model = fitted_with_weights(kind, X, y, weight)
    assert np.isnan(model.oob_prediction_[::3]).all()
    rest = fitted_with_weights(kind, X[weight > 0], y[weight > 0], np.ones((weight > 0).sum()))
    np.testing.assert_array_equal(model.oob_prediction_[weight > 0], rest.oob_prediction_)
    assert model.oob_score_ == rest.oob_score_


def fitted_with_weights(kind, X, y, weight):
    model = kind(hidden_layer_sizes=(4,), n_estimators=5, max_epochs=2, random_state=0)
    return model.fit(X, y, sample_weight=weight)


class Writing(Mlp):
    def forward(self, X):
        X *= 2
        return super().forward(X)


@both
def test_a_network_that_writes_to_its_input(kind, whas500):
    X, _ = whas500
    model = fitted(kind, whas500, n_estimators=3, module=Writing)
    each = model.predict_members(X)
    again = fitted(kind, (2 * X, whas500[1]), n_estimators=3, module=Mlp)
    np.testing.assert_allclose(each, again.predict_members(2 * X), rtol=1e-5, atol=1e-5)
    if kind is CoxNNRegressor:
        np.testing.assert_allclose(model.predict(X), each.mean(0), atol=1e-5)


@both
def test_nothing_out_of_bag_is_left_of_an_earlier_fit(kind, whas500):
    X, y = whas500
    model = fitted(kind, whas500, n_estimators=5)
    assert len(model.oob_prediction_) == len(X)
    model.set_params(n_estimators=1).fit(X[:50], y[:50])
    assert not hasattr(model, "oob_prediction_")
    assert not hasattr(model, "oob_score_")
    model = kind(n_estimators=15, max_epochs=1, random_state=0).partial_fit(X, y)
    assert not hasattr(model, "oob_score_")
    np.testing.assert_allclose(model.member_weights_, 1 / 15)


@both
def test_penalties_stay_where_a_training_goes_on(kind, whas500):
    model = fitted(kind, whas500, n_estimators=10, alpha=(1.0, 10.0), warm_start=True)
    model.set_params(alpha=5.0)
    refuses(
        lambda: model.fit(*whas500),
        ValueError,
        "`alpha` must stay (1.0, 10.0) where the training of a network goes on, got (5.0,). Fit "
        "with warm_start=False to make a new network.",
    )


@both
def test_the_rows_of_members_do_not_depend_on_how_rows_lie(kind, distinct):
    X, y = distinct
    y = Surv.from_arrays(y["event"], y["time"] + np.arange(len(y)) / 1e5)  # no ties
    rows = np.random.default_rng(0).permutation(len(X))
    options = {"n_estimators": 5, "batch_size": None, "dtype": "float64", "optimizer": "sgd"}
    model = fitted(kind, (X, y), **options)
    again = fitted(kind, (X[rows], y[rows]), **options)
    np.testing.assert_allclose(again.predict_members(X), model.predict_members(X), atol=1e-6)
    np.testing.assert_allclose(again.oob_prediction_, model.oob_prediction_[rows], atol=1e-6)


def test_the_net_of_an_ensemble_is_a_net(whas500):
    X, y = whas500
    net = fitted(CoxNNRegressor, whas500, n_estimators=3, dropout=0.5).net_
    target = survival_target(y)
    mean = net.predict(X)
    loss = net.validation_step((torch.from_numpy(X), as_tensors(target)))["loss"]
    event, time = (torch.from_numpy(np.asarray(target[name])) for name in ("event", "time"))
    assert float(loss) == pytest.approx(float(CoxPHLoss()(torch.from_numpy(mean), event, time)))
    draws = [net.forward(X, training=True) for _ in range(2)]
    assert draws[0].shape == (len(X), 1)
    assert not torch.equal(*draws)  # dropout
    again = clone(net).set_params(train_split=ValidSplit(4), max_epochs=1).fit(X, target)
    assert np.isfinite(again.history[-1, "valid_loss"])
    with pytest.raises(TypeError, match="foo"):
        fitted(CoxNNRegressor, whas500, n_estimators=3, iterator_train__foo=3)


def as_tensors(target):
    return {name: torch.from_numpy(np.asarray(column)) for name, column in target.items()}


def test_a_loss_that_one_member_has_lost_leaves_the_others_alone(whas500):
    """A Weibull loss beyond a million is bent: that of the member, not that of all."""
    _, y = whas500
    members = [PlainTarget(tensors_of(y[k::3][:60])) for k in range(3)]
    outputs = torch.zeros(3, 60, 2)
    outputs[1, :, 0] = -30.0
    outputs.requires_grad_()
    criterion = WeibullAFTRegressor()._criterion().train()
    together = members[0].sum_of_losses(criterion, outputs, "cpu", members, [1.0] * 3)
    (found,) = torch.autograd.grad(together, outputs)
    each = sum(criterion(x, dict(member)) for x, member in zip(outputs, members, strict=True))
    (expected,) = torch.autograd.grad(each, outputs)
    assert float(each.detach()) > 1e6
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(together, each)


def tensors_of(y):
    return {name: torch.from_numpy(y[name].copy()) for name in ("event", "time")}
