"""Groups of tied events, and segments of rows that have no risk set in common."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sksurvtorch.functional._order import nonzero


class Segments:
    """Strata or batches, whose rows stand beside each other: no risk set spans two of them.

    Parameters
    ----------
    lengths : int tensor of shape (n_segments,)
        Number of rows of each segment.
    """

    def __init__(self, lengths: Tensor) -> None:
        self.lengths = lengths
        self.start = lengths.cumsum(0) - lengths
        self.number = torch.arange(len(lengths), dtype=torch.int64, device=lengths.device)
        self.of_row = self.number.repeat_interleave(lengths, output_size=int(lengths.sum()))

    @classmethod
    def of(cls, stratum: Tensor) -> Segments:
        """Find the strata of rows that are sorted by stratum."""
        return cls(stratum.unique_consecutive(return_counts=True)[1])


class Groups(NamedTuple):
    """Groups of events at one time, which stand beside each other in the order of the risk sets.

    Numbers of rows, events and groups are int32 where they fit: half the memory to move.
    """

    row: Tensor  # (n_events,) row of each event
    # (n_rows,) event of the row, or the first one after it; `stop` if there is none
    following: Tensor
    start: Tensor  # (n_groups,) first event of each group
    size: Tensor | None  # (n_groups,) number of events; None if no two are tied
    of_event: Tensor | None  # (n_events,) group of each event; None if no two are tied
    segment: Tensor | None  # (n_events,) None for one segment
    stop: Tensor | None  # (n_segments,) first event of the next segment; None for one segment

    @classmethod
    def of(
        cls, event: Tensor, row: Tensor, key: Tensor, segments: Segments | None = None
    ) -> Groups:
        """Find the groups, given which rows are events, and the keys: those of ties are equal."""
        dtype = torch.int32 if event.numel() < 2**31 else torch.int64
        row = row.to(dtype)
        following = event.cumsum(0, dtype=dtype).sub_(event.to(dtype))
        event_key = key.index_select(0, row)
        is_first = torch.ones_like(row, dtype=torch.bool)
        torch.ne(event_key[1:], event_key[:-1], out=is_first[1:])
        segment = stop = None
        if segments is not None:
            segment = segments.of_row.index_select(0, row)
            stop = torch.searchsorted(segment, segments.number, right=True).to(dtype)
            following = torch.minimum(following, stop.index_select(0, segments.of_row))
            is_first[1:] |= segment[1:] != segment[:-1]
        start = nonzero(is_first).to(dtype)
        if start.numel() == row.numel():
            return cls(row, following, start, None, None, segment, stop)
        size = torch.diff(start, append=start.new_full((1,), len(row)))
        of_event = is_first.cumsum(0, dtype=dtype).sub_(1)
        return cls(row, following, start, size, of_event, segment, stop)

    @property
    def first(self) -> Tensor:
        """First row of each group."""
        return self.row.index_select(0, self.start)

    @property
    def last(self) -> Tensor:
        """Last row of each group."""
        return self.first if self.size is None else self.first + (self.size - 1)
