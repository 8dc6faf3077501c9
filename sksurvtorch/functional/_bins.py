"""The sums of the partial likelihood by numpy: for rows on the CPU, of one stratum, from the start.

A second way to what the modules `_layout` and `_plan` do for all rows on all devices, because most
losses are of such rows, and the time of a batch is the number of operations: one of numpy takes a
third of the time of one of torch. Rows need no order either: where many share their time, nothing
is sorted, and each column is read once, as it lies in memory.

Each row belongs to a bin: twice the number of event times after its own, and one more if it has an
event. So bins go from the latest time to the earliest, and the events of a time stand behind the
rows censored at it, or since the event time before. The first bins up to one of events are a risk
set, S, and without that bin N, as in the module `_denominators`. Its example in bins, where the row
4 is now in front:

===  ====  =====  ===  ============
row  time  event  bin  hazard ratio
===  ====  =====  ===  ============
4    5     yes    3    10000
0    9     no     0    1
1    7     yes    1    10
2    5     no     2    100
3    5     yes    3    1000
5    2     yes    5    100000
===  ====  =====  ===  ============

===  ============  ======
bin  hazard ratio  sum
===  ============  ======
0    1             1
1    10            11
2    100           111
3    11000         11111
4    0             11111
5    100000        111111
===  ============  ======

The sums at the bins 1, 3 and 5 are the S of the three groups of events, those before are their N.
The l-th of d tied events has the denominator N + (1 - l / d) (S - N), in which S - N is the hazard
ratio of its bin: nothing is subtracted. For the gradient a denominator's number is divided the same
way, 1 - l / d of it to its bin of events, the rest to the bin before, and each row takes the sum of
its bin and those behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sksurvtorch.functional._arithmetic import LARGEST, SMALLEST
from sksurvtorch.functional._arrays import Floats, array, exp_, log_, returned
from sksurvtorch.functional._order import ranks

Places = NDArray[np.intp]

# Whole times that span so many, or as many as this times the rows, need no sort.
_FEW_TIMES, _TIMES_PER_ROW = 4096, 4
# Up to so many rows a sort takes less time than to find out.
_FEW_ROWS = 512
# Times up to it are whole numbers in float64, one by one.
_LARGEST_WHOLE = 2.0**53
# From so many rows on torch's sort by radix wins over numpy's.
_MANY_ROWS = 2**15


class Levels(NamedTuple):
    """Whole numbers of rows that rise from the latest time to the earliest."""

    of_row: Places  # (n_samples,) from 0 on
    stop: int  # above all of them


def levels(time: Tensor) -> Levels:
    """Return the levels of times."""
    x = array(time)
    if len(x) > _FEW_ROWS:
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
    level[order[1:]] = number = np.add.accumulate(in_order[1:] != in_order[:-1], dtype=np.intp)
    return Levels(level, int(number[-1]) + 1 if len(number) else 1)


class Tied(NamedTuple):
    """Denominators of tied events, by Efron: each event has its own."""

    bin: Places  # (n_events,) of each event, from the first bin on
    before: Places  # (n_events,) the bin before
    both: Places  # (2 * n_events,) `bin` and behind it `before`
    share: Floats  # (2, n_events) 1 - l / d and l / d: how a denominator is divided to the two

    @classmethod
    def of(cls, size: Places, n_events: int) -> Tied:
        """Return the denominators of groups of so many events."""
        group = np.arange(len(size)).repeat(size)
        rank = np.arange(n_events)
        rank -= (np.add.accumulate(size) - size)[group]
        share = np.empty((2, n_events))
        np.divide(rank, size[group], share[1])
        np.subtract(1.0, share[1], share[0])
        group *= 2
        return cls.at(group, share)

    @classmethod
    def at(cls, before: Places, share: Floats) -> Tied:
        """Return the denominators, given the bin before that of each event."""
        own = before + 1
        return cls(own, before, np.concatenate((own, before)), share)

    def split(self, first_group: Places, n_events: Places) -> list[Tied | None]:
        """Return those of several batches, given their first groups; None if none is tied."""
        before = _parts(self.before - (2 * first_group).repeat(n_events), n_events)
        shares = np.split(self.share, n_events.cumsum()[:-1], axis=1)
        pairs = zip(before, shares, strict=True)
        return [Tied.at(own, share) if share[1].any() else None for own, share in pairs]


class Bins(NamedTuple):
    """Rows in bins, and all else that the sums need and that does not depend on the network."""

    of_row: Places  # (n_samples,)
    n_bins: int
    tied: Tied | None  # None if each group has one denominator, S
    # In the mean of the loss: that is, divided by the total.
    denominator_weight: Floats  # (n_denominators,) of the logarithm of each
    event_weight: Floats  # (n_samples,) weight of a row with an event, 0 for a censored one
    total_event_weight: float
    log_weight: Floats | None = None  # (n_samples,)

    @classmethod
    def of(cls, columns: Mapping[str, Tensor], ties: str, level: Levels | None = None) -> Bins:
        """Put rows into bins.

        Parameters
        ----------
        columns : mapping of tensors of shape (n_samples,)
            Checked columns: event, time, and weight where given, the event False where it is 0.
        ties : {"efron", "breslow"}
            How events at the same time share their risk set.
        level : Levels, optional
            Of the times, where they are known.
        """
        bins = cls._undivided(columns, ties, level or levels(columns["time"]))
        for weight in (bins.denominator_weight, bins.event_weight):
            np.divide(weight, bins.total_event_weight, weight)
        return bins

    @classmethod
    def _undivided(cls, columns: Mapping[str, Tensor], ties: str, level: Levels) -> Bins:
        event = array(columns["event"])
        of_event = level.of_row[event]
        size: Places = np.bincount(of_event, minlength=level.stop)
        is_group = size > 0
        size = size[is_group]
        bin_of_level = is_group.astype(np.intp)
        np.subtract(np.add.accumulate(bin_of_level), bin_of_level, bin_of_level)
        bin_of_level *= 2
        of_row = bin_of_level[level.of_row]
        of_row += event
        n_groups, n_events = len(size), len(of_event)
        tied = Tied.of(size, n_events) if ties == "efron" and n_groups < n_events else None
        in_bins = of_row, 2 * n_groups + 1, tied
        if "weight" not in columns:
            each = size.astype(np.float64) if tied is None else np.ones(n_events)
            return cls(*in_bins, each, event.astype(np.float64), float(n_events))
        weight = array(columns["weight"].double())
        each = _sums(of_event, weight[event], level.stop)[is_group]
        each = each if tied is None else (each / size).repeat(size)
        event_weight = event * weight
        with np.errstate(divide="ignore"):  # a weight of 0
            log_weight = np.log(weight)
        return cls(*in_bins, each, event_weight, event_weight.sum().item(), log_weight)

    @classmethod
    def of_batches(
        cls, columns: Mapping[str, Tensor], ties: str, level: Places, sizes: Places
    ) -> list[Bins] | None:
        """Put the rows of several batches into bins, in one pass.

        Parameters
        ----------
        columns : mapping of tensors of shape (n_samples,)
            Columns of the rows of the first batch, then of the second, and so on.
        ties : {"efron", "breslow"}
            How events at the same time share their risk set.
        level : int array of shape (n_samples,)
            Levels of the rows.
        sizes : int array of shape (n_batches,)
            Number of rows of each batch, each with an event.

        Returns
        -------
        list of Bins, or None
            Of each batch what `of` returns; None if the rows of some batch do not lie in order.
        """
        start = sizes.cumsum() - sizes
        step = np.diff(level, prepend=level[:1])
        step[start] = 1
        if step.min() < 0:
            return None
        level = (step > 0).cumsum() - 1
        whole = cls._undivided(columns, ties, Levels(level, int(level[-1]) + 1))
        first_group = whole.of_row[start] // 2
        n_groups = np.diff(first_group, append=whole.n_bins // 2)
        n_events = np.add.reduceat(array(columns["event"]), start, dtype=np.intp)
        n_denominators = n_groups if whole.tied is None else n_events
        total = np.add.reduceat(whole.event_weight, start)
        none = [None] * len(sizes)
        each = zip(
            _parts(whole.of_row - (2 * first_group).repeat(sizes), sizes),
            (2 * n_groups + 1).tolist(),
            none if whole.tied is None else whole.tied.split(first_group, n_events),
            _parts(whole.denominator_weight / total.repeat(n_denominators), n_denominators),
            _parts(whole.event_weight / total.repeat(sizes), sizes),
            total.tolist(),
            none if whole.log_weight is None else _parts(whole.log_weight, sizes),
            strict=True,
        )
        return list(map(cls._make, each))

    # Of what is out of range or not finite; and large weights may be too large for float32.
    @np.errstate(over="ignore", invalid="ignore")
    def loss_and_gradient(
        self, log_hazard_ratio: Tensor, mean: bool, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None] | None:
        """Return the mean or sum of the loss, and its gradient if asked for.

        None if the hazard ratios leave the range of plain numbers, or are not finite.
        """
        log_hazard = array(log_hazard_ratio).astype(np.float64)
        of_events = log_hazard.dot(self.event_weight)
        if self.log_weight is not None:
            log_hazard += self.log_weight
        hazard = exp_(log_hazard)
        binned = _sums(self.of_row, hazard, self.n_bins)
        sums = np.add.accumulate(binned)
        tied = self.tied
        if tied is None:
            denominator = sums[1::2]
        else:
            denominator = binned[tied.bin]
            denominator *= tied.share[0]
            denominator += sums[tied.before]
        # Sums grow: the first bins with an event have the least denominator.
        if not (sums[1] > SMALLEST and sums[-1] < LARGEST and isfinite(of_events)):
            return None
        scale = 1.0 if mean else self.total_event_weight
        log_denominator = log_(denominator.copy())
        loss = (log_denominator.dot(self.denominator_weight) - of_events) * scale
        if not with_gradient:
            return returned(loss, None, log_hazard_ratio)
        part = self.denominator_weight / denominator
        if tied is None:
            parts = np.zeros(self.n_bins)
            parts[1::2] = part
        else:
            parts = _sums(tied.both, (tied.share * part).ravel(), self.n_bins)
        gradient = np.add.accumulate(parts[::-1])[::-1][self.of_row]
        gradient *= hazard
        gradient -= self.event_weight
        gradient *= scale
        return returned(loss, gradient, log_hazard_ratio)


def _sums(place: Places, x: Floats, n_places: int) -> Floats:
    """Return the sum of the numbers at each place."""
    sums: Any = np.bincount(place, x, n_places)
    return sums  # type: ignore[no-any-return]


def _parts(x: NDArray[Any], sizes: Places) -> list[NDArray[Any]]:
    """Split an array into parts of these sizes."""
    return np.split(x, sizes.cumsum()[:-1])
