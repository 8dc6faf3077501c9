"""A fit within `torch.autocast` is the one outside of it; a net of the user's learns there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CompetingRisksNNRegressor, CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.nets import SurvivalNet, competing_risks_y, survival_target
from sksurvtorch.nets.defaults import without_autocast

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 4)).astype(np.float32)
EVENT, TIME = RNG.random(80) < 0.7, RNG.exponential(np.exp(-X[:, 0])) + 0.01
Y = Surv.from_arrays(EVENT, TIME)
RISKS = competing_risks_y(EVENT * RNG.integers(1, 3, 80), TIME)
BFLOAT16 = {"device_type": "cpu", "dtype": torch.bfloat16}


class Mixed(nn.Module):
    """A network that has autocast for itself."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))

    @torch.autocast("cpu", dtype=torch.bfloat16)
    def forward(self, X):
        return self.layers(X)


def network():
    """Two layers."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1, bias=False))


def mixed():
    """A network that has autocast for itself."""
    torch.manual_seed(0)
    return Mixed()


MODELS = {
    "cox": lambda: CoxNNRegressor(n_estimators=3),
    "weibull": lambda: WeibullAFTRegressor(n_estimators=1, dropout=0.2, early_stopping=True),
    "risks": lambda: CompetingRisksNNRegressor(n_estimators=1),
    "linear": lambda: CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs", dtype="float32"),
    "momentum": lambda: CoxNNRegressor(momentum=True),
    "own": lambda: CoxNNRegressor(module=network(), lr=0.05),
    "own_mixed": lambda: CoxNNRegressor(module=mixed(), lr=0.05),
    "accelerator": lambda: CoxNNRegressor(
        module=network(), lr=0.05, accelerator=Accelerator(cpu=True, mixed_precision="bf16")
    ),
}


def fitted(name):
    """A small fit."""
    model = MODELS[name]().set_params(max_epochs=4, random_state=0, batch_size=40)
    return model.fit(X, RISKS if name == "risks" else Y)


def said(model):
    """What a model has learned."""
    losses = np.array(model.net_.history[:, "train_loss"])
    weights = [w.float().numpy() for w in model.net_.module_.state_dict().values() if w.ndim]
    return [losses, *weights]


def autocast_state():
    """What autocast remembers."""
    level = torch.autocast_increment_nesting() - 1
    torch.autocast_decrement_nesting()
    dtype = torch.get_autocast_dtype("cpu")
    return torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled(), level, dtype


@pytest.mark.parametrize("contexts", [[{}], [{"cache_enabled": False}], [{"enabled": False}, {}]])
@pytest.mark.parametrize("name", MODELS)
def test_a_fit_within_autocast_is_the_one_outside(name, contexts):
    outside = fitted(name)
    enclosing = [torch.autocast(**BFLOAT16, **options) for options in contexts]
    for context in enclosing:
        context.__enter__()
    before = autocast_state()
    try:
        inside = fitted(name)
        after = autocast_state()
    finally:
        for context in reversed(enclosing):
            context.__exit__(None, None, None)
    assert after == before
    assert before[2] == len(contexts)
    for one, other in zip(said(inside), said(outside), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["own", "own_mixed", "accelerator"])
def test_a_network_moves_within_autocast(name):
    with torch.autocast(**BFLOAT16):
        losses = said(fitted(name))[0]
    assert (np.diff(losses) < 0).all()


def test_a_prediction_within_autocast_is_of_the_weights_of_today():
    model = CoxNNRegressor(module=network(), lr=0.05, random_state=0, max_epochs=1).fit(X, Y)
    with torch.autocast(**BFLOAT16):
        before = model.predict(X)
        inside = model.partial_fit(X, Y).predict(X)
    with torch.autocast(**BFLOAT16):
        np.testing.assert_array_equal(model.predict(X), inside)
    assert np.abs(before - inside).max() > 0.01


def test_a_fit_that_fails_leaves_autocast_as_it_was():
    with torch.autocast(**BFLOAT16):
        before = autocast_state()
        with pytest.raises(ValueError, match="`lr` must be"):
            CoxNNRegressor(lr=-1.0).fit(X, Y)
        with pytest.raises(ValueError, match="`y` must be a structured array"):
            SurvivalNet(network(), verbose=0).fit(X, TIME)
        assert autocast_state() == before


@pytest.mark.parametrize("make", [network, mixed])
def test_a_net_of_the_users_learns_in_the_precision_of_autocast(make):
    found = []
    for options in ({}, {"cache_enabled": False}):
        net = SurvivalNet(make(), lr=0.5, max_epochs=4, verbose=0, train_split=None)
        net.set_params(iterator_train__shuffle=False)
        with torch.autocast(**BFLOAT16, **options):
            before = autocast_state()
            net.fit(X, survival_target(Y))
            assert autocast_state() == before
            found.append(
                [*net.history[:, "train_loss"], *net.forward(X).float().flatten().tolist()]
            )
    np.testing.assert_array_equal(*found)
    assert np.diff(found[0][:4]).max() < 0
    exact = SurvivalNet(network(), lr=0.5, max_epochs=4, verbose=0, train_split=None)
    exact.set_params(iterator_train__shuffle=False).fit(X, survival_target(Y))
    assert found[0][0] != exact.history[0, "train_loss"]


def test_without_autocast_a_product_is_exact():
    a = torch.randn((3, 3), device="cpu", dtype=torch.float32)
    with torch.autocast(**BFLOAT16):
        assert (a @ a).dtype == torch.bfloat16
        with without_autocast():
            assert (a @ a).dtype == torch.float32
            with torch.autocast(**BFLOAT16):
                assert (a @ a).dtype == torch.bfloat16
        assert (a @ a).dtype == torch.bfloat16
