"""The segmentation losses as criteria of a plain skorch net, without a subclass of it."""

from __future__ import annotations

import pickle
import warnings
from operator import itemgetter

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from skorch import NeuralNet
from skorch.callbacks import Checkpoint, EarlyStopping, EpochScoring
from skorch.dataset import ValidSplit
from skorch.helper import SliceDict
from torch import nn

from sksurvtorch.exceptions import IgnoredWeightWarning
from sksurvtorch.losses import AffinitiesLoss, DummyLoss, HotDistanceLoss, Loss, MSELoss
from sksurvtorch.nets import LossTerms

CRITERIA = {
    "dummy": {"criterion": DummyLoss},
    "mse": {"criterion": MSELoss},
    "affinities": {
        "criterion": AffinitiesLoss,
        "criterion__num_affinities": 2,
        "criterion__lsds_to_affs_weight_ratio": 0.5,
    },
    "hot distance": {"criterion": HotDistanceLoss},
}
every_criterion = pytest.mark.parametrize("kind", CRITERIA)
FORMS = {
    "mapping": lambda target, weight: SliceDict(target=target, weight=weight),
    "broadcast": lambda target, weight: SliceDict(target=target, weight=weight[:, :1]),
    "packed": lambda target, weight: np.stack([target, weight], axis=1),
    "plain": lambda target, weight: target,
}
every_form = pytest.mark.parametrize("form", FORMS)


class ConvNet(nn.Module):
    """Two convolutions, whose output may be cast to half precision."""

    def __init__(self, output_dtype=None):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1)
        )
        self.output_dtype = output_dtype

    def forward(self, X):
        output = self.layers(X)
        return output if self.output_dtype is None else output.to(self.output_dtype)


class SquaredError(Loss):
    """As DaCapo's users write one."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def compute(self, prediction, target, weight=None):
        error = self.factor * (prediction - target) ** 2
        return error.mean() if weight is None else (weight * error).mean()


@pytest.fixture(scope="module")
def images():
    """Images, targets of four channels within [0, 1], and weights."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 1, 12, 12)).astype(np.float32)
    target = np.concatenate([X > 0, X > 1, 1 / (1 + np.exp(-X)), X / 10], axis=1)
    weight = (rng.random(target.shape) < 0.5).astype(np.float32)
    return X, target.astype(np.float32), weight


def plain_net(kind, **options):
    torch.manual_seed(0)
    defaults = {"optimizer": torch.optim.Adam, "lr": 0.02, "max_epochs": 4, "batch_size": 8}
    activate = CRITERIA[kind]["criterion"].activate
    defaults |= {**CRITERIA[kind], "predict_nonlinearity": activate, "verbose": 0}
    return NeuralNet(ConvNet, **{**defaults, **options})


def negative_error(net, X, y):
    """Minus the mean absolute error of what the net predicts."""
    if isinstance(y, dict):
        y = y["target"]
    if y.ndim == 5:
        y = y[:, 0]
    return -float(np.abs(net.predict(X) - y).mean())


@every_criterion
@every_form
def test_a_net_learns_and_is_validated(kind, form, images):
    X, target, weight = images
    net = plain_net(kind, train_split=ValidSplit(4)).fit(X, FORMS[form](target, weight))
    losses = np.array(net.history[:, ("train_loss", "valid_loss")])
    assert np.isfinite(losses).all()
    assert (losses[-1] < losses[0]).all()
    assert net.predict(X).shape == target.shape


@every_criterion
@every_form
def test_the_loss_of_a_net_is_that_of_its_rows(kind, form, images):
    X, target, weight = images
    y = FORMS[form](target, weight)
    net = plain_net(kind, lr=0.0, max_epochs=1, batch_size=-1, train_split=None).fit(X, y)
    tensors = [torch.as_tensor(a) for a in (target, weight)]
    if form == "plain":
        tensors = tensors[:1]
    if form == "broadcast":
        tensors[1] = tensors[1][:, :1]
    expected = net.criterion_.compute(torch.as_tensor(net.forward(X)), *tensors)
    assert net.history[0, "train_loss"] == pytest.approx(expected.item(), rel=1e-6)


