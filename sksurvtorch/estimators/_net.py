"""The net of a fit: a network for the rows at hand, what trains it, and its callbacks."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sksurvtorch.estimators import _accelerate as accelerate
from sksurvtorch.estimators._linear import mlp_of, start_from_linear
from sksurvtorch.estimators._module import check_output, make_module
from sksurvtorch.estimators._momentum import wrap
from sksurvtorch.estimators._settings import (
    LBFGS_OPTIONS,
    OPTIMIZERS,
    Settings,
    asked_batch_size,
    bank_size,
    is_lbfgs,
    is_linear,
    layer_sizes,
    learning_rate,
    n_epochs,
    n_members,
    penalties,
    penalty_of_members,
    resolve_dtype,
)
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.defaults import on_cpu
from sksurvtorch.nets.ensemble import Ensemble
from sksurvtorch.nets.moments import Moments
from sksurvtorch.nets.random import RandomStream
from sksurvtorch.nets.rows import Rows
from sksurvtorch.nets.target import Columns
from sksurvtorch.nets.training import PerMember, Training

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator
    from sksurvtorch.nets import SurvivalNet

# Rows that the built-in network takes at once where nothing is trained: few enough for the
# processor's cache, and enough for a GPU.
_CHUNK = 8_192
# Samples that a network of the user's is called with before its weights are loaded, if these are
# not more themselves: a forged file may claim samples of any size.
_SAMPLE_BYTES = 2**26
# A number that an option of a network may be, whatever the number of weights.
_FEW = 4_096
#: Parameters that do not shape a training, or are told in another way.
_FREE = {
    *("accelerator", "callbacks", "compile", "device", "max_epochs", "verbose", "warm_start"),
    *("iterator_train__batch_size", "iterator_train__generator", "iterator_train__num_workers"),
}
#: Callbacks that each net has.
_ALWAYS = ("epoch_timer", "train_loss", "valid_loss", "finite_loss", "print_log")


def make_training(
    estimator: SurvivalNetEstimator,
    train: SurvivalDataset,
    settings: Settings,
    description: Mapping[str, str] | None,
    rows: Tensor | None = None,
) -> Training:
    """Return what the net is told for a training with these rows, some for each member."""
    assert train.y is not None
    p, members = estimator, None
    alphas = penalties(p)
    if rows is None:
        n_rows, information = len(train), float(train.y.information)
        l2 = alphas[0] / information
    else:
        n_rows = rows.shape[1]
        each = [float(train.y.take(own).information) for own in rows]
        information = sum(each) / len(each)
        of_members = [alphas[k] / own for k, own in zip(penalty_of_members(p), each, strict=True)]
        l2 = sum(of_members) / len(of_members)
        members = PerMember(rows, torch.tensor(of_members, dtype=torch.float64, device="cpu"))
    asked = None if is_lbfgs(p) else asked_batch_size(p)
    batch_size = n_rows if asked is None else asked * settings.group.size
    n_batches = -(-n_rows // batch_size)
    bank = bank_size(p, batch_size)
    weighted = "weight" in train.y and n_batches > 1 and bank is None
    epochs = 1 if settings.partial else n_epochs(p)
    return Training(
        epochs,
        batch_size,
        _make_callbacks(p, settings, n_steps=epochs * n_batches),
        l2=l2,
        lr=float(_optimizer_options(p)["lr"]),
        mean_information=information / n_batches if weighted else None,
        bank_size=bank,
        description=description,
        members=members,
    )


def describe(
    estimator: SurvivalNetEstimator, rows: Rows, columns: Columns, settings: Settings
) -> dict[str, str] | None:
    """Return what tells a training from others; None if there is no checkpoint that asks."""
    if not checkpoints(estimator):
        return None
    from sksurvtorch.nets.fingerprint import described, of_data

    p = estimator
    known = p.get_params(deep=False)
    told = {
        name: described(known[name])
        for name in sorted(known)
        if name not in _FREE and not name.startswith("callbacks__")
    }
    asked = None if is_lbfgs(p) else asked_batch_size(p)
    told |= {
        "hidden_layer_sizes": str(layer_sizes(p)),
        "n_estimators": str(n_members(p)),
        "alpha": ", ".join(map(str, penalties(p))),
        "dtype": str(resolve_dtype(p)),
        "batch_size": str(None if asked is None else asked * settings.group.size),
        "random_state": str(p._seed),
    }
    if p.lr_schedule == "cosine" and not (is_lbfgs(p) or settings.partial):
        told["max_epochs"] = str(n_epochs(p))  # the length of the schedule
    return told | of_data(rows, columns, settings.group)


def checkpoints(estimator: SurvivalNetEstimator) -> list[Any]:
    """Return the paths of the checkpoints among the callbacks."""
    given = estimator.callbacks or []
    if not given:
        return []
    from sksurvtorch.nets import TrainingCheckpoint

    options, paths = estimator._prefixed("callbacks__"), []
    for item in given.items() if isinstance(given, dict) else given:
        name, callback = item if isinstance(item, tuple) else (None, item)
        kind = callback if isinstance(callback, type) else type(callback)
        if issubclass(kind, TrainingCheckpoint):
            asked = f"{name or kind.__name__}__path"
            paths.append(options.get(asked, getattr(callback, "path", None)))
    return paths


def make_net(
    estimator: SurvivalNetEstimator, training: Training, settings: Settings, train: SurvivalDataset
) -> SurvivalNet:
    """Return a net that can be trained with these rows."""
    group, device, dtype = settings.group, estimator.device_, resolve_dtype(estimator)
    shape = train.rows.shape[1:]
    stream = RandomStream(estimator._seed, device)
    with stream:
        with group.all_or_none(), on_cpu():
            modules = [make_module(estimator, shape) for _ in range(n_members(estimator))]
        if estimator.module is None:
            moments = Moments.of(train.rows, train.weight, group)
            for module in modules:
                mlp_of(module).standardise(moments.mean, moments.deviation)
        for module in modules:
            module.to(device, dtype)
            # The first call of a lazy module draws its weights.
            with group.all_or_none():
                check_output(module, train.rows.head().to(device), estimator._n_outputs)
    if group.size > 1:
        (module,) = modules
        accelerate.check_network(module, group)
        modules = [accelerate.synchronised(module, device)]
    modules = [estimator._wrap_network(module).to(device, dtype) for module in modules]
    if estimator.module is None and not (is_linear(estimator) and is_lbfgs(estimator)):
        start_from_linear(estimator, modules, train, training, settings)
    module = _as_one(estimator, modules)
    if group.rank > 0:  # dropout of its own
        stream = RandomStream(estimator._seed + group.rank, device)
    return _net_around(estimator, module, training, stream)


def may_fit(estimator: SurvivalNetEstimator, weights: Mapping[str, Tensor]) -> bool:
    """Whether its network has weights of these names and shapes, as far as can be told."""
    # Nothing is allocated: it is made on torch's device without memory, if it can be made there.
    if estimator.module is None and len(layer_sizes(estimator)) > len(weights):
        return False
    if n_members(estimator) > max(len(weights), *(len(w) for w in weights.values() if w.ndim)):
        return False
    if estimator.module is not None and not _is_small(estimator, weights):
        return False
    try:
        with torch.device("meta"):
            shape = estimator._sample_shape
            samples = torch.empty((2, *shape), dtype=resolve_dtype(estimator), device="meta")
            modules = []
            for _ in range(n_members(estimator)):
                module = make_module(estimator, shape, "meta").to("meta")
                check_output(module.to(samples.dtype), samples, estimator._n_outputs)
                modules.append(estimator._wrap_network(module))
            module = _as_one(estimator, modules)
            if estimator.momentum:
                module, _ = wrap(estimator, module, 1)
        made = {name: x.shape for name, x in module.state_dict().items() if isinstance(x, Tensor)}
    except Exception as error:
        if estimator.module is None:
            return False
        # A network of the user's may need numbers; torch then says that "meta" has none.
        if _is_called(estimator, weights) or "meta" in str(error).lower():
            return True
        raise _uncalled(estimator, error) from error
    return made == {name: weight.shape for name, weight in weights.items()}


def _is_small(estimator: SurvivalNetEstimator, weights: Mapping[str, Tensor]) -> bool:
    """Whether no option of a network of torch's own counts more than there are weights."""
    options = estimator._prefixed("module__").values()
    own = getattr(estimator.module, "__module__", "").startswith("torch.nn.")
    most = max(_FEW, sum(weight.numel() for weight in weights.values()))
    return not own or all(not isinstance(n, int) or n <= most for n in options)


