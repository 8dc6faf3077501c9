"""What one training of a net is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class PerMember:
    """What is particular to each member of an ensemble.

    Attributes
    ----------
    rows : int tensor of shape (n_members, n_rows)
        Rows of each.
    l2 : tensor of shape (n_members,)
        Half of it times the squared weights of a member is added to its training loss.
    """

    rows: Tensor
    l2: Tensor


@dataclass(frozen=True)
class Training:
    """Settings of one training.

    Attributes
    ----------
    n_epochs : int
        Number of epochs.
    batch_size : int
        Largest number of rows in a batch, summed over the processes.
    callbacks : sequence
        Callbacks of skorch, or pairs of a name and one.
    l2 : float
        Half of it times the `SquaredWeights` of the network is added to the training loss.
    lr : float or None
        Learning rate at the start; that of the optimizer if None.
    mean_information : float or None
        Mean over the batches of `Target.information`, where rows have weights.
    bank_size : int or None
        Largest number of rows in the bank of a `MomentumLoss`; None without a bank.
    description : mapping of str to str, or None
        What tells this training from others, where a `TrainingCheckpoint` has to know.
    members : PerMember or None
        Of an ensemble; None for one network.
    """

    n_epochs: int
    batch_size: int
    callbacks: Sequence[Any]
    l2: float = 0.0
    lr: float | None = None
    mean_information: float | None = None
    bank_size: int | None = None
    description: Mapping[str, str] | None = None
    members: PerMember | None = None
