"""The start of a training: the linear part of the network at the optimum of the linear model."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from sksurvtorch.estimators._settings import LBFGS_OPTIONS, Settings
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.loader import BatchLoader
from sksurvtorch.nets.modules import MLP
from sksurvtorch.nets.training import Training

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator

# Rows that the model is fitted to at least, if there are so many.
_AT_ONCE = 4_096
_N_EPOCHS = 5


def start_from_linear(
    estimator: SurvivalNetEstimator,
    module: nn.Module,
    train: SurvivalDataset,
    l2: float,
    settings: Settings,
) -> None:
    """Set the linear part of the built-in network to the optimum of the linear model.

    The small steps of a short training could not bring it there, and the hidden layers would learn
    what a linear model knows.
    """
    from sksurvtorch.nets import SurvivalNet, callbacks

    rows = _sample(estimator, train)
    converged = ("converged", callbacks.Converged(1e-6))
    training = Training(_N_EPOCHS, len(rows), [converged], l2=l2)
    mlp = next(part for part in module.modules() if isinstance(part, MLP))
    with mlp.linear_only():
        net = SurvivalNet(
            module,
            criterion=estimator._criterion(),
            optimizer=torch.optim.LBFGS,
            verbose=0,
            device=estimator.device_,
            callbacks__finite_loss=None,
            **{f"optimizer__{name}": value for name, value in LBFGS_OPTIONS.items()},
        ).initialize()
        start = copy.deepcopy(module.state_dict())
        net.train(rows, None, training, settings.accelerator)
        if not all(weight.isfinite().all() for weight in module.parameters()):
            # No optimum, as when all times are equal: train from where training always starts.
            module.load_state_dict(start)


def _sample(estimator: SurvivalNetEstimator, train: SurvivalDataset) -> SurvivalDataset:
    """Return rows in memory to fit the linear model to: all rows, or the rows of a window."""
    given = estimator._prefixed("iterator_train__")
    options = {name: given[name] for name in ("window_bytes", "block_bytes") if name in given}
    generator = np.random.default_rng(estimator._seed)
    return BatchLoader(train, _AT_ONCE, shuffle=True, generator=generator, **options).sample()
