"""The losses as criteria of a plain skorch net."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from skorch.dataset import ValidSplit
from sksurv.metrics import concordance_index_censored
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxPHLoss
from sksurvtorch.nets import survival_target
from tests.contract.small_models import both, both_losses, plain_net, target_columns


@pytest.fixture(scope="module")
def images():
    """8 x 8 images; the brighter the blob, wherever it is, the higher the hazard."""
    rng = np.random.default_rng(0)
    n = 240
    brightness = rng.uniform(0, 3, n)
    row, column = rng.integers(1, 7, (2, n))
    y, x = np.mgrid[:8, :8]
    distance = (y - row[:, None, None]) ** 2 + (x - column[:, None, None]) ** 2
    X = 0.1 * rng.normal(size=(n, 8, 8)) + brightness[:, None, None] * np.exp(-distance / 2)
    time = rng.exponential(np.exp(-2 * brightness))
    censoring = rng.exponential(0.3, n)
    target = Surv.from_arrays(time <= censoring, np.minimum(time, censoring))
    return X[:, None].astype(np.float32), target


class ImageNet(nn.Module):
    def __init__(self, n_outputs=1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(4, n_outputs),
        )

    def forward(self, X):
        return self.layers(X)


def concordance(net, X, y):
    """The higher the log hazard ratio, or the lower the log scale, the earlier."""
    sign = 1 if isinstance(net.criterion_, CoxPHLoss) else -1
    risk_score = sign * net.predict(X)[:, 0]
    return concordance_index_censored(y["event"], y["time"], risk_score)[0]


@both_losses
def test_a_plain_net_learns_with_a_validation_split(loss, whas500):
    X, y = whas500
    target = survival_target(y)
    net = plain_net(loss, max_epochs=15, train_split=ValidSplit(4)).fit(X, target)
    losses = net.history[:, ("train_loss", "valid_loss")]
    assert np.isfinite(losses).all()
    assert losses[-1][0] < losses[0][0]
    assert concordance(net, X, target) > 0.7


@both_losses
def test_the_loss_of_a_plain_net_is_the_loss_of_its_rows(loss, whas500):
    """With entry, weight and stratum: they go through the batches of skorch."""
    X, y = whas500
    target = survival_target(y, **target_columns(y, loss))
    net = plain_net(
        loss, lr=0.0, max_epochs=1, batch_size=-1, train_split=None, iterator_train__shuffle=True
    ).fit(X, target)
    output = torch.as_tensor(net.predict(X))
    expected = loss()(output, {k: torch.as_tensor(v) for k, v in target.items()})
    assert net.history[0, "train_loss"] == pytest.approx(expected.item(), rel=1e-6)
    without = loss()(output, *(torch.as_tensor(v) for v in (target["event"], target["time"])))
    assert expected.item() != pytest.approx(without.item(), rel=1e-3)


@both_losses
def test_a_search_around_a_plain_net(loss, whas500):
    X, y = whas500
    target = survival_target(y)
    # With a learning rate of 0 the net stays at its random start.
    search = GridSearchCV(
        plain_net(loss, train_split=None, max_epochs=8),
        {"lr": [0.0, 0.02]},
        scoring=concordance,
        cv=KFold(2),
        error_score="raise",
    )
    search.fit(X, target)
    assert search.best_params_ == {"lr": 0.02}
    assert search.best_score_ > 0.65
    assert search.score(X, target) == concordance(search.best_estimator_, X, target)


def test_a_search_over_the_options_of_the_criterion(whas500):
    X, y = whas500
    # Whole years tie.
    target = survival_target(Surv.from_arrays(y["event"], np.ceil(y["time"])))
    search = GridSearchCV(
        plain_net(CoxPHLoss, train_split=None, max_epochs=1, lr=0.0),
        {"criterion__ties": ["efron", "breslow"]},
        scoring=lambda net, X, y: (
            -net.get_loss(net.forward(X), {k: torch.as_tensor(v) for k, v in y.items()}).item()
        ),
        cv=KFold(2),
        error_score="raise",
    )
    efron, breslow = search.fit(X, target).cv_results_["mean_test_score"]
    assert efron > breslow  # its denominators are smaller, and the weights are equal only at lr 0


@both_losses
def test_cross_validation_around_a_net_for_images(loss, images):
    X, y = images
    net = plain_net(loss, module=ImageNet, train_split=None, max_epochs=40, lr=0.05)
    result = cross_validate(
        net, X, survival_target(y), scoring=concordance, cv=KFold(2), error_score="raise"
    )
    assert result["test_score"].min() > 0.75


@both
def test_a_net_for_images_in_an_estimator(kind, images):
    X, y = images
    model = kind(
        module=ImageNet, max_epochs=60, batch_size=60, lr=0.05, alpha=0.0, random_state=0
    ).fit(X[:160], y[:160])
    assert model.score(X[160:], y[160:]) > 0.75
