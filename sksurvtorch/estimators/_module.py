"""The network of an estimator: the built-in one, or one of the user's."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sksurvtorch.estimators._settings import layer_sizes
from sksurvtorch.nets.modules import MLP, Inputs, SeveralInputs

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator


def make_module(
    estimator: SurvivalNetEstimator, sample_shape: tuple[int, ...], device: str = "cpu"
) -> nn.Module:
    """Return the network of an estimator, on "meta" without numbers: built in, or the user's."""
    options = estimator._prefixed("module__")
    module = estimator.module
    if module is None:
        if options:
            names = ", ".join(f"module__{name}" for name in options)
            raise ValueError(
                f"`module` must be given for {names} to have a meaning, got None. The built-in "
                "network takes hidden_layer_sizes, activation, dropout and norm."
            )
        (n_features,) = sample_shape
        return MLP(
            n_features,
            estimator._n_outputs,
            hidden_layer_sizes=layer_sizes(estimator),
            activation=estimator.activation,
            dropout=estimator.dropout,
            norm=estimator.norm,
            bias=estimator._bias,
            has_log_shape=estimator._log_shape_is_output,
            device=device,
        )
    if isinstance(module, nn.Module):
        made = type(module)(**options) if options else copy.deepcopy(module)
        return _as_called(estimator, _with_numbers(made, device))
    if not callable(module):
        raise TypeError(
            "`module` must be a torch.nn.Module, or a class or function that makes one, got "
            f"{module!r}."
        )
    try:
        made = module(**options)
    except TypeError as error:
        error.add_note(f"`module` was called with {options or 'no options'}: give module__name=...")
        raise
    if not isinstance(made, nn.Module):
        raise TypeError(f"`module` must make a torch.nn.Module, got {type(made).__name__}.")
    return _as_called(estimator, _with_numbers(made, device))


def _as_called(estimator: SurvivalNetEstimator, module: nn.Module) -> nn.Module:
    """Return a network of the user's as one that takes one tensor."""
    shape: Any = estimator.input_shape_
    return SeveralInputs(module, Inputs(shape)) if isinstance(shape, dict) else module


def _with_numbers(module: nn.Module, device: str) -> nn.Module:
    """Return a network, or raise if its weights are placeholders, unless these are wanted."""
    if device != "meta" and any(part.is_meta for part in (*module.parameters(), *module.buffers())):
        raise ValueError(
            "`module` must hold numbers, got the device 'meta'. Make it outside of "
            "torch.device('meta'), or give its class."
        )
    return module


def check_output(module: nn.Module, X: Tensor, width: int) -> None:
    """Raise unless a network of the user returns what the model needs."""
    module.eval()
    with torch.no_grad():
        try:
            output = module(X.clone())  # it may write to its input
        except Exception as error:
            raise ValueError(
                f"`module` must take X of shape {tuple(X.shape)} and {X.dtype}, got "
                f"{type(error).__name__}: {error}"
            ) from error
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if shape != (len(X), width) and not (width == 1 and shape == (len(X),)):
        raise ValueError(
            f"`module` must return a tensor of shape (n_samples, {width}), got {shape} for an "
            f"input of shape {tuple(X.shape)}."
        )
