"""Epochs that are drawn before their turn."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.target import Target

# So many rows are laid out at once if an epoch has fewer.
_ROWS_AT_ONCE = 8_192
#: And of an epoch that has more, for less memory.
MOST_ROWS_AT_ONCE = 2**17


@dataclass(frozen=True)
class Epoch:
    """The batches of an epoch, and to which state of the generator they belong."""

    drawn_with: bytes  # what they depend on: the generator's state before, and their number
    after: Any  # state of the generator once they are drawn
    rows: list[Tensor]  # of each batch; some may have been left out
    targets: Iterable[Target]  # of each batch, which can be iterated over once


class EpochsAhead:
    """Epochs of a `SurvivalDataset` with risk sets, one after the other.

    Of few rows several epochs are laid out at once, which takes little longer than one. The
    generator is left as if each were drawn when its turn comes.

    Parameters
    ----------
    dataset : SurvivalDataset
        Rows to draw from.
    """

    # With states A to D of the generator, where three epochs are drawn at once:
    #
    #   call    generator before   what happens                                  generator after
    #   first   A                  A to B, B to C, C to D drawn; A to B given     B
    #   second  B                  B to C given                                   C
    #   third   X, of a stranger   C to D forgotten; X to Y, ... drawn anew       Y
    def __init__(self, dataset: SurvivalDataset) -> None:
        self.dataset = dataset
        self._n_given = 0
        self._drawn: list[Epoch] = []

    def next(self, generator: np.random.Generator, n_batches: int, *, shuffle: bool) -> Epoch:
        """Return the next epoch, drawn with the generator as it is now."""
        if not self._drawn or self._drawn[0].drawn_with != _drawn_with(generator, n_batches):
            # A training may end after any of them: draw as many as there have been.
            n_epochs = min(max(1, self._n_given), max(1, _ROWS_AT_ONCE // len(self.dataset)))
            self._drawn = self._draw(generator, n_batches, n_epochs, shuffle=shuffle)
        epoch = self._drawn.pop(0)
        generator.bit_generator.state = epoch.after
        self._n_given += 1
        return epoch

    def __getstate__(self) -> dict[str, Any]:
        """Leave out epochs that can be drawn again: each of their views would bring all rows."""
        return vars(self) | {"_drawn": []}

    def _draw(
        self, generator: np.random.Generator, n_batches: int, n_epochs: int, *, shuffle: bool
    ) -> list[Epoch]:
        """Draw some epochs; the batches of several are laid out in one pass."""
        # Drawn in the order of the risk sets, batches are in it, wherever their rows lie.
        order = self.dataset.order if shuffle else None
        event = self.dataset.event if order is None else self.dataset.event[order]
        drawn_with, after, drawn = [], [], []
        for _ in range(n_epochs):
            drawn_with.append(_drawn_with(generator, n_batches))
            dealt = deal(event, n_batches, generator if shuffle else None)
            batches = [np.sort(places) for places in dealt if event[places].any()]
            drawn.append(batches if order is None else [order[places] for places in batches])
            after.append(generator.bit_generator.state)
        rows = [[torch.from_numpy(batch) for batch in batches] for batches in drawn]
        laid_out = self._lay_out([*chain.from_iterable(rows)])
        targets: list[Iterable[Target]] = [laid_out]  # one by one, for less memory
        if n_epochs > 1:
            targets = [list(islice(laid_out, len(batches))) for batches in rows]
        return [Epoch(*parts) for parts in zip(drawn_with, after, rows, targets, strict=True)]

    def _lay_out(self, rows: list[Tensor]) -> Iterator[Target]:
        """Iterate over the targets of batches, some of which are laid out in one pass."""
        assert self.dataset.y is not None
        n_at_once = max(1, MOST_ROWS_AT_ONCE // max((len(batch) for batch in rows), default=1))
        for first in range(0, len(rows), n_at_once):
            some = rows[first : first + n_at_once]
            yield from self.dataset.y.split(torch.cat(some), [len(batch) for batch in some])


def deal(
    event: np.ndarray, n_batches: int, generator: np.random.Generator | None
) -> list[np.ndarray]:
    """Deal the places of rows to batches; at random, with events in all, by a generator."""
    return np.array_split(drawn_order(event, generator), n_batches)


def drawn_order(event: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
    """Return the places of rows so that each batch is a part of them, as `deal` deals them."""
    n = len(event)
    if generator is None:
        return np.arange(n)
    # Each kind of row gets its places at even distances, from a random start.
    place = np.empty(n)
    for kind in (event, ~event):
        count = np.count_nonzero(kind)
        if count:
            place[kind] = (generator.permutation(count) + generator.random()) / count
    return place.argsort(kind="stable")


def _drawn_with(generator: np.random.Generator, n_batches: int) -> bytes:
    """Return what the next epoch depends on."""
    # States of generators may hold arrays, which have no equality of their own.
    return pickle.dumps((generator.bit_generator.state, n_batches))
