"""What all members have missed: the estimate beside loops, and of effects that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sksurvtorch.estimators import _missed
from sksurvtorch.estimators._missed import _curves_of, missed_variance, rows_to_judge
from sksurvtorch.nets.rows.memory import MemoryRows

NONE = np.zeros((1, 1))
RATE = 0.5


def missed_of(X, score, deviations=NONE):
    """The estimate for rows with the same expected number of events."""
    return missed_variance(X, score, np.full(len(X), RATE), deviations)


def residuals(effect, rng):
    """First derivatives with this information, where the model lacks an effect."""
    return RATE * (effect - effect.mean()) + np.sqrt(RATE) * rng.normal(size=len(effect))


def by_loops(X, score, information, deviations):
    """The estimate as it is written down."""
    curves = _curves_of(X)
    above = below = 0.0
    for i in range(len(X)):
        for j in range(len(X)):
            if i != j:
                k = curves[i] @ curves[j]
                v = information[i] * information[j]
                known = sum(error[i] * error[j] for error in deviations)
                above += k * score[i] * score[j] - k * v * known
                below += k * k * v
    return max(0.0, above / below)


@pytest.mark.parametrize("n_rows", [11, 40])  # fewer rows than curves, and more
def test_the_estimate_is_that_of_loops_over_pairs(n_rows):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3))
    score, information = 2 * np.sign(X[:, 0] ** 2 - 0.5), rng.uniform(0, 1, n_rows)
    deviations = 0.3 * X[:, :2].T ** 2
    found = missed_variance(X, score, information, deviations)
    assert found > 0
    assert found == pytest.approx(by_loops(X, score, information, deviations), rel=1e-10)
    assert found != pytest.approx(missed_variance(X, score, information, 0 * deviations), rel=0.01)


@pytest.mark.parametrize(
    "effect",
    [
        lambda x: 0.3 * x**2,
        lambda x: 0.6 * np.abs(x),
        lambda x: 0.4 * np.cos(2 * x),
    ],
    ids=["square", "kink", "wave"],
)
def test_the_variance_of_an_effect_that_is_missed(effect):
    """Of 4 000 rows and 5 features it is off by a third at most, and of none it is near 0."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(4000, 5))
    missed = effect(X[:, 2])
    slope, level = np.polyfit(X[:, 2], missed, 1)
    curved = (missed - slope * X[:, 2] - level).var()
    assert missed_of(X, residuals(missed, rng)) == pytest.approx(curved, rel=1 / 3)
    assert missed_of(X, residuals(0 * missed, rng)) < 0.01


def test_what_members_differ_by_is_not_counted_twice():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(2000, 4))
    effect = 0.3 * (X[:, 0] ** 2 - 1)
    score = residuals(effect, rng)
    alone = missed_of(X, score)
    assert missed_of(X, score, effect[None]) < alone / 4
    assert missed_of(X, score, 2 * effect[None]) == 0
    # A difference that is linear has no part in it.
    assert missed_of(X, score, X[:, :1].T) == pytest.approx(alone, rel=0.2)


def test_curves_have_no_lines_and_the_same_part_of_each_feature():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(300, 4)) * [1.0, 1e-6, 1e6, 1e200] + [0.0, 0.0, 1e6, 0.0]
    curves = _curves_of(X).reshape(300, 4, -1)
    np.testing.assert_allclose(curves.mean(0), 0, atol=1e-12)
    scaled = (X - X.mean(0)) / np.abs(X).max(0)
    np.testing.assert_allclose(np.einsum("ij,ijk->jk", scaled, curves) / 300, 0, atol=1e-9)
    np.testing.assert_allclose((curves**2).sum(2).mean(0), 0.25)


def test_a_parabola_is_among_the_curves_of_a_feature():
    x = np.random.default_rng(4).normal(size=200)
    curves = _curves_of(x[:, None])
    parabola = x**2 - np.polyval(np.polyfit(x, x**2, 1), x)
    found = curves @ np.linalg.lstsq(curves, parabola, rcond=None)[0]
    np.testing.assert_allclose(found, parabola, atol=1e-8)


def test_features_without_curves_have_no_part():
    rng = np.random.default_rng(5)
    x = rng.normal(size=100)
    binary, constant = (x > 0).astype(float), np.full(100, 3.0)
    score = residuals(x**2, rng)
    assert missed_of(np.stack([binary, constant], 1), score) == 0
    both = missed_of(np.stack([x, binary, constant], 1), score)
    assert both == pytest.approx(missed_of(x[:, None], score), rel=1e-10)
    assert both > 0


@pytest.mark.parametrize("size", [1e-200, 1e120, 1e250])
def test_the_unit_of_the_likelihood_makes_no_difference(size):
    rng = np.random.default_rng(7)
    X = rng.normal(size=(100, 2))
    score, information = residuals(X[:, 0] ** 2, rng), np.full(100, RATE)
    known = missed_variance(X, score, information, NONE)
    assert known > 0
    assert missed_variance(X, size * score, size * information, NONE) == pytest.approx(known)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_predictions_that_have_run_away_tell_of_nothing(bad):
    X = np.random.default_rng(8).normal(size=(20, 2))
    one = np.ones(20)
    spoiled = np.where(np.arange(20) == 3, bad, 1.0)
    assert missed_variance(X, one, spoiled, NONE) == 0
    assert missed_variance(X, spoiled, one, NONE) == 0
    assert missed_variance(X, one, one, spoiled[None]) == 0


def test_no_residuals_tell_of_nothing():
    X = np.random.default_rng(6).normal(size=(20, 2))
    assert missed_variance(X, np.ones(20), np.zeros(20), NONE) == 0
    assert missed_of(X, np.zeros(20)) == 0


def test_many_rows_are_looked_at_here_and_there(monkeypatch):
    rows = MemoryRows(torch.zeros(1000, 2))
    np.testing.assert_array_equal(rows_to_judge(rows), np.arange(1000))
    monkeypatch.setattr(_missed, "_MOST_NUMBERS", 7 * 2 * 4)
    np.testing.assert_array_equal(rows_to_judge(rows), [0, 333, 666, 999])
