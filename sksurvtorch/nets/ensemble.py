"""Several networks as one: the members of an ensemble, which are trained side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sksurvtorch.nets.modules import MLP, SharedShape, input_factor, is_built_in
from sksurvtorch.nets.penalty import SquaredWeights, as_penalised


class Ensemble(nn.Module):
    """Networks of one kind, which predict by their mean.

    Input of shape (n_samples, ...) goes to all members, and the output, of shape
    (n_samples, n_outputs), is the mean of theirs, each less its `offset` and with its `weight`;
    the weights add up to 1, and are equal at first. Input of shape
    (n_members, n_samples, ...) has rows for each member, and the output, of shape
    (n_members, n_samples, n_outputs), is that of each member as it is.

    Parameters
    ----------
    modules : sequence of torch.nn.Module
        The members. Built-in networks are computed side by side, others one after the other.
    sample_ndim : int, default=1
        Number of axes of a sample.
    n_levels : int, default=1
        Number of outputs with an offset of their own; 1 if all have the same.
    """

    #: Members that write to their input have copies.
    keeps_input = True
    #: Whether all are built-in networks.
    is_built_in = False
    offset: Tensor
    weight: Tensor

    def __init__(
        self, modules: Sequence[nn.Module], sample_ndim: int = 1, n_levels: int = 1
    ) -> None:
        super().__init__()
        self.n_members, self.sample_ndim = len(modules), sample_ndim
        can_be_stacked = all(_can_be_stacked(module) for module in modules)
        self.members: Members = SideBySide(modules) if can_be_stacked else OneByOne(modules)
        self.is_built_in = all(map(is_built_in, modules))
        some = next((w for w in modules[0].parameters() if not nn.parameter.is_lazy(w)), None)
        dtype, device = (torch.float32, "cpu") if some is None else (some.dtype, some.device)
        offset = torch.zeros((self.n_members, 1, n_levels), dtype=dtype, device=device)
        self.register_buffer("offset", offset)
        self.register_buffer("weight", torch.full_like(offset[:, :, :1], 1 / self.n_members))

    def forward(self, X: Tensor) -> Tensor:
        """Return the mean output, or the outputs for the rows of each member."""
        if X.ndim > 1 + self.sample_ndim:
            return self.members(X)  # type: ignore[no-any-return]
        outputs: Tensor = self.members(X.expand(self.n_members, *X.shape))
        return ((outputs - self.offset) * self.weight).sum(0)

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Return the mean of slopes and intercepts of linear members, in the units of inputs."""
        slope, intercept = self.members.coefficients()
        return (slope * self.weight).sum(0), (intercept[:, None] * self.weight).sum((0, 1))

    @property
    def log_shape(self) -> Tensor:
        """Mean of the log shapes that the samples share."""
        return self.members.log_shapes() @ self.weight.flatten()


