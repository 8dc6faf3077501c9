"""Rows of the Cox partial likelihood: their columns, and what follows from them row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from sksurvtorch.functional._arithmetic import widest
from sksurvtorch.functional._order import keys


class Rows(NamedTuple):
    """Columns that were checked, with keys to sort the rows by, and weights for their sums.

    Each column has the shape (n_samples,); one that was not given is None.
    """

    event: Tensor  # bool; False in a row of weight 0
    time: Tensor
    entry: Tensor | None
    stratum: Tensor | None
    weight: Tensor | None
    key: Tensor  # int64; ascends in the order of the risk sets
    stop_key: Tensor | None  # from this key on a row is not at risk; None without late entry
    event_weight: Tensor  # weight of a row with an event, 0 for a censored one
    log_weight: Tensor | None
    # Of all rows that were given: a part of them may have less, but is computed in the same way.
    log_weight_range: float = 0.0
    log_weight_middle: float = 0.0

    @classmethod
    def of(cls, columns: Mapping[str, Tensor]) -> Rows:
        """Return the rows with these columns, which are kept without a copy."""
        event, time = events(columns), columns["time"]
        entry, stratum, weight = columns.get("entry"), columns.get("stratum"), columns.get("weight")
        key, stop_key = keys(event, time, entry, stratum)
        given = event, time, entry, stratum, weight, key, stop_key
        event_weight = event.to(widest(event.device))
        if weight is None:
            return cls(*given, event_weight, None)
        wide = weight.to(event_weight.dtype)
        log_weight = wide.log()
        lowest, highest = log_weight[wide > 0].aminmax()
        spread, middle = float(highest - lowest), float(highest + lowest) / 2
        return cls(*given, event_weight * wide, log_weight, spread, middle)

    @property
    def columns(self) -> dict[str, Tensor]:
        """The columns that were given, by name."""
        names = ("event", "time", "entry", "stratum", "weight")
        given = {name: getattr(self, name) for name in names}
        return {name: column for name, column in given.items() if column is not None}

    def take(self, index: Tensor) -> Rows:
        """Return the rows at `index`."""
        return Rows(*self._each(lambda column: column.index_select(0, index)))

    def split(self, sizes: list[int]) -> list[Rows]:
        """Return the first rows, those behind them, and so on: as many of them as `sizes` says."""
        parts = self._each(lambda column: column.split(sizes))
        each = [x if isinstance(x, tuple) else [x] * len(sizes) for x in parts]
        return [Rows(*part) for part in zip(*each, strict=True)]

    def _each(self, of: Callable[[Tensor], Any]) -> list[Any]:
        """Return the fields, with something else in place of each tensor."""
        return [of(x) if isinstance(x, Tensor) else x for x in self]


def events(columns: Mapping[str, Tensor]) -> Tensor:
    """Return which rows have an event that counts: one of weight 0 does not."""
    event, weight = columns["event"], columns.get("weight")
    return event if weight is None else event & (weight > 0)
