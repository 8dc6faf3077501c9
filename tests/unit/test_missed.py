"""What all members have missed: the estimate beside loops, and of effects that are known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import config_context

from sksurvtorch.estimators import _missed
from sksurvtorch.estimators._functions import evenly
from sksurvtorch.estimators._missed import kernel_of, missed_variance

NONE = np.zeros((1, 1))
RATE = 0.5


def missed_of(X, score, deviations=NONE):
    """The estimate for rows with the same expected number of events."""
    return missed_variance(kernel_of(X), score, np.full(len(X), RATE), deviations)


def residuals(effect, rng):
    """First derivatives with this information, where the model lacks an effect."""
    return RATE * (effect - effect.mean()) + np.sqrt(RATE) * rng.normal(size=len(effect))


def by_loops(kernel, score, information, deviations):
    """The estimate as it is written down, and its standard error if nothing is missed."""
    above = known = below = squares = 0.0
    for i in range(len(score)):
        for j in range(len(score)):
            if i != j:
                v = information[i] * information[j]
                above += kernel[i, j] * score[i] * score[j]
                known += kernel[i, j] * v * sum(error[i] * error[j] for error in deviations)
                below += kernel[i, j] ** 2 * v
                squares += (kernel[i, j] * score[i] * score[j]) ** 2
    return (above - max(known, 0)) / below, np.sqrt(2 * squares) / below


def test_the_estimate_is_that_of_loops_over_pairs():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    kernel = kernel_of(X)
    score, information = 2 * np.sign(X[:, 0] ** 2 - 0.5), rng.uniform(0, 1, 40)
    for deviations in (np.zeros((1, 40)), 0.3 * X[:, :2].T ** 2, X[:, :1].T * np.sign(X[:, 1])):
        found, error = by_loops(kernel, score, information, deviations)
        assert found > error
        missed = missed_variance(kernel, score, information, deviations)
        assert missed == pytest.approx(found - error**2 / found, rel=1e-10)


def test_less_than_the_standard_error_counts_for_nothing():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(200, 3))
    kernel, counts = kernel_of(X), []
    for _ in range(200):
        score = residuals(0 * X[:, 0], rng)
        counts.append(missed_variance(kernel, score, np.full(200, RATE), NONE) > 0)
    # Of a normal estimate 16 % are above their standard error.
    assert 0.05 < np.mean(counts) < 0.3


@pytest.mark.parametrize("chunk", [1, 10**6])
def test_features_are_taken_some_at_a_time(chunk, monkeypatch):
    X = np.random.default_rng(4).normal(size=(60, 5))
    expected = kernel_of(X)
    monkeypatch.setattr(_missed, "_MOST_NUMBERS", chunk)
    np.testing.assert_allclose(kernel_of(X), expected, atol=1e-12)


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


def test_the_kernel_has_no_lines_and_the_same_part_of_each_feature():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(300, 4)) * [1.0, 1e-6, 1e6, 1e200] + [0.0, 0.0, 1e6, 0.0]
    kernels = [kernel_of(X[:, [k]]) for k in range(4)]
    np.testing.assert_allclose(kernel_of(X), sum(kernels) / 4, atol=1e-9)
    for own in kernels:
        np.testing.assert_array_equal(own.diagonal(), 0)
    # With its diagonal a kernel has mean 1 there, and no part of a constant or of a line.
    x = X[:, 0]
    whole = kernels[0] + np.diag(-(kernels[0].sum(1)))
    assert whole.trace() / 300 == pytest.approx(1)
    assert abs((x - x.mean()) @ whole @ (x - x.mean())) < 1e-9


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
    kernel = kernel_of(X)
    known = missed_variance(kernel, score, information, NONE)
    assert known > 0
    assert missed_variance(kernel, size * score, size * information, NONE) == pytest.approx(known)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_predictions_that_have_run_away_tell_of_nothing(bad):
    x = np.random.default_rng(8).normal(size=20)
    kernel, one, score = kernel_of(x[:, None]), np.ones(20), 3 * np.sign(x**2 - 0.5)
    spoiled = np.where(np.arange(20) == 3, bad, 1.0)
    assert missed_variance(kernel, score, one, NONE) > 0
    assert missed_variance(kernel, score, spoiled, NONE) == 0
    assert missed_variance(kernel, score * spoiled, one, NONE) == 0
    assert missed_variance(kernel, score, one, spoiled[None]) == 0


def test_frames_as_the_output_of_transformers_make_no_difference():
    X = np.random.default_rng(9).normal(size=(30, 2))
    expected = kernel_of(X)
    with config_context(transform_output="pandas"):
        np.testing.assert_array_equal(kernel_of(X), expected)


def test_no_residuals_tell_of_nothing():
    X = np.random.default_rng(6).normal(size=(20, 2))
    assert missed_variance(kernel_of(X), np.ones(20), np.zeros(20), NONE) == 0
    assert missed_of(X, np.zeros(20)) == 0


def test_many_rows_are_looked_at_here_and_there():
    np.testing.assert_array_equal(evenly(1000, 1000), np.arange(1000))
    np.testing.assert_array_equal(evenly(1000, 4), [0, 333, 666, 999])
