"""Accelerated failure time models: likelihood with censoring of every kind.

A row has the survival S(k (log t - log scale)), where S belongs to the distribution, and k is the
shape. R's ``survreg`` calls log scale the linear predictor, and 1 / k its scale.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from sksurvtorch._validation import (
    REDUCTIONS,
    check_bounds,
    check_devices,
    check_entry,
    check_entry_of_bounds,
    check_event,
    check_option,
    check_outcome,
    check_time,
    check_weight,
    transforms,
)
from sksurvtorch.functional._aft_rows import AFTLossOfRows, Rows
from sksurvtorch.functional._arithmetic import returned_in, widest
from sksurvtorch.functional._autograd import by_reverse_mode
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.functional._distributions import AFTDistribution, distribution_of
from sksurvtorch.functional._location_scale import checked_params, near_one
from sksurvtorch.functional.weibull import weibull_neg_log_likelihood

# What messages call the loss.
_NAME = "`aft_neg_log_likelihood`"


@left_out_of_graphs
def aft_neg_log_likelihood(
    log_params: Tensor,
    event: Tensor | None = None,
    time: Tensor | None = None,
    *,
    lower: Tensor | None = None,
    upper: Tensor | None = None,
    entry: Tensor | None = None,
    weight: Tensor | None = None,
    distribution: str,
    reduction: str = "mean",
) -> Tensor:
    r"""Negative log likelihood of an accelerated failure time model.

    With :math:`\lambda` the scale, k the shape, :math:`z(t) = k \log(t / \lambda)`, and S and f the
    survival and the density of z, a row adds

    .. math::

        -\log\Bigl(\frac{k}{t} f(z(t))\Bigr), \qquad -\log S(z(t)), \qquad
        -\log\bigl(S(z(l)) - S(z(u))\bigr)

    for an event at t, one after t, and one in (l, u]. With an entry e all these are probabilities
    given no event before, and :math:`\log S(z(e))` is added.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale in the first column: the higher, the later the event. Log shape in the second;
        without it the shape is 1.
    event : bool tensor of shape (n_samples,), optional
        True for an observed event, False for a right-censored row.
    time : tensor of shape (n_samples,), optional
        Time of the event or the censoring, positive, in the unit of the scale.
    lower, upper : tensors of shape (n_samples,), optional
        In place of `event` and `time`: the event lies in (lower, upper], in the unit of the scale.
        It is at this time if both are equal; the row is right-censored at `lower` if `upper` is
        infinite, and left-censored at `upper` if `lower` is 0.
    entry : tensor of shape (n_samples,), optional
        Time of delayed entry (left truncation): the row is known to be event-free then; 0 or less
        for none. It is before `time`, or before `upper` and the time of an event or a right
        censoring. An interval that begins before it begins at the entry.
    weight : tensor of shape (n_samples,), optional
        Weight of each row.
    distribution : {"weibull", "lognormal", "loglogistic"}
        Distribution of the time: S is :math:`\exp(-e^z)`, :math:`\Phi(-z)`, or
        :math:`1 / (1 + e^z)`.
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides by the sum of the weights, which is n_samples without weights.

    Returns
    -------
    tensor of shape (), or (n_samples,) with ``reduction="none"``
        In the dtype of `log_params`, or in float32 where that is half precision.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content, as a row has of which neither bound
        says anything. Values are checked on the CPU only; elsewhere such a row gives NaN, or counts
        as what it is nearest to, and nothing waits for the device.

    Notes
    -----
    Computed in logarithms, in float64 where the device has it. Where the likelihood or its
    gradient leaves the range of the dtype it is held at the end of that range, with its sign, so
    every finite `log_params` has a finite loss; one that is NaN or infinite has the loss NaN. The
    gradient is analytic; asking for a second derivative raises.

    With ``distribution="weibull"``, and no intervals, it is `weibull_neg_log_likelihood`.

    References
    ----------
    .. [1] J. D. Kalbfleisch, R. L. Prentice, "The Statistical Analysis of Failure Time Data",
       2nd ed., 2002, chapters 2 and 3, doi:10.1002/9781118032985.

    Examples
    --------
    Half of the log-logistic times are below the scale, and a quarter above three times the scale:

    >>> import torch
    >>> from sksurvtorch.functional import aft_neg_log_likelihood
    >>> lower, upper = torch.tensor([0.0, 3.0]), torch.tensor([1.0, torch.inf])
    >>> loss = aft_neg_log_likelihood(
    ...     torch.zeros(2, 1),
    ...     lower=lower,
    ...     upper=upper,
    ...     distribution="loglogistic",
    ...     reduction="none",
    ... )
    >>> torch.exp(-loss)
    tensor([0.5000, 0.2500])
    """
    check_option("reduction", reduction, REDUCTIONS)
    model = distribution_of(distribution)
    by_bounds = check_outcome(event, time, lower, upper)
    if distribution == "weibull" and not by_bounds:
        return weibull_neg_log_likelihood(
            log_params,
            cast(Tensor, event),
            cast(Tensor, time),
            entry=entry,
            weight=weight,
            reduction=reduction,
        )
    if transforms():
        whole = partial(aft_neg_log_likelihood, distribution=distribution, reduction=reduction)
        given = {"event": event, "time": time, "lower": lower, "upper": upper}
        given |= {"entry": entry, "weight": weight}
        return by_reverse_mode(_NAME, whole, log_params, given)
    log_params = checked_params(log_params)
    if not by_bounds:
        rows = _rows(model, len(log_params), event, time, entry)
    else:
        rows = _rows_of_bounds(model, len(log_params), lower, upper, entry)
        if log_params.device.type == "cpu" and not rows.is_interval.any():
            return aft_neg_log_likelihood(
                log_params,
                rows.exact,
                rows.lower,
                entry=entry,
                weight=weight,
                distribution=distribution,
                reduction=reduction,
            )
    weight = None if weight is None else check_weight(weight, len(log_params))
    check_devices({**rows._asdict(), "weight": weight}, log_params.device, "log_params")
    return _loss(log_params, rows, weight, model, reduction)


def _rows(model: AFTDistribution, n_samples: int, event: Any, time: Any, entry: Any) -> Rows:
    """Return checked columns of event and time."""
    event = check_event(event, n_samples)
    time = check_time(time, n_samples, positive=True, model=model.title)
    return Rows(event, time, None, None if entry is None else check_entry(entry, time))


def _rows_of_bounds(
    model: AFTDistribution, n_samples: int, lower: Any, upper: Any, entry: Any
) -> Rows:
    """Return checked columns of intervals."""
    lower, upper = check_bounds(lower, upper, n_samples)
    if entry is not None:
        entry = check_entry_of_bounds(entry, lower, upper)
    return Rows(lower == upper, lower, upper, entry)


def _loss(
    log_params: Tensor, rows: Rows, weight: Tensor | None, model: AFTDistribution, reduction: str
) -> Tensor:
    """Return the loss of checked columns."""
    dtype = returned_in(log_params)
    largest = torch.finfo(dtype).max / (max(1, len(log_params)) if reduction == "sum" else 1)
    total: Tensor | float | None = None if reduction == "none" else 1.0
    if reduction == "mean":
        weight = None if weight is None else near_one(weight)
        total = (
            float(len(log_params)) if weight is None else weight.sum(dtype=widest(weight.device))
        )
    loss: Tensor = AFTLossOfRows.apply(  # type: ignore[no-untyped-call]
        log_params, rows, weight, total, largest, model, _NAME
    )
    return loss.to(dtype)
