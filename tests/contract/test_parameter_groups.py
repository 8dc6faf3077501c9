"""`optimizer__param_groups`: which weights a pattern chooses, and their learning rates."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, LRScheduler
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor, CoxPHLoss, WeibullAFTRegressor, load, save
from sksurvtorch.nets import SurvivalNet, survival_target

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = Surv.from_arrays(RNG.random(60) < 0.7, RNG.uniform(1, 9, 60))
LR = 0.04


class Rates(Callback):
    """Keep the rates of all groups in each step."""

    def on_train_begin(self, net, **kwargs):
        self.steps_ = []

    def on_batch_begin(self, net, training=False, **kwargs):
        if training:
            self.steps_.append([group["lr"] for group in net.optimizer_.param_groups])


def rates(model):
    """The rates of all steps of the last training, of shape (n_steps, n_groups)."""
    return np.array(next(c for _, c in model.net_.callbacks_ if isinstance(c, Rates)).steps_)


def network(n_outputs=1):
    """Two layers."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, n_outputs, bias=False))


def cox(groups, **parameters):
    options = {"lr": LR, "max_epochs": 3, "batch_size": 30, "random_state": 0, **parameters}
    callbacks = [*options.pop("callbacks", []), Rates()]
    if groups is not None:
        options["optimizer__param_groups"] = groups
    return CoxNNRegressor(callbacks=callbacks, **options)


GROUPS = [("0.*", {"lr": LR / 10}), ("2.weight", {"lr": 0.0})]


def test_each_group_follows_the_cosine_from_its_own_rate():
    model = cox([("0.weight", {"lr": LR / 10}), ("0.bias", {"lr": 0.0})], module=network()).fit(
        X, Y
    )
    cosine = (1 + np.cos(np.pi * np.arange(6) / 6)) / 2
    expected = np.outer(cosine, [LR / 10, 0.0, LR])
    np.testing.assert_allclose(rates(model), expected, rtol=1e-12, atol=1e-16)


def test_each_group_keeps_its_own_constant_rate():
    model = cox(GROUPS, module=network(), lr_schedule="constant").fit(X, Y)
    assert (rates(model) == [LR / 10, 0.0]).all()