class Members(nn.Module, ABC):
    """The members of an ensemble; input and output have an axis for them in front."""

    @abstractmethod
    def squared_weights(self) -> Tensor:
        """Return what `SquaredWeights` is of each member, of shape (n_members,)."""

    @abstractmethod
    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Return slopes and intercepts of linear members, in the units of the inputs."""

    @abstractmethod
    def log_shapes(self) -> Tensor:
        """Return the log shapes that the samples share, of shape (n_members,)."""


class OneByOne(Members):
    """Networks of any kind, computed one after the other.

    Parameters
    ----------
    modules : sequence of torch.nn.Module
        The networks.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.each: Any = nn.ModuleList(modules)

    def forward(self, X: Tensor) -> Tensor:
        """Return the outputs, of shape (n_members, n_samples, n_outputs)."""
        # A network may write to its input, which may be one for all.
        outputs = [module(own.clone()) for module, own in zip(self.each, X, strict=True)]
        return torch.stack([x.unsqueeze(1) if x.ndim == 1 else x for x in outputs])

    def squared_weights(self) -> Tensor:
        """Return what `SquaredWeights` is of each member, of shape (n_members,)."""
        return torch.stack([SquaredWeights(module)() for module in self.each])

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Return slopes and intercepts of linear members, in the units of the inputs."""
        slopes, intercepts = zip(*(module.coefficients() for module in self.each), strict=True)
        return torch.stack(slopes), torch.stack(intercepts)

    def log_shapes(self) -> Tensor:
        """Return the log shapes that the samples share, of shape (n_members,)."""
        return torch.stack([module.log_shape for module in self.each])


class SideBySide(Members):
    """Built-in networks of one shape, computed at once.

    Parameters
    ----------
    modules : sequence of MLP, or of SharedShape
        The networks, which standardise their inputs alike.
    """

    center: Tensor
    spread: Tensor
    has_log_shape = False  # of those that an earlier version has pickled

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        networks = [_mlp(module) for module in modules]
        first = networks[0]
        self.register_buffer("center", first.center.clone())
        self.register_buffer("spread", first.spread.clone())
        self.linear = Linears([network.linear for network in networks])
        self.has_log_shape = first.has_log_shape
        self.hidden: nn.Sequential | None = None
        if first.hidden is not None:
            layers = zip(*(network.hidden or () for network in networks), strict=True)
            self.hidden = nn.Sequential(*map(_side_by_side, layers))
        self.log_shape: nn.Parameter | None = None
        if isinstance(modules[0], SharedShape):
            shapes = [m.log_shape[None, None] for m in modules if isinstance(m, SharedShape)]
            self.log_shape = _stacked(shapes)

    def forward(self, X: Tensor) -> Tensor:
        """Return the outputs, of shape (n_members, n_samples, n_outputs)."""
        return self.of_standardised((X - self.center) / self.spread)

    def of_standardised(self, Z: Tensor) -> Tensor:
        """Return the outputs for standardised inputs, which may be the same for all members."""
        out: Tensor = self.linear(Z)
        out = out if self.hidden is None else out + self.hidden(Z)
        if self.log_shape is None:
            return out
        return torch.cat([out, self.log_shape.expand(out.shape)], dim=2)

    def squared_weights(self) -> Tensor:
        """Return what `SquaredWeights` is of each member, of shape (n_members,)."""
        layers = [self.linear, *(self.hidden or ())]
        weights: list[Tensor] = [x.weight for x in layers if isinstance(x, Linears)]
        log_shape, axis = self._log_shape_and_axis()
        factor = input_factor(self.hidden, len(self.center))
        weights = as_penalised(weights, factor, log_shape, axis)
        flat = torch.cat([weight.flatten(1) for weight in weights], dim=1)
        return (flat * flat).sum(1)

    def _log_shape_and_axis(self) -> tuple[Tensor | None, int | None]:
        """Return the log shapes, if there are any, and the axis of the outputs if they are one."""
        if not self.has_log_shape:
            return self.log_shape, None
        assert self.linear.bias is not None
        return self.linear.bias[:, :, 1:], 2

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """Return slopes and intercepts of linear members, in the units of the inputs."""
        slope = self.linear.weight.detach().transpose(1, 2) / self.spread
        intercept = -slope @ self.center
        bias = self.linear.bias
        return slope, intercept if bias is None else intercept + bias.detach().squeeze(1)

    def log_shapes(self) -> Tensor:
        """Return the log shapes that the samples share, of shape (n_members,)."""
        assert self.log_shape is not None
        return self.log_shape.detach().flatten()

    @torch.no_grad()
    def copy_linear_parts(self, networks: Sequence[nn.Module], which: Sequence[int]) -> None:
        """Give some of the networks that this is made of the linear parts of today."""
        for k in which:
            network = _mlp(networks[k])
            network.linear.weight.copy_(self.linear.weight[k].T)
            if self.linear.bias is not None:
                network.linear.bias.copy_(self.linear.bias[k, 0])
            whole = networks[k]
            if isinstance(whole, SharedShape) and self.log_shape is not None:
                whole.log_shape.copy_(self.log_shape[k, 0, 0])


class Linears(nn.Module):
    """Linear layers of several networks.

    Parameters
    ----------
    layers : sequence of torch.nn.Linear
        Layers of one shape.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = _stacked([layer.weight.T for layer in layers])
        self.bias: nn.Parameter | None = None
        if layers[0].bias is not None:
            self.bias = _stacked([layer.bias[None] for layer in layers])

    def forward(self, X: Tensor) -> Tensor:
        """Return the outputs, of shape (n_networks, n_samples, n_outputs)."""
        X = X.to(self.weight.dtype)
        if X.ndim == 2:  # the same rows for all: one product, which reads them once
            row_by_row = X @ self.weight.transpose(0, 1).flatten(1)
            out: Tensor = row_by_row.unflatten(1, (len(self.weight), -1)).transpose(0, 1)
            return out if self.bias is None else out + self.bias
        return X @ self.weight if self.bias is None else torch.baddbmm(self.bias, X, self.weight)


class LayerNorms(nn.Module):
    """Layer normalisations of several networks.

    Parameters
    ----------
    layers : sequence of torch.nn.LayerNorm
        Layers of one width.
    """

    def __init__(self, layers: Sequence[nn.LayerNorm]) -> None:
        super().__init__()
        self.weight = _stacked([layer.weight[None] for layer in layers])
        self.bias = _stacked([layer.bias[None] for layer in layers])
        self.eps = layers[0].eps

    def forward(self, X: Tensor) -> Tensor:
        """Return the outputs, of shape (n_networks, n_samples, width)."""
        return functional.layer_norm(X, X.shape[2:], eps=self.eps) * self.weight + self.bias


def _stacked(weights: Sequence[Tensor]) -> nn.Parameter:
    """Return the weights of several networks as one."""
    return nn.Parameter(torch.stack([weight.detach() for weight in weights]).contiguous())


def _side_by_side(layers: Sequence[nn.Module]) -> nn.Module:
    """Return layers of several networks as one; those without weights do for all."""
    if isinstance(layers[0], nn.Linear):
        return Linears(layers)  # type: ignore[arg-type]
    return LayerNorms(layers) if isinstance(layers[0], nn.LayerNorm) else layers[0]  # type: ignore[arg-type]


def _mlp(module: nn.Module) -> MLP:
    """Return the built-in network in a member."""
    network = module.module if isinstance(module, SharedShape) else module
    assert isinstance(network, MLP)
    return network


def _can_be_stacked(module: nn.Module) -> bool:
    """Whether a network is the built-in one, without statistics of the rows of a batch."""
    network = module.module if isinstance(module, SharedShape) else module
    parts = network.modules()
    return type(network) is MLP and not any(isinstance(part, nn.BatchNorm1d) for part in parts)
