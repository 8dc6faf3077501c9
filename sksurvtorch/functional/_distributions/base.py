"""What an accelerated failure time model asks of a distribution.

A time t of a row with the scale and the shape k has z = k (log t - log scale), whose distribution
is the same for all rows. Here S is the survival of z, H = -log S, h = H' the hazard and f = h S the
density, all per unit of z.

Functions take tensors of one shape, in float64 where the device has it; z may be -inf, for a time
of 0, unless it is that of an event. A width is the difference of two z, which is known with more
digits than the two, and comes by its logarithm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from sksurvtorch.functional._arithmetic import widest

# Exact to the last digit for what the normal distribution asks of it: see `_narrow` there.
_NODES, _WEIGHTS = (each.tolist() for each in np.polynomial.legendre.leggauss(10))


class AFTDistribution(ABC):
    """Distribution of z. The classes have no state."""

    #: What sentences call it.
    title: str
    #: Mean and standard deviation of z.
    mean: float
    deviation: float

    def computed_in(self, x: Tensor) -> torch.dtype:
        """Return the dtype in which functions of time are computed."""
        return widest(x.device)

    def bounded(self, z: Tensor) -> Tensor:
        """Hold z within a range that leaves what is made of it finite."""
        end = torch.finfo(z.dtype).max / 4
        return z.clamp(-end, end)

    @abstractmethod
    def density(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log f and its slope."""

    @abstractmethod
    def survived(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return H and its slope h."""

    @abstractmethod
    def hazard(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log h and its slope."""

    @abstractmethod
    def excess(self, low: Tensor, high: Tensor, log_width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return H(high) - H(low), h(high) - h(low) and h(low); low is above -inf."""

    @abstractmethod
    def within(self, low: Tensor, high: Tensor, log_width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log(1 - S(high) / S(low)), its slope by a shift, and one by a factor."""
        # The last is by the logarithm of a factor of both, less high times that by a shift.

    def interval(
        self, low: Tensor, high: Tensor, log_width: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return log(S(low) - S(high)), and its slopes by a shift and by a factor of both."""
        cumulative, hazard = self.survived(low)
        log_share, slope, pull = self.within(low, high, log_width)
        before = torch.where(hazard == 0, 0.0, low * hazard)
        return log_share - cumulative, slope - hazard, high * slope + pull - before

    @abstractmethod
    def log_survival(self, z: Tensor) -> Tensor:
        """Return log S, differentiable by torch."""

    @abstractmethod
    def log_hazard(self, z: Tensor) -> Tensor:
        """Return log h, differentiable by torch."""

    def log_hazard_at_zero(self, log_scale: Tensor, log_shape: Tensor) -> Tensor:
        """Return the logarithm of the hazard per unit of time at time 0, where h is like exp(z)."""
        # It is infinite for a shape below 1, 1 / scale for 1, and 0 above.
        return torch.where(
            log_shape < 0, torch.inf, torch.where(log_shape > 0, -torch.inf, -log_scale)
        )

    @abstractmethod
    def inverse(self, log_survival: Tensor) -> Tensor:
        """Return the z at which log S has this value."""

    @abstractmethod
    def delay(self, z: Tensor, log_share: Tensor) -> Tensor:
        """Return how far beyond z log S is less by -log_share."""

    @abstractmethod
    def log_mean(self, log_shape: Tensor) -> Tensor:
        """Return the logarithm of the mean time by the scale, differentiable by torch."""

    @abstractmethod
    def log_remaining(self, z: Tensor, log_shape: Tensor) -> Tensor:
        """Return the logarithm of the mean time by the scale that is left beyond z."""


def log_of_share(x: Tensor) -> Tensor:
    """Return log(1 - exp(-x)) of x > 0."""
    return torch.where(x > 0.7, (-(-x).exp()).log1p(), (-torch.expm1(-x)).log())


def log1mexp(log_x: Tensor) -> Tensor:
    """Return log(1 - exp(-x)) of the logarithm of x."""
    x = log_x.exp()
    return torch.where(x < 1e-7, log_x - x / 2, log_of_share(x))


def per_expm1(x: Tensor) -> Tensor:
    """Return x / (exp(x) - 1) of x >= 0."""
    return torch.where(x == 0, 1.0, torch.where(x < 700, x / torch.expm1(x), 0.0))


def highest(x: Tensor) -> Tensor:
    """Hold x below infinity."""
    return x.clamp(max=torch.finfo(x.dtype).max)


def gauss_legendre(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nodes within (-1, 1) and the weights of the integral over them, as x is kept."""
    nodes = torch.tensor(_NODES, dtype=x.dtype, device=x.device)
    return nodes, torch.tensor(_WEIGHTS, dtype=x.dtype, device=x.device)
