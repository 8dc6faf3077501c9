"""Momentum: an averaged copy of the network, and risk sets that span earlier batches.

After K. He et al., "Momentum contrast for unsupervised visual representation learning", CVPR 2020,
doi:10.1109/CVPR42600.2020.00975.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sksurvtorch import _validation as validation
from sksurvtorch.exceptions import NoEventError, SkippedBatchWarning
from sksurvtorch.functional import RiskSets
from sksurvtorch.losses._bank import Columns, MemoryBank
from sksurvtorch.losses.survival import CoxPHLoss, Target

GRADIENTS = ("exact", "balanced")


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
        online = self.online(*inputs, **named_inputs)
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
        return torch.tensor(self.n_averaged)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the number of steps averaged of a `state_dict`."""
        self.n_averaged = int(state)

    def extra_repr(self) -> str:
        """Return the options for ``repr``."""
        return f"rate={self.rate}, warmup={self.warmup}"


class MomentumLoss(nn.Module):
    r"""Loss over a batch together with a memory bank of earlier batches.

    The criterion for the pair of outputs of a `MomentumNetwork`: the loss is taken over the rows of
    the bank and of the batch together, with a gradient through the online output of the batch
    alone; then the target's output of the batch enters the bank. In evaluation mode it is the loss
    of the batch, and the bank stays as it is.

    Parameters
    ----------
    loss : CoxPHLoss, WeibullAFTLoss or callable
        Called with the outputs and the keywords event and time, and entry, stratum and weight where
        given. One that says ``sum_over_samples = True``, as `WeibullAFTLoss`, gets the batch alone:
        of rows without gradient the bank would add a constant.
    bank_size : int
        Largest number of rows of earlier batches in the bank; 0 for the loss of the batch alone.
    gradient : {"exact", "balanced"}, default="exact"
        ``"exact"`` is the derivative of the loss that is returned. ``"balanced"`` is as large as
        that of a batch alone, and less noisy; see the notes. The estimators use it.

    Attributes
    ----------
    bank : torch.nn.Module or None
        The memory bank; its length is the number of rows in it.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong kind or content.

    Notes
    -----
    The mean over bank and batch has a gradient through the rows of the batch only, so it is smaller
    by their share. A learning rate or a penalty that suits a batch alone is then too small or too
    large, and the balanced gradient is divided by this share.

    Summed over all rows of the data the derivatives of a Cox loss by the log hazard ratios are 0: a
    constant added to all of them changes nothing. Within one batch their sum is not 0 but noise,
    and where the rows share a large part of their gradient, as the outputs of a ReLU network do, it
    drowns the rest. With the balanced gradient, weight shares :math:`s_j` and
    :math:`\kappa = 1 - \sum_j s_j^2`, which is 1 - 1 / n_samples of equal weights, the derivative
    :math:`g_j` of a row becomes :math:`g_j - \kappa s_j \sum_i g_i`. A batch of one keeps its own.

    Examples
    --------
    The row of the first batch is still at risk at the event in the second:

    >>> import torch
    >>> from sksurvtorch.losses import CoxPHLoss, MomentumLoss
    >>> momentum_loss = MomentumLoss(CoxPHLoss(), bank_size=10)
    >>> zeros = torch.zeros(1)
    >>> momentum_loss((zeros, zeros), torch.tensor([False]), torch.tensor([2.0]))
    tensor(0.)
    >>> loss = momentum_loss((zeros, zeros), torch.tensor([True]), torch.tensor([1.0]))
    >>> round(loss.exp().item(), 4)
    2.0
    """

    def __init__(
        self, loss: Callable[..., Tensor], *, bank_size: int, gradient: str = "exact"
    ) -> None:
        super().__init__()
        if not callable(loss) or isinstance(loss, type):
            raise TypeError(
                f"`loss` must be a loss such as CoxPHLoss(), got {loss!r}. Make an instance first."
            )
        if getattr(loss, "reduction", "mean") == "none":
            raise ValueError(
                "`loss` must have the reduction 'mean' or 'sum', got 'none': rows of the bank "
                "belong to earlier batches."
            )
        validation.check_number("bank_size", bank_size, int, 0)
        validation.check_option("gradient", gradient, GRADIENTS)
        self.loss = loss
        self.gradient = gradient
        needs_bank = bank_size > 0 and not getattr(loss, "sum_over_samples", False)
        self.bank = MemoryBank(bank_size) if needs_bank else None
        self._has_warned = False

    def forward(
        self,
        output: Tensor | tuple[Tensor, Tensor],
        event: Tensor | Target,
        time: Tensor | None = None,
        *,
        entry: Tensor | None = None,
        stratum: Tensor | None = None,
        weight: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        """Return the loss, and in training mode take the batch into the bank.

        Parameters
        ----------
        output : pair of tensors, or tensor
            Outputs of the online and of the target network in training mode; in evaluation mode,
            and without a bank, the output to judge.
        event : bool tensor of shape (n_samples,), or a whole target
            True for an observed event. In place of all that follows it may be a mapping with the
            keys event and time, and optionally the others: so comes the target of a skorch net.
        time : tensor of shape (n_samples,)
            Time of the event or the censoring.
        entry, stratum, weight : tensors of shape (n_samples,), optional
            Delayed entry, stratum and weight of each row.
        index : int tensor of shape (n_samples,), optional
            Identity of each row, such as its number in the data set. Older copies of a row are then
            taken out of the bank, so that no row is at risk twice.

        Returns
        -------
        tensor of shape ()
            The loss. While neither the bank nor the batch holds an event a Cox loss is 0; a warning
            tells if the bank is full of such rows.
        """
        columns = validation.unpack_target(
            event, time, entry=entry, stratum=stratum, weight=weight, index=index
        )
        columns = {name: column for name, column in columns.items() if column is not None}
        if self.bank is not None and self.training:
            return self._pooled(self.bank, output, columns)
        columns.pop("index", None)
        judged = output[0] if isinstance(output, tuple) else output
        loss: Tensor = self.loss(judged, **columns)
        return loss

    def _pooled(
        self, bank: MemoryBank, output: Tensor | tuple[Tensor, Tensor], columns: Columns
    ) -> Tensor:
        """Return the loss over bank and batch, and take the batch into the bank."""
        if not isinstance(output, tuple):
            raise TypeError(
                "`output` must be the pair of outputs of a MomentumNetwork in training mode, got "
                f"{type(output).__name__}. Wrap the network in a MomentumNetwork."
            )
        online, target = output
        columns = _checked(columns, len(online))
        older, pooled = bank.before(columns)
        if self.gradient == "balanced":
            online = _balanced(online, columns, pooled)
        loss = self._over_pool(bank, _behind(older, online), pooled)
        bank.keep(_behind(older, target), pooled)
        return loss

    def _over_pool(self, bank: MemoryBank, output: Tensor, columns: Columns) -> Tensor:
        """Return the loss over all rows."""
        loss: Tensor
        try:
            if isinstance(self.loss, CoxPHLoss):
                risk_sets = RiskSets.of_checked(columns, self.loss.ties).to(output.device)
                loss = self.loss(output, risk_sets=risk_sets)
            else:
                given = {name: x.to(output.device) for name, x in columns.items()}
                given.pop("index", None)
                loss = self.loss(output, **given)
        except NoEventError:
            self._warn_of_no_event(bank, len(output))
            loss = output.sum() * 0.0  # minus the logarithm of an empty product
        return loss

    def _warn_of_no_event(self, bank: MemoryBank, n_rows: int) -> None:
        """Warn once if a whole bank of rows has no event."""
        if n_rows < bank.size or self._has_warned:
            return
        self._has_warned = True
        warnings.warn(
            f"Bank and batch, {n_rows} rows, have no event: the Cox partial likelihood has nothing "
            "to learn from such a step. Use larger batches or a larger bank.",
            SkippedBatchWarning,
            stacklevel=2,
        )

    def extra_repr(self) -> str:
        """Return the options for ``repr``."""
        loss = "" if isinstance(self.loss, nn.Module) else f"loss={self.loss!r}, "
        return f"{loss}gradient={self.gradient!r}"


class Momentum(nn.Module):
    """Network and loss in one for a plain torch loop: a `MomentumNetwork` with its `MomentumLoss`.

    In training mode a call with inputs and target returns the loss over the batch and the memory
    bank, moves the average by one step, and takes the batch into the bank. In evaluation mode
    nothing changes, and all is computed with the target network.

    Parameters
    ----------
    backbone : torch.nn.Module instance, or class or function that makes one
        The network. An instance becomes the online network as it is.
    loss : CoxPHLoss, WeibullAFTLoss or callable
        As for `MomentumLoss`. A `WeibullAFTLoss` is a sum over samples, for which momentum is the
        average of the network alone.
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
            keys event and time, and optionally the others.
        time : tensor of shape (n_samples,), optional
            Time of the event or the censoring.
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
        if event is None:
            prediction: Tensor = _call(self.online if self.training else self.target, inputs)
            return prediction
        output = _call(self.network, inputs)
        loss: Tensor = self.criterion(
            output, event, time, entry=entry, stratum=stratum, weight=weight, index=index
        )
        return loss


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


def _call(network: nn.Module, inputs: Any) -> Any:
    """Return the output of a network for one input, or for several."""
    if isinstance(inputs, Mapping):
        return network(**inputs)
    return network(*inputs) if isinstance(inputs, tuple | list) else network(inputs)


def _checked(target: Mapping[str, Tensor], n_samples: int) -> Columns:
    """Return the columns of a target with valid values, on the CPU."""
    given = {name: x.cpu() if isinstance(x, Tensor) else x for name, x in target.items()}
    columns = {"event": validation.check_event(given["event"], n_samples)}
    columns["time"] = validation.check_time(given["time"], n_samples)
    if "entry" in given:
        columns["entry"] = validation.check_entry(given["entry"], columns["time"])
    if "weight" in given:
        columns["weight"] = validation.check_weight(given["weight"], n_samples, may_vanish=True)
    for name in given.keys() & {"stratum", "index"}:
        columns[name] = validation.check_codes(name, given[name], n_samples)
    return columns


def _behind(older: Tensor | None, newer: Tensor) -> Tensor:
    """Return the rows of a batch behind those of the bank."""
    return newer if older is None else torch.cat([older.to(newer.device), newer])


def _balanced(output: Tensor, columns: Columns, pooled: Columns) -> Tensor:
    """Return the output of a batch with a gradient that is scaled and centred."""
    n_batch, n_pooled = len(output), len(pooled["event"])
    share = torch.full((n_batch,), 1 / max(n_batch, 1), dtype=torch.float64)
    if "weight" in columns:  # rows of weight 0 count as absent
        n_batch, n_pooled = (int((target["weight"] > 0).sum()) for target in (columns, pooled))
        share = columns["weight"].double() / columns["weight"].double().sum()
    if not (output.requires_grad and n_batch):
        return output
    scale = n_pooled / n_batch
    pull = ((1 - float(share @ share)) * share).to(output)
    pull = pull.reshape(-1, *[1] * (output.ndim - 1))
    balanced = output.view_as(output)
    balanced.register_hook(lambda gradient: scale * (gradient - pull * gradient.sum(0)))
    return balanced
