"""Loss over a batch and a bank of earlier batches.

After K. He et al., "Momentum contrast for unsupervised visual representation learning", CVPR 2020,
doi:10.1109/CVPR42600.2020.00975.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from sksurvtorch import _validation as validation
from sksurvtorch._warnings import warn
from sksurvtorch.exceptions import NoEventError, SkippedBatchWarning
from sksurvtorch.functional import CompetingRiskSets, RiskSets
from sksurvtorch.functional._arithmetic import returned_in
from sksurvtorch.functional._autograd import refuse_transforms
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.functional.competing_risks import check_largest_status, check_outputs
from sksurvtorch.losses._bank import Columns, MemoryBank
from sksurvtorch.losses.competing_risks import CompetingRisksLoss
from sksurvtorch.losses.survival import CoxPHLoss, Target

GRADIENTS = ("exact", "balanced")


class MomentumLoss(nn.Module):
    r"""Loss over a batch together with a memory bank of earlier batches.

    The criterion for the pair of outputs of a `MomentumNetwork`: the loss is taken over the rows of
    the bank and of the batch together, with a gradient through the online output of the batch
    alone; then the target's output of the batch enters the bank. In evaluation mode it is the loss
    of the batch, and the bank stays as it is.

    Parameters
    ----------
    loss : CoxPHLoss, CompetingRisksLoss, WeibullAFTLoss, AFTLoss or callable
        Called with the outputs and the keywords event (of competing risks, status) and time, or
        lower and upper, and entry, stratum and weight where given. One that says
        ``sum_over_samples = True``, as `WeibullAFTLoss` and `AFTLoss`, gets the batch alone: of
        rows without gradient the bank would add a constant.
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
    large, and the balanced gradient is divided by this share. That of a sum is not, and a callable
    that has no `reduction` is taken for a mean.

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
        self._outcome = "status" if isinstance(loss, CompetingRisksLoss) else "event"
        self.gradient = gradient
        needs_bank = bank_size > 0 and not getattr(loss, "sum_over_samples", False)
        self.bank = MemoryBank(bank_size) if needs_bank else None
        self._has_warned = False

    @left_out_of_graphs
    def forward(
        self,
        output: Tensor | tuple[Tensor, Tensor],
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
        """Return the loss, and in training mode take the batch into the bank.

        Parameters
        ----------
        output : pair of tensors, or tensor
            Outputs of the online and of the target network in training mode; in evaluation mode,
            and without a bank, the output to judge.
        event : bool tensor of shape (n_samples,), or a whole target, optional
            True for an observed event; with a `CompetingRisksLoss` the status, an integer. In place
            of all that follows it may be a mapping with the keys event, or status, and time, or
            lower and upper, and optionally the others: so comes the target of a skorch net.
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
        tensor of shape ()
            The loss. While neither the bank nor the batch holds an event a Cox loss is 0; a warning
            tells if the bank is full of such rows.
        """
        options = {"entry": entry, "stratum": stratum, "weight": weight, "index": index}
        if self._outcome == "status":  # a target may know the censoring of more rows
            options["log_censoring"] = None
            columns = validation.unpack_target(event, time, self._outcome, **options)
        else:
            options |= {"lower": lower, "upper": upper}
            columns = validation.unpack_aft_target(event, time, **options)
        columns = {name: column for name, column in columns.items() if column is not None}
        if self.bank is not None and self.training:
            return self._pooled(self.bank, output, columns)
        for name in ("index", "log_censoring"):
            columns.pop(name, None)
        judged = output[0] if isinstance(output, tuple) else output
        loss: Tensor = self.loss(judged, **_moved(columns, judged.device))
        return loss

    def _pooled(
        self, bank: MemoryBank, output: Tensor | tuple[Tensor, Tensor], columns: Columns
    ) -> Tensor:
        """Return the loss over bank and batch, and take the batch into the bank."""
        refuse_transforms("MomentumLoss", "Take the gradient by backward: its bank keeps tensors.")
        online, target = _pair(output)
        columns = _checked(columns, len(online), self._outcome)
        older, pooled = bank.before(columns)
        if self.gradient == "balanced":
            summed = getattr(self.loss, "reduction", "mean") == "sum"
            online = _balanced(online, columns, pooled, summed=summed)
        loss = self._over_pool(bank, _behind(older, online), pooled)
        bank.keep(_behind(older, target), pooled)
        return loss

    def _over_pool(self, bank: MemoryBank, output: Tensor, columns: Columns) -> Tensor:
        """Return the loss over all rows."""
        loss: Tensor
        try:
            given = {name: x for name, x in columns.items() if name != "index"}
            risk_sets = _risk_sets(self.loss, given, output)
            if risk_sets is not None:
                loss = self.loss(output, risk_sets=risk_sets.to(output.device))
            else:
                loss = self.loss(output, **_moved(given, output.device))
                if loss.ndim:
                    raise ValueError(f"`loss` must return one number, got {tuple(loss.shape)}.")
        except NoEventError:
            self._warn_of_no_event(bank, len(output))
            loss = (
                output.sum(dtype=returned_in(output)) * 0.0
            )  # minus the logarithm of an empty product
        return loss

    def _warn_of_no_event(self, bank: MemoryBank, n_rows: int) -> None:
        """Warn once if a whole bank of rows has no event."""
        if n_rows < bank.size or self._has_warned:
            return
        self._has_warned = True
        warn(
            f"Bank and batch, {n_rows} rows, have no event: the Cox partial likelihood has nothing "
            "to learn from such a step. Use larger batches or a larger bank.",
            SkippedBatchWarning,
        )

    def extra_repr(self) -> str:
        """Return the options for ``repr``."""
        loss = "" if isinstance(self.loss, nn.Module) else f"loss={self.loss!r}, "
        return f"{loss}gradient={self.gradient!r}"


def _risk_sets(
    loss: Callable[..., Tensor], columns: Columns, output: Tensor
) -> RiskSets | CompetingRiskSets | None:
    """Return the risk sets of columns that were checked, if the loss has any."""
    if isinstance(loss, CoxPHLoss):
        return RiskSets.of_columns(columns, loss.ties)
    if isinstance(loss, CompetingRisksLoss):
        n_causes = check_outputs(output)
        check_largest_status(columns["status"], n_causes)
        return CompetingRiskSets.of_columns(columns, n_causes, loss.ties, loss.hazard)
    return None


def _pair(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Return the outputs of the two networks, that of the target without a gradient."""
    if not isinstance(output, tuple) or len(output) != 2:
        raise TypeError(
            "`output` must be the pair of outputs of a MomentumNetwork in training mode, got "
            f"{validation.describe(output)}. Wrap the network in a MomentumNetwork."
        )
    online, target = output
    for part in output:
        validation.check_floating("output", part)
    if online.shape != target.shape:
        raise ValueError(
            "`output` must be a pair of one shape, got "
            f"{tuple(online.shape)} and {tuple(target.shape)}."
        )
    return online, target.detach()


def _checked(target: Mapping[str, Tensor], n_samples: int, outcome: str) -> Columns:
    """Return the columns of a target with valid values, on the CPU."""
    for name, x in target.items():
        validation.check_has_numbers(name, x)
    given = {name: x.cpu() if isinstance(x, Tensor) else x for name, x in target.items()}
    check = validation.check_event if outcome == "event" else validation.check_status
    columns = {outcome: check(given.get(outcome), n_samples)}
    columns["time"] = validation.check_time(given.get("time"), n_samples)
    if "entry" in given:
        columns["entry"] = validation.check_entry(given["entry"], columns["time"])
    if "weight" in given:
        columns["weight"] = validation.check_weight(given["weight"], n_samples, may_vanish=True)
        if outcome == "status":
            columns["status"] = columns["status"].masked_fill(columns["weight"] == 0, 0)
    if "log_censoring" in given:
        columns["log_censoring"] = validation.check_vector(
            "log_censoring", given["log_censoring"], n_samples
        )
    for name in given.keys() & {"stratum", "index"}:
        columns[name] = validation.check_codes(name, given[name], n_samples)
    return columns


def _behind(older: Tensor | None, newer: Tensor) -> Tensor:
    """Return the rows of a batch behind those of the bank."""
    return newer if older is None else torch.cat([older.to(newer), newer])


def _moved(columns: Columns, device: torch.device) -> Columns:
    """Return the columns on a device, without a wait."""
    return {
        name: x.to(device, non_blocking=True) if isinstance(x, Tensor) else x
        for name, x in columns.items()
    }


def _balanced(output: Tensor, columns: Columns, pooled: Columns, *, summed: bool) -> Tensor:
    """Return the output of a batch with a gradient that is scaled and centred."""
    n_batch = _n_present(columns)
    if not (output.requires_grad and n_batch):
        return output
    scale = 1.0 if summed else _n_present(pooled) / n_batch
    weight = columns.get("weight", torch.ones_like(columns["time"])).double()
    share = weight / weight.sum()
    dtype = returned_in(output)
    pull = ((1 - float(share @ share)) * share).to(output.device, dtype, non_blocking=True)
    pull = pull.reshape(-1, *[1] * (output.ndim - 1))
    # The gradients nearly cancel, so they are not rounded to half precision before.
    balanced = output.view_as(output) if output.dtype == dtype else output.to(dtype)

    @left_out_of_graphs
    def scaled(gradient: Tensor) -> Tensor:
        """Return the gradient scaled and centred."""
        return scale * (gradient - pull * gradient.sum(0))

    balanced.register_hook(scaled)
    return balanced


def _n_present(columns: Columns) -> int:
    """Return the number of rows; one of weight 0 counts as absent."""
    return int((columns["weight"] > 0).sum()) if "weight" in columns else len(columns["time"])
