"""Ensembles of networks: the rows of each member, and the predictions for those it left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize
from sksurv.exceptions import NoComparablePairException
from torch import Tensor

from sksurvtorch.estimators._checks import check_output_is_finite
from sksurvtorch.estimators._settings import N_FOLDS, groups, n_members
from sksurvtorch.metrics import concordance_index_censored
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.loader import WINDOW_BYTES
from sksurvtorch.nets.rows import Rows
from sksurvtorch.nets.target import Columns

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator


def into_memory(estimator: SurvivalNetEstimator, rows: Rows) -> Rows:
    """Return rows in memory, if they take no more than the rows that are shuffled at once."""
    given = estimator._prefixed("iterator_train__").get("window_bytes", WINDOW_BYTES)
    if len(rows) > rows.n_in_window(given):
        raise ValueError(
            "`n_estimators` must be 1 for X that is read piece by piece, got "
            f"{estimator.n_estimators}. Each member has rows of its own, from all over the file: "
            f"set `iterator_train__window_bytes` to {len(rows) * rows.row_bytes} if so much may "
            "be held in memory."
        )
    return rows.into_memory()


def draw_members(event: np.ndarray, n_estimators: int, seed: int) -> Tensor:
    """Draw the rows of each member of an ensemble.

    The rows are divided at random into five folds with their share of the events, and each of five
    members leaves one fold out; the next five have another division. All members have as many rows,
    and as many events: where the rows do not divide by five, some are left out twice.

    Parameters
    ----------
    event : bool array of shape (n_samples,)
        Which rows have an event.
    n_estimators : int
        Number of members.
    seed : int
        Start of the random numbers.

    Returns
    -------
    int tensor of shape (n_estimators, n_rows)
        Rows of each member, ascending.
    """
    kinds = [np.flatnonzero(event), np.flatnonzero(~event)]
    sizes = [-(-len(rows) // N_FOLDS) for rows in kinds]
    if len(kinds[0]) <= sizes[0]:
        raise ValueError(
            "`n_estimators` must be 1 for data with a single event, got "
            f"{n_estimators}. Each member of an ensemble leaves out a fifth of the events."
        )
    generator = np.random.default_rng([seed, N_FOLDS])
    kept = np.ones((n_estimators, len(event)), dtype=bool)
    for k in range(n_estimators):
        if k % N_FOLDS == 0:
            kinds = [generator.permutation(rows) for rows in kinds]
        for rows, size in zip(kinds, sizes, strict=True):
            start = min(k % N_FOLDS * size, len(rows) - size)
            kept[k, rows[start : start + size]] = False
    return torch.from_numpy(np.stack([np.flatnonzero(own) for own in kept]))


def outputs_of_members(estimator: SurvivalNetEstimator, rows: Rows) -> Tensor:
    """Return the outputs of the members less their offsets, (n_members, n_samples, n_outputs)."""
    if n_members(estimator._as_fitted) == 1:
        return estimator._forward(rows)[None]
    offset: Tensor = estimator._trained.offset.cpu()
    return torch.cat(list(estimator.net_.members_iter(rows)), dim=1) - offset


def settle(
    estimator: SurvivalNetEstimator,
    dataset: SurvivalDataset,
    columns: Columns,
    trained: list[Tensor] | None,
) -> None:
    """Learn the offsets and the weights of the members, and predict the rows that each left out.

    Parameters
    ----------
    estimator : SurvivalNetEstimator
        Estimator whose networks are trained.
    dataset : SurvivalDataset
        Rows of the fit.
    columns : dict of tensors of shape (n_samples,)
        Event, time and so on, in the order of the user.
    trained : list of int tensors, or None
        Rows that each member was trained with, in the order of the user; None if they are unknown.
    """
    for name in ("oob_prediction_", "oob_score_"):
        estimator.__dict__.pop(name, None)
    network = estimator._trained
    network.offset.zero_()
    outputs = outputs_of_members(estimator, dataset.rows).double()
    check_output_is_finite(outputs)
    if not estimator._has_level:
        network.offset.copy_(outputs.mean(1, keepdim=True))
        outputs -= network.offset.cpu()
    if trained is None:
        return
    left_out = torch.ones(outputs.shape[:2], dtype=torch.bool, device="cpu")
    for own, rows in zip(left_out, trained, strict=True):
        own[rows] = False
    if dataset.numbers is not None:
        left_out = left_out[:, dataset.numbers]
    group = torch.tensor(groups(estimator), dtype=torch.int64, device="cpu")
    each = torch.stack(
        [_mean_where(outputs[group == g], left_out[group == g]) for g in group.unique()]
    )
    weight = _weights(estimator, dataset, each)
    network.weight.copy_((weight / group.bincount())[group, None, None])
    risk_score = estimator._risk_score((each * weight[:, None, None]).sum(0))
    estimator.oob_prediction_ = risk_score
    if dataset.numbers is not None:
        estimator.oob_prediction_ = np.empty_like(risk_score)
        estimator.oob_prediction_[dataset.numbers.numpy()] = risk_score
    estimator.oob_score_ = _score(columns, estimator.oob_prediction_)


def _mean_where(outputs: Tensor, left_out: Tensor) -> Tensor:
    """Return the mean output of those members that have left a row out; NaN if none has."""
    counted = left_out[:, :, None].double()
    return (outputs * counted).sum(0) / counted.sum(0)


def _weights(estimator: SurvivalNetEstimator, dataset: SurvivalDataset, each: Tensor) -> Tensor:
    """Return the weights of the groups, of which the likelihood of rows left out is the largest.

    That is stacking (Breiman 1996, doi:10.1007/BF00117832): weights from 0 on that add up to 1.
    """
    n_groups = len(each)
    equal = np.full(n_groups, 1 / n_groups)
    if n_groups == 1:
        return torch.from_numpy(equal)
    assert dataset.y is not None
    target, criterion = dataset.y, estimator._criterion().eval()

    def loss_and_gradient(weight: np.ndarray) -> tuple[float, np.ndarray]:
        w = torch.from_numpy(weight).requires_grad_()
        loss = target.loss(criterion, torch.tensordot(w, each, 1), None)
        (gradient,) = torch.autograd.grad(loss, w)
        return loss.item(), gradient.numpy()

    found = minimize(
        loss_and_gradient,
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * n_groups,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
    )
    weight = np.maximum(found.x, 0)
    return torch.from_numpy(weight / weight.sum() if np.isfinite(weight).all() else equal)


def _score(columns: Columns, risk_score: np.ndarray) -> float:
    """Return the concordance index of those rows that have a score; NaN if no pair compares."""
    known = ~np.isnan(risk_score)
    own = {name: column.numpy()[known] for name, column in columns.items()}
    try:
        result = concordance_index_censored(
            own["event"], own["time"], risk_score[known], sample_weight=own.get("weight")
        )
    except NoComparablePairException:
        return float("nan")
    return float(result[0])
