"""Probabilities to be uncensored and to have entered, by which Fine and Gray's weights are made.

At one time events come first, then censorings, then entries, as in R's `finegray`. So the curve G
of the censoring has a factor 1 - C / (N + C) at the time of each censoring, where C is the weight
of the rows censored there and N that of the rows at risk after it. That is 1 / (1 + C / N), whose
logarithm does not cancel, with weights of any size. The curve H of late entry has such factors at
the times of entry, on the reverse time scale: of the rows at risk after a time of entry, C enter
there and N before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sksurvtorch._validation import array, comparable
from sksurvtorch.functional._arithmetic import Linear, widest
from sksurvtorch.functional._levels import Levels
from sksurvtorch.functional._order import codes_of, nonzero, ranks
from sksurvtorch.functional._sums import IntervalSums, RunningSums


def log_censoring(columns: Mapping[str, Tensor], level: Levels | None = None) -> Tensor:
    """Return the logarithm of G(t-) H(t-) at the time of each row, up to constants of strata.

    Parameters
    ----------
    columns : mapping of tensors of shape (n_samples,)
        Checked columns: status, time, and entry, stratum and weight where given.
    level : Levels, optional
        Of the times, where they are known: on the CPU, without entry and stratum.

    Returns
    -------
    tensor of shape (n_samples,)
        In float64 where the device has it. Only differences within a stratum have a meaning.

    Raises
    ------
    ValueError
        If with late entry there is no ratio for an event and an earlier one of another cause.
    """
    status = columns["status"]
    if level is not None:
        return _of_levels(level, columns)
    keys = Keys.of(columns)
    dtype = widest(status.device)
    weight = columns.get("weight", torch.ones_like(status)).to(dtype)
    found = Curve.of(keys, keys.time, weight, status == 0).before(keys)
    if "entry" in columns:
        entries = Curve.of(keys, keys.entry, weight, weight > 0)
        _check_gaps(keys, entries, columns)
        found -= entries.before(keys)
    return found


def centred(log_censoring: Tensor) -> Tensor:
    """Return logarithms around 0, so that numbers are within range where their ratios are."""
    lowest, highest = log_censoring.aminmax()
    return log_censoring - (lowest + highest) / 2


def _of_levels(level: Levels, columns: Mapping[str, Tensor]) -> Tensor:
    """Return it on the CPU, for one stratum without late entry; levels rise back in time."""
    of_row, stop = level
    weight = None if "weight" not in columns else array(columns["weight"].double())
    is_censored = array(columns["status"]) == 0
    mass = np.bincount(of_row, weight, stop)
    own = np.bincount(of_row[is_censored], None if weight is None else weight[is_censored], stop)
    later = np.zeros(stop)
    np.cumsum(mass[:-1], out=later[1:])
    with np.errstate(divide="ignore", invalid="ignore"):  # what is 0, or not used
        log_factor = -np.logaddexp(0.0, np.log(own) - np.log(later))
    log_factor[later <= 0] = 0.0
    before = np.zeros(stop)
    before[:-1] = np.cumsum(log_factor[:0:-1])[::-1]
    return torch.from_numpy(before.take(of_row))


class Keys(NamedTuple):
    """Integers in the order of strata, and of times within each."""

    time: Tensor  # (n_samples,) int64
    entry: Tensor  # (n_samples,) int64, less than all of the stratum without late entry
    width: int  # what the keys of a stratum differ by from those of the next
    n_strata: int

    @classmethod
    def of(cls, columns: Mapping[str, Tensor]) -> Keys:
        """Return the keys of the times and entries of rows."""
        time, entry, n = columns["time"], columns.get("entry"), len(columns["time"])
        if entry is None:
            time = ranks(time) + 1
            entry = torch.zeros_like(time)
        else:
            both = ranks(torch.cat(comparable(time, entry)))
            time, entry = both[:n] + 1, both[n:] + 1
        width = 2 * n + 1
        if "stratum" not in columns:
            return cls(time, entry, width, 1)
        code = codes_of(columns["stratum"])
        shift = width * code
        return cls(time + shift, entry + shift, width, int(code.max()) + 1)


class Curve(NamedTuple):
    """Factors at some times of each stratum, of which a product is the logarithm of a curve."""

    point: Tensor  # (n_points,) keys of times, ascending
    log_factor: Tensor  # (n_points,) 0 where no other row is at risk
    is_empty: Tensor  # (n_points,) whether no other row is at risk

    @classmethod
    def of(cls, keys: Keys, key: Tensor, weight: Tensor, at: Tensor) -> Curve:
        """Return the factors at the keys of the rows `at`, which are censored or enter there."""
        point, place = key[at].unique(return_inverse=True)
        own = Linear.bin(weight[at], place, len(point))
        start = torch.searchsorted(point, keys.entry, right=True)
        stop = torch.maximum(start, torch.searchsorted(point, keys.time))
        others = IntervalSums.of(start, stop, len(point)).at_points(Linear, weight)
        is_empty = others <= 0
        ratio = own.log() - others.log()
        log_factor = -torch.logaddexp(torch.zeros_like(ratio), ratio)
        return cls(point, log_factor.masked_fill(is_empty, 0.0), is_empty)

    def before(self, keys: Keys) -> Tensor:
        """Return for each row the sum of the logarithms of its stratum, before its time."""
        k = torch.searchsorted(self.point, keys.time)
        if keys.n_strata == 1:
            return RunningSums.of(None)(Linear, self.log_factor).index_select(0, k)
        lengths = torch.bincount(self.point // keys.width, minlength=keys.n_strata)
        stratum = keys.time // keys.width
        k -= (lengths.cumsum(0) - lengths).index_select(0, stratum)
        sums = RunningSums.of(lengths)
        return sums(Linear, self.log_factor).index_select(0, sums.slots(stratum, k))


def _check_gaps(keys: Keys, entries: Curve, columns: Mapping[str, Tensor]) -> None:
    """Raise if nobody is at risk between an event and a later one of another cause.

    What enters after such a gap tells nothing of who could have entered before it.
    """
    gap = entries.point[entries.is_empty]
    row = nonzero(columns["status"] > 0)
    cause, key = columns["status"][row] - 1, keys.time[row]
    stratum, shape = key // keys.width, (int(cause.max()) + 1, keys.n_strata)
    place = cause * keys.n_strata + stratum
    empty = key.new_zeros(shape[0] * shape[1])
    last = empty.fill_(-1).scatter_reduce(0, place, key, "amax").view(shape)
    first = empty.fill_(int(keys.time.max()) + 1).scatter_reduce(0, place, key, "amin").view(shape)
    of_gap = gap // keys.width
    before, after = first[:, of_gap] <= gap, last[:, of_gap] > gap
    n_before, n_after = before.sum(0), after.sum(0)
    same = (n_before == 1) & (n_after == 1) & (before & after).any(0)
    crossed = (n_before > 0) & (n_after > 0) & ~same
    if bool(crossed.any()):
        rows = (keys.entry == gap[crossed][0]).nonzero()
        time = columns["entry"][int(rows[0])].item()
        raise ValueError(
            "`entry` must leave a row at risk throughout for `hazard='subdistribution'`, got none "
            f"when rows enter at {time!r}, after an event and before one of another cause: the "
            "probability to have entered cannot be estimated. Leave out the rows before that "
            "time, or take `hazard='cause-specific'`."
        )
