"""Momentum mode of the estimators: the pair of networks, the bank, and who is who in it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sksurvtorch import _validation as validation
from sksurvtorch.estimators import _network as network
from sksurvtorch.losses import MomentumLoss, MomentumNetwork
from sksurvtorch.nets.dataset import RiskSetTarget, SurvivalDataset

if TYPE_CHECKING:
    from sksurvtorch.nets import SurvivalNet


def check_parameters(estimator: Any) -> None:
    """Raise unless the parameters of momentum are valid, whatever the data."""
    p = estimator
    validation.check_flag("momentum", p.momentum)
    validation.check_number("momentum_steps", p.momentum_steps, int, 0)
    validation.check_number("momentum_rate", p.momentum_rate, float, 0.0, 1.0)
    validation.check_flag("momentum_warmup", p.momentum_warmup)
    if p.momentum and network.is_lbfgs(p):
        raise ValueError(
            "`momentum` must be False for L-BFGS, got True. It takes all rows at once and ends at "
            "an optimum: there is nothing to average, and no earlier batch."
        )


def uses_bank(estimator: Any) -> bool:
    """Whether the loss spans earlier batches: a sum over samples has no use for them."""
    loss = estimator._criterion()["criterion"]
    return bool(estimator.momentum and estimator.momentum_steps > 0 and not loss.sum_over_samples)


def wrap(
    estimator: Any, module: nn.Module, criterion: dict[str, Any], batch_size: int
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the pair of networks, and the criterion with a bank where it uses one."""
    paired = uses_bank(estimator)
    pair = MomentumNetwork(
        module, rate=estimator.momentum_rate, warmup=estimator.momentum_warmup, paired=paired
    )
    if paired:
        prefix = "criterion__"
        options = {k.removeprefix(prefix): v for k, v in criterion.items() if k.startswith(prefix)}
        criterion = {
            "criterion": MomentumLoss,
            "criterion__loss": criterion["criterion"](**options),
            "criterion__bank_size": estimator.momentum_steps * batch_size,
            "criterion__gradient": "balanced",
        }
    return pair, criterion


def resize_bank(estimator: Any, net: SurvivalNet) -> None:
    """Let the bank hold its number of batches, of the size they have now."""
    net.criterion__bank_size = estimator.momentum_steps * net.batch_size
    net.criterion_.bank.size = net.criterion__bank_size


def for_prediction(module: nn.Module) -> nn.Module:
    """Return the network that predicts: the target of a pair."""
    return module.target if isinstance(module, MomentumNetwork) else module


class Identities:
    """Who is who in the bank, over all calls of `partial_fit`.

    The rows of a call are known again, as in the next epoch, by the times and events of them all in
    order of time, which stay when X is augmented, the weights change, or the rows are shuffled.
    """

    def __init__(self) -> None:
        self._first_rows: dict[bytes, int] = {}
        self._n_rows = 0
        self._strata: dict[Any, int] = {}

    def add_to(self, dataset: SurvivalDataset, labels: np.ndarray | None) -> SurvivalDataset:
        """Return a dataset whose target has numbers of its rows, and codes of its strata."""
        assert isinstance(dataset.y, RiskSetTarget)
        columns: dict[str, Tensor] = dict(dataset.y)
        order = slice(None) if dataset.order is None else torch.from_numpy(dataset.order)
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(columns.keys() - {"stratum", "weight"}):
            digest.update(columns[name][order].numpy().data)
        first = self._first_rows.setdefault(digest.digest(), self._n_rows)
        if first == self._n_rows:
            self._n_rows += len(dataset)
        columns["index"] = torch.empty(len(dataset), dtype=torch.int64)
        columns["index"][order] = first + torch.arange(len(dataset))
        if labels is not None:
            codes = [self._strata.setdefault(label, len(self._strata)) for label in labels.tolist()]
            columns["stratum"] = torch.tensor(codes)[columns["stratum"]]
        return SurvivalDataset(dataset.X, columns, dataset.order)
