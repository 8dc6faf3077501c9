"""The validation set of an estimator, and early stopping by its loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skorch.callbacks import BatchScoring, Callback, EpochScoring
from torch import nn

from tests.contract.small_models import StopAfter, both, fitted


class ValidationRows(Callback):
    """Keeps the validation loss of skorch beside one over all validation rows at once."""

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        net.module_.eval()
        with torch.no_grad():
            whole = net.criterion_(net.module_(dataset_valid.X), dataset_valid.y)
        net.history.record("whole_loss", whole.item())
        net.history.record("n_valid", len(dataset_valid))


@both
def test_the_validation_loss_is_that_of_the_whole_validation_set(kind, whas500):
    model = fitted(
        kind, whas500, [("rows", ValidationRows())], early_stopping=True, batch_size=10,
        max_epochs=3, module=nn.Linear(14, 1),
    )  # fmt: skip
    batches = model.net_.history[:, "valid_batch_count"]
    assert set(batches) == {1}
    assert set(model.net_.history[:, "n_valid"]) == {48}
    np.testing.assert_allclose(
        model.net_.history[:, "valid_loss"], model.net_.history[:, "whole_loss"], rtol=1e-6
    )


@both
def test_early_stopping_restores_the_best_weights(kind, whas500):
    X, _ = whas500
    model = fitted(
        kind, whas500, early_stopping=True, lr=0.3, n_iter_no_change=2, max_epochs=40, alpha=0.0
    )
    losses = model.net_.history[:, "valid_loss"]
    assert model.n_iter_ == len(losses) < 40
    assert losses[-1] > min(losses)
    short = fitted(
        kind, whas500, early_stopping=True, lr=0.3, n_iter_no_change=40, alpha=0.0,
        max_epochs=40,
    )  # fmt: skip
    assert len(short.net_.history) == 40
    best = int(np.argmin(losses)) + 1
    stopped = fitted(
        kind, whas500, [("stop", StopAfter(best))], early_stopping=True, lr=0.3, alpha=0.0,
        max_epochs=40, n_iter_no_change=40,
    )  # fmt: skip
    np.testing.assert_array_equal(stopped.predict(X), model.predict(X))


class RecordMeanSquare(Callback):
    """Scores the validation set on its own, beside skorch's callbacks."""

    def on_epoch_end(self, net, dataset_valid=None, **kwargs):
        net.history.record("known", mean_square(net, dataset_valid.X, None))


def mean_square(net, X, y):
    """A score that needs no target."""
    return float(net.forward(X).square().mean())


@both
@pytest.mark.parametrize(
    "scoring",
    [
        EpochScoring(mean_square, name="squares", use_caching=False),
        BatchScoring(mean_square, name="squares"),
        BatchScoring(mean_square, name="squares", use_caching=False),
    ],
    ids=["epoch", "batch_cached", "batch"],
)
def test_scoring_callbacks_see_the_validation_set(kind, scoring, whas500):
    callbacks = [("known", RecordMeanSquare()), ("squares", scoring)]
    # A module of several batches, so that an average over batches would differ.
    options = {"early_stopping": True, "max_epochs": 2, "batch_size": 30}
    history = fitted(kind, whas500, callbacks, **options).net_.history
    np.testing.assert_allclose(history[:, "squares"], history[:, "known"], rtol=1e-5)
