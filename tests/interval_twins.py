"""Interval-censored data, and brute-force twins of what is computed from them."""

from __future__ import annotations

import itertools

import numpy as np


def random_intervals(rng, n, *, grid=None, kinds=("exact", "right", "left", "interval")):
    """Return bounds of rows of several kinds; on a grid many of them share ends."""
    draw = (lambda: rng.integers(1, grid + 1, n).astype(float)) if grid else lambda: rng.random(n)
    one, two = draw(), draw()
    two = np.where(one == two, one + 1, two)
    kind = rng.choice(kinds, n)
    lower, upper = np.minimum(one, two), np.maximum(one, two)
    lower = np.where(kind == "exact", upper, np.where(kind == "left", 0, lower))
    return lower, np.where(kind == "right", np.inf, upper)


def is_before(lower, upper):
    """Return for all pairs of rows whether the first one's event cannot be the later one."""
    exact = lower == upper
    touching = (upper[:, None] == lower) & ~(exact[:, None] & exact)
    return (upper[:, None] < lower) | touching


def concordance_twin(lower, upper, estimate, tied_tol, weight):
    """Return index and sums of pairs, pair by pair."""
    concordant = discordant = tied = same_time = 0
    before = is_before(lower, upper)
    for i, j in np.argwhere(before):
        both = weight[i] * weight[j]
        difference = estimate[i] - estimate[j]
        if abs(difference) <= tied_tol:
            tied += both
        elif difference > 0:
            concordant += both
        else:
            discordant += both
        same_time += both * (upper[i] == lower[j])
    total = concordant + discordant + tied
    index = (concordant + tied / 2) / total if total else np.nan
    return index, concordant, discordant, tied, same_time


def cells_of(lower, upper):
    """Cut the time at all bounds: each bound is a cell, and so is what lies between two of them.

    Returns the first and the last time of each cell, and a table of which rows hold which cells.
    """
    values = np.unique(np.append([lower, upper], np.inf))
    ends = [(v, v) for v in values[:-1]] + list(itertools.pairwise(values))
    ends = np.array(sorted(ends))
    holds = np.zeros((len(lower), len(ends)), bool)
    for i, (a, b) in enumerate(zip(lower, upper, strict=True)):
        for c, (begin, end) in enumerate(ends):
            if a == b or begin == end:  # an event at a point, or a cell that is one
                holds[i, c] = begin == end and (begin == a if a == b else a < begin <= b)
            else:
                holds[i, c] = a <= begin and end <= b
    return ends[:, 0], ends[:, 1], holds


def em_twin(holds, weight, n_iter):
    """Return masses of cells after many steps of the EM algorithm."""
    mass = np.full(holds.shape[1], 1 / holds.shape[1])
    for _ in range(n_iter):
        share = holds * mass
        share /= share.sum(1, keepdims=True)
        mass = weight @ share / weight.sum()
    return mass


def log_likelihood_twin(holds, weight, mass):
    """Return the log likelihood of masses of cells."""
    return float(weight @ np.log(holds @ mass))
