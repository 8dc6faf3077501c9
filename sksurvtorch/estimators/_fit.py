"""The way of a fit: from X and y to a trained network, and what else a model learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from sksurvtorch import _validation as validation
from sksurvtorch._processes import Group, device_of, group_of
from sksurvtorch.estimators import _accelerate as accelerate
from sksurvtorch.estimators import _inputs as inputs
from sksurvtorch.estimators._checks import (
    check_output_is_finite,
    check_parameters,
    check_penalties,
    check_resumes,
    made_with,
)
from sksurvtorch.estimators._ensemble import (
    choose_n_members,
    draw_members,
    into_memory,
    learn_from_rows_left_out,
    learn_offsets,
    scatter_left_out,
)
from sksurvtorch.estimators._momentum import Identities
from sksurvtorch.estimators._net import checkpoints, describe, make_net, make_training
from sksurvtorch.estimators._optimum import warn_unless_optimal
from sksurvtorch.estimators._settings import Settings, n_members
from sksurvtorch.exceptions import NoEventError, NonFiniteLossError
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.rows import Rows, pool
from sksurvtorch.nets.rows.base import numbers
from sksurvtorch.nets.target import Columns, distinct_times, events

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator
    from sksurvtorch.nets.interruption import TrainingInterrupted


def fit_whole(
    estimator: SurvivalNetEstimator, X: Any, y: Any, given: dict[str, Any], *, partial: bool
) -> TrainingInterrupted | None:
    """Fit all that a model is; return the Ctrl-C that has ended the training, if any."""
    settings = _settle(estimator, partial=partial)
    rows, columns = _take_data(estimator, X, y, given, settings)
    if not settings.resume:
        _begin(estimator, columns, settings.group)
    dataset = estimator._make_dataset(rows, columns)
    description = describe(estimator, rows, columns, settings)
    interrupted, seen = _train(estimator, dataset, settings, description)
    estimator.unique_times_ = distinct_times(columns)
    for name in ("oob_prediction_", "oob_score_", "_interval_basis"):  # of an earlier fit
        estimator.__dict__.pop(name, None)
    left = None
    try:
        if n_members(estimator) > 1:
            outputs = learn_offsets(estimator, dataset)
            if not (settings.resume or settings.partial):
                left = learn_from_rows_left_out(estimator, dataset, columns, outputs, seen)
                scatter_left_out(estimator, given["sample_weight"])
        output = dataset.rows.gather(estimator._forward(dataset.rows))
        check_output_is_finite(output)
    except NonFiniteLossError as error:
        if interrupted is None:
            raise
        raise KeyboardInterrupt("The fit was interrupted, and leaves no model.") from error
    estimator._fit_baseline(dataset, output)
    if left is not None:
        estimator._learn_intervals(dataset, left)
    if interrupted is None:
        warn_unless_optimal(estimator, dataset, output, settings)
    return interrupted


def _settle(estimator: SurvivalNetEstimator, *, partial: bool) -> Settings:
    """Return the settings of a fit, if the parameters are valid."""
    accelerator = accelerate.resolve(estimator)
    group = group_of(accelerator)
    with group.all_or_none():
        check_parameters(estimator)
        estimator._check_own_parameters()
        resume = hasattr(estimator, "net_") and (partial or estimator.warm_start)
        if resume:
            check_resumes(estimator)
    # A model that was trained on another machine can predict here, but not always train.
    device = validation.resolve_device(estimator.device_ if resume else estimator.device)
    estimator.device_ = device if accelerator is None else device_of(accelerator)
    return Settings(resume, partial, accelerator, group)


def _take_data(
    estimator: SurvivalNetEstimator, X: Any, y: Any, given: dict[str, Any], settings: Settings
) -> tuple[Rows, Columns]:
    """Return the rows of all processes, and their columns, if there is enough to learn from."""
    group = settings.group
    with group.all_or_none():
        rows = estimator._check_X(X, reset=not settings.resume)
        rows, columns = inputs.check_data(estimator, rows, y, given, group)
    accelerate.check_alike(estimator, columns, settings)
    rows, columns = pool(rows, estimator._merge_strata(columns, group), group)
    if not settings.resume:
        estimator.n_estimators_ = choose_n_members(
            estimator, rows, columns, partial=settings.partial
        )
    check_penalties(estimator)
    if n_members(estimator) > 1:
        rows = into_memory(estimator, rows)
    inputs.check_total_weight(estimator, columns)
    n_samples = sum(group.exchange(len(y)))
    if n_samples < 2:
        raise ValueError(f"X must have at least 2 samples to fit, got n_samples = {n_samples}.")
    if not settings.resume and not events(columns).any():
        raise NoEventError(
            f"`y` must have an event, got {n_samples} rows that are censored or of weight 0."
        )
    return rows, columns


def _begin(estimator: SurvivalNetEstimator, columns: Columns, group: Group) -> None:
    """Learn what a new fit begins with."""
    seed = torch.tensor(_given_seed(estimator), dtype=torch.int64, device="cpu")
    estimator._seed = int(group.of_first(seed))
    estimator._identities = Identities()
    estimator._learn_from_columns(columns)


def _given_seed(estimator: SurvivalNetEstimator) -> int:
    """Return a seed; without a random state that of a training which is to be resumed."""
    if estimator.random_state is None:
        for path in checkpoints(estimator):
            from sksurvtorch.nets.checkpoint import stored_seed

            seed = stored_seed(path)
            if seed is not None:
                return seed
    return _draw_seed(estimator.random_state)


def _draw_seed(random_state: Any) -> int:
    """Return a seed; without a random state it comes from the system, not from numpy's global."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0] >> 1)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def _train(
    estimator: SurvivalNetEstimator,
    dataset: SurvivalDataset,
    settings: Settings,
    description: Mapping[str, str] | None,
) -> tuple[TrainingInterrupted | None, list[Tensor]]:
    """Train the net, which is made if there is none to resume the training of.

    Ctrl-C leaves a network that can be used, and is returned, to be raised when all of the
    model is there. Besides, the rows that each member of an ensemble was trained with.
    """
    from sksurvtorch.nets.interruption import TrainingInterrupted

    interrupted = None
    train, valid = dataset, None
    if estimator.early_stopping:
        train, valid = dataset.split(estimator.validation_fraction, estimator._seed)
    members = _rows_of_members(estimator, train, settings)
    training = make_training(estimator, train, settings, description, members)
    if settings.resume:
        net = estimator.net_
    else:
        net = make_net(estimator, training, settings, train)
        estimator._made_with = made_with(estimator)
    # Where all rows come at once, the bank has none but older copies.
    several = len(train) > training.batch_size or settings.partial
    if several and training.bank_size is not None:
        train = estimator._number_rows(train)
    try:
        net.train(train, valid, training, settings.accelerator)
    except TrainingInterrupted as ctrl_c:
        interrupted = ctrl_c
    estimator.net_ = net
    estimator.n_iter_ = len(net.history)
    rows = [] if members is None else list(members)
    return interrupted, rows if train.numbers is None else [train.numbers[own] for own in rows]


def _rows_of_members(
    estimator: SurvivalNetEstimator, train: SurvivalDataset, settings: Settings
) -> Tensor | None:
    """Return the rows of each member of an ensemble, or None without one."""
    if n_members(estimator) == 1:
        return None
    if settings.partial:
        return numbers(0, len(train)).expand(n_members(estimator), -1)
    return draw_members(train, n_members(estimator), estimator._seed)
