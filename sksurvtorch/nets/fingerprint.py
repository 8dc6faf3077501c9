"""What tells one training from another: parameters, network, and data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skorch.callbacks import EarlyStopping, GradientNormClipping, LRScheduler, ParamMapper
from skorch.dataset import ValidSplit
from torch import Tensor, nn

from sksurvtorch._processes import Group
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.digests import digest_of, digest_of_rows
from sksurvtorch.nets.rows import Rows

if TYPE_CHECKING:
    from sksurvtorch.nets.net import SurvivalNet

# What an optimizer is told of the device alone, or by a schedule.
_NO_OPTION = {"params", "fused", "foreach", "capturable", "differentiable", "initial_lr"}
#: Callbacks that shape a training; others are the user's own, and may do anything or nothing.
_SHAPING = (LRScheduler, EarlyStopping, GradientNormClipping, ParamMapper)
#: Those that an estimator makes from its parameters.
_MADE = ("lr_schedule", "early_stopping")


def fingerprint(net: SurvivalNet, X: Any) -> dict[str, str]:
    """Return what tells the training of a net from others, in words that can be compared."""
    kind = net.description
    made: tuple[str, ...] = _MADE
    if kind is None:
        kind, made = _of_own_net(net), ()
        if isinstance(X, SurvivalDataset) and X.y is not None:
            kind |= of_data(X.rows, X.y, net.group)
    network = getattr(net._network, "_orig_mod", net._network)
    weights = {name: (x.dtype, tuple(x.shape)) for name, x in network.named_parameters()}
    shaping = {
        name: described(callback)
        for name, callback in net.callbacks_
        if isinstance(callback, _SHAPING) and name not in made
    }
    return {
        **kind,
        "the network": f"{_without_addresses(network)} {weights}",
        "the optimizer": _of_optimizer(net),
        "the criterion": _without_addresses(net.criterion_),
        "the callbacks": str(shaping),
        "the number of epochs before": str(len(net.history)),
    }


def of_data(rows: Rows, columns: Mapping[str, Tensor], group: Group) -> dict[str, str]:
    """Return what tells data from others, by the names that they have in `fit`."""
    names = {"weight": "sample_weight"}
    told = {names.get(name, name): digest_of(columns[name]) for name in sorted(columns)}
    return {"the number of rows": str(len(rows)), "X": digest_of_rows(rows, group), **told}


def described(value: Any) -> str:
    """Return a value in words that are the same in another process."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, nn.Module):
        return f"{_without_addresses(value)} {described(value.state_dict())}"
    if isinstance(value, Tensor):
        return digest_of(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return digest_of(torch.from_numpy(np.ascontiguousarray(value)))
    if isinstance(value, Mapping):
        return str({str(key): described(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(described, value))})"
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, _SHAPING):
        given = {k: v for k, v in vars(value).items() if not k.endswith("_") and k != "sink"}
        return f"{type(value).__name__} {described(given)}"
    return _without_addresses(value)


def _of_own_net(net: SurvivalNet) -> dict[str, str]:
    """Return the parameters of a net that no estimator has made."""
    kind = {name: str(getattr(net, name)) for name in ("l2", "batch_size")}
    options = net.get_params_for("iterator_train")
    for name in sorted(options.keys() - {"generator", "num_workers"}):
        kind[f"iterator_train__{name}"] = described(options[name])
    if isinstance(net.train_split, ValidSplit):
        kind["train_split"] = described(vars(net.train_split))
    return kind


def _of_optimizer(net: SurvivalNet) -> str:
    """Return the class of an optimizer and its options."""
    optimizer: Any = net.optimizer_
    optimizer = getattr(optimizer, "optimizer", optimizer)  # of accelerate
    groups = [
        {name: value for name, value in group.items() if name not in _NO_OPTION}
        for group in optimizer.param_groups
    ]
    return f"{type(optimizer).__name__} {described(groups)}"


def _without_addresses(value: Any) -> str:
    """Return the text of an object, without where it lies in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
