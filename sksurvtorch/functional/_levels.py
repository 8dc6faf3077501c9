"""Whole numbers in the order of times, from the latest to the earliest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sksurvtorch._validation import array
from sksurvtorch.functional._arrays import running_sums
from sksurvtorch.functional._order import ranks

Places = NDArray[np.intp]

# Whole times that span so many, or as many as this times the rows, need no sort.
_FEW_TIMES, _TIMES_PER_ROW = 4096, 4
# Up to so many rows a sort takes less time than to find out; and to sum all their levels takes less
# than to join some.
FEW_ROWS = 512
# Times up to it are whole numbers in float64, one by one.
_LARGEST_WHOLE = 2.0**53
# From so many rows on torch's sort by radix wins over numpy's.
_MANY_ROWS = 2**15


class Levels(NamedTuple):
    """Whole numbers of rows that rise from the latest time to the earliest."""

    of_row: Places  # (n_samples,) from 0 on
    stop: int  # above all of them

    def n_events(self, event: NDArray[np.bool]) -> Places:
        """Return the number of events at each level."""
        number: Places = np.bincount(self.of_row.compress(event), minlength=self.stop)
        return number

    def joined(self, event: NDArray[np.bool]) -> tuple[Levels, Places]:
        """Return the levels of event times alone, which rows between take too; events at each."""
        n_events = self.n_events(event)
        at = (n_events > 0).nonzero()[0]  # bits are found faster than numbers
        later = np.zeros(self.stop + 1, np.intp)
        later[at + 1] = 1
        joined = np.zeros(len(at) + 1, np.intp)
        joined[:-1] = n_events.take(at)
        return Levels(running_sums(later).take(self.of_row), len(joined)), joined


def levels(time: Tensor) -> Levels:
    """Return the levels of times."""
    x = array(time)
    if len(x) > FEW_ROWS:
        low, high = x.min().item(), x.max().item()
        may_be_whole = x.dtype.kind != "f" or max(-low, high) <= _LARGEST_WHOLE
        if may_be_whole and high - low <= max(_FEW_TIMES, _TIMES_PER_ROW * len(x)):
            whole = x.astype(np.intp)
            if x.dtype.kind != "f" or (whole == x).all():
                return Levels(int(high) - whole, int(high) - int(low) + 1)
        if len(x) >= _MANY_ROWS:
            rank = ranks(time).numpy()
            last = int(rank.max())
            return Levels(last - rank, last + 1)
    order = x.argsort()[::-1]
    in_order = x[order]
    level = np.zeros(len(x), np.intp)
    is_new = (in_order[1:] != in_order[:-1]).astype(np.intp)
    level[order[1:]] = number = running_sums(is_new)
    return Levels(level, int(number[-1]) + 1 if len(number) else 1)
