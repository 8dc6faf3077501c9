"""Theorems of the concordance index, and scikit-survival's numbers on any data."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sksurv.exceptions import NoComparablePairException
from sksurv.metrics import concordance_index_censored as sksurv_concordance
from sksurv.metrics import concordance_index_ipcw as sksurv_ipcw
from sksurv.nonparametric import CensoringDistributionEstimator
from sksurv.util import Surv

from sksurvtorch.metrics import concordance_index_censored, concordance_index_ipcw
from sksurvtorch.metrics._concordance import censoring_curve

# On a grid of multiples of the tolerance the rounding of each difference decides.
TOLERANCES = [0.0, 1e-8, 0.1, 0.3, 1.0]


@dataclasses.dataclass(frozen=True)
class Scores:
    """Rows of survival data with a risk score each, of which some pair is comparable."""

    event: np.ndarray
    time: np.ndarray
    estimate: np.ndarray
    tied_tol: float
    weight: np.ndarray  # integers from 0 to 3

    def concordance(self, index=slice(None), sign=1, weighted=False):
        """The five numbers of these rows."""
        return concordance_index_censored(
            self.event[index],
            self.time[index],
            sign * self.estimate[index],
            tied_tol=self.tied_tol,
            sample_weight=self.weight[index] if weighted else None,
        )


def is_defined(event, time):
    """Whether an event has a row at risk after it, pair by pair."""
    later = (time > time[:, None]) | ((time == time[:, None]) & ~event)
    return bool((event[:, None] & later).any())


@st.composite
def scores(draw, max_rows=40):
    """Ties of every kind: of times, of events and censorings, of estimates up to the tolerance."""
    n = draw(st.integers(2, max_rows))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    event = {
        "all": np.ones(n, bool),
        "one": np.arange(n) == rng.integers(n),
        "some": rng.random(n) < 0.5,
    }[draw(st.sampled_from(["all", "one", "some"]))]
    n_times = draw(st.sampled_from([2, 5, 1000]))
    time = rng.integers(0, n_times, n).astype(draw(st.sampled_from([np.int64, float])))
    assume(is_defined(event, time))
    tied_tol = draw(st.sampled_from(TOLERANCES))
    n_values = draw(st.sampled_from([1, 3, 10, 1000]))
    step = rng.integers(-n_values, n_values + 1, n)
    dtype = draw(st.sampled_from([np.float64, np.float32, np.float16, np.int64]))
    estimate = step if dtype == np.int64 else (step * (tied_tol or 0.1)).astype(dtype)
    return Scores(event, time, estimate, tied_tol, rng.integers(0, 4, n))


@given(scores())
def test_all_five_numbers_are_those_of_scikit_survival(data):
    expected = sksurv_concordance(data.event, data.time, data.estimate, data.tied_tol)
    assert data.concordance() == expected


@given(scores(), st.floats(0, 2))
def test_the_same_on_estimates_without_a_grid(data, tied_tol):
    estimate = np.random.default_rng(len(data.time)).normal(size=len(data.time))
    expected = sksurv_concordance(data.event, data.time, estimate, tied_tol)
    assert (
        concordance_index_censored(data.event, data.time, estimate, tied_tol=tied_tol) == expected
    )


@given(scores())
def test_a_tolerance_in_float64_is_compared_in_float64(data):
    """numpy rounds a Python float to the dtype of the array it meets, but no numpy scalar."""
    tied_tol = np.float64(data.tied_tol)
    expected = sksurv_concordance(data.event, data.time, data.estimate, tied_tol)
    assert dataclasses.replace(data, tied_tol=tied_tol).concordance() == expected


@given(scores())
def test_the_order_of_the_rows_does_not_matter(data):
    order = np.random.default_rng(0).permutation(len(data.time))
    assert data.concordance(order) == data.concordance()


@given(scores())
def test_a_negated_estimate_swaps_concordant_and_discordant(data):
    index, concordant, discordant, *tied = data.concordance()
    swapped = data.concordance(sign=-1)
    assert swapped[1:] == (discordant, concordant, *tied)
    assert swapped[0] == pytest.approx(1 - index, abs=1e-15)


@given(scores())
def test_integer_weights_are_rows_repeated(data):
    repeated = np.repeat(np.arange(len(data.time)), data.weight)
    assume(is_defined(data.event[repeated], data.time[repeated]))
    assert data.concordance(weighted=True) == data.concordance(repeated)


@given(scores())
def test_weights_multiply_pairs(data):
    """Against the definition, pair by pair. 1e-13: prefix sums of up to 40 weights."""
    weight = np.random.default_rng(1).lognormal(sigma=2, size=len(data.time))
    result = dataclasses.replace(data, weight=weight).concordance(weighted=True)
    expected = pair_by_pair(data, weight)
    np.testing.assert_allclose(result[1:], expected, rtol=0, atol=1e-13 * weight.sum() ** 2)
    for value, by_pair in zip(result[1:], expected, strict=True):
        assert (value == 0) == (by_pair == 0)
    # The index is a ratio, so its error is that of the pairs over their weight.
    pairs = expected[:3].sum()
    index = (expected[0] + expected[2] / 2) / pairs
    assert result[0] == pytest.approx(index, rel=0, abs=1e-13 * weight.sum() ** 2 / pairs)


def pair_by_pair(data, weight):
    """Concordant, discordant, tied in risk and at the same time."""
    sums = np.zeros(4)
    for i in np.flatnonzero(data.event):
        for j in range(len(data.time)):
            same_time = data.time[i] == data.time[j] and not data.event[j]
            if not (data.time[j] > data.time[i] or same_time):
                continue
            tied = abs(data.estimate[i] - data.estimate[j]) <= data.tied_tol
            kind = 2 if tied else 0 if data.estimate[j] < data.estimate[i] else 1
            sums[kind] += weight[i] * weight[j]
            sums[3] += same_time * weight[i] * weight[j]
    return sums


@given(scores(), st.sampled_from([None, 2, 3.5, 500]))
def test_the_index_with_censoring_weights_is_that_of_scikit_survival(data, tau):
    y = Surv.from_arrays(data.event, data.time)
    late = Surv.from_arrays([False], [data.time.max() + 1])  # so that no weight is infinite
    train = np.concatenate([y, late.astype(y.dtype)])
    before = np.inf if tau is None else tau
    within = is_defined(data.event & (data.time < before), data.time)
    if not within:
        with pytest.raises(NoComparablePairException, match=r"^`tau` must leave an event before"):
            concordance_index_ipcw(train, y, data.estimate, tau=tau, tied_tol=data.tied_tol)
        return
    expected = sksurv_ipcw(train, y, data.estimate, tau, data.tied_tol)
    found = concordance_index_ipcw(train, y, data.estimate, tau=tau, tied_tol=data.tied_tol)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    assert found[1:] == expected[1:]
    assert found[1:] == data.concordance()[1:]


def test_censoring_weights_matter():
    rng = np.random.default_rng(0)
    time, event, risk = rng.random(200), rng.random(200) < 0.5, rng.standard_normal(200)
    y = Surv.from_arrays(event, time)
    weighted, harrell = (
        concordance_index_ipcw(y, y, risk),
        concordance_index_censored(event, time, risk),
    )
    assert weighted[1:] == harrell[1:]
    assert abs(weighted[0] - harrell[0]) > 1e-3


def test_an_event_at_which_all_would_be_censored_is_refused_with_its_time():
    train = Surv.from_arrays([True, False], [1.0, 2.0])
    test = Surv.from_arrays([True, True, True], [0.5, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"got none at 2\. Set `tau` to that time or an earlier"):
        concordance_index_ipcw(train, test, [1.0, 2.0, 3.0])
    assert concordance_index_ipcw(train, test, [1.0, 2.0, 3.0], tau=2.0)[0] == 0.0


@pytest.mark.parametrize(
    "time",
    [
        np.random.default_rng(0).integers(0, 60, 500),
        np.random.default_rng(0).integers(0, 60, 500) / 7,
        np.random.default_rng(0).random(500).astype("f4"),
        np.array([0.0, -0.0, 1.0, 1.0 + 2**-52, 1e-17, 2.0, 2.0, 3.0]),
    ],
    ids=["whole", "sevenths", "float32", "nearly_equal"],
)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 1.0])
def test_the_estimate_of_the_censoring_is_to_the_bit_that_of_scikit_survival(time, rate):
    event = np.random.default_rng(1).random(len(time)) < rate
    event[0] = True
    y = np.array(list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", time.dtype)])
    ours, theirs = censoring_curve(y), CensoringDistributionEstimator().fit(y)
    for name in ("unique_time_", "prob_"):
        found, expected = getattr(ours, name), getattr(theirs, name)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("bad", [("event", False), ("time", np.nan)], ids=["censored", "nan"])
def test_the_censoring_refuses_what_scikit_survival_refuses(bad):
    y = Surv.from_arrays([True, False, True], [1.0, 2.0, 3.0])
    name, value = bad
    y[name] = value
    with pytest.raises(ValueError) as theirs:  # noqa: PT011 -- the sentence follows
        CensoringDistributionEstimator().fit(y)
    with pytest.raises(ValueError) as ours:  # noqa: PT011 -- the same sentence
        censoring_curve(y)
    assert str(ours.value) == str(theirs.value)
