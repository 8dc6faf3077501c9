"""Times of accelerated failure time models in the unit that a network is trained in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from sksurvtorch.functional import aft_neg_log_likelihood
from sksurvtorch.functional._distributions import distribution_of
from sksurvtorch.nets.target import Columns, ScaledTarget, last_times

# Largest distance of a log time from their mean, in the scale that the network is trained on; and
# what farther bounds are taken for, where survival is 1 or 0 to the last digit.
_FARTHEST, _BEYOND = 50.0, 300.0
# Rows from which the unit is learned, if there are intervals.
_MOST_ROWS = 10_000
_OF_LOSS = ("lower", "upper", "entry", "weight")


def check_apart(columns: Columns) -> None:
    """Raise if the intervals of all rows have times in common."""
    if "upper" not in columns:
        return
    first, last = float(columns["lower"].max()), float(columns["upper"].min())
    if first < last < math.inf:
        raise ValueError(
            "`y` must have intervals of which some lie apart, got "
            f"{len(columns['upper'])} rows whose events may all be from {first:g} to {last:g}. "
            "The likelihood has no maximum then: it is highest if all of them are there."
        )


def common_time(columns: Columns) -> float | None:
    """Return a time at which all events may have been, if no row is known to be free later."""
    # Nothing contradicts a distribution that has all events there: the likelihood rises with the
    # shape, or stays as it is.
    if "time" in columns:
        event, last = columns["event"], columns["time"].max()
        return None if (columns["time"][event] < last).any() else float(last)
    lower, upper = columns["lower"], columns["upper"]
    last = upper[upper.isfinite()].min()
    is_interval = upper.isfinite() & (lower < upper)  # without its lower bound
    fits = torch.where(is_interval, lower < last, lower <= last)
    return float(last) if fits.all() else None


def learn_unit(columns: Columns, distribution: str) -> tuple[float, float]:
    """Return the centre and the spread of the log times: nearly their mean and deviation.

    The network then sees times near 1, whatever their unit; the likelihood changes by a constant.

    Parameters
    ----------
    columns : dict of tensors of shape (n_samples,)
        Event and time, or lower and upper bounds, and perhaps entry and weight.
    distribution : str
        Distribution of the time.

    Returns
    -------
    center : float
        What log times are centred by.
    spread : float
        What they are divided by then.
    """
    columns = without_intervals(columns)
    if "time" in columns:
        log_time = columns["time"].double().log()
        weight = columns.get("weight", torch.ones_like(log_time))
        share = weight / weight.sum()
        center = float(share @ log_time)
        spread = float(share @ (log_time - center).square()) ** 0.5
        needed = log_time
    else:
        center, spread = _of_all_rows(columns, distribution)
        lower, upper = columns["lower"].log(), columns["upper"].log()
        # A lower bound below the centre, or an upper one above it, may be as far as it likes.
        known = lower == upper
        needed = torch.cat([lower[known | (lower > center)], upper[known | (upper < center)]])
    # One time far from all others would otherwise be too far for a float, too.
    farthest = float((needed - center).abs().max()) if len(needed) else 0.0
    spread = max(spread, farthest / _FARTHEST)
    return center, spread if spread > 0 else 1.0


def scaled_target(columns: Columns, center: float, spread: float) -> ScaledTarget:
    """Return the target of a network, with times in its unit."""
    by_bounds = "upper" in columns
    columns = without_intervals(columns)

    def scaled(time: Tensor) -> Tensor:
        """Return times with log times of mean 0 and standard deviation 1."""
        return ((time.double().log() - center) / spread).exp()

    if "time" in columns:
        columns["time"] = scaled(columns["time"])
    else:
        columns |= _scaled_bounds(columns, center, spread)
    if "entry" in columns:
        entry = columns["entry"].double()
        positive = entry > 0
        late = scaled(torch.where(positive, entry, 1.0))
        # Rounding may not make an entry that is just before the time equal to it.
        last = last_times(columns)
        before = torch.nextafter(last, last.new_zeros(()))
        columns["entry"] = torch.where(positive, torch.minimum(late, before), 0.0)
    return ScaledTarget(columns, center, spread, by_bounds=by_bounds)


def without_intervals(columns: Columns) -> Columns:
    """Return event and time in place of bounds, if all of these are equal or open to the right."""
    columns = dict(columns)
    if "upper" not in columns:
        return columns
    event, right = columns["lower"] == columns["upper"], columns["upper"].isinf()
    if not (event | right).all():
        return columns
    del columns["upper"]
    return {"event": event, "time": columns.pop("lower"), **columns}


def _scaled_bounds(columns: Columns, center: float, spread: float) -> Columns:
    """Return bounds in the unit of the network."""
    logs = {name: (columns[name].log() - center) / spread for name in ("lower", "upper")}
    # What is 0 or infinite stays so.
    held = {
        name: torch.where(x.isinf(), x, x.clamp(-_BEYOND, _BEYOND)).exp()
        for name, x in logs.items()
    }
    lower, upper = held["lower"], held["upper"]
    # Rounding may not make an interval a point.
    after = torch.nextafter(lower, lower.new_full((), torch.inf))
    is_interval = columns["lower"] < columns["upper"]
    return {"lower": lower, "upper": torch.where(is_interval, torch.maximum(upper, after), lower)}


def _of_all_rows(columns: Columns, distribution: str) -> tuple[float, float]:
    """Return mean and deviation of the log time by the distribution that fits all rows best.

    The middles of intervals would do where these are short. But of few inspections they tell hardly
    how much times vary.
    """
    columns = _some_rows(columns)
    lower, upper = columns["lower"].log(), columns["upper"].log()
    # Where there is one bound, that; the median does not mind bounds that are far away.
    middle = torch.where(lower.isinf(), upper, torch.where(upper.isinf(), lower, lower + upper))
    middle = torch.where(lower.isfinite() & upper.isfinite(), middle / 2, middle)
    start = float(middle.median())
    given: dict[str, Any] = {name: columns[name] for name in columns if name in _OF_LOSS}

    def loss_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss of one location and shape for all rows, and its gradient."""
        location_and_shape = torch.from_numpy(x.copy()).requires_grad_()
        params = location_and_shape.expand(len(middle), 2)
        loss = aft_neg_log_likelihood(params, distribution=distribution, **given)
        (gradient,) = torch.autograd.grad(loss, location_and_shape)
        return loss.item(), gradient.numpy()

    with np.errstate(over="ignore"):  # of a trial step
        found = minimize(loss_and_gradient, np.array([start, 0.0]), jac=True, method="BFGS")
    model, scale = distribution_of(distribution), math.exp(-found.x[1])
    return float(found.x[0]) + scale * model.mean, scale * model.deviation


def _some_rows(columns: Columns) -> Columns:
    """Return all rows, or some thousands of them, evenly by their times."""
    order = last_times(columns).argsort(stable=True)
    step = -(-len(order) // _MOST_ROWS)
    return {name: column[order[::step]].double() for name, column in columns.items()}
