"""The concordance index: counts by hand, kinds of input, errors word for word."""

import re

import numpy as np
import pytest
from sksurv.exceptions import NoComparablePairException
from sksurv.metrics import concordance_index_censored as sksurv_concordance
from sksurv.util import Surv

from sksurvtorch.metrics import _concordance as metrics
from sksurvtorch.metrics import concordance_index_censored

EVENT, TIME, ESTIMATE = np.array([True, True, False]), np.array([1, 2, 3]), np.array([3.0, 2, 1])


def test_four_rows_by_hand():
    """Comparable with the event at 1: all others; with the one at 2: the row censored at 2."""
    event, time = [True, True, False, True], [1, 2, 2, 2]
    # Of the first event: 4 < 5 concordant, 5 tied, 6 discordant. Of the second: 5 > 4 discordant.
    # The events at 2 are not comparable with each other; the last one, 6 > 5, is concordant.
    result = concordance_index_censored(event, time, [5, 4, 5, 6])
    assert result == (2.5 / 5, 2, 2, 1, 2)
    assert [type(number) for number in result] == [float, int, int, int, int]


def test_weights_by_hand():
    """The pairs of the test above, (0, 1), (0, 2), (0, 3), (1, 2) and (3, 2), with 2, 3, 5, 7."""
    event, time, weight = [True, True, False, True], [1, 2, 2, 2], [2.0, 3.0, 5.0, 7.0]
    result = concordance_index_censored(event, time, [5, 4, 5, 6], sample_weight=weight)
    assert result == ((6 + 35 + 10 / 2) / 80, 6 + 35, 14 + 15, 10, 15 + 35)
    assert [type(number) for number in result] == [float] * 5


@pytest.mark.parametrize("weight", [None, [1, 1, 1, 1]])
def test_being_tied_is_not_transitive(weight):
    """0, 1 and 2 at a tolerance of 1: the middle one is tied with both others, these are not."""
    event, time = [True, True, True, False], [1, 2, 3, 4]
    result = concordance_index_censored(event, time, [0, 1, 2, 9], tied_tol=1, sample_weight=weight)
    assert result[1:] == (0, 1 + 3, 2, 0)


@pytest.mark.parametrize("weight", [None, np.ones(3)])
@pytest.mark.parametrize(("sign", "expected"), [(1, (1.0, 3, 0, 0, 0)), (-1, (0.0, 0, 3, 0, 0))])
def test_perfect_and_reversed_order(sign, expected, weight):
    result = concordance_index_censored(EVENT, TIME, sign * ESTIMATE, sample_weight=weight)
    assert result == expected


@pytest.mark.parametrize("weight", [None, np.ones(3)])
@pytest.mark.parametrize("tied_tol", [1e300, 4, np.float32(4)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint64])
def test_a_tolerance_beyond_all_differences(dtype, tied_tol, weight):
    result = concordance_index_censored(
        EVENT, TIME, ESTIMATE.astype(dtype), tied_tol=tied_tol, sample_weight=weight
    )
    assert result == (0.5, 0, 0, 3, 0)


@pytest.mark.parametrize(
    "estimate",
    [
        np.array([3, 2, 0], dtype=np.uint8),
        np.array([127, 0, -128], dtype=np.int8),
        np.array([2**63 - 1, 0, -(2**63)]),
        np.array([2**64 - 1, 2**64 - 2, 0], dtype=np.uint64),
        np.array([1.7e308, 0.0, -1.7e308]),
    ],
)
def test_differences_do_not_overflow(estimate):
    """In scikit-survival 0.28 those of the first four wrap around."""
    assert concordance_index_censored(EVENT, TIME, estimate, tied_tol=0.5)[1:] == (3, 0, 0, 0)
    assert concordance_index_censored(EVENT, TIME, estimate[::-1])[1:] == (0, 3, 0, 0)


def test_a_difference_that_rounds_to_the_tolerance_is_a_tie():
    """0.1 - -1e-30 is 0.1, though many rows lie between 0.1 - 0.1 and -1e-30."""
    estimate = np.append(0.1, -np.linspace(1e-30, 1e-20, 40))
    event, time = np.arange(41) == 0, np.arange(41.0)
    expected = sksurv_concordance(event, time, estimate, tied_tol=0.1)
    assert expected[3] == 40
    assert concordance_index_censored(event, time, estimate, tied_tol=0.1) == expected


