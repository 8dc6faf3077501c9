"""Rows of which each process holds a share, while all processes know the whole target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sksurvtorch.functional import _processes as processes
from sksurvtorch.nets.rows import StoredRows


@dataclass(frozen=True)
class Spread:
    """How the rows of a batch are spread over the processes."""

    counts: Sequence[int]  # number of rows that each process holds
    place: Tensor  # (n_samples,) of each row, among the gathered ones

    def gather(self, x: Tensor) -> Tensor:
        """Return what belongs to all rows, in their order, given what belongs to those held."""
        gathered = processes.gather_with_gradient(x, self.counts)
        return gathered.index_select(0, self.place.to(x.device, non_blocking=True))


class SpreadTarget(Mapping[str, Tensor]):
    """Target of all rows of a batch, of which this process holds some.

    Parameters
    ----------
    target : mapping of tensors of shape (n_samples,)
        The target.
    spread : Spread
        Where the rows are.
    """

    def __init__(self, target: Mapping[str, Tensor], spread: Spread) -> None:
        self.target = target
        self.spread = spread

    def __getitem__(self, name: str) -> Tensor:
        return self.target[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.target)

    def __len__(self) -> int:
        return len(self.target)


class SharedRows(StoredRows):
    """Rows of X of all processes, those of the first process first; the held ones can be read.

    Parameters
    ----------
    held : tensor of shape (n_held, ...), or StoredRows
        The rows that this process holds.
    counts : sequence of int
        Number of rows that each process holds.
    stored : bool
        Whether any process has its rows stored.
    """

    def __init__(self, held: Tensor | StoredRows, counts: Sequence[int], *, stored: bool) -> None:
        self.held = held
        self.counts = counts
        self.stored = stored
        self.dtype = held.dtype
        self._sample_shape = tuple(held.shape[1:])
        self._n_stored = sum(counts)
        self._start = sum(counts[: processes.rank()])

    @property
    def n_held(self) -> int:
        """Number of the rows that this process can read."""
        return len(self.held_of(torch.arange(len(self))))

    def held_of(self, rows: Tensor) -> Tensor:
        """Return those of some rows that this process can read."""
        places = self._places(rows)
        return rows[(places >= self._start) & (places < self._start + len(self.held))]

    def spread(self, rows: Tensor | None = None) -> Spread:
        """Return how some rows, or all, are spread over the processes."""
        places = self._places(rows)
        ends = torch.tensor(self.counts).cumsum(0)
        owner = torch.searchsorted(ends, places, right=True)
        order = owner.argsort(stable=True)
        place = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order)))
        return Spread(owner.bincount(minlength=len(self.counts)).tolist(), place)

    def whole(self) -> Tensor:
        """Return all rows that are held."""
        if self._subset is None:
            return self.held if isinstance(self.held, Tensor) else self.held.whole()
        return super().whole()

    def split(self, size: int, num_workers: int = 0) -> Iterator[Tensor]:
        """Iterate over the rows that are held in pieces, at least one, which may be empty."""
        return self.read(self.held_of(torch.arange(len(self))).split(size), num_workers)

    def _places(self, rows: Tensor | None) -> Tensor:
        """Return the places of rows among those of all processes."""
        if self._subset is None:
            return torch.arange(len(self)) if rows is None else rows
        return self._subset if rows is None else self._subset[rows]

    def _read(self, batches: Iterable[Tensor], num_workers: int, seed: int) -> Iterator[Tensor]:
        stop = self._start + len(self.held)
        held = (rows[(rows >= self._start) & (rows < stop)] - self._start for rows in batches)
        if isinstance(self.held, Tensor):
            return (self.held.index_select(0, rows.to(self.held.device)) for rows in held)
        return self.held.read(held, num_workers, seed)


def share(
    X: Tensor | StoredRows, columns: dict[str, Tensor]
) -> tuple[SharedRows, dict[str, Tensor]]:
    """Return the rows of all processes, of which this one holds X, and their columns."""
    stored = isinstance(X, StoredRows)
    dtypes = {name: column.dtype for name, column in columns.items()}
    said = processes.exchange((len(X), stored, tuple(X.shape[1:]), dtypes))
    for number, (_, _, shape, others) in enumerate(said):
        if shape != said[0][2] or others.keys() != said[0][3].keys():
            raise ValueError(
                "X and what comes with it must be alike in all processes, got samples of shape "
                f"{said[0][2]} with {sorted(said[0][3])} in process 0, and of shape {shape} with "
                f"{sorted(others)} in process {number}."
            )
    counts = [n_rows for n_rows, *_ in said]
    gathered = {}
    for name in sorted(columns):
        column = columns[name]
        given = {others[name] for *_, others in said}
        if len(given) > 1:  # whole numbers here, fractions there
            fractions = any(dtype.is_floating_point for dtype in given)
            column = column.double() if fractions else column.long()
        gathered[name] = processes.gather(column, counts)
    return SharedRows(X, counts, stored=any(stored for _, stored, *_ in said)), gathered
