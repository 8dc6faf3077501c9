"""Accelerated failure time models: values for the head, every sentence, dtypes, derivatives."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from sksurvtorch import AFTLoss, WeibullAFTLoss, functional
from sksurvtorch.functional import _aft_rows, aft_neg_log_likelihood
from sksurvtorch.functional._arithmetic import by_mask
from sksurvtorch.functional._distributions import DISTRIBUTIONS, AFTDistribution, log_normal
from sksurvtorch.losses import GatheredLoss, Momentum, MomentumLoss
from tests.cohorts import assert_close, value_and_gradient
from tests.unit.refusals import refuses

INF = math.inf
WEIBULL = {"distribution": "weibull"}
nll = partial(aft_neg_log_likelihood, **WEIBULL)
ZEROS = torch.zeros(3, 2)
E = torch.tensor([True, True, False])
T = torch.tensor([1.0, 2.0, 3.0])
LOWER, UPPER = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, INF])
ONE = torch.tensor([1.0])
distributions = pytest.mark.parametrize("distribution", sorted(DISTRIBUTIONS))


def at(*numbers):
    """A column of bounds."""
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize(
    ("distribution", "log_survival", "density"),
    [
        ("weibull", -1.0, math.exp(-1)),
        ("lognormal", -math.log(2), 1 / math.sqrt(2 * math.pi)),
        ("loglogistic", -math.log(2), 0.25),
    ],
)
def test_at_the_scale(distribution, log_survival, density):
    params, scale = torch.tensor([[math.log(4.0), math.log(3.0)]]).double(), at(4.0)
    options = {"distribution": distribution}
    assert_close(functional.aft_log_survival(params, scale, **options)[0, 0], log_survival, 1e-6)
    hazard = functional.aft_log_hazard(params, scale, **options).exp()
    density = density * 3 / 4  # shape by scale
    assert_close(hazard[0, 0], density / math.exp(log_survival), 1e-6)
    assert_close(nll(params, lower=scale, upper=scale, **options), -math.log(density), 1e-6)
    assert_close(nll(params, lower=scale, upper=at(INF), **options), -log_survival, 1e-6)
    before = -math.log(-math.expm1(log_survival))
    assert_close(nll(params, lower=at(0.0), upper=scale, **options), before, 1e-6)


def test_means_that_are_known():
    params, options = torch.zeros(1, 2).double(), {"distribution": "lognormal"}
    assert_close(functional.aft_mean(params, **options), at(math.exp(0.5)))
    params[:, 1] = math.log(2.0)
    options["distribution"] = "loglogistic"
    assert_close(functional.aft_mean(params, **options), at(math.pi / 2))
    # 1 / (1 + t^2) has the integral pi / 2 - arctan(t)
    left = functional.aft_mean_residual_life(params, at(1.0), **options)
    assert_close(left, at(math.pi / 2))
    assert functional.aft_median(params, after=at(1.0), **options).item() == pytest.approx(3**0.5)


@pytest.mark.parametrize("log_shape", [-1.0, 0.0])
def test_log_logistic_times_with_a_small_shape_have_no_finite_mean(log_shape):
    params, options = torch.tensor([[0.0, log_shape]]), {"distribution": "loglogistic"}
    for after in (None, ONE, 0 * ONE):
        assert functional.aft_mean(params, after=after, **options).item() == INF
    assert functional.aft_mean_residual_life(params, ONE, **options).item() == INF


def test_hazards_at_time_0():
    params = torch.tensor([[0.5, -0.1], [0.5, 0.0], [0.5, 0.1]])
    hazard = [
        functional.aft_log_hazard(params, torch.zeros(1), distribution=name)[:, 0].tolist()
        for name in ("weibull", "loglogistic", "lognormal")
    ]
    assert hazard[0] == hazard[1] == [INF, -0.5, -INF]
    assert hazard[2] == [-INF] * 3


def test_an_interval_before_the_entry_begins_at_the_entry():
    upper, entry = at(3.0), at(2.0)
    losses = [nll(ZEROS[:1], lower=at(x), upper=upper, entry=entry) for x in (0.0, 1.0, 2.0)]
    assert len({loss.item() for loss in losses}) == 1
    assert losses[0].item() == pytest.approx(-math.log(1 - math.exp(-1)))


TIME_0 = (
    " density is {} at time 0: add half a unit of time to all rows, or leave out those that were "
    "never at risk."
)
EITHER = "Pass either event and time, or lower and upper."
OUTCOME = "The outcome must be given by `event` and `time` or by `lower` and `upper`, got {}. "
AT_RISK = (
    "A row is at risk on (entry, upper], or up to the time of its event or its right censoring, "
    "which may not be empty."
)
KEYS = "'lower', 'upper', 'entry', 'weight'"
loss = AFTLoss(distribution="lognormal")
CASES = {
    "distribution": (
        lambda: nll(ZEROS, E, T, distribution="gamma"),
        ValueError,
        "`distribution` must be one of 'weibull', 'lognormal', 'loglogistic', got 'gamma'.",
    ),
    "distribution_of_module": (
        lambda: AFTLoss(distribution=None),
        ValueError,
        "`distribution` must be one of 'weibull', 'lognormal', 'loglogistic', got None.",
    ),
    "distribution_of_function": (
        lambda: functional.aft_mean(ZEROS, distribution="normal"),
        ValueError,
        "`distribution` must be one of 'weibull', 'lognormal', 'loglogistic', got 'normal'.",
    ),
    "reduction": (
        lambda: nll(ZEROS, E, T, distribution="lognormal", reduction="average"),
        ValueError,
        "`reduction` must be one of 'mean', 'sum', 'none', got 'average'.",
    ),
    "reduction_of_module": (
        lambda: AFTLoss(**WEIBULL, reduction=None),
        ValueError,
        "`reduction` must be one of 'mean', 'sum', 'none', got None.",
    ),
    "nothing": (lambda: nll(ZEROS), TypeError, OUTCOME.format("none of them") + EITHER),
    "event": (lambda: nll(ZEROS, E), TypeError, OUTCOME.format("event") + EITHER),
    "upper": (lambda: nll(ZEROS, upper=T), TypeError, OUTCOME.format("upper") + EITHER),
    "both": (
        lambda: nll(ZEROS, E, T, lower=LOWER, upper=UPPER),
        TypeError,
        OUTCOME.format("event, time, lower, upper") + EITHER,
    ),
    "time_0_of_lognormal": (
        lambda: nll(ZEROS, E, 0 * T, distribution="lognormal"),
        ValueError,
        "`time` must be positive, got 0.0 (3 of 3 rows). The log-normal" + TIME_0.format("zero"),
    ),
    "time_0_of_loglogistic": (
        lambda: nll(ZEROS, E, 0 * T, distribution="loglogistic"),
        ValueError,
        "`time` must be positive, got 0.0 (3 of 3 rows). The log-logistic"
        + TIME_0.format("zero or infinite"),
    ),
    "upper_0": (
        lambda: nll(ZEROS, lower=at(0, 1, 1), upper=at(0, 1, 1)),
        ValueError,
        "`upper` must be positive, got 0.0 (1 of 3 rows). No event can lie at or before time 0.",
    ),
    "lower_negative": (
        lambda: nll(ZEROS, lower=at(-1, 1, -2), upper=at(1, 1, 1)),
        ValueError,
        "`lower` must be at least 0, got -1.0 (2 of 3 rows). Time starts at 0.",
    ),
    "lower_infinite": (
        lambda: nll(ZEROS, lower=at(0, 1, INF), upper=at(1, 1, INF)),
        ValueError,
        "`lower` must be finite, got inf (1 of 3 rows). A left-censored row has a lower bound of "
        "0.",
    ),
    "lower_nan": (
        lambda: nll(ZEROS, lower=at(0, math.nan, 1), upper=at(1, 1, INF)),
        ValueError,
        "`lower` must be finite, got nan (1 of 3 rows). A left-censored row has a lower bound of "
        "0.",
    ),
    "upper_nan": (
        lambda: nll(ZEROS, lower=at(0, 1, 1), upper=at(1, math.nan, INF)),
        ValueError,
        "`upper` must not be missing, got nan (1 of 3 rows). A right-censored row has an infinite "
        "upper bound.",
    ),
    "upper_below_lower": (
        lambda: nll(ZEROS, lower=at(0, 2, 3), upper=at(1, 1, 1)),
        ValueError,
        "`upper` must be at least lower in each row, got 1.0 (2 of 3 rows). The event lies in "
        "(lower, upper], or at both if they are equal.",
    ),
    "nothing_said": (
        lambda: nll(ZEROS, lower=at(0, 0, 3), upper=at(INF, INF, 3)),
        ValueError,
        "`lower` and `upper` must bound the time of the event in each row, got 0 and infinity (2 "
        "of 3 rows). Such rows say nothing: leave them out.",
    ),
    "length_of_upper": (
        lambda: nll(ZEROS, lower=LOWER, upper=ONE),
        ValueError,
        "`upper` must have shape (3,), got (1,).",
    ),
    "entry_at_upper": (
        lambda: nll(ZEROS, lower=at(0, 1, 1), upper=at(1, 2, INF), entry=at(1, 1.5, 0)),
        ValueError,
        "`entry` must be less than the end of its row, got 1.0 (1 of 3 rows). " + AT_RISK,
    ),
    "entry_after_right_censoring": (
        lambda: nll(ZEROS, lower=at(0, 1, 2), upper=at(1, 1, INF), entry=at(0, 1, 3)),
        ValueError,
        "`entry` must be less than the end of its row, got 1.0 (2 of 3 rows). " + AT_RISK,
    ),
    "after_negative": (
        lambda: functional.aft_mean(ZEROS, after=at(0, -1, 1), **WEIBULL),
        ValueError,
        "`after` must be at least 0, got -1.0 (1 of 3 rows). Time starts at 0.",
    ),
    "after_infinite": (
        lambda: functional.aft_median(ZEROS, after=at(0, 1, INF), **WEIBULL),
        ValueError,
        "`after` must be finite, got inf (1 of 3 rows). Impute or remove these rows.",
    ),
    "length_of_after": (
        lambda: functional.aft_mean_residual_life(ZEROS, ONE, **WEIBULL),
        ValueError,
        "`after` must have shape (3,), got (1,).",
    ),
    "gradient_given_after": (
        lambda: functional.aft_mean(ZEROS.clone().requires_grad_(), after=T, **WEIBULL),
        ValueError,
        "`log_params` must not require a gradient, got a tensor that does: there is none of what "
        "is given `after`. Pass log_params.detach().",
    ),
    "keys": (
        lambda: loss(ZEROS, {"lower": LOWER, "upper": UPPER, "stratum": T}),
        ValueError,
        f"The keys of a target of intervals must be among {KEYS}, with lower and upper, got "
        "['lower', 'upper', 'stratum'].",
    ),
    "keys_of_both": (
        lambda: loss(ZEROS, {"lower": LOWER, "upper": UPPER, "event": E}),
        ValueError,
        f"The keys of a target of intervals must be among {KEYS}, with lower and upper, got "
        "['lower', 'upper', 'event'].",
    ),
    "key_missing": (
        lambda: loss(ZEROS, {"lower": LOWER}),
        ValueError,
        f"The keys of a target of intervals must be among {KEYS}, with lower and upper, got "
        "['lower'].",
    ),
    "weight_beside_mapping": (
        lambda: loss(ZEROS, {"lower": LOWER, "upper": UPPER}, weight=T),
        TypeError,
        "`weight` must be a key of the mapping, got both.",
    ),
    "bounds_beside_mapping": (
        lambda: loss(ZEROS, {"event": E, "time": T}, lower=LOWER),
        TypeError,
        "`lower` must be a key of the mapping, got both.",
    ),
    "columns": (
        lambda: nll(torch.zeros(3, 3), lower=LOWER, upper=UPPER),
        ValueError,
        "`log_params` must have shape (n_samples, 1) or (n_samples, 2), got (3, 3).",
    ),
    "device": (
        lambda: nll(ZEROS, lower=LOWER, upper=UPPER.to("meta")),
        ValueError,
        "`upper` must be on the device of `lower`, cpu, got meta. Pass upper.to('cpu').",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refusals_word_for_word(case):
    refuses(*CASES[case])


@distributions
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_half_precision_has_the_values_of_float64(reduction, half, distribution):
    rng = torch.Generator().manual_seed(0)
    params = (torch.randn(40, 2, generator=rng) / 4).to(half)
    lower = 0.1 + torch.rand(40, generator=rng)
    kind = torch.arange(40) % 4
    upper = torch.where(kind == 0, lower, torch.where(kind == 1, INF, 2 * lower))
    columns = {"lower": torch.where(kind == 2, 0.0, lower), "upper": upper, "weight": lower}
    options = {"distribution": distribution, "reduction": reduction}
    found = []
    for dtype in (half, torch.float32, torch.float64):
        moving = params.to(dtype, copy=True).requires_grad_()
        value = nll(moving, **columns, **options)
        value.sum().backward()
        assert value.dtype == (torch.float32 if dtype == half else dtype)
        assert moving.grad.dtype == dtype
        found.append((value.double(), moving.grad.double(), torch.finfo(dtype).eps))
    for value, gradient, eps in found[:2]:
        torch.testing.assert_close(value, found[2][0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(gradient, found[2][1], rtol=eps, atol=1e-3 * eps)
    for name in ("survival", "log_survival", "cumulative_hazard", "log_hazard"):
        function = getattr(functional, f"aft_{name}")
        values = function(params, T, distribution=distribution)
        assert values.dtype == half
        exact = function(params.double(), T, distribution=distribution)
        few = 64 if distribution == "weibull" else 1  # computed in half precision, as ever
        bound = few * torch.finfo(half).eps
        torch.testing.assert_close(values.double(), exact, rtol=bound, atol=bound)


EXTREMES = [0.0, 1e2, -1e2, 1e4, -1e4, 1e30, -1e30]
PAIRS = [
    *((0.0, 1.0), (1e-3, 1e-3), (1.0, 1.0), (2.0, INF), (1e3, INF), (1e-3, 2.0)),
    *((1.0, 1.001), (2.0, 1e3)),
]


@distributions
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("entered", [False, True], ids=["-", "entry"])
def test_losses_and_gradients_are_finite_for_all_finite_parameters(entered, dtype, distribution):
    top = torch.finfo(dtype).max
    sizes = [*EXTREMES, top, -top]
    table = torch.tensor(
        [(a, b, *pair) for a in sizes for b in sizes for pair in PAIRS], dtype=torch.float64
    )
    params, lower, upper = table[:, :2].to(dtype), table[:, 2], table[:, 3]
    columns = {"lower": lower, "upper": upper}
    if entered:
        columns["entry"] = torch.where(upper <= 2, upper, lower.clamp(min=1e-3)) / 2
    for reduction in ("none", "mean", "sum"):
        value, gradient = value_and_gradient(
            nll,
            params,
            **columns,
            distribution=distribution,
            reduction=reduction,
            cotangent=torch.ones(len(table), dtype=dtype) if reduction == "none" else None,
        )
        assert value.isfinite().all()
        assert gradient.isfinite().all()
    grid = torch.tensor([0.0, 1e-30, 1.0, 1e30], dtype=dtype)
    params = params[:: len(PAIRS)]
    survival = functional.aft_survival(params, grid, distribution=distribution)
    assert ((survival >= 0) & (survival <= 1)).all()
    assert (survival.diff(dim=1) <= 0).all()
    for time in (None, 0.0, 1e-30, 1.0, 1e30):
        after = None if time is None else torch.full((len(params),), time)
        options = {"after": after, "distribution": distribution}
        for p in (0.25, 0.5, 0.75):
            assert not functional.aft_quantile(params, at(p), **options).isnan().any()
        assert not functional.aft_mean(params, **options).isnan().any()


@distributions
@pytest.mark.parametrize("bad", [math.nan, INF, -INF])
def test_a_parameter_that_is_not_finite_has_no_loss(bad, distribution):
    params = torch.zeros(3, 2)
    params[1, 1] = bad
    value, gradient = value_and_gradient(
        nll,
        params,
        lower=LOWER,
        upper=UPPER,
        distribution=distribution,
        reduction="none",
        cotangent=torch.ones(3),
    )
    assert value.isnan().tolist() == [False, True, False]
    assert gradient[1].isnan().all()
    assert gradient[[0, 2]].isfinite().all()


@distributions
def test_a_loss_is_held_at_the_end_of_the_range(distribution):
    params = torch.tensor([[-1e30, 5.0], [1e30, 5.0]])
    lower, upper = torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0])
    options = {"distribution": distribution, "reduction": "none"}
    value, gradient = value_and_gradient(
        nll, params, lower=lower, upper=upper, **options, cotangent=torch.ones(2)
    )
    assert (value > 1e31).all()
    assert (gradient[:, 0].sign() == torch.tensor([-1.0, 1.0])).all()
    assert (gradient[:, 1] > 0).all()


@distributions
@pytest.mark.parametrize("by", ["bounds", "event"])
def test_derivatives_of_torch_func_are_those_of_backward_or_refused(by, distribution):
    params = torch.linspace(-0.4, 0.5, 6).double().reshape(3, 2)
    columns = {"lower": LOWER, "upper": UPPER} if by == "bounds" else {"event": E, "time": T}

    def total(params):
        return nll(params, **columns, distribution=distribution)

    _, expected = value_and_gradient(total, params)
    torch.testing.assert_close(torch.func.grad(total)(params), expected)
    torch.testing.assert_close(torch.func.jacrev(total)(params), expected)
    for words, ask in (
        ("offers no second derivative", lambda: torch.autograd.functional.hessian(total, params)),
        ("offers no forward-mode derivative", lambda: torch.func.jacfwd(total)(params)),
        ("offers no torch.func.vmap", lambda: torch.vmap(total)(torch.stack([params, params]))),
    ):
        with pytest.raises(NotImplementedError, match=words):
            ask()
    columns["weight"] = torch.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match="`weight` must not require a gradient"):
        total(params)


@distributions
def test_the_module_is_the_function_with_its_options_bound(distribution):
    assert AFTLoss.sum_over_samples
    params = torch.linspace(-0.4, 0.5, 6).double().reshape(3, 2)
    module = AFTLoss(distribution=distribution, reduction="sum")
    assert repr(module) == f"AFTLoss(distribution={distribution!r}, reduction='sum')"
    more = {"entry": 0.5 * UPPER.clamp(max=1), "weight": T}
    for columns in (
        {"event": E, "time": T},
        {"lower": LOWER, "upper": UPPER},
        {"lower": LOWER, "upper": UPPER, **more},
    ):
        expected = nll(params, **columns, distribution=distribution, reduction="sum")
        assert torch.equal(module(params, columns), expected)
        assert torch.equal(module(params, **columns), expected)


def test_the_module_of_weibull_is_the_weibull_module():
    params = torch.linspace(-0.4, 0.5, 6).reshape(3, 2)
    assert torch.equal(
        AFTLoss(**WEIBULL)(params, E, T, weight=T), WeibullAFTLoss()(params, E, T, weight=T)
    )


@pytest.mark.parametrize("target", [{"event": E, "time": T}, {"lower": LOWER, "upper": UPPER}])
@pytest.mark.parametrize("how", ["mapping", "arguments"])
def test_losses_around_it_hand_its_target_on(how, target):
    params = torch.linspace(-0.4, 0.5, 6).reshape(3, 2)
    target = {**target, "weight": T}
    expected = loss(params, target)
    gathered, momentum = GatheredLoss(loss), MomentumLoss(loss, bank_size=10)
    assert gathered.sum_over_samples
    assert momentum.bank is None
    for around in (gathered, momentum):
        found = around(params, target) if how == "mapping" else around(params, **target)
        assert torch.equal(found, expected)
    network = torch.nn.Linear(2, 2)
    both = Momentum(network, loss, bank_size=10)
    found = both(params, target) if how == "mapping" else both(params, **target)
    assert torch.equal(found, loss(network(params), target))


def test_weights_beside_nothing_are_refused_by_momentum():
    momentum = Momentum(torch.nn.Linear(2, 2), loss, bank_size=10)
    words = "^`event` must come with the rest of a target, got None beside `weight`.$"
    with pytest.raises(TypeError, match=words):
        momentum(ZEROS, weight=T)


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
def test_a_distribution_has_all_that_is_asked_for(name):
    """Its slopes are those of its functions."""
    model = DISTRIBUTIONS[name]
    assert isinstance(model, AFTDistribution)
    z = torch.linspace(-3, 3, 12).double().requires_grad_()
    for function, values in (
        (model.density(z), None),
        (model.survived(z), -model.log_survival(z)),
        (model.hazard(z), model.log_hazard(z)),
    ):
        value, slope = function
        (found,) = torch.autograd.grad(value.sum(), z)
        torch.testing.assert_close(found, slope.detach())
        if values is not None:
            torch.testing.assert_close(value, values)
    (density, _), (cumulative, _) = model.density(z), model.survived(z)
    torch.testing.assert_close(density, model.log_hazard(z) - cumulative)
    again = model.inverse(-cumulative.detach())
    torch.testing.assert_close(again, z.detach(), rtol=1e-12, atol=1e-12)
    low, high = z.detach(), z.detach() + 0.7
    log_width = torch.full_like(low, math.log(0.7))
    in_one = model.interval(low, high, log_width)
    in_two = AFTDistribution.interval(model, low, high, log_width)
    for one, other in zip(in_one, in_two, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@distributions
@pytest.mark.parametrize("entered", [False, True], ids=["-", "entry"])
def test_all_rows_by_all_functions_are_rows_of_each_kind_by_theirs(
    monkeypatch, entered, distribution
):
    """As on a device where nothing may be counted."""
    rng = torch.Generator().manual_seed(0)
    lower, kind = 0.1 + torch.rand(80, generator=rng).double(), torch.arange(80) % 5
    width = torch.where(kind == 3, 1e-9, 1.0)
    upper = torch.where(kind == 0, lower, torch.where(kind == 1, INF, lower * (1 + width)))
    columns = {"lower": torch.where(kind == 2, 0.0, lower), "upper": upper}
    if entered:
        share = at(0.0, 0.5, 1 - 1e-9, 0.9).repeat_interleave(20)
        columns["entry"] = lower * share
    params = torch.randn(80, 2, generator=rng).double()
    params[::7, 0] *= 20
    options = {"distribution": distribution, "reduction": "none"}
    cotangent = torch.ones(80).double()
    expected = value_and_gradient(nll, params, **columns, **options, cotangent=cotangent)
    for module in (_aft_rows, log_normal):
        monkeypatch.setattr(module, "by_kind", by_mask)
    found = value_and_gradient(nll, params, **columns, **options, cotangent=cotangent)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)