def net_with(
    estimator: SurvivalNetEstimator, training: Training, weights: Mapping[str, Tensor]
) -> SurvivalNet:
    """Return a net that has these weights."""
    called = _is_called(estimator, weights)
    try:
        net = _net_to_load(estimator, training, called=called)
        _check_dtypes(net.module_, weights)
        net.module_.load_state_dict(weights)
    except Exception as error:
        if called or estimator.module is None or isinstance(error, (ImportError, MemoryError)):
            raise
        raise _uncalled(estimator, error) from error
    return net


def _is_called(estimator: SurvivalNetEstimator, weights: Mapping[str, Tensor]) -> bool:
    """Whether two samples are small enough to call a network before its weights are loaded."""
    n_bytes = 2 * math.prod(estimator._sample_shape) * resolve_dtype(estimator).itemsize
    return n_bytes <= max(_SAMPLE_BYTES, sum(weight.nbytes for weight in weights.values()))


def _uncalled(estimator: SurvivalNetEstimator, error: Exception) -> ValueError:
    """Return the error of a network that may lack a first call."""
    return ValueError(
        f"{str(error).rstrip('.')}. It was not called before: two samples of shape "
        f"{estimator._sample_shape} take more than {_SAMPLE_BYTES / 2**20:.0f} MiB, and more "
        "than its weights. If it makes weights in its first call, give a function as `module` "
        "that makes it and calls it once."
    )


