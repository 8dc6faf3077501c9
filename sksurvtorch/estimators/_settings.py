"""What the parameters of an estimator come to in one fit."""

from __future__ import annotations

from collections.abc import Iterable
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
# A member of an ensemble leaves one of so many folds out; so many together leave out every row.
N_FOLDS = 5
#: Penalties of the built-in network with hidden layers: of an ensemble as many as it has folds for.
_ALPHAS = (10.0, 3.0, 30.0)
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


def n_members(estimator: SurvivalNetEstimator) -> int:
    """Return the number of networks, if it was given or a fit has chosen it."""
    asked = estimator.n_estimators
    return estimator.n_estimators_ if isinstance(asked, str) else int(asked)


def resolve_dtype(estimator: SurvivalNetEstimator) -> torch.dtype:
    """Return the dtype of the network: a line search needs float64."""
    if estimator.dtype == "auto":
        return torch.float64 if is_lbfgs(estimator) else torch.float32
    return DTYPES[estimator.dtype]


def n_epochs(estimator: SurvivalNetEstimator) -> int:
    """Return the number of epochs of a whole training."""
    if estimator.max_epochs != "auto":
        return int(estimator.max_epochs)
    if is_lbfgs(estimator):
        return 200
    return 30 if _is_quick(estimator) else 100


def learning_rate(estimator: SurvivalNetEstimator) -> float:
    """Return the learning rate at the start."""
    if estimator.lr != "auto":
        return float(estimator.lr)
    return 1e-2 if _is_quick(estimator) else 1e-3


def _is_quick(estimator: SurvivalNetEstimator) -> bool:
    """Whether larger steps are right: the members of an ensemble even out what each overdoes."""
    return estimator.module is None and n_members(estimator) > 1


def penalties(estimator: SurvivalNetEstimator) -> tuple[float, ...]:
    """Return the penalty, or those of an ensemble: 0 where the usual linear model is wanted."""
    alpha = estimator.alpha
    if not isinstance(alpha, str):
        return tuple(map(float, alpha)) if isinstance(alpha, Iterable) else (float(alpha),)
    if estimator.module is not None or not layer_sizes(estimator):
        return (0.0,)
    return _ALPHAS[: max(1, n_members(estimator) // N_FOLDS)]


def penalty_of_members(estimator: SurvivalNetEstimator) -> list[int]:
    """Return which of the penalties each member has: five that share a division have the same."""
    n_penalties = len(penalties(estimator))
    return [k // N_FOLDS % n_penalties for k in range(n_members(estimator))]


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
