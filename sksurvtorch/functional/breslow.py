"""Cox proportional hazards: Breslow's baseline hazard."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sksurvtorch._validation import check_any_event, check_columns
from sksurvtorch.functional._arithmetic import LINEAR_RANGE, Arithmetic, Linear, Log, widest
from sksurvtorch.functional._autograd import refuse_transforms
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.functional._groups import Groups, Segments
from sksurvtorch.functional._order import keys, nonzero, sort
from sksurvtorch.functional._risk_set import RiskSets
from sksurvtorch.functional._rows import events
from sksurvtorch.functional._sums import RunningSums
from sksurvtorch.functional.cox import (
    check_alone,
    check_log_hazard_ratio,
    log_weighted_,
)

# Rows that are binned at once.
_PIECE = 2**20


class BreslowBaseline(NamedTuple):
    """Baseline cumulative hazard at the event times, as `breslow_baseline` gives it.

    Attributes
    ----------
    stratum : int tensor of shape (n_times,), or None
        Stratum of each entry, ascending; None without strata.
    times : tensor of shape (n_times,)
        The distinct event times of each stratum, ascending.
    log_cumulative_hazard : tensor of shape (n_times,)
        Logarithm of the baseline cumulative hazard at `times`; it is 0 before the first of them.
    """

    stratum: Tensor | None
    times: Tensor
    log_cumulative_hazard: Tensor


@left_out_of_graphs
def breslow_baseline(
    log_hazard_ratio: Tensor,
    event: Tensor | None = None,
    time: Tensor | None = None,
    *,
    entry: Tensor | None = None,
    stratum: Tensor | None = None,
    weight: Tensor | None = None,
    risk_sets: RiskSets | None = None,
) -> BreslowBaseline:
    r"""Breslow estimate of the baseline cumulative hazard of a Cox model.

    :math:`H_0(t)` is the sum over the event times up to t, of this stratum, of
    :math:`\sum_{i \in D} w_i / \sum_{j \in R} w_j e^{\eta_j}`, and a row's survival is
    :math:`\exp(-H_0(t) e^\eta)`. The estimate is the same for both ways to treat ties.

    Parameters
    ----------
    log_hazard_ratio : tensor of shape (n_samples,) or (n_samples, 1)
        Output of the network for the rows it was fitted on.
    event, time, entry, stratum, weight : tensor of shape (n_samples,), optional
        As for `cox_neg_partial_log_likelihood`.
    risk_sets : RiskSets, optional
        Given in place of `event`, `time`, `entry`, `stratum` and `weight`, to sort once for many
        calls.

    Returns
    -------
    BreslowBaseline
        `stratum`, `times` and `log_cumulative_hazard`, in float64 where the device has it.

    Raises
    ------
    NoEventError
        If there is no event of positive weight.
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    Notes
    -----
    Adding a constant to `log_hazard_ratio` subtracts it from the result. No gradient is offered.

    Without late entry and without `risk_sets` rows are binned by the event times rather than
    sorted: that takes little memory besides the columns.

    References
    ----------
    .. [1] N. Breslow, discussion of D. R. Cox, "Regression models and life-tables", JRSS B 34,
       1972, doi:10.1111/j.2517-6161.1972.tb00899.x.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.functional import breslow_baseline
    >>> event, time = torch.tensor([True, True, False]), torch.tensor([1.0, 2.0, 3.0])
    >>> breslow_baseline(torch.zeros(3), event, time).log_cumulative_hazard.exp()  # 1/3, 1/3 + 1/2
    tensor([0.3333, 0.8333], dtype=torch.float64)
    """
    refuse_transforms("breslow_baseline", "It has no gradient: call it before or after.")
    if risk_sets is None:
        columns = check_columns(event, time, entry, stratum, weight)
        if entry is None:
            return _by_group(log_hazard_ratio, columns)
        risk_sets = RiskSets.of_columns(columns, ties="efron")
    else:
        check_alone(risk_sets, event, time, entry, stratum, weight)
    n_samples, device = risk_sets.n_samples, risk_sets.device
    given = "risk_sets" if event is None else "event"
    eta = check_log_hazard_ratio(log_hazard_ratio, n_samples, device, given).detach()
    groups, segments, log_hazard = log_hazard_steps(eta, risk_sets)
    lengths = None
    if segments is not None and groups.segment is not None:
        of_group = groups.segment.index_select(0, groups.start)
        lengths = torch.bincount(of_group, minlength=len(segments.number))
    sums = RunningSums.of(lengths, from_end=True)
    log_cumulative_hazard = sums.up_to_each(Log, log_hazard).flip(0)
    row = risk_sets.row(groups.last).flip(0)
    columns = risk_sets.columns
    times = columns["time"].index_select(0, row)
    if segments is None:
        return BreslowBaseline(None, times, log_cumulative_hazard)
    stratum, order = columns["stratum"].index_select(0, row).sort(stable=True)
    return BreslowBaseline(stratum, times[order], log_cumulative_hazard[order])


def log_hazard_steps(
    log_hazard_ratio: Tensor, risk_sets: RiskSets
) -> tuple[Groups, Segments | None, Tensor]:
    """Return the groups of tied events, the strata, and the logarithm of the step at each group."""
    groups, segments = risk_sets.groups()
    eta = log_hazard_ratio.to(widest(log_hazard_ratio.device), copy=True)
    v = risk_sets.in_order(log_weighted_(eta, risk_sets))
    log_risk = risk_sets.layout.plan.denominators(Log, v)
    if len(log_risk) > len(groups.start):
        # The first denominator of tied events is the sum over all at risk.
        log_risk = log_risk.index_select(0, groups.start)
    return groups, segments, risk_sets.group_weight(groups).log() - log_risk


class _Groups(NamedTuple):
    """The events of each time and stratum, from the latest time to the earliest."""

    key: Tensor  # (n_groups,) ascending
    row: Tensor  # (n_groups,) an event of each group
    weight: Tensor  # (n_groups,) sum of the weights of the events of each group
    stratum: Tensor | None  # (n_groups,)

    @classmethod
    def of(cls, key: Tensor, event: Tensor, columns: dict[str, Tensor]) -> _Groups:
        """Find the groups; the keys of ties are equal."""
        row = nonzero(event)
        event_key, order = sort(key.index_select(0, row))
        row = row.index_select(0, order)
        del order  # of many events such a vector is large
        is_new = torch.ones_like(event_key, dtype=torch.bool)
        torch.ne(event_key[1:], event_key[:-1], out=is_new[1:])
        event_key, start = event_key[is_new], nonzero(is_new)
        dtype = widest(row.device)
        if "weight" in columns:
            weight = columns["weight"].index_select(0, row).to(dtype)
            weight = Linear.bin(weight, is_new.cumsum(0).sub_(1), len(start))
        else:
            weight = torch.diff(start, append=start.new_tensor([len(row)])).to(dtype)
        first = row.index_select(0, start)
        stratum = columns.get("stratum")
        return cls(event_key, first, weight, None if stratum is None else stratum[first])


def _by_group(log_hazard_ratio: Tensor, columns: dict[str, Tensor]) -> BreslowBaseline:
    """Return the baseline without late entry, by sums over the rows that leave between events."""
    event = events(columns)
    check_any_event(int(event.sum()), len(event))
    eta = check_log_hazard_ratio(log_hazard_ratio, len(event), event.device, "event").detach()
    key, _ = keys(event, columns["time"], None, columns.get("stratum"))
    groups = _Groups.of(key, event, columns)
    log_left = _log_left(eta, key, groups, columns)
    del key
    lengths = None
    if groups.stratum is not None:
        lengths = groups.stratum.unique_consecutive(return_counts=True)[1]
    log_risk = RunningSums.of(lengths).up_to_each(Log, log_left)
    sums = RunningSums.of(lengths, from_end=True)
    log_cumulative_hazard = sums.up_to_each(Log, groups.weight.log() - log_risk).flip(0)
    times = columns["time"].index_select(0, groups.row).flip(0)
    if groups.stratum is None:
        return BreslowBaseline(None, times, log_cumulative_hazard)
    stratum, order = groups.stratum.flip(0).sort(stable=True)
    return BreslowBaseline(stratum, times[order], log_cumulative_hazard[order])


def _log_left(eta: Tensor, key: Tensor, groups: _Groups, columns: dict[str, Tensor]) -> Tensor:
    """Return for each group the log sum of the hazard ratios of the rows that leave after it.

    A row leaves after the latest event time at which it is at risk.
    """
    log_weight = columns["weight"].to(widest(eta.device)).log() if "weight" in columns else None
    arithmetic, middle = _arithmetic(eta, log_weight)
    n_groups = len(groups.key)
    left = torch.full((n_groups,), arithmetic.zero, dtype=widest(eta.device), device=eta.device)
    for start in range(0, len(key), _PIECE):
        piece = slice(start, start + _PIECE)
        v = eta[piece].to(left.dtype) - middle
        if log_weight is not None:
            v += log_weight[piece]
        last = torch.searchsorted(groups.key, key[piece])
        is_at_risk = last < n_groups
        if groups.stratum is not None:  # of another one is the group behind the last of its own
            of_last = groups.stratum.index_select(0, last.clamp(max=n_groups - 1))
            is_at_risk &= of_last == columns["stratum"][piece]
        v, last = arithmetic.from_log_(v[is_at_risk]), last[is_at_risk]
        left = arithmetic.plus_(left, arithmetic.bin(v, last, n_groups))
    return arithmetic.to_log_(left).add_(middle)


def _arithmetic(eta: Tensor, log_weight: Tensor | None) -> tuple[Arithmetic, float]:
    """Return the arithmetic that is safe for these hazard ratios, and their log scale."""
    lowest, highest = (bound.item() for bound in eta.aminmax())
    if log_weight is not None:
        present = log_weight[log_weight.isfinite()]
        lowest, highest = lowest + float(present.min()), highest + float(present.max())
    if highest - lowest <= LINEAR_RANGE:
        return Linear, (lowest + highest) / 2
    return Log, 0.0
