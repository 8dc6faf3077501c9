"""Momentum for a plain torch loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from sksurvtorch.losses.momentum_loss import MomentumLoss
from sksurvtorch.losses.momentum_network import MomentumNetwork
from sksurvtorch.losses.survival import Target


class Momentum(nn.Module):
    """Network and loss in one for a plain torch loop: a `MomentumNetwork` with its `MomentumLoss`.

    In training mode a call with inputs and target returns the loss over the batch and the memory
    bank, moves the average by one step, and takes the batch into the bank. In evaluation mode
    nothing changes, and all is computed with the target network.

    Parameters
    ----------
    backbone : torch.nn.Module instance, or class or function that makes one
        The network. An instance becomes the online network as it is.
    loss : CoxPHLoss, WeibullAFTLoss, AFTLoss or callable
        As for `MomentumLoss`. A `WeibullAFTLoss` or `AFTLoss` is a sum over samples, for which
        momentum is the average of the network alone.
    bank_size : int
        Largest number of rows of earlier batches in the bank.
    rate : float, default=0.999
        Share of the average that a step keeps, at least 0 and less than 1.
    warmup : bool, default=True
        Let step t = 0, 1, ... keep no more than ``(1 + t) / (10 + t)``.
    gradient : {"exact", "balanced"}, default="exact"
        As for `MomentumLoss`: ``"balanced"`` is as large as that of a batch alone, and less noisy.

    Attributes
    ----------
    network : MomentumNetwork
        The two networks.
    criterion : MomentumLoss
        The loss and the bank.

    See Also
    --------
    sksurvtorch.CoxNNRegressor : Does all this with ``momentum=True``.

    Notes
    -----
    Targets may be on any device, but are kept on the CPU: from there they come without a wait.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.losses import CoxPHLoss, Momentum
    >>> momentum = Momentum(torch.nn.Linear(3, 1, bias=False), CoxPHLoss(), bank_size=100)
    >>> optimizer = torch.optim.Adam(momentum.online.parameters())
    >>> inputs, time = torch.zeros(4, 3), torch.arange(4)
    >>> loss = momentum(inputs, torch.tensor([True, False, True, False]), time)
    >>> loss.backward()
    >>> optimizer.step()
    >>> momentum.eval()(inputs).shape
    torch.Size([4, 1])
    """

    def __init__(
        self,
        backbone: nn.Module | Callable[[], nn.Module],
        loss: Callable[..., Tensor],
        *,
        bank_size: int,
        rate: float = 0.999,
        warmup: bool = True,
        gradient: str = "exact",
    ) -> None:
        super().__init__()
        self.criterion = MomentumLoss(loss, bank_size=bank_size, gradient=gradient)
        paired = self.criterion.bank is not None
        self.network = MomentumNetwork(backbone, rate=rate, warmup=warmup, paired=paired)

    @property
    def online(self) -> nn.Module:
        """The network that is trained."""
        return self.network.online

    @property
    def target(self) -> nn.Module:
        """Its average, which predicts."""
        return self.network.target

    def forward(
        self,
        inputs: Any,
        event: Tensor | Target | None = None,
        time: Tensor | None = None,
        *,
        lower: Tensor | None = None,
        upper: Tensor | None = None,
        entry: Tensor | None = None,
        stratum: Tensor | None = None,
        weight: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        """Return the loss, or the output of the network if there is no target.

        Parameters
        ----------
        inputs : tensor, or tuple or mapping of them
            Input of the network; a tuple or a mapping holds its arguments.
        event : bool tensor of shape (n_samples,), or a whole target, optional
            True for an observed event. In place of all that follows it may be a mapping with the
            keys event and time, or lower and upper, and optionally the others.
        time : tensor of shape (n_samples,), optional
            Time of the event or the censoring.
        lower, upper : tensors of shape (n_samples,), optional
            In place of event and time, for an `AFTLoss`: the event lies in (lower, upper].
        entry, stratum, weight : tensors of shape (n_samples,), optional
            Delayed entry, stratum and weight of each row.
        index : int tensor of shape (n_samples,), optional
            Identity of each row, such as its number in the data set. Older copies of a row are then
            taken out of the bank, so that no row is at risk twice.

        Returns
        -------
        tensor
            With a target, the loss, of shape (). Without one, the output of the online network in
            training mode, and of the target network in evaluation mode.
        """
        others = {"time": time, "entry": entry, "stratum": stratum, "weight": weight}
        others["index"] = index
        if event is None and lower is None and upper is None:
            given = [name for name, column in others.items() if column is not None]
            if given:
                raise TypeError(
                    f"`event` must come with the rest of a target, got None beside `{given[0]}`."
                )
            prediction: Tensor = _call(self.online if self.training else self.target, inputs)
            return prediction
        output = _call(self.network, inputs)
        loss: Tensor = self.criterion(output, event, **others, lower=lower, upper=upper)
        return loss


def _call(network: nn.Module, inputs: Any) -> Any:
    """Return the output of a network for one input, or for several."""
    if isinstance(inputs, Mapping):
        return network(**inputs)
    return network(*inputs) if isinstance(inputs, tuple | list) else network(inputs)
