"""Ensembles of networks: the rows of each member, and the predictions for those it left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from sksurv.exceptions import NoComparablePairException
from torch import Tensor

from sksurvtorch._validation import check_number, for_numpy
from sksurvtorch.estimators._checks import check_output_is_finite
from sksurvtorch.estimators._settings import (
    N_FOLDS,
    is_lbfgs,
    is_linear,
    n_members,
    penalty_of_members,
)
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.loader import WINDOW_BYTES
from sksurvtorch.nets.rows import Rows
from sksurvtorch.nets.target import Columns, events, last_times

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator

# Three times the folds, for as many penalties.
_N_MEMBERS = 15


def choose_n_members(
    estimator: SurvivalNetEstimator, rows: Rows, columns: Columns, *, partial: bool
) -> int:
    """Return the number of networks, where it was left open.

    It is 15 for built-in networks with hidden layers, and 1 where several would be refused, would
    all see the same rows, or end at the same optimum.

    Parameters
    ----------
    estimator : SurvivalNetEstimator
        Estimator that is fitted.
    rows : Rows
        Inputs of the fit.
    columns : dict of tensors of shape (n_samples,)
        Event, time and so on.
    partial : bool
        Whether this is a call of `partial_fit`.

    Returns
    -------
    int
        Number of networks.
    """
    if not isinstance(estimator.n_estimators, str):
        return int(estimator.n_estimators)
    is_built_in = estimator.module is None and not is_linear(estimator)
    is_plain = not (estimator.momentum or is_lbfgs(estimator)) and estimator.accelerator is None
    fits = len(rows) <= rows.n_in_window(_window_bytes(estimator)) and not rows.is_costly
    if not (is_built_in and is_plain and fits) or partial:
        return 1
    n_events = int(events(columns).sum())
    if estimator.early_stopping:  # which sets its share of them aside
        n_events = int(n_events * (1 - estimator.validation_fraction))
    return _N_MEMBERS if n_events >= N_FOLDS else 1


def _window_bytes(estimator: SurvivalNetEstimator) -> int:
    """Return the size of the rows that are shuffled at once."""
    given = estimator._prefixed("iterator_train__").get("window_bytes", WINDOW_BYTES)
    check_number("window_bytes", given, int, 1)
    return int(given)


class LeftOut(NamedTuple):
    """What the members of an ensemble say of all rows of a fit, and which they have left out."""

    outputs: Tensor  # (n_members, n_samples, n_outputs), less their offsets
    left_out: Tensor  # (n_members, n_samples), in the order of the rows of the dataset
    of_rows: Tensor  # (n_samples, n_outputs), by those members that have left a row out


def into_memory(estimator: SurvivalNetEstimator, rows: Rows) -> Rows:
    """Return rows in memory, if they take no more than the rows that are shuffled at once."""
    if len(rows) > rows.n_in_window(_window_bytes(estimator)):
        raise ValueError(
            "`n_estimators` must be 1 for X that is read piece by piece, got "
            f"{estimator.n_estimators}. Each member has rows of its own, from all over the file: "
            f"set `iterator_train__window_bytes` to {len(rows) * rows.row_bytes} if so much may "
            "be held in memory."
        )
    return rows.into_memory()


def draw_members(train: SurvivalDataset, n_estimators: int, seed: int) -> Tensor:
    """Draw the rows of each member of an ensemble.

    The rows are divided at random into five folds with their share of each cause, and each of five
    members leaves one fold out; the next five have another division. All members have as many rows,
    and as many events: where the rows do not divide by five, some are left out twice.

    Parameters
    ----------
    train : SurvivalDataset
        Rows to divide.
    n_estimators : int
        Number of members.
    seed : int
        Start of the random numbers.

    Returns
    -------
    int tensor of shape (n_estimators, n_rows)
        Rows of each member, ascending.
    """
    assert train.y is not None
    cause = train.cause
    # In the order of time, so that it makes no difference how the rows lie.
    order = np.lexsort((cause, last_times(train.y).cpu().numpy()))
    causes = [order[cause[order] == k] for k in np.unique(cause[cause > 0])]
    censored = order[cause[order] == 0]
    n_events = len(order) - len(censored)
    sizes = [-(-count // N_FOLDS) for count in (n_events, len(censored))]
    if n_events <= sizes[0]:
        raise ValueError(
            f"`n_estimators` must be 1 for data with {n_events} events, got {n_estimators}. "
            "Each member of an ensemble leaves out a fifth of the events, one at least."
        )
    generator = np.random.default_rng([seed, N_FOLDS])
    kept = np.ones((n_estimators, len(cause)), dtype=bool)
    for k in range(n_estimators):
        if k % N_FOLDS == 0:
            causes = [generator.permutation(rows) for rows in causes]
            censored = generator.permutation(censored)
        for rows, size in zip((_mixed(causes), censored), sizes, strict=True):
            start = min(k % N_FOLDS * size, len(rows) - size)
            kept[k, rows[start : start + size]] = False
    return torch.from_numpy(np.stack([np.flatnonzero(own) for own in kept]))


def _mixed(causes: list[np.ndarray]) -> np.ndarray:
    """Return the events of all causes, so that each fifth of them has its share of each cause."""
    if len(causes) == 1:
        return causes[0]
    rows = np.concatenate(causes)
    return rows[np.argsort(np.arange(len(rows)) % N_FOLDS, kind="stable")]


def outputs_of_members(estimator: SurvivalNetEstimator, rows: Rows) -> Tensor:
    """Return the outputs of the members less their offsets, (n_members, n_samples, n_outputs)."""
    if n_members(estimator._as_fitted) == 1:
        return estimator._forward(rows)[None]
    offset: Tensor = estimator._trained.offset.cpu()
    pieces = (piece - offset for piece in estimator.net_.members_iter(rows))
    return joined(pieces, rows.n_held, dim=1)


def joined(pieces: Iterable[Tensor], n_rows: int, dim: int) -> Tensor:
    """Return pieces, at least one, behind each other in a tensor with so many rows in an axis."""
    whole: Tensor | None = None
    start = 0
    # Small pieces that are kept one by one would hold the freed memory between them.
    for piece in pieces:
        if whole is None:
            shape = (*piece.shape[:dim], n_rows, *piece.shape[dim + 1 :])
            whole = piece.new_empty(shape)
        whole.narrow(dim, start, piece.shape[dim]).copy_(piece)
        start += piece.shape[dim]
    assert whole is not None
    return whole


def learn_offsets(estimator: SurvivalNetEstimator, dataset: SurvivalDataset) -> Tensor:
    """Learn what is subtracted from the outputs of members whose level has no meaning.

    Parameters
    ----------
    estimator : SurvivalNetEstimator
        Estimator whose networks are trained.
    dataset : SurvivalDataset
        Rows of the fit.

    Returns
    -------
    tensor of shape (n_members, n_samples, n_outputs)
        Outputs of the members for these rows, less what is subtracted.
    """
    network = estimator._trained
    network.offset.zero_()
    outputs = outputs_of_members(estimator, dataset.rows)
    check_output_is_finite(outputs)
    if not estimator._has_level:
        network.offset.copy_(outputs.mean(1, keepdim=True, dtype=torch.float64))
        outputs = outputs - network.offset.cpu()
    return outputs


def learn_from_rows_left_out(
    estimator: SurvivalNetEstimator,
    dataset: SurvivalDataset,
    columns: Columns,
    outputs: Tensor,
    seen: list[Tensor],
) -> LeftOut:
    """Predict the rows that members have left out, and weight the members by these predictions.

    Parameters
    ----------
    estimator : SurvivalNetEstimator
        Estimator whose networks are trained.
    dataset : SurvivalDataset
        Rows of the fit.
    columns : dict of tensors of shape (n_samples,)
        Event, time and so on, in the order of the user.
    outputs : tensor of shape (n_members, n_samples, n_outputs)
        Outputs of the members for the rows of the fit, as `learn_offsets` returns them.
    seen : list of int tensors
        Rows that each member was trained with, in the order of the user.

    Returns
    -------
    LeftOut
        What intervals are made of.
    """
    left_out = torch.ones(outputs.shape[:2], dtype=torch.bool, device="cpu")
    for own, rows in zip(left_out, seen, strict=True):
        own[rows] = False
    if dataset.numbers is not None:
        left_out = left_out[:, dataset.numbers]
    penalty = torch.tensor(penalty_of_members(estimator), dtype=torch.int64, device="cpu")
    each = torch.stack(
        [_mean_where(outputs[penalty == g], left_out[penalty == g]) for g in penalty.unique()]
    )
    weight = _weights(estimator, dataset, each)
    estimator._trained.weight.copy_((weight / penalty.bincount())[penalty, None, None])
    of_rows = (each * weight[:, None, None]).sum(0)
    risk_score = estimator._risk_score(of_rows)
    estimator.oob_prediction_ = risk_score
    if dataset.numbers is not None:
        estimator.oob_prediction_ = np.empty_like(risk_score)
        estimator.oob_prediction_[dataset.numbers.numpy()] = risk_score
    estimator.oob_score_ = _score(estimator, columns)
    return LeftOut(outputs, left_out, of_rows)


def scatter_left_out(estimator: SurvivalNetEstimator, sample_weight: Any) -> None:
    """Give rows of weight 0, which are no part of the fit, a prediction too: NaN."""
    if sample_weight is None:
        return
    counts = np.asarray(for_numpy("sample_weight", sample_weight)) > 0
    if counts.ndim == 0:  # one weight for all
        return
    whole = np.full(len(counts), np.nan)
    whole[counts] = estimator.oob_prediction_
    estimator.oob_prediction_ = whole


def _mean_where(outputs: Tensor, left_out: Tensor) -> Tensor:
    """Return the mean output of those members that have left a row out; NaN if none has."""
    total = torch.zeros(outputs.shape[1:], dtype=torch.float64, device="cpu")
    for own, counted in zip(outputs, left_out, strict=True):
        total[counted] += own[counted]
    return total / left_out.sum(0)[:, None]


def _weights(estimator: SurvivalNetEstimator, dataset: SurvivalDataset, each: Tensor) -> Tensor:
    """Return the weights of the penalties, with which rows left out have the largest likelihood.

    That is stacking (Breiman 1996, doi:10.1007/BF00117832): weights from 0 on that add up to 1.
    """
    n_penalties = len(each)
    equal = np.full(n_penalties, 1 / n_penalties)
    if n_penalties == 1:
        return torch.from_numpy(equal)
    assert dataset.y is not None
    target, criterion = dataset.y, estimator._criterion().eval()

    def loss_and_gradient(weight: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss of rows left out with these weights, and its gradient."""
        w = torch.from_numpy(weight).requires_grad_()
        loss = target.loss(criterion, torch.tensordot(w, each, 1), None)
        (gradient,) = torch.autograd.grad(loss, w)
        return loss.item(), gradient.numpy()

    found = minimize(
        loss_and_gradient,
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * n_penalties,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
    )
    weight = np.maximum(found.x, 0)
    return torch.from_numpy(weight / weight.sum() if np.isfinite(weight).all() else equal)


def _score(estimator: SurvivalNetEstimator, columns: Columns) -> float:
    """Return the concordance index of rows left out; NaN if no pair compares."""
    known = ~np.isnan(estimator.oob_prediction_)
    own = {name: column[torch.from_numpy(known)] for name, column in columns.items()}
    weight = own["weight"].numpy() if "weight" in own else None
    try:
        return estimator._concordance(own, estimator.oob_prediction_[known], weight)
    except NoComparablePairException:
        return float("nan")
