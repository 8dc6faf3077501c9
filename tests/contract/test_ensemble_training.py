"""Members that are trained at once are what each would become by itself.

The twin trains the networks one after the other in a plain loop, by torch's optimizers and modules,
from the same start and with the same batches.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

from sksurvtorch import CoxNNRegressor, CoxPHLoss, WeibullAFTLoss, WeibullAFTRegressor
from tests.contract.small_models import Mlp, both, fitted

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


class Watch(Callback):
    """Keeps the weights at the start, and the batches of each step."""

    def on_train_begin(self, net, X=None, **kwargs):
        self.start_ = copy.deepcopy(net.module_.state_dict())
        self.l2_ = net.l2
        self.steps_ = []

    def on_batch_begin(self, net, batch, training, **kwargs):
        X, y = batch
        columns = {name: column.clone() for name, column in y.items()}
        self.steps_.append((X.clone(), columns, y.outcome()))


class Network(nn.Module):
    """A network of one member, from its part of the stacked weights."""

    def __init__(self, state, k, activation, norm):
        super().__init__()
        part = {name: value[k] for name, value in state.items() if name.startswith("members.")}
        part |= {name: state[name] for name in ("members.center", "members.spread")}
        self.center, self.spread = part["members.center"], part["members.spread"]
        self.linear = nn.ParameterList([part["members.linear.weight"].clone()])
        if "members.linear.bias" in part:
            self.linear.append(part["members.linear.bias"].clone())
        self.layers, self.activation, self.norm = nn.ModuleList(), activation, norm
        places = sorted({int(name.split(".")[2]) for name in part if ".hidden." in name})
        for place in places:
            names = [f"members.hidden.{place}.{kind}" for kind in ("weight", "bias")]
            self.layers.append(nn.ParameterList([part[n].clone() for n in names if n in part]))
        self.log_shape = None
        if "members.log_shape" in part:
            self.log_shape = nn.Parameter(part["members.log_shape"].clone())

    def forward(self, X):
        Z = (X - self.center) / self.spread
        out = Z @ self.linear[0] + (self.linear[1] if len(self.linear) > 1 else 0)
        hidden, stages = Z, list(self.layers)
        *stages, last = stages
        while stages:
            weight, bias = stages.pop(0)
            hidden = hidden @ weight + bias
            if self.norm == "layer":
                weight, bias = stages.pop(0)
                mean, variance = hidden.mean(1, keepdim=True), hidden.var(1, False, keepdim=True)
                hidden = (hidden - mean) / (variance + 1e-5).sqrt() * weight + bias
            hidden = self.activation(hidden)
        out = out + hidden @ last[0]
        if self.log_shape is None:
            return out
        return torch.cat([out, self.log_shape.reshape(1, 1).expand(len(out), 1)], 1)

    def squared_weights(self):
        """The penalty of the estimators: of many inputs, and of shape times log scale."""
        weights = [self.linear[0], *(layer[0] for layer in self.layers if layer[0].shape[0] > 1)]
        more = max(1, len(self.center) / 10)
        total = 0
        for k, weight in enumerate(weights):
            squares = weight.square() * (more if k < 2 else 1)
            if k in (0, len(weights) - 1) and self.log_shape is not None:
                squares = squares * (2 * self.log_shape.sum()).exp()
            elif k in (0, len(weights) - 1) and weight.shape[1] == 2:
                squares = squares * torch.stack([(2 * self.linear[1][0, 1]).exp(), torch.tensor(1)])
            total = total + squares.sum()
        return total


CASES = {
    "plain": {},
    # Adam would make a step of what is left of a gradient that is 0 at the start, an optimum.
    "one batch": {"batch_size": None, "optimizer": "sgd", "lr": 0.1},
    "layer norm": {"norm": "layer", "hidden_layer_sizes": (6, 5)},
    "sgd": {"optimizer": "sgd", "lr": 0.1},
    "tanh, constant rate": {"activation": "tanh", "lr_schedule": "constant"},
    "weights": {"weighted": True},
    "strata": {"strata": True},
    "entries": {"entries": True},
    "breslow": {"ties": "breslow"},
    # Small steps: the loss of a batch would be beyond a million, where a training bends it.
    "per sample": {"shape": "per_sample", "lr": 1e-4},
}


@both
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_members_are_those_of_a_plain_loop(kind, dtype, case, whas500):
    X, y = whas500
    options = dict(CASES[case])
    rng = np.random.default_rng(0)
    given = {
        "sample_weight": rng.uniform(0.5, 2, len(y)) if options.pop("weighted", False) else None,
        "stratum": rng.integers(0, 3, len(y)) if options.pop("strata", False) else None,
        "entry": y["time"] * rng.uniform(0, 0.9, len(y)) if options.pop("entries", False) else None,
    }
    known = kind().get_params()
    if not set(options) <= set(known) or (kind is WeibullAFTRegressor and case == "strata"):
        pytest.skip("not a parameter of this estimator")
    given = {name: column for name, column in given.items() if column is not None}
    settings = {"hidden_layer_sizes": (6,), "max_epochs": 3, "batch_size": 100, "lr": 0.01}
    settings |= {"dtype": dtype, "n_estimators": 3, "random_state": 0, "callbacks": [Watch()]}
    model = kind(**{**settings, **options}).fit(X, y, **given)
    watch = next(c for _, c in model.net_.callbacks_ if isinstance(c, Watch))
    parameters = model.get_params()
    activation = {"relu": torch.relu, "tanh": torch.tanh}[parameters["activation"]]
    loss = CoxPHLoss(ties=model.ties) if kind is CoxNNRegressor else WeibullAFTLoss()
    n_batches = 1 if parameters["batch_size"] is None else 2
    assert len(watch.steps_) == 3 * n_batches
    predictions = model.predict_members(X)
    for k in range(3):
        network = Network(watch.start_, k, activation, parameters["norm"])
        # What the penalty and the weight of a batch are beside: the rows of this member.
        information = 0.0
        for _, columns, _ in watch.steps_[:n_batches]:
            own = {name: c.reshape(3, -1)[k] for name, c in columns.items()}
            information += _information(kind, own)
        adam = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[parameters["optimizer"]]
        optimizer = adam(network.parameters(), lr=parameters["lr"])
        n_steps = len(watch.steps_)
        for step, (rows, columns, _) in enumerate(watch.steps_):
            if parameters["lr_schedule"] == "cosine":
                share = (1 + math.cos(math.pi * step / n_steps)) / 2
                optimizer.param_groups[0]["lr"] = parameters["lr"] * share
            own = {name: c.reshape(3, -1)[k] for name, c in columns.items()}
            output = network(rows.reshape(3, -1, X.shape[1])[k])
            value = loss(output, own)
            if "weight" in own:
                value = value * _information(kind, own) / (information / n_batches)
            value = value + 10.0 / information / 2 * network.squared_weights()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        with torch.no_grad():
            output = network(torch.as_tensor(np.asarray(X))).double()
        if kind is CoxNNRegressor:
            expected = output[:, 0] - output[:, 0].mean()
        else:
            spread, center = model.log_time_spread_, model.log_time_center_
            log_scale = center + spread * output[:, 0]
            shape = output[:, 1].exp() / spread
            expected = center - (log_scale + math.log(math.log(2)) / shape)
        np.testing.assert_allclose(
            predictions[k], expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
        )


def _information(kind, columns):
    """Events of a Cox model, else rows, weighted: what a mean loss is divided by."""
    counted = columns["event"].double() if kind is CoxNNRegressor else 1.0
    weight = columns.get("weight", torch.ones(len(columns["event"]))).double()
    return float((counted * weight).sum())


@both
def test_networks_of_ones_own_are_those_of_single_fits(kind, whas500):
    """Copies of one network, each with its own rows, all at once: no start or batch is drawn."""
    X, y = whas500
    torch.manual_seed(0)
    network = Mlp(n_outputs=1).double()
    options = {"module": network, "batch_size": None, "dtype": "float64", "max_epochs": 5}
    model = fitted(kind, (X, y), [Watch()], n_estimators=5, **options)
    predictions = model.predict_members(X)
    watch = next(c for _, c in model.net_.callbacks_ if isinstance(c, Watch))
    rows, _, outcome = watch.steps_[0]
    for k in range(5):
        own = slice(k * len(rows) // 5, (k + 1) * len(rows) // 5)
        single = fitted(kind, (rows[own].numpy(), outcome[own]), **options)
        score = single.predict(X)
        if kind is CoxNNRegressor:
            np.testing.assert_allclose(predictions[k], score - score.mean(), atol=1e-10)
        else:  # whose unit of time is that of its own rows
            assert np.corrcoef(predictions[k], score)[0, 1] > 0.99
