"""What is true of the Cox partial likelihood whatever the data."""

import math

import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st

from sksurvtorch.exceptions import NoEventError
from sksurvtorch.functional import RiskSets, breslow_baseline
from sksurvtorch.functional import cox_neg_partial_log_likelihood as cox
from sksurvtorch.losses import CoxPHLoss
from tests.cohorts import Cohort, assert_close, cohorts, random_cohort, value_and_gradient
from tests.routes import given_on_each_route

on_each_route = pytest.mark.usefixtures("route")
either_ties = pytest.mark.parametrize("ties", ["efron", "breslow"])


def loss(cohort, **options):
    return cox(cohort.log_hazard_ratio, **cohort.target, **options)


def loss_and_gradient(cohort, **options):
    """The summed loss and its gradient."""
    return value_and_gradient(
        cox, cohort.log_hazard_ratio, **cohort.target, reduction="sum", **options
    )


def assert_same(one, other, *, rows=None, tolerance=1e-12):
    """Losses are equal, and gradients, the second perhaps of other rows."""
    assert_close(one[0], other[0], tolerance)
    assert_close(one[1] if rows is None else one[1][rows], other[1], tolerance)


def twice(cohort):
    return cohort.rows(torch.arange(len(cohort)).repeat(2))


@either_ties
@given_on_each_route(cohort=cohorts(), random=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(ties, cohort, random):
    order = torch.tensor(random.sample(range(len(cohort)), len(cohort)))
    there = loss_and_gradient(cohort.rows(order), ties=ties)
    assert_same(loss_and_gradient(cohort, ties=ties), there, rows=order)
    losses = loss(cohort, ties=ties, reduction="none")
    assert_close(loss(cohort.rows(order), ties=ties, reduction="none"), losses[order])


@either_ties
@given_on_each_route(cohort=cohorts(), shift=st.integers(-1000, 1000))
def test_a_constant_added_to_the_log_hazard_ratio_does_not_matter(ties, cohort, shift):
    moved = cohort.but(log_hazard_ratio=cohort.log_hazard_ratio + shift)
    assert_same(loss_and_gradient(cohort, ties=ties), loss_and_gradient(moved, ties=ties))


@either_ties
@given_on_each_route(cohort=cohorts())
@pytest.mark.parametrize(
    "increasing",
    [torch.exp, lambda t: t**3, lambda t: 1e-9 * t, lambda t: t - 1e6, lambda t: -torch.exp(-t)],
    ids=["exp", "cube", "tiny", "negative", "bounded"],
)
def test_any_increasing_map_of_time_changes_nothing(ties, increasing, cohort):
    mapped = cohort.but(
        time=increasing(cohort.time),
        entry=None if cohort.entry is None else increasing(cohort.entry),
    )
    assert_same(loss_and_gradient(cohort, ties=ties), loss_and_gradient(mapped, ties=ties))


@given_on_each_route(cohort=cohorts(ties=False))
def test_breslow_is_efron_without_ties(cohort):
    assert_same(loss_and_gradient(cohort, ties="efron"), loss_and_gradient(cohort, ties="breslow"))


@given_on_each_route(cohort=cohorts(stratum=False))
def test_efron_is_less_than_breslow_where_events_tie(cohort):
    assume(len(cohort.time[cohort.event].unique()) < cohort.event.sum())
    assert loss(cohort, ties="efron") < loss(cohort, ties="breslow")


@either_ties
@given_on_each_route(cohort=cohorts(entry=False))
def test_entry_before_all_times_is_no_entry(ties, cohort):
    early = cohort.but(entry=torch.zeros(len(cohort)).double())
    assert_same(loss_and_gradient(cohort, ties=ties), loss_and_gradient(early, ties=ties))


@either_ties
@given_on_each_route(cohort=cohorts(stratum=True))
def test_the_stratified_loss_is_the_sum_over_strata(ties, cohort):
    total, gradient = loss_and_gradient(cohort, ties=ties)
    parts = torch.zeros(()).double()
    for code in cohort.stratum.unique():
        rows = cohort.stratum == code
        if not cohort.event[rows].any():
            assert_close(gradient[rows], torch.zeros(int(rows.sum())).double())
            continue
        part, slope = loss_and_gradient(cohort.rows(rows).but(stratum=None), ties=ties)
        parts = parts + part
        assert_close(gradient[rows], slope)
    assert_close(total, parts)


@either_ties
@given_on_each_route(cohort=cohorts(stratum=True))
def test_names_of_strata_do_not_matter(ties, cohort):
    renamed = cohort.but(stratum=1_000_000 - 17 * cohort.stratum)
    assert_same(loss_and_gradient(cohort, ties=ties), loss_and_gradient(renamed, ties=ties))


@either_ties
@given_on_each_route(cohort=cohorts(stratum=False), value=st.integers(-50, 50))
def test_a_row_censored_before_the_first_event_does_not_matter(ties, cohort, value):
    first = cohort.time[cohort.event].min().item()
    more = cohort.with_row(float(value), False, first - 0.5, entry=first - 1.0, weight=2.0)
    there = loss_and_gradient(more, ties=ties)
    assert_same(there, loss_and_gradient(cohort, ties=ties), rows=slice(-1))
    assert there[1][-1] == 0.0


@either_ties
@given_on_each_route(cohort=cohorts(entry=True, stratum=False), value=st.integers(-50, 50))
def test_a_row_that_enters_at_the_last_event_does_not_matter(ties, cohort, value):
    last = cohort.time[cohort.event].max().item()
    more = cohort.with_row(float(value), False, last + 2.0, entry=last, weight=2.0)
    there = loss_and_gradient(more, ties=ties)
    assert_same(there, loss_and_gradient(cohort, ties=ties), rows=slice(-1))
    assert there[1][-1] == 0.0


@either_ties
@given_on_each_route(cohort=cohorts(stratum=False), value=st.integers(-5, 5))
def test_a_row_censored_at_the_last_event_is_at_risk_there(ties, cohort, value):
    last = cohort.time[cohort.event].max().item()
    more = cohort.with_row(float(value), False, last, entry=last - 1.0, weight=2.0)
    here, there = loss_and_gradient(cohort, ties=ties), loss_and_gradient(more, ties=ties)
    assert there[0] > here[0]
    assert there[1][-1] > 0.0


@either_ties
@given_on_each_route(cohort=cohorts())
def test_the_gradient_sums_to_zero(ties, cohort):
    for reduction in ("sum", "mean"):
        _, gradient = value_and_gradient(
            cox, cohort.log_hazard_ratio, **cohort.target, ties=ties, reduction=reduction
        )
        assert_close(gradient.sum(), torch.zeros(()).double())


@either_ties
@given_on_each_route(cohort=cohorts(spread=50.0))
def test_the_gradient_of_a_censored_row_is_not_negative(ties, cohort):
    """More risk without an event never makes the data more likely."""
    _, gradient = loss_and_gradient(cohort, ties=ties)
    assert (gradient[~cohort.event] >= 0.0).all()


@given_on_each_route(cohort=cohorts(weight=False))
def test_weights_of_two_are_rows_taken_twice_under_breslow(cohort):
    weighted = cohort.but(weight=torch.full((len(cohort),), 2.0).double())
    here = loss_and_gradient(weighted, ties="breslow")
    there = loss_and_gradient(twice(cohort), ties="breslow")
    assert_close(here[0], there[0])
    assert_close(here[1], there[1].reshape(2, -1).sum(0))
    assert_close(loss(weighted, ties="breslow"), loss(twice(cohort), ties="breslow"))


@on_each_route
def test_weights_of_two_are_not_rows_taken_twice_under_efron():
    cohort = random_cohort(0)
    weighted = cohort.but(weight=torch.full((len(cohort),), 2.0).double())
    assert abs(loss(weighted) - loss(twice(cohort))) > 1e-3


@either_ties
@given_on_each_route(cohort=cohorts(), factor=st.sampled_from([1e-6, 0.5, 7.0, 1e6]))
def test_weights_matter_in_proportion(ties, cohort, factor):
    """All weights times c: the sum is c times as large, plus c log c for every event weight."""
    weight = torch.ones(len(cohort)).double() if cohort.weight is None else cohort.weight
    here = cohort.but(weight=weight)
    there = cohort.but(weight=factor * weight)
    events = weight[cohort.event].sum()
    mean = loss(here, ties=ties) + math.log(factor)
    assert_close(loss(there, ties=ties), mean)
    assert_close(loss(there, ties=ties, reduction="sum") / factor, mean * events)


@either_ties
@given_on_each_route(cohort=cohorts(weight=False))
def test_weights_of_one_are_no_weights(ties, cohort):
    weighted = cohort.but(weight=torch.ones(len(cohort)).double())
    assert_same(loss_and_gradient(cohort, ties=ties), loss_and_gradient(weighted, ties=ties))


@either_ties
@given_on_each_route(cohort=cohorts())
def test_the_reductions_agree(ties, cohort):
    """'mean' divides by the weight of the events, neither by samples nor by distinct times."""
    losses = loss(cohort, ties=ties, reduction="none")
    total = loss(cohort, ties=ties, reduction="sum")
    weight = torch.ones(len(cohort)) if cohort.weight is None else cohort.weight
    assert losses.shape == (len(cohort),)
    assert (losses[~cohort.event] == 0).all()
    assert_close(losses.sum(), total)
    assert_close(loss(cohort, ties=ties), total / weight[cohort.event].sum())


@either_ties
@given_on_each_route(cohort=cohorts(entry=False))
def test_a_row_cut_in_two_counting_process_rows_is_the_row(ties, cohort):
    """(0, t] is (0, t/2] censored and (t/2, t]; the gradients of the parts add up."""
    half = cohort.time / 2
    first = cohort.but(
        event=torch.zeros_like(cohort.event), time=half, entry=torch.zeros_like(half)
    )
    second = cohort.but(entry=half)
    both = Cohort(
        torch.cat([first.log_hazard_ratio, second.log_hazard_ratio]),
        **{
            name: None if a is None else torch.cat([a, b])
            for (name, a), b in zip(first.target.items(), second.target.values(), strict=True)
        },
    )
    here, there = loss_and_gradient(cohort, ties=ties), loss_and_gradient(both, ties=ties)
    assert_close(there[0], here[0])
    assert_close(there[1].reshape(2, -1).sum(0), here[1])


@either_ties
@given_on_each_route(cohort=cohorts(), other=st.lists(st.integers(-5, 5), min_size=12, max_size=12))
def test_the_loss_is_convex(ties, cohort, other):
    there = cohort.but(log_hazard_ratio=torch.tensor(other[: len(cohort)]).double())
    middle = cohort.but(log_hazard_ratio=(cohort.log_hazard_ratio + there.log_hazard_ratio) / 2)
    ends = [loss(c, ties=ties, reduction="sum") for c in (cohort, there)]
    assert loss(middle, ties=ties, reduction="sum") <= sum(ends) / 2 + 1e-12


@on_each_route
@either_ties
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("with_", [(), ("entry", "stratum", "weight")], ids=["-", "all"])
def test_gradcheck(with_, reduction, ties):
    cohort = random_cohort(2, n=12, with_=with_, n_times=4)

    def function(log_hazard_ratio):
        return cox(log_hazard_ratio, **cohort.target, ties=ties, reduction=reduction)

    at = cohort.log_hazard_ratio.clone().requires_grad_()
    assert torch.autograd.gradcheck(function, (at,))


@on_each_route
@either_ties
@pytest.mark.parametrize("with_", [(), ("entry", "stratum", "weight")], ids=["-", "all"])
def test_second_derivatives_are_right_or_refused(with_, ties):
    cohort = random_cohort(2, n=12, with_=with_, n_times=4)
    at = cohort.log_hazard_ratio

    def function(log_hazard_ratio):
        return cox(log_hazard_ratio, **cohort.target, ties=ties)

    steps = 1e-5 * torch.eye(len(cohort)).double()
    expected = torch.stack(
        [
            (value_and_gradient(function, at + s)[1] - value_and_gradient(function, at - s)[1])
            / 2e-5
            for s in steps
        ]
    )
    assert expected.abs().max() > 0.01
    try:
        ours = torch.autograd.functional.hessian(function, at)
    except (RuntimeError, NotImplementedError):
        return
    # A difference quotient has half the digits.
    assert_close(ours, expected, 1e-7)


@given_on_each_route(cohort=cohorts(), shift=st.integers(-500, 500))
def test_the_baseline_takes_up_a_constant(cohort, shift):
    here = breslow_baseline(cohort.log_hazard_ratio, **cohort.target)
    there = breslow_baseline(cohort.log_hazard_ratio + shift, **cohort.target)
    assert_close(there.log_cumulative_hazard + shift, here.log_cumulative_hazard)
    assert torch.equal(there.times, here.times)


@given_on_each_route(cohort=cohorts())
def test_the_baseline_has_each_event_time_once_in_order_and_never_falls(cohort):
    baseline = breslow_baseline(cohort.log_hazard_ratio, **cohort.target)
    code = torch.zeros(len(cohort)).long() if cohort.stratum is None else cohort.stratum
    pairs = zip(code[cohort.event].tolist(), cohort.time[cohort.event].tolist(), strict=True)
    times = baseline.times
    codes = torch.zeros(len(times)).long() if baseline.stratum is None else baseline.stratum
    assert list(zip(codes.tolist(), times.tolist(), strict=True)) == sorted(set(pairs))
    rises = baseline.log_cumulative_hazard.diff() > 0
    assert (rises | (codes.diff() != 0)).all()


def baseline_between(baseline, cohort):
    """Cumulative hazard over (entry, time] of each row's own stratum."""
    hazard = []
    for row in range(len(cohort)):
        own = baseline.times <= cohort.time[row]
        if cohort.entry is not None:
            own = own & (baseline.times > cohort.entry[row])
        cumulative = baseline.log_cumulative_hazard.exp()
        if baseline.stratum is not None:
            own = own & (baseline.stratum == cohort.stratum[row])
            first = torch.cat([torch.tensor([True]), baseline.stratum.diff() != 0])
        else:
            first = torch.arange(len(cumulative)) == 0
        jump = cumulative - torch.where(first, 0.0, cumulative.roll(1))
        hazard.append(jump[own].sum())
    return torch.stack(hazard)


@given_on_each_route(cohort=cohorts())
def test_the_gradient_is_expected_minus_observed_under_breslow(cohort):
    """w_i (H_0 over (entry_i, time_i] times hazard ratio, minus event): the two functions agree."""
    baseline = breslow_baseline(cohort.log_hazard_ratio, **cohort.target)
    weight = 1.0 if cohort.weight is None else cohort.weight
    expected = baseline_between(baseline, cohort) * cohort.log_hazard_ratio.exp()
    _, gradient = loss_and_gradient(cohort, ties="breslow")
    # Jumps of the cumulative hazard are differences.
    assert_close(gradient, weight * (expected - cohort.event.double()), 1e-11)


@on_each_route
def test_without_covariates_the_baseline_is_the_nelson_aalen_estimator():
    event = torch.tensor([True, True, False, True, False])
    time = torch.tensor([1.0, 2.0, 2.0, 5.0, 9.0])
    baseline = breslow_baseline(torch.zeros(5).double(), event, time)
    expected = torch.tensor([1 / 5, 1 / 5 + 1 / 4, 1 / 5 + 1 / 4 + 1 / 2], dtype=torch.float64)
    assert_close(baseline.log_cumulative_hazard.exp(), expected, 1e-15)


@on_each_route
@either_ties
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("how", ["arguments", "mapping", "risk_sets"])
def test_the_module_is_the_function_with_its_options_bound(how, reduction, ties):
    cohort = random_cohort(1, with_=("entry", "stratum", "weight"))
    module = CoxPHLoss(ties=ties, reduction=reduction)
    if how == "arguments":
        ours = module(cohort.log_hazard_ratio, **cohort.target)
    elif how == "mapping":
        ours = module(cohort.log_hazard_ratio, cohort.target)
    else:
        ours = module(cohort.log_hazard_ratio, risk_sets=RiskSets(**cohort.target, ties=ties))
    assert_close(ours, loss(cohort, ties=ties, reduction=reduction), 1e-15)


@on_each_route
@pytest.mark.parametrize("name", ["entry", "stratum", "weight"])
def test_the_module_takes_what_the_mapping_has(name):
    cohort = random_cohort(1, with_=("entry", "stratum", "weight"))
    few = cohort.but(**{n: None for n in ("entry", "stratum", "weight") if n != name})
    given_names = {k: v for k, v in few.target.items() if v is not None}
    assert_close(CoxPHLoss()(few.log_hazard_ratio, given_names), loss(few), 1e-15)
    assert abs(loss(few) - loss(few.but(**{name: None}))) > 1e-6


@on_each_route
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ties": "exact"}, ValueError),
        ({"ties": None}, (TypeError, ValueError)),
        ({"reduction": "average"}, ValueError),
        ({"reduction": None}, (TypeError, ValueError)),
    ],
)
def test_options_are_checked_whether_the_data_need_them_or_not(options, error):
    """No ties, one row, no event: the option is wrong all the same."""
    for rows in ([True, False], [True], [False, False]):
        arguments = torch.zeros(len(rows)), torch.tensor(rows), torch.arange(1.0, len(rows) + 1)
        with pytest.raises(error) as caught:
            cox(*arguments, **options)
        assert not isinstance(caught.value, NoEventError)
    with pytest.raises(error):
        CoxPHLoss(**options)
    risk_sets = RiskSets(torch.tensor([True]), torch.ones(1))
    with pytest.raises(error):
        cox(torch.zeros(1), risk_sets=risk_sets, **options)


