"""Cox proportional hazards: negative log partial likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sksurvtorch._validation import (
    REDUCTIONS,
    TIES,
    check_columns,
    check_option,
    check_prediction,
    transforms,
)
from sksurvtorch.functional._arithmetic import (
    LINEAR_RANGE,
    Arithmetic,
    Linear,
    Log,
    returned_in,
    widest,
)
from sksurvtorch.functional._autograd import (
    Evaluated,
    FirstDerivative,
    by_reverse_mode,
    refuse_batched_gradient,
    refuse_second_derivative,
)
from sksurvtorch.functional._bins import Bins
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.functional._risk_set import RiskSets

# What messages call the loss.
_NAME = "`cox_neg_partial_log_likelihood`"


@left_out_of_graphs
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

    with Efron's ties; with Breslow's ties the term with l / d is left out.

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
        calls. Then the ties of the risk sets count, and the argument `ties` does not.

    Returns
    -------
    tensor of shape (), or (n_samples,) with ``reduction="none"``
        In the dtype of `log_hazard_ratio`, or in float32 where that is half precision.

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
    if transforms():
        columns: dict[str, Any] = {"event": event, "time": time, "entry": entry, "stratum": stratum}
        columns |= {"weight": weight, "risk_sets": risk_sets}
        loss = partial(cox_neg_partial_log_likelihood, ties=ties, reduction=reduction)
        return by_reverse_mode(_NAME, loss, log_hazard_ratio, columns)
    given = "risk_sets" if event is None else "event"
    if risk_sets is None:
        # Of one call alone: nobody changes the columns before it returns, so they need no copy.
        columns = check_columns(event, time, entry, stratum, weight)
        risk_sets = RiskSets.of_columns(columns, ties)
    else:
        check_alone(risk_sets, event, time, entry, stratum, weight)
    n_samples, device = risk_sets.n_samples, risk_sets.device
    eta = check_log_hazard_ratio(log_hazard_ratio, n_samples, device, given)
    if reduction != "none":
        evaluate = partial(loss_and_gradient, risk_sets, reduction == "mean")
        summed: Tensor = Evaluated.apply(eta, evaluate, _NAME)  # type: ignore[no-untyped-call]
        return summed
    return loss_by_row(eta, risk_sets, _NAME).to(returned_in(eta))


def sum_of_losses(
    log_hazard_ratio: Tensor, risk_sets: Sequence[RiskSets], factors: Sequence[float]
) -> Tensor:
    """Return the sum of the mean losses of several sets of rows.

    Parameters
    ----------
    log_hazard_ratio : tensor of shape (n_sets, n_samples)
        Of each set.
    risk_sets : sequence of RiskSets
        Of each set, all with the same ties and number of rows.
    factors : sequence of float
        What the mean loss of each set is multiplied by.

    Returns
    -------
    tensor of shape ()
        The sum, in the dtype of `log_hazard_ratio`, or in float32 where that is half precision.
    """
    each = [own.bins for own in risk_sets]
    if any(bins is None for bins in each):
        parts = zip(log_hazard_ratio, risk_sets, factors, strict=True)
        losses = [
            factor * cox_neg_partial_log_likelihood(eta, risk_sets=own)
            for eta, own, factor in parts
        ]
        return torch.stack(losses).sum()
    bins = Bins.of_sets([bins for bins in each if bins is not None], factors)
    evaluate = partial(_sum_and_gradient, bins, risk_sets, factors)
    summed: Tensor = Evaluated.apply(log_hazard_ratio.reshape(-1), evaluate, _NAME)  # type: ignore[no-untyped-call]
    return summed


def _sum_and_gradient(
    bins: Bins,
    risk_sets: Sequence[RiskSets],
    factors: Sequence[float],
    eta: Tensor,
    with_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return the sum of the mean losses of several sets, and its gradient if asked for."""
    in_bins = bins.loss_and_gradient(eta, True, with_gradient)
    if in_bins is not None:
        return in_bins
    each = zip(eta.tensor_split(len(risk_sets)), risk_sets, factors, strict=True)
    parts = [(*loss_and_gradient(own, True, x, with_gradient), factor) for x, own, factor in each]
    loss = torch.stack([factor * loss for loss, _, factor in parts]).sum()
    gradients = [factor * gradient for _, gradient, factor in parts if gradient is not None]
    return loss, torch.cat(gradients) if gradients else None


def check_alone(risk_sets: object, *others: object, first: str = "event") -> None:
    """Raise if what `risk_sets` holds is given a second time."""
    for other in others:
        if other is not None:
            raise TypeError(
                f"`risk_sets` must come alone, got {first}, time, entry, stratum or weight "
                "besides. They are part of the risk sets already."
            )


def check_log_hazard_ratio(
    log_hazard_ratio: Tensor, n_samples: int, device: torch.device, given: str = "risk_sets"
) -> Tensor:
    """Return the log hazard ratio with shape (n_samples,), on the device of what was given."""
    check_prediction("log_hazard_ratio", log_hazard_ratio, (1,))
    eta = log_hazard_ratio if log_hazard_ratio.ndim == 1 else log_hazard_ratio.squeeze(1)
    if eta.numel() != n_samples:
        raise ValueError(
            f"`log_hazard_ratio` must have {n_samples} rows, got {len(eta)}: "
            "one for each row of `event` and `time`."
        )
    if eta.device != device:
        if given != "risk_sets":
            raise ValueError(
                f"`{given}` must be on the device of `log_hazard_ratio`, {eta.device}, got "
                f"{device}. Pass {given}.to({str(eta.device)!r})."
            )
        raise ValueError(
            f"`risk_sets` must be on the device of the log hazard ratio, {eta.device}, got "
            f"{device}. Move them once, by risk_sets.to({str(eta.device)!r})."
        )
    return eta


