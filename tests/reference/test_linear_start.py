"""Members of an ensemble start at the linear optima of their own rows, which other programs find.

Those are scikit-survival 0.28.0, and scipy 1.17.1 with its distributions, called here. They get the
rows of the first step of a member, which are all that it has, on the inputs that it standardises.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import minimize
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from sksurvtorch import (
    CompetingRisksNNRegressor,
    CoxNNRegressor,
    CoxPHLoss,
    LogLogisticAFTRegressor,
    LogNormalAFTRegressor,
    WeibullAFTRegressor,
)
from sksurvtorch.estimators import _linear, _linear_members
from sksurvtorch.estimators._linear_members import fit_together
from sksurvtorch.nets import MLP, competing_risks_y, interval_censored_y
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.ensemble import Linears, SideBySide
from sksurvtorch.nets.rows import as_rows
from sksurvtorch.nets.target import cox_target
from sksurvtorch.nets.training import PerMember
from tests.contract.test_ensemble_training import Watch

ALPHAS = (5.0, 20.0)
DISTRIBUTIONS = {
    WeibullAFTRegressor: lambda scale, shape: stats.weibull_min(shape, scale=scale),
    LogNormalAFTRegressor: lambda scale, shape: stats.lognorm(1 / shape, scale=scale),
    LogLogisticAFTRegressor: lambda scale, shape: stats.fisk(shape, scale=scale),
}


@pytest.fixture
def alone(monkeypatch):
    """The penalties of those members whose linear parts are fitted alone."""
    penalties, to_optimum = [], _linear._to_optimum

    def spy(estimator, module, train, l2, settings):
        penalties.append(l2)
        to_optimum(estimator, module, train, l2, settings)

    monkeypatch.setattr(_linear, "_to_optimum", spy)
    return penalties


def patients(n=200, n_features=4, n_causes=1):
    """Correlated features in units of their own, times with ties, and half of the events."""
    rng = np.random.default_rng(0)
    mixed = np.eye(n_features) + 0.5 * rng.normal(size=(n_features, n_features))
    X = rng.normal(size=(n, n_features)) @ mixed * np.geomspace(0.1, 100, n_features) + 3.0
    risk = (X - X.mean(0)) / X.std(0) @ rng.normal(size=n_features) / n_features**0.5
    time = np.ceil(20 * np.exp(-risk / 2) * rng.weibull(2.0, n))
    status = (rng.random(n) < 0.5) * rng.integers(1, n_causes + 1, n)
    if n_causes > 1:
        return X, competing_risks_y(status, time)
    return X, Surv.from_arrays(status > 0, time)


def watched(kind, X, y, given=None, **options):
    """The callback that has watched the first step of an ensemble; and its weights before it."""
    settings = {"hidden_layer_sizes": (3,), "n_estimators": 10, "alpha": ALPHAS, "max_epochs": 1}
    settings |= {"batch_size": None, "dtype": "float64", "random_state": 0}
    model = kind(**settings | options, callbacks=[Watch()]).fit(X, y, **given or {})
    watch = next(c for _, c in model.net_.callbacks_ if isinstance(c, Watch))
    return watch, {name.removeprefix("members."): x for name, x in watch.start_.items()}


def members(kind, X, y, **options):
    """Iterate over standardised inputs, columns, penalty and weights of each member."""
    watch, start = watched(kind, X, y, **options)
    rows, columns, _ = watch.steps_[0]
    n_members = len(start["linear.weight"])
    Z = ((rows - start["center"]) / start["spread"]).chunk(n_members)
    for k in range(n_members):
        own = {name: column.chunk(n_members)[k].numpy() for name, column in columns.items()}
        weights = {name: x[k].numpy() for name, x in start.items() if len(x) == n_members}
        yield Z[k].double().numpy(), own, ALPHAS[k // 5], weights


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_members_are_ridge_fits_of_scikit_survival(ties, alone):
    for Z, own, alpha, weights in members(CoxNNRegressor, *patients(), ties=ties):
        theirs = CoxPHSurvivalAnalysis(alpha=alpha, ties=ties, n_iter=100, tol=1e-14)
        theirs.fit(Z, Surv.from_arrays(own["event"], own["time"]))
        np.testing.assert_allclose(weights["linear.weight"][:, 0], theirs.coef_, atol=1e-5)
    assert not alone


def test_members_of_competing_risks_are_a_ridge_fit_for_each_cause(alone):
    data = patients(n_causes=2)
    for Z, own, alpha, weights in members(CompetingRisksNNRegressor, *data):
        for cause, found in enumerate(weights["linear.weight"].T, 1):
            theirs = CoxPHSurvivalAnalysis(alpha=alpha, ties="efron", n_iter=100, tol=1e-14)
            theirs.fit(Z, Surv.from_arrays(own["status"] == cause, own["time"]))
            np.testing.assert_allclose(found, theirs.coef_, atol=1e-5)
    assert not alone


@pytest.mark.parametrize("kind", DISTRIBUTIONS, ids=lambda kind: kind.__name__)
def test_members_of_a_distribution_have_the_largest_likelihood(kind, alone):
    for Z, own, _, weights in members(kind, *patients(), alpha=0.0, n_estimators=3):

        def loss(guess, Z=Z, event=own["event"], time=own["time"]):
            scale = np.exp(Z @ guess[:-2] + guess[-2])
            of = DISTRIBUTIONS[kind](scale, np.exp(guess[-1]))
            return -np.where(event, of.logpdf(time), of.logsf(time)).mean()

        theirs = minimize(loss, np.zeros(Z.shape[1] + 2), options={"gtol": 1e-7}).x
        found = [weights[name].ravel() for name in ("linear.weight", "linear.bias", "log_shape")]
        np.testing.assert_allclose(np.concatenate(found), theirs, atol=2e-5)
    assert not alone


CASES = {
    "Cox": (CoxNNRegressor, {}, {}),
    "Cox, columns": (CoxNNRegressor, {}, {"sample_weight", "entry", "stratum"}),
    "Cox, weights": (CoxNNRegressor, {}, {"sample_weight"}),
    "Cox, batch norm": (CoxNNRegressor, {"norm": "batch"}, {}),
    "Cox, float32": (CoxNNRegressor, {"dtype": "float32"}, {}),
    "causes": (CompetingRisksNNRegressor, {}, {}),
    "subdistribution": (CompetingRisksNNRegressor, {"hazard": "subdistribution"}, {}),
    "Weibull": (WeibullAFTRegressor, {}, {}),
    "Weibull, columns": (WeibullAFTRegressor, {}, {"sample_weight", "entry"}),
    "Weibull, per sample": (WeibullAFTRegressor, {"shape": "per_sample"}, {}),
    "log-normal": (LogNormalAFTRegressor, {}, {}),
    "intervals": (LogNormalAFTRegressor, {"bounds": True}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_members_at_once_are_members_one_by_one(case, alone, monkeypatch):
    """Up to what is left of a loss that one by one ends where 20 iterations lower it by 1e-6."""
    kind, options, names = CASES[case]
    X, y = patients(n_features=12, n_causes=1 + (kind is CompetingRisksNNRegressor))
    rng, options = np.random.default_rng(1), dict(options)
    given = {"sample_weight": rng.uniform(0.5, 2, len(X)), "stratum": rng.integers(0, 3, len(X))}
    given["entry"] = y["time"] * rng.uniform(0, 0.9, len(X))
    if options.pop("bounds", False):
        y = interval_censored_y(y["time"] - 0.5, np.where(y["event"], y["time"], np.inf))
    given = {name: given[name] for name in names}
    _, at_once = watched(kind, X, y, given, **options)
    assert not alone
    monkeypatch.setattr(_linear, "_TOGETHER", 0)
    _, one_by_one = watched(kind, X, y, given, **options)
    assert len(alone) == 10
    atol = 3e-3 if options.get("dtype") == "float32" else 1e-4  # a line search needs float64
    linear = [name for name in at_once if "linear" in name or "log_shape" in name]
    assert any(at_once[name].abs().max() > 0.1 for name in linear)
    for name in linear:
        np.testing.assert_allclose(at_once[name], one_by_one[name], atol=atol, err_msg=name)


def test_few_rows_are_fitted_at_once_and_many_one_by_one(alone, monkeypatch):
    """40 rows of ten members have 400 outputs, and of 12 features 480 inputs."""
    for n_features, at_most, n_alone in ((4, 400, 0), (4, 399, 10), (12, 480, 0), (12, 479, 10)):
        monkeypatch.setattr(_linear, "_TOGETHER", at_most)
        watched(CoxNNRegressor, *patients(40, n_features))
        assert len(alone) == n_alone
        alone.clear()


@pytest.mark.parametrize("kind", [CoxNNRegressor, WeibullAFTRegressor])
def test_members_that_are_not_at_their_optima_are_fitted_alone(kind, alone, monkeypatch):
    monkeypatch.setitem(_linear_members._OPTIONS, "maxiter", 2)
    _, start = watched(kind, *patients())
    assert len(alone) == 10
    monkeypatch.setattr(_linear, "_TOGETHER", 0)
    _, expected = watched(kind, *patients())
    for name, weight in expected.items():
        assert torch.equal(start[name], weight), name


def cox_rows(X, event, time):
    """Rows with the target of a Cox model."""
    columns = {"event": torch.from_numpy(event), "time": torch.from_numpy(time)}
    return SurvivalDataset(as_rows(X), cox_target(columns, "efron", lay_out=True))


def linear_members(n_members, n_features):
    """Linear models in float64, all weights 0."""
    each = [MLP(n_features, hidden_layer_sizes=(), bias=False) for _ in range(n_members)]
    return SideBySide(each).double()


def test_outcomes_that_a_member_leaves_out_do_not_matter_to_it():
    """Of 60 rows with 80 features, 12 are left out, and get the outcomes of each other."""
    rng = np.random.default_rng(0)
    X, event, time = rng.normal(size=(60, 80)), rng.random(60) < 0.6, rng.permutation(60) + 1.0
    rows = torch.stack([torch.arange(48), torch.arange(12, 60)])
    told = PerMember(rows, torch.tensor([0.1, 0.1], dtype=torch.float64))
    others = np.r_[np.arange(48), 48 + rng.permutation(12)]
    found = []
    for order in (np.arange(60), others):
        linear, data = linear_members(2, 80), cox_rows(X, event[order], time[order])
        assert fit_together(linear, data, told, CoxPHLoss()) == [0, 1]
        found.append(linear.linear.weight.detach().numpy())
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-4)
    assert np.abs(found[0][1] - found[1][1]).max() > 0.01


def test_members_at_their_optima_are_told_from_the_others(monkeypatch):
    """Where a feature is constant, any coefficient is optimal; the rest take more than a step."""
    monkeypatch.setitem(_linear_members._OPTIONS, "maxiter", 1)
    rng = np.random.default_rng(0)
    X, time = rng.normal(size=(60, 2)), rng.permutation(60) + 1.0
    X[20:40] = 1.0
    told = PerMember(torch.arange(60).reshape(3, 20), torch.zeros(3, dtype=torch.float64))
    linear, data = linear_members(3, 2), cox_rows(X, np.ones(60, bool), time)
    assert fit_together(linear, data, told, CoxPHLoss()) == [1]
    assert linear.linear.weight[1].abs().max() < 1e-12 < linear.linear.weight[0].abs().max()


@pytest.mark.parametrize("bias", [False, True])
def test_rows_that_are_the_same_for_all_networks(bias):
    rng = torch.Generator().manual_seed(0)
    layers = Linears([torch.nn.Linear(3, 2, bias=bias) for _ in range(4)])
    for weight in layers.parameters():
        weight.data.normal_(generator=rng)
    X = torch.randn((5, 3), generator=rng)
    torch.testing.assert_close(layers(X), layers(X.expand(4, -1, -1)))
