"""The Cox loss, its gradient and the Breslow baseline equal the brute-force twin."""

import pytest
import torch

from sksurvtorch.exceptions import NoEventError
from sksurvtorch.functional import RiskSets, breslow_baseline
from sksurvtorch.functional import cox_neg_partial_log_likelihood as cox
from tests import twins
from tests.cohorts import Cohort, assert_close, random_cohort, value_and_gradient
from tests.routes import ROUTES, on_route

on_each_route = pytest.mark.usefixtures("route")

COLUMNS = [
    (),
    ("entry",),
    ("start_stop",),
    ("stratum",),
    ("weight",),
    ("entry", "weight"),
    ("entry", "stratum", "weight"),
    ("start_stop", "stratum", "weight"),
]
REDUCTIONS = ("none", "sum", "mean")
either_ties = pytest.mark.parametrize("ties", ["efron", "breslow"])
every_column = pytest.mark.parametrize("with_", COLUMNS, ids=lambda with_: "+".join(with_) or "-")


def assert_twin(cohort, *, ties, reductions=("mean",), tolerance=1e-12):
    """Value and gradient are the twin's, by either route, at float64 if the twin's input is."""
    at = cohort.log_hazard_ratio.detach().double().requires_grad_()
    losses = twins.cox_losses(at, **cohort.target, ties=ties)
    for reduction in reductions:
        cotangent = None
        if reduction == "none":
            cotangent = torch.linspace(-1.0, 2.0, len(cohort), dtype=torch.float64)
        expected = twins.reduced(losses, cohort.event, cohort.weight, reduction)
        (gradient,) = torch.autograd.grad(expected, at, cotangent, retain_graph=True)
        options = {"ties": ties, "reduction": reduction}
        if cotangent is not None:
            options["cotangent"] = cotangent.to(cohort.log_hazard_ratio.dtype)
        assert_on_each_route(cohort, expected.detach(), gradient, tolerance, options)


def assert_exact(cohort, tolerance=1e-12, **options):
    """Sum and its gradient are those of the twin with 60 digits, by either route."""
    expected = twins.cox_in_60_digits(cohort.log_hazard_ratio, **cohort.target, **options)
    assert_on_each_route(cohort, *expected, tolerance, {**options, "reduction": "sum"})


def assert_on_each_route(cohort, value, gradient, tolerance, options):
    """The twins are slow, so they are asked once for both routes."""
    for route in ROUTES:
        with on_route(route):
            ours = value_and_gradient(cox, cohort.log_hazard_ratio, **cohort.target, **options)
        assert_close(ours[0], value, tolerance)
        assert_close(ours[1], gradient, tolerance)


@either_ties
@every_column
def test_loss_and_gradient_equal_the_twin(with_, ties):
    for seed in range(6):
        assert_twin(random_cohort(seed, with_=with_), ties=ties, reductions=REDUCTIONS)


@either_ties
@pytest.mark.parametrize("n_times", [1, 2, 10**6])
def test_loss_and_gradient_equal_the_twin_for_any_share_of_ties(n_times, ties):
    for seed in range(4):
        for with_ in ((), ("entry", "stratum", "weight")):
            cohort = random_cohort(seed, n=23, with_=with_, n_times=n_times)
            assert_twin(cohort, ties=ties)


@either_ties
@pytest.mark.parametrize("n", [63, 64, 65, 257])
def test_loss_and_gradient_equal_the_twin_for_more_rows(n, ties):
    assert_twin(random_cohort(n, n=n, with_=("entry", "stratum"), n_times=40), ties=ties)
    assert_twin(random_cohort(n, n=n, with_=("entry",), n_times=1000), ties=ties)


@on_each_route
@either_ties
def test_a_single_event_alone_at_risk_costs_nothing(ties):
    cohort = Cohort(*(torch.tensor([x]) for x in (3.5, True, 2.0)))
    value, gradient = value_and_gradient(cox, cohort.log_hazard_ratio, **cohort.target, ties=ties)
    assert value.item() == 0.0
    assert gradient.item() == 0.0


