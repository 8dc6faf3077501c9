"""Competing risks: baseline hazards of all causes, and cumulative incidences."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sksurvtorch._validation import (
    HAZARDS,
    check_codes,
    check_device,
    check_grid,
    check_option,
    check_risk_columns,
    check_time,
    check_vector,
    comparable,
)
from sksurvtorch.functional._arithmetic import Log, widest
from sksurvtorch.functional._autograd import refuse_transforms
from sksurvtorch.functional._competing_risk_sets import CompetingRiskSets
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.functional._incidence_curves import Steps, of_subdistribution
from sksurvtorch.functional._order import nonzero, ranks
from sksurvtorch.functional._sums import RunningSums
from sksurvtorch.functional.breslow import log_hazard_steps
from sksurvtorch.functional.competing_risks import check_largest_status, check_outputs, check_rows
from sksurvtorch.functional.cox import check_alone


class CompetingRisksBaseline(NamedTuple):
    """Baseline hazards of all causes, as `competing_risks_baseline` gives them.

    Attributes
    ----------
    stratum : int tensor of shape (n_times,), or None
        Stratum of each entry, ascending; None without strata.
    times : tensor of shape (n_times,)
        The distinct times of events of any cause of each stratum, ascending.
    log_hazard : tensor of shape (n_causes, n_times)
        Logarithm of the step of the baseline cumulative hazard of each cause at `times`; -inf
        where it has no event.
    log_cumulative_hazard : tensor of shape (n_causes, n_times)
        Logarithm of the sum of the steps of the stratum up to each time.
    hazard : {"cause-specific", "subdistribution"}
        Of which kind the hazards are.
    """

    stratum: Tensor | None
    times: Tensor
    log_hazard: Tensor
    log_cumulative_hazard: Tensor
    hazard: str


class CumulativeIncidence(NamedTuple):
    """Probabilities over time, as `cumulative_incidence` gives them.

    Attributes
    ----------
    incidence : tensor of shape (n_samples, n_causes, n_times)
        Probability that the event of each cause has happened by each time.
    survival : tensor of shape (n_samples, n_times), or None
        Probability that no event has happened. None for subdistribution hazards: each cause has a
        model of its own, and their incidences may add up to more than 1.
    """

    incidence: Tensor
    survival: Tensor | None


@left_out_of_graphs
def competing_risks_baseline(
    log_hazard_ratio: Tensor,
    status: Tensor | None = None,
    time: Tensor | None = None,
    *,
    entry: Tensor | None = None,
    stratum: Tensor | None = None,
    weight: Tensor | None = None,
    hazard: str = "cause-specific",
    risk_sets: CompetingRiskSets | None = None,
) -> CompetingRisksBaseline:
    r"""Breslow estimates of the baseline hazards of all causes.

    The baseline cumulative hazard of cause k rises at the times of its events, by
    :math:`\sum_{i \in D} w_i / \sum_{j \in R} w_j e^{\eta_{jk}}`, where D are the events of cause k
    at that time and R the rows at risk of cause k there: see `competing_risks_neg_log_likelihood`.

    Parameters
    ----------
    log_hazard_ratio : tensor of shape (n_samples, n_causes), or (n_samples,) for one cause
        Output of the network for the rows it was fitted on.
    status, time, entry, stratum, weight : tensor of shape (n_samples,), optional
        As for `competing_risks_neg_log_likelihood`.
    hazard : {"cause-specific", "subdistribution"}, default="cause-specific"
        Whether an event of another cause ends the time at risk.
    risk_sets : CompetingRiskSets, optional
        Given in place of `status`, `time`, `entry`, `stratum` and `weight`. Then its hazard counts.

    Returns
    -------
    CompetingRisksBaseline
        `stratum`, `times`, `log_hazard`, `log_cumulative_hazard` and `hazard`, in float64 where the
        device has it.

    Raises
    ------
    NoEventError
        If there is no event of positive weight.
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    See Also
    --------
    breslow_baseline : The same for one cause.

    Notes
    -----
    Adding a constant to a column of `log_hazard_ratio` subtracts it from the row of that cause. No
    gradient is offered.

    Examples
    --------
    One of three has an event of cause 1, and then one of two an event of cause 2:

    >>> import torch
    >>> from sksurvtorch.functional import competing_risks_baseline
    >>> status, time = torch.tensor([1, 2, 0]), torch.tensor([1.0, 2.0, 3.0])
    >>> competing_risks_baseline(torch.zeros(3, 2), status, time).log_hazard.exp()
    tensor([[0.3333, 0.0000],
            [0.0000, 0.5000]], dtype=torch.float64)
    """
    check_option("hazard", hazard, HAZARDS)
    refuse_transforms("competing_risks_baseline", "It has no gradient: call it before or after.")
    n_causes = check_outputs(log_hazard_ratio)
    if risk_sets is None:
        own = check_risk_columns(status, time, entry, stratum, weight)
        check_largest_status(own["status"], n_causes)
        risk_sets = CompetingRiskSets.of_columns(own, n_causes, "efron", hazard)
    else:
        check_alone(risk_sets, status, time, entry, stratum, weight, first="status")
    check_rows(log_hazard_ratio, risk_sets, "risk_sets" if status is None else "status")
    pairs, columns = risk_sets.pairs, risk_sets.columns
    groups, _, steps = log_hazard_steps(log_hazard_ratio.detach().reshape(-1), pairs)
    pair = pairs.row(groups.last).long()
    row, cause = pair // n_causes, pair % n_causes
    key, codes = ranks(columns["time"])[row], None
    if "stratum" in columns:
        found, codes = columns["stratum"][row].unique(return_inverse=True)
        key = key + codes * len(columns["time"])
    distinct, place = key.unique(return_inverse=True)
    times = columns["time"].new_empty(len(distinct)).index_copy_(0, place, columns["time"][row])
    log_hazard = steps.new_full((n_causes, len(times)), Log.zero)
    log_hazard[cause, place] = steps
    of_time = lengths = None
    if codes is not None:
        number = torch.empty_like(distinct).index_copy_(0, place, codes)
        of_time, lengths = found[number], torch.bincount(number)
    sums = RunningSums.of(lengths)
    cumulative = torch.stack([sums.up_to_each(Log, of_cause) for of_cause in log_hazard])
    return CompetingRisksBaseline(of_time, times, log_hazard, cumulative, risk_sets.hazard)


@left_out_of_graphs
def cumulative_incidence(
    log_hazard_ratio: Tensor,
    baseline: CompetingRisksBaseline,
    times: Tensor,
    *,
    stratum: Tensor | None = None,
    after: Tensor | None = None,
) -> CumulativeIncidence:
    r"""Cumulative incidence of each cause, and survival.

    With cause-specific hazards let :math:`dH_k(t)` be the step of the cumulative hazard of cause
    k, the baseline's times :math:`e^{\eta_k}`, and :math:`dH` the sum over the causes. Then

    .. math::

        S(t) = \exp\Bigl(-\sum_{u \le t} dH(u)\Bigr), \qquad
        F_k(t) = \sum_{u \le t} S(u-) \bigl(1 - e^{-dH(u)}\bigr) \frac{dH_k(u)}{dH(u)}

    which add up to 1. With subdistribution hazards :math:`F_k(t) = 1 - \exp(-H_k(t))`.

    For a sample without an event by the time s = `after` they are :math:`S(t) / S(s)` and
    :math:`(F_k(t) - F_k(s)) / S(s)` from then on. With subdistribution hazards
    :math:`S(s) = 1 - \sum_k F_k(s)` there.

    Parameters
    ----------
    log_hazard_ratio : tensor of shape (n_samples, n_causes), or (n_samples,) for one cause
        Output of the network.
    baseline : CompetingRisksBaseline
        Baseline hazards of the training data.
    times : tensor of shape (n_times,), or (n_samples, n_times)
        Times at which the curves are evaluated, in any order, for all samples or those of each.
    stratum : int tensor of shape (n_samples,), optional
        Stratum of each sample, if the baseline has strata. One in which the baseline has no event
        has incidences of 0.
    after : tensor of shape (n_samples,), optional
        Time at which each sample is known to be free of any event. Before it incidences are 0, and
        survival is 1.

    Returns
    -------
    CumulativeIncidence
        `incidence` and `survival`, in float64 where the device has it.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content; or if with `after` incidences of
        subdistribution hazards would add up to more than 1.

    Notes
    -----
    The incidences rise and are at most 1. Where the log hazard ratios are 0 they are the
    Aalen-Johansen curves up to O(1 / n): those have S(u-) dH_k(u), and a Kaplan-Meier curve for S.
    The form here is the exponential of the matrix of the steps, as in R's `survfit` of a
    multi-state `coxph`. With one cause it is 1 - S of the Cox model.

    O(n_samples × number of steps) time, and little memory besides the result. No gradient is
    offered.

    References
    ----------
    .. [1] O. O. Aalen, S. Johansen, "An empirical transition matrix for non-homogeneous Markov
       chains based on censored observations", Scandinavian Journal of Statistics 5, 1978.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.functional import competing_risks_baseline, cumulative_incidence
    >>> status, time = torch.tensor([1, 2, 0]), torch.tensor([1.0, 2.0, 3.0])
    >>> baseline = competing_risks_baseline(torch.zeros(3, 2), status, time)
    >>> curves = cumulative_incidence(torch.zeros(1, 2), baseline, torch.tensor([0.0, 2.0]))
    >>> curves.incidence  # 1 - exp(-1/3), and exp(-1/3) (1 - exp(-1/2))
    tensor([[[0.0000, 0.2835],
             [0.0000, 0.2819]]], dtype=torch.float64)
    >>> curves.survival  # exp(-1/3 - 1/2)
    tensor([[1.0000, 0.4346]], dtype=torch.float64)
    """
    refuse_transforms("cumulative_incidence", "It has no gradient: call it before or after.")
    n_causes = check_outputs(log_hazard_ratio)
    if n_causes != len(baseline.log_hazard):
        raise ValueError(
            f"`log_hazard_ratio` must have {len(baseline.log_hazard)} columns, one for each cause "
            f"of `baseline`, got {n_causes}."
        )
    device = log_hazard_ratio.device
    check_device("baseline", baseline.times, device, "log_hazard_ratio")
    n_samples = len(log_hazard_ratio)
    times = _check_times(times, n_samples)
    check_device("times", times, device, "log_hazard_ratio")
    if after is not None:
        after = check_time(after, n_samples, name="after")
        check_device("after", after, device, "log_hazard_ratio")
    dtype = widest(device)
    eta = log_hazard_ratio.detach().reshape(-1, n_causes).to(dtype)
    n_times = times.shape[-1]
    incidence = torch.empty(n_samples, n_causes, n_times, dtype=dtype, device=device)
    is_specific = baseline.hazard == "cause-specific"
    survival = None
    if is_specific:
        survival = torch.empty(n_samples, n_times, dtype=dtype, device=device)
    for rows, part in _by_stratum(baseline, stratum, n_samples):
        at = _n_passed(baseline.times[part], times if times.ndim == 1 else times[rows])
        passed = None if after is None else _n_passed(baseline.times[part], after[rows])
        if survival is None:
            logs = baseline.log_cumulative_hazard[:, part]
            incidence[rows] = of_subdistribution(eta[rows], logs, at, passed)
        else:
            of_stratum = Steps.of(baseline.log_hazard[:, part], at, passed)
            of_stratum.fill(eta, rows, incidence, survival)
    return CumulativeIncidence(incidence, survival)


def _by_stratum(
    baseline: CompetingRisksBaseline, stratum: Tensor | None, n_samples: int
) -> list[tuple[Tensor, slice]]:
    """Return for each stratum its samples, and where its steps stand in the baseline."""
    if (stratum is None) != (baseline.stratum is None):
        rule = "be left out, as the baseline has none" if baseline.stratum is None else "be given"
        raise ValueError(f"`stratum` must {rule}, got {'none' if stratum is None else 'one'}.")
    device = baseline.times.device
    if stratum is None or baseline.stratum is None:
        rows = torch.arange(n_samples, dtype=torch.int64, device=device)
        return [(rows, slice(0, len(baseline.times)))]
    stratum = check_codes("stratum", stratum, n_samples)
    check_device("stratum", stratum, device, "log_hazard_ratio")
    found = []
    for code in stratum.unique():
        first = torch.searchsorted(baseline.stratum, code)
        last = torch.searchsorted(baseline.stratum, code, right=True)
        found.append((nonzero(stratum == code), slice(int(first), int(last))))
    return found


def _check_times(times: Tensor, n_samples: int) -> Tensor:
    """Return finite times of shape (n_times,) or (n_samples, n_times)."""
    if getattr(times, "ndim", 1) != 2:
        return check_time(times, len(check_vector("times", times)), name="times")
    times = check_grid(times, n_samples)
    check_time(times.reshape(-1), times.numel(), name="times")
    return times.expand(n_samples, -1)


def _n_passed(steps: Tensor, times: Tensor) -> Tensor:
    """Return how many steps have passed at each time."""
    steps, times = comparable(steps, times)
    return torch.searchsorted(steps, times.contiguous(), right=True)
