"""What a penalty of strength `alpha` counts: the squared weights of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sksurvtorch.nets.modules import MLP, SharedShape


class SquaredWeights:
    """Sum of the squared weights of a network, without its biases.

    In an `MLP` with hidden layers and more than 10 inputs the squares of the weights of the inputs
    count n_features / 10 times. As a prior it says that the inputs share what 10 would have: with
    the same penalty for each, many weak inputs together let the network fit noise.

    Of an `MLP` whose output is a log scale, the weights of the linear part and of the last layer
    are multiplied by the shape: what is penalised is shape times log scale, which for a Weibull
    model is minus the log hazard ratio, as in a Cox model. With a penalty of the log scale alone
    the shape would grow nearly without end where samples are few and can be fitted perfectly.
    Without late entry it leaves the linear model a single maximum, since the log likelihood is
    concave in the shape and in shape times log scale, and so is the penalty; as a prior it is that
    of Park and Casella 2008 (doi:10.1198/016214508000000337). With a shape for each sample, the
    shape that counts is that of the linear part for a sample with mean inputs.

    Parameters
    ----------
    module : torch.nn.Module
        Any network.
    """

    def __init__(self, module: nn.Module) -> None:
        parts = list(module.modules())
        shared = {id(_inner(part)): part for part in parts if isinstance(part, SharedShape)}
        self._built_in = [
            (part, part.layer_weights(), shared.get(id(part)))
            for part in parts
            if isinstance(part, MLP)
        ]
        known = {id(weight) for _, weights, _ in self._built_in for weight in weights}
        matrices = [weight for weight in module.parameters() if weight.ndim > 1]
        self._others = [weight for weight in matrices if id(weight) not in known]

    def __call__(self) -> Tensor:
        """Return the sum, of shape (), with its gradient."""
        weights: list[Tensor] = list(self._others)
        for mlp, layers, shared in self._built_in:
            log_shape = mlp.log_shape if shared is None else shared.log_shape
            axis = 0 if mlp.has_log_shape else None
            weights += as_penalised(layers, mlp.input_factor, log_shape, axis)
        if not weights:
            return torch.zeros((), dtype=torch.float32, device="cpu")
        flat = torch.cat([weight.reshape(-1) for weight in weights])
        return flat @ flat


def _inner(shared: SharedShape) -> nn.Module:
    """Return the network that gives the log scale, as it was before it was compiled."""
    inner: nn.Module = getattr(shared.module, "_orig_mod", shared.module)
    return inner


def as_penalised(
    layers: list[Tensor], input_factor: float, log_shape: Tensor | None, axis: int | None
) -> list[Tensor]:
    """Return the weights of built-in networks times what they count in `SquaredWeights`.

    Parameters
    ----------
    layers : list of tensors
        Weights of the linear part, and of each hidden layer up to the output, if there are any.
    input_factor : float
        How often the squares of those of the inputs count.
    log_shape : tensor or None
        Log shape, if the first output is a log scale.
    axis : int or None
        Axis of the outputs in the weights, if the log shape is the second one.

    Returns
    -------
    list of tensors
        As many weights, whose squares are added up.
    """
    layers = list(layers)
    if input_factor != 1:
        layers[:2] = [weight * input_factor**0.5 for weight in layers[:2]]
    if log_shape is None:
        return layers
    shape = log_shape.exp()
    scale = shape if axis is None else torch.cat([shape, torch.ones_like(shape)], axis)
    for k in {0, len(layers) - 1}:
        layers[k] = layers[k] * scale
    return layers