@on_each_route
def test_no_event_is_an_error_of_its_own():
    arguments = torch.zeros(3), torch.zeros(3).bool(), torch.ones(3)
    with pytest.raises(NoEventError):
        cox(*arguments)
    with pytest.raises(NoEventError):
        CoxPHLoss()(*arguments)
    with pytest.raises(NoEventError):
        breslow_baseline(*arguments)
    with pytest.raises(NoEventError):
        cox(
            torch.zeros(3),
            torch.tensor([True, True, False]),
            torch.ones(3),
            weight=torch.tensor([0.0, 0.0, 1.0]),
        )
    assert issubclass(NoEventError, ValueError)


@on_each_route
@pytest.mark.parametrize(
    "wrong",
    [
        {"time": torch.ones(4)},
        {"time": torch.tensor([1.0, math.nan, 2.0])},
        {"event": torch.tensor([True, False])},
        {"event": torch.tensor([0.5, 1.0, 0.0])},
        {"entry": torch.zeros(2)},
        {"entry": torch.tensor([0.0, math.nan, 0.0])},
        {"stratum": torch.zeros(2).long()},
        {"weight": torch.tensor([1.0, -1.0, 1.0])},
        {"weight": torch.tensor([1.0, math.nan, 1.0])},
        {"weight": torch.tensor([1.0, math.inf, 1.0])},
        {"weight": torch.ones(2)},
        {"log_hazard_ratio": torch.zeros(2)},
        {"log_hazard_ratio": torch.zeros(3, 2)},
        {"log_hazard_ratio": torch.zeros(3).long()},
    ],
    ids=lambda wrong: "-".join(f"{k}={v.tolist()}" for k, v in wrong.items()),
)
def test_wrong_columns_are_refused(wrong):
    columns = {
        "log_hazard_ratio": torch.zeros(3),
        "event": torch.tensor([True, True, False]),
        "time": torch.tensor([1.0, 2.0, 3.0]),
    }
    assert cox(**columns).isfinite()
    with pytest.raises((ValueError, TypeError)):
        cox(**{**columns, **wrong})


