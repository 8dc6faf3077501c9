"""The net of a fit: a network for the rows at hand, what trains it, and its callbacks."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from sksurvtorch.estimators import _accelerate as accelerate
from sksurvtorch.estimators import _momentum as momentum
from sksurvtorch.estimators._linear_start import start_from_linear
from sksurvtorch.estimators._module import check_output, make_module
from sksurvtorch.estimators._settings import (
    LBFGS_OPTIONS,
    OPTIMIZERS,
    Settings,
    is_lbfgs,
    resolve_dtype,
    uses_bank,
)
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.modules import MLP
from sksurvtorch.nets.moments import Moments
from sksurvtorch.nets.random import RandomStream
from sksurvtorch.nets.training import Training

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator
    from sksurvtorch.nets import SurvivalNet

# Rows that the built-in network takes at once where nothing is trained: few enough for the
# processor's cache, and enough for a GPU.
_CHUNK = 8_192
#: Callbacks that each net has.
_ALWAYS = ("epoch_timer", "train_loss", "valid_loss", "finite_loss", "print_log")


def new_net(
    estimator: SurvivalNetEstimator, train: SurvivalDataset, settings: Settings, training: Training
) -> SurvivalNet:
    """Return a net that is ready to be trained with these rows."""
    group, device = settings.group, settings.device
    stream = RandomStream(estimator._seed, device)
    with stream:
        with group.all_or_none():
            module = make_module(estimator, train.rows.shape[1:])
        if isinstance(module, MLP) and estimator.module is None:
            moments = Moments.of(train.rows, train.weight, group)
            module.standardise(moments.mean, moments.deviation)
        module.to(device, settings.dtype)
        # The first call of a lazy module draws its weights.
        with group.all_or_none():
            check_output(module, train.rows.head().to(device), estimator._n_outputs)
    if group.size > 1:
        accelerate.check_network(module, group)
        module = accelerate.synchronised(module, device)
    module = estimator._wrap_network(module).to(device, settings.dtype)
    if estimator.module is None and not (settings.is_linear and settings.is_lbfgs):
        start_from_linear(estimator, module, train, training.l2, settings)
    if group.rank > 0:  # dropout of its own
        stream = RandomStream(estimator._seed + group.rank, device)
    return _net_around(estimator, module, training, stream)


def net_to_load(estimator: SurvivalNetEstimator, batch_size: int, l2: float) -> SurvivalNet:
    """Return a net like that of a fit, whose weights are still to be loaded."""
    bank_size = estimator.momentum_steps * batch_size if uses_bank(estimator) else None
    training = Training(0, batch_size, [], l2=l2, bank_size=bank_size)
    device, dtype, shape = estimator.device_, resolve_dtype(estimator), estimator._sample_shape
    stream = RandomStream(estimator._seed, device)
    with stream:
        module = make_module(estimator, shape).to(device, dtype)
        sample = torch.zeros((2, *shape), dtype=dtype, device=device)
        check_output(module, sample, estimator._n_outputs)  # a lazy one becomes whole
    module = estimator._wrap_network(module).to(device, dtype)
    return _net_around(estimator, module, training, stream)


def _net_around(
    estimator: SurvivalNetEstimator, module: nn.Module, training: Training, stream: RandomStream
) -> SurvivalNet:
    """Return an initialised net around a network."""
    from sksurvtorch.nets import SurvivalNet

    criterion, batch_size = estimator._criterion(), training.batch_size
    if estimator.momentum:
        module, criterion = momentum.wrap(estimator, module, criterion, training.bank_size)
    generator = np.random.default_rng(estimator._seed)
    iterator = {"shuffle": True, "generator": generator, **estimator._prefixed("iterator_train__")}
    iterator.pop("batch_size", None)
    optimizer = estimator.optimizer
    draws = estimator.module is not None or estimator.dropout > 0
    net: SurvivalNet = SurvivalNet(
        module,
        **criterion,
        optimizer=OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer,
        batch_size=batch_size,
        l2=training.l2,
        random_stream=stream if draws else None,
        iterator_valid__batch_size=_CHUNK if estimator.module is None else max(batch_size, 256),
        iterator_valid__num_workers=iterator.get("num_workers", 0),
        verbose=max(0, int(estimator.verbose) - 1),
        device=estimator.device_,
        compile=estimator.compile,
        **{f"optimizer__{name}": value for name, value in _optimizer_options(estimator).items()},
        **{f"iterator_train__{name}": value for name, value in iterator.items()},
        **{f"callbacks__{k}": v for k, v in estimator._prefixed("callbacks__").items()},
    ).initialize()
    return net


def _optimizer_options(estimator: SurvivalNetEstimator) -> dict[str, Any]:
    """Return the options of the optimizer."""
    further = estimator._prefixed("optimizer__")
    options = dict(LBFGS_OPTIONS) if is_lbfgs(estimator) else {"lr": estimator.lr}
    if estimator.optimizer == "adam" and not further.keys() & {"foreach", "capturable"}:
        options["fused"] = estimator.device_.type in ("cpu", "cuda")
    return options | further


def make_callbacks(estimator: SurvivalNetEstimator, settings: Settings, n_rows: int) -> list[Any]:
    """Return the callbacks of a training with so many rows."""
    from sksurvtorch.nets import callbacks

    made: list[Any] = []
    is_first = settings.accelerator is None or settings.accelerator.is_main_process
    if settings.is_lbfgs:
        made.append(("converged", callbacks.Converged()))
    elif estimator.lr_schedule == "cosine" and not settings.partial:  # which has no last step
        n_steps = settings.n_epochs * settings.n_batches(n_rows)
        made.append(("lr_schedule", callbacks.CosineDecay(n_steps)))
    if estimator.early_stopping:
        stopping = callbacks.early_stopping(
            estimator.n_iter_no_change, estimator.tol, silent=not is_first
        )
        made.append(("early_stopping", stopping))
    if estimator.verbose == 1 and is_first:
        made.append(("progress_bar", callbacks.TrainingBar()))
    given = estimator.callbacks or []
    # A callback keeps what it has seen, so the fit works on copies.
    made += copy.deepcopy(list(given.items() if isinstance(given, dict) else given))
    _check_named(estimator._prefixed("callbacks__"), made)
    return made


def _check_named(options: dict[str, Any], callbacks: list[Any]) -> None:
    """Raise unless each option names one of the callbacks."""
    names = [item[0] if isinstance(item, tuple) else type(item).__name__ for item in callbacks]
    for option in options:
        if option.partition("__")[0] not in (*names, *_ALWAYS):
            raise ValueError(
                f"`callbacks__{option}` must name a callback of this fit, one of "
                f"{', '.join(sorted((*names, *_ALWAYS)))}."
            )
