"""Ranks of learners in `benchmarks/accuracy_ranks.py`."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy_ranks import critical_difference, ranks

# Demšar (2006), Table 5 (a): q of Nemenyi's test at 0.05, for 2 to 10 learners.
Q = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]


@pytest.mark.parametrize(("n_learners", "q"), list(enumerate(Q, start=2)))
def test_critical_difference_has_the_factors_of_demsar(n_learners, q):
    factor = (n_learners * (n_learners + 1) / (6 * 14)) ** 0.5
    # 2.3437 stands there as 2.343.
    assert critical_difference(n_learners, 14) / factor == pytest.approx(q, abs=1e-3)


def test_critical_difference_of_demsars_example():
    """Four learners, 14 data sets."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=5e-3)


SCORES = np.array([[0.7, 0.6, 0.6, 0.5], [0.8, 0.9, np.nan, 0.7], [0.5, 0.6, np.nan, np.nan]])


def test_the_best_has_rank_1_ties_share_and_failures_are_last():
    expected = np.mean([[1, 2.5, 2.5, 4], [2, 1, 4, 3], [2, 1, 3.5, 3.5]], axis=0)
    np.testing.assert_allclose(ranks(SCORES, higher_is_better=True).mean, expected)


def test_of_errors_the_lowest_is_the_best():
    expected = np.mean([[4, 2.5, 2.5, 1], [2, 3, 4, 1], [1, 2, 3.5, 3.5]], axis=0)
    np.testing.assert_allclose(ranks(SCORES, higher_is_better=False).mean, expected)


def test_friedman_of_a_fixed_order():
    """Of three learners in the same order on n data sets the statistic is 2 n: p is exp(-n)."""
    found = ranks(np.tile([0.9, 0.8, 0.7], (4, 1)), higher_is_better=True)
    assert found.p_value == pytest.approx(np.exp(-4))
    assert found.critical == critical_difference(3, 4)
