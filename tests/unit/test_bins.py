"""The loss in bins: its worked example, the levels of times, and the limits of plain numbers."""

import math

import numpy as np
import pytest
import torch

from sksurvtorch.functional import RiskSets, _bins, _levels
from sksurvtorch.functional import cox_neg_partial_log_likelihood as cox
from sksurvtorch.functional._bins import Bins
from sksurvtorch.functional._levels import levels
from sksurvtorch.functional.cox import sum_of_losses
from tests.cohorts import assert_close, random_cohort, value_and_gradient
from tests.routes import on_route
from tests.unit.test_worked_examples import numbers, table

RNG = np.random.default_rng(0)
DAYS = RNG.integers(0, 200, 3_000)


def test_the_tables_of_the_bins():
    _, time, event, of_row, hazard_ratio = table(_bins, 0)
    hazard_ratio = torch.tensor(numbers(hazard_ratio), dtype=torch.float64)
    columns = {
        "event": torch.tensor([word == "yes" for word in event]),
        "time": torch.tensor(numbers(time)),
    }
    bins = Bins.of(columns, "efron", levels(columns["time"]).joined(columns["event"].numpy())[0])
    assert bins.of_row.tolist() == numbers(of_row)
    number, binned, sums = table(_bins, 1)
    assert numbers(number) == [0, 1, 2, 3, 4, 5]
    assert np.bincount(bins.of_row, hazard_ratio).tolist() == numbers(binned)
    assert np.cumsum(numbers(binned)).tolist() == numbers(sums)
    assert bins.of_denominator.tolist() == [1, 3, 3, 5]
    assert bins.tied.share.tolist() == [[1, 1, 0.5, 1], [0, 0, 0.5, 0]]
    log_denominators = torch.tensor([11.0, 11111, 5611, 111111]).double().log()
    expected = log_denominators.sum() - hazard_ratio[columns["event"]].log().sum()
    loss, _ = bins.loss_and_gradient(hazard_ratio.log(), False, False)
    assert_close(loss, expected)


TIMES = {
    "few": DAYS[:100].astype(float),
    "days": DAYS.astype("f4"),
    "days before 0": -DAYS,
    "halves": DAYS / 2,
    "seconds of an epoch": 1_700_000_000.0 + DAYS,
    "nanoseconds of an epoch": 1_700_000_000_000_000_000 + DAYS,
    "integers far apart": DAYS * 2**54,
    "numbers beyond the whole ones": 2.0**60 + DAYS * 2.0**10,
    "the largest and the smallest": np.array([1.7e308, -1.7e308, 5e-324, 0.0, -0.0] * 200),
    "fractions": RNG.random(3_000),
    "many fractions": RNG.random(50_000).round(4),
    "one time, far off": np.full(1_000, 1e300),
    "many seconds": np.tile(DAYS, 20) * 1e9,
    "bytes": RNG.integers(-128, 128, 1_000).astype("i1"),
    "bool": DAYS % 2 == 0,
    "half": RNG.random(1_000).astype("f2"),
}


@pytest.mark.parametrize("name", TIMES)
def test_levels_rise_from_the_latest_time_to_the_earliest(name):
    time = torch.from_numpy(TIMES[name])
    of_row, stop = levels(time)
    _, rank = np.unique(-TIMES[name].astype(np.longdouble), return_inverse=True)
    _, rank_of_level = np.unique(of_row, return_inverse=True)
    assert (rank_of_level == rank).all()
    assert of_row.min() >= 0
    assert of_row.max() < stop <= max(_levels._FEW_TIMES, _levels._TIMES_PER_ROW * len(time)) + 1


def test_levels_of_bfloat16():
    time = torch.tensor([1.5, 2.5, 1.5, 0.25], dtype=torch.bfloat16)
    assert levels(time).of_row.tolist() == [1, 0, 1, 2]


@pytest.mark.parametrize("shift", [0, 300, -300, 600, -600, 2_000])
@pytest.mark.parametrize("spread", [1, 100, 600])
@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("with_", [(), ("weight",)], ids="+".join)
def test_both_ways_agree_to_rounding(with_, ties, spread, shift):
    cohort = random_cohort(3, n=200, spread=spread, with_=with_)
    results = []
    for route in ("quick", "general"):
        with on_route(route):
            risk_sets = RiskSets(**cohort.target, ties=ties)
            eta = cohort.log_hazard_ratio + shift
            results.append(value_and_gradient(cox, eta, risk_sets=risk_sets))
    for quick, general in zip(*results, strict=True):
        torch.testing.assert_close(quick, general, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("spread", "in_bins"), [(0, True), (600, True), (-600, True), (700, False), (-700, False)]
)
def test_numbers_out_of_range_are_left_to_logarithms(spread, in_bins):
    bins = RiskSets(torch.tensor([True, True]), torch.tensor([1.0, 2.0])).bins
    eta = torch.tensor([0.0, spread], dtype=torch.float64)
    found = bins.loss_and_gradient(eta, True, True)
    assert (found is not None) is in_bins


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("row", [0, 1])
def test_what_is_not_finite_is_left_to_logarithms(row, value):
    """A row that is never at risk, as the second one, counts too."""
    event, time = torch.tensor([True, False]), torch.tensor([2.0, 1.0])
    eta = torch.zeros(2).index_fill(0, torch.tensor([row]), value)
    bins = RiskSets(event, time).bins
    assert bins.loss_and_gradient(eta, True, True) is None
    assert cox(eta, event, time).isnan()


