"""A network and its running average.

After K. He et al., "Momentum contrast for unsupervised visual representation learning", CVPR 2020,
doi:10.1109/CVPR42600.2020.00975.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sksurvtorch import _validation as validation


class MomentumNetwork(nn.Module):
    r"""Two copies of a network: the online one is trained, the target one is its running average.

    With :math:`m` the rate, each forward pass in training mode sets the target's weights to
    :math:`m` times themselves plus :math:`1 - m` times the online weights; buffers, such as those
    of batch normalisation, are copied. In training mode the output is that of the online network,
    in evaluation mode that of the target. The target is always in evaluation mode, and has no
    gradient.

    Parameters
    ----------
    backbone : torch.nn.Module instance, or class or function that makes one
        The network. An instance becomes the online network as it is.
    rate : float, default=0.999
        Share of the average that a step keeps, at least 0 and less than 1. It covers about
        ``1 / (1 - rate)`` steps.
    warmup : bool, default=True
        Let step t = 0, 1, ... keep no more than ``(1 + t) / (10 + t)``, so that the average covers
        the last tenth of a training that is shorter than that.
    paired : bool, default=True
        Return the pair of both networks' outputs in training mode, as `MomentumLoss` takes it.

    Attributes
    ----------
    online : torch.nn.Module
        The network that is trained.
    target : torch.nn.Module
        Its average.
    n_averaged : int
        Number of steps averaged so far.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong kind, or `backbone` has weights that are not initialised yet.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.losses import MomentumNetwork
    >>> network = MomentumNetwork(torch.nn.Linear(1, 1, bias=False), rate=0.5, warmup=False)
    >>> _ = network.target.weight.fill_(1.0), torch.nn.init.constant_(network.online.weight, 3.0)
    >>> online, target = network(torch.ones(1, 1))
    >>> online.item(), target.item()  # 0.5 * 1 + 0.5 * 3
    (3.0, 2.0)
    """

    def __init__(
        self,
        backbone: nn.Module | Callable[[], nn.Module],
        *,
        rate: float = 0.999,
        warmup: bool = True,
        paired: bool = True,
    ) -> None:
        super().__init__()
        validation.check_number("rate", rate, float, 0.0, 1.0)
        validation.check_flag("warmup", warmup)
        validation.check_flag("paired", paired)
        self.rate = rate
        self.warmup = warmup
        self.paired = paired
        self.online = _made(backbone)
        self.target = copy.deepcopy(self.online).requires_grad_(False).eval()
        self.n_averaged = 0

    def forward(self, *inputs: Any, **named_inputs: Any) -> Any:
        """Return the output of the network in use; in training mode move the average, too.

        Parameters
        ----------
        *inputs, **named_inputs
            Inputs of the backbone.

        Returns
        -------
        tensor, or pair of tensors
            What the target makes of the inputs in evaluation mode, and the online network in
            training mode; with `paired`, in training mode, both, the online output first.
        """
        if not self.training:
            return self.target(*inputs, **named_inputs)
        # The target takes the inputs after it, and a network may write to them.
        copies = {name: _copy(x) for name, x in named_inputs.items()}
        online = self.online(*map(_copy, inputs), **copies)
        self.average()
        if not self.paired:
            return online
        with torch.no_grad():
            return online, self.target(*inputs, **named_inputs)

    @torch.no_grad()
    def average(self) -> None:
        """Move the target towards the online network by one step."""
        step = self.n_averaged
        rate = min(self.rate, (1 + step) / (10 + step)) if self.warmup else self.rate
        averages, weights = list(self.target.parameters()), list(self.online.parameters())
        if averages:
            get_ema_multi_avg_fn(rate)(averages, weights, step)
        for ours, theirs in zip(self.target.buffers(), self.online.buffers(), strict=True):
            ours.copy_(theirs)
        self.n_averaged = step + 1

    def train(self, mode: bool = True) -> MomentumNetwork:
        """Set the mode of the online network; the target stays in evaluation mode.

        Parameters
        ----------
        mode : bool, default=True
            Training mode, or else evaluation mode.

        Returns
        -------
        self
            This module.
        """
        super().train(mode)
        self.target.eval()
        return self

    def get_extra_state(self) -> Tensor:
        """Return the number of steps averaged, for `state_dict`."""
        return torch.tensor(self.n_averaged, dtype=torch.int64, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Take the number of steps averaged of a `state_dict`."""
        self.n_averaged = int(state)

    def extra_repr(self) -> str:
        """Return the options for ``repr``."""
        return f"rate={self.rate}, warmup={self.warmup}"


def _copy(x: Any) -> Any:
    """Return a copy of a tensor, and anything else as it is."""
    return x.clone() if isinstance(x, Tensor) else x


def _made(backbone: Any) -> nn.Module:
    """Return a network given as it is or by what makes it."""
    made = backbone() if callable(backbone) and not isinstance(backbone, nn.Module) else backbone
    if not isinstance(made, nn.Module):
        raise TypeError(
            "`backbone` must be a torch.nn.Module, or a class or function that makes one, got "
            f"{backbone!r}."
        )
    if any(map(is_lazy, (*made.parameters(), *made.buffers()))):
        raise ValueError(
            "`backbone` must have all its weights, got a lazy module. Call it once on a batch "
            "before."
        )
    return made
