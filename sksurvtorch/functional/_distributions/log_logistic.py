"""Log-logistic times: z has the survival 1 / (1 + exp(z))."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sksurvtorch.functional._distributions.base import AFTDistribution, log1mexp, per_expm1
from sksurvtorch.functional._distributions.series import hypergeometric, hypergeometric_excess


class LogLogistic(AFTDistribution):
    """The logistic distribution of log time."""

    title = "log-logistic"
    mean, deviation = 0.0, math.pi / math.sqrt(3)

    def density(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log f and its slope."""
        distance = z.abs()
        tail = (-distance).exp()
        return -distance - 2 * tail.log1p(), -torch.tanh(z / 2)

    def survived(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return H and its slope h."""
        return _softplus(z), z.sigmoid()

    def hazard(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log h and its slope."""
        return logsigmoid(z), (-z).sigmoid()

    def excess(self, low: Tensor, high: Tensor, log_width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return H(high) - H(low), h(high) - h(low) and h(low)."""
        share = -torch.expm1(-log_width.exp())
        # log((1 + e^high) / (1 + e^low)), and e^high - e^low = e^high share.
        log_ratio = torch.minimum(high, log_width.exp()) + share.log() - _softplus(-low.abs())
        return _softplus(log_ratio), high.sigmoid() * share * (-low).sigmoid(), low.sigmoid()

    def within(self, low: Tensor, high: Tensor, log_width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log(1 - S(high) / S(low)), and its slopes."""
        # F(high) (1 - e^-width)
        width = log_width.exp()
        return logsigmoid(high) + log1mexp(log_width), (-high).sigmoid(), per_expm1(width)

    def log_survival(self, z: Tensor) -> Tensor:
        """Return log S."""
        return logsigmoid(-z)

    def log_hazard(self, z: Tensor) -> Tensor:
        """Return log h."""
        return logsigmoid(z)

    def inverse(self, log_survival: Tensor) -> Tensor:
        """Return the z at which log S has this value."""
        return (-torch.expm1(log_survival)).log() - log_survival

    def delay(self, z: Tensor, log_share: Tensor) -> Tensor:
        """Return how far beyond z log S is less by -log_share."""
        # The odds grow from e^z to (e^z + p) / (1 - p), log_share = log(1 - p).
        return _softplus((-torch.expm1(log_share)).log() - z) - log_share

    def log_mean(self, log_shape: Tensor) -> Tensor:
        """Return the logarithm of the mean time by the scale, (pi / k) / sin(pi / k)."""
        inverse = (-log_shape).exp()
        x = math.pi * inverse
        # The sine is near 0 for a shape near 1, and the ratio near 1 for a large one.
        sine = (math.pi * -torch.expm1(-log_shape.clamp(min=0))).sin()
        ratio = torch.where(
            inverse < 0.5, -torch.sinc(inverse.clamp(max=0.5)).log(), (x / sine).log()
        )
        square = x * x
        near = square * (1 / 6 + square * (1 / 180 + square / 2835))
        finite = torch.where(inverse < 0.01, near, ratio)
        return torch.where(log_shape > 0, finite, torch.inf)

    def log_remaining(self, z: Tensor, log_shape: Tensor) -> Tensor:
        """Return the logarithm of the mean time by the scale that is left beyond z."""
        # The integral of S over time from z on is an incomplete beta function. By w = S(z) it is
        # exp(b z) b w / (1 - b) F(1, 1; 2 - b; w), where b = 1 / k, and that before z is
        # w exp(b z) F(1, 1; 1 + b; 1 - w), which is (1 - w)^b F(b, b; 1 + b; 1 - w).
        b = (-log_shape).exp()
        rest = -torch.expm1(-log_shape.clamp(min=0))  # 1 - b
        late = z >= 0
        w = (-z.abs()).sigmoid()  # S beyond 0, and 1 - S below: at most 1/2
        beyond = b * z - log_shape - rest.log() + hypergeometric(2 - b, w).log()
        whole = self.log_mean(log_shape)
        before = b * logsigmoid(z) + torch.log1p(hypergeometric_excess(b, w))
        below = _softplus(z) + whole + (-torch.expm1(before - whole)).log()
        return torch.where(log_shape > 0, torch.where(late, beyond, below), torch.inf)


def _softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)) to the last digit."""
    return -logsigmoid(-x)