@on_each_route
@either_ties
def test_entry_at_the_time_of_an_event_is_too_late_for_it(ties):
    """Event at 1 with A and B at risk; C enters then, D just before."""
    cohort = Cohort(
        torch.zeros(4).double(),
        torch.tensor([True, False, False, False]),
        torch.tensor([1.0, 1.0, 2.0, 2.0]),
        entry=torch.tensor([0.0, 0.0, 1.0, 0.5]),
    )
    loss = cox(cohort.log_hazard_ratio, **cohort.target, ties=ties)
    assert_close(loss, torch.tensor(3.0).double().log(), 1e-15)


@on_each_route
@either_ties
def test_rows_of_weight_zero_are_removed(ties):
    cohort = random_cohort(3, n=40, with_=("entry", "stratum", "weight"))
    kept = cohort.rows(cohort.weight > 0)
    assert len(kept) < len(cohort)
    assert (cohort.event & (cohort.weight == 0)).any()
    for reduction in ("mean", "sum"):
        ours = cox(cohort.log_hazard_ratio, **cohort.target, ties=ties, reduction=reduction)
        expected = cox(kept.log_hazard_ratio, **kept.target, ties=ties, reduction=reduction)
        assert_close(ours, expected)


@either_ties
@every_column
def test_loss_and_gradient_are_exact_up_to_a_thousand(with_, ties):
    for seed in range(3):
        cohort = random_cohort(seed, n=16, with_=with_, n_times=5)
        wide = torch.linspace(-1000.0, 1000.0, len(cohort), dtype=torch.float64)
        shuffled = wide[torch.randperm(len(wide), generator=torch.Generator().manual_seed(seed))]
        assert_exact(cohort.but(log_hazard_ratio=shuffled), ties=ties)
        # Weights of either sign on the losses, for either way to sum exponentials.
        for scale in (1.0, 0.4):
            scaled = cohort.but(log_hazard_ratio=scale * shuffled)
            assert_twin(scaled, ties=ties, reductions=["none"])


@either_ties
@pytest.mark.parametrize("high", [30.0, 300.0, 1000.0])
@pytest.mark.parametrize("leaves", [True, False])
def test_small_risks_are_not_lost_beside_a_high_one_that_comes_or_goes(leaves, high, ties):
    """A running sum that the high row has passed through has no digit left for the others."""
    n = 9
    time = torch.arange(1.0, n + 1).double()
    entry = torch.zeros(n).double()
    log_hazard_ratio = torch.linspace(-1.0, 1.0, n).double()
    log_hazard_ratio[4] = high
    if leaves:
        time[4] = 2.0
    else:
        entry[4] = 4.0
    cohort = Cohort(log_hazard_ratio, torch.ones(n).bool(), time, entry)
    assert_exact(cohort, ties=ties)
    assert_exact(cohort.but(log_hazard_ratio=-log_hazard_ratio), ties=ties)


@either_ties
@pytest.mark.parametrize("entry", [False, True])
def test_tied_events_beyond_all_others_leave_the_efron_denominators_right(entry, ties):
    """All of S but a trace is E, and the other way round."""
    event = torch.tensor([True] * 5 + [False] * 3)
    time = torch.tensor([2.0] * 5 + [2.0, 3.0, 3.0]).double()
    late = torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1]).double() if entry else None
    for high in (-1000.0, -50.0, 50.0, 1000.0):
        assert_exact(Cohort(event.double() * high, event, time, late), ties=ties)


@either_ties
def test_weights_of_any_magnitude_are_exact(ties):
    cohort = random_cohort(5, n=16, with_=("entry", "weight"), n_times=4)
    weight = 10.0 ** torch.linspace(-9, 9, 16).double()
    # Beside an event of weight 1e9 the gradient is a difference of numbers of that size; the
    # largest one, to which the bound is relative, is of that size too.
    assert_exact(cohort.but(weight=weight), ties=ties)


