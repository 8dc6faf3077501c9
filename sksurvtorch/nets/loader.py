"""Batches of rows, in place of a row-wise collate."""

from __future__ import annotations

import pickle
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from sksurvtorch._processes import Group
from sksurvtorch._validation import check_number
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.epochs import EpochsAhead, deal
from sksurvtorch.nets.target import Target

_Batch = tuple[Tensor, Target | None]
#: Size of the rows among which stored rows are shuffled.
WINDOW_BYTES = 2**27
# Size of a block of neighbouring rows in a file, if a window has room for several.
_BLOCK = 2**20


class BatchLoader:
    """Iterate over the batches of a `SurvivalDataset`.

    All batches of an epoch have the same number of rows, up to one, and at most `batch_size`: no
    short batch comes last, but where there is no target and no shuffle. With `shuffle` the events
    are spread evenly over the batches. For a Cox model a batch without an event is left out, since
    the partial likelihood is not defined there; `n_skipped` counts them.

    Rows that are stored, and take more than `window_bytes`, are shuffled window by window: blocks
    of neighbouring rows come in random order, as many of them as a window holds are read at once,
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
        window_bytes: int = WINDOW_BYTES,
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
        self._ahead = EpochsAhead(dataset)
        self._n_readings = 0

    def __len__(self) -> int:
        return max(1, -(-len(self.dataset) // self.batch_size))

    def __iter__(self) -> Iterator[_Batch]:
        if len(self) == 1:
            yield self.dataset.rows.whole(), self.dataset.target
        elif self.dataset.y is None and not self.shuffle:
            yield from ((X, None) for X in self.inputs())
        else:
            yield from self._read(self._batches_by_window())

    def inputs(self) -> Iterator[Tensor]:
        """Iterate over the inputs of all rows, as they lie."""
        return self.dataset.rows.pieces(self.batch_size, self.num_workers)

    def sample(self) -> SurvivalDataset:
        """Return rows in memory: all of them if they are there or fit in a window, or a window."""
        rows, n_batches = next(self._windows())
        if n_batches == len(self):
            return self.dataset.into_memory()
        return self.dataset.select(torch.from_numpy(np.sort(rows))).into_memory()

    def draw_as_first(self, group: Group) -> None:
        """Draw the batches that the first process of a group draws."""
        source = self.generator.bit_generator
        source.state = group.exchange(source.state)[0]

    def _read(self, windows: Iterable[Iterable[_Batch]]) -> Iterator[_Batch]:
        """Iterate over inputs and targets of batches given by their rows and targets."""
        X, targets = self.dataset.rows, deque[Target | None]()

        def rows_of(batches: Iterable[_Batch]) -> Iterator[Tensor]:
            """Hand out rows, perhaps some batches before these are returned."""
            for rows, y in batches:
                targets.append(None if y is None else X.mark(y, rows))
                yield rows

        if self.num_workers:
            seed = self._seed_of_reading()
            inputs = X.read(rows_of(chain.from_iterable(windows)), self.num_workers, seed)
        else:
            inputs = chain.from_iterable(X.read_window(rows_of(window)) for window in windows)
        for batch in inputs:
            yield batch, targets.popleft()

    def _seed_of_reading(self) -> int:
        """Return another seed for each epoch, without drawing from the generator."""
        self._n_readings += not self.shuffle  # without which the generator stays as it is
        return zlib.crc32(pickle.dumps(self.generator.bit_generator.state)) + self._n_readings

    def _batches_by_window(self) -> Iterator[Iterable[_Batch]]:
        """Iterate over the rows and the targets of the batches of each window."""
        y = self.dataset.y
        if y is None or not y.has_risk_sets:
            for rows, n_batches in self._windows():
                yield self._as_drawn(rows, n_batches)
        elif self._per_window == len(self):
            yield self._laid_out(self._ahead, len(self))
        else:
            for rows, n_batches in self._windows():
                yield self._of_window(torch.from_numpy(rows), n_batches)

    def _as_drawn(self, rows: np.ndarray, n_batches: int) -> Iterator[_Batch]:
        """Iterate over the batches of a window, whose rows come as they are drawn."""
        event = self.dataset.event[rows]
        for places in deal(event, n_batches, self.generator if self.shuffle else None):
            drawn = torch.from_numpy(rows[places])
            yield drawn, self.dataset.target_of(drawn)

    def _of_window(self, rows: Tensor, n_batches: int) -> Iterator[_Batch]:
        """Iterate over the batches of a window, whose rows come in the order of the risk sets."""
        window = self.dataset.select(rows)
        if not window.event.any():
            self.n_skipped += n_batches
            return
        for places, target in self._laid_out(EpochsAhead(window), n_batches):
            yield rows[places], target

    def _laid_out(self, ahead: EpochsAhead, n_batches: int) -> Iterator[_Batch]:
        """Iterate over the batches of an epoch, all with an event; count those that have none."""
        epoch = ahead.next(self.generator, n_batches, shuffle=self.shuffle)
        self.n_skipped += n_batches - len(epoch.rows)
        return zip(epoch.rows, epoch.targets, strict=True)

    @property
    def _per_window(self) -> int:
        """Number of batches that are drawn from a window."""
        n_rows = self.dataset.rows.n_in_window(self.window_bytes)
        return min(len(self), max(1, n_rows * len(self) // len(self.dataset)))

    def _windows(self) -> Iterator[tuple[np.ndarray, int]]:
        """Iterate over the rows of each window, and its number of batches."""
        n_rows, n_batches, per_window = len(self.dataset), len(self), self._per_window
        if per_window == n_batches:
            order = self.dataset.order if self.shuffle else None
            yield np.arange(n_rows) if order is None else order, n_batches
            return
        per_block = max(1, self.block_bytes // self.dataset.rows.row_bytes)
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
