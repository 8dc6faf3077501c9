"""Theorems of accelerated failure time models, for each distribution there is."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from sksurvtorch import functional
from sksurvtorch.functional import aft_neg_log_likelihood as nll
from sksurvtorch.functional._distributions import DISTRIBUTIONS
from tests.cohorts import assert_close, value_and_gradient

distributions = pytest.mark.parametrize("distribution", sorted(DISTRIBUTIONS))
numbers = st.floats(-2.0, 2.0, allow_subnormal=False)
shapes = st.floats(-0.9, 1.5, allow_subnormal=False)
times = st.floats(0.05, 20.0)
HALF = torch.tensor([0.5], dtype=torch.float64)


def double(*values):
    """A tensor of these numbers."""
    return torch.tensor(values, dtype=torch.float64)


def probability(log_params, lower, upper, distribution, entry=None):
    """The probability of one interval."""
    columns = {"lower": double(lower), "upper": double(upper)}
    if entry is not None:
        columns["entry"] = double(entry)
    return math.exp(-nll(log_params, **columns, distribution=distribution).item())


@distributions
@given(
    log_scale=numbers, log_shape=shapes, cuts=st.lists(times, min_size=1, max_size=4, unique=True)
)
def test_the_parts_of_a_time_line_add_to_one(distribution, log_scale, log_shape, cuts):
    log_params = double([log_scale, log_shape])
    cuts = [0.0, *sorted(cuts), math.inf]
    pairs = list(itertools.pairwise(cuts))
    total = sum(probability(log_params, *pair, distribution) for pair in pairs)
    assert total == pytest.approx(1, abs=1e-13)


@distributions
@given(log_scale=numbers, log_shape=shapes, entry=times, more=times)
def test_what_is_given_an_entry_adds_to_one(distribution, log_scale, log_shape, entry, more):
    log_params = double([log_scale, log_shape])
    until = probability(log_params, 0.0, entry + more, distribution, entry)
    after = probability(log_params, entry + more, math.inf, distribution, entry)
    assert until + after == pytest.approx(1, abs=1e-13)
    from_entry = probability(log_params, entry, entry + more, distribution, entry)
    assert from_entry == pytest.approx(until, rel=1e-15)


@distributions
@given(log_scale=numbers, log_shape=shapes, time=times, unit=st.floats(1e-3, 1e3))
def test_a_change_of_unit_moves_the_location_alone(distribution, log_scale, log_shape, time, unit):
    log_params = double([log_scale, log_shape])
    moved = log_params + double([math.log(unit), 0.0])
    for lower, upper, jacobian in (
        (time, math.inf, 0.0),
        (0.0, time, 0.0),
        (time, 2 * time, 0.0),
        (time, time, math.log(unit)),
    ):
        here = {"lower": double(lower), "upper": double(upper)}
        there = {name: unit * column for name, column in here.items()}
        there["upper"] = torch.maximum(there["upper"], there["lower"])
        ours = value_and_gradient(nll, log_params, **here, distribution=distribution)
        theirs = value_and_gradient(nll, moved, **there, distribution=distribution)
        bound = 1e-11 * (1 + abs(ours[0].item()))
        assert_close(theirs[0], ours[0] + jacobian, bound)
        assert_close(theirs[1], ours[1], 1e-11 * (1 + ours[1].abs().max().item()))


@distributions
@given(log_scale=numbers, log_shape=shapes, time=times, digits=st.integers(5, 13))
def test_a_vanishing_interval_has_the_density(distribution, log_scale, log_shape, time, digits):
    """Its probability by its width, up to the width and its rounding."""
    log_params = double([log_scale, log_shape])
    upper = time * (1 + 10.0**-digits)
    if upper == time:
        return
    options = {"distribution": distribution}
    exact = value_and_gradient(nll, log_params, lower=double(time), upper=double(time), **options)
    narrow = value_and_gradient(nll, log_params, lower=double(time), upper=double(upper), **options)
    tolerance = 10.0 ** (2 - digits) * (1 + exact[1].abs().max().item()) ** 2 + 1e-12
    assert_close(narrow[0] + math.log(upper - time), exact[0], tolerance)
    assert_close(narrow[1], exact[1], tolerance)


@distributions
@given(log_scale=numbers, log_shape=shapes, time=times)
def test_survival_is_the_quadrature_of_the_hazard(distribution, log_scale, log_shape, time):
    log_params = double([log_scale, log_shape])
    nodes, weights = np.polynomial.legendre.leggauss(200)
    # In u = log time, over forty e-folds of H or what a bell leaves of it.
    length = 45 * math.exp(-log_shape)
    u = math.log(time) - length * (1 - torch.as_tensor(nodes)) / 2
    log_hazard = functional.aft_log_hazard(log_params, u.exp(), distribution=distribution)
    quadrature = ((log_hazard + u).exp() @ torch.as_tensor(weights)) * length / 2
    survival = functional.aft_cumulative_hazard(log_params, double(time), distribution=distribution)
    assert_close(quadrature, survival[0], 1e-9 * (1 + survival.item()))


@distributions
@given(log_scale=numbers, log_shape=shapes, p=st.floats(1e-9, 1 - 1e-9))
def test_the_quantile_inverts_the_survival(distribution, log_scale, log_shape, p):
    log_params = double([log_scale, log_shape])
    time = functional.aft_quantile(log_params, double(p), distribution=distribution)
    survival = functional.aft_survival(log_params, time, distribution=distribution)
    assert survival.item() == pytest.approx(1 - p, rel=1e-12, abs=1e-12)


@distributions
@given(log_scale=numbers, log_shape=shapes, after=times, p=st.floats(0.0, 1 - 1e-9))
@example(log_scale=-1.0, log_shape=1.5, after=8.0, p=0.5)
def test_the_survival_at_a_quantile_given_a_time_is_that_share(
    distribution, log_scale, log_shape, after, p
):
    """S(quantile) = S(after) (1 - p), in logarithms."""
    log_params, after = double([log_scale, log_shape]), double(after)
    time = functional.aft_quantile(log_params, double(p), after=after, distribution=distribution)
    at = torch.cat([after, time[0]])
    before, then = functional.aft_log_survival(log_params, at, distribution=distribution)[0]
    assert time >= after
    # The time is rounded, which changes the logarithm of the survival by shape times as much.
    rounding = 2**-50 * math.exp(log_shape) * abs(before.item())
    assert (then - before).item() == pytest.approx(math.log1p(-p), rel=1e-9, abs=1e-11 + rounding)
    if p == 0:
        assert time == after


@distributions
@pytest.mark.parametrize("log_shape", [0.5, 1.5])
@pytest.mark.parametrize("after", [0.0, 0.4, 1.0, 3.0])
def test_the_mean_is_the_quadrature_of_the_survival(after, log_shape, distribution):
    log_params, after = double([0.2, log_shape]), double(after)
    left = functional.aft_mean_residual_life(log_params, after, distribution=distribution)
    before = functional.aft_log_survival(log_params, after, distribution=distribution)
    # In v = log(1 + t / left), by pieces.
    nodes, weights = np.polynomial.legendre.leggauss(60)
    v = torch.as_tensor(np.arange(1.0, 81.0, 2.0)[:, None] + nodes).reshape(-1)
    times = after + left * torch.expm1(v)
    log_survival = functional.aft_log_survival(log_params, times, distribution=distribution)[0]
    integrand = (log_survival - before[0] + v).exp().reshape(-1, 60)
    expected = (integrand @ torch.as_tensor(weights)).sum() * left
    # At time 0 the survival has no derivatives of a high order.
    assert_close(left / expected, torch.ones(1).double(), 1e-9)
    mean = functional.aft_mean(log_params, after=after, distribution=distribution)
    assert_close(mean, after + expected, 1e-9)


@distributions
def test_no_event_up_to_time_0_says_nothing(distribution):
    log_params = double([0.3, 0.5], [-1.0, 1.2])
    zero, probability = torch.zeros(2).double(), double(0.0, 0.25, 0.5, 1.0)
    for function, args in (
        (functional.aft_quantile, (probability,)),
        (functional.aft_median, ()),
        (functional.aft_mean, ()),
    ):
        plain = function(log_params, *args, distribution=distribution)
        given_zero = function(log_params, *args, after=zero, distribution=distribution)
        assert torch.equal(plain, given_zero)
    left = functional.aft_mean_residual_life(log_params, zero, distribution=distribution)
    assert torch.equal(left, functional.aft_mean(log_params, distribution=distribution))


@distributions
@pytest.mark.parametrize("log_shape", [-0.5, 0.3, 1.0])
def test_what_is_left_does_not_jump_where_its_series_change(log_shape, distribution):
    """Its slope is h(t) times it less 1, so that steps of time of 1e-6 change it as little."""
    z = torch.cat([double(-18.0, -2.0, 0.0, 30.0), torch.linspace(-20, 40, 241).double()])
    log_params = torch.stack([-z * math.exp(-log_shape), torch.full_like(z, log_shape)], 1)
    if distribution == "weibull":
        log_params = log_params[z < 20]
    if distribution == "loglogistic" and log_shape < 0:
        return
    n = len(log_params)
    step = 1e-6
    early, late = (
        functional.aft_mean_residual_life(log_params, each, distribution=distribution)
        for each in (1 - step * torch.ones(n).double(), 1 + step * torch.ones(n).double())
    )
    middle = (early + late) / 2
    log_hazard = functional.aft_log_hazard(log_params, double(1.0), distribution=distribution)
    slope = log_hazard[:, 0].exp() * middle - 1
    found = (late - early) / (2 * step)
    scale = 1 + log_hazard[:, 0].exp() * middle
    assert ((found - slope).abs() / (scale * (1 + middle))).max() < 1e-7


def some_rows():
    """Rows of all kinds, some with an entry."""
    inf = math.inf
    lower = double(1.0, 2.0, 0.0, 0.5, 0.0, 1.5)
    upper = double(1.0, inf, 1.5, 2.0, 3.0, 1.6)
    return {"lower": lower, "upper": upper, "entry": double(0.5, -1.0, 0.0, 1.0, 0.5, 1.2)}


@distributions
@pytest.mark.parametrize("n_params", [1, 2])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_gradcheck(reduction, n_params, distribution):
    at = torch.linspace(-0.4, 0.5, 6 * n_params).double().reshape(6, n_params).requires_grad_()
    weight = double(1.0, 2.0, 0.5, 1.0, 0.0, 3.0)
    options = {**some_rows(), "distribution": distribution, "reduction": reduction}
    assert torch.autograd.gradcheck(lambda at: nll(at, weight=weight, **options), (at,))


@distributions
def test_functions_of_time_have_the_gradient_of_a_difference(distribution):
    at = torch.tensor([[0.2, 0.4], [-0.5, 0.1]]).double().requires_grad_()
    grid, options = double(0.0, 0.3, 1.0, 4.0), {"distribution": distribution}
    for name in ("log_survival", "cumulative_hazard", "survival"):
        function = getattr(functional, f"aft_{name}")
        assert torch.autograd.gradcheck(lambda x, f=function: f(x, grid, **options), (at,))
    late = grid[1:]
    assert torch.autograd.gradcheck(lambda x: functional.aft_log_hazard(x, late, **options), (at,))
    assert torch.autograd.gradcheck(lambda x: functional.aft_quantile(x, HALF, **options), (at,))
    assert torch.autograd.gradcheck(lambda x: functional.aft_mean(x, **options), (at,))


@distributions
@given(random=st.randoms(use_true_random=False), factor=st.sampled_from([0.5, 2.0, 3.0]))
def test_each_row_is_on_its_own(distribution, random, factor):
    rows, order = some_rows(), torch.tensor(random.sample(range(6), 6))
    log_params = torch.linspace(-1.0, 1.0, 12).double().reshape(6, 2)
    options = {"distribution": distribution, "reduction": "none"}
    losses = nll(log_params, **rows, **options)
    permuted = {name: column[order] for name, column in rows.items()}
    assert torch.equal(nll(log_params[order], **permuted, **options), losses[order])
    alone = [
        nll(log_params[[i]], **{name: column[[i]] for name, column in rows.items()}, **options)
        for i in range(6)
    ]
    assert_close(torch.cat(alone), losses, 1e-15)
    weight = factor * torch.arange(1, 7).double()
    weighted = nll(log_params, **rows, weight=weight, **options)
    assert_close(weighted, weight * losses, 1e-15)
    options["reduction"] = "mean"
    mean = nll(log_params, **rows, weight=weight, **options)
    assert_close(mean, weighted.sum() / weight.sum(), 1e-14)