@on_each_route
@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("entry", [-torch.inf, -0.5, 0.0, 1.5])
def test_whole_times_stay_apart_beside_fractional_entries(ties, entry):
    """Nanoseconds of an epoch differ where float64 no longer tells them apart."""
    start = 1_700_000_000_000_000_000
    time, event = torch.arange(4) + start, torch.ones(4, dtype=torch.bool)
    log_hazard_ratio = torch.tensor([1.0, -1.0, 0.5, 0.0]).double()
    entries = torch.full((4,), entry).double()
    expected = cox(log_hazard_ratio, event, time, ties=ties)
    loss = cox(log_hazard_ratio, event, time, entry=entries, ties=ties)
    assert_close(loss, expected)


@on_each_route
@pytest.mark.parametrize("start", [0, 2**62])
def test_a_whole_time_is_after_the_entries_below_it(start):
    event, time = torch.ones(2, dtype=torch.bool), torch.tensor([2048, 4096]) + start
    for entry, at_risk in ((1024.0, 2), (2048.0, 1), (3072.0, 1)):
        entries = torch.tensor([0.0, entry + start], dtype=torch.float64)
        zeros = torch.zeros(2).double()
        loss = cox(zeros, event, time, entry=entries, reduction="sum")
        assert loss.exp().item() == pytest.approx(at_risk, rel=1e-12)


@on_each_route
def test_the_gradient_of_a_scaled_loss_in_half_precision_is_not_lost():
    """A loss is scaled up so that small derivatives do not underflow."""
    torch.manual_seed(0)
    half = (2 * torch.randn(3000)).half()
    event, time = torch.rand(3000) < 0.3, torch.rand(3000)
    gradients = []
    for prediction in (half, half.double()):
        prediction = prediction.clone().requires_grad_()
        loss = cox(prediction, event, time)
        (gradient,) = torch.autograd.grad(loss, prediction, torch.tensor(2.0**14).to(loss))
        gradients.append(gradient.double())
    normal = gradients[1].abs() > torch.finfo(torch.half).tiny
    assert normal.sum() > 2900
    error = (gradients[0] / gradients[1] - 1)[normal]
    assert error.abs().max() < 0.01
