"""A loss over the rows of all processes."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from torch import Tensor, nn

from sksurvtorch import _validation as validation
from sksurvtorch._processes import Processes, world
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.losses.competing_risks import CompetingRisksLoss
from sksurvtorch.losses.survival import Target

Output = Tensor | tuple[Tensor, Tensor]


class GatheredLoss(nn.Module):
    """Loss over the batches of all processes together, for data-parallel training.

    Each process of `torch.distributed` calls it with the outputs and the targets of its own rows.
    They are gathered, so that risk sets, and the bank of a `MomentumLoss`, span all processes: the
    loss and its gradient are those of one process that has all these rows. Where there are no other
    processes it is the loss itself.

    Parameters
    ----------
    loss : CoxPHLoss, WeibullAFTLoss, AFTLoss, MomentumLoss or callable
        Called with the outputs and the keywords event and time, or lower and upper, and entry,
        stratum, weight and index where given; it must not have the reduction "none".

    Raises
    ------
    TypeError, ValueError
        If `loss` is of the wrong kind; on all processes, if their outputs or targets do not fit
        together.

    Notes
    -----
    Every process returns the same loss, and gets the gradient of its own rows times the number of
    processes: `torch.nn.parallel.DistributedDataParallel`, or accelerate, takes the mean over the
    processes of the weights' gradients, which then is the gradient of the loss. If you add them up
    yourself, divide by the number of processes.

    Numbers of rows may differ, and may be 0. All processes have to take part in every call, in
    evaluation mode too: one that has no rows left calls with empty tensors. A step sends an output
    and a target for each row, some 13 bytes, and nothing on the way back.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.losses import CoxPHLoss, GatheredLoss
    >>> loss = GatheredLoss(CoxPHLoss(reduction="sum"))
    >>> event, time = torch.tensor([True, True, False]), torch.tensor([1, 2, 3])
    >>> round(loss(torch.zeros(3), event, time).exp().item(), 4)  # one process
    6.0
    """

    def __init__(self, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        if not callable(loss) or isinstance(loss, type):
            raise TypeError(
                f"`loss` must be a loss such as CoxPHLoss(), got {loss!r}. Make an instance first."
            )
        _refuse_competing_risks(loss)
        if getattr(loss, "reduction", "mean") == "none":
            raise ValueError(
                "`loss` must have the reduction 'mean' or 'sum', got 'none': rows belong to "
                "several processes."
            )
        self.loss = loss

    @property
    def sum_over_samples(self) -> bool:
        """Whether the loss of one row depends on no other row."""
        return bool(getattr(self.loss, "sum_over_samples", False))

    @left_out_of_graphs
    def forward(
        self,
        output: Output,
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
        """Return the loss of the rows of all processes.

        Parameters
        ----------
        output : tensor of shape (n_samples, ...), or pair of tensors
            Output of the network for the rows of this process; the pair of a `MomentumNetwork`.
        event : bool tensor of shape (n_samples,), or a whole target, optional
            True for an observed event. In place of all that follows it may be a mapping with the
            keys event and time, or lower and upper, and optionally the others.
        time : tensor of shape (n_samples,), optional
            Time of the event or the censoring.
        lower, upper : tensors of shape (n_samples,), optional
            In place of event and time, for an `AFTLoss`: the event lies in (lower, upper].
        entry, stratum, weight, index : tensors of shape (n_samples,), optional
            As the loss takes them; codes of strata, and the index, are the same in all processes.

        Returns
        -------
        tensor of shape ()
            The loss, the same in all processes.
        """
        options = {"entry": entry, "stratum": stratum, "weight": weight, "index": index}
        given = validation.unpack_aft_target(event, time, lower=lower, upper=upper, **options)
        columns = {name: column for name, column in given.items() if column is not None}
        group = world()
        if isinstance(group, Processes):
            output, columns = _gathered(group, output, columns)
        loss: Tensor = self.loss(output, **columns)
        return loss


def _gathered(
    group: Processes, output: Output, columns: dict[str, Tensor]
) -> tuple[Output, dict[str, Tensor]]:
    """Return outputs and targets of the rows of all processes."""
    outputs = output if isinstance(output, tuple) else (output,)
    for name, column in columns.items():
        validation.check_constant(name, column)
        validation.check_unmasked(name, column)
    columns = {name: validation.to_tensor(column) for name, column in columns.items()}
    for name, x in {**{f"output {i}": x for i, x in enumerate(outputs)}, **columns}.items():
        validation.check_dense(name, x)
    n_rows = _check_alike(group, outputs, columns)
    gathered = [group.gather_with_gradient(x, n_rows) for x in outputs]
    whole = {name: group.gather(columns[name], n_rows) for name in sorted(columns)}
    return (gathered[0], gathered[1]) if isinstance(output, tuple) else gathered[0], whole


def _check_alike(
    group: Processes, outputs: tuple[Tensor, ...], columns: dict[str, Tensor]
) -> list[int]:
    """Return the number of rows of each process, or raise unless their tensors fit together."""
    tensors = {**{f"output {i}": x for i, x in enumerate(outputs)}, **columns}
    lengths = sorted({len(x) for x in tensors.values()})
    kind = str({name: (x.dtype, *x.shape[1:]) for name, x in sorted(tensors.items())})
    ours = [lengths[0], len(lengths), crc32(kind.encode())]
    said = group.exchange_numbers(ours, outputs[0].device)
    if any(others[1:] != [1, ours[2]] for others in said):
        _refuse(group.exchange((lengths, kind)))
    return [n_rows for n_rows, *_ in said]


def _refuse(said: list[tuple[list[int], str]]) -> None:
    """Say what does not fit together."""
    for number, (lengths, kind) in enumerate(said):
        if len(lengths) != 1:
            raise ValueError(
                f"Outputs and targets must have one number of rows, got {lengths} in process "
                f"{number}."
            )
        if kind != said[0][1]:
            raise ValueError(
                "Outputs and targets must be of the same kind in all processes, got "
                f"{said[0][1]} in process 0 and {kind} in process {number}."
            )


def _refuse_competing_risks(loss: object) -> None:
    """Raise if a loss takes a status, which is not handed on."""
    if isinstance(loss, CompetingRisksLoss):
        raise TypeError(
            f"`loss` must be one of events of one kind, got {loss!r}: outputs and targets are "
            "handed on with `event`, not `status`. Call this loss itself, with larger batches."
        )
