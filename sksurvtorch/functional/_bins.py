"""The sums of the partial likelihood by numpy: for rows on the CPU, of one stratum, from the start.

A second way to what the modules `_layout` and `_plan` do for all rows on all devices, because most
losses are of such rows, and the time of a batch is the number of operations: one of numpy takes a
third of the time of one of torch. Rows need no order either: of many rows with whole times nothing
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

Several sets of rows, such as the batches of the members of an ensemble, have their bins one set
after the other, as many for each, and the sums begin anew with each set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isfinite
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sksurvtorch._validation import array
from sksurvtorch.functional._arrays import Floats, exp_, log_, returned, running_sums
from sksurvtorch.functional._competing import Competing
from sksurvtorch.functional._levels import FEW_ROWS, Levels, levels

Places = NDArray[np.intp]

# Of sums of hazard ratios, as they are: float64 leaves room for the inverses of these.
_SMALLEST, _LARGEST = 1e-280, 1e280


class Tied(NamedTuple):
    """How Efron divides the denominators of tied events, of which each has its own."""

    before: Places  # (n_events,) the bin before that of each event: the end of `both`
    both: Places  # (2 * n_events,) the bin of each event, and behind them those before
    share: Floats  # (2, n_events) 1 - l / d for the bin, and l / d for the bin before

    @classmethod
    def of(cls, bin_of_event: Places, share: Floats) -> Tied:
        """Return it for events in the order of their bins."""
        both = np.concatenate((bin_of_event, bin_of_event - 1))
        return cls(both[len(bin_of_event) :], both, share)


class Bins(NamedTuple):
    """Rows in bins, and all else that the sums need and that does not depend on the network."""

    of_row: Places  # (n_samples,)
    n_bins: int
    of_denominator: Places  # (n_denominators,) the last bin in each, ascending
    tied: Tied | None  # None if each time has one denominator, S
    denominator_weight: Floats  # (n_denominators,) of the logarithm of each
    event_weight: Floats  # (n_samples,) weight of a row with an event, 0 for a censored one
    total_event_weight: float
    log_weight: Floats | None = None  # (n_samples,)
    n_sets: int = 1  # of rows, none of which is at risk in another one
    competing: Competing | None = None  # rows at risk after their event, of another cause

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

        Returns
        -------
        Bins
            The bins of all rows.
        """
        level, event = level or levels(columns["time"]), array(columns["event"])
        many = len(level.of_row) > FEW_ROWS
        level, n_events = level.joined(event) if many else (level, level.n_events(event))
        return cls.of_levels(columns, ties, level, event, n_events)

    @classmethod
    def of_levels(
        cls,
        columns: Mapping[str, Tensor],
        ties: str,
        level: Levels,
        event: NDArray[np.bool],
        n_events: Places,
    ) -> Bins:
        """Put rows into bins, given the number of events at each level."""
        of_row = 2 * level.of_row
        of_row += event
        at = n_events.nonzero()[0]
        size = n_events.take(at)
        total = int(np.count_nonzero(event))
        own, tied = 2 * at, None
        own += 1
        if ties == "efron" and len(at) < total:
            own = own.repeat(size)
            tied = Tied.of(own, _shares(size, total))
        in_bins = of_row, 2 * level.stop, own, tied
        if "weight" not in columns:
            each = size.astype(np.float64) if tied is None else np.ones(total)
            return cls(*in_bins, each, event.astype(np.float64), float(total))
        weight = array(columns["weight"].double())
        each = _sums(level.of_row.compress(event), weight.compress(event), level.stop)[at]
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
        event, number = array(columns["event"]), (step > 0).cumsum() - 1
        joined, n_at_level = Levels(number, int(number[-1]) + 1).joined(event)
        whole = cls.of_levels(columns, ties, joined, event, n_at_level)
        first = joined.of_row[start]
        width = np.diff(first, append=joined.stop - 1) + 1
        return whole.split(first, width, sizes)

    def split(self, first: Places, width: Places, sizes: Places, n_sets: int = 1) -> list[Bins]:
        """Return the bins of several batches, whose rows stand behind each other.

        Parameters
        ----------
        first : int array of shape (n_batches,)
            Level at which each batch begins; its last one may be the first one of the next batch.
        width : int array of shape (n_batches,)
            Number of levels of each batch.
        sizes : int array of shape (n_batches,)
            Number of rows of each batch, each with an event.
        n_sets : int, default=1
            Number of sets of rows in each batch.

        Returns
        -------
        list of Bins
            The bins of each batch.
        """
        start, none = sizes.cumsum() - sizes, [None] * len(sizes)
        ends = np.append(self.of_denominator.searchsorted(2 * first), len(self.of_denominator))
        n_denominators = np.diff(ends)
        own = _parts(self.of_denominator - (2 * first).repeat(n_denominators), n_denominators)
        tied: list[Tied | None] = [*none]
        if self.tied is not None:
            shares = np.split(self.tied.share, n_denominators.cumsum()[:-1], axis=1)
            pairs = zip(own, shares, strict=True)
            tied = [Tied.of(bins, share) if share[1].any() else None for bins, share in pairs]
        log_weight, of_row = self.log_weight, _parts(self.of_row - (2 * first).repeat(sizes), sizes)
        competing: list[Competing | None] = [*none]
        if self.competing is not None:
            competing = [*self.competing.split(of_row, sizes, n_denominators)]
        each = zip(
            of_row,
            (2 * width).tolist(),
            own,
            tied,
            _parts(self.denominator_weight, n_denominators),
            _parts(self.event_weight, sizes),
            np.add.reduceat(self.event_weight, start).tolist(),
            none if log_weight is None else _parts(log_weight, sizes),
            [n_sets] * len(sizes),
            competing,
            strict=True,
        )
        return list(map(Bins._make, each))

    @classmethod
    def of_sets(cls, sets: Sequence[Bins], factors: Sequence[float]) -> Bins:
        """Put several sets of rows beside each other.

        Parameters
        ----------
        sets : sequence of Bins
            The bins of each set; or of each of several times as many, as those of causes are.
        factors : sequence of float
            What the mean loss of each set is multiplied by.

        Returns
        -------
        Bins
            Bins of all rows, the first set in front, whose loss is the sum of those of the sets:
            each its mean, times its factor.
        """
        shares = [f / bins.total_event_weight for f, bins in zip(factors, sets, strict=True)]
        n_sets = sets[0].n_sets
        width = max(bins.n_bins for bins in sets) // n_sets
        places = [
            _Places(bins.n_bins // n_sets, width, width * n_sets * k) for k, bins in enumerate(sets)
        ]
        own = np.concatenate([at(b.of_denominator) for at, b in zip(places, sets, strict=True)])
        tied = None
        if any(bins.tied is not None for bins in sets):
            tied = Tied.of(own, np.concatenate([_share(bins) for bins in sets], axis=1))
        log_weight = None
        if any(bins.log_weight is not None for bins in sets):
            log_weight = np.concatenate([_log_weight(bins) for bins in sets])
        of_row = [at(bins.of_row) for at, bins in zip(places, sets, strict=True)]
        each = [b.competing for b in sets if b.competing is not None]
        return cls(
            np.concatenate(of_row),
            width * n_sets * len(sets),
            own,
            tied,
            np.concatenate([b.denominator_weight * f for b, f in zip(sets, shares, strict=True)]),
            np.concatenate([b.event_weight * f for b, f in zip(sets, shares, strict=True)]),
            1.0,
            log_weight,
            n_sets * len(sets),
            Competing.of_sets(each, of_row) if each else None,
        )

    # Of what is out of range or not finite; and large weights may be too large for float32.
    @np.errstate(over="ignore", invalid="ignore")
    def loss_and_gradient(
        self, log_hazard_ratio: Tensor, mean: bool, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None] | None:
        """Return the mean or sum of the loss, and its gradient if asked for.

        Parameters
        ----------
        log_hazard_ratio : tensor of shape (n_samples,)
            Of any floating-point type.
        mean : bool
            Whether to divide by the sum of the weights of the events.
        with_gradient : bool
            Whether the gradient is needed.

        Returns
        -------
        loss : tensor of shape ()
            The mean or sum.
        gradient : tensor of shape (n_samples,), or None
            In place of both None, if the hazard ratios leave the range of plain numbers, or are not
            finite.
        """
        log_hazard = array(log_hazard_ratio).astype(np.float64)
        of_events = log_hazard.dot(self.event_weight)
        if self.log_weight is not None:
            log_hazard += self.log_weight
        hazard = exp_(log_hazard)
        binned = _sums(self.of_row, hazard, self.n_bins)
        sums = self._running(binned)
        own, tied, competing = self.of_denominator, self.tied, self.competing
        least, largest = self._range(sums)
        if competing is not None:
            after = competing.sums(hazard, self.n_bins, self._running)
            largest = max(largest, after.max())
        if not (least > _SMALLEST and largest < _LARGEST and isfinite(of_events)):
            return None
        if tied is None:
            denominator = sums[own]
        else:
            denominator = binned[own]
            denominator *= tied.share[0]
            denominator += sums[tied.before]
        if competing is not None:
            denominator += competing.scale * after[own]
        part = self.denominator_weight / denominator
        divisor = self.total_event_weight if mean else 1.0
        loss = (log_(denominator).dot(self.denominator_weight) - of_events) / divisor
        if not with_gradient:
            return returned(loss, None, log_hazard_ratio)
        if tied is None:
            parts = np.zeros(self.n_bins)
            parts[own] = part
        else:
            parts = _sums(tied.both, (tied.share * part).ravel(), self.n_bins)
        gradient = self._running(parts[::-1])[::-1][self.of_row]
        if competing is not None:
            of_others = competing.by_row(own, part, self.n_bins, self._running)
            gradient[competing.row] += of_others
        gradient *= hazard
        gradient -= self.event_weight
        gradient /= divisor
        return returned(loss, gradient, log_hazard_ratio)

    def _running(self, x: Floats) -> Floats:
        """Return the running sums of the numbers of all bins, within each set."""
        if self.n_sets == 1:
            return running_sums(x)
        return np.add.accumulate(x.reshape(self.n_sets, -1), axis=1).ravel()

    def _range(self, sums: Floats) -> tuple[float, float]:
        """Return the least denominator, and the largest sum, of all sets."""
        own = self.of_denominator  # sums grow: the first denominator of a set is its least
        if self.n_sets == 1:
            return sums[own[0]], sums[-1]
        width = self.n_bins // self.n_sets
        first = own.searchsorted(np.arange(0, self.n_bins, width))
        first = own[np.minimum(first, len(own) - 1)]  # a set without events has none of its own
        return sums[first].min(), sums[width - 1 :: width].max()


def _shares(size: Places, n_events: int) -> Floats:
    """Return how the denominators of events are divided, given how many are tied."""
    left = running_sums(size).repeat(size)
    left -= np.arange(n_events)
    share = np.empty((2, n_events))
    np.divide(left, size.repeat(size), share[0])
    np.subtract(1.0, share[0], share[1])
    return share


class _Places(NamedTuple):
    """Where bins stand that had stood in sets of another width."""

    width: int  # of the sets that they stood in
    other: int  # of those in which they stand
    start: int  # of the first one

    def __call__(self, place: Places) -> Places:
        """Return the places of bins."""
        if self.width == self.other:
            return place + self.start
        return place + (self.other - self.width) * (place // self.width) + self.start


def _share(bins: Bins) -> Floats:
    """Return how the denominators are divided: 1 and 0 where none is."""
    if bins.tied is not None:
        return bins.tied.share
    return np.stack((np.ones(len(bins.of_denominator)), np.zeros(len(bins.of_denominator))))


def _log_weight(bins: Bins) -> Floats:
    """Return the logarithms of the weights, 0 where none are given."""
    return np.zeros(len(bins.of_row)) if bins.log_weight is None else bins.log_weight


def _sums(place: Places, x: Floats, n_places: int) -> Floats:
    """Return the sum of the numbers at each place."""
    # The types of numpy take all counts for integers, those of weights too.
    return cast("Floats", np.bincount(place, x, n_places))


def _parts(x: NDArray[Any], sizes: Places) -> list[NDArray[Any]]:
    """Split an array into parts of these sizes."""
    ends = [0, *sizes.cumsum().tolist()]  # by slices: np.split takes ten times as long
    return [x[start:end] for start, end in pairwise(ends)]
