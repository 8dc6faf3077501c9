"""Accelerated failure time models: functions of time, quantiles, means and samples."""

from __future__ import annotations

import torch
from torch import Tensor

from sksurvtorch._validation import check_after, check_probability
from sksurvtorch.functional._arithmetic import widest
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.functional._distributions import AFTDistribution, distribution_of
from sksurvtorch.functional._location_scale import (
    checked_params,
    distance,
    log_of_time,
    on_grid,
    scale_and_shape,
)

# Logarithm of a shape beyond which the distribution is what it is in the limit.
_SURE = 300.0


@left_out_of_graphs
def aft_log_hazard(log_params: Tensor, times: Tensor, *, distribution: str) -> Tensor:
    """Logarithm of the hazard.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    times : tensor of shape (n_times,) or (n_samples, n_times)
        Times in the unit of the scale, at least 0.
    distribution : {"weibull", "lognormal", "loglogistic"}
        Distribution of the time.

    Returns
    -------
    tensor of shape (n_samples, n_times)
        In the dtype of `log_params`, per unit of time.
    """
    model, log_params = distribution_of(distribution), checked_params(log_params)
    log_scale, log_shape, log_times = on_grid(log_params, times, model.computed_in(log_params))
    log_hazard = (
        log_shape
        - log_times
        + model.log_hazard(distance(log_scale, log_shape, log_times, model.bounded))
    )
    at_zero = model.log_hazard_at_zero(log_scale, log_shape)
    return torch.where(log_times == -torch.inf, at_zero, log_hazard).to(log_params.dtype)


@left_out_of_graphs
def aft_log_survival(
    log_params: Tensor,
    times: Tensor,
    *,
    after: Tensor | None = None,
    distribution: str,
) -> Tensor:
    """Logarithm of the survival.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    times : tensor of shape (n_times,) or (n_samples, n_times)
        Times in the unit of the scale, at least 0.
    after : tensor of shape (n_samples,), optional
        Times at which the rows are known to be event-free, in the unit of the scale: then it is
        that of S(t) / S(after), and 0 before.
        There is no gradient then.
    distribution : {"weibull", "lognormal", "loglogistic"}
        Distribution of the time.

    Returns
    -------
    tensor of shape (n_samples, n_times)
        In the dtype of `log_params`; 0 at time 0.
    """
    log_params = checked_params(log_params)
    return _log_survival(log_params, times, after, distribution).to(log_params.dtype)


@left_out_of_graphs
def aft_cumulative_hazard(
    log_params: Tensor,
    times: Tensor,
    *,
    after: Tensor | None = None,
    distribution: str,
) -> Tensor:
    """Cumulative hazard, which is minus the logarithm of the survival.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    times : tensor of shape (n_times,) or (n_samples, n_times)
        Times in the unit of the scale, at least 0.
    after : tensor of shape (n_samples,), optional
        Times at which the rows are known to be event-free, in the unit of the scale: what has
        accumulated since then, and 0 before.
        There is no gradient then.
    distribution : {"weibull", "lognormal", "loglogistic"}
        Distribution of the time.

    Returns
    -------
    tensor of shape (n_samples, n_times)
        In the dtype of `log_params`.
    """
    return -aft_log_survival(log_params, times, after=after, distribution=distribution)


@left_out_of_graphs
def aft_survival(
    log_params: Tensor,
    times: Tensor,
    *,
    after: Tensor | None = None,
    distribution: str,
) -> Tensor:
    """Survival, the probability that the event is later than t.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    times : tensor of shape (n_times,) or (n_samples, n_times)
        Times in the unit of the scale, at least 0.
    after : tensor of shape (n_samples,), optional
        Times at which the rows are known to be event-free, in the unit of the scale: then it is
        S(t) / S(after), and 1 before.
        There is no gradient then.
    distribution : {"weibull", "lognormal", "loglogistic"}
        Distribution of the time.

    Returns
    -------
    tensor of shape (n_samples, n_times)
        In the dtype of `log_params`.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.functional import aft_survival
    >>> times = torch.tensor([0.0, 1.0, 3.0])
    >>> aft_survival(torch.zeros(1, 1), times, distribution="loglogistic")  # 1 / (1 + t)
    tensor([[1.0000, 0.5000, 0.2500]])
    """
    log_params = checked_params(log_params)
    return _log_survival(log_params, times, after, distribution).exp().to(log_params.dtype)


