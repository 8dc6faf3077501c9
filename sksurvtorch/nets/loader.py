"""Batches of rows, in place of a row-wise collate."""

from __future__ import annotations

import pickle
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sksurvtorch._validation import check_number
from sksurvtorch.functional import RiskSets
from sksurvtorch.nets.dataset import RiskSetTarget, SurvivalDataset, Target, take, take_rows
from sksurvtorch.nets.rows import StoredRows
from sksurvtorch.nets.shares import SharedRows, SpreadTarget

_Batch = tuple[Tensor, Target]
# What it was drawn with; the generator's state after; rows and risk sets of the batches.
_Epoch = tuple[bytes, Any, list[tuple[Tensor, RiskSets]]]
# So many rows are laid out at once if an epoch has fewer.
_ROWS_AT_ONCE = 8_192
# Size of a block of stored rows that lie together, if a window has enough of them.
_BLOCK = 2**20


class BatchLoader:
    """Iterate over the batches of a `SurvivalDataset`.

    All batches of an epoch have the same number of rows, up to one, and at most `batch_size`: no
    short batch comes last, but where there is no target and no shuffle. With `shuffle` the events
    are spread evenly over the batches. For a Cox model a batch without an event is left out, since
    the partial likelihood is not defined there; `n_skipped` counts them.

    Rows that are stored, and take more than `window_bytes`, are shuffled window by window: blocks
    of neighbouring rows come in random order, as many of them as a window holds are read together,
    and their rows are dealt to the batches of that window at random. A window is read as its rows
    lie, for a file may hold them in groups that are read as a whole, or column by column; but
    `num_workers` processes read it batch by batch.

    Parameters
    ----------
    dataset : SurvivalDataset
        Rows to draw from.
    batch_size : int
        Largest number of rows in a batch.
    shuffle : bool, default=False
        Draw the rows in random order, another one in each epoch.
    generator : numpy.random.Generator, optional
        Source of the random order.
    window_bytes : int, default=2**27
        Size of the rows among which stored rows are shuffled.
    block_bytes : int, optional
        Size of the blocks of which a window is made; a megabyte, or an eighth of a window, if left
        out. For a file that is read by groups of rows this is best the size of a group, as the
        network takes it: rows times features times the bytes of a number.
    num_workers : int, default=0
        Number of processes that read the rows of a torch dataset ahead.
    """

    def __init__(
        self,
        dataset: SurvivalDataset,
        batch_size: int,
        *,
        shuffle: bool = False,
        generator: np.random.Generator | None = None,
        window_bytes: int = 2**27,
        block_bytes: int | None = None,
        num_workers: int = 0,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.generator = np.random.default_rng() if generator is None else generator
        check_number("window_bytes", window_bytes, int, 1)
        if block_bytes is None:
            block_bytes = max(1, min(_BLOCK, window_bytes // 8))
        check_number("block_bytes", block_bytes, int, 1)
        self.window_bytes = window_bytes
        self.block_bytes = block_bytes
        self.num_workers = num_workers
        self.n_skipped = 0
        self._drawn: list[_Epoch] = []
        self._n_epochs = 0
        self._n_readings = 0

    def __len__(self) -> int:
        return max(1, -(-len(self.dataset) // self.batch_size))

    def __iter__(self) -> Iterator[_Batch]:
        if len(self) == 1:
            X = self.dataset.X
            yield X if isinstance(X, Tensor) else X.whole(), self.dataset.target
        elif self.dataset.y is None and not self.shuffle:
            yield from ((X, None) for X in self.inputs())
        else:
            yield from self._read(self._batches_by_window())

    def __getstate__(self) -> dict[str, Any]:
        """Leave out epochs that can be drawn again: each of their views would bring all rows."""
        return vars(self) | {"_drawn": []}

    def inputs(self) -> Iterator[Tensor]:
        """Iterate over the inputs of all rows, as they lie."""
        X = self.dataset.X
        if isinstance(X, Tensor):
            yield from X.split(self.batch_size)
        else:
            yield from X.split(self.batch_size, self.num_workers)

    def window(self) -> Tensor:
        """Return the rows of a first window: all of them if they fit in one."""
        return torch.from_numpy(next(self._windows())[0]).sort().values

    def _read(self, windows: Iterator[Iterable[_Batch]]) -> Iterator[_Batch]:
        """Iterate over inputs and targets of batches given by their rows and targets."""
        X = self.dataset.X
        if isinstance(X, Tensor):
            for rows, y in chain.from_iterable(windows):
                yield take_rows(X, rows), y
        elif X.stored and not self.num_workers:
            for window in map(list, windows):
                yield from _read_window(X, window)
        else:
            yield from self._read_ahead(X, chain.from_iterable(windows))

    def _read_ahead(self, X: StoredRows, batches: Iterable[_Batch]) -> Iterator[_Batch]:
        """Let each batch be read by itself; other processes may be asked for some ahead."""
        targets: deque[Target] = deque()

        def all_rows() -> Iterator[Tensor]:
            for rows, y in batches:
                targets.append(_spread(y, X, rows))
                yield rows

        for inputs in X.read(all_rows(), self.num_workers, self._seed_of_reading()):
            yield inputs, targets.popleft()

    def _seed_of_reading(self) -> int:
        """Return another seed for each epoch, without drawing from the generator."""
        self._n_readings += not self.shuffle  # without which the generator stays as it is
        return zlib.crc32(pickle.dumps(self.generator.bit_generator.state)) + self._n_readings

    def _batches_by_window(self) -> Iterator[Iterable[_Batch]]:
        """Iterate over the rows and the targets of the batches of each window."""
        y = self.dataset.y
        if self._per_window == len(self) and isinstance(y, RiskSetTarget):
            yield [(rows, RiskSetTarget(r)) for rows, r in self._next_epoch(y.risk_sets)]
            return
        for rows, n_batches in self._windows():
            if isinstance(y, RiskSetTarget) and self.shuffle:
                yield self._sorted(rows, n_batches, y)
            else:
                yield self._as_drawn(rows, n_batches)

    def _as_drawn(self, rows: np.ndarray, n_batches: int) -> Iterator[_Batch]:
        """Iterate over the batches of a window."""
        event = self.dataset.event[rows]
        for places in np.array_split(self._order(event), n_batches):
            if isinstance(self.dataset.y, RiskSetTarget) and not event[places].any():
                self.n_skipped += 1
                continue
            drawn = torch.from_numpy(rows[places])
            yield drawn, take(self.dataset.y, drawn)

    @property
    def _per_window(self) -> int:
        """Number of batches that are drawn from a window."""
        X = self.dataset.X
        if isinstance(X, Tensor) or not X.stored:
            return len(self)
        n_rows = self.window_bytes // X.row_bytes
        return min(len(self), max(1, n_rows * len(self) // len(self.dataset)))

    def _windows(self) -> Iterator[tuple[np.ndarray, int]]:
        """Iterate over the rows of each window, and its number of batches."""
        n_rows, n_batches, per_window = len(self.dataset), len(self), self._per_window
        if per_window == n_batches:
            order = self.dataset.order if self.shuffle else None
            yield np.arange(n_rows) if order is None else order, n_batches
            return
        assert isinstance(self.dataset.X, StoredRows)
        per_block = max(1, self.block_bytes // self.dataset.X.row_bytes)
        bounds = np.append(np.arange(0, n_rows, per_block), n_rows)
        n_blocks = len(bounds) - 1
        blocks = self.generator.permutation(n_blocks) if self.shuffle else np.arange(n_blocks)
        # Where each block ends when they follow each other in this order.
        ends = np.diff(bounds)[blocks].cumsum()
        shift = bounds[blocks + 1] - ends
        for first in range(0, n_batches, per_window):
            last = min(first + per_window, n_batches)
            places = np.arange(first * n_rows // n_batches, last * n_rows // n_batches)
            yield places + shift[np.searchsorted(ends, places, side="right")], last - first

    def _sorted(self, rows: np.ndarray, n_batches: int, y: RiskSetTarget) -> Iterator[_Batch]:
        """Iterate over the batches of a window, with their risk sets."""
        in_window = y.take(torch.from_numpy(rows))
        if in_window.order is not None:
            rows = rows[in_window.order.numpy()]
            in_window = y.take(torch.from_numpy(rows))
        event = in_window["event"].numpy()
        if not event.any():
            self.n_skipped += n_batches
            return
        drawn = np.array_split(self._order(event), n_batches)
        batches = [torch.from_numpy(np.sort(places)) for places in drawn if event[places].any()]
        self.n_skipped += n_batches - len(batches)
        split = in_window.risk_sets.split(torch.cat(batches), [len(batch) for batch in batches])
        for places, risk_sets in zip(batches, split, strict=True):
            yield torch.from_numpy(rows)[places], RiskSetTarget(risk_sets)

    def _next_epoch(self, risk_sets: RiskSets) -> list[tuple[Tensor, RiskSets]]:
        """Return rows and risk sets of the batches of an epoch.

        Of few rows several epochs are laid out at once, which takes little longer than one. The
        generator is left as if each were drawn when its turn comes.
        """
        # States of generators may hold arrays, which have no equality of their own.
        if not self._drawn or self._drawn[0][0] != self._drawn_with():
            # A training may end after any of them: draw as many as there have been.
            n_epochs = min(max(1, self._n_epochs), max(1, _ROWS_AT_ONCE // len(self.dataset)))
            self._drawn = self._draw(risk_sets, n_epochs)
        _, self.generator.bit_generator.state, batches = self._drawn.pop(0)
        self._n_epochs += 1
        self.n_skipped += len(self) - len(batches)
        return batches

    def _draw(self, risk_sets: RiskSets, n_epochs: int) -> list[_Epoch]:
        """Draw epochs, each with the state of the generator before and after it."""
        # Batches drawn in order of time are in order of time, wherever their rows lie.
        order = self.dataset.order if self.shuffle else None
        event, epochs = self.dataset.event, []
        event = event if order is None else event[order]
        drawn_with, after = [], []
        for _ in range(n_epochs):
            drawn_with.append(self._drawn_with())
            drawn = np.array_split(self._order(event), len(self))
            batches = [np.sort(places) for places in drawn if event[places].any()]
            epochs.append(batches if order is None else [order[places] for places in batches])
            after.append(self.generator.bit_generator.state)
        rows = [torch.from_numpy(batch) for epoch in epochs for batch in epoch]
        split = risk_sets.split(torch.cat(rows), [len(batch) for batch in rows])
        pairs = zip(rows, split, strict=True)
        batches_of = [[next(pairs) for _ in epoch] for epoch in epochs]
        return list(zip(drawn_with, after, batches_of, strict=True))

    def _drawn_with(self) -> bytes:
        """Return what the next epoch depends on."""
        return pickle.dumps((self.generator.bit_generator.state, self.batch_size))

    def _order(self, event: np.ndarray) -> np.ndarray:
        """Return the places of rows in the order in which they are dealt to batches."""
        n = len(event)
        if not self.shuffle:
            return np.arange(n)
        # Each kind of row gets its places at even distances, from a random start.
        place = np.empty(n)
        for kind in (event, ~event):
            count = int(kind.sum())
            place[kind] = (
                (self.generator.permutation(count) + self.generator.random()) / count
                if count
                else 0.0
            )
        return place.argsort(kind="stable")


def _spread(y: Target, X: StoredRows, rows: Tensor) -> Target:
    """Return the target of a batch, which says where the rows are if processes share them."""
    return SpreadTarget(y, X.spread(rows)) if isinstance(X, SharedRows) and y is not None else y


def _read_window(X: StoredRows, batches: list[_Batch]) -> Iterator[_Batch]:
    """Read the rows of some batches in the order in which they lie, and deal them."""
    if not batches:
        return
    in_order = X.held_of(torch.cat([rows for rows, _ in batches])).sort().values
    held = X.load(in_order)
    for rows, y in batches:
        places = torch.searchsorted(in_order, X.held_of(rows))
        yield held.index_select(0, places), _spread(y, X, rows)