@pytest.mark.parametrize("n", [2, 3, 4, 7, 8, 9, 1000, 4096])
def test_any_number_of_rows(n):
    rng = np.random.default_rng(n)
    event, time = rng.random(n) < 0.7, rng.integers(0, n // 2 + 1, n)
    event[time.argmin()] = True
    time[time.argmin() - 1] = n
    estimate = rng.integers(0, n, n) / 10
    expected = sksurv_concordance(event, time, estimate, tied_tol=0.3)
    assert concordance_index_censored(event, time, estimate, tied_tol=0.3) == expected
    weighted = concordance_index_censored(
        event, time, estimate, tied_tol=0.3, sample_weight=np.full(n, 2)
    )
    assert weighted == (expected[0], *(4 * count for count in expected[1:]))


def test_more_rows_than_int32_holds_are_counted_in_int64(monkeypatch):
    rng = np.random.default_rng(0)
    data = rng.random(100) < 0.5, rng.random(100), rng.normal(size=100)
    expected = concordance_index_censored(*data, sample_weight=np.ones(100))
    monkeypatch.setattr(metrics, "_INT32_ROWS", 99)
    assert concordance_index_censored(*data) == expected
    assert concordance_index_censored(*data, sample_weight=np.ones(100)) == expected


def test_counts_beyond_int32():
    """All of 100 000 rows in the right order: 5e9 pairs."""
    time = np.arange(100_000)
    result = concordance_index_censored(np.ones(100_000, bool), time, -time)
    assert result == (1.0, 100_000 * 99_999 // 2, 0, 0, 0)


def test_a_sum_over_no_pair_is_exactly_zero():
    rng = np.random.default_rng(0)
    time, weight = np.sort(rng.random(1000)), rng.random(1000)
    result = concordance_index_censored(np.ones(1000, bool), time, -time, sample_weight=weight)
    assert result[0] == 1.0
    assert result[2:] == (0.0, 0.0, 0.0)


def test_a_row_of_weight_zero_is_absent():
    """Also where that leaves no comparable pair."""
    result = concordance_index_censored(EVENT, TIME, ESTIMATE, sample_weight=[True, False, True])
    assert result == (1.0, 1.0, 0.0, 0.0, 0.0)
    message = (
        "The rows must hold a comparable pair, an event and a row that is at risk after it, "
        "got 1 events in 1 rows of positive weight. The concordance index is not defined: score "
        "more rows at once."
    )
    with pytest.raises(NoComparablePairException, match=f"^{re.escape(message)}$"):
        concordance_index_censored(EVENT, TIME, ESTIMATE, sample_weight=[0, 1, 0])


@pytest.mark.parametrize(
    ("event", "time"),
    [
        ([False, False], [1, 2]),  # no event
        ([False, True], [1, 2]),  # none after the event
        ([True, True], [2, 2]),  # scikit-survival: NaN
        ([True], [1]),
        (np.zeros(0, bool), []),
    ],
)
def test_no_comparable_pair(event, time):
    with pytest.raises(
        NoComparablePairException, match=f"got {sum(event)} events in {len(event)} r"
    ):
        concordance_index_censored(event, time, np.zeros(len(event)))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"event_indicator": [1, 1, 0]},
            ValueError,
            "`event_indicator` must be bool, got int64. Pass True for an observed event and False "
            "for a censored row.",
        ),
        (
            {"event_indicator": [[True, False]]},
            ValueError,
            "`event_indicator` must have shape (n_samples,), got (1, 2).",
        ),
        ({"event_time": [1, 2]}, ValueError, "`event_time` must have shape (3,), got (2,)."),
        (
            {"event_time": [1, np.inf, np.nan]},
            ValueError,
            "`event_time` must be finite, got inf (2 of 3 rows).",
        ),
        (
            {"event_time": ["a", "b", "c"]},
            TypeError,
            "`event_time` must be an integer or floating-point array, got <U1.",
        ),
        (
            {"estimate": [[1.0], [2.0], [3.0]]},
            ValueError,
            "`estimate` must have shape (3,), got (3, 1).",
        ),
        (
            {"estimate": [1.0, np.nan, 3.0]},
            ValueError,
            "`estimate` must be finite, got nan (1 of 3 rows).",
        ),
        (
            {"estimate": EVENT},
            TypeError,
            "`estimate` must be an integer or floating-point array, got bool. Pass "
            "estimate.astype(float).",
        ),
        ({"tied_tol": -1.0}, ValueError, "`tied_tol` must be at least 0, got -1.0."),
        ({"tied_tol": np.nan}, ValueError, "`tied_tol` must be finite, got nan."),
        ({"tied_tol": "0"}, TypeError, "`tied_tol` must be a number, got '0' of type str."),
        (
            {"sample_weight": [1.0, -1.0, 1.0]},
            ValueError,
            "`sample_weight` must be at least 0, got -1.0 (1 of 3 rows). A weight of 0 leaves the "
            "row out.",
        ),
        ({"sample_weight": [1.0]}, ValueError, "`sample_weight` must have shape (3,), got (1,)."),
        (
            {"sample_weight": [1e200, 1e200, 1e200]},
            ValueError,
            "`sample_weight` must have products within the range of float64, got weights up to "
            "1e+200. Divide them by their mean.",
        ),
        (
            {"sample_weight": [1e-200, 1e-200, 1e-200]},
            ValueError,
            "`sample_weight` must have products within the range of float64, got weights up to "
            "1e-200. Divide them by their mean.",
        ),
    ],
)
def test_errors(changes, error, message):
    arguments = {"event_indicator": EVENT, "event_time": TIME, "estimate": ESTIMATE, **changes}
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        concordance_index_censored(**arguments)


def test_a_parameter_is_named_as_the_caller_knows_it():
    y = Surv.from_arrays(EVENT, TIME)
    wrong = Surv.from_arrays(EVENT, np.where(TIME[0] == TIME, np.nan, TIME))
    with pytest.raises(ValueError, match=r"^`survival_test\['time'\]` must be finite, got nan"):
        metrics.concordance_index_ipcw(y, wrong, ESTIMATE)
    with pytest.raises(ValueError, match=r"^`survival_test` must be a structured array"):
        metrics.concordance_index_ipcw(y, TIME, ESTIMATE)
