"""Weibull accelerated failure time model: likelihood and functions of time.

A row has the survival S(t) = exp(-(t / scale)^shape). R's ``survreg`` calls log scale the linear
predictor, and 1 / shape its scale.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from sksurvtorch._validation import (
    REDUCTIONS,
    check_devices,
    check_entry,
    check_event,
    check_option,
    check_time,
    check_weight,
    transforms,
)
from sksurvtorch.functional._arithmetic import returned_in, widest
from sksurvtorch.functional._autograd import (
    Evaluated,
    FirstDerivative,
    by_reverse_mode,
    refuse_second_derivative,
)
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.functional._location_scale import (
    bounded,
    checked_params,
    distance,
    log_of_time,
    near_one,
    on_grid,
    scale_and_shape,
)
from sksurvtorch.functional._weibull_sum import loss_and_gradient
from sksurvtorch.functional.aft_times import (
    aft_cumulative_hazard,
    aft_log_hazard,
    aft_mean,
    aft_median,
    aft_quantile,
    aft_sample,
    aft_survival,
)

# What messages call the loss.
_NAME = "`weibull_neg_log_likelihood`"


@left_out_of_graphs
def weibull_neg_log_likelihood(
    log_params: Tensor,
    event: Tensor,
    time: Tensor,
    *,
    entry: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Negative log likelihood of right-censored, left-truncated Weibull times.

    With :math:`\lambda` the scale, k the shape and :math:`\delta` the event, a row adds

    .. math::

        \Bigl(\frac{t}{\lambda}\Bigr)^k - \Bigl(\frac{t_{entry}}{\lambda}\Bigr)^k
        - \delta \Bigl(\log k - \log t + k \log\frac{t}{\lambda}\Bigr)

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale in the first column: the higher, the later the event. Log shape in the second;
        without it the shape is 1, the exponential model.
    event : bool tensor of shape (n_samples,)
        True for an observed event, False for a right-censored row.
    time : tensor of shape (n_samples,)
        Time of the event or the censoring, positive, in the unit of the scale.
    entry : tensor of shape (n_samples,), optional
        Time of delayed entry (left truncation), in the unit of `time`; 0 or less for none.
    weight : tensor of shape (n_samples,), optional
        Weight of each row.
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides by the sum of the weights, which is n_samples without weights.

    Returns
    -------
    tensor of shape (), or (n_samples,) with ``reduction="none"``
        In the dtype of `log_params`, or in float32 where that is half precision.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content, as a time that is not positive has.
        Values are checked on the CPU only; elsewhere such a time gives NaN, and nothing waits for
        the device.

    Notes
    -----
    Computed in logarithms, in float64 where the device has it. Where the likelihood or its
    gradient leaves the range of the dtype it is held at the end of that range, with its sign, so
    every finite `log_params` has a finite loss and a gradient that points the right way; one that
    is NaN or infinite has the loss NaN. The gradient is analytic; asking for a second derivative
    raises.

    References
    ----------
    .. [1] J. D. Kalbfleisch, R. L. Prentice, "The Statistical Analysis of Failure Time Data",
       2nd ed., 2002, chapter 3, doi:10.1002/9781118032985.

    Examples
    --------
    An event at the scale of an exponential has hazard 1 and cumulative hazard 1:

    >>> import torch
    >>> from sksurvtorch.functional import weibull_neg_log_likelihood
    >>> weibull_neg_log_likelihood(torch.zeros(1, 1), torch.tensor([True]), torch.tensor([1.0]))
    tensor(1.)
    """
    check_option("reduction", reduction, REDUCTIONS)
    if transforms():
        whole = partial(weibull_neg_log_likelihood, reduction=reduction)
        given = {"event": event, "time": time, "entry": entry, "weight": weight}
        return by_reverse_mode(_NAME, whole, log_params, given)
    log_params = checked_params(log_params)
    event = check_event(event, len(log_params))
    time = check_time(time, len(log_params), positive=True)
    entry = None if entry is None else check_entry(entry, time)
    weight = None if weight is None else check_weight(weight, len(log_params))
    columns = {"event": event, "time": time, "entry": entry, "weight": weight}
    check_devices(columns, log_params.device, "log_params")
    n_summed = len(log_params) if reduction == "sum" else 1
    if reduction == "mean" and weight is not None:
        weight = near_one(weight)
    if reduction != "none" and entry is None and log_params.device.type == "cpu":
        found = loss_and_gradient(log_params, event, time, weight, reduction == "mean")
        if found is not None:
            summed: Tensor = Evaluated.apply(  # type: ignore[no-untyped-call]
                log_params, lambda *_: found, _NAME
            )
            return summed
    dtype = returned_in(log_params)
    largest = torch.finfo(dtype).max / max(1, n_summed)
    loss: Tensor = _WeibullLoss.apply(  # type: ignore[no-untyped-call]
        log_params, event, time, entry, weight, largest
    )
    if reduction == "mean":
        # Dividing each row first keeps the sum of held rows within the range.
        loss = loss / (len(loss) if weight is None else weight.to(loss.dtype).sum())
    return (loss if reduction == "none" else loss.sum()).to(dtype)


