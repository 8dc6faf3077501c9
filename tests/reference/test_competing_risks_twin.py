"""The loss of competing risks and its gradient equal the brute-force twin."""

import pytest
import torch

from sksurvtorch.functional import CompetingRiskSets
from sksurvtorch.functional import competing_risks_neg_log_likelihood as competing
from sksurvtorch.functional.competing_risks import sum_of_losses
from tests import competing_twins as twins
from tests.cohorts import assert_close, value_and_gradient
from tests.competing_twins import random_risks
from tests.routes import ROUTES, on_route

COLUMNS = [
    (),
    ("entry",),
    ("stratum",),
    ("weight",),
    ("entry", "weight"),
    ("stratum", "weight"),
    ("entry", "stratum", "weight"),
]
either_ties = pytest.mark.parametrize("ties", ["efron", "breslow"])
either_hazard = pytest.mark.parametrize("hazard", ["cause-specific", "subdistribution"])
every_column = pytest.mark.parametrize("with_", COLUMNS, ids=lambda with_: "+".join(with_) or "-")


def assert_twin(cohort, *, reductions=("mean",), tolerance=1e-12, **options):
    """Value and gradient are the twin's, by each route."""
    at = cohort.log_hazard_ratio.detach().double().requires_grad_()
    each = twins.losses(at, **cohort.target, **options)
    for reduction in reductions:
        cotangent = None
        if reduction == "none":
            cotangent = torch.linspace(-1.0, 2.0, len(cohort), dtype=torch.float64)
        expected = twins.reduced(each, cohort.status > 0, cohort.weight, reduction)
        (gradient,) = torch.autograd.grad(expected, at, cotangent, retain_graph=True)
        for route in ROUTES:
            with on_route(route):
                ours = value_and_gradient(
                    competing,
                    cohort.log_hazard_ratio,
                    **cohort.target,
                    **options,
                    reduction=reduction,
                    cotangent=cotangent,
                )
            assert_close(ours[0], expected.detach(), tolerance)
            assert_close(ours[1], gradient, tolerance)


@either_ties
@either_hazard
@every_column
def test_loss_and_gradient_equal_the_twin(with_, hazard, ties):
    for seed in range(4):
        cohort = random_risks(seed, with_=with_)
        assert_twin(cohort, hazard=hazard, ties=ties, reductions=("none", "sum", "mean"))


@either_ties
@either_hazard
@pytest.mark.parametrize("n_times", [1, 2, 10**6])
def test_any_share_of_ties(n_times, hazard, ties):
    for seed in range(3):
        assert_twin(random_risks(seed, n_times=n_times), hazard=hazard, ties=ties)
        cohort = random_risks(seed, n_times=n_times, with_=("stratum", "weight"))
        assert_twin(cohort, hazard=hazard, ties=ties)


@either_hazard
@pytest.mark.parametrize(
    "shares", [(0.1, 0.1, 0.8), (0.0, 0.05, 0.95), (0.6, 0.2, 0.2), (0.1, 0.3, 0.3, 0.3)]
)
def test_heavy_competing_events_and_more_causes(shares, hazard):
    for seed in range(3):
        for with_ in ((), ("weight",), ("stratum",), ("entry",)):
            cohort = random_risks(
                seed, n=40, n_causes=len(shares) - 1, shares=shares, with_=with_, n_times=12
            )
            assert_twin(cohort, hazard=hazard)


@either_hazard
@pytest.mark.parametrize("n", [63, 64, 65, 150])
def test_more_rows(n, hazard):
    assert_twin(random_risks(n, n=n, n_times=40), hazard=hazard)
    assert_twin(random_risks(n, n=n, with_=("entry", "stratum"), n_times=40), hazard=hazard)
    assert_twin(random_risks(n, n=n, with_=("entry",), n_times=1000), hazard=hazard)


@either_ties
@either_hazard
@every_column
@pytest.mark.parametrize(
    ("spread", "shift"), [(300.0, 0.0), (1000.0, 0.0), (300.0, 1000.0), (300.0, -1000.0)]
)
def test_log_hazard_ratios_of_any_size(shift, spread, with_, hazard, ties):
    for seed in range(2):
        cohort = random_risks(seed, n=18, with_=with_, n_times=5)
        eta = cohort.log_hazard_ratio
        wide = spread * eta / eta.abs().max() + shift
        options = {"hazard": hazard, "ties": ties}
        assert_twin(cohort.but(log_hazard_ratio=wide), **options, reductions=("none", "mean"))