@either_ties
@every_column
def test_float32_with_a_spread_of_three_hundred_is_finite_and_right(with_, ties):
    for seed in range(3):
        cohort = random_cohort(seed, with_=with_)
        wide = torch.linspace(-300.0, 300.0, len(cohort))
        shuffled = wide[torch.randperm(len(wide), generator=torch.Generator().manual_seed(seed))]
        # float32 carries seven digits.
        assert_twin(cohort.but(log_hazard_ratio=shuffled), ties=ties, tolerance=1e-6)


@either_ties
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_as_right_as_its_digits_allow(dtype, ties):
    for seed in range(3):
        cohort = random_cohort(seed, with_=("entry", "stratum"), spread=5.0)
        half = cohort.but(log_hazard_ratio=cohort.log_hazard_ratio.to(dtype))
        # One rounding of the result and one of the gradient.
        assert_twin(half, ties=ties, tolerance=torch.finfo(dtype).eps)


@on_each_route
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loss_has_the_type_of_the_log_hazard_ratio(dtype):
    cohort = random_cohort(0, with_=("entry", "stratum", "weight"))
    log_hazard_ratio = cohort.log_hazard_ratio.to(dtype)
    for reduction in ("none", "sum", "mean"):
        value, gradient = value_and_gradient(
            cox,
            log_hazard_ratio,
            **cohort.target,
            reduction=reduction,
            cotangent=torch.ones(len(cohort), dtype=dtype) if reduction == "none" else None,
        )
        assert value.dtype == gradient.dtype == dtype
        assert value.shape == (log_hazard_ratio.shape if reduction == "none" else ())


@on_each_route
@either_ties
@pytest.mark.parametrize("with_", [(), ("entry", "stratum", "weight")], ids=["-", "all"])
@pytest.mark.parametrize("shift", [-1000.0, 1000.0])
def test_a_shift_changes_neither_loss_nor_gradient(shift, with_, ties):
    cohort = random_cohort(1, with_=with_)
    # On a grid of 2^-20 the shift rounds nothing.
    grid = (cohort.log_hazard_ratio * 2**20).round() / 2**20
    here, there = (
        value_and_gradient(cox, grid + move, **cohort.target, ties=ties) for move in (0.0, shift)
    )
    assert_close(there[0], here[0])
    assert_close(there[1], here[1])


@either_ties
@pytest.mark.parametrize(
    ("start", "dtype"),
    [
        (1_700_000_000, torch.float64),
        (1_700_000_000, torch.int64),
        (1_700_000_000, torch.int32),
        # Nanoseconds, beyond the whole numbers of float64.
        (1_700_000_000_000_000_000, torch.int64),
    ],
    ids=["float64", "int64", "int32", "int64-ns"],
)
@pytest.mark.parametrize("with_", [(), ("entry", "stratum")], ids=["-", "entry"])
def test_times_that_differ_in_digits_float32_lacks_are_not_ties(with_, start, dtype, ties):
    for seed in range(3):
        cohort = random_cohort(seed, with_=with_, n_times=12)
        moved = cohort.but(
            time=cohort.time.to(dtype) + start,
            entry=None if cohort.entry is None else cohort.entry.to(dtype) + start,
        )
        assert len(moved.time.float().unique()) == 1
        assert_twin(moved, ties=ties)
        for route in ROUTES:
            with on_route(route):
                assert_close(
                    cox(moved.log_hazard_ratio, **moved.target, ties=ties),
                    cox(cohort.log_hazard_ratio, **cohort.target, ties=ties),
                )


@either_ties
def test_negative_and_zero_times_are_times(ties):
    cohort = random_cohort(4, with_=("entry",))
    moved = cohort.but(time=cohort.time - 3, entry=cohort.entry - 3)
    assert_twin(moved, ties=ties)


