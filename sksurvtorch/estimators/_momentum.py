"""Momentum mode of the estimators: the pair of networks, the bank, and the numbers of its rows."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sksurvtorch.estimators._settings import bank_size
from sksurvtorch.losses import MomentumLoss, MomentumNetwork
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.rows.base import numbers
from sksurvtorch.nets.target import PlainTarget

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator


def wrap(
    p: SurvivalNetEstimator, module: nn.Module, batch_size: int
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the pair of networks, and the criterion of a net with a bank where it uses one."""
    size = bank_size(p, batch_size)
    paired = size is not None
    pair = MomentumNetwork(module, rate=p.momentum_rate, warmup=p.momentum_warmup, paired=paired)
    if not paired:
        return pair, {"criterion": p._criterion()}
    return pair, {
        "criterion": MomentumLoss,
        "criterion__loss": p._criterion(),
        "criterion__bank_size": size,
        "criterion__gradient": "balanced",
    }


class Identities:
    """Numbers of the rows in the bank, over all calls of `partial_fit`.

    The rows of a call are known again, as in the next epoch, by the times and events of them all in
    order of time, which stay when X is augmented, the weights change, or the rows are shuffled.
    """

    def __init__(self) -> None:
        self._first_rows: dict[bytes, int] = {}
        self._n_rows = 0
        self._strata: dict[Any, int] = {}

    def add_to(self, dataset: SurvivalDataset, labels: np.ndarray | None) -> SurvivalDataset:
        """Return a dataset whose target has numbers of its rows, and codes of its strata."""
        assert dataset.y is not None
        columns: dict[str, Tensor] = dataset.y.for_bank()
        order = slice(None) if dataset.order is None else torch.from_numpy(dataset.order)
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(columns.keys() - {"stratum", "weight", "log_censoring"}):
            digest.update(columns[name][order].numpy().data)
        first = self._first_rows.setdefault(digest.digest(), self._n_rows)
        if first == self._n_rows:
            self._n_rows += len(dataset)
        columns["index"] = torch.empty(len(dataset), dtype=torch.int64, device="cpu")
        columns["index"][order] = first + numbers(0, len(dataset))
        if labels is not None:
            codes = [self._strata.setdefault(label, len(self._strata)) for label in labels.tolist()]
            columns["stratum"] = torch.tensor(codes, dtype=torch.int64, device="cpu")[
                columns["stratum"]
            ]
        return SurvivalDataset(dataset.rows, PlainTarget(columns), dataset.order)