@either_hazard
@either_ties
def test_more_than_512_rows_in_bins_are_the_general_way(hazard, ties):
    for with_ in ((), ("weight",)):
        for n_times in (50, 10**6):
            cohort = random_risks(1, n=2_000, with_=with_, n_times=n_times, n_causes=3)
            losses = []
            for route in ROUTES:
                with on_route(route):
                    losses.append(
                        value_and_gradient(
                            competing,
                            cohort.log_hazard_ratio,
                            **cohort.target,
                            hazard=hazard,
                            ties=ties,
                        )
                    )
            assert_close(losses[0][0], losses[1][0])
            assert_close(losses[0][1], losses[1][1])


@either_hazard
@either_ties
@pytest.mark.parametrize("with_", [(), ("weight",), ("stratum",), ("entry", "weight")])
def test_batches_are_their_rows_with_the_censoring_of_all(with_, ties, hazard):
    """The twin of a batch has the weights that its rows have among all rows."""
    cohort = random_risks(5, n=90, with_=with_, n_times=20)
    options = {"ties": ties, "hazard": hazard}
    whole = CompetingRiskSets(**cohort.target, **options)
    order = torch.arange(90) if whole.order is None else whole.order
    rank = torch.empty_like(order)
    rank[order] = torch.arange(90)
    shuffled = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    sizes = [30, 40, 20]
    for in_order in (True, False):
        parts = list(shuffled.split(sizes))
        if in_order:
            parts = [part[rank[part].argsort()] for part in parts]
        batches = whole.split(torch.cat(parts), sizes)
        for rows, batch in zip(parts, batches, strict=True):
            eta = cohort.log_hazard_ratio[rows]
            expected = value_and_gradient(_in_batch, eta, cohort, rows, options)
            for sets in (batch, whole.take(rows)):
                assert_close(sets.total_event_weight, _event_weight(cohort, rows))
                for route in ROUTES:
                    with on_route(route):
                        ours = value_and_gradient(competing, eta, risk_sets=sets, reduction="sum")
                    assert_close(ours[0], expected[0])
                    assert_close(ours[1], expected[1])


@either_hazard
@either_ties
@pytest.mark.parametrize("with_", [(), ("weight",), ("stratum",)])
@pytest.mark.parametrize("spread", [1.0, 800.0])
def test_losses_of_several_sets_are_added_up_in_one_call(spread, with_, ties, hazard):
    """Three sets of rows with different ties, of which one has no event of cause 2."""
    sets, etas, factors = [], [], [1.0, 0.5, 3.0]
    for seed, n_times in enumerate((3, 10, 10**6)):
        cohort = random_risks(seed, n=25, with_=with_, n_times=n_times, spread=spread)
        if seed == 1:
            cohort = cohort.but(status=cohort.status.clamp(max=1))
        options = {"ties": ties, "hazard": hazard, "n_causes": 2}
        sets.append(CompetingRiskSets(**cohort.target, **options))
        etas.append(cohort.log_hazard_ratio)
    pairs = zip(etas, sets, strict=True)
    each = [value_and_gradient(competing, eta, risk_sets=own) for eta, own in pairs]
    expected = sum(factor * loss for factor, (loss, _) in zip(factors, each, strict=True))
    gradient = torch.stack([f * slope for f, (_, slope) in zip(factors, each, strict=True)])
    ours = value_and_gradient(sum_of_losses, torch.stack(etas), sets, factors)
    assert_close(ours[0], expected)
    assert_close(ours[1], gradient)


def _event_weight(cohort, rows):
    weight = torch.ones(len(cohort)).double() if cohort.weight is None else cohort.weight
    return (weight * (cohort.status > 0))[rows].sum()


def _in_batch(eta, cohort, rows, options):
    """The summed loss of a batch by loops, with weights from all rows."""
    known = twins.Rows(**cohort.target)
    inside = {row: place for place, row in enumerate(rows.tolist())}
    total = torch.zeros((), dtype=torch.float64)
    for row, place in inside.items():
        cause = known.status[row]
        if cause == 0 or known.weight[row] == 0:
            continue
        at_risk = known.at_risk(row, cause, options["hazard"])
        tied = [
            j
            for j in known.same(row)
            if j in inside and known.status[j] == cause and known.time[j] == known.time[row]
        ]
        logs = []
        for step in range(len(tied)):
            fraction = step / len(tied) if options["ties"] == "efron" else 0.0
            own = {
                j: w * (1 - fraction if j in tied else 1) for j, w in at_risk.items() if j in inside
            }
            weights = torch.tensor(list(own.values()), dtype=torch.float64)
            places = [inside[j] for j in own]
            logs.append(torch.logsumexp(eta[places, cause - 1] + weights.log(), 0))
        total = total + known.weight[row] * (sum(logs) / len(logs) - eta[place, cause - 1])
    return total
