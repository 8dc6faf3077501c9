"""Simulated times of two competing causes with known incidences, for `competing_risks.py`."""

from __future__ import annotations

import numpy as np

# Log hazard ratios of both causes, and shapes of both baseline hazards.
TRUTHS = {
    "nonlinear": lambda x: (
        (2 * np.exp(-(x[0] ** 2 + x[1] ** 2) / 2), x[2] * x[3]),
        (1.5, 1.0),
    ),
    "linear": lambda x: (
        (0.8 * x[0] + 0.5 * x[1] - 0.4 * x[2], 0.7 * x[3] - 0.6 * x[0]),
        (1.5, 1.0),
    ),
    "crossing": lambda x: ((0.5 * x[1], x[2] * x[3]), (1.5 * np.exp(0.6 * x[0]), 1.0)),
}
RATE, MEAN_CENSORING, N_NEW, N_TIMES = 0.5, 2.5, 1000, 20


def population(truth: str, generator: np.random.Generator, n: int):
    """Draw features; return them with the log hazard ratios and shapes of both causes."""
    X = generator.standard_normal((n, 10))
    ratios, shapes = TRUTHS[truth](X.T)
    return X, np.stack(ratios), np.stack([np.broadcast_to(shape, n) for shape in shapes])


def true_incidence(log_hazard_ratio: np.ndarray, shape: np.ndarray, times: np.ndarray):
    """Return the integral of survival times hazard, of shape (n_samples, 2, n_times)."""
    grid = times[-1] * np.linspace(0, 1, 2001) ** 2
    hazard = RATE * np.exp(log_hazard_ratio)[..., None] * grid ** shape[..., None]
    survival = np.exp(-hazard.sum(axis=0))
    rises = (survival[:, 1:] + survival[:, :-1]) / 2 * np.diff(hazard, axis=2)
    curves = np.insert(np.cumsum(rises, axis=2), 0, 0.0, axis=2)
    each = [[np.interp(times, grid, curve) for curve in of_cause] for of_cause in curves]
    return np.stack(each, axis=1)


def simulated(truth: str, n: int, seed: int):
    """Return features, status and time, and features, times and incidences of new people."""
    generator = np.random.default_rng([seed, n])
    X, ratio, shape = population(truth, generator, n)
    latent = (generator.exponential(size=(2, n)) * np.exp(-ratio) / RATE) ** (1 / shape)
    censoring = generator.exponential(MEAN_CENSORING, n)
    first = latent.min(axis=0)
    status = np.where(first <= censoring, latent.argmin(axis=0) + 1, 0)
    when = np.minimum(first, censoring)
    times = np.linspace(*np.quantile(when, [0.1, 0.9]), N_TIMES)
    new, ratio, shape = population(truth, generator, N_NEW)
    return X, status, when, new, times, true_incidence(ratio, shape, times)
