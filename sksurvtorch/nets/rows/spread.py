"""Rows that are spread over the processes of a training: each process holds some of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Self

import torch
from torch import Tensor

from sksurvtorch._processes import Group, Processes
from sksurvtorch.nets.rows.base import Numbers, Rows, numbers
from sksurvtorch.nets.target import Spread, SpreadTarget, Target


class SpreadRows(Rows):
    """Rows of all processes, in the order of their ranks.

    Parameters
    ----------
    here : Rows
        The rows that this process has.
    counts : sequence of int
        Number of rows that each process has.
    group : Processes
        The processes.
    in_memory : bool
        Whether all processes have their rows in memory.
    """

    def __init__(
        self, here: Rows, counts: Sequence[int], group: Processes, *, in_memory: bool
    ) -> None:
        self.here = here
        self.counts = counts
        self.group = group
        self.in_memory = in_memory
        self.is_costly = here.is_costly
        self.dtype = here.dtype
        self._start = sum(counts[: group.rank])
        #: Places among the rows of all processes, if these are not all of them.
        self._subset: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and shape of a row."""
        n_rows = sum(self.counts) if self._subset is None else len(self._subset)
        return n_rows, *self.here.shape[1:]

    def select(self, rows: Tensor) -> Self:
        """Return some rows, which stay where they are."""
        chosen = copy.copy(self)
        chosen._subset = self._places(rows)
        return chosen

    def take(self, rows: Tensor) -> Tensor:
        """Return the rows held, out of the rows given."""
        return self.here.take(self._here(rows))

    def read(self, batches: Numbers, num_workers: int = 0, seed: int = 0) -> Iterator[Tensor]:
        """Iterate over what is held of batches, each given by its rows."""
        return self.here.read(map(self._here, batches), num_workers, seed)

    def read_window(self, window: Numbers) -> Iterator[Tensor]:
        """Iterate over what is held of batches, which may all be read before."""
        return self.here.read_window(map(self._here, window))

    def pieces(self, size: int | None = None, num_workers: int = 0) -> Iterator[Tensor]:
        """Iterate over the rows held, in one piece at least, which may be empty."""
        if self._subset is None:
            return self.here.pieces(size, num_workers)
        return self.here.select(self._here()).pieces(size, num_workers)

    def head(self) -> Tensor:
        """Return the first two rows that this process has."""
        return self.here.head()

    def whole(self) -> Tensor:
        """Return all rows that are held."""
        return self.here.whole() if self._subset is None else self.here.take(self._here())

    def into_memory(self) -> Rows:
        """Return these rows in the memory of the process that holds each."""
        if self.in_memory:
            return self
        spread, here = self.spread(), self.here.select(self._here()).into_memory()
        return SpreadRows(here, spread.counts, self.group, in_memory=True).select(spread.place)

    def to(self, device: torch.device) -> Rows:
        """Return these rows, on `device` where that is better than to move them batch by batch."""
        there = copy.copy(self)
        there.here = self.here.to(device)
        return there

    @property
    def n_held(self) -> int:
        """Number of the rows that this process holds."""
        return len(self.here) if self._subset is None else len(self._here())

    def held(self, column: Tensor) -> Tensor:
        """Return that part of a column of all rows which belongs to the rows held."""
        return column[self._is_own(self._places())]

    def gather(self, output: Tensor) -> Tensor:
        """Return what belongs to all rows, given what belongs to the rows held."""
        return self.spread().gather(output)

    def mark(self, y: Target, rows: Tensor | None = None) -> Target:
        """Return a target that knows which processes hold its rows, all rows by default."""
        return SpreadTarget(y, self.spread(rows))

    def spread(self, rows: Tensor | None = None) -> Spread:
        """Return how rows, all by default, are spread over the processes."""
        return Spread.of(self._places(rows), self.counts, self.group)

    def _places(self, rows: Tensor | None = None) -> Tensor:
        """Return the places that rows, all by default, have among the rows of all processes."""
        if self._subset is None:
            return numbers(0, len(self)) if rows is None else rows
        return self._subset if rows is None else self._subset[rows]

    def _is_own(self, places: Tensor) -> Tensor:
        """Say of rows at some places whether this process holds them."""
        return (places >= self._start) & (places < self._start + len(self.here))

    def _here(self, rows: Tensor | None = None) -> Tensor:
        """Return the rows held, out of the rows given or all, by their numbers in `here`."""
        places = self._places(rows)
        return places[self._is_own(places)] - self._start


def pool(rows: Rows, columns: dict[str, Tensor], group: Group) -> tuple[Rows, dict[str, Tensor]]:
    """Return the rows of all processes, of which this one holds `rows`, and all their columns."""
    if not isinstance(group, Processes):
        return rows, columns
    dtypes = {name: column.dtype for name, column in columns.items()}
    said = group.exchange((len(rows), rows.in_memory, rows.shape[1:], dtypes))
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
        gathered[name] = group.gather(column, counts)
    in_memory = all(in_memory for _, in_memory, *_ in said)
    return SpreadRows(rows, counts, group, in_memory=in_memory), gathered
