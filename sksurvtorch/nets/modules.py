"""The built-in networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sksurvtorch._validation import check_option
from sksurvtorch.losses import MomentumNetwork

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
NORMS = (None, "batch", "layer")
# Of a scalar, whatever torch's defaults are; whoever trains it moves it.
_MADE: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
# What the linear model may lose, in standard deviations of an input, by skipping the centring.
_ROUNDING = 1e-6
# Rows that the kernels of matrix products take at once, or a multiple of it.
_ROWS_ALIKE = 64
# Rows that are widened at once: they stay in the processor's cache.
_PIECE = 1_024


def input_factor(hidden: nn.Module | None, n_features: int) -> float:
    """Return how often squared weights of inputs count, in a network with these hidden layers."""
    return 1.0 if hidden is None else max(n_features / 10, 1.0)


class MLP(nn.Module):
    """Linear predictor plus multilayer perceptron, on standardised inputs.

    Every input is centred and divided by its standard deviation in the training data, so that its
    unit does not matter; one that was constant there has no effect. The hidden layers add to a
    linear model of the inputs: where the data show nothing more than a linear effect, little has
    to be learned.

    Parameters
    ----------
    n_features, n_outputs : int
        Number of inputs and of outputs.
    hidden_layer_sizes : sequence of int, default=(64, 64)
        Width of each hidden layer; ``()`` leaves the linear model.
    activation : {"relu", "gelu", "selu", "silu", "tanh"}, default="relu"
        Function after each hidden layer.
    dropout : float, default=0.0
        Probability with which a hidden unit is left out of a training step.
    norm : {None, "batch", "layer"}, default=None
        Normalisation before each activation.
    bias : bool, default=True
        Whether the outputs have an intercept. A Cox model has none: it is not identified.
    has_log_shape : bool, default=False
        Whether the second of two outputs, with an intercept, is the log shape, and the first the
        log scale. `SquaredWeights` makes use of it.
    device : torch.device or str, default="cpu"
        Where the weights are made.
    """

    center: Tensor
    spread: Tensor
    has_log_shape = False  # of those that an earlier version has pickled

    def __init__(
        self,
        n_features: int,
        n_outputs: int = 1,
        *,
        hidden_layer_sizes: Sequence[int] = (64, 64),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str | None = None,
        bias: bool = True,
        has_log_shape: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        check_option("activation", activation, tuple(ACTIVATIONS))
        check_option("norm", norm, NORMS)
        if has_log_shape and not (n_outputs == 2 and bias):
            raise ValueError(
                "`has_log_shape` must be False unless there are two outputs with a bias, got "
                f"n_outputs={n_outputs} and bias={bias}."
            )
        made: dict[str, Any] = {"dtype": torch.float32, "device": device}  # not torch's defaults
        self.register_buffer("center", torch.zeros(n_features, **made))
        self.register_buffer("spread", torch.ones(n_features, **made))
        #: Largest distance of an input's mean from 0, in standard deviations, as far as known.
        self._distance = math.inf
        self.register_load_state_dict_post_hook(_after_loading)  # type: ignore[no-untyped-call]
        self.linear = nn.Linear(n_features, n_outputs, bias=bias, **made)
        nn.init.zeros_(self.linear.weight)
        if bias:
            nn.init.zeros_(self.linear.bias)
        self.hidden: nn.Sequential | None = None
        self.has_log_shape = has_log_shape
        if len(hidden_layer_sizes):
            self.hidden = _hidden(n_features, hidden_layer_sizes, activation, dropout, norm, made)
            last = nn.Linear(hidden_layer_sizes[-1], n_outputs, bias=False, **made)
            nn.init.zeros_(last.weight)  # training starts from the linear model
            self.hidden.append(last)

    def standardise(self, mean: Tensor, standard_deviation: Tensor) -> None:
        """Set the mean and standard deviation of the inputs; a constant input is left out."""
        self.center.copy_(mean)
        # Whatever value it takes later on, nothing is known of its effect.
        constant = standard_deviation == 0
        self.spread.copy_(torch.where(constant, torch.inf, standard_deviation))
        self._measure_distance()

    @contextmanager
    def linear_only(self) -> Iterator[None]:
        """Be the linear model alone within this context."""
        hidden, self.hidden = self.hidden, None
        try:
            yield
        finally:
            self.hidden = hidden

    @property
    def input_factor(self) -> float:
        """How often the squares of the weights of the inputs count in `SquaredWeights`."""
        return input_factor(self.hidden, len(self.center))

    @property
    def log_shape(self) -> Tensor | None:
        """Log shape of the mean sample in the linear part, of shape (1, 1), if it is an output."""
        return self.linear.bias[1:, None] if self.has_log_shape else None

    def layer_weights(self) -> list[Tensor]:
        """Return the weights of the linear part, and of each hidden layer up to the output."""
        hidden = () if self.hidden is None else self.hidden
        return [self.linear.weight, *(x.weight for x in hidden if isinstance(x, nn.Linear))]

    def _measure_distance(self) -> None:
        """Look how far the inputs are from 0."""
        self._distance = float((self.center / self.spread).abs().max())

    def forward(self, X: Tensor) -> Tensor:
        """Return the outputs, of shape (n_samples, n_outputs)."""
        dtypes = X.dtype, self.center.dtype
        if self.hidden is None and X.ndim == 2 and dtypes == (torch.float32, torch.float64):
            outputs: Tensor = _WideLinear.apply(X, *self._in_units_of_inputs())  # type: ignore[no-untyped-call]
            return outputs
        if self.hidden is None and self._distance * torch.finfo(X.dtype).eps < _ROUNDING:
            return nn.functional.linear(X, *self._in_units_of_inputs())
        Z = (X - self.center) / self.spread
        out: Tensor = self.linear(Z)
        return out if self.hidden is None else out + self.hidden(Z)

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Return slopes and intercepts of the linear part, in the units of the inputs."""
        with torch.no_grad():
            return self._in_units_of_inputs()

    def _in_units_of_inputs(self) -> tuple[Tensor, Tensor]:
        """Return slopes and intercepts for inputs as they are."""
        slope = self.linear.weight / self.spread
        intercept = -slope @ self.center
        return slope, intercept if self.linear.bias is None else intercept + self.linear.bias


