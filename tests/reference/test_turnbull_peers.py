"""Turnbull's estimate beside that of R's interval and of lifelines."""

from __future__ import annotations

import numpy as np
import pytest
from lifelines.fitters.npmle import npmle

from sksurvtorch.metrics import turnbull
from tests.interval_twins import random_intervals

# The 46 patients with radiotherapy alone in the study of breast cosmesis: D. M. Finkelstein,
# R. A. Wolfe, Biometrics 41, 1985, doi:10.2307/2530965; `bcos` of R's package interval.
RADIOTHERAPY = """
45- 6-10 0-7 46- 46- 7-16 17- 7-14 37-44 0-8 4-11 15- 11-15 22- 46- 46- 25-37 46- 26-40 46- 27-34
36-44 46- 36-48 37- 40- 17-25 46- 11-18 38- 5-12 37- 0-5 18- 24- 36- 5-11 19-35 17-25 24- 32- 33-
19-26 37- 34- 36-
"""
# As icfit of that package prints it.
MASSES = {
    (4, 5): 0.0463,
    (6, 7): 0.0334,
    (7, 8): 0.0887,
    (11, 12): 0.0708,
    (24, 25): 0.0926,
    (33, 34): 0.0818,
    (38, 40): 0.1209,
    (46, 48): 0.4656,
}


def test_masses_are_those_of_r():
    rows = [row.split("-") for row in RADIOTHERAPY.split()]
    assert len(rows) == 46
    lower = [float(low) for low, _ in rows]
    curve = turnbull(lower, [float(high or "inf") for _, high in rows])
    found = zip(curve.left, curve.right, curve.mass, strict=True)
    assert {(low, high): round(mass, 4) for low, high, mass in found if mass > 5e-5} == MASSES


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
