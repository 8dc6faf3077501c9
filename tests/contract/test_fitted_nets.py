"""The net that an estimator has trained is a skorch net like any other."""

from __future__ import annotations

import pickle
import signal
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from sksurvtorch import CoxNNRegressor
from sksurvtorch.nets import survival_target
from tests.contract.small_models import Mlp, both, fitted, small

OPTIONS = {
    "usual": {},
    "early stopping": {"early_stopping": True},
    "momentum": {"momentum": True},
    "lbfgs": {"optimizer": "lbfgs", "batch_size": None},
    "own class": {"module": Mlp, "module__width": 4},
    "own instance": {"module": Mlp()},
}


def with_outputs(kind, options):
    """The options, with a network that has the outputs which Weibull wants of it."""
    return options if kind is CoxNNRegressor or "module" not in options else {"shape": "shared"}


def through_pickle(net):
    return pickle.loads(pickle.dumps(net))


def same_weights(net, other):
    """Whether two nets have networks of equal names and weights."""
    ours, theirs = (n.module_.state_dict() for n in (net, other))
    return ours.keys() == theirs.keys() and all(
        torch.equal(torch.as_tensor(weight), torch.as_tensor(theirs[name]))
        for name, weight in ours.items()
    )


# L-BFGS is cut short here.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@both
@pytest.mark.parametrize("name", OPTIONS)
def test_a_clone_has_the_network_and_can_be_trained(kind, name, whas500):
    """The estimator has given it the network as an instance."""
    model = fitted(kind, whas500, **with_outputs(kind, OPTIONS[name]), max_epochs=2)
    again = clone(model.net_).initialize()
    assert len(again.history) == 0
    assert same_weights(again, model.net_)
    if name in ("momentum", "early stopping"):
        return  # these want the numbers of the rows, and rows to validate with
    again.partial_fit(whas500[0], survival_target(whas500[1]))
    assert len(again.history) > 0
    assert not same_weights(again, model.net_)


@both
@pytest.mark.parametrize("copy", [through_pickle, deepcopy], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", ["usual", "momentum"])
def test_so_can_a_copy_which_has_it_once(kind, copy, name, whas500):
    model = fitted(kind, whas500, **OPTIONS[name], max_epochs=2)
    net = copy(model.net_)
    assert net.module is net.module_
    assert same_weights(clone(net).initialize(), model.net_)


@both
def test_initialising_it_again_leaves_the_model_as_it_is(kind, whas500):
    model = fitted(kind, whas500, max_epochs=2)
    before = model.predict(whas500[0])
    model.net_.initialize()
    np.testing.assert_array_equal(model.predict(whas500[0]), before)


class Interrupt(Callback):
    """Presses Ctrl-C at the first batch of the linear start."""

    def on_batch_begin(self, net, **kwargs):
        signal.raise_signal(signal.SIGINT)


@both
def test_an_interrupted_start_leaves_the_network_whole(kind, whas500, monkeypatch):
    """Its hidden layers are set aside while the linear model is fitted."""
    from sksurvtorch.nets import callbacks

    made = []
    layers = nn.Module.__init__

    def remember(module, *args, **kwargs):
        layers(module, *args, **kwargs)
        if type(module).__name__ == "MLP":
            made.append(module)

    monkeypatch.setattr(nn.Module, "__init__", remember)
    monkeypatch.setattr(callbacks, "Converged", lambda tol: Interrupt())
    with pytest.raises(KeyboardInterrupt):
        small(kind).fit(*whas500)
    assert len(made) == 1
    assert made[0].hidden is not None
