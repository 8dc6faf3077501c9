"""From the parameters of an estimator to a net that is ready to train."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

from sksurvtorch import _validation as validation
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.modules import ACTIVATIONS, MLP, NORMS
from sksurvtorch.nets.random import RandomStream

if TYPE_CHECKING:
    from sksurvtorch.nets import SurvivalNet

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "lbfgs": torch.optim.LBFGS,
}
DTYPES = {"float32": torch.float32, "float64": torch.float64}
SCHEDULES = ("cosine", "constant")
LBFGS_OPTIONS: dict[str, Any] = {
    "lr": 1.0,
    "max_iter": 20,  # counts as an epoch
    "history_size": 20,
    "line_search_fn": "strong_wolfe",
    "tolerance_grad": 1e-10,
    "tolerance_change": 1e-14,
}
# Rows that the built-in network takes at once where nothing is trained: few enough for the
# processor's cache, and enough for a GPU.
_CHUNK = 8_192


def check_parameters(estimator: Any) -> None:
    """Raise unless all parameters are valid, whatever the data."""
    p = estimator
    p._check_names()
    validation.check_sizes("hidden_layer_sizes", p.hidden_layer_sizes)
    validation.check_option("activation", p.activation, tuple(ACTIVATIONS))
    validation.check_option("norm", p.norm, NORMS)
    validation.check_number("dropout", p.dropout, float, 0.0, 1.0)
    validation.check_number("lr", p.lr, float, 0.0, closed=False)
    validation.check_option("lr_schedule", p.lr_schedule, SCHEDULES)
    if p.alpha != "auto":
        validation.check_number("alpha", p.alpha, float, 0.0)
    if p.max_epochs != "auto":
        validation.check_number("max_epochs", p.max_epochs, int, 1)
    asked_batch_size(p)
    for flag in ("early_stopping", "compile", "warm_start"):
        validation.check_flag(flag, getattr(p, flag))
    validation.check_number("n_iter_no_change", p.n_iter_no_change, int, 1)
    validation.check_number("tol", p.tol, float, 0.0)
    validation.check_number(
        "validation_fraction", p.validation_fraction, float, 0.0, 1.0, closed=False
    )
    validation.check_option("dtype", p.dtype, ("auto", *DTYPES))
    if isinstance(p.optimizer, str):
        validation.check_option("optimizer", p.optimizer, tuple(OPTIMIZERS))
    elif not (isinstance(p.optimizer, type) and issubclass(p.optimizer, torch.optim.Optimizer)):
        names = ", ".join(map(repr, OPTIMIZERS))
        got = repr(p.optimizer)
        if isinstance(p.optimizer, torch.optim.Optimizer):
            got = f"an instance of {type(p.optimizer).__name__}; give options as optimizer__name"
        raise TypeError(f"`optimizer` must be one of {names} or a torch.optim class, got {got}.")
    if not isinstance(p.verbose, bool):
        validation.check_number("verbose", p.verbose, int, 0)
    check_callbacks(p.callbacks)


def check_callbacks(callbacks: Any) -> None:
    """Raise unless these are callbacks, or pairs of a name and one."""
    for item in callbacks.items() if isinstance(callbacks, dict) else callbacks or []:
        callback = item[1] if isinstance(item, tuple) and len(item) == 2 else item
        if not hasattr(callback, "on_train_begin"):
            raise TypeError(
                "`callbacks` must be skorch callbacks, or pairs of a name and a callback, got "
                f"{item!r:.80}."
            )


def resolve_dtype(estimator: Any) -> torch.dtype:
    """Return the dtype of the network: a line search needs float64."""
    if estimator.dtype == "auto":
        return torch.float64 if is_lbfgs(estimator) else torch.float32
    return DTYPES[estimator.dtype]


def is_lbfgs(estimator: Any) -> bool:
    """Whether the optimizer takes whole-data steps with a closure."""
    return estimator.optimizer in ("lbfgs", torch.optim.LBFGS)


def layer_sizes(estimator: Any) -> tuple[int, ...]:
    """Return the widths of the hidden layers."""
    return validation.check_sizes("hidden_layer_sizes", estimator.hidden_layer_sizes)


def draw_seed(random_state: Any) -> int:
    """Return a seed; without a random state it comes from the system, not from numpy's global."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0] >> 1)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def make_module(estimator: Any, sample_shape: tuple[int, ...]) -> nn.Module:
    """Return the network of an estimator: the built-in one, or a new one of the user's."""
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
            estimator._n_outputs(),
            hidden_layer_sizes=layer_sizes(estimator),
            activation=estimator.activation,
            dropout=estimator.dropout,
            norm=estimator.norm,
            bias=estimator._bias,
        )
    if isinstance(module, nn.Module):
        return type(module)(**options) if options else copy.deepcopy(module)
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
    return made


