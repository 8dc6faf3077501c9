"""Weibull times: z has the survival exp(-exp(z))."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sksurvtorch.functional._distributions.base import (
    AFTDistribution,
    highest,
    log1mexp,
    per_expm1,
)
from sksurvtorch.functional._distributions.series import (
    log_gamma_1p,
    log_upper_gamma,
)

# Logarithms of the cumulative hazard beyond which one term of a series has all digits.
_EARLY = -18.0
_FAR = 37.0


class Weibull(AFTDistribution):
    """The smallest extreme value distribution of log time."""

    title = "Weibull"
    mean = -0.5772156649015329  # Euler's constant
    deviation = math.pi / math.sqrt(6)

    def computed_in(self, x: Tensor) -> torch.dtype:
        """Return the dtype in which functions of time are computed."""
        return x.dtype  # exp and log are all that they need

    def density(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log f and its slope."""
        hazard = highest(z.exp())
        return z - hazard, -torch.expm1(z).clamp(max=torch.finfo(z.dtype).max)

    def survived(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return H and its slope h."""
        hazard = highest(z.exp())
        return hazard, hazard

    def hazard(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log h and its slope."""
        return z, torch.ones_like(z)

    def excess(self, low: Tensor, high: Tensor, log_width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return H(high) - H(low), h(high) - h(low) and h(low)."""
        excess = highest((high + log1mexp(log_width)).exp())
        return excess, excess, highest(low.exp())

    def within(self, low: Tensor, high: Tensor, log_width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log(1 - S(high) / S(low)), and its slopes."""
        log_excess = high + log1mexp(log_width)
        slope = per_expm1(highest(log_excess.exp()))
        return log1mexp(log_excess), slope, slope * per_expm1(log_width.exp())

    def log_survival(self, z: Tensor) -> Tensor:
        """Return log S."""
        return -z.exp()

    def log_hazard(self, z: Tensor) -> Tensor:
        """Return log h."""
        return z

    def inverse(self, log_survival: Tensor) -> Tensor:
        """Return the z at which log S has this value."""
        return (-log_survival).log()

    def delay(self, z: Tensor, log_share: Tensor) -> Tensor:
        """Return how far beyond z log S is less by -log_share."""
        # log(1 + x exp(-z)), x = -log_share
        return torch.nn.functional.softplus((-log_share).log() - z, threshold=40)

    def log_mean(self, log_shape: Tensor) -> Tensor:
        """Return the logarithm of the mean time by the scale."""
        return torch.lgamma(1 + (-log_shape).exp())

    def log_remaining(self, z: Tensor, log_shape: Tensor) -> Tensor:
        """Return the logarithm of the mean time by the scale that is left beyond z."""
        # By a = 1 / k and x = exp(z) it is a exp(x) Gamma(a, x).
        a = (-log_shape).exp()
        whole = log_gamma_1p(a)
        # Near 0 the mean, less the integral of the survival up to z, x^a (1 - x / (1 + k)).
        x = z.clamp(max=_EARLY).exp()
        before = z * a - whole + torch.log1p(-x * a / (1 + a))
        early = whole + x + (-torch.expm1(before)).log()
        # Far out the first term of an asymptotic series.
        end = _FAR - log_shape.clamp(max=0)
        middle = torch.minimum(z.clamp(min=_EARLY), end)
        late = torch.where(z > end, (a - 1) * z - log_shape, log_upper_gamma(a, middle))
        return torch.where(z < _EARLY, early, late)
