"""The loss and the functions of all distributions equal a twin in 100 digits."""

import math
from functools import partial

import pytest
import scipy.stats
import torch

from sksurvtorch import functional
from sksurvtorch.functional import aft_neg_log_likelihood
from sksurvtorch.functional._distributions import DISTRIBUTIONS
from tests import aft_twins
from tests.cohorts import assert_close, value_and_gradient

nll = partial(aft_neg_log_likelihood, distribution="weibull")

MP = aft_twins.MP
distributions = pytest.mark.parametrize("distribution", sorted(DISTRIBUTIONS))
# Of the end of a row, which is at the time 1.7.
Z = [-1e4, -300.0, -40.0, -10.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0, 10.0, 31.0, 100.0, 600.0, 1e4]
WIDTHS = [1e-12, 1e-6, 0.1, 1.0, 5.0, 300.0]
TIME = 1.7


def ends(kind, shape, width):
    """Lower and upper bound of a row whose first known time is 1.7."""
    later = TIME * math.exp(width / shape) if width / shape < 600 else math.inf
    return {
        "exact": (TIME, TIME),
        "right": (TIME, math.inf),
        "left": (0.0, TIME),
        "interval": (TIME, later),
    }[kind]


def rows_of(kind, entered, before_time):
    """Log params, lower, upper and entry of rows at all z, as a tensor of five columns."""
    table = []
    for z in Z:
        for log_shape in (-1.0, 0.3):
            shape = math.exp(log_shape)
            for width in WIDTHS if kind == "interval" else WIDTHS[:1]:
                for before in before_time if entered else WIDTHS[:1]:
                    entry = TIME * math.exp(-before / shape) if entered else 0.0
                    params = (math.log(TIME) - z / shape, log_shape)
                    lower, upper = ends(kind, shape, width)
                    if upper > lower * (kind == "interval") and (entry < TIME):
                        table.append((*params, lower, upper, entry))
    table = torch.tensor(table, dtype=torch.float64)
    return table if len(table) < 200 else table[:: len(table) // 100]


@distributions
@pytest.mark.parametrize("entered", [False, True], ids=["-", "entry"])
@pytest.mark.parametrize("kind", ["exact", "right", "left", "interval"])
def test_each_row_and_its_gradient_equal_the_twin_at_any_distance(kind, entered, distribution):
    # Weibull's own likelihood takes logarithms of both times, which lose digits of a small ratio.
    own = distribution == "weibull" and kind in ("exact", "right")
    table = rows_of(kind, entered, WIDTHS[2:] if own else WIDTHS)
    log_params, lower, upper, entry = table[:, :2], table[:, 2], table[:, 3], table[:, 4]
    value, gradient = value_and_gradient(
        nll,
        log_params,
        lower=lower,
        upper=upper,
        entry=entry if entered else None,
        distribution=distribution,
        reduction="none",
        cotangent=torch.ones(len(table)).double(),
    )
    expected, slopes = aft_twins.as_tensors(
        aft_twins.rows(distribution, log_params, lower, upper, entry)
    )
    held = ~(expected.abs() < 1e300)
    assert held.sum() < len(held) / 4
    # Weibull's own likelihood holds the hazard before it takes the share since an entry of it.
    assert (value[held] > 1e295).all()
    # A Weibull H = exp(z) has the rounding of z, up to 600; a normal log P that of z^2 / 2.
    for ours, theirs in ((value, expected), (gradient[:, 0], slopes[:, 0])):
        error = (ours - theirs).abs() / theirs.abs().clamp(min=1)
        assert error[~held].max() < 3e-13
    error = (gradient - slopes).abs() / slopes.abs().amax(1, keepdim=True).clamp(min=1)
    assert error[~held].max() < 3e-13


def mixed_rows(seed, *, entry, weight):
    """Rows of all kinds about the scale."""
    rng = torch.Generator().manual_seed(seed)
    n = 24

    def uniform():
        return torch.rand(n, generator=rng, dtype=torch.float64)

    time, kind = uniform() * 3 + 0.1, torch.arange(n) % 4
    upper = torch.where(kind == 0, time, torch.where(kind == 1, torch.inf, time * (1 + uniform())))
    columns = {"lower": torch.where(kind == 2, 0.0, time), "upper": upper}
    if entry:
        # None, before the row, and within its interval.
        within = torch.where(kind == 3, 1.0, 0.9)
        columns["entry"] = (
            time * within * torch.arange(n).div(4, rounding_mode="floor").clamp(max=1)
        )
    if weight:
        columns["weight"] = (3 * uniform()).round(decimals=1)
    log_params = torch.randn(n, 2, generator=rng, dtype=torch.float64) / 2
    return log_params, columns


@distributions
@pytest.mark.parametrize("n_params", [1, 2])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("entry", [False, True], ids=["-", "entry"])
@pytest.mark.parametrize("weight", [False, True], ids=["-", "weight"])
def test_rows_of_all_kinds_equal_the_twin(weight, entry, reduction, n_params, distribution):
    log_params, columns = mixed_rows(0, entry=entry, weight=weight)
    both = log_params * (torch.arange(2) < n_params)
    losses, slopes = aft_twins.as_tensors(
        aft_twins.rows(distribution, both, columns["lower"], columns["upper"], columns.get("entry"))
    )
    weights = columns.get("weight", torch.ones(len(losses)).double())
    losses, slopes = losses * weights, (slopes * weights[:, None])[:, :n_params]
    cotangent = None
    if reduction == "none":
        cotangent = torch.linspace(-1.0, 2.0, len(losses)).double()
        slopes = slopes * cotangent[:, None]
    else:
        total = weights.sum() if reduction == "mean" else 1
        losses, slopes = losses.sum() / total, slopes / total
    options = {"distribution": distribution, "reduction": reduction, "cotangent": cotangent}
    value, gradient = value_and_gradient(nll, both[:, :n_params], **columns, **options)
    assert_close(value, losses)
    assert_close(gradient, slopes)


@distributions
@pytest.mark.parametrize("entry", [False, True], ids=["-", "entry"])
def test_event_and_time_are_bounds_that_are_equal_or_infinite(entry, distribution):
    log_params, columns = mixed_rows(1, entry=False, weight=True)
    time, event = columns["lower"] + 0.1, torch.arange(24) % 3 == 0
    shared = {"weight": columns["weight"], "distribution": distribution}
    shared["entry"] = 0.9 * time if entry else None
    ours = value_and_gradient(nll, log_params, event, time, **shared)
    upper = torch.where(event, time, torch.inf)
    bounds = value_and_gradient(nll, log_params, lower=time, upper=upper, **shared)
    assert torch.equal(ours[0], bounds[0])
    assert torch.equal(ours[1], bounds[1])
    losses, slopes = aft_twins.as_tensors(
        aft_twins.rows(distribution, log_params, time, upper, shared["entry"])
    )
    assert_close(ours[0], losses @ columns["weight"] / columns["weight"].sum())
    assert_close(ours[1], slopes * (columns["weight"] / columns["weight"].sum())[:, None])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("entry", [False, True], ids=["-", "entry"])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_weibull_is_the_weibull_likelihood_to_the_bit(reduction, entry, dtype):
    log_params, columns = mixed_rows(2, entry=False, weight=True)
    event, time = torch.arange(24) % 3 == 0, columns["lower"] + 0.1
    options = {"weight": columns["weight"], "reduction": reduction}
    options["entry"] = 0.5 * time if entry else None
    options["cotangent"] = torch.ones(24, dtype=dtype) if reduction == "none" else None
    log_params = log_params.to(dtype)
    other = functional.weibull_neg_log_likelihood
    for ours, theirs in zip(
        value_and_gradient(nll, log_params, event, time, **options),
        value_and_gradient(other, log_params, event, time, **options),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_weibull_intervals_of_no_width_have_the_care_of_the_weibull_likelihood():
    """1 - e^z near z = 0 does not cancel, in an exact row among intervals."""
    log_params = torch.tensor([[1e-12, 0.0], [0.0, 0.0]], dtype=torch.float64)
    lower, upper = torch.tensor([1.0, 1.0]).double(), torch.tensor([1.0, 2.0]).double()
    _, gradient = value_and_gradient(nll, log_params, lower=lower, upper=upper, reduction="sum")
    assert gradient[0, 0].item() == pytest.approx(1e-12, rel=1e-9)


PEERS = {
    "weibull": lambda scale, shape: scipy.stats.weibull_min(shape, scale=scale),
    "lognormal": lambda scale, shape: scipy.stats.lognorm(1 / shape, scale=scale),
    "loglogistic": lambda scale, shape: scipy.stats.fisk(shape, scale=scale),
}


@distributions
@pytest.mark.parametrize("per_row", [False, True])
def test_functions_on_a_grid_equal_scipy(per_row, distribution):
    log_params, _ = mixed_rows(3, entry=False, weight=False)
    times = torch.logspace(-1, 1, 9, dtype=torch.float64)
    if per_row:
        times = times * torch.linspace(0.5, 2.0, 24)[:, None].double()
    model = PEERS[distribution](*log_params.exp().T[:, :, None].numpy())
    at = times.numpy()
    survival, log_density = torch.as_tensor(model.sf(at)), torch.as_tensor(model.logpdf(at))
    for name, expected in {
        "survival": survival,
        "log_survival": survival.log(),
        "cumulative_hazard": -survival.log(),
        "log_hazard": log_density - survival.log(),
    }.items():
        ours = getattr(functional, f"aft_{name}")(log_params, times, distribution=distribution)
        likely = survival > 1e-10  # scipy's tails have fewer digits
        assert ours.shape == (24, 9)
        assert_close(torch.where(likely, ours, 0), torch.where(likely, expected, 0), 1e-11)


@distributions
def test_quantiles_and_means_equal_scipy(distribution):
    log_params, _ = mixed_rows(4, entry=False, weight=False)
    log_params[:, 1] = log_params[:, 1].abs() + 0.1
    model = PEERS[distribution](*log_params.exp().T[:, :, None].numpy())
    probability = torch.tensor([1e-12, 0.01, 0.5, 0.9, 0.999], dtype=torch.float64)
    ours = functional.aft_quantile(log_params, probability, distribution=distribution)
    assert ours.shape == (24, 5)
    expected = torch.as_tensor(model.ppf(probability.numpy()))
    assert_close(ours / expected, torch.ones_like(ours), 1e-11)
    median = functional.aft_median(log_params, distribution=distribution)
    assert_close(median, torch.as_tensor(model.median()[:, 0]))
    mean = functional.aft_mean(log_params, distribution=distribution)
    assert_close(mean, torch.as_tensor(model.mean()[:, 0]), 1e-11)


def remaining(distribution, log_shape, z):
    """The mean time by the scale that is left beyond z."""
    b, x = MP.exp(-log_shape), MP.exp(z)
    if distribution == "weibull":
        return b * MP.exp(x) * MP.gammainc(b, x)
    if distribution == "lognormal":
        mills = MP.erfc((z - b) / MP.sqrt(2)) / MP.erfc(z / MP.sqrt(2))
        return MP.exp(b * b / 2) * mills - MP.exp(z * b)
    return b * MP.betainc(1 - b, b, 0, 1 / (1 + x)) * (1 + x)


@distributions
@pytest.mark.parametrize("shape", [0.2, 0.7, 1.001, 1.2, 2.0, 30.0, 1e4])
def test_the_mean_that_is_left_equals_the_twin_far_out_too(shape, distribution):
    if distribution == "loglogistic" and shape < 1:
        pytest.skip("no finite mean")
    log_shape = math.log(shape)
    for z in (-60.0, -20.0, -17.0, -2.0, -0.1, 0.0, 0.1, 1.0, 3.0, 10.0, 31.0, 48.0, 200.0, 1e4):
        if abs(z) / shape > 300 or (distribution == "weibull" and z > 200):
            continue
        log_scale = -z / shape
        exact = MP.exp(log_shape) * -MP.mpf(log_scale)
        expected = remaining(distribution, MP.mpf(log_shape), exact) * MP.exp(log_scale)
        log_params = torch.tensor([[log_scale, log_shape]], dtype=torch.float64)
        after = torch.ones(1).double()
        left = functional.aft_mean_residual_life(log_params, after, distribution=distribution)
        assert left.item() == pytest.approx(float(expected), rel=1e-11, abs=0), z
        mean = functional.aft_mean(log_params, after=after, distribution=distribution)
        assert mean.item() == pytest.approx(float(1 + expected), rel=1e-11), z


@distributions
@pytest.mark.parametrize("probability", [1e-12, 0.3, 0.5, 1 - 1e-9])
def test_quantiles_given_no_event_before_are_right_far_out_too(probability, distribution):
    """-log S at the quantile is more by -log(1 - p) than at the time before."""
    log_shape = 0.7
    for z in (-200.0, -40.0, -1.0, 0.0, 1.0, 5.0, 48.0, 600.0, 2e4, 1e6):
        if distribution == "weibull" and z > 600:
            continue
        log_scale = -z * math.exp(-log_shape)
        log_params = torch.tensor([[log_scale, log_shape]], dtype=torch.float64)
        time = functional.aft_quantile(
            log_params,
            torch.tensor([probability], dtype=torch.float64),
            after=torch.ones(1).double(),
            distribution=distribution,
        ).item()
        shape = MP.exp(log_shape)
        at = [shape * (MP.log(t) - log_scale) for t in (MP.mpf(1), MP.mpf(time))]
        before, then, beyond = (
            aft_twins.cumulative(distribution, each) for each in (*at, at[1] + MP.mpf(10) ** -30)
        )
        missing = (then - before) + MP.log1p(-MP.mpf(probability))
        off = missing / ((beyond - then) * MP.mpf(10) ** 30) / shape  # of the logarithm of the time
        assert abs(off) < 1e-12, z


@pytest.mark.parametrize("distribution", ["lognormal", "loglogistic"])
def test_the_inverse_of_the_log_survival_has_all_digits(distribution):
    log_survival = [-1e-300, -1e-20, -1e-3, -0.49, -0.51, -0.7, -9.9, -10.1, -700.0, -1e6, -1e12]
    z = DISTRIBUTIONS[distribution].inverse(torch.tensor(log_survival, dtype=torch.float64))
    for x, found in zip(log_survival, z.tolist(), strict=True):
        at, step = MP.mpf(found), MP.mpf(10) ** -30
        cumulative = aft_twins.cumulative(distribution, at)
        slope = (aft_twins.cumulative(distribution, at + step) - cumulative) / step
        assert abs((cumulative + x) / slope) < 4e-16 * max(1, abs(found))


@distributions
def test_samples_follow_the_distribution(distribution):
    log_params = torch.tensor([[0.0, 0.7], [3.0, -0.6]]).double()
    generator = torch.Generator().manual_seed(0)
    draws = functional.aft_sample(log_params, 4000, generator=generator, distribution=distribution)
    assert draws.shape == (2, 4000)
    for row, (scale, shape) in zip(draws, log_params.exp().tolist(), strict=True):
        model = PEERS[distribution](scale, shape)
        assert scipy.stats.kstest(row.numpy(), model.cdf).pvalue > 0.01