def log_weighted_(eta: Tensor, risk_sets: RiskSets) -> Tensor:
    """Add the logarithms of the weights."""
    log_weight = risk_sets.rows.log_weight
    return eta if log_weight is None else eta.add_(log_weight)


def _arithmetic(eta: Tensor, risk_sets: RiskSets) -> tuple[Arithmetic, float]:
    """Return the arithmetic that is safe for these hazard ratios, and their log scale."""
    if eta.device.type != "cpu":  # looking at the range would stop the stream
        return Log, 0.0
    lowest, highest = (bound.item() for bound in eta.aminmax())
    if highest - lowest + risk_sets.rows.log_weight_range <= LINEAR_RANGE:
        return Linear, (lowest + highest) / 2 + risk_sets.rows.log_weight_middle
    return Log, 0.0


def _pull_back(arithmetic: Arithmetic, x: Tensor, v: Tensor, risk_sets: RiskSets) -> Tensor:
    """Return for each row v times the sum over the denominators of x, multiplied by its factors.

    v is in the order of the risk sets, the result in the order of the rows.
    """
    total = risk_sets.layout.plan.of_rows(arithmetic, x)
    return risk_sets.by_row(arithmetic.lower_(arithmetic.times_(total, v)))


def loss_and_gradient(
    risk_sets: RiskSets, mean: bool, eta: Tensor, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the mean or sum of the loss, and its gradient if asked for."""
    if risk_sets.bins is not None:
        in_bins = risk_sets.bins.loss_and_gradient(eta, mean, with_gradient)
        if in_bins is not None:
            return in_bins
    rows, layout = risk_sets.rows, risk_sets.layout
    wide = eta.to(widest(eta.device))
    arithmetic, log_scale = _arithmetic(wide, risk_sets)
    centred = wide - log_scale
    of_events = centred @ rows.event_weight
    v = arithmetic.from_log_(risk_sets.in_order(log_weighted_(centred, risk_sets)))
    risk = layout.plan.denominators(arithmetic, v)
    divisor = layout.total_event_weight if mean else None
    gradient = None
    if with_gradient:
        slope = arithmetic.divided(layout.denominator_weight, risk)
        gradient = _pull_back(arithmetic, slope, v, risk_sets).sub_(rows.event_weight)
        gradient = gradient if divisor is None else gradient.div_(divisor)
        gradient = gradient.to(returned_in(eta))
    loss = arithmetic.to_log_(risk) @ layout.denominator_weight - of_events
    return (loss if divisor is None else loss / divisor).to(returned_in(eta)), gradient


def loss_by_row(eta: Tensor, risk_sets: RiskSets, name: str) -> Tensor:
    """Return what each row adds to the loss, which messages call by a name."""
    wide = eta.to(widest(eta.device))
    log_risk: Tensor = _LogDenominators.apply(wide, risk_sets, name)  # type: ignore[no-untyped-call]
    groups, _ = risk_sets.groups()
    if groups.size is not None and groups.of_event is not None:
        if len(log_risk) > len(groups.size):  # the mean of a group
            sums = log_risk.new_zeros(len(groups.size)).index_add(0, groups.of_event, log_risk)
            log_risk = sums / groups.size
        log_risk = log_risk.index_select(0, groups.of_event)
    row = risk_sets.row(groups.row)
    # A censored row has no part, whatever its log hazard ratio.
    part = risk_sets.rows.event_weight.index_select(0, row) * (log_risk - wide.index_select(0, row))
    return wide.new_zeros(risk_sets.n_samples).index_copy(0, row.long(), part)


class _LogDenominators(FirstDerivative):
    """Logarithms of the denominators, for a gradient with any sign and size."""

    @staticmethod
    def forward(ctx: Any, eta: Tensor, risk_sets: RiskSets, name: str) -> Tensor:
        """Sum the denominators, and keep them for the gradient."""
        arithmetic, log_scale = _arithmetic(eta, risk_sets)
        v = risk_sets.in_order(log_weighted_(eta - log_scale, risk_sets))
        v = arithmetic.from_log_(v)
        risk = risk_sets.layout.plan.denominators(arithmetic, v)
        ctx.save_for_backward(v, risk)
        ctx.risk_sets, ctx.arithmetic, ctx.name = risk_sets, arithmetic, name
        return arithmetic.to_log_(risk.clone()) + log_scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient, of the two signs one after the other in logarithms."""
        refuse_second_derivative(ctx.name)
        v, risk = ctx.saved_tensors
        risk_sets, arithmetic = ctx.risk_sets, ctx.arithmetic
        if arithmetic is Linear:
            return _pull_back(Linear, grad / risk, v, risk_sets), None, None
        refuse_batched_gradient(ctx.name, grad)
        # Logarithms have no sign, so the two signs of `grad` go separately.
        out = _pull_back(Log, Log.divided(grad.relu(), risk), v, risk_sets)
        if grad.device.type != "cpu" or bool((grad < 0).any()):
            out = out - _pull_back(Log, Log.divided((-grad).relu(), risk), v, risk_sets)
        return out, None, None
