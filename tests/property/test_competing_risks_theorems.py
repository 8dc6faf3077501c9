"""What is true of the loss of competing risks whatever the data."""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import strategies as st

from sksurvtorch.functional import CompetingRiskSets, fine_gray_weights
from sksurvtorch.functional import competing_risks_neg_log_likelihood as competing
from sksurvtorch.functional import cox_neg_partial_log_likelihood as cox
from tests import competing_twins as twins
from tests.cohorts import assert_close, value_and_gradient
from tests.competing_twins import random_risks, risk_cohorts
from tests.routes import given_on_each_route

either_ties = pytest.mark.parametrize("ties", ["efron", "breslow"])
either_hazard = pytest.mark.parametrize("hazard", ["cause-specific", "subdistribution"])


def loss_and_gradient(cohort, **options):
    """The summed loss and its gradient."""
    options = {"reduction": "sum", **options}
    return value_and_gradient(competing, cohort.log_hazard_ratio, **cohort.target, **options)


def assert_same(one, other, *, rows=None, columns=None, tolerance=1e-12):
    """Losses are equal, and gradients, the second perhaps of other rows or columns."""
    gradient = one[1] if rows is None else one[1][rows]
    assert_close(one[0], other[0], tolerance)
    assert_close(gradient if columns is None else gradient[:, columns], other[1], tolerance)