def _net_to_load(
    estimator: SurvivalNetEstimator, training: Training, *, called: bool
) -> SurvivalNet:
    """Return a net whose weights are to be loaded."""
    # A network of the user's may make weights in its first call. Without one, torch makes lazy
    # weights when they are loaded.
    device, dtype = estimator.device_, resolve_dtype(estimator)
    stream = RandomStream(estimator._seed, device)
    modules = []
    with stream:
        for _ in range(n_members(estimator)):
            module = make_module(estimator, estimator._sample_shape).to(device, dtype)
            if estimator.module is not None and called:
                samples = torch.zeros((2, *estimator._sample_shape), device=device, dtype=dtype)
                check_output(module, samples, estimator._n_outputs)
            modules.append(estimator._wrap_network(module).to(device, dtype))
    return _net_around(estimator, _as_one(estimator, modules), training, stream)


def _as_one(estimator: SurvivalNetEstimator, modules: list[nn.Module]) -> nn.Module:
    """Return the networks of an estimator as one."""
    if len(modules) == 1:
        return modules[0]
    n_levels = 1 if estimator._has_level else estimator._n_outputs
    return Ensemble(modules, len(estimator._sample_shape), n_levels)


def _check_dtypes(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Raise unless weights are of the dtypes that a network has, where it has them already."""
    for name, own in module.state_dict().items():
        theirs = weights.get(name)
        if theirs is not None and not is_lazy(own) and theirs.dtype != own.dtype:
            raise ValueError(f"{name} is of {theirs.dtype} rather than {own.dtype}.")


def _net_around(
    estimator: SurvivalNetEstimator, module: nn.Module, training: Training, stream: RandomStream
) -> SurvivalNet:
    """Return an initialised net around a network."""
    from sksurvtorch.nets.ensemble_net import EnsembleNet
    from sksurvtorch.nets.net import SurvivalNet

    kind = EnsembleNet if isinstance(module, Ensemble) else SurvivalNet
    criterion: dict[str, Any] = {"criterion": estimator._criterion()}
    if estimator.momentum:
        module, criterion = wrap(estimator, module, training.batch_size)
    generator = np.random.default_rng(estimator._seed)
    iterator = {"shuffle": True, "generator": generator, **estimator._prefixed("iterator_train__")}
    iterator.pop("batch_size", None)
    optimizer, batch_size = estimator.optimizer, training.batch_size
    draws = estimator.module is not None or estimator.dropout > 0
    chunk = _CHUNK // n_members(estimator) if estimator.module is None else max(batch_size, 256)
    net: SurvivalNet = kind(
        module,
        **criterion,
        optimizer=OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer,
        batch_size=batch_size,
        l2=training.l2,
        random_stream=stream if draws else None,
        iterator_valid__batch_size=max(1, chunk),
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
    options = dict(LBFGS_OPTIONS) if is_lbfgs(estimator) else {"lr": learning_rate(estimator)}
    if estimator.optimizer == "adam" and not further.keys() & {"foreach", "capturable"}:
        options["fused"] = estimator.device_.type in ("cpu", "cuda")
    return options | further


def _make_callbacks(estimator: SurvivalNetEstimator, settings: Settings, n_steps: int) -> list[Any]:
    """Return the callbacks of a training with so many steps."""
    from sksurvtorch.nets import callbacks

    made: list[Any] = []
    is_first = settings.group.rank == 0
    if is_lbfgs(estimator):
        made.append(("converged", callbacks.Converged()))
    elif estimator.lr_schedule == "cosine" and not settings.partial:  # which has no last step
        made.append(("lr_schedule", callbacks.CosineDecay(n_steps)))
    if estimator.early_stopping:
        silent = estimator.verbose < 2 or not is_first
        stopping = callbacks.early_stopping(
            estimator.n_iter_no_change, estimator.tol, silent=silent
        )
        made.append(("early_stopping", stopping))
    if estimator.verbose == 1 and is_first:
        made.append(("progress_bar", callbacks.TrainingBar()))
    given = estimator.callbacks or []
    # A callback keeps what it has seen, so the fit works on copies.
    added = copy.deepcopy(list(given.items() if isinstance(given, dict) else given))
    if "lr_schedule" in dict(made):
        _check_one_schedule(added)
    # Scores come first, so that the epoch that ends a training has them too.
    made = [item for item in added if _scores(item)] + made
    made += [item for item in added if not _scores(item)]
    _check_named(estimator._prefixed("callbacks__"), made)
    return made


def _scores(item: Any) -> bool:
    """Whether a callback, perhaps with its name, is one of those that score."""
    return hasattr(item[1] if isinstance(item, tuple) else item, "scoring")


def _check_one_schedule(added: list[Any]) -> None:
    """Raise if one of these callbacks sets the learning rates, as the built-in schedule does."""
    from sksurvtorch.nets import callbacks

    for item in added:
        callback = item[1] if isinstance(item, tuple) else item
        kind = callback if isinstance(callback, type) else type(callback)
        if callbacks.is_schedule(kind):
            raise ValueError(
                f"`lr_schedule` must be 'constant' beside {kind.__name__} among the callbacks, got "
                "'cosine'. Both would change the learning rate."
            )


def _check_named(options: dict[str, Any], callbacks: list[Any]) -> None:
    """Raise unless each option names one of the callbacks."""
    names = [item[0] if isinstance(item, tuple) else type(item).__name__ for item in callbacks]
    for option in options:
        if option.partition("__")[0] not in (*names, *_ALWAYS):
            raise ValueError(
                f"`callbacks__{option}` must name a callback of this fit, one of "
                f"{', '.join(sorted((*names, *_ALWAYS)))}."
            )
