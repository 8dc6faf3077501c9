"""Competing risks: negative log partial likelihood of all causes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sksurvtorch._validation import (
    HAZARDS,
    REDUCTIONS,
    TIES,
    check_floating,
    check_option,
    check_risk_columns,
    transforms,
)
from sksurvtorch.functional._arithmetic import returned_in
from sksurvtorch.functional._autograd import Evaluated, by_reverse_mode
from sksurvtorch.functional._bins import Bins
from sksurvtorch.functional._competing_risk_sets import CompetingRiskSets
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.functional.cox import check_alone, loss_and_gradient, loss_by_row

# What messages call the loss.
_NAME = "`competing_risks_neg_log_likelihood`"


@left_out_of_graphs
def competing_risks_neg_log_likelihood(
    log_hazard_ratio: Tensor,
    status: Tensor | None = None,
    time: Tensor | None = None,
    *,
    entry: Tensor | None = None,
    stratum: Tensor | None = None,
    weight: Tensor | None = None,
    ties: str = "efron",
    hazard: str = "cause-specific",
    reduction: str = "mean",
    risk_sets: CompetingRiskSets | None = None,
) -> Tensor:
    r"""Negative log partial likelihood of Cox models of all causes.

    The sum over the causes k of the Cox partial likelihood of :math:`\eta_k`, the log hazard ratio
    of that cause, whose events are those of cause k (see `cox_neg_partial_log_likelihood`). With
    ``hazard="cause-specific"`` the other causes count as censorings. With
    ``hazard="subdistribution"``, the model of Fine and Gray, a row j with an event of another
    cause at :math:`T_j` stays at risk at each later time t, with its weight multiplied by

    .. math::

        \frac{G(t-)}{G(T_j-)} \cdot \frac{H(t-)}{H(T_j-)}

    where G is the Kaplan-Meier curve of the censoring, and H, with `entry` only, that of the entry
    on the reverse time scale.

    Parameters
    ----------
    log_hazard_ratio : tensor of shape (n_samples, n_causes), or (n_samples,) for one cause
        Output of the network, a column for each cause: the higher, the earlier its event.
    status : int tensor of shape (n_samples,)
        0 for a right-censored row, else the number of the cause of its event, from 1 on.
    time : tensor of shape (n_samples,)
        Time of the event or the censoring, floating-point or integer, in any unit.
    entry : tensor of shape (n_samples,), optional
        Time of delayed entry (left truncation). With ``hazard="cause-specific"`` it may be the
        start of a start-stop row; with ``"subdistribution"`` each row has to be a subject.
    stratum : int tensor of shape (n_samples,), optional
        Strata have their own baseline hazards, and their own curves G and H.
    weight : tensor of shape (n_samples,), optional
        Weight of each row; a row of weight 0 counts as absent.
    ties : {"efron", "breslow"}, default="efron"
        How events of a cause at the same time share their risk set.
    hazard : {"cause-specific", "subdistribution"}, default="cause-specific"
        Whether an event of another cause ends the time at risk.
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides by the sum of the weights of the events of all causes; ``"none"`` returns
        the part of each row, that of the cause of its event, which is 0 for a censored one.
    risk_sets : CompetingRiskSets, optional
        Given in place of `status`, `time`, `entry`, `stratum` and `weight`, to sort once for many
        calls. Then its ties and its hazard count, and the arguments do not.

    Returns
    -------
    tensor of shape (), or (n_samples,) with ``reduction="none"``
        In the dtype of `log_hazard_ratio`, or in float32 where that is half precision.

    Raises
    ------
    NoEventError
        If there is no event of positive weight. A cause without events adds 0.
    ValueError, TypeError
        If an argument has the wrong kind, shape or content, or comes besides `risk_sets`; if with
        late entry and ``hazard="subdistribution"`` nobody is at risk between an event and a later
        one of another cause, so that H cannot be estimated.

    Notes
    -----
    O(n log n) time and O(n) memory for each cause. As the loss of a Cox model it is finite and
    right for any spread of `log_hazard_ratio`, and unchanged by adding a constant to a column; the
    gradient is analytic, and asking for a second derivative raises. With one cause it is the Cox
    loss.

    At one time events come before censorings, and these before entries. With weights, G and H are
    weighted, so that a weight of 2 is two rows; R's `finegray` leaves them unweighted. Without
    weights the loss is that of R's `coxph` on the rows that `finegray` makes.

    References
    ----------
    .. [1] R. L. Prentice and others, "The analysis of failure times in the presence of competing
       risks", Biometrics 34, 1978, doi:10.2307/2530374.
    .. [2] J. P. Fine, R. J. Gray, "A proportional hazards model for the subdistribution of a
       competing risk", JASA 94, 1999, doi:10.1080/01621459.1999.10474144.
    .. [3] R. B. Geskus, "Cause-specific cumulative incidence estimation and the Fine and Gray model
       under both left truncation and right censoring", Biometrics 67, 2011,
       doi:10.1111/j.1541-0420.2010.01420.x.

    Examples
    --------
    Three rows are at risk of the first event, of cause 1, and two of the second, of cause 2:

    >>> import torch
    >>> from sksurvtorch.functional import competing_risks_neg_log_likelihood
    >>> status, time = torch.tensor([1, 2, 0]), torch.tensor([1.0, 2.0, 3.0])
    >>> zeros = torch.zeros(3, 2)
    >>> loss = competing_risks_neg_log_likelihood(zeros, status, time, reduction="sum")
    >>> round(loss.exp().item(), 4)
    6.0

    In the model of Fine and Gray the first row is still at risk of cause 2:

    >>> loss = competing_risks_neg_log_likelihood(
    ...     zeros, status, time, hazard="subdistribution", reduction="sum"
    ... )
    >>> round(loss.exp().item(), 4)
    9.0
    """
    check_option("ties", ties, TIES)
    check_option("hazard", hazard, HAZARDS)
    check_option("reduction", reduction, REDUCTIONS)
    if transforms():
        columns: dict[str, Any] = {"status": status, "time": time, "entry": entry}
        columns |= {"stratum": stratum, "weight": weight, "risk_sets": risk_sets}
        options: dict[str, Any] = {"ties": ties, "hazard": hazard, "reduction": reduction}
        loss = partial(competing_risks_neg_log_likelihood, **options)
        return by_reverse_mode(_NAME, loss, log_hazard_ratio, columns)
    n_causes = check_outputs(log_hazard_ratio)
    if risk_sets is None:
        # Of one call alone: nobody changes the columns before it returns, so they need no copy.
        own = check_risk_columns(status, time, entry, stratum, weight)
        check_largest_status(own["status"], n_causes)
        risk_sets = CompetingRiskSets.of_columns(own, n_causes, ties, hazard)
    else:
        check_alone(risk_sets, status, time, entry, stratum, weight, first="status")
    check_rows(log_hazard_ratio, risk_sets, "risk_sets" if status is None else "status")
    if reduction != "none":
        evaluate = partial(_loss_and_gradient, risk_sets, reduction == "mean")
        summed: Tensor = Evaluated.apply(log_hazard_ratio, evaluate, _NAME)  # type: ignore[no-untyped-call]
        return summed
    by_pair = loss_by_row(log_hazard_ratio.reshape(-1), risk_sets.pairs, _NAME)
    by_pair = by_pair.to(returned_in(log_hazard_ratio))
    return by_pair.view(-1, risk_sets.n_causes).sum(1)


def _loss_and_gradient(
    risk_sets: CompetingRiskSets, mean: bool, log_hazard_ratio: Tensor, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the mean or sum of the loss, and its gradient if asked for."""
    eta, bins, found = log_hazard_ratio.reshape(-1), risk_sets.bins, None
    if bins is not None:
        found = bins.loss_and_gradient(eta, mean, with_gradient)
    if found is None:
        found = loss_and_gradient(risk_sets.pairs, mean, eta, with_gradient)
    loss, gradient = found
    return loss, None if gradient is None else gradient.view(log_hazard_ratio.shape)