@either_ties
@either_hazard
@given_on_each_route(cohort=risk_cohorts(), random=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(hazard, ties, cohort, random):
    order = torch.tensor(random.sample(range(len(cohort)), len(cohort)))
    options = {"hazard": hazard, "ties": ties}
    there = loss_and_gradient(cohort.rows(order), **options)
    assert_same(loss_and_gradient(cohort, **options), there, rows=order)


@either_hazard
@given_on_each_route(cohort=risk_cohorts(), shifts=st.tuples(*[st.integers(-1000, 1000)] * 3))
def test_constants_added_to_the_columns_do_not_matter(hazard, cohort, shifts):
    moved = cohort.log_hazard_ratio + torch.tensor(shifts[: cohort.n_causes]).double()
    there = loss_and_gradient(cohort.but(log_hazard_ratio=moved), hazard=hazard)
    assert_same(loss_and_gradient(cohort, hazard=hazard), there)


@either_hazard
@given_on_each_route(cohort=risk_cohorts())
@pytest.mark.parametrize(
    "increasing",
    [torch.exp, lambda t: 1e-9 * t, lambda t: t - 1e6, lambda t: -torch.exp(-t)],
    ids=["exp", "tiny", "negative", "bounded"],
)
def test_any_increasing_map_of_time_changes_nothing(increasing, hazard, cohort):
    mapped = cohort.but(time=increasing(cohort.time))
    assert_same(loss_and_gradient(cohort, hazard=hazard), loss_and_gradient(mapped, hazard=hazard))


@either_hazard
@given_on_each_route(cohort=risk_cohorts(weight=False), counts=st.lists(st.integers(0, 3)))
def test_whole_weights_are_rows_that_often(hazard, cohort, counts):
    count = torch.tensor((counts + [1] * len(cohort))[: len(cohort)])
    count[cohort.status.argmax()] = 2  # some event stays
    weighted = loss_and_gradient(cohort.but(weight=count.double()), hazard=hazard, ties="breslow")
    rows = torch.arange(len(cohort)).repeat_interleave(count)
    value, each = loss_and_gradient(cohort.rows(rows), hazard=hazard, ties="breslow")
    summed = torch.zeros_like(cohort.log_hazard_ratio).index_add(0, rows, each)
    assert_same(weighted, (value, summed))


@either_ties
@given_on_each_route(cohort=risk_cohorts(entry=None))
def test_cause_specific_is_the_sum_of_cox_losses(ties, cohort):
    columns = {name: x for name, x in cohort.target.items() if name != "status"}
    total, gradients = torch.zeros(()).double(), []
    for k in range(cohort.n_causes):
        event, eta = cohort.status == k + 1, cohort.log_hazard_ratio[:, k]
        if event.any():
            options = {"ties": ties, "reduction": "sum"}
            value, gradient = value_and_gradient(cox, eta, event, **columns, **options)
            total = total + value
        gradients.append(gradient if event.any() else torch.zeros_like(eta))
    ours = loss_and_gradient(cohort, ties=ties)
    assert_same(ours, (total, torch.stack(gradients, 1)))
    weight = torch.ones(len(cohort)) if cohort.weight is None else cohort.weight
    mean = loss_and_gradient(cohort, ties=ties, reduction="mean")
    assert_close(mean[0] * weight[cohort.status > 0].sum(), total)


@either_ties
@either_hazard
@given_on_each_route(cohort=risk_cohorts(n_causes=1, entry=None))
def test_one_cause_is_the_cox_loss_to_the_bit(hazard, ties, cohort):
    columns = {name: x for name, x in cohort.target.items() if name != "status"}
    for reduction in ("none", "sum", "mean"):
        options = {"ties": ties, "reduction": reduction}
        eta, event = cohort.log_hazard_ratio, cohort.status > 0
        expected = cox(eta, event, **columns, **options)
        for shape in (eta, eta[:, 0]):
            assert torch.equal(
                competing(shape, **cohort.target, hazard=hazard, **options), expected
            )


@either_ties
@given_on_each_route(cohort=risk_cohorts(n_causes=2))
def test_without_censoring_rows_with_another_event_stay_for_ever(ties, cohort):
    """Then all weights are 1: a Cox model in which they are censored after all."""
    cohort = cohort.rows(cohort.status > 0)
    columns = {"stratum": cohort.stratum, "weight": cohort.weight}
    total, gradients = torch.zeros(()).double(), []
    for k in (1, 2):
        event, eta = cohort.status == k, cohort.log_hazard_ratio[:, k - 1]
        gradients.append(torch.zeros_like(eta))
        if event.any():
            time = torch.where(event, cohort.time, 100.0)
            options = {"ties": ties, "reduction": "sum"}
            value, gradients[-1] = value_and_gradient(cox, eta, event, time, **columns, **options)
            total = total + value
    ours = loss_and_gradient(cohort, hazard="subdistribution", ties=ties)
    assert_same(ours, (total, torch.stack(gradients, 1)))


@either_hazard
@given_on_each_route(cohort=risk_cohorts())
def test_names_of_causes_do_not_matter(hazard, cohort):
    order = torch.arange(cohort.n_causes).flip(0)
    status = torch.where(cohort.status > 0, cohort.n_causes + 1 - cohort.status, 0)
    swapped = cohort.but(status=status, log_hazard_ratio=cohort.log_hazard_ratio[:, order])
    there = loss_and_gradient(swapped, hazard=hazard)
    assert_same(loss_and_gradient(cohort, hazard=hazard), there, columns=order)


@either_hazard
@given_on_each_route(cohort=risk_cohorts(entry=None))
def test_a_cause_without_events_adds_nothing(hazard, cohort):
    if hazard == "subdistribution":
        cohort = cohort.but(entry=None)
    more = torch.cat([cohort.log_hazard_ratio, torch.ones(len(cohort), 1).double()], 1)
    value, gradient = loss_and_gradient(cohort.but(log_hazard_ratio=more), hazard=hazard)
    assert_same(loss_and_gradient(cohort, hazard=hazard), (value, gradient[:, :-1]))
    assert (gradient[:, -1] == 0).all()


@either_hazard
@given_on_each_route(cohort=risk_cohorts(entry=None))
def test_derivatives_of_a_cause_add_up_to_0(hazard, cohort):
    if hazard == "subdistribution":
        cohort = cohort.but(entry=None)
    _, gradient = loss_and_gradient(cohort, hazard=hazard)
    assert_close(gradient.sum(0), torch.zeros(cohort.n_causes).double())


@either_hazard
@given_on_each_route(cohort=risk_cohorts())
def test_entry_before_all_times_is_no_entry(hazard, cohort):
    for at in (0.0, -math.inf):
        early = cohort.but(entry=torch.full((len(cohort),), at).double())
        there = loss_and_gradient(early, hazard=hazard)
        assert_same(loss_and_gradient(cohort, hazard=hazard), there)


@either_hazard
@given_on_each_route(cohort=risk_cohorts(stratum=True))
def test_the_stratified_loss_is_the_sum_over_strata(hazard, cohort):
    total, gradient = loss_and_gradient(cohort, hazard=hazard)
    parts = torch.zeros(()).double()
    for code in cohort.stratum.unique():
        rows = cohort.stratum == code
        if not cohort.status[rows].any():
            assert (gradient[rows] == 0).all()
            continue
        part, slope = loss_and_gradient(cohort.rows(rows).but(stratum=None), hazard=hazard)
        parts = parts + part
        assert_close(gradient[rows], slope)
    assert_close(total, parts)


@either_hazard
@given_on_each_route(cohort=risk_cohorts())
def test_the_losses_of_rows_add_up(hazard, cohort):
    each = competing(cohort.log_hazard_ratio, **cohort.target, hazard=hazard, reduction="none")
    assert_close(each.sum(), loss_and_gradient(cohort, hazard=hazard)[0])
    assert (each[cohort.status == 0] == 0).all()


@either_ties
@either_hazard
@given_on_each_route(cohort=risk_cohorts(spread=2.0))
def test_the_gradient_is_that_of_differences(hazard, ties, cohort):
    options = {"hazard": hazard, "ties": ties}
    _, gradient = loss_and_gradient(cohort, **options)
    direction = torch.linspace(-1, 1, gradient.numel()).double().reshape(gradient.shape)
    step = 1e-4
    ends = [
        loss_and_gradient(
            cohort.but(log_hazard_ratio=cohort.log_hazard_ratio + sign * step * direction),
            **options,
        )[0]
        for sign in (1, -1)
    ]
    slope = (ends[0] - ends[1]) / (2 * step)
    # Off by the third derivative times step² / 6.
    assert_close(slope, (gradient * direction).sum(), 1e-6)


@either_hazard
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@given_on_each_route(cohort=risk_cohorts())
def test_shorter_types_lose_no_more_than_their_rounding(dtype, hazard, cohort):
    short = cohort.but(log_hazard_ratio=cohort.log_hazard_ratio.to(dtype))
    value, gradient = loss_and_gradient(short, hazard=hazard)
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    wide = cohort.but(log_hazard_ratio=short.log_hazard_ratio.double())
    expected = loss_and_gradient(wide, hazard=hazard)
    assert_close(value, expected[0], 1e-6)
    assert_close(gradient, expected[1], torch.finfo(dtype).eps)


@either_hazard
@given_on_each_route(cohort=risk_cohorts(), row=st.integers(0, 11))
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_gives_nan(bad, hazard, cohort, row):
    eta = cohort.log_hazard_ratio.clone()
    eta[row % len(cohort), row % cohort.n_causes] = bad
    for reduction in ("sum", "mean"):
        value = competing(eta, **cohort.target, hazard=hazard, reduction=reduction)
        assert value.isnan()


@given_on_each_route(cohort=risk_cohorts(n_causes=2))
def test_weights_of_rows_after_their_event_fall(cohort):
    rows = fine_gray_weights(**cohort.target)
    same = rows.row[1:] == rows.row[:-1]
    assert (rows.weight[1:][same] <= rows.weight[:-1][same]).all()
    assert (rows.start[1:][same] >= rows.stop[:-1][same]).all()
    assert (rows.start < rows.stop).all()


@either_hazard
@pytest.mark.parametrize("with_", [(), ("weight",), ("stratum",), ("entry",)])
def test_risk_sets_are_the_columns(hazard, with_):
    cohort = random_risks(3, with_=with_)
    sets = CompetingRiskSets(**cohort.target, hazard=hazard)
    for reduction in ("sum", "none"):
        expected = competing(
            cohort.log_hazard_ratio, **cohort.target, hazard=hazard, reduction=reduction
        )
        found = competing(cohort.log_hazard_ratio, risk_sets=sets, reduction=reduction)
        assert torch.equal(found, expected)
    assert sets.n_events.tolist() == [
        int(((cohort.status == k) & (True if cohort.weight is None else cohort.weight > 0)).sum())
        for k in (1, 2)
    ]


@either_hazard
def test_copies_and_pickles_of_risk_sets_are_the_same(hazard):
    cohort = random_risks(3, with_=("weight",))
    sets = CompetingRiskSets(**cohort.target, hazard=hazard)
    eta = cohort.log_hazard_ratio
    for _ in range(2):  # before their first use, and after it
        for other in (copy.deepcopy(sets), pickle.loads(pickle.dumps(sets))):
            assert repr(other) == repr(sets)
            assert torch.equal(competing(eta, risk_sets=other), competing(eta, risk_sets=sets))
            assert torch.equal(other.columns["status"], sets.columns["status"])


def test_columns_that_are_changed_afterwards_change_no_risk_sets():
    cohort = random_risks(3)
    sets = CompetingRiskSets(**cohort.target)
    before = competing(cohort.log_hazard_ratio, **cohort.target)
    cohort.status.zero_()
    cohort.time.zero_()
    assert torch.equal(competing(cohort.log_hazard_ratio, risk_sets=sets), before)


@pytest.mark.parametrize("stratum", [None, torch.zeros(30, dtype=torch.int64)])
def test_weights_of_any_size_leave_the_censoring_right(stratum):
    """A weight beside which all others vanish; a factor on all weights changes nothing."""
    cohort = random_risks(4, with_=("weight",)).but(stratum=stratum)
    weight = cohort.weight.clamp(min=1e-3)
    _, expected = loss_and_gradient(cohort.but(weight=weight), hazard="subdistribution")
    for factor in (1e-290, 1e290):
        scaled = cohort.but(weight=factor * weight)
        _, found = loss_and_gradient(scaled, hazard="subdistribution")
        assert_close(found / factor, expected)
    first = cohort.time[cohort.status == 0].min()
    weight[cohort.time > first] *= 1e-100
    weight[(cohort.status == 0) & (cohort.time == first)] = 1e299
    extreme = cohort.but(weight=weight)
    at = extreme.log_hazard_ratio.clone().requires_grad_()
    expected = twins.loss(at, **extreme.target, hazard="subdistribution", reduction="sum")
    expected.backward()
    found = loss_and_gradient(extreme, hazard="subdistribution")
    assert_same(found, (expected.detach(), at.grad))


def test_a_heavy_row_that_enters_late_leaves_light_ones_beside_it():
    """The probability to have entered jumps by exp(687) at 2; from 4 on light rows are left."""
    columns = {
        "status": torch.tensor([0, 1, 2, 1]),
        "time": torch.tensor([6.0, 3.0, 4.0, 5.0]).double(),
        "entry": torch.tensor([0.0, 2.0, 0.0, 0.0]).double(),
        "weight": torch.tensor([1.0, 1e299, 1.0, 1.0], dtype=torch.float64),
    }
    eta = torch.tensor([[0.5, 0.0], [1.0, 0.0], [-0.3, 0.0], [0.2, 0.0]]).double()
    options = {"hazard": "subdistribution", "reduction": "none"}
    found = competing(eta, **columns, **options)
    expected = twins.loss(eta, **columns, **options)
    for row in range(4):  # of very different sizes
        assert_close(found[row], expected[row], 1e-12 * max(1.0, columns["weight"][row].item()))