def check_output(module: nn.Module, X: Tensor, width: int) -> None:
    """Raise unless a network of the user returns what the model needs."""
    module.eval()
    with torch.no_grad():
        try:
            output = module(X.clone())  # it may write to its input
        except Exception as error:
            error.add_note(f"`module` was called with X of shape {tuple(X.shape)} and {X.dtype}.")
            raise
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if shape != (len(X), width) and not (width == 1 and shape == (len(X),)):
        raise ValueError(
            f"`module` must return a tensor of shape (n_samples, {width}), got {shape} for an "
            f"input of shape {tuple(X.shape)}."
        )


def resolve_alpha(estimator: Any) -> float:
    """Return the strength of the penalty: none where the usual linear model is wanted."""
    if estimator.alpha != "auto":
        return float(estimator.alpha)
    return 10.0 if estimator.module is None and layer_sizes(estimator) else 0.0


def is_linear(estimator: Any) -> bool:
    """Whether the built-in network is the linear model."""
    return estimator.module is None and not layer_sizes(estimator)


def resolve_batch_size(estimator: Any, n_rows: int, accelerator: Any) -> int:
    """Return the number of rows in a batch of all processes: all for a whole-data optimizer."""
    asked = asked_batch_size(estimator)
    if asked is None or is_lbfgs(estimator):
        return n_rows
    return asked if accelerator is None else asked * int(accelerator.num_processes)


def trainer(net: SurvivalNet, accelerator: Any) -> SurvivalNet:
    """Return the net itself, or one that trains its network by accelerate."""
    if accelerator is None:
        return net
    from sksurvtorch.nets import AcceleratedSurvivalNet

    return AcceleratedSurvivalNet.around(net, accelerator)


def asked_batch_size(estimator: Any) -> int | None:
    """Return the batch size that was asked for, in either spelling; skorch's -1 means all rows."""
    asked = estimator._prefixed("iterator_train__").get("batch_size", estimator.batch_size)
    if asked is None or asked == -1:
        return None
    validation.check_number("batch_size", asked, int, 1)
    return int(asked)


def resolve_lr(estimator: Any) -> float:
    """Return the learning rate at the start of a training."""
    own = 1.0 if is_lbfgs(estimator) else estimator.lr
    return float(estimator._prefixed("optimizer__").get("lr", own))


def check_goes_on(estimator: Any) -> None:
    """Raise if a parameter that made the network has changed since."""
    before, now = estimator._made_with, made_with(estimator)
    for name in [*before, *(now.keys() - before.keys())]:
        old, new = before.get(name), now.get(name)
        if new is not old and new != old:
            raise ValueError(
                f"`{name}` must stay {old!r} where the training of a network goes on, got "
                f"{new!r}. Fit with warm_start=False to make a new network."
            )


def made_with(estimator: Any) -> dict[str, Any]:
    """Return the parameters that make the network and its optimizer."""
    names = """hidden_layer_sizes activation dropout norm module ties shape optimizer device compile
        momentum momentum_steps momentum_rate momentum_warmup"""
    known = estimator.get_params(deep=False)
    parameters = {name: known[name] for name in names.split() if name in known}
    for prefix in ("module__", "optimizer__"):
        parameters |= {prefix + k: v for k, v in estimator._prefixed(prefix).items()}
    parameters.pop("optimizer__lr", None)
    return parameters | {"dtype": str(resolve_dtype(estimator)).removeprefix("torch.")}