@pytest.mark.parametrize("with_", [("entry",), ("stratum",)], ids="+".join)
def test_rows_with_late_entry_or_strata_have_no_bins(with_):
    assert RiskSets(**random_cohort(3, with_=with_).target).bins is None


def test_rows_on_another_device_have_no_bins():
    assert RiskSets(**random_cohort(3).target).to("meta").bins is None


@pytest.mark.parametrize("with_", [(), ("weight",)], ids="+".join)
@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_the_bins_of_batches_are_those_of_each_batch_alone(ties, with_):
    """One of the batches has no ties."""
    cohort = random_cohort(3, n=120, n_times=40, with_=with_)
    risk_sets = RiskSets(**cohort.target, ties=ties)
    risk_sets = risk_sets.take(risk_sets.order)
    sizes = [60, 3, 57]
    event = risk_sets.columns["event"].nonzero()[:, 0]
    apart = torch.stack([event[0], event[len(event) // 2], event[-1]])
    others = torch.tensor([row for row in range(120) if row not in apart])
    index = torch.cat([others[:60], apart, others[60:117]])
    batches = risk_sets.split(index, sizes)
    assert (batches[1].bins.tied, batches[0].bins.tied is None) == (None, ties == "breslow")
    for batch in batches:
        columns = batch.columns
        alone = levels(columns["time"]).joined(columns["event"].numpy())[0]
        for ours, theirs in zip(batch.bins, Bins.of(columns, ties, alone), strict=True):
            assert (ours is None) == (theirs is None)
            parts = (x if isinstance(x, tuple) else (x,) for x in (ours, theirs))
            for one, other in zip(*parts, strict=True):
                if one is not None:
                    np.testing.assert_allclose(one, other, rtol=1e-14)


def test_a_batch_of_far_smaller_weights_keeps_its_loss():
    """Divided by the weights of all rows they would vanish."""
    event, time = torch.ones(4, dtype=torch.bool), torch.arange(4.0)
    weight = torch.tensor([1e-200, 2e-200, 1e150, 1e150], dtype=torch.float64)
    risk_sets = RiskSets(event.flip(0), time.flip(0), weight=weight.flip(0))
    _, small = risk_sets.split(torch.arange(4), [2, 2])
    eta = torch.tensor([0.3, -0.7], dtype=torch.float64)
    expected = cox(eta, event[:2], time[:2].flip(0), weight=torch.tensor([2.0, 1.0]))
    assert_close(cox(eta, risk_sets=small), expected + math.log(1e-200))


SETS = {
    "ties": {"n_times": 5},
    "no ties": {"n_times": None},
    "ties in one": {"n_times": 5, "only": True},
    "weights": {"n_times": 5, "weighted": True},
    "weights in one": {"n_times": None, "weighted": True, "only": True},
}


def several_sets(n_times, weighted=False, only=False):
    """Risk sets of four sets of 30 rows, with different numbers of events and times."""
    rng, sets = np.random.default_rng(0), []
    for k in range(4):
        own = not only or k == 2
        time = rng.integers(0, n_times, 30) if n_times and own else rng.random(30) * 10.0**k
        columns = {"event": torch.from_numpy(rng.random(30) < 0.3 + 0.2 * k)}
        columns["time"] = torch.from_numpy(time.astype(float))
        if weighted and own:
            columns["weight"] = torch.from_numpy(rng.uniform(0.1, 3, 30))
        sets.append(columns)
    return sets


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("far", [0, 900], ids=["near", "out of range"])
def test_several_sets_at_once_are_one_after_the_other(name, ties, far):
    sets = [RiskSets(**columns, ties=ties) for columns in several_sets(**SETS[name])]
    factors = [1.0, 0.5, 2.0, 0.0]
    eta = torch.randn(4, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    eta[1, :10] += far
    eta[3] -= far
    together = value_and_gradient(lambda x: sum_of_losses(x, sets, factors), eta)
    each = value_and_gradient(
        lambda x: sum(f * cox(e, risk_sets=r) for f, e, r in zip(factors, x, sets, strict=True)),
        eta,
    )
    for found, expected in zip(together, each, strict=True):
        assert_close(found, expected)


@pytest.mark.parametrize("column", ["entry", "stratum"])
def test_sets_with_late_entry_or_strata_are_summed_one_by_one(column):
    rng = np.random.default_rng(0)
    sets = []
    for columns in several_sets(5):
        other = (
            columns["time"] - 1.5 if column == "entry" else torch.from_numpy(rng.integers(0, 2, 30))
        )
        sets.append(RiskSets(**columns, **{column: other}))
    eta = torch.randn(4, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = sum(cox(e, risk_sets=r) for e, r in zip(eta, sets, strict=True))
    assert_close(sum_of_losses(eta, sets, [1.0] * 4), expected)


def test_the_bins_of_all_rows_are_let_go_once_there_are_batches():
    cohort = random_cohort(0, n=40, n_times=9)
    risk_sets, eta = RiskSets(**cohort.target), torch.randn(40)
    loss = cox(eta, risk_sets=risk_sets)
    assert "bins" in vars(risk_sets)
    risk_sets.split(torch.arange(40), [20, 20])
    assert "bins" not in vars(risk_sets)
    assert torch.equal(cox(eta, risk_sets=risk_sets), loss)