@left_out_of_graphs
def aft_quantile(
    log_params: Tensor,
    probability: Tensor,
    *,
    after: Tensor | None = None,
    distribution: str,
) -> Tensor:
    """Time by which the event has happened with a given probability.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    probability : tensor of shape (n_quantiles,)
        Probabilities within [0, 1]; 0.5 gives the median.
    after : tensor of shape (n_samples,), optional
        Times at which the rows are known to be event-free, in the unit of the scale: the
        probability is given this. There is no gradient then.
    distribution : {"weibull", "lognormal", "loglogistic"}
        Distribution of the time.

    Returns
    -------
    tensor of shape (n_samples, n_quantiles)
        In the unit of the scale and the dtype of `log_params`, counted from 0 and not from `after`.

    Examples
    --------
    Half of those who have reached 1 of log-logistic times reach 3, as S(t) = 1 / (1 + t):

    >>> import torch
    >>> from sksurvtorch.functional import aft_quantile
    >>> half, after = torch.tensor([0.5]), torch.tensor([1.0])
    >>> aft_quantile(torch.zeros(1, 1), half, after=after, distribution="loglogistic")
    tensor([[3.]])
    """
    model, log_params = distribution_of(distribution), checked_params(log_params)
    probability = check_probability(probability).to(log_params.device)
    if after is not None:
        return _quantile_after(model, log_params, probability, after)
    dtype = model.computed_in(log_params)
    log_scale, log_shape = scale_and_shape(log_params.to(dtype))
    log_survival = torch.log1p(-probability.to(model.computed_in(probability)))
    z = model.inverse(log_survival).to(dtype)
    return _time_at(log_scale, log_shape, z).to(log_params.dtype)


@left_out_of_graphs
def aft_median(log_params: Tensor, *, after: Tensor | None = None, distribution: str) -> Tensor:
    """Median time.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    after : tensor of shape (n_samples,), optional
        Times at which the rows are known to be event-free, in the unit of the scale: the median
        is that of such rows. There is no gradient then.
    distribution : {"weibull", "lognormal", "loglogistic"}
        Distribution of the time.

    Returns
    -------
    tensor of shape (n_samples,)
        In the unit of the scale and the dtype of `log_params`, counted from 0 and not from `after`.
    """
    half = torch.tensor([0.5], dtype=torch.float64, device="cpu")
    return aft_quantile(log_params, half, after=after, distribution=distribution).squeeze(1)


@left_out_of_graphs
def aft_mean(log_params: Tensor, *, after: Tensor | None = None, distribution: str) -> Tensor:
    r"""Mean time.

    It is :math:`\lambda\,\Gamma(1 + 1 / k)`, :math:`\lambda\,\exp(1 / (2 k^2))`, and
    :math:`\lambda\,(\pi / k) / \sin(\pi / k)` of Weibull, log-normal and log-logistic times with
    the scale :math:`\lambda` and the shape k.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    after : tensor of shape (n_samples,), optional
        Times at which the rows are known to be event-free, in the unit of the scale: the mean is
        that of such rows. There is no gradient then.
    distribution : {"weibull", "lognormal", "loglogistic"}
        Distribution of the time.

    Returns
    -------
    tensor of shape (n_samples,)
        In the unit of the scale and the dtype of `log_params`, counted from 0 and not from
        `after`; infinite for log-logistic times with a shape of at most 1.
    """
    model, log_params = distribution_of(distribution), checked_params(log_params)
    if after is not None:
        after, left = _mean_left(model, log_params, after)
        return (after + left).to(log_params.dtype)
    log_scale, log_shape = scale_and_shape(log_params.to(model.computed_in(log_params)))
    return (log_scale + model.log_mean(log_shape)).exp().to(log_params.dtype)


@left_out_of_graphs
def aft_mean_residual_life(log_params: Tensor, after: Tensor, *, distribution: str) -> Tensor:
    """Mean of the time that is left to rows known to be event-free.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    after : tensor of shape (n_samples,)
        Times at which the rows are known to be event-free, in the unit of the scale.
    distribution : {"weibull", "lognormal", "loglogistic"}
        Distribution of the time.

    Returns
    -------
    tensor of shape (n_samples,)
        In the unit of the scale and the dtype of `log_params`, counted from `after`; infinite for
        log-logistic times with a shape of at most 1. There is no gradient.

    Notes
    -----
    The mean is not taken as a difference of two times, and the survival at `after` may be less
    than any float.

    Examples
    --------
    Exponential times have no memory:

    >>> import torch
    >>> from sksurvtorch.functional import aft_mean_residual_life
    >>> after = torch.tensor([0.0, 100.0])
    >>> aft_mean_residual_life(torch.zeros(2, 1), after, distribution="weibull")
    tensor([1., 1.])
    """
    model, log_params = distribution_of(distribution), checked_params(log_params)
    _, left = _mean_left(model, log_params, after)
    return left.to(log_params.dtype)