def make_net(
    estimator: Any,
    module: nn.Module,
    criterion: dict[str, Any],
    *,
    batch_size: int,
    stream: RandomStream | None,
) -> SurvivalNet:
    """Return an initialised net around a network."""
    from sksurvtorch.nets import SurvivalNet

    optimizer = estimator.optimizer
    further = estimator._prefixed("optimizer__")
    options = dict(LBFGS_OPTIONS) if is_lbfgs(estimator) else {"lr": estimator.lr}
    if optimizer == "adam" and not further.keys() & {"foreach", "capturable"}:
        options["fused"] = estimator.device_.type in ("cpu", "cuda")
    options |= further
    iterator = {"shuffle": True, "generator": np.random.default_rng(estimator._seed)}
    iterator |= estimator._prefixed("iterator_train__")
    iterator.pop("batch_size", None)
    prefixed = {
        **{f"optimizer__{name}": value for name, value in options.items()},
        **{f"iterator_train__{name}": value for name, value in iterator.items()},
        **{f"callbacks__{k}": v for k, v in estimator._prefixed("callbacks__").items()},
    }
    net: SurvivalNet = SurvivalNet(
        module,
        **criterion,
        optimizer=OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer,
        batch_size=batch_size,
        random_stream=stream,
        iterator_valid__batch_size=_CHUNK if estimator.module is None else max(batch_size, 256),
        iterator_valid__num_workers=iterator.get("num_workers", 0),
        verbose=max(0, int(estimator.verbose) - 1),
        device=estimator.device_,
        compile=estimator.compile,
        **prefixed,
    ).initialize()
    # What is trained is `module_`; a pickle would hold the same weights a second time.
    net.module = type(module)
    return net


def start_from_linear(
    estimator: Any, module: nn.Module, train: SurvivalDataset, l2: float, accelerator: Any
) -> None:
    """Set the linear part of the built-in network to the optimum of the linear model.

    The small steps of a short training could not bring it there, and the hidden layers would learn
    what a linear model knows.
    """
    from sksurvtorch.nets import SurvivalNet, callbacks

    mlp = next(part for part in module.modules() if isinstance(part, MLP))
    hidden, mlp.hidden = mlp.hidden, None
    linear = SurvivalNet(
        module,
        **estimator._criterion(),
        optimizer=torch.optim.LBFGS,
        l2=l2,
        batch_size=len(train),
        verbose=0,
        device=estimator.device_,
        callbacks__finite_loss=None,
        **{f"optimizer__{name}": value for name, value in LBFGS_OPTIONS.items()},
    )
    net = trainer(linear.initialize(), accelerator)
    start = copy.deepcopy(module.state_dict())
    converged = callbacks.Converged(1e-6)
    n_epochs = 5
    net.train(train, None, n_epochs, [("converged", converged)])
    if len(net.history) < n_epochs and not converged.ended_:
        raise KeyboardInterrupt  # that of the user, which skorch takes for the end of this training
    if not all(weight.isfinite().all() for weight in module.parameters()):
        # No optimum, as when all times are equal: train from where training always starts.
        module.load_state_dict(start)
    mlp.hidden = hidden


def n_epochs(estimator: Any) -> int:
    """Return the number of epochs to train."""
    if estimator.max_epochs != "auto":
        return int(estimator.max_epochs)
    return 200 if is_lbfgs(estimator) else 100


def make_callbacks(estimator: Any, n_steps: int | None, accelerator: Any) -> list[Any]:
    """Return the callbacks of a training of so many steps, or of one that may go on (None)."""
    from sksurvtorch.nets import callbacks

    made: list[Any] = []
    is_first = accelerator is None or accelerator.is_main_process
    if is_lbfgs(estimator):
        made.append(("converged", callbacks.Converged()))
    elif estimator.lr_schedule == "cosine" and n_steps is not None:
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
    names = [item[0] if isinstance(item, tuple) else type(item).__name__ for item in made]
    names += ["epoch_timer", "train_loss", "valid_loss", "finite_loss", "print_log"]
    for option in estimator._prefixed("callbacks__"):
        if option.partition("__")[0] not in names:
            raise ValueError(
                f"`callbacks__{option}` must name a callback of this fit, one of "
                f"{', '.join(sorted(names))}."
            )
    return made
