"""Cox proportional hazards: negative log partial likelihood and Breslow baseline hazard."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sksurvtorch._validation import REDUCTIONS, TIES, check_option, check_prediction
from sksurvtorch.functional._autograd import refuse_second_derivative
from sksurvtorch.functional._interval_sums import Arithmetic, IntervalSums, Linear, Log
from sksurvtorch.functional._risk_set import RiskSets, widest

# A float64 reaches from exp(-708) to exp(709). Hazard ratios within exp(-600) and exp(600) leave
# room for their sums and inverses; beyond that range sums are taken in logarithms, which keep 1e-13
# relative to a log hazard ratio of 1000.
_LINEAR_RANGE = 1200.0


def cox_neg_partial_log_likelihood(
    log_hazard_ratio: Tensor,
    event: Tensor | None = None,
    time: Tensor | None = None,
    *,
    entry: Tensor | None = None,
    stratum: Tensor | None = None,
    weight: Tensor | None = None,
    ties: str = "efron",
    reduction: str = "mean",
    risk_sets: RiskSets | None = None,
) -> Tensor:
    r"""Negative log partial likelihood of the Cox model.

    With :math:`\eta` the log hazard ratio, :math:`D` the events at one time of one stratum, d
    their number, :math:`R` the rows at risk there (entry < that time <= time) and w the weights,
    every such time adds

    .. math::

        \frac{\sum_{i \in D} w_i}{d} \sum_{l=0}^{d-1} \log\Bigl(\sum_{j \in R} w_j e^{\eta_j}
        - \frac{l}{d} \sum_{j \in D} w_j e^{\eta_j}\Bigr) - \sum_{i \in D} w_i \eta_i

    with Efron's ties, and the same without the l / d term with Breslow's.

    Parameters
    ----------
    log_hazard_ratio : tensor of shape (n_samples,) or (n_samples, 1)
        Output of the network: the higher, the earlier the event.
    event : bool tensor of shape (n_samples,)
        True for an observed event, False for a right-censored row.
    time : tensor of shape (n_samples,)
        Time of the event or the censoring, floating-point or integer, in any unit.
    entry : tensor of shape (n_samples,), optional
        Time of delayed entry (left truncation, or the start of a start-stop row).
    stratum : int tensor of shape (n_samples,), optional
        Strata have their own baseline hazard.
    weight : tensor of shape (n_samples,), optional
        Weight of each row; a row of weight 0 counts as absent.
    ties : {"efron", "breslow"}, default="efron"
        How events at the same time share their risk set.
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides by the sum of the weights of the events; ``"none"`` returns the part of
        each row, which is 0 for a censored one.
    risk_sets : RiskSets, optional
        Given in place of `event`, `time`, `entry`, `stratum` and `weight`, to sort once for many
        calls. The `ties` of the risk sets count then.

    Returns
    -------
    tensor of shape (), or (n_samples,) with ``reduction="none"``
        In the dtype of `log_hazard_ratio`.

    Raises
    ------
    NoEventError
        If there is no event of positive weight.
    ValueError, TypeError
        If an argument has the wrong kind, shape or content, or comes besides `risk_sets`.

    Notes
    -----
    O(n log n) time and O(n) memory. Finite and right for any spread of `log_hazard_ratio`, and
    unchanged by adding a constant to it. Sums are taken in float64 where the device has it.
    The gradient is analytic; asking for a second derivative raises. A log hazard ratio that is NaN
    or infinite gives NaN.

    References
    ----------
    .. [1] D. R. Cox, "Partial likelihood", Biometrika 62, 1975, doi:10.1093/biomet/62.2.269.
    .. [2] B. Efron, "The efficiency of Cox's likelihood function for censored data", JASA 72,
       1977, doi:10.1080/01621459.1977.10480613.
    .. [3] N. Breslow, "Covariance analysis of censored survival data", Biometrics 30, 1974,
       doi:10.2307/2529620.

    Examples
    --------
    Three at risk at the first event, two at the second:

    >>> import torch
    >>> from sksurvtorch.functional import cox_neg_partial_log_likelihood
    >>> event, time = torch.tensor([True, True, False]), torch.tensor([1.0, 2.0, 3.0])
    >>> loss = cox_neg_partial_log_likelihood(torch.zeros(3), event, time, reduction="sum")
    >>> round(loss.exp().item(), 4)
    6.0
    """
    check_option("ties", ties, TIES)
    check_option("reduction", reduction, REDUCTIONS)
    if risk_sets is None:
        risk_sets = RiskSets(event, time, entry=entry, stratum=stratum, weight=weight, ties=ties)
    else:
        _check_alone(risk_sets, event, time, entry, stratum, weight)
    eta = _check_log_hazard_ratio(log_hazard_ratio, risk_sets)
    if reduction != "none":
        loss: Tensor = _Loss.apply(eta, risk_sets, reduction)  # type: ignore[no-untyped-call]
        return loss
    log_risk = _mean_log_risk(eta.to(widest(eta.device)), risk_sets)
    loss = risk_sets.event_weight * (_at_events(log_risk, risk_sets) - eta)
    # A censored row has no part, whatever its log hazard ratio.
    return torch.where(risk_sets.event_weight > 0, loss, 0.0).to(eta.dtype)


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
        Given in place of them.

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
    Computed in logarithms: adding a constant to `log_hazard_ratio` subtracts it from the result.
    No gradient is offered.

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
    if risk_sets is None:
        risk_sets = RiskSets(event, time, entry=entry, stratum=stratum, weight=weight)
    else:
        _check_alone(risk_sets, event, time, entry, stratum, weight)
    eta = _check_log_hazard_ratio(log_hazard_ratio, risk_sets).detach()
    z = _log_weighted(eta.to(widest(eta.device)), risk_sets)
    before = risk_sets.interval_sums.at_positions(Log, z)
    log_risk = Log.plus(before, z).index_select(0, risk_sets.last)
    log_hazard = risk_sets.group_weight.log() - log_risk
    stratum_of_group, times = risk_sets.group_labels()
    stop = None
    if stratum_of_group is not None:
        stop = torch.searchsorted(stratum_of_group, stratum_of_group, right=True)
    earlier = IntervalSums(stop, len(times)).over_rows(Log, log_hazard)
    log_cumulative_hazard = Log.plus(earlier, log_hazard).flip(0)
    times = times.flip(0)
    if stratum_of_group is None:
        return BreslowBaseline(None, times, log_cumulative_hazard)
    stratum_of_group, order = stratum_of_group.flip(0).sort(stable=True)
    return BreslowBaseline(stratum_of_group, times[order], log_cumulative_hazard[order])


def _check_alone(risk_sets: RiskSets, *others: object) -> None:
    """Raise if what `risk_sets` holds is given a second time."""
    if any(other is not None for other in others):
        raise TypeError(
            "`risk_sets` must come alone, got event, time, entry, stratum or weight besides. "
            "They are part of the risk sets already."
        )


def _check_log_hazard_ratio(log_hazard_ratio: Tensor, risk_sets: RiskSets) -> Tensor:
    """Return the log hazard ratio with shape (n_samples,)."""
    eta = check_prediction("log_hazard_ratio", log_hazard_ratio, (1,)).squeeze(1)
    if len(eta) != risk_sets.n_samples:
        raise ValueError(
            f"`log_hazard_ratio` must have {risk_sets.n_samples} rows, got {len(eta)}: "
            "one for each row of `event` and `time`."
        )
    if eta.device != risk_sets.device:
        raise ValueError(
            f"`risk_sets` must be on the device of the log hazard ratio, {eta.device}, got "
            f"{risk_sets.device}. Move them once, by risk_sets.to({str(eta.device)!r})."
        )
    return eta


def _log_weighted(eta: Tensor, risk_sets: RiskSets) -> Tensor:
    """Return eta + log w in the order of the risk sets."""
    z = risk_sets.in_order(eta)
    return z if risk_sets.log_weight is None else z + risk_sets.log_weight


def _arithmetic(eta: Tensor, risk_sets: RiskSets) -> tuple[Arithmetic, float]:
    """Return the arithmetic that is safe for these hazard ratios, and their log scale."""
    if eta.device.type != "cpu":  # looking at the range would stop the stream
        return Log, 0.0
    lowest, highest = (bound.item() for bound in eta.aminmax())
    if highest - lowest + risk_sets.log_weight_range <= _LINEAR_RANGE:
        return Linear, (lowest + highest) / 2 + risk_sets.log_weight_middle
    return Log, 0.0


def _at_events(x: Tensor, risk_sets: RiskSets) -> Tensor:
    """Spread a value per group of tied events to its events, by row, and 0 elsewhere."""
    if risk_sets.event_group is not None:
        x = x.index_select(0, risk_sets.event_group)
    rows = risk_sets.event_rows
    return x.new_zeros(risk_sets.n_samples).index_copy(0, rows, x)


class _Denominators(NamedTuple):
    """Sums over the risk sets of hazard ratios, as numbers or as logarithms."""

    arithmetic: Arithmetic
    hazard_ratio: Tensor  # with the weights, in the order of the risk sets
    risk: Tensor  # for each event (Efron with ties), or for each group of tied events
    log_risk: Tensor  # its logarithm; with Efron the mean over the events of each group


def _denominators(eta: Tensor, risk_sets: RiskSets) -> _Denominators:
    """Return the denominators of the partial likelihood.

    With N the sum over the risk set without the tied events and S the sum with them, Efron's
    denominator S - (l / d) (S - N) is taken as (l / d) N + (1 - l / d) S, which does not cancel.
    """
    arithmetic, log_scale = _arithmetic(eta, risk_sets)
    v = arithmetic.from_log(_log_weighted(eta, risk_sets) - log_scale)
    before = risk_sets.interval_sums.at_positions(arithmetic, v)
    risk = arithmetic.plus(before, v).index_select(0, risk_sets.last)
    group = risk_sets.event_group
    spread = risk_sets.ties == "efron"
    if spread and group is not None:
        fraction = risk_sets.fraction
        without = before.index_select(0, risk_sets.first).index_select(0, group)
        risk = arithmetic.plus(
            arithmetic.times(arithmetic.lift(fraction), without),
            arithmetic.times(arithmetic.lift(1 - fraction), risk.index_select(0, group)),
        )
    log_risk = arithmetic.to_log(risk) + log_scale
    if spread and group is not None:
        log_risk = Linear.bin(log_risk, group, risk_sets.n_groups) / risk_sets.group_size
    return _Denominators(arithmetic, v, risk, log_risk)


class _Loss(torch.autograd.Function):
    """Sum or mean of the loss; its gradient is ready before it is asked for."""

    @staticmethod
    def forward(ctx: Any, eta: Tensor, risk_sets: RiskSets, reduction: str) -> Tensor:
        wide = eta.to(widest(eta.device))
        arithmetic, v, risk, log_risk = _denominators(wide, risk_sets)
        loss = log_risk @ risk_sets.group_weight - wide @ risk_sets.event_weight
        divisor = risk_sets.total_event_weight if reduction == "mean" else None
        if ctx.needs_input_grad[0]:
            gradient = _pull_back(arithmetic, risk_sets.group_weight, v, risk, risk_sets)
            gradient = risk_sets.to_rows(gradient) - risk_sets.event_weight
            gradient = gradient if divisor is None else gradient / divisor
            # In wide numbers: `grad` may scale half precision out of its smallest.
            ctx.save_for_backward(gradient)
        return (loss if divisor is None else loss / divisor).to(eta.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        refuse_second_derivative("cox_neg_partial_log_likelihood")
        (gradient,) = ctx.saved_tensors
        return (grad.to(gradient.dtype) * gradient).to(grad.dtype), None, None


def _mean_log_risk(eta: Tensor, risk_sets: RiskSets) -> Tensor:
    """Mean over l of the log denominator, for each group of tied events."""
    log_risk: Tensor = _MeanLogRisk.apply(eta, risk_sets)  # type: ignore[no-untyped-call]
    return log_risk


class _MeanLogRisk(torch.autograd.Function):
    """Logarithms of the denominators, for a gradient with any sign and size by event."""

    @staticmethod
    def forward(ctx: Any, eta: Tensor, risk_sets: RiskSets) -> Tensor:
        arithmetic, v, risk, log_risk = _denominators(eta, risk_sets)
        ctx.save_for_backward(v, risk)
        ctx.risk_sets, ctx.arithmetic = risk_sets, arithmetic
        return log_risk

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        refuse_second_derivative("cox_neg_partial_log_likelihood")
        v, risk = ctx.saved_tensors
        risk_sets, arithmetic = ctx.risk_sets, ctx.arithmetic
        if arithmetic is Linear:
            return risk_sets.to_rows(_pull_back(Linear, grad, v, risk, risk_sets)), None
        # Logarithms have no sign, so the two signs of `grad` go separately.
        out = _pull_back(Log, grad.relu(), v, risk, risk_sets)
        if grad.device.type != "cpu" or bool((grad < 0).any()):
            out = out - _pull_back(Log, (-grad).relu(), v, risk, risk_sets)
        return risk_sets.to_rows(out), None


def _pull_back(
    arithmetic: Arithmetic, grad: Tensor, v: Tensor, risk: Tensor, risk_sets: RiskSets
) -> Tensor:
    """Gradient with respect to log v, in the order of the risk sets."""
    first, last, group = risk_sets.first, risk_sets.last, risk_sets.event_group
    grad = arithmetic.lift(grad)
    coefficient = v.new_full((risk_sets.n_samples,), arithmetic.zero)
    if risk_sets.ties == "efron" and group is not None:
        grad = arithmetic.over(grad, arithmetic.lift(risk_sets.group_size))
        by_event = arithmetic.over(grad.index_select(0, group), risk)
        fraction = risk_sets.fraction
        without = arithmetic.times(arithmetic.lift(fraction), by_event)
        with_ties = arithmetic.times(arithmetic.lift(1 - fraction), by_event)
        own = arithmetic.bin(with_ties, group, risk_sets.n_groups)
        coefficient[last] = own
        at_first = arithmetic.bin(without, group, risk_sets.n_groups)
        coefficient[first] = arithmetic.plus(coefficient.index_select(0, first), at_first)
    else:
        own = arithmetic.over(grad, risk)
        coefficient[last] = own
    total = risk_sets.interval_sums.over_rows(arithmetic, coefficient)
    total[last] = arithmetic.plus(total.index_select(0, last), own)
    return arithmetic.lower(arithmetic.times(v, total))