@every_criterion
@pytest.mark.parametrize(("form", "n_jobs"), [("mapping", 1), ("packed", 1), ("mapping", 2)])
def test_searches_and_cross_validation_slice_the_weights_too(kind, form, n_jobs, images):
    X, target, weight = images
    y = FORMS[form](target, weight)
    settings = {"scoring": negative_error, "cv": KFold(2), "error_score": "raise", "n_jobs": n_jobs}
    net = plain_net(kind, train_split=None)
    # At a learning rate of 0 the net stays as it was made.
    search = GridSearchCV(net, {"lr": [0.0, 0.02], "criterion__reduction": ["mean"]}, **settings)
    assert search.fit(X, y).best_params_["lr"] == 0.02
    scores = cross_validate(net, X, y, **settings)["test_score"]
    assert np.isfinite(scores).all()


def test_a_search_over_the_options_of_the_criterion(images):
    X, target, _ = images
    grid = {
        "criterion__num_affinities": [1, 2],
        "criterion__lsds_to_affs_weight_ratio": [0.0, 10.0],
        "criterion__weighting": ["linear", "dacapo"],
        "criterion__normalize": ["voxels", "weight"],
    }
    net = plain_net("affinities", train_split=None)
    search = GridSearchCV(net, grid, scoring=negative_error, cv=KFold(2), error_score="raise")
    results = search.fit(X, target).cv_results_
    by_ratio = {
        ratio: np.mean(
            [
                score
                for score, params in zip(results["mean_test_score"], results["params"], strict=True)
                if params["criterion__lsds_to_affs_weight_ratio"] == ratio
            ]
        )
        for ratio in (0.0, 10.0)
    }
    assert by_ratio[0.0] != by_ratio[10.0]
    best = search.best_estimator_.criterion_
    assert best.num_affinities == search.best_params_["criterion__num_affinities"]


def test_weights_decide_what_is_learned(images):
    """Half of the voxels have wrong targets and the weight 0."""
    X, target, weight = images
    wrong = np.where(weight > 0, target, 1 - target)
    net = plain_net("hot distance", max_epochs=30)
    errors = {}
    for form in ("mapping", "plain"):
        torch.manual_seed(0)
        errors[form] = -negative_error(net.fit(X, FORMS[form](wrong, weight)), X, target)
    assert errors["mapping"] < 0.7 * errors["plain"]


@every_criterion
@every_form
def test_the_history_has_a_column_for_each_term(kind, form, images):
    X, target, weight = images
    net = plain_net(kind, callbacks=[("terms", LossTerms())], train_split=ValidSplit(3))
    net.fit(X, FORMS[form](target, weight))
    names = {
        "dummy": {"absolute_error"},
        "mse": {"squared_error"},
        "affinities": {"affinities", "lsds"},
        "hot distance": {"hot", "distance"},
    }[kind]
    for epoch in net.history:
        for part in ("train", "valid"):
            terms = [epoch[f"{part}_{name}"] for name in names]
            assert all(isinstance(term, float) for term in terms)
            assert sum(terms) == pytest.approx(epoch[f"{part}_loss"], rel=1e-5)
    assert pickle.loads(pickle.dumps(net)).history == net.history


def test_terms_are_means_weighted_by_the_size_of_the_batches(images):
    """24 rows in batches of 10, 10 and 4, at a learning rate of 0."""
    X, target, _ = images
    settings = {"callbacks": [LossTerms()], "lr": 0.0, "batch_size": 10, "train_split": None}
    net = plain_net("hot distance", max_epochs=1, **settings).fit(X, target)
    terms = net.criterion_.terms(torch.as_tensor(net.forward(X)), torch.as_tensor(target))
    for name, term in terms.items():
        assert net.history[0, f"train_{name}"] == pytest.approx(term.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("packed", {}),
        ("plain", {}),
        ("mapping", {"use_caching": False}),
        ("mapping", {"target_extractor": itemgetter("target")}),
    ],
)
def test_epochs_are_scored(form, options, images):
    """skorch's cache joins targets of tensors, so of a mapping it wants one part."""
    X, target, weight = images
    scoring = EpochScoring(negative_error, name="score", lower_is_better=False, **options)
    net = plain_net("mse", callbacks=[("scoring", scoring)]).fit(X, FORMS[form](target, weight))
    scores = net.history[:, "score"]
    assert scores[-1] > scores[0]


