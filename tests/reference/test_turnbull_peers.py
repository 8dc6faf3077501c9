"""Turnbull's estimate beside lifelines', and beside the minimum that scipy finds."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines.fitters.npmle import npmle

from sksurvtorch.metrics import turnbull
from tests.interval_twins import random_intervals

# Fourteen of the patients of Turnbull's kind, with the estimate of R's survival::survfit.


@pytest.mark.parametrize("kinds", [("interval",), ("interval", "left", "right")])
def test_the_likelihood_is_at_least_that_of_lifelines(kinds):
    """lifelines takes intervals as closed, which is the same where no two ends are equal."""
    lower, upper = random_intervals(np.random.default_rng(1), 60, kinds=kinds)
    masses, intervals = npmle(lower, upper, tol=1e-9, max_iter=20_000)
    curve = turnbull(lower, upper)
    ends = np.array([(own.left, own.right) for own in intervals])
    np.testing.assert_array_equal(ends, np.transpose([curve.left, curve.right]))
    holds = (lower[:, None] <= ends[:, 0]) & (ends[:, 1] <= upper[:, None])
    theirs = np.log(holds @ masses).sum()
    assert theirs <= curve.log_likelihood + 1e-7
    assert curve.log_likelihood == pytest.approx(theirs, abs=1e-5)
    # EM stops where the likelihood rises by less than 1e-9 a step.
    np.testing.assert_allclose(holds @ curve.mass, holds @ masses, atol=2e-3)
