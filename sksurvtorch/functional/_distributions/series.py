"""Series and continued fractions that torch lacks, for numbers of any size, without gradient."""

from __future__ import annotations

import torch
from torch import Tensor

# zeta(2) / 2, -zeta(3) / 3, ...: coefficients of log Gamma(1 + a) at 0, after -Euler's constant.
_EULER = 0.5772156649015329
_LOG_GAMMA = (
    0.8224670334241132,
    -0.40068563438653143,
    0.27058080842778454,
    -0.2073855510286740,
    0.16955717699740818,
    -0.14404989676884612,
)
# More terms than any argument within the bounds below needs.
_N_TERMS = 200
_N_FRACTIONS = 2000


def log_gamma_1p(a: Tensor) -> Tensor:
    """Return log Gamma(1 + a) of a >= 0, with its digits near 0."""
    near = torch.zeros_like(a)
    for coefficient in reversed(_LOG_GAMMA):
        near = (near + coefficient) * a
    return torch.where(a < 0.005, (near - _EULER) * a, torch.lgamma(1 + a))


def log_upper_gamma(a: Tensor, log_x: Tensor) -> Tensor:
    """Return log(a exp(x) Gamma(a, x)) of a > 0 and the logarithm of x > 0."""
    x = log_x.exp()
    early = x < a + 1
    inside = torch.where(early, x, a + 1)
    upper = log_gamma_1p(a) + inside + torch.special.gammaincc(a, inside).log()
    # Gamma(a, x) = exp(-x) x^a / (x + 1 - a - 1 (1 - a) / (x + 3 - a - 2 (2 - a) / (...)))
    late = a.log() + a * log_x - _fraction(a, torch.where(early, a + 1, x)).log()
    return torch.where(early, upper, late)


def _fraction(a: Tensor, x: Tensor) -> Tensor:
    """Return x + 1 - a - 1 (1 - a) / (x + 3 - a - ...) by Lentz's way, of x >= a + 1."""
    b = x + 1 - a
    value, c, d = b, b, torch.zeros_like(b)
    for n in range(1, _N_FRACTIONS):
        b = b + 2
        step = -n * (n - a)
        d = 1 / (b + step * d)
        c = b + step / c
        value = value * c * d
        if bool(((c * d - 1).abs() < 4e-16).all()):
            break
    return value


def hypergeometric(c: Tensor, w: Tensor) -> Tensor:
    """Return F(1, 1; c; w) of c from 1 to 2 and w from 0 to 1/2."""
    term = total = torch.ones_like(w)
    for n in range(_N_TERMS):
        term = term * w * (n + 1) / (c + n)
        total = total + term
        if bool((term <= 1e-17 * total).all()):
            break
    return total


def hypergeometric_excess(b: Tensor, w: Tensor) -> Tensor:
    """Return F(b, b; 1 + b; w) - 1 of b from 0 to 1 and w from 0 to 1/2."""
    power, total = torch.ones_like(w), torch.zeros_like(w)
    for n in range(1, _N_TERMS):
        power = power * w * (b + (n - 1)) / n  # (b)_n w^n / n!
        term = power * (b / (b + n))
        total = total + term
        if bool((term <= 1e-17 * total).all()):
            break
    return total