@left_out_of_graphs
def aft_sample(
    log_params: Tensor,
    n_draws: int = 1,
    *,
    generator: torch.Generator | None = None,
    distribution: str,
) -> Tensor:
    """Draw event times.

    Parameters
    ----------
    log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
        Log scale, and log shape (0 if left out).
    n_draws : int, default=1
        Times to draw for each row.
    generator : torch.Generator, optional
        Source of randomness on the device of `log_params`; torch's global one if left out.
    distribution : {"weibull", "lognormal", "loglogistic"}
        Distribution of the time.

    Returns
    -------
    tensor of shape (n_samples, n_draws)
        In the unit of the scale and the dtype of `log_params`.
    """
    model, log_params = distribution_of(distribution), checked_params(log_params)
    log_scale, log_shape = scale_and_shape(log_params.to(model.computed_in(log_params)))
    # Minus the logarithm of a survival is standard exponential.
    draws = log_scale.new_empty(len(log_params), n_draws).exponential_(generator=generator)
    z = model.inverse(-draws)
    return _time_at(log_scale, log_shape, z).to(log_params.dtype)


def _time_at(log_scale: Tensor, log_shape: Tensor, z: Tensor) -> Tensor:
    """Return the times, a row for each sample, at which z has these values."""
    log_ratio = (-log_shape[:, None]).exp() * z
    # At the scale whatever the shape, also one of 0.
    return (log_scale[:, None] + torch.where(z == 0, 0.0, log_ratio)).exp()


def _log_survival(
    log_params: Tensor, times: Tensor, after: Tensor | None, distribution: str
) -> Tensor:
    """Return log S in the dtype it is computed in, given no event before."""
    model = distribution_of(distribution)
    if after is None:
        grid = on_grid(log_params, times, model.computed_in(log_params))
        return model.log_survival(distance(*grid, model.bounded))
    log_scale, log_shape, after, low = _given_after(model, log_params, after)
    log_scale, log_shape, log_times = on_grid(log_params, times, after.dtype)
    high = distance(log_scale, log_shape, log_times, model.bounded)
    late, beyond = after[:, None] > 0, log_times.exp() > after[:, None]
    shared = late & beyond
    # The time by that after which it counts, with its digits where the two are close.
    times = torch.as_tensor(times, dtype=after.dtype, device=after.device).expand_as(high)
    ratio = torch.where(shared, (times - after[:, None]) / after[:, None], 1.0)
    log_width = log_shape + ratio.log1p().log()
    interval = low[:, None].expand_as(high), high, log_width
    excess, *_ = model.excess(
        *(
            torch.where(shared, x, at).flatten()
            for x, at in zip(interval, (-1.0, 0.0, 0.0), strict=True)
        )
    )
    given = torch.where(beyond, -excess.reshape(high.shape), 0.0)
    return torch.where(late, given, model.log_survival(high))


def _given_after(
    model: AFTDistribution, log_params: Tensor, after: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return log scale, log shape, the times and their z, which are -inf at 0."""
    if log_params.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            "`log_params` must not require a gradient, got a tensor that does: there is none of "
            "what is given `after`. Pass log_params.detach()."
        )
    dtype = widest(log_params.device)
    after = check_after(after, len(log_params)).to(log_params.device, dtype)
    log_scale, log_shape = scale_and_shape(log_params.to(dtype))
    log_after = torch.where(after == 0, -torch.inf, log_of_time(after))
    return log_scale, log_shape, after, distance(log_scale, log_shape, log_after, model.bounded)


def _quantile_after(
    model: AFTDistribution, log_params: Tensor, probability: Tensor, after: Tensor
) -> Tensor:
    """Return quantiles given no event before."""
    log_scale, log_shape, after, z = _given_after(model, log_params, after)
    log_share = torch.log1p(-probability.to(after.dtype))
    late = after > 0
    further = (
        model.delay(torch.where(late, z, 0.0)[:, None], log_share) * (-log_shape[:, None]).exp()
    )
    # To no event within no time leads no rounding, and a small time may grow by a large factor.
    later = torch.where(
        further < 1, after[:, None] * further.exp(), (after.log()[:, None] + further).exp()
    )
    sure = torch.maximum(after, log_scale.exp())[:, None]
    later = torch.where(log_shape[:, None] > _SURE, sure, later)
    whole = _time_at(log_scale, log_shape, model.inverse(log_share))
    return torch.where(late[:, None], later, whole).to(log_params.dtype)


def _mean_left(model: AFTDistribution, log_params: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Return the times and the mean of what is left."""
    log_scale, log_shape, after, z = _given_after(model, log_params, after)
    late = after > 0
    log_left = model.log_remaining(torch.where(late, z, 0.0), log_shape)
    # Beyond e^300 a shape leaves one time alone, the scale, and below e^-300 no finite mean.
    sure = (-torch.expm1((after.log() - log_scale).clamp(max=0))).log()
    log_left = torch.where(log_shape > _SURE, sure, log_left)
    log_left = torch.where(log_shape < -_SURE, torch.inf, log_left)
    return after, (log_scale + torch.where(late, log_left, model.log_mean(log_shape))).exp()
