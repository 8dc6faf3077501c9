"""Loss of each row of an accelerated failure time model, with its analytic gradient.

A row of any kind adds what the cumulative hazard gains up to a point, from its entry on: the time
of its event, that of its censoring, or the lower end of its interval. An event adds minus the
logarithm of its hazard besides, an interval minus that of the probability of an event within it
given none before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sksurvtorch._validation import is_readable
from sksurvtorch.functional._arithmetic import by_kind, widest
from sksurvtorch.functional._autograd import FirstDerivative, refuse_second_derivative
from sksurvtorch.functional._distributions import AFTDistribution
from sksurvtorch.functional._location_scale import bounded, scale_and_shape

# Loss, and its slopes by a shift of all z of the row and by the logarithm of the shape.
Terms = tuple[Tensor, Tensor, Tensor]
Kind = Callable[["_Part"], Terms]


class Rows(NamedTuple):
    """What is known of each row, as columns of shape (n_samples,) that were checked.

    Attributes
    ----------
    exact : tensor
        Whether the event is at `lower`.
    lower : tensor
        Time of the event or the censoring, or the lower end of the interval.
    upper : tensor or None
        Infinite for a right-censored row. None if there are no intervals.
    entry : tensor or None
        Time of delayed entry; 0 or less for none.
    """

    exact: Tensor
    lower: Tensor
    upper: Tensor | None
    entry: Tensor | None

    def to(self, dtype: torch.dtype) -> Rows:
        """Return the times in a dtype, and no interval that begins before its entry."""
        lower = self.lower.to(dtype)
        upper = None if self.upper is None else self.upper.to(dtype)
        entry = None if self.entry is None else self.entry.to(dtype)
        if upper is not None and entry is not None:
            lower = torch.where(self.is_interval, torch.maximum(lower, entry), lower)
        return Rows(self.exact, lower, upper, entry)

    @property
    def is_interval(self) -> Tensor:
        """Whether the event lies in an interval."""
        assert self.upper is not None
        return ~(self.exact | (self.upper == torch.inf))


class AFTLossOfRows(FirstDerivative):
    """Loss of each row, or their sum divided by a total, held within +-`largest` for each row.

    Call ``AFTLossOfRows.apply(log_params, rows, weight, total, largest, distribution, name)``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        log_params: Tensor,
        rows: Rows,
        weight: Tensor | None,
        total: Tensor | float | None,
        largest: float,
        distribution: AFTDistribution,
        name: str,
    ) -> Tensor:
        """Compute the loss and its gradient."""
        dtype = widest(log_params.device)
        params = log_params.to(dtype)
        loss, by_scale, by_shape = _losses(distribution, params, rows.to(dtype))
        gradient = torch.stack([by_scale, by_shape], 1)[:, : log_params.shape[1]]
        if not (is_readable(params) and isfinite(params.sum().item())):
            # What had no value to begin with has no loss either.
            known = params.isfinite().all(1)
            loss = torch.where(known, loss, torch.nan)
            gradient = torch.where(known[:, None], gradient, torch.nan)
        if weight is not None:
            weight = weight.to(dtype)
            loss, gradient = loss * weight, gradient * weight[:, None]
        loss, gradient = loss.clamp(-largest, largest), gradient.clamp(-largest, largest)
        if total is not None:
            # Dividing each row first keeps the sum of held rows within the range.
            loss, gradient = (loss / total).sum(), gradient / total
        ctx.save_for_backward(gradient)
        ctx.dtype, ctx.name = log_params.dtype, name
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient, within the range of half precision where that is asked for."""
        refuse_second_derivative(ctx.name)
        (gradient,) = ctx.saved_tensors
        by_row = grad.unsqueeze(-1)
        product = gradient * by_row
        if ctx.dtype.itemsize < 4:
            # A factor above 1, as of a scaler of gradients, may leave the range: it looks for that.
            end = torch.finfo(ctx.dtype).max * by_row.abs().clamp(min=1)
            product = torch.minimum(torch.maximum(product, -end), end)
        return product.to(ctx.dtype), None, None, None, None, None, None


class _Part(NamedTuple):
    """Rows of one kind, with an entry if they enter late."""

    distribution: AFTDistribution
    log_scale: Tensor
    log_shape: Tensor
    shape: Tensor
    lower: Tensor
    log_lower: Tensor
    upper: Tensor | None = None
    entry: Tensor | None = None

    def z(self, log_time: Tensor) -> Tensor:
        """Return how far a time is from the scale, also one that is infinitely far."""
        return self.distribution.bounded(self.shape * (log_time - self.log_scale))

    def log_width(self, early: Tensor, late: Tensor, far: Tensor) -> Tensor:
        """Return the logarithm of k times the difference of two logarithms, given as it is."""
        # Of two times that are told apart by a last digit.
        near = ((late - early) / early).log1p()
        return self.log_shape + torch.where(late < 2 * early, near, far).log()


def _losses(distribution: AFTDistribution, params: Tensor, rows: Rows) -> Terms:
    """Return the loss of each row, and its gradient by log scale and log shape, all finite."""
    log_scale, log_shape = scale_and_shape(params)
    shape = bounded(log_shape.exp())
    columns = {"log_scale": log_scale, "log_shape": log_shape, "shape": shape, "lower": rows.lower}
    kinds: list[tuple[Tensor, Kind]] = [(rows.exact, _event), (~rows.exact, _censored)]
    is_time = rows.lower > 0
    if rows.upper is not None:
        interval = rows.is_interval
        kinds = [kinds[0], (~(rows.exact | interval), _censored), (interval, _interval)]
        columns["upper"] = rows.upper
        is_time |= interval
    columns["log_lower"] = torch.where(is_time, rows.lower.log(), torch.nan)
    if rows.entry is not None:
        late = rows.entry > 0
        kinds = [(mask & each, kind) for mask, kind in kinds for each in (~late, late)]
        columns["entry"] = rows.entry

    def terms(kind: Kind, enters: bool, *values: Tensor) -> Terms:
        """Return what rows of one kind add, given their columns."""
        part = _Part(distribution, **dict(zip(columns, values, strict=True)))
        return kind(part if enters else part._replace(entry=None))

    made = [
        (mask, partial(terms, kind, rows.entry is not None and number % 2 == 1))
        for number, (mask, kind) in enumerate(kinds)
    ]
    loss, by_shift, by_shape = by_kind(made, list(columns.values()))
    end = torch.finfo(loss.dtype).max
    by_scale = by_shift.clamp(-end, end) * -shape
    return loss.clamp(-end, end), by_scale.clamp(-end, end), by_shape.clamp(-end, end)


def _event(part: _Part) -> Terms:
    """Return minus the log density per unit of time."""
    z, beside = part.z(part.log_lower), part.log_lower - part.log_shape
    if part.entry is None:
        log_density, slope = part.distribution.density(z)
        return beside - log_density, -slope, -slope * z - 1
    excess, by_shift, by_shape = _gained(part, z)
    log_hazard, slope = part.distribution.hazard(z)
    return beside - log_hazard + excess, by_shift - slope, by_shape - slope * z - 1


def _censored(part: _Part) -> Terms:
    """Return minus the log survival."""
    return _gained(part, part.z(part.log_lower))


def _interval(part: _Part) -> Terms:
    """Return minus the log probability of the interval."""
    assert part.upper is not None
    log_upper = part.upper.log()
    low = torch.where(part.lower == 0, -torch.inf, part.z(part.log_lower))
    high = part.z(log_upper)
    log_width = part.log_width(part.lower, part.upper, log_upper - part.log_lower)
    if part.entry is None:
        log_probability, shift, factor = part.distribution.interval(low, high, log_width)
        return -log_probability, -shift, -factor
    excess, by_shift, by_shape = _gained(part, low)
    log_share, slope, pull = part.distribution.within(low, high, log_width)
    return excess - log_share, by_shift - slope, by_shape - high * slope - pull


def _gained(part: _Part, z: Tensor) -> Terms:
    """Return what the cumulative hazard gains from the entry to z."""
    if part.entry is None:
        cumulative, hazard = part.distribution.survived(z)
        return cumulative, hazard, z * hazard
    log_entry = part.entry.log()
    log_width = part.log_width(part.entry, part.lower, part.log_lower - log_entry)
    excess, more, hazard = part.distribution.excess(part.z(log_entry), z, log_width)
    # z h(z) less its value at the entry
    pull = torch.where(hazard == 0, 0.0, log_width.exp() * hazard)
    return excess, more, z * more + pull
