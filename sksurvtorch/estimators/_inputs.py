"""X as the network takes it: in memory or stored, and what is to be known of its columns."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import validate_data
from torch import Tensor
from torch.utils.data import Dataset

from sksurvtorch.estimators import _network as network
from sksurvtorch.exceptions import PrecisionWarning
from sksurvtorch.functional import _processes as processes
from sksurvtorch.nets.dataset import Inputs, SurvivalDataset, take
from sksurvtorch.nets.loader import BatchLoader
from sksurvtorch.nets.rows import DatasetRows, MappedRows, as_tensor, is_mapped
from sksurvtorch.nets.shares import SharedRows

# Rows of a table that are looked at together: their copy stays in the processor's cache.
_PIECE = 2_048
# Rows that a sample has at least, if there are so many.
_AT_ONCE = 4_096


def check(estimator: Any, X: Any, *, reset: bool) -> Inputs:
    """Return X as rows that the network can take; what is stored stays there."""
    own = estimator.module is not None
    dtype = network.resolve_dtype(estimator)
    dtypes = [str(dtype).removeprefix("torch.")]
    if network.is_linear(estimator):
        dtypes.append("float32")  # which the linear model widens piece by piece
    shape: dict[str, Any] = {"reset": reset, "ensure_2d": not own, "allow_nd": own}
    if is_mapped(X) and X.dtype.kind in "fiub" and len(X):
        kept = X.dtype if X.dtype in dtypes else dtypes[0]
        rows: Inputs = MappedRows(X, getattr(torch, str(np.dtype(kept))))
    elif isinstance(X, Dataset):
        rows = DatasetRows(X, dtype)
    else:
        checked = validate_data(estimator, X, dtype=dtypes, order="C", **shape)
        if reset and not own:
            _warn_of_lost_precision(X, as_tensor(checked), dtype)
        return as_tensor(checked)
    validate_data(estimator, head(rows).numpy(), **shape)
    if reset and not own:
        _warn_of_lost_precision(X, rows, dtype)
    return rows


def head(X: Inputs) -> Tensor:
    """Return the first two rows."""
    if isinstance(X, SharedRows):
        return head(X.held)
    return X[:2] if isinstance(X, Tensor) else X.index_select(0, torch.arange(min(2, len(X))))


def sample(estimator: Any, dataset: SurvivalDataset) -> SurvivalDataset:
    """Return rows that fit into memory, all of them if they are there or do; else a window."""
    if isinstance(dataset.X, Tensor) or not dataset.X.stored:
        return dataset
    options: dict[str, Any] = {"shuffle": True, "generator": np.random.default_rng(estimator._seed)}
    given = estimator._prefixed("iterator_train__")
    options |= {name: given[name] for name in ("window_bytes", "block_bytes") if name in given}
    rows = BatchLoader(dataset, _AT_ONCE, **options).window()
    X: Inputs = dataset.X.load(dataset.X.held_of(rows))
    if isinstance(dataset.X, SharedRows):
        spread = dataset.X.spread(rows)
        X = SharedRows(X, spread.counts, stored=False).select(spread.place)
    return SurvivalDataset(X, take(dataset.y, rows))


@dataclass
class Moments:
    """Weight, mean, sum of squared differences from it, and range of each column, in float64."""

    total: Tensor
    mean: Tensor
    squares: Tensor
    lowest: Tensor
    highest: Tensor

    @classmethod
    def of(cls, X: Inputs, weight: Tensor | None = None) -> Moments:
        """Return those of all rows, piece by piece: a copy would take more memory than all else."""
        moments = cls.of_none(X.shape[1])
        for piece in _pieces(X, weight):
            moments = moments.merged(cls._of_piece(*piece))
        return moments.over_processes() if isinstance(X, SharedRows) else moments

    @classmethod
    def of_none(cls, n_features: int) -> Moments:
        """Return those of no rows."""
        zero = torch.zeros(n_features, dtype=torch.float64)
        return cls(zero[:1].sum(), zero, zero.clone(), zero + torch.inf, zero - torch.inf)

    def over_processes(self) -> Moments:
        """Return those of the rows of all processes."""
        merged = Moments.of_none(len(self.mean))
        for others in processes.exchange(vars(self)):
            merged = merged.merged(Moments(**others))
        return merged

    @classmethod
    def _of_piece(cls, X: Tensor, weight: Tensor) -> Moments:
        wide, total = X.double(), weight.sum()
        mean = weight @ wide / total
        return cls(total, mean, weight @ (wide - mean).square_(), wide.amin(0), wide.amax(0))

    def merged(self, other: Moments) -> Moments:
        """Return those of the rows of both."""
        # After T. Chan, G. Golub, R. LeVeque, "Updating formulae and a pairwise algorithm for
        # computing sample variances", COMPSTAT 1982, doi:10.1007/978-3-642-51461-6_3.
        total = self.total + other.total
        if not self.total or not other.total:
            return self if self.total else other
        step, share = other.mean - self.mean, other.total / total
        return Moments(
            total,
            self.mean + step * share,
            self.squares + other.squares + step.square() * (self.total * share),
            torch.minimum(self.lowest, other.lowest),
            torch.maximum(self.highest, other.highest),
        )

    @property
    def spread(self) -> Tensor:
        """Standard deviations."""
        # The rounded mean of equal numbers would leave one.
        constant = self.lowest == self.highest
        return torch.where(constant, 0.0, (self.squares / self.total).sqrt())


def _pieces(X: Inputs, weight: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over pieces of rows with their weights."""
    start = 0
    if isinstance(X, SharedRows) and weight is not None:
        weight = weight[X.held_of(torch.arange(len(X)))]
    for rows in X.split(_PIECE if isinstance(X, Tensor) else X.n_at_once):
        if not len(rows):
            continue  # none is held here
        stop = start + len(rows)
        ones = torch.ones(len(rows), dtype=torch.float64)
        yield rows, ones if weight is None else weight[start:stop].double()
        start = stop