def sum_of_losses(
    log_hazard_ratio: Tensor, risk_sets: Sequence[CompetingRiskSets], factors: Sequence[float]
) -> Tensor:
    """Return the sum of the mean losses of several sets of rows.

    Parameters
    ----------
    log_hazard_ratio : tensor of shape (n_sets, n_samples, n_causes)
        Of each set.
    risk_sets : sequence of CompetingRiskSets
        Of each set, all with the same ties, hazard, and number of rows and causes.
    factors : sequence of float
        What the mean loss of each set is multiplied by.

    Returns
    -------
    tensor of shape ()
        The sum, in the dtype of `log_hazard_ratio`, or in float32 where that is half precision.
    """
    evaluate = partial(_sum_and_gradient, risk_sets, factors)
    summed: Tensor = Evaluated.apply(log_hazard_ratio, evaluate, _NAME)  # type: ignore[no-untyped-call]
    return summed


def _sum_and_gradient(
    risk_sets: Sequence[CompetingRiskSets],
    factors: Sequence[float],
    log_hazard_ratio: Tensor,
    with_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return the sum of the mean losses of several sets, and its gradient if asked for."""
    each = [own.bins for own in risk_sets]
    if all(bins is not None for bins in each):
        bins = Bins.of_sets([bins for bins in each if bins is not None], factors)
        found = bins.loss_and_gradient(log_hazard_ratio.reshape(-1), True, with_gradient)
        if found is not None:
            loss, gradient = found
            return loss, None if gradient is None else gradient.view(log_hazard_ratio.shape)
    parts = [
        (*_loss_and_gradient(own, True, eta, with_gradient), factor)
        for own, eta, factor in zip(risk_sets, log_hazard_ratio, factors, strict=True)
    ]
    loss = torch.stack([factor * loss for loss, _, factor in parts]).sum()
    gradients = [factor * gradient for _, gradient, factor in parts if gradient is not None]
    return loss, torch.stack(gradients) if gradients else None


def check_outputs(log_hazard_ratio: Tensor) -> int:
    """Return the number of causes that an output has columns for."""
    check_floating("log_hazard_ratio", log_hazard_ratio)
    shape = tuple(log_hazard_ratio.shape)
    if len(shape) not in (1, 2) or shape[-1:] == (0,):
        raise ValueError(
            "`log_hazard_ratio` must have shape (n_samples, n_causes), or (n_samples,) for one "
            f"cause, got {shape}."
        )
    return shape[1] if len(shape) == 2 else 1


def check_largest_status(status: Tensor, n_causes: int) -> None:
    """Raise if there is an event of a cause without an output."""
    largest = int(status.max()) if len(status) else 0
    if largest > n_causes:
        raise ValueError(
            "`log_hazard_ratio` must have a column for each cause, and the largest `status` is "
            f"{largest}, got {n_causes}. Give the network {largest} outputs."
        )


def check_rows(log_hazard_ratio: Tensor, risk_sets: CompetingRiskSets, given: str) -> None:
    """Raise unless an output has the rows and causes of risk sets, and is on their device."""
    shape, n_causes = tuple(log_hazard_ratio.shape), risk_sets.n_causes
    if shape[0] != risk_sets.n_samples:
        raise ValueError(
            f"`log_hazard_ratio` must have {risk_sets.n_samples} rows, got {shape[0]}: one for "
            "each row of `status` and `time`."
        )
    if shape[1:] != (n_causes,) and not (n_causes == 1 and len(shape) == 1):
        raise ValueError(
            f"`log_hazard_ratio` must have {n_causes} columns, one for each cause of `risk_sets`, "
            f"got the shape {shape}. Make the risk sets, or the CompetingRisksLoss of a net, with "
            "`n_causes` as the network has outputs."
        )
    device = log_hazard_ratio.device
    if risk_sets.device != device:
        raise ValueError(
            f"`{given}` must be on the device of `log_hazard_ratio`, {device}, got "
            f"{risk_sets.device}. Pass {given}.to({str(device)!r})."
        )
