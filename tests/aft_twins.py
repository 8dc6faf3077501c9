"""A slow and plain twin of accelerated failure time models, in 100 digits, after the definitions.

Kalbfleisch and Prentice (2002), chapters 2 and 3. Derivatives are central differences.
"""

import math

import mpmath
import torch

MP = mpmath.mp.clone()
MP.dps = 100
_STEP = MP.mpf(10) ** -30
# exp of more than this is beyond any float; mpmath itself would take for ever.
_OVERFLOW = 10**5


def _exp(x):
    """exp, with infinity and zero where no float can hold the result."""
    if abs(x) < _OVERFLOW:
        return MP.exp(x)
    return MP.inf if x > 0 else MP.mpf(0)


def cumulative(distribution, z):
    """-log S, with all digits where S is near 1."""
    if z == -math.inf:
        return MP.mpf(0)
    if distribution == "weibull":
        return _exp(z)
    if distribution == "loglogistic":
        return MP.log1p(MP.exp(z))
    if z > 0:
        return -MP.log(MP.erfc(z / MP.sqrt(2)) / 2)
    return -MP.log1p(-MP.erfc(-z / MP.sqrt(2)) / 2)


def log_density(distribution, z):
    """log f of z."""
    if distribution == "lognormal":
        return -z * z / 2 - MP.log(2 * MP.pi) / 2
    factor = 1 if distribution == "weibull" else 2
    return z - factor * cumulative(distribution, z)


def log_interval(distribution, low, high):
    """log(S(low) - S(high))."""
    before = cumulative(distribution, low)
    excess = cumulative(distribution, high) - before
    if excess > 1:
        return -before + MP.log1p(-_exp(-excess))
    return -before + MP.log(-MP.expm1(-excess))


def loss(distribution, log_scale, log_shape, lower, upper, entry=0.0):
    """Loss of one row, given no event up to its entry."""
    shape = MP.exp(log_shape)

    def z(time):
        """How far a time is from the scale."""
        return shape * (MP.log(time) - log_scale) if time > 0 else -MP.inf

    before = cumulative(distribution, z(MP.mpf(entry))) if entry > 0 else 0
    if lower == upper:
        time = MP.mpf(lower)
        return MP.log(time) - log_shape - log_density(distribution, z(time)) - before
    if upper == math.inf:
        return cumulative(distribution, z(MP.mpf(lower))) - before
    low, high = z(MP.mpf(max(lower, entry, 0.0))), z(MP.mpf(upper))
    return -log_interval(distribution, low, high) - before


def row(distribution, log_scale, log_shape, *where):
    """Loss of one row and its derivatives by log scale and log shape."""
    a, b = MP.mpf(log_scale), MP.mpf(log_shape)

    def at(x, y):
        """Loss with another log scale and log shape."""
        return loss(distribution, x, y, *where)

    value = at(a, b)
    if not MP.isfinite(value):
        return value, MP.nan, MP.nan
    by_scale = (at(a + _STEP, b) - at(a - _STEP, b)) / (2 * _STEP)
    return value, by_scale, (at(a, b + _STEP) - at(a, b - _STEP)) / (2 * _STEP)


def rows(distribution, log_params, lower, upper, entry=None):
    """Losses (n,) and their gradients (n, 2), as mpmath's numbers."""
    entry = [0.0] * len(lower) if entry is None else entry.tolist()
    columns = zip(log_params.tolist(), lower.tolist(), upper.tolist(), entry, strict=True)
    return [row(distribution, *params, *where) for params, *where in columns]


def as_tensors(found):
    """Losses and gradients as float64 tensors, rounded once."""
    table = torch.tensor([[float(x) for x in each] for each in found], dtype=torch.float64)
    return table[:, 0], table[:, 1:]