def _warn_of_lost_precision(given: Any, X: Inputs, dtype: torch.dtype) -> None:
    """Warn if columns of X that vary are nearly constant in the dtype of the network."""
    lowest, highest = _range(X)
    coarse = torch.finfo(dtype).eps * torch.maximum(lowest.abs(), highest.abs())
    near = np.flatnonzero(highest - lowest < 1000 * coarse)
    if not len(near):
        return
    lost = near[_range_as_given(given, X, near) > 0]
    if len(lost):
        name = str(dtype).removeprefix("torch.")
        warnings.warn(
            f"{len(lost)} columns of X (the first is number {lost[0]}) vary so little around their "
            f"mean that {name} hardly tells their values apart. Subtract the mean before `fit`, "
            "or set dtype='float64'.",
            PrecisionWarning,
            stacklevel=2,
        )


def _range(X: Inputs) -> tuple[Tensor, Tensor]:
    """Return the least and the largest value of each column."""
    if isinstance(X, Tensor):
        return X.amin(0), X.amax(0)
    first = head(X)
    lowest, highest = first.amin(0), first.amax(0)
    for piece in X.split(X.n_at_once):
        # In place: small results between large pieces would keep the memory of these from use.
        torch.minimum(lowest, piece.amin(0), out=lowest)
        torch.maximum(highest, piece.amax(0), out=highest)
    return lowest, highest


def _range_as_given(given: Any, X: Inputs, columns: np.ndarray) -> np.ndarray:
    """Return the largest differences in some columns, in the precision in which X came."""
    if not isinstance(X, Tensor):
        # A dataset is not asked for more precision than the network has.
        lowest, highest = _range(MappedRows(given, torch.float64) if is_mapped(given) else X)
        return (highest - lowest)[columns].numpy()
    difference: np.ndarray = np.ptp(np.asarray(given)[:, columns].astype(float), axis=0)
    return difference