def test_each_group_follows_a_scheduler_of_the_users():
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.5)
    model = cox(GROUPS, module=network(), lr_schedule="constant", callbacks=[schedule]).fit(X, Y)
    expected = np.outer(np.repeat([1.0, 0.5, 0.25], 2), [LR / 10, 0.0])
    np.testing.assert_allclose(rates(model), expected, rtol=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_weights_are_those_of_a_plain_loop(schedule):
    options = {"dtype": "float64", "optimizer": "sgd", "batch_size": None, "alpha": 0.0}
    groups = [("0.*", {"lr": LR * 5})]
    model = cox(groups, module=network(), lr_schedule=schedule, **options).fit(X, Y)
    twin = network().double()
    for step in range(3):
        share = (1 + math.cos(math.pi * step / 3)) / 2 if schedule == "cosine" else 1.0
        twin.zero_grad()
        inputs = torch.from_numpy(X).double()
        loss = CoxPHLoss()(twin(inputs), Y["event"].copy(), Y["time"].copy())
        loss.backward()
        with torch.no_grad():
            for name, weight in twin.named_parameters():
                weight -= (5 if name.startswith("0.") else 1) * LR * share * weight.grad
    for name, weight in twin.state_dict().items():
        found = model.net_.module_.state_dict()[name]
        torch.testing.assert_close(found, weight, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kind", [CoxNNRegressor, WeibullAFTRegressor])
def test_frozen_weights_stay_in_one_network_and_in_each_member(kind, own, n_estimators):
    options = {"lr": LR, "max_epochs": 2, "batch_size": 30, "random_state": 0}
    options |= {"module": network()} if own else {"hidden_layer_sizes": (3,)}
    pattern = "0.*" if own else "hidden.*"
    made = kind(n_estimators=n_estimators, **options)
    frozen = made.set_params(optimizer__param_groups=[(pattern, {"lr": 0.0})]).fit(X, Y)
    first, other = frozen.net_.optimizer_.param_groups
    n_weights = 2 if own else 3
    assert len(first["params"]) == n_weights * (n_estimators if own else 1)
    before = {id(w): w.detach().clone() for w in first["params"] + other["params"]}
    frozen.partial_fit(X, Y)
    assert all(torch.equal(w, before[id(w)]) for w in first["params"])
    assert not any(torch.equal(w, before[id(w)]) for w in other["params"])
    if own:  # they are those of the module that was given
        weight = network()[0].weight
        assert sum(torch.equal(w.cpu(), weight) for w in first["params"]) == n_estimators


def test_names_of_the_whole_net_match_too():
    for groups in ([("module.0.*", {"lr": 0.0})], [("0.*", {"lr": 0.0})]):
        model = WeibullAFTRegressor(
            module=network(), max_epochs=1, optimizer__param_groups=groups
        ).fit(X, Y)
        assert [len(g["params"]) for g in model.net_.optimizer_.param_groups] == [2, 2]


def test_the_target_network_of_momentum_has_the_names_of_the_online_one():
    model = cox([("0.*", {"lr": 0.0})], module=network(), momentum=True).fit(X, Y)
    weights = dict(model.net_.module_.named_parameters())
    chosen = {id(w) for w in model.net_.optimizer_.param_groups[0]["params"]}
    names = {name for name, w in weights.items() if id(w) in chosen}
    assert {"online.0.weight", "online.0.bias"} <= names
    assert not any("2.weight" in name for name in names)
    torch.testing.assert_close(weights["online.0.weight"], network()[0].weight, rtol=0, atol=0)


def test_a_compiled_network_has_the_names_that_it_has_otherwise():
    whole = torch.compile(network(), backend="eager")
    net = SurvivalNet(whole, optimizer__param_groups=[("0.*", {"lr": 0.0})], verbose=0).initialize()
    assert [len(g["params"]) for g in net.optimizer_.param_groups] == [2, 1]


@pytest.mark.parametrize("n_estimators", [1, 3])
def test_a_group_keeps_its_ratio_when_the_rate_is_set(n_estimators):
    groups = [("linear.*", {"lr": LR / 4}), ("hidden.0.*", {"weight_decay": 1.0})]
    options = {"hidden_layer_sizes": (3,), "n_estimators": n_estimators, "warm_start": True}
    model = cox(groups, **options).fit(X, Y)
    for lr in (LR, LR / 2):
        model.set_params(lr=lr).fit(X, Y)
        np.testing.assert_allclose(rates(model)[0], [lr / 4, lr, lr], rtol=1e-14)
        assert rates(model)[0, 1] == lr
        model.partial_fit(X, Y)
        np.testing.assert_allclose(rates(model), [[lr / 4, lr, lr]] * 2, rtol=1e-14)


def test_copies_of_a_model_keep_the_rates(tmp_path):
    model = cox(GROUPS, module=network()).fit(X, Y)
    save(model.set_params(callbacks=None), tmp_path / "model")
    loaded = load(tmp_path / "model", module=network())
    for copy in (pickle.loads(pickle.dumps(model)), loaded):
        copy.set_params(callbacks=[Rates()]).partial_fit(X, Y)
        assert (rates(copy) == [LR / 10, 0.0]).all()


def test_groups_without_a_rate_change_no_bit():
    for n_estimators in (1, 3):
        options = {"hidden_layer_sizes": (3,), "n_estimators": n_estimators}
        groups = [("hidden.*", {"lr": LR}), ("linear.*", {})]
        fits = [cox(given, **options).fit(X, Y).predict(X) for given in (None, groups)]
        np.testing.assert_array_equal(*fits)


def test_beside_a_rate_of_zero_a_group_keeps_its_own():
    groups = [("0.*", {"lr": 0.25})]
    model = cox(groups, module=network(), optimizer__lr=0.0, lr_schedule="constant").fit(X, Y)
    assert (rates(model) == [0.25, 0.0]).all()


def test_a_net_of_the_users_has_groups_as_skorch_makes_them():
    options = {"lr": LR, "max_epochs": 1, "verbose": 0, "optimizer__param_groups": GROUPS}
    net = SurvivalNet(network(), train_split=None, callbacks=[Rates()], **options)
    net.fit(X, survival_target(Y))
    assert [group["lr"] for group in net.optimizer_.param_groups] == [LR / 10, 0.0]
    torch.testing.assert_close(net.module_[2].weight, network()[2].weight, rtol=0, atol=0)


@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("taken", [False, True])
def test_a_pattern_without_a_weight_is_refused(taken, n_estimators):
    before = [("*", {"lr": 0.1})] if taken else []
    pattern = "0.*" if taken else "absent.*"
    model = cox([*before, (pattern, {"lr": 0.0})], module=network(), n_estimators=n_estimators)
    with pytest.raises(ValueError, match=r"^A pattern of `optimizer__param_groups`") as error:
        model.fit(X, Y)
    names = "" if taken else "0.weight, 0.bias, 2.weight"
    assert str(error.value).startswith(
        "A pattern of `optimizer__param_groups` must match the name of a weight that no pattern "
        f"before it has matched, got {pattern!r}."
    )
    assert names in str(error.value)


@pytest.mark.parametrize("given", [{"0.*": {"lr": 0.1}}, ["0.*"], [("0.*", 0.1)], [(0, {})]])
def test_groups_that_are_no_pairs_are_refused(given):
    with pytest.raises(TypeError) as error:
        cox(given, module=network()).fit(X, Y)
    assert str(error.value) == (
        "`optimizer__param_groups` must be a list of pairs, a pattern of names of weights and a "
        f"dictionary of options, got {given!r}. For example [('hidden.*', {{'lr': 0.001}})]."
    )


@pytest.mark.parametrize(
    ("lr", "error"), [(-0.1, ValueError), (np.nan, ValueError), ("1", TypeError)]
)
def test_the_rate_of_a_group_is_checked(lr, error):
    with pytest.raises(error, match=r"^`lr of '0.\*' in optimizer__param_groups` must be "):
        cox([("0.*", {"lr": lr})], module=network()).fit(X, Y)
