"""What the scoring callbacks of skorch get: rows, and a target as scikit-survival has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch.callbacks import EpochScoring
from skorch.callbacks.scoring import ScoringBase
from skorch.dataset import Dataset
from skorch.utils import to_numpy

from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.target import Target


def outcome(y: Any) -> Any:
    """Return a target as scikit-survival has it, or what else there is as an array."""
    has_outcome = isinstance(y, Target) and any(name in y for name in ("event", "status", "upper"))
    return y.outcome() if has_outcome else to_numpy(y)


def give_outcome(callback: Any) -> None:
    """Let a scoring callback have the outcome, unless it extracts a target of its own."""
    if isinstance(callback, ScoringBase) and callback.target_extractor is to_numpy:
        callback.target_extractor = outcome


def compares_numbers(callback: Any) -> bool:
    """Whether a callback compares an outcome with numbers, as scikit-learn's metrics do."""
    if not isinstance(callback, ScoringBase) or callback.target_extractor is not to_numpy:
        return False
    scoring = callback.scoring
    known = str(getattr(scoring, "__module__", "")).startswith("sklearn.metrics")
    return scoring is None or isinstance(scoring, str) or known


def method_of(callback: Any, name: str) -> Callable[..., None]:
    """Return a method of a callback; that which scores an epoch gets datasets of skorch."""
    method: Callable[..., None] = getattr(callback, name)
    if isinstance(callback, EpochScoring) and name == "on_epoch_end":
        return partial(_score, method)
    return method


def _score(method: Any, net: Any, dataset_train: Any, dataset_valid: Any, **kwargs: Any) -> None:
    """Score an epoch."""
    datasets = {"dataset_train": dataset_train, "dataset_valid": dataset_valid}
    method(net, **{name: _as_known(dataset) for name, dataset in datasets.items()}, **kwargs)


def _as_known(dataset: Any) -> Any:
    """Return a dataset as one whose rows and target skorch can take apart."""
    if isinstance(dataset, torch.utils.data.Subset) and isinstance(
        dataset.dataset, SurvivalDataset
    ):
        dataset = dataset.dataset.select(torch.from_numpy(np.sort(dataset.indices)))
    return _Known(dataset) if isinstance(dataset, SurvivalDataset) else dataset


class _Known(Dataset):
    """Rows and outcome of a `SurvivalDataset`, looked up when they are asked for.

    Parameters
    ----------
    dataset : SurvivalDataset
        The rows with their target.
    """

    def __init__(self, dataset: SurvivalDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def X(self) -> Any:
        """Rows."""
        return self._dataset.X

    @property
    def y(self) -> Any:
        """Event and time."""
        target = self._dataset.target
        return None if target is None else target.outcome()
