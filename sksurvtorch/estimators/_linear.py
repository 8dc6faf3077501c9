"""The linear part of the network at the optimum of the linear model, where trainings start."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from sksurvtorch.estimators._functions import evenly
from sksurvtorch.estimators._linear_members import fit_together
from sksurvtorch.estimators._settings import LBFGS_OPTIONS, Settings
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.ensemble import SideBySide
from sksurvtorch.nets.loader import BatchLoader
from sksurvtorch.nets.modules import MLP
from sksurvtorch.nets.training import PerMember, Training

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator

# Rows that the model is fitted to at least, if there are so many.
_AT_ONCE = 4_096
_N_EPOCHS = 5
# Numbers that members which are fitted at once have in their inputs, and in their outputs, at most.
_TOGETHER = 2**19
# Rows of a member that it is fitted to at most: its coefficients are known to three digits then.
_MOST_ROWS = 2**17


def start_from_linear(
    estimator: SurvivalNetEstimator,
    modules: Sequence[nn.Module],
    train: SurvivalDataset,
    training: Training,
    settings: Settings,
) -> None:
    """Set the linear parts of built-in networks to the optimum of the linear model.

    The small steps of a short training could not bring it there, and the hidden layers would learn
    what a linear model knows. Each member of an ensemble has the optimum of its own rows.
    """
    if training.members is None:
        (module,) = modules
        _to_optimum(estimator, module, train, training.l2, settings)
        return
    # None starts from what was learned of other rows: it would know those that it leaves out.
    members = training.members
    arrived = _fit_together(estimator, modules, train, members)
    for k, module in enumerate(modules):
        if k not in arrived:
            l2, rows = float(members.l2[k]), members.rows[k]
            rows = rows[torch.from_numpy(evenly(len(rows), _MOST_ROWS))]
            # Not by a name, which would hold one copy of rows while the next one is made.
            _to_optimum(estimator, module, train.select(rows), l2, settings)


def _fit_together(
    estimator: SurvivalNetEstimator,
    modules: Sequence[nn.Module],
    train: SurvivalDataset,
    members: PerMember,
) -> list[int]:
    """Take the linear parts of members with few rows to their optima, and return which are there.

    Many rows take the time of their sums, not of calls, and less memory one member after the other.
    """
    width = max(mlp_of(modules[0]).linear.in_features, len(modules))
    if width * len(train) > _TOGETHER:
        return []
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(mlp_of(module).linear_only())
        linear = SideBySide(modules).cpu().double()  # in this order: not all devices have float64
    arrived = fit_together(linear, train, members, estimator._criterion())
    linear.copy_linear_parts(modules, arrived)
    return arrived


def _to_optimum(
    estimator: SurvivalNetEstimator,
    module: nn.Module,
    train: SurvivalDataset,
    l2: float,
    settings: Settings,
) -> None:
    """Set the linear part of a built-in network to the optimum of the linear model."""
    rows = sample(estimator, train)
    with mlp_of(module).linear_only():
        start = copy.deepcopy(module.state_dict())
        minimise(estimator, module, rows, Training(_N_EPOCHS, len(rows), [], l2), 1e-6, settings)
        if not all(weight.isfinite().all() for weight in module.parameters()):
            # No optimum, as when all times are equal: train from where training always starts.
            module.load_state_dict(start)


def minimise(
    estimator: SurvivalNetEstimator,
    module: nn.Module,
    rows: SurvivalDataset,
    training: Training,
    tol: float,
    settings: Settings,
) -> None:
    """Take the linear model in a network to its optimum."""
    from sksurvtorch.nets import SurvivalNet, callbacks

    converged = callbacks.Converged(tol)
    training = dataclasses.replace(training, callbacks=[("converged", converged)])
    net = SurvivalNet(
        module,
        criterion=estimator._criterion(),
        optimizer=torch.optim.LBFGS,
        verbose=0,
        device=next(module.parameters()).device,
        callbacks__finite_loss=None,
        **{f"optimizer__{name}": value for name, value in LBFGS_OPTIONS.items()},
    ).initialize()
    net.train(rows, None, training, settings.accelerator)


def mlp_of(module: nn.Module) -> MLP:
    """Return the built-in network within what is around it."""
    return next(part for part in module.modules() if isinstance(part, MLP))


def sample(estimator: SurvivalNetEstimator, train: SurvivalDataset) -> SurvivalDataset:
    """Return rows in memory to fit the linear model to: all rows, or the rows of a window."""
    given = estimator._prefixed("iterator_train__")
    options = {name: given[name] for name in ("window_bytes", "block_bytes") if name in given}
    generator = np.random.default_rng(estimator._seed)
    return BatchLoader(train, _AT_ONCE, shuffle=True, generator=generator, **options).sample()
