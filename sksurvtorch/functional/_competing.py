"""Rows that stay at risk of other causes after their event, in the sums by bins.

In the model of Fine and Gray a row with an event of another cause at T stays at risk at later times
t, with the weight G(t-) / G(T-), where G is the probability to be uncensored. The weight is a
product of a factor of the row and one of the denominator, so a sum over the first factors alone,
from the earliest time on, serves all denominators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from sksurvtorch.functional._arrays import Floats

Places = NDArray[np.intp]
#: Returns running sums within each set of bins.
Running = Callable[[Floats], Floats]

# Factors within exp(-600) and exp(600) are plain numbers, as hazard ratios are.
_LARGEST_LOG = 600.0


class Competing(NamedTuple):
    """Rows with an event of another cause, and the factors of their weights.

    A row here is a pair of a row of the data and a cause, as in the module `_bins_of_causes`.
    """

    row: Places  # (n_competing,)
    bin: Places  # (n_competing,) of each of them
    factor: Floats  # (n_competing,) 1 / G(T-)
    scale: Floats  # (n_denominators,) G(t-)

    @classmethod
    def of(
        cls, of_row: Places, other: NDArray[np.bool], log_censoring: Floats, at: Floats
    ) -> Self | None:
        """Return it, or None if the factors leave the range of plain numbers.

        Parameters
        ----------
        of_row : int array of shape (n_rows,)
            Bin of each row.
        other : bool array of shape (n_rows,)
            Whether a row has an event of another cause.
        log_censoring : array of shape (n_rows,)
            Logarithm of G at the time of each row.
        at : array of shape (n_denominators,)
            Logarithm of G at the time of each denominator.

        Returns
        -------
        Competing or None
            The rows.
        """
        row = other.nonzero()[0]
        log_factor = log_censoring.take(row)
        for logs in (log_factor, at):
            if len(logs) and np.abs(logs).max() > _LARGEST_LOG:
                return None
        return cls(row, of_row.take(row), np.exp(-log_factor), np.exp(at))

    @classmethod
    def of_sets(cls, sets: list[Competing], of_row: list[Places]) -> Competing:
        """Return those of all sets, given the bins of all rows of each set, one after the other."""
        n_rows = np.cumsum([0, *map(len, of_row[:-1])])
        return cls(
            np.concatenate([own.row + first for own, first in zip(sets, n_rows, strict=True)]),
            np.concatenate([bins[own.row] for own, bins in zip(sets, of_row, strict=True)]),
            np.concatenate([own.factor for own in sets]),
            np.concatenate([own.scale for own in sets]),
        )

    def split(self, of_row: list[Places], sizes: Places, n_denominators: Places) -> Iterator[Self]:
        """Yield those of several batches, given the bins of all rows of each batch."""
        stop = sizes.cumsum()
        ends = self.row.searchsorted(np.append(0, stop))
        scales = np.split(self.scale, n_denominators.cumsum()[:-1])
        parts = zip(of_row, stop - sizes, ends[:-1], ends[1:], scales, strict=True)
        for bins, start, first, end, scale in parts:
            row = self.row[first:end] - start
            yield type(self)(row, bins.take(row), self.factor[first:end], scale)

    def sums(self, hazard: Floats, n_bins: int, running: Running) -> Floats:
        """Return, by bin, the sum over the rows in it and behind it, each with its factor."""
        part = hazard.take(self.row)
        part *= self.factor
        return running(_sums(self.bin, part, n_bins)[::-1])[::-1]

    def by_row(self, own: Places, part: Floats, n_bins: int, running: Running) -> Floats:
        """Return for each of the rows the sum of what its denominators have, for the gradient."""
        before = running(_sums(own, part * self.scale, n_bins))
        return before.take(self.bin) * self.factor


def _sums(place: Places, x: Floats, n_places: int) -> Floats:
    """Return the sum of the numbers at each place."""
    return cast("Floats", np.bincount(place, x, n_places))