@on_each_route
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_a_column_is_as_good_as_a_vector(shape):
    cohort = random_cohort(2, with_=("weight",))
    flat = value_and_gradient(cox, cohort.log_hazard_ratio, **cohort.target)
    shaped = value_and_gradient(cox, cohort.log_hazard_ratio.reshape(shape), **cohort.target)
    assert_close(shaped[0], flat[0])
    assert_close(shaped[1], flat[1].reshape(shape))
    losses = cox(cohort.log_hazard_ratio.reshape(shape), **cohort.target, reduction="none")
    assert losses.shape == (len(cohort),)


@on_each_route
@either_ties
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@every_column
def test_risk_sets_made_beforehand_change_nothing(with_, reduction, ties):
    cohort = random_cohort(0, with_=with_)
    cotangent = torch.arange(len(cohort)).double() if reduction == "none" else None
    risk_sets = RiskSets(**cohort.target, ties=ties)
    direct, made, again = (
        value_and_gradient(
            cox, cohort.log_hazard_ratio, reduction=reduction, cotangent=cotangent, **target
        )
        for target in (
            {**cohort.target, "ties": ties},
            {"risk_sets": risk_sets},
            {"risk_sets": risk_sets},
        )
    )
    for ours, expected in zip((*made, *again), (*direct, *direct), strict=True):
        assert_close(ours, expected, 1e-15)


@on_each_route
@either_ties
@every_column
def test_taken_risk_sets_are_those_of_the_rows_taken(with_, ties):
    cohort = random_cohort(6, with_=with_)
    risk_sets = RiskSets(**cohort.target, ties=ties)
    counted = cohort.event if cohort.weight is None else cohort.event & (cohort.weight > 0)
    an_event = torch.nonzero(counted).flatten()[:1]
    generator = torch.Generator().manual_seed(0)
    for size in (len(cohort), len(cohort) // 2, 7):
        others = torch.randperm(len(cohort), generator=generator)
        index = torch.cat([others[others != an_event][: size - 1], an_event])
        part = cohort.rows(index)
        cotangent = torch.linspace(1.0, 2.0, size).double()
        ours, again, expected = (
            value_and_gradient(
                cox, part.log_hazard_ratio, reduction="none", cotangent=cotangent, **target
            )
            for target in (
                {"risk_sets": risk_sets.take(index)},
                {"risk_sets": risk_sets.take(index.flip(0)).take(torch.arange(size).flip(0))},
                {**part.target, "ties": ties},
            )
        )
        for taken in (ours, again):
            assert_close(taken[0], expected[0])
            assert_close(taken[1], expected[1])
        mean = cox(part.log_hazard_ratio, risk_sets=risk_sets.take(index))
        assert_close(mean, twins.cox(part.log_hazard_ratio, **part.target, ties=ties))


@on_each_route
def test_risk_sets_taken_without_an_event_are_refused():
    cohort = random_cohort(0)
    censored = torch.nonzero(~cohort.event).flatten()
    risk_sets = RiskSets(**cohort.target)
    with pytest.raises(NoEventError):
        cox(cohort.log_hazard_ratio[censored], risk_sets=risk_sets.take(censored))


@pytest.mark.parametrize("route", ["direct", "risk_sets"])
@pytest.mark.parametrize("spread", [1.0, 300.0])
@every_column
def test_breslow_baseline_equals_the_twin(with_, spread, route):
    for seed in range(3):
        cohort = random_cohort(seed, with_=with_, spread=spread)
        expected = twins.breslow_baseline(cohort.log_hazard_ratio, **cohort.target)
        for ties in ("efron", "breslow"):
            target = (
                {"risk_sets": RiskSets(**cohort.target, ties=ties)}
                if route == "risk_sets"
                else cohort.target
            )
            baseline = breslow_baseline(cohort.log_hazard_ratio, **target)
            codes, times, values = zip(*expected, strict=True)
            assert baseline.times.tolist() == list(times)
            if "stratum" in with_:
                assert baseline.stratum.tolist() == list(codes)
            else:
                assert baseline.stratum is None
            assert_close(baseline.log_cumulative_hazard, torch.tensor(values, dtype=torch.float64))