class _WeibullLoss(FirstDerivative):
    """Loss of each row, with its analytic gradient, both held within +-`largest`."""

    @staticmethod
    def forward(
        ctx: Any,
        log_params: Tensor,
        event: Tensor,
        time: Tensor,
        entry: Tensor | None,
        weight: Tensor | None,
        largest: float,
    ) -> Tensor:
        """Compute the loss of each row, and its gradient."""
        dtype = widest(log_params.device)
        log_scale, log_shape = scale_and_shape(log_params.to(dtype))
        log_time = log_of_time(time.to(dtype))
        shape = bounded(log_shape.exp())
        z = distance(log_scale, log_shape, log_time)
        hazard = z.exp().clamp(max=torch.finfo(dtype).max)
        slope = (z + log_shape).exp().clamp(max=torch.finfo(dtype).max)  # -dH / d log scale
        observed = event.to(dtype)
        # shape - slope for an event, where the two may cancel, by expm1.
        d_scale = torch.where(z < 1, -torch.expm1(z) * shape, shape - slope)
        d_scale = torch.where(event, d_scale, -slope)
        excess, d_excess = hazard, hazard * z
        if entry is not None:
            # H(t) - H(entry), which may cancel too, by the logarithm of the ratio of the two.
            late = entry > 0
            log_entry = torch.where(late, entry.to(dtype), 1.0).log()
            log_ratio = bounded(shape * (log_entry - log_time))
            share = -torch.expm1(log_ratio)
            excess = torch.where(late, hazard * share, hazard)
            entered = hazard * log_ratio.exp() * log_ratio
            d_excess = torch.where(late, excess * z - entered, d_excess)
            d_scale = torch.where(late, observed * shape - slope * share, d_scale)
        loss = excess - torch.where(event, log_shape - log_time + z, 0.0)
        gradient = torch.stack([d_scale, d_excess - observed * (1 + z)], 1)
        # What had no value to begin with has no loss either.
        weight = torch.ones_like(loss) if weight is None else weight.to(dtype)
        weight = torch.where(
            log_params.isfinite().all(1) & (log_time == log_time), weight, torch.nan
        )
        gradient = gradient[:, : log_params.shape[1]] * weight[:, None]
        ctx.save_for_backward(gradient.clamp(-largest, largest))
        ctx.dtype = log_params.dtype
        return (loss * weight).clamp(-largest, largest)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        """Return the gradient, within the range of half precision where that is asked for."""
        refuse_second_derivative(_NAME)
        (gradient,) = ctx.saved_tensors
        product = gradient * grad.unsqueeze(1)
        if ctx.dtype.itemsize < 4:
            # A factor above 1, as of a scaler of gradients, may leave the range: it looks for that.
            end = torch.finfo(ctx.dtype).max * grad.abs().clamp(min=1).unsqueeze(1)
            product = torch.minimum(torch.maximum(product, -end), end)
        return product.to(ctx.dtype), None, None, None, None, None