@every_criterion
def test_a_net_is_kept_and_comes_back(kind, images, tmp_path):
    X, target, weight = images
    y = FORMS["mapping"](target, weight)
    callbacks = [
        ("terms", LossTerms()),
        ("stopping", EarlyStopping(patience=2)),
        ("checkpoint", Checkpoint(dirname=tmp_path, f_criterion=None)),
    ]
    net = plain_net(kind, callbacks=callbacks, train_split=ValidSplit(3)).fit(X, y)
    copy = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(copy.predict(X), net.predict(X))
    files = {f"f_{part}": tmp_path / f"kept_{part}" for part in ("params", "criterion", "history")}
    net.save_params(**files)
    loaded = plain_net(kind).initialize()
    loaded.load_params(**files)
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    assert repr(loaded.criterion_) == repr(net.criterion_)


# torch's compiler looks at the gradient of each input, and torch warns of that.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor")
@every_criterion
@pytest.mark.parametrize("weighting", ["linear", "dacapo"])
def test_compiled_nets_learn_the_same(kind, weighting, images):
    X, target, weight = images
    y = FORMS["plain" if kind == "dummy" else "mapping"](target, weight)
    settings = {"criterion__weighting": weighting, "callbacks": [LossTerms()], "max_epochs": 2}
    plain = plain_net(kind, **settings).fit(X, y)
    compiled = plain_net(kind, **settings, compile=True, compile__backend="aot_eager").fit(X, y)
    assert type(compiled.criterion_).__name__ == "OptimizedModule"
    np.testing.assert_allclose(compiled.predict(X), plain.predict(X), atol=1e-5)
    columns = [name for name in plain.history[-1] if name.startswith(("train_", "valid_"))]
    assert len(columns) > 5
    for name in columns:
        assert compiled.history[-1, name] == pytest.approx(plain.history[-1, name], rel=1e-4)


@every_criterion
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_net_learns_from_half_precision(kind, dtype, images):
    X, target, weight = images
    net = plain_net(kind, module__output_dtype=dtype, max_epochs=6)
    losses = net.fit(X, FORMS["mapping"](target, weight)).history[:, "train_loss"]
    assert losses[-1] < losses[0]


@every_criterion
def test_a_net_learns_under_autocast(kind, images):
    X, target, weight = images
    net = plain_net(kind, max_epochs=6)
    # Its cache would keep the first weights for the whole training.
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        net.fit(X, FORMS["mapping"](target, weight))
        assert net.forward(X[:1]).dtype == torch.bfloat16
        assert net.criterion_.last_terms.popitem()[1].dtype == torch.float32
    losses = net.history[:, "train_loss"]
    assert losses[-1] < losses[0]


def test_a_loss_written_for_dacapo_is_a_criterion(images):
    X, target, weight = images
    net = plain_net("mse", criterion=SquaredError, callbacks=[LossTerms()])
    scores = GridSearchCV(
        net, {"criterion__factor": [1.0, 3.0]}, scoring=negative_error, cv=KFold(2)
    ).fit(X, FORMS["mapping"](target, weight))
    assert np.isfinite(scores.cv_results_["mean_test_score"]).all()
    losses = scores.best_estimator_.history[:, "train_loss"]
    assert losses[-1] < losses[0]
    copy = pickle.loads(pickle.dumps(scores.best_estimator_))
    assert copy.criterion_.factor == scores.best_params_["criterion__factor"]


def test_a_weight_that_is_left_out_is_told_in_fit(images):
    X, target, weight = images
    net = plain_net("dummy", criterion__weighting="dacapo", max_epochs=1)
    with pytest.warns(IgnoredWeightWarning, match="leaves the weight out"):
        net.fit(X, FORMS["mapping"](target, weight))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.fit(X, target)
