"""What the parameters of an estimator come to in one fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from sksurvtorch import _validation as validation
from sksurvtorch._processes import Alone, Group

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "lbfgs": torch.optim.LBFGS,
}
DTYPES = {"float32": torch.float32, "float64": torch.float64}
LBFGS_OPTIONS: dict[str, Any] = {
    "lr": 1.0,
    "max_iter": 20,  # counts as an epoch
    "history_size": 20,
    "line_search_fn": "strong_wolfe",
    "tolerance_grad": 1e-10,
    "tolerance_change": 1e-14,
}


@dataclass(frozen=True)
class Settings:
    """How one call of `fit` or `partial_fit` trains.

    Attributes
    ----------
    resume : bool
        Whether the training of an earlier fit is resumed.
    partial : bool
        Whether this is a call of `partial_fit`.
    accelerator : accelerate.Accelerator or None
        What drives the training.
    group : Group
        The processes that train the network.
    """

    resume: bool = False
    partial: bool = False
    accelerator: Any = None
    group: Group = field(default_factory=Alone)


def layer_sizes(estimator: SurvivalNetEstimator) -> tuple[int, ...]:
    """Return the widths of the hidden layers."""
    return validation.check_sizes("hidden_layer_sizes", estimator.hidden_layer_sizes)


def is_linear(estimator: SurvivalNetEstimator) -> bool:
    """Whether the built-in network is the linear model."""
    return estimator.module is None and not layer_sizes(estimator)


def resolve_dtype(estimator: SurvivalNetEstimator) -> torch.dtype:
    """Return the dtype of the network: a line search needs float64."""
    if estimator.dtype == "auto":
        return torch.float64 if is_lbfgs(estimator) else torch.float32
    return DTYPES[estimator.dtype]


def n_epochs(estimator: SurvivalNetEstimator) -> int:
    """Return the number of epochs of a whole training."""
    if estimator.max_epochs == "auto":
        return 200 if is_lbfgs(estimator) else 100
    return int(estimator.max_epochs)


def penalty(estimator: SurvivalNetEstimator) -> float:
    """Return the strength of the penalty: none where the usual linear model is wanted."""
    if estimator.alpha == "auto":
        return 10.0 if estimator.module is None and layer_sizes(estimator) else 0.0
    return float(estimator.alpha)


def is_lbfgs(estimator: SurvivalNetEstimator) -> bool:
    """Whether the optimizer takes whole-data steps with a closure."""
    return estimator.optimizer in ("lbfgs", torch.optim.LBFGS)


def asked_batch_size(estimator: SurvivalNetEstimator) -> int | None:
    """Return the batch size that was asked for, in either spelling; skorch's -1 means all rows."""
    asked = estimator._prefixed("iterator_train__").get("batch_size", estimator.batch_size)
    if asked is None or asked == -1:
        return None
    validation.check_number("batch_size", asked, int, 1)
    return int(asked)


def uses_bank(estimator: SurvivalNetEstimator) -> bool:
    """Whether the loss spans earlier batches: a sum over samples has no use for them."""
    asked = estimator.momentum and estimator.momentum_steps > 0
    return asked and not estimator._criterion().sum_over_samples


def bank_size(estimator: SurvivalNetEstimator, batch_size: int) -> int | None:
    """Return the number of rows in the bank; None where there is none."""
    return estimator.momentum_steps * batch_size if uses_bank(estimator) else None
