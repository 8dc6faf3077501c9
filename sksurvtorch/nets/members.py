"""Batches for the members of an ensemble, each of which has rows of its own, in its own order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.epochs import MOST_ROWS_AT_ONCE, drawn_order
from sksurvtorch.nets.loader import WINDOW_BYTES
from sksurvtorch.nets.target import Columns, Criterion, Device, Output, Target


class MembersTarget(Target):
    """Targets of the batches that the members of an ensemble have in one step.

    Parameters
    ----------
    whole : Target
        Target of all rows of the training.
    rows : int tensor of shape (n_rows,)
        The rows of the step, those of the first member in front.
    targets : sequence of Target or None
        Target of each member; None for a batch that is left out.
    factors : sequence of float
        What the mean loss of each member is multiplied by.
    """

    def __init__(
        self,
        whole: Target,
        rows: Tensor,
        targets: Sequence[Target | None],
        factors: Sequence[float],
    ) -> None:
        self.whole, self.rows = whole, rows
        self.targets, self.factors = targets, factors

    @cached_property
    def columns(self) -> Columns:  # type: ignore[override]  # looked up when asked for
        """The columns of all rows by name."""
        return self.whole.take(self.rows).columns

    @property
    def n_rows(self) -> int:
        """Number of rows, summed over the members."""
        return self.rows.numel()

    def outcome(self) -> np.ndarray:
        """Return event and time of all rows, as a user passes them."""
        return self.whole.take(self.rows).outcome()

    @property
    def information(self) -> Tensor:
        """What the mean losses are divided by, summed over the members."""
        return torch.stack([y.information for y in self.targets if y is not None]).sum()

    def take(self, rows: Tensor) -> Target:
        """Raise: the rows of a step stay together."""
        raise NotImplementedError("The rows of the members of an ensemble stay together.")

    def loss(self, criterion: Criterion, output: Output, device: Device) -> Tensor:
        """Return the sum of the mean losses of the members, given their outputs one by one."""
        assert isinstance(output, Tensor)
        outputs = output.unflatten(0, (len(self.targets), -1))
        own = [k for k, target in enumerate(self.targets) if target is not None]
        if len(own) < len(self.targets):
            outputs = outputs[own]
        targets = [target for target in self.targets if target is not None]
        factors = [self.factors[k] for k in own]
        return targets[0].sum_of_losses(criterion, outputs, device, targets, factors)


class MemberLoader:
    """Iterate over steps, each of a batch for every member of an ensemble.

    The rows of a step are those of the first member, then those of the second, and so on, as many
    for each. Apart from that the batches of a member are those of a `BatchLoader`.

    Parameters
    ----------
    dataset : SurvivalDataset
        Rows in memory, in the order of the risk sets.
    batch_size : int
        Largest number of rows in a batch of one member.
    members : int tensor of shape (n_members, n_rows)
        Rows of each member, ascending: as many for each, and as many with an event.
    generator : numpy.random.Generator, optional
        Source of the random order.
    weighs : bool, default=False
        Whether the loss of a batch counts as its rows weigh, beside the mean batch of its member.
    shuffle : bool, default=True
        Draw the rows in random order, another one in each epoch and for each member.
    num_workers, window_bytes, block_bytes : int
        As for a `BatchLoader`; without effect, since the rows are in memory.
    """

    def __init__(
        self,
        dataset: SurvivalDataset,
        batch_size: int,
        *,
        members: Tensor,
        generator: np.random.Generator | None = None,
        weighs: bool = False,
        shuffle: bool = True,
        num_workers: int = 0,
        window_bytes: int = WINDOW_BYTES,
        block_bytes: int | None = None,
    ) -> None:
        self.dataset, self.batch_size = dataset, batch_size
        self.members, self.shuffle = members.numpy(), shuffle
        self.generator = np.random.default_rng() if generator is None else generator
        self.n_skipped = 0
        self._mean_information = None
        if weighs:
            assert dataset.y is not None
            total = [float(dataset.y.take(rows).information) for rows in members]
            self._mean_information = [information / len(self) for information in total]
        self._only: list[tuple[Tensor, MembersTarget]] | None = None

    def __len__(self) -> int:
        n_rows: int = self.members.shape[1]
        return max(1, -(-n_rows // self.batch_size))

    def __iter__(self) -> Iterator[tuple[Tensor, Target]]:
        if len(self) > 1:
            yield from self._steps()
            return
        if self._only is None:  # of all rows in each epoch
            self._only = list(self._steps())
        yield from self._only

    def _steps(self) -> Iterator[tuple[Tensor, MembersTarget]]:
        """Iterate over the steps of an epoch."""
        event = self.dataset.event
        generator = self.generator if self.shuffle and len(self) > 1 else None
        small = np.int32 if len(event) < 2**31 else np.int64  # those of a whole epoch are held
        dealt = np.empty(self.members.shape, dtype=small)
        for own, rows in zip(dealt, self.members, strict=True):
            own[:] = rows[drawn_order(event[rows], generator)]
        steps = np.array_split(dealt, len(self), axis=1)
        for batches in steps:
            batches.sort(axis=1)
        n_at_once = max(1, MOST_ROWS_AT_ONCE // steps[0].size)
        for first in range(0, len(self), n_at_once):
            some = steps[first : first + n_at_once]
            yield from self._laid_out([rows.astype(np.int64) for rows in some], event)

    def _laid_out(
        self, steps: list[np.ndarray], event: np.ndarray
    ) -> Iterator[tuple[Tensor, MembersTarget]]:
        """Iterate over some steps, whose targets are laid out together."""
        y = self.dataset.y
        assert y is not None
        has_target = [event[rows].any(1) | (not y.has_risk_sets) for rows in steps]
        self.n_skipped += sum(int((~has).sum()) for has in has_target)
        asked = [rows[has] for rows, has in zip(steps, has_target, strict=True)]
        index = torch.from_numpy(np.concatenate([rows.reshape(-1) for rows in asked]))
        targets = iter(y.split(index, [len(batch) for rows in asked for batch in rows]))
        for rows, has in zip(steps, has_target, strict=True):
            if has.any():
                each = [next(targets) if own else None for own in has]
                yield self._step(torch.from_numpy(rows.reshape(-1)), each)

    def _step(self, rows: Tensor, targets: list[Target | None]) -> tuple[Tensor, MembersTarget]:
        """Return the inputs of a step, and what its loss is taken of."""
        assert self.dataset.y is not None
        factors = [1.0] * len(targets)
        if self._mean_information is not None:
            pairs = zip(targets, self._mean_information, strict=True)
            factors = [0.0 if y is None else float(y.information) / mean for y, mean in pairs]
        return self.dataset.rows.take(rows), MembersTarget(self.dataset.y, rows, targets, factors)