def _after_loading(mlp: nn.Module, incompatible_keys: Any) -> None:
    """Look at the inputs that an `MLP` has been loaded for."""
    assert isinstance(mlp, MLP)
    mlp._measure_distance()


class _WideLinear(torch.autograd.Function):
    """Linear function of float32 inputs in float64, piece by piece."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, slope: Tensor, intercept: Tensor) -> Tensor:
        """Multiply the inputs, a piece of them in float64 at a time."""
        ctx.save_for_backward(X, slope)
        outputs = slope.new_empty(len(X), len(slope))
        for rows, part in zip(_widened(X, slope.dtype), outputs.split(_PIECE), strict=True):
            torch.mm(rows, slope.T, out=part)
        return outputs.add_(intercept)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """Return the gradients, by widening the inputs once more."""
        X, slope = ctx.saved_tensors
        of_slope = torch.zeros_like(slope)
        for part, rows in zip(grad.split(_PIECE), _widened(X, slope.dtype), strict=True):
            of_slope.addmm_(part.T, rows)
        of_X = (grad @ slope).to(X.dtype) if ctx.needs_input_grad[0] else None
        return of_X, of_slope, grad.sum(0)


def _widened(X: Tensor, dtype: torch.dtype) -> Iterator[Tensor]:
    """Iterate over pieces of X in another dtype, which share their memory."""
    buffer = X.new_empty((min(_PIECE, len(X)), X.shape[1]), dtype=dtype)
    for rows in X.split(_PIECE):
        yield buffer[: len(rows)].copy_(rows)


def keeps_input(network: nn.Module) -> bool:
    """Whether a network is known to leave its input as it is."""
    bare = _bare(network)
    return type(bare) is MLP or getattr(bare, "keeps_input", False)


def is_built_in(network: nn.Module) -> bool:
    """Whether a network is an `MLP` or several, whose rows have nothing to do with each other."""
    bare = _bare(network)
    return type(bare) is MLP or getattr(bare, "is_built_in", False)


def _bare(network: nn.Module) -> nn.Module:
    """Return the network itself, without what this package or torch.compile has put around it."""
    network = getattr(network, "_orig_mod", network)  # of torch.compile
    if isinstance(network, MomentumNetwork):
        network = network.online
    return network.module if isinstance(network, SharedShape) else network


def filled(X: Tensor) -> Tensor:
    """Return rows, the last of them repeated, so that matrix products treat all alike."""
    # They round some rows at the end in another way: equal rows would have other outputs there.
    n_missing = -X.shape[-2] % _ROWS_ALIKE
    last = X[..., -1:, :].expand(*X.shape[:-2], n_missing, X.shape[-1])
    return torch.cat([X, last], dim=-2) if n_missing else X


def _hidden(
    n_features: int,
    sizes: Sequence[int],
    activation: str,
    dropout: float,
    norm: str | None,
    made: dict[str, Any],
) -> nn.Sequential:
    """Return the hidden layers."""
    layers: list[nn.Module] = []
    for n_in, n_out in zip([n_features, *sizes], sizes, strict=False):
        layers.append(nn.Linear(n_in, n_out, **made))
        if norm is not None:
            kind = nn.BatchNorm1d if norm == "batch" else nn.LayerNorm
            layers.append(kind(n_out, **made))
        layers.append(ACTIVATIONS[activation]())
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class Inputs:
    """Several inputs, which stand behind each other in the columns of one tensor.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        Shape of a sample of each input, in the order of the columns.
    dtypes : dict of str to torch.dtype
        Dtype of inputs whose dtype is not that of the tensor.
    """

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, torch.dtype] = field(default_factory=dict)

    def split(self, X: Tensor) -> dict[str, Tensor]:
        """Return the inputs by name, as views where their dtype is that of the tensor."""
        widths = [math.prod(shape) for shape in self.shapes.values()]
        if X.ndim != 2 or X.shape[1] != sum(widths):
            raise ValueError(
                f"X must be a mapping of {', '.join(map(repr, self.shapes))}, as in `fit`, got one "
                f"array of shape {tuple(X.shape)}."
            )
        return {
            name: part.reshape(X.shape[0], *shape).to(self.dtypes.get(name, X.dtype))
            for part, (name, shape) in zip(X.split(widths, dim=1), self.shapes.items(), strict=True)
        }


class SeveralInputs(nn.Module):
    """Network of several inputs that takes them in the columns of one tensor.

    Parameters
    ----------
    module : torch.nn.Module
        Network that takes each input by its name.
    inputs : Inputs
        The inputs.
    """

    def __init__(self, module: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.module = module
        self.inputs = inputs

    def forward(self, X: Tensor) -> Any:
        """Return what the network makes of the inputs."""
        return self.module(**self.inputs.split(X))


class SharedShape(nn.Module):
    """Log scale of each sample by a network, and one log shape for all samples.

    Parameters
    ----------
    module : torch.nn.Module
        Network with an output of shape (n_samples, 1).
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.log_shape = nn.Parameter(torch.zeros((), **_MADE))

    def forward(self, X: Tensor) -> Tensor:
        """Return log scale and log shape, of shape (n_samples, 2)."""
        n_samples = X.shape[0]  # an export would take len(X) for a constant
        log_scale = self.module(X).reshape(n_samples, 1)
        return torch.cat([log_scale, self.log_shape.expand(n_samples, 1)], dim=1)

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Return slopes and intercepts of a linear model of the log scale."""
        network: Any = self.module
        coefficients: tuple[Tensor, Tensor] = network.coefficients()
        return coefficients
