"""Log-normal times: z has the survival Phi(-z)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.special import erfcx, log_ndtr

from sksurvtorch.functional._arithmetic import by_kind
from sksurvtorch.functional._distributions.base import (
    AFTDistribution,
    gauss_legendre,
    log_of_share,
)

_ROOT_2 = math.sqrt(2)
_LOG_ROOT_2_PI = math.log(2 * math.pi) / 2
_LOG_ROOT_2_PER_PI = math.log(2 / math.pi) / 2
_ROOT_2_PER_PI = math.sqrt(2 / math.pi)
_MILLS = math.sqrt(math.pi / 2)
# Of h(z) - z at large z: 1 / z - 2 / z^3 + 10 / z^5 - ...
_FAR = 30.0
_OUT = 1e4
# All but a probability of 1e-299 is beyond.
_ALL = -37.0
_AT_FAR = (1.0, -2.0, 10.0, -74.0, 706.0, -8162.0)


class LogNormal(AFTDistribution):
    """The normal distribution of log time."""

    title = "log-normal"
    mean, deviation = 0.0, 1.0

    def bounded(self, z: Tensor) -> Tensor:
        """Hold z within a range that leaves half its square finite."""
        end = 1.37 * math.sqrt(torch.finfo(z.dtype).max)
        return z.clamp(-end, end)

    def density(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log f and its slope."""
        return z * (z * -0.5) - _LOG_ROOT_2_PI, -z

    def survived(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return H and its slope h."""
        half_square = z * (z * 0.5)
        tail = erfcx(z.abs() / _ROOT_2)  # S(|z|) = exp(-z^2 / 2) tail / 2
        bell = (-half_square).exp()
        below = bell * tail / 2
        late = z > 0
        cumulative = torch.where(late, half_square - (tail / 2).log(), -torch.log1p(-below))
        over = torch.where(late, tail, (2 - 2 * below) / bell)
        return cumulative, _ROOT_2_PER_PI / over

    def hazard(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log h and its slope."""
        return self.log_hazard(z), _rest(z, self.survived(z)[1])

    def excess(self, low: Tensor, high: Tensor, log_width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return H(high) - H(low), h(high) - h(low) and h(low)."""
        width = _width(low, high, log_width)
        _, before = self.survived(low)
        _, after = self.survived(high)
        middle = high - width / 2
        narrow = width * middle.abs().clamp(min=1) < 1

        kinds = [(narrow, self._narrow_excess), (~narrow, _wide_excess)]
        (excess,) = by_kind(kinds, (low, high, log_width))
        return excess, _risen(low, high, width, before, after), before

    def interval(
        self, low: Tensor, high: Tensor, log_width: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return log(S(low) - S(high)), and its slopes by a shift and by a factor of both."""
        # With near and far the ends of the interval, or of its mirror image if that is farther
        # beyond 0, it is f(near) M. M is the integral of exp(-near x - x^2 / 2) over the width, or
        # the difference of two Mills ratios, the second with the factor f(far) / f(near).
        mirrored = low + high < 0
        near = torch.where(mirrored, -high, low)
        far = torch.where(mirrored, -low, high)
        middle = (near + far) / 2
        narrow = log_width + middle.clamp(min=1).log() < 0
        kinds = [(narrow, _narrow_part), (~narrow, _wide_part)]
        log_part, fallen, pull = by_kind(kinds, (near, far, log_width))
        log_density, _ = self.density(near.clamp(min=_ALL))
        shift = torch.where(mirrored, -fallen, fallen)
        return log_density + log_part, shift, near * fallen + pull

    def within(self, low: Tensor, high: Tensor, log_width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log(1 - S(high) / S(low)), and its slopes."""
        width = _width(low, high, log_width)
        middle = high - width / 2
        narrow = width * middle.abs().clamp(min=1) < 1
        late = middle >= 0
        kinds = [
            (narrow, self._narrow),
            (~narrow & late, self._late),
            (~narrow & ~late, self._early),
        ]
        log_share, slope, pull = by_kind(kinds, (low, high, log_width))
        return log_share, slope, pull

    def _narrow_excess(self, low: Tensor, high: Tensor, log_width: Tensor) -> tuple[Tensor]:
        """Return H(high) - H(low) of a narrow interval."""
        log_share, *_ = self._narrow(low, high, log_width)
        return (-torch.log1p(-log_share.exp()),)

    def _narrow(self, low: Tensor, high: Tensor, log_width: Tensor) -> tuple[Tensor, ...]:
        """Return what `within` does, by a quadrature about the middle."""
        width = _width(low, high, log_width)
        middle = high - width / 2
        nodes, weights = gauss_legendre(width)
        x = width[..., None] / 2 * nodes
        bells = (-(middle[..., None] + x / 2) * x).exp() * weights / 2
        total = bells.sum(-1)  # by the width
        centre = (bells * x).sum(-1) / total
        lift = width * (low + middle) / 4
        log_share = self.log_hazard(low) - lift + log_width + total.log()
        _, hazard = self.survived(low)
        slope = _rest(low, hazard) - width / 2 - centre
        pull = lift.exp() / total * -torch.expm1(log_share)
        return log_share, slope, pull

    def _late(self, low: Tensor, high: Tensor, log_width: Tensor) -> tuple[Tensor, ...]:
        """Return what `within` does, if high is farther from 0 than low, or both are beyond it."""
        width = _width(low, high, log_width)
        _, before = self.survived(low)
        _, after = self.survived(high)
        excess = _excess(low, high, width)
        left = (-excess).exp()
        share = -torch.expm1(-excess)
        ratio = left / share
        pull = torch.where(ratio > 0, width * before * ratio, 0.0)
        risen = _risen(low, high, width, before, after)
        return log_of_share(excess), risen * ratio, pull

    def _early(self, low: Tensor, high: Tensor, log_width: Tensor) -> tuple[Tensor, ...]:
        """Return what `within` does, if low is farther from 0 than high, by the other tail."""
        width = _width(low, high, log_width)
        cumulative, hazard = self.survived(low)
        until, _ = self.survived(high)
        _, from_low = self.survived(-low)
        _, from_high = self.survived(-high)
        excess = _excess(-high, -low, width)
        share = -torch.expm1(-excess)
        ratio = (-excess).exp() / share
        log_part = log_ndtr(high) + log_of_share(excess) + cumulative
        fallen = torch.where(ratio > 0, (from_low - from_high) * ratio, 0.0)
        slope = from_high - fallen + hazard
        pull = torch.where(ratio > 0, width * from_low * ratio, 0.0) * (cumulative - until).exp()
        return log_part, slope, pull

    def log_survival(self, z: Tensor) -> Tensor:
        """Return log S."""
        log_survival: Tensor = log_ndtr(-z)
        return log_survival

    def log_hazard(self, z: Tensor) -> Tensor:
        """Return log h."""
        late, early = z.clamp(min=0), z.clamp(max=0)
        far = _LOG_ROOT_2_PER_PI - erfcx(late / _ROOT_2).log()
        near: Tensor = early * (early * -0.5) - _LOG_ROOT_2_PI - log_ndtr(-early)
        return torch.where(z > 0, far, near)

    def log_hazard_at_zero(self, log_scale: Tensor, log_shape: Tensor) -> Tensor:
        """Return the logarithm of the hazard per unit of time at time 0."""
        return torch.full_like(log_scale + log_shape, -torch.inf)

    def inverse(self, log_survival: Tensor) -> Tensor:
        """Return the z at which log S has this value."""
        # Near 0 by the probability before z, then by that beyond it, and far out by Newton's way.
        near = torch.special.ndtri(-torch.expm1(log_survival))
        middle = -torch.special.ndtri(log_survival.exp())
        twice = -2 * log_survival.clamp(max=-10)
        z = (twice - (2 * math.pi * twice).log()).sqrt()
        for _ in range(5):
            z = (
                z
                + (log_ndtr(-z) - log_survival.clamp(max=-10)) * erfcx(z / _ROOT_2) / _ROOT_2_PER_PI
            )
        z = torch.where(log_survival < -10, z, torch.where(log_survival < -0.5, middle, near))
        return torch.where(log_survival == -torch.inf, torch.inf, z)

    def delay(self, z: Tensor, log_share: Tensor) -> Tensor:
        """Return how far beyond z log S is less by -log_share."""
        near = (self.inverse(log_ndtr(-z) + log_share) - z).clamp(min=0)
        # Far out H is a parabola, and z^2 / 2 has no digits left.
        slope = z.clamp(min=_OUT) + 1 / z.clamp(min=_OUT)
        far = -2 * log_share / (slope + (slope * slope - 2 * log_share).sqrt())
        far = torch.where(log_share == -torch.inf, torch.inf, far)
        return torch.where(log_share == 0, 0.0, torch.where(z > _OUT, far, near))

    def log_mean(self, log_shape: Tensor) -> Tensor:
        """Return the logarithm of the mean time by the scale."""
        return (-2 * log_shape).exp() / 2

    def log_remaining(self, z: Tensor, log_shape: Tensor) -> Tensor:
        """Return the logarithm of the mean time by the scale that is left beyond z."""
        # By s = 1 / k and the Mills ratio m = S / f it is exp(s z) (m(z - s) / m(z) - 1), and the
        # slope of log m is z - h(z).
        s = (-log_shape).exp()
        smooth = (s < 1) | (z > 10 * s)
        nodes, weights = gauss_legendre(s)
        half = torch.where(smooth, s, 1.0)[..., None] / 2
        x = z[..., None] - half * (1 - nodes)
        near = (_rest(x, self.survived(x)[1]) * half * weights).sum(-1)
        far = s * (s / 2 - z) + log_ndtr(s - z) - log_ndtr(-z)
        late = z > s
        tails = erfcx(torch.where(late, z - s, 0.0) / _ROOT_2).log()
        tails = tails - erfcx(torch.where(late, z, 0.0) / _ROOT_2).log()
        more = torch.where(smooth, near, torch.where(late, tails, far))
        return s * z + more + (-torch.expm1(-more)).log()


def _narrow_part(near: Tensor, far: Tensor, log_width: Tensor) -> tuple[Tensor, ...]:
    """Return log M, (f(far) / f(near) - 1) / M and width f(far) / f(near) / M, by a quadrature."""
    width = log_width.exp()
    nodes, weights = gauss_legendre(width)
    x = width[..., None] / 2 * (1 + nodes)
    mean = (-(near[..., None] + x / 2) * x).exp() @ (weights / 2)
    middle = (near + far) / 2
    drop = width * middle
    slope = torch.where(drop == 0, 1.0, -torch.expm1(-drop) / drop)
    return log_width + mean.log(), -middle * slope / mean, (-drop).exp() / mean


def _wide_part(near: Tensor, far: Tensor, log_width: Tensor) -> tuple[Tensor, ...]:
    """Return what `_narrow_part` does, by Mills ratios."""
    width = _width(near, far, log_width)
    drop = torch.where(far < torch.inf, width * ((near + far) / 2), torch.inf)
    ratio = (-drop).exp()
    part = _MILLS * (erfcx(near.clamp(min=_ALL) / _ROOT_2) - ratio * erfcx(far / _ROOT_2))
    pull = torch.where(ratio > 0, width * ratio, 0.0)
    return part.log(), torch.expm1(-drop) / part, pull / part


def _width(low: Tensor, high: Tensor, log_width: Tensor) -> Tensor:
    """Return high - low, also of two that are held at the ends of their range."""
    width, end = log_width.exp(), math.sqrt(torch.finfo(low.dtype).max)
    return torch.where(width > 3 * end, (high - low).clamp(min=end), width)


def _rest(z: Tensor, hazard: Tensor) -> Tensor:
    """Return h(z) - z, given h(z)."""
    inverse = 1 / z.clamp(min=_FAR)
    square = inverse * inverse
    far = torch.zeros_like(z)
    for coefficient in reversed(_AT_FAR):
        far = far * square + coefficient
    return torch.where(z > _FAR, far * inverse, hazard - z)


def _risen(low: Tensor, high: Tensor, width: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Return h(high) - h(low), given both: far out it is the width but for little."""
    tail = width + _rest(high, after) - _rest(low, before)
    return torch.where(low > 0, tail, after - before)


def _wide_excess(low: Tensor, high: Tensor, log_width: Tensor) -> tuple[Tensor]:
    """Return H(high) - H(low) of a wide interval."""
    return (_excess(low, high, _width(low, high, log_width)),)


def _excess(low: Tensor, high: Tensor, width: Tensor) -> Tensor:
    """Return H(high) - H(low), not of a narrow interval."""
    beyond = low > -1
    start = torch.where(beyond, low, 0.0)
    end = torch.where(beyond, high, 0.0)
    tails = (erfcx(start / _ROOT_2) / erfcx(end / _ROOT_2)).log()
    both = torch.where(high < torch.inf, width * (high - width / 2), torch.inf)
    return torch.where(beyond, both + tails, log_ndtr(-low) - log_ndtr(-high))
