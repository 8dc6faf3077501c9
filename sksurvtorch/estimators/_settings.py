"""What the parameters of an estimator come to in one fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sksurvtorch import _validation as validation
from sksurvtorch._processes import Group, group_of
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.training import Training

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
    """Parameters of an estimator as a fit uses them, made once for each.

    Attributes
    ----------
    is_linear : bool
        Whether the network is the built-in linear model.
    is_lbfgs : bool
        Whether the optimizer takes whole-data steps with a closure.
    dtype : torch.dtype
        Dtype of the network.
    alpha : float
        Strength of the penalty.
    lr : float
        Learning rate at the start of a training.
    n_epochs : int
        Number of epochs.
    bank_batches : int or None
        Number of earlier batches that the loss spans; None where it spans none.
    resume : bool
        Whether the training of an earlier fit is resumed.
    partial : bool
        Whether this is a call of `partial_fit`.
    device : torch.device
        Where to train.
    accelerator : accelerate.Accelerator or None
        What drives the training.
    group : Group
        The processes that train the network.
    """

    is_linear: bool
    is_lbfgs: bool
    dtype: torch.dtype
    alpha: float
    lr: float
    n_epochs: int
    bank_batches: int | None
    _batch_size: int | None  # that of one process; None for all rows
    resume: bool
    partial: bool
    device: torch.device
    accelerator: Any
    group: Group

    @classmethod
    def of(
        cls, estimator: SurvivalNetEstimator, accelerator: Any, *, resume: bool, partial: bool
    ) -> Settings:
        """Resolve valid parameters, for the device that the estimator has found."""
        p, sizes, lbfgs = estimator, layer_sizes(estimator), is_lbfgs(estimator)
        return cls(
            is_linear=is_linear(p),
            is_lbfgs=lbfgs,
            dtype=resolve_dtype(p),
            # No penalty where the usual linear model is wanted.
            alpha=(10.0 if p.module is None and sizes else 0.0)
            if p.alpha == "auto"
            else float(p.alpha),
            lr=float(p._prefixed("optimizer__").get("lr", 1.0 if lbfgs else p.lr)),
            n_epochs=1 if partial else _n_epochs(p),
            bank_batches=p.momentum_steps if uses_bank(p) else None,
            _batch_size=None if lbfgs else asked_batch_size(p),
            resume=resume,
            partial=partial,
            device=p.device_,
            accelerator=accelerator,
            group=group_of(accelerator),
        )

    def batch_size(self, n_rows: int) -> int:
        """Return the number of rows in a batch of all processes: all for a whole-data optimizer."""
        return n_rows if self._batch_size is None else self._batch_size * self.group.size

    def n_batches(self, n_rows: int) -> int:
        """Return the number of batches of an epoch."""
        return -(-n_rows // self.batch_size(n_rows))

    def training(self, train: SurvivalDataset, callbacks: list[Any]) -> Training:
        """Return what the net is told for a training with these rows."""
        assert train.y is not None
        batch_size, n_batches = self.batch_size(len(train)), self.n_batches(len(train))
        banks, informative = self.bank_batches, float(train.y.information)
        weighted = "weight" in train.y and n_batches > 1 and banks is None
        return Training(
            self.n_epochs,
            batch_size,
            callbacks,
            l2=self.alpha / informative,
            lr=self.lr,
            mean_information=informative / n_batches if weighted else None,
            bank_size=None if banks is None else banks * batch_size,
        )


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


def _n_epochs(estimator: SurvivalNetEstimator) -> int:
    """Return the number of epochs of a whole training."""
    if estimator.max_epochs == "auto":
        return 200 if is_lbfgs(estimator) else 100
    return int(estimator.max_epochs)


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
    loss = estimator._criterion()["criterion"]
    return bool(estimator.momentum and estimator.momentum_steps > 0 and not loss.sum_over_samples)
