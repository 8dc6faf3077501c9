"""D-calibration: by hand, by simulation, and what it refuses."""

import numpy as np
import pytest

from sksurvtorch.metrics import d_calibration
from tests.unit.refusals import refuses


def counted(event, survival, n_bins):
    """Counts after the definition: the part of [0, s] that lies in each bin, sample by sample."""
    counts = np.zeros(n_bins)
    for has_event, s in zip(event, survival, strict=True):
        for k in range(n_bins):
            low, high = k / n_bins, (k + 1) / n_bins
            if has_event:
                counts[k] += low <= s < high or (k == n_bins - 1 and s == 1)
            elif s == 0:
                counts[k] += k == 0
            else:
                counts[k] += max(0.0, min(s, high) - low) / s
    return counts


@pytest.mark.parametrize("n_bins", [2, 4, 10])
@pytest.mark.parametrize("censored", [0.0, 0.5, 1.0])
def test_counts_are_those_of_the_definition(n_bins, censored):
    rng = np.random.default_rng(0)
    # Quarters and halves are the same in binary and decimal numbers.
    survival = np.concatenate([rng.random(200), [0, 0.25, 0.5, 0.75, 1, 0, 0.25, 0.5, 0.75, 1]])
    event = rng.random(len(survival)) >= censored
    event[-5:] = True
    event[-10:-5] = False
    result = d_calibration(event, survival, n_bins=n_bins)
    expected = counted(event, survival, n_bins)
    np.testing.assert_allclose(result.shares, expected / len(event), atol=1e-12)
    assert result.shares.sum() == pytest.approx(1)
    mean = len(event) / n_bins
    assert result.statistic == pytest.approx((np.square(expected - mean) / mean).sum())


def p_values(scale, censoring):
    """P-values of exponential predictions, whose scale is that of the truth if it is 1."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        time, limit = rng.exponential(1, 500), rng.exponential(censoring, 500)
        survival = np.exp(-np.minimum(time, limit) / scale)
        yield d_calibration(time <= limit, survival).pvalue


def test_calibrated_predictions_are_rejected_as_often_as_they_should_be():
    rejected = np.mean([p < 0.05 for p in p_values(1, np.inf)])
    assert 0.02 < rejected < 0.09
    assert np.mean([p < 0.05 for p in p_values(1, 1.0)]) < rejected  # cautious with censoring


@pytest.mark.parametrize("scale", [0.6, 1.7])
def test_predictions_of_a_wrong_scale_are_rejected(scale):
    assert np.mean([p < 0.05 for p in p_values(scale, 3.0)]) > 0.95


def test_the_direction_of_an_error_is_as_documented():
    survival = (np.arange(400) + 0.5) / 400
    event = np.ones(400, dtype=bool)
    too_high, too_low = (d_calibration(event, survival**power).shares for power in (0.5, 2))
    assert too_high[0] < 0.1 < too_high[-1]
    assert too_low[-1] < 0.1 < too_low[0]


def test_it_refuses():
    refuses(
        lambda: d_calibration([1, 0], [0.5, 0.5]),
        ValueError,
        "`event_indicator` must be bool of shape (n_samples,), got int64 of shape (2,).",
    )
    refuses(
        lambda: d_calibration([True, False], [0.5]),
        ValueError,
        "`survival` must have shape (2,), one for each sample at its own time, got (1,).",
    )
    for value in (1.5, -0.1, np.nan):
        refuses(
            lambda value=value: d_calibration([True, False], [0.5, value]),
            ValueError,
            f"`survival` must be within [0, 1], got {value:g} (1 of 2). It is the probability that "
            "the event is later.",
        )
    refuses(
        lambda: d_calibration([True, False], [0.5, 0.5], n_bins=1),
        ValueError,
        "`n_bins` must be at least 2, got 1.",
    )