def weibull_log_hazard(log_params: Tensor, times: Tensor) -> Tensor:
    r"""Logarithm of the hazard :math:`(k / \lambda)(t / \lambda)^{k - 1}`.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    times : tensor of shape (n_times,) or (n_samples, n_times)
        Times in the unit of the scale, at least 0.

    Returns
    -------
    tensor of shape (n_samples, n_times)
        In the dtype of `log_params`, per unit of time.
    """
    return aft_log_hazard(log_params, times, distribution="weibull")


@left_out_of_graphs
def weibull_log_cumulative_hazard(log_params: Tensor, times: Tensor) -> Tensor:
    r"""Logarithm of the cumulative hazard :math:`(t / \lambda)^k`.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    times : tensor of shape (n_times,) or (n_samples, n_times)
        Times in the unit of the scale, at least 0.

    Returns
    -------
    tensor of shape (n_samples, n_times)
        In the dtype of `log_params`; -inf at time 0.
    """
    log_params = checked_params(log_params)
    return distance(*on_grid(log_params, times, log_params.dtype))


def weibull_cumulative_hazard(log_params: Tensor, times: Tensor) -> Tensor:
    r"""Cumulative hazard :math:`(t / \lambda)^k`.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    times : tensor of shape (n_times,) or (n_samples, n_times)
        Times in the unit of the scale, at least 0.

    Returns
    -------
    tensor of shape (n_samples, n_times)
        In the dtype of `log_params`.
    """
    return aft_cumulative_hazard(log_params, times, distribution="weibull")


def weibull_survival(log_params: Tensor, times: Tensor) -> Tensor:
    r"""Survival :math:`\exp(-(t / \lambda)^k)`, the probability that the event is later than t.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    times : tensor of shape (n_times,) or (n_samples, n_times)
        Times in the unit of the scale, at least 0.

    Returns
    -------
    tensor of shape (n_samples, n_times)
        In the dtype of `log_params`.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.functional import weibull_survival
    >>> weibull_survival(torch.zeros(1, 1), torch.tensor([0.0, 1.0]))  # 1 and exp(-1)
    tensor([[1.0000, 0.3679]])
    """
    return aft_survival(log_params, times, distribution="weibull")


def weibull_quantile(log_params: Tensor, probability: Tensor) -> Tensor:
    r"""Time by which the event has happened with a given probability p.

    :math:`\lambda (-\log(1 - p))^{1 / k}`.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    probability : tensor of shape (n_quantiles,)
        Probabilities within [0, 1]; 0.5 gives the median.

    Returns
    -------
    tensor of shape (n_samples, n_quantiles)
        In the unit of the scale and the dtype of `log_params`.
    """
    return aft_quantile(log_params, probability, distribution="weibull")


def weibull_median(log_params: Tensor) -> Tensor:
    r"""Median time :math:`\lambda (\log 2)^{1 / k}`.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).

    Returns
    -------
    tensor of shape (n_samples,)
        In the unit of the scale and the dtype of `log_params`.
    """
    return aft_median(log_params, distribution="weibull")


def weibull_mean(log_params: Tensor) -> Tensor:
    r"""Mean time :math:`\lambda\,\Gamma(1 + 1 / k)`.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).

    Returns
    -------
    tensor of shape (n_samples,)
        In the unit of the scale and the dtype of `log_params`.
    """
    return aft_mean(log_params, distribution="weibull")


def weibull_sample(
    log_params: Tensor, n_draws: int = 1, *, generator: torch.Generator | None = None
) -> Tensor:
    r"""Draw event times :math:`\lambda E^{1 / k}` with E standard exponential.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    n_draws : int, default=1
        Times to draw for each row.
    generator : torch.Generator, optional
        Source of randomness on the device of `log_params`; torch's global one if left out.

    Returns
    -------
    tensor of shape (n_samples, n_draws)
        In the unit of the scale and the dtype of `log_params`.
    """
    return aft_sample(log_params, n_draws, generator=generator, distribution="weibull")
