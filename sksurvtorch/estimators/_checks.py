"""Checks of the parameters of an estimator, before there are any data."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sksurvtorch import _validation as validation
from sksurvtorch.estimators._settings import (
    DTYPES,
    N_FOLDS,
    OPTIMIZERS,
    asked_batch_size,
    is_lbfgs,
    layer_sizes,
    n_members,
    penalties,
    resolve_dtype,
)
from sksurvtorch.exceptions import NonFiniteLossError
from sksurvtorch.nets.modules import ACTIVATIONS, NORMS

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator

SCHEDULES = ("cosine", "constant")
#: Parameters that make the network and its optimizer, as far as an estimator has them.
_MAKERS = (
    "hidden_layer_sizes", "activation", "dropout", "norm", "module", "n_estimators", "ties",
    "hazard", "n_causes", "shape", "optimizer", "device", "compile", "momentum", "momentum_steps",
    "momentum_rate", "momentum_warmup",
)  # fmt: skip


def check_parameters(estimator: SurvivalNetEstimator) -> None:
    """Raise unless all parameters are valid, whatever the data."""
    p = estimator
    p._check_names()
    validation.check_sizes("hidden_layer_sizes", p.hidden_layer_sizes)
    validation.check_option("activation", p.activation, tuple(ACTIVATIONS))
    validation.check_option("norm", p.norm, NORMS)
    validation.check_number("dropout", p.dropout, float, 0.0, 1.0)
    validation.check_number("lr", p.lr, float, 0.0, closed=False, auto=True)
    validation.check_option("lr_schedule", p.lr_schedule, SCHEDULES)
    validation.check_number("n_estimators", p.n_estimators, int, 1, auto=True)
    _check_alpha(p)
    validation.check_number("max_epochs", p.max_epochs, int, 1, auto=True)
    asked_batch_size(p)
    for flag in ("early_stopping", "compile", "warm_start"):
        validation.check_flag(flag, getattr(p, flag))
    validation.check_number("n_iter_no_change", p.n_iter_no_change, int, 1)
    validation.check_number("tol", p.tol, float, 0.0)
    validation.check_number(
        "validation_fraction", p.validation_fraction, float, 0.0, 1.0, closed=False
    )
    validation.check_option("dtype", p.dtype, ("auto", *DTYPES))
    _check_optimizer(p.optimizer)
    if not isinstance(p.verbose, bool):
        validation.check_number("verbose", p.verbose, int, 0)
    if p.module is not None:
        _check_no_network(p)
    _check_callbacks(p)
    _check_momentum(p)
    _check_ensemble(p)


def _check_alpha(p: SurvivalNetEstimator) -> None:
    """Raise unless this is a penalty, or several of them."""
    several = isinstance(p.alpha, (list, tuple))
    if np.ndim(p.alpha) and not several:
        raise TypeError(
            "`alpha` must be a number, or a list or tuple of numbers, got "
            f"{type(p.alpha).__name__}."
        )
    for alpha in p.alpha if several else [p.alpha]:
        validation.check_number("alpha", alpha, float, 0.0, auto=not several)


def check_penalties(estimator: SurvivalNetEstimator) -> None:
    """Raise if there are more penalties than groups of members, or none."""
    alpha, n_estimators = estimator.alpha, n_members(estimator)
    if not isinstance(alpha, (list, tuple)) or 0 < len(alpha) <= max(1, n_estimators // N_FOLDS):
        return
    least = N_FOLDS * max(1, len(alpha))
    raise ValueError(
        f"`alpha` must hold at least one value, and at most one for {N_FOLDS} networks, got "
        f"{alpha!r} for n_estimators={n_estimators}. Set `n_estimators` to at least {least}, or "
        "give a number."
    )


def _check_no_network(p: SurvivalNetEstimator) -> None:
    """Raise if something is asked of the built-in network, beside a network of the user."""
    signature = inspect.signature(type(p)).parameters
    used = {"hidden_layer_sizes": layer_sizes(p)}
    for name in ("hidden_layer_sizes", "activation", "dropout", "norm"):
        value = getattr(p, name)
        if name not in signature:  # a subclass has decided it
            continue
        default = signature[name].default
        if used.get(name, value) != default:
            raise ValueError(
                f"`{name}` must stay {default!r} beside a `module`, got {value!r}. It is a "
                "parameter of the built-in network; those of your own are module__name."
            )


def _check_callbacks(p: SurvivalNetEstimator) -> None:
    """Raise unless these are callbacks, or pairs of a name and one, that find what they watch."""
    callbacks = p.callbacks
    if not isinstance(callbacks, list | tuple | dict | None):
        raise TypeError(
            "`callbacks` must be a list of skorch callbacks, or of pairs of a name and a callback, "
            f"got {type(callbacks).__name__}."
        )
    for item in callbacks.items() if isinstance(callbacks, dict) else callbacks or []:
        callback = item[1] if isinstance(item, tuple) and len(item) == 2 else item
        if not hasattr(callback, "on_train_begin"):
            raise TypeError(
                "`callbacks` must be skorch callbacks, or pairs of a name and a callback, got "
                f"{item!r:.80}."
            )
        made = callback() if isinstance(callback, type) else callback  # as skorch does
        watched = getattr(made, "monitor", None)
        if watched in ("valid_loss", "valid_loss_best") and not p.early_stopping:
            raise ValueError(
                f"`early_stopping` must be True beside {type(made).__name__}, which monitors "
                f"{watched!r}, got False. There is no validation loss without it; or monitor "
                f"{watched.replace('valid', 'train')!r}."
            )
        if hasattr(made, "scoring") and _compares_numbers(made):
            raise ValueError(
                f"`scoring` of {type(made).__name__} must be a function of net, X and y, got "
                f"{made.scoring!r}. Metrics of scikit-learn compare numbers, and y has event and "
                "time."
            )
        scores_held_out = hasattr(made, "scoring") and not getattr(made, "on_train", True)
        if scores_held_out and not p.early_stopping:
            raise ValueError(
                f"`early_stopping` must be True beside {type(made).__name__} of held-out rows, got "
                "False. No rows are held out without it; or set on_train=True."
            )


def _compares_numbers(callback: Any) -> bool:
    """Whether a callback cannot score event and time."""
    from sksurvtorch.nets.scoring import compares_numbers

    return compares_numbers(callback)


def _check_optimizer(optimizer: Any) -> None:
    """Raise unless this is the name of an optimizer, or the class of one."""
    if isinstance(optimizer, str) and optimizer in OPTIMIZERS:
        return
    if isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer):
        return
    names, got = ", ".join(map(repr, OPTIMIZERS)), repr(optimizer)
    if isinstance(optimizer, torch.optim.Optimizer):
        got = f"an instance of {type(optimizer).__name__}; give options as optimizer__name"
    error = ValueError if isinstance(optimizer, str) else TypeError
    raise error(
        f"`optimizer` must be one of {names} or a class such as torch.optim.AdamW, got {got}."
    )


def _check_momentum(p: SurvivalNetEstimator) -> None:
    """Raise unless the parameters of momentum are valid."""
    validation.check_flag("momentum", p.momentum)
    validation.check_number("momentum_steps", p.momentum_steps, int, 0)
    validation.check_number("momentum_rate", p.momentum_rate, float, 0.0, 1.0)
    validation.check_flag("momentum_warmup", p.momentum_warmup)
    if p.momentum and is_lbfgs(p):
        raise ValueError(
            "`momentum` must be False for L-BFGS, got True. It takes all rows at once and ends at "
            "an optimum: there is nothing to average, and no earlier batch."
        )


def _check_ensemble(p: SurvivalNetEstimator) -> None:
    """Raise unless there can be so many networks."""
    if p.n_estimators in (1, "auto"):
        return
    for name, only, reason in (
        ("momentum", False, "A bank holds the outputs of one network."),
        ("accelerator", None, "The members are trained in one process."),
    ):
        value = getattr(p, name)
        if value is not only:
            raise ValueError(
                f"`{name}` must be {only} for several networks, got {value!r} beside "
                f"n_estimators={p.n_estimators}. {reason}"
            )


def check_resumes(estimator: SurvivalNetEstimator) -> None:
    """Raise if a parameter that made the network has changed since."""
    before, now = estimator._made_with, made_with(estimator)
    for name in [*before, *(now.keys() - before.keys())]:
        old, new = before.get(name), now.get(name)
        if new is not old and new != old:
            raise ValueError(
                f"`{name}` must stay {old!r} where the training of a network goes on, got "
                f"{new!r}. Fit with warm_start=False to make a new network."
            )


def made_with(estimator: SurvivalNetEstimator) -> dict[str, Any]:
    """Return the parameters that make the network and its optimizer."""
    known = estimator.get_params(deep=False)
    parameters = {name: known[name] for name in _MAKERS if name in known}
    for prefix in ("module__", "optimizer__"):
        parameters |= {prefix + k: v for k, v in estimator._prefixed(prefix).items()}
    parameters.pop("optimizer__lr", None)
    parameters["n_estimators"] = n_members(estimator)
    if n_members(estimator) > 1:  # whose weights belong to the penalties
        parameters["alpha"] = penalties(estimator)
    return parameters | {"dtype": str(resolve_dtype(estimator)).removeprefix("torch.")}


def check_output_is_finite(output: torch.Tensor) -> None:
    """Raise if training has ruined the output for training rows."""
    if not output.isfinite().all():
        raise NonFiniteLossError(
            "The trained network gives NaN or infinity for rows of X. Scale the features, "
            "lower `lr`, or raise `alpha`."
        )
