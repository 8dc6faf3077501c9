"""Given the same batches, `SurvivalNet` trains as a plain skorch net does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skorch.callbacks import Checkpoint, EarlyStopping, GradientNormClipping, LRScheduler
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from sksurv.util import Surv
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR

from sksurvtorch import WeibullAFTLoss
from sksurvtorch.nets import SurvivalNet, survival_target
from tests.contract.small_models import BatchLosses, Mlp, both_losses, plain_net, target_columns


def survival_net(loss, module=Mlp, **options):
    """Our net with the same settings as the plain one."""
    plain = plain_net(loss, module, **options).get_params(deep=False)
    del plain["iterator_train"], plain["iterator_valid"], plain["dataset"]
    own = {k: v for k, v in plain.items() if k not in ("module", "criterion")}
    return SurvivalNet(module, loss, **own)


USUAL = {
    "callbacks": None,
    "optimizer": torch.optim.Adam,
    "lr": 0.02,
    "batch_size": 48,
    "max_epochs": 4,
}
# No dropout: torch's own loader draws from the generator that dropout uses.
FEATURES = {
    "none": {},
    "clipping": {"callbacks": [("clip", GradientNormClipping(0.01))]},
    "scheduler": {
        "callbacks": [("rate", LRScheduler(ExponentialLR, gamma=0.9, step_every="batch"))]
    },
    "callback": {"callbacks": [("losses", BatchLosses())]},
    "lbfgs": {
        "optimizer": torch.optim.LBFGS,
        "lr": 0.5,
        "batch_size": -1,
        "max_epochs": 3,
        "optimizer__line_search_fn": "strong_wolfe",
    },
    "momentum": {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
}


@both_losses
@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("order", ["any", "by_time"])
def test_weights_are_those_of_plain_skorch_to_the_bit(loss, feature, order, whas500):
    """With equal batches in the same order."""
    X, y = (part[:192] for part in whas500)
    if order == "by_time":
        rows = y["time"].argsort()[::-1]
        X, y = X[rows], y[rows]
    target = survival_target(y, **target_columns(y, loss))
    options = {"train_split": None, **USUAL, **FEATURES[feature]}
    ours, theirs = (make(loss, **options).fit(X, target) for make in (survival_net, plain_net))
    expected = theirs.module_.state_dict()
    for name, weight in ours.module_.state_dict().items():
        assert torch.equal(weight, expected[name]), name
    if feature == "callback":
        ours, theirs = (dict(net.callbacks_)["losses"].losses_ for net in (ours, theirs))
        assert len(ours) == 16
        np.testing.assert_array_equal(ours, theirs)
    elif feature != "none":
        usual = survival_net(loss, train_split=None, **USUAL).fit(X, target).module_.state_dict()
        assert not torch.equal(usual["layers.0.weight"], expected["layers.0.weight"])


class SquaredError(nn.Module):
    """A criterion of somebody's own."""

    def forward(self, output, target):
        return (output[:, 0] - target["time"]).square().mean()


class SummedWeibull(WeibullAFTLoss):
    """The loss of all rows, which many rows bring beyond a million."""

    def __init__(self):
        super().__init__(reduction="sum")

    def forward(self, output, target):
        return 1e5 * super().forward(output, target)


@pytest.mark.parametrize("criterion", [SquaredError, SummedWeibull])
def test_large_losses_are_those_of_plain_skorch(criterion, whas500):
    """No loss is bent, neither in the history nor on its way back."""
    X, y = (part[:192] for part in whas500)
    target = survival_target(Surv.from_arrays(y["event"], y["time"] * 1000))
    # A step that follows the size of the gradient, rather than its sign alone.
    options = {"optimizer": torch.optim.SGD, "lr": 1e-8, "batch_size": 48, "max_epochs": 3}
    options |= {"train_split": None, "callbacks": [("losses", BatchLosses())]}
    nets = [make(criterion, **options).fit(X, target) for make in (survival_net, plain_net)]
    ours, theirs = (net.module_.state_dict() for net in nets)
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
    losses = [dict(net.callbacks_)["losses"].losses_ for net in nets]
    assert losses[0] == losses[1]
    assert min(losses[0]) > 1e6
    assert nets[0].history[:, "train_loss"] == pytest.approx(nets[1].history[:, "train_loss"])


def validation_input(parts):
    return torch.as_tensor(parts[1][0])


def tensors(y):
    return {name: torch.as_tensor(column) for name, column in survival_target(y).items()}


@both_losses
def test_early_stopping_with_a_checkpoint_is_that_of_plain_skorch(loss, whas500, tmp_path):
    X, y = whas500
    parts = [(X[:192], y[:192]), (X[192:], y[192:])]
    nets = []
    for make in (survival_net, plain_net):
        path = tmp_path / make.__name__
        callbacks = [
            ("stop", EarlyStopping(patience=2)),
            ("best", Checkpoint(dirname=path, load_best=True)),
            ("losses", BatchLosses()),
        ]
        net = make(
            loss, batch_size=48, lr=0.05, max_epochs=60, callbacks=callbacks,
            iterator_valid__batch_size=-1, module__width=32,
        )  # fmt: skip
        dataset = Dataset
        if make is survival_net:
            net.initialize()
            dataset = net.get_dataset
        train, valid = (dataset(X, survival_target(y)) for X, y in parts)
        torch.manual_seed(0)
        net.set_params(train_split=predefined_split(valid))
        nets.append(net.fit(train))
    ours, theirs = nets
    assert len(ours.history) == len(theirs.history) < 60
    # The checkpoint brings back the history too, so that the best epoch is its last.
    best = min(ours.history[:, "valid_loss"])
    assert best == ours.history[-1, "valid_loss"]
    n_batches = [len(dict(net.callbacks_)["losses"].losses_) for net in nets]
    assert n_batches[0] == n_batches[1] > 4 * len(ours.history)
    np.testing.assert_allclose(
        ours.history[:, "valid_loss"], theirs.history[:, "valid_loss"], rtol=1e-6
    )
    expected = theirs.module_.state_dict()
    for name, weight in ours.module_.state_dict().items():
        assert torch.equal(weight, expected[name]), name
    loss_of_best = ours.criterion_(ours.forward(validation_input(parts)), tensors(parts[1][1]))
    assert loss_of_best.item() == pytest.approx(best, rel=1e-6)
