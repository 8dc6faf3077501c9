"""Intervals for the time of a new person: conformal prediction with weights for the censoring.

The score of a training row is its Cox-Snell residual, the cumulative hazard at its own time,
predicted by members that have not seen it. Scores are known of rows with an event alone. Each
stands for the censored rows like it by its weight, one over the probability of not being censored
before its time.
"""

from __future__ import annotations

import numpy as np

# Sums of masses that should be equal to a share of 1 differ from it by less.
_ROUNDING = 1e-12
#: What `learn_scores` returns, by name.
NAMES = ("score", "mass", "reserve")


def learn_scores(
    score: np.ndarray, event: np.ndarray, time: np.ndarray, weight: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Return the scores of rows with an event, and which part of the population each stands for.

    Parameters
    ----------
    score : array of shape (n_samples,)
        Cox-Snell residuals by predictions out of bag.
    event, time : arrays of shape (n_samples,)
        Outcome.
    weight : array of shape (n_samples,), or None
        Weights of the samples.

    Returns
    -------
    dict of arrays
        `score`, ascending, `mass` of each, and `reserve`, of shape (1,), the mass of the new
        person. With what is beyond the last event they add up to 1.
    """
    weight = np.ones(len(time)) if weight is None else weight
    total = weight.sum() * (1 + 1 / len(weight))
    mass = weight[event] / censoring_survival(event, time, weight)[event] / total
    order = np.argsort(score[event])
    reserve = np.array([1 / (len(weight) + 1)])
    return {"score": score[event][order], "mass": mass[order], "reserve": reserve}


def censoring_survival(event: np.ndarray, time: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the probability of not being censored before the time of each sample."""
    # The left limit of the Kaplan-Meier curve of the censoring; of equal times events come first.
    distinct, place = np.unique(time, return_inverse=True)
    counts = (np.bincount(place, part, len(distinct)) for part in (weight * event, weight * ~event))
    events, censored = counts
    left = np.cumsum((events + censored)[::-1])[::-1] - events
    # At the last time all that is left may be censored: sums differ by their rounding alone.
    share = np.divide(censored, left, out=np.zeros(len(distinct)), where=censored > 0)
    kept = np.cumprod(1 - np.minimum(share, 1))
    return np.concatenate([[1.0], kept[:-1]])[place]


def bounds(learned: dict[str, np.ndarray], level: float) -> tuple[float, float]:
    """Return between which cumulative hazards the time of a new person lies, 0 and inf at most."""
    # Each side leaves out at most half of 1 - level. The mass of the new person counts on both
    # sides; that of times beyond the last event is put above all scores.
    score, mass = learned["score"], learned["mass"]
    reserve, outside = float(learned["reserve"][0]), (1 - level) / 2 + _ROUNDING
    before = reserve + np.concatenate([[0.0], np.cumsum(mass)[:-1]])
    behind = 1 - np.cumsum(mass)  # what is neither among these scores nor below them
    lower, upper = score[before <= outside], score[behind <= outside]
    return float(lower[-1]) if len(lower) else 0.0, float(upper[0]) if len(upper) else np.inf
