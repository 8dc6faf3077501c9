"""The Weibull loss and functions equal a twin in 60 digits, scipy, R, and each other."""

import math

import lifelines.datasets
import numpy as np
import pytest
import scipy.stats
import torch

from sksurvtorch import functional
from sksurvtorch.functional import weibull_neg_log_likelihood as nll
from tests import twins
from tests.cohorts import assert_close, value_and_gradient

N = 30


def random_rows(seed, *, n_params=2, entry=False, weight=False):
    """Log params, and the columns by name: a third censored, entries at 0 and just before time."""
    rng = np.random.default_rng(seed)
    time = rng.lognormal(0.0, 1.0, N)
    columns = {"event": rng.random(N) < 0.65, "time": time}
    if entry:
        columns["entry"] = time * rng.choice([0.0, 0.3, 0.99], N)
    if weight:
        columns["weight"] = rng.choice([0.0, 0.5, 1.0, 3.0], N)
    log_params = torch.as_tensor(rng.normal(0.0, 0.5, (N, n_params)))
    return log_params, {name: torch.as_tensor(column) for name, column in columns.items()}


@pytest.mark.parametrize("n_params", [1, 2])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("entry", [False, True], ids=["-", "entry"])
@pytest.mark.parametrize("weight", [False, True], ids=["-", "weight"])
def test_loss_and_gradient_equal_the_twin(weight, entry, reduction, n_params):
    for seed in range(3):
        log_params, columns = random_rows(seed, n_params=n_params, entry=entry, weight=weight)
        losses, slopes = twins.weibull(log_params, **columns)
        cotangent = None
        if reduction == "none":
            cotangent = torch.linspace(-1.0, 2.0, N).double()
            slopes = slopes * cotangent[:, None]
        elif reduction == "sum":
            losses = losses.sum()
        else:
            total = columns.get("weight", torch.ones(N)).sum()
            losses, slopes = losses.sum() / total, slopes / total
        ours = value_and_gradient(
            nll, log_params, **columns, reduction=reduction, cotangent=cotangent
        )
        assert_close(ours[0], losses)
        assert_close(ours[1], slopes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("time_dtype", [torch.float32, torch.float64, torch.int64])
def test_the_loss_has_the_type_of_the_parameters(dtype, time_dtype):
    log_params, columns = random_rows(0)
    log_params = log_params.to(dtype)
    time = columns["time"].ceil().to(time_dtype)
    value, gradient = value_and_gradient(nll, log_params, columns["event"], time)
    losses, slopes = twins.weibull(log_params, columns["event"], time)
    assert value.dtype == gradient.dtype == dtype
    digits = 4 * torch.finfo(dtype).eps
    assert_close(value, losses.mean().to(dtype), digits)
    assert_close(gradient, (slopes / N).to(dtype), digits)


def test_times_of_any_magnitude():
    """With a scale of the same magnitude, and with one that is not."""
    time = torch.tensor([1e-300, 1e300, 1e-300, 1e300, 5e-324, 1.7e308], dtype=torch.float64)
    log_params = torch.zeros(6, 2).double()
    log_params[:, 0] = time.log()
    log_params[2:4, 0] = 0.0
    log_params[2:4, 1] = -4.0
    for event in (torch.ones(6).bool(), torch.zeros(6).bool()):
        losses, slopes = twins.weibull(log_params, event, time)
        value, gradient = value_and_gradient(
            nll, log_params, event, time, reduction="none", cotangent=torch.ones(6).double()
        )
        # z = k (log t - log scale) is a difference of numbers near 700.
        assert_close(value, losses)
        assert_close(gradient, slopes)


@pytest.mark.parametrize("shift", [0.5, 1e-3, 1e-6])
def test_an_entry_just_before_the_time_leaves_a_small_hazard_and_its_digits(shift):
    """H(time) - H(entry) far in the tail: the difference of two numbers near 1e4."""
    log_params = torch.tensor([[0.0, math.log(2.0)]], dtype=torch.float64)
    time = torch.tensor([100.0], dtype=torch.float64)
    columns = {"event": torch.tensor([False]), "time": time, "entry": time - shift}
    loss, slope = twins.weibull(log_params, **columns)
    value, gradient = value_and_gradient(nll, log_params, **columns)
    # H = exp(z) carries |z| eps: 1e4 times 9 times 1e-16.
    assert_close(value, loss[0], 1e-10)
    assert_close(gradient, slope, 1e-9)


GRID = torch.logspace(-2, 1.2, 25, dtype=torch.float64)


def scipy_model(log_params):
    shape = log_params[:, 1:].exp() if log_params.shape[1] == 2 else torch.ones(len(log_params), 1)
    return scipy.stats.weibull_min(shape.numpy(), scale=log_params[:, :1].exp().numpy())


@pytest.mark.parametrize("n_params", [1, 2])
@pytest.mark.parametrize("per_row", [False, True])
def test_functions_on_a_grid_equal_scipy(per_row, n_params):
    log_params, _ = random_rows(0, n_params=n_params)
    times = GRID.expand(N, -1) * torch.linspace(0.5, 2.0, N)[:, None] if per_row else GRID
    model = scipy_model(log_params)
    log_survival = model.logsf(times.numpy())
    expected = {
        "log_hazard": model.logpdf(times.numpy()) - log_survival,
        "log_cumulative_hazard": np.log(-log_survival),
        "cumulative_hazard": -log_survival,
        "survival": np.exp(log_survival),
    }
    for name, values in expected.items():
        ours = getattr(functional, f"weibull_{name}")(log_params, times)
        assert ours.shape == (N, 25)
        assert_close(ours, torch.as_tensor(values))


@pytest.mark.parametrize("n_params", [1, 2])
def test_quantile_median_and_mean_equal_scipy(n_params):
    log_params, _ = random_rows(1, n_params=n_params)
    model = scipy_model(log_params)
    probability = torch.tensor([1e-12, 0.01, 0.25, 0.5, 0.9, 1 - 1e-9], dtype=torch.float64)
    ours = functional.weibull_quantile(log_params, probability)
    assert ours.shape == (N, 6)
    assert_close(ours, torch.as_tensor(model.ppf(probability.numpy())))
    median, mean = functional.weibull_median(log_params), functional.weibull_mean(log_params)
    assert_close(median, torch.as_tensor(model.median()[:, 0]))
    assert_close(mean, torch.as_tensor(model.mean()[:, 0]))
    assert_close(
        median, functional.weibull_quantile(log_params, torch.tensor([0.5]).double())[:, 0]
    )


def test_mean_is_scale_times_gamma_of_one_plus_one_over_shape():
    """Shape 1: the scale; shape 2: half a root of pi; shape 1/2: two scales; shape 1/3: six."""
    shape = torch.tensor([1.0, 2.0, 0.5, 1 / 3], dtype=torch.float64)
    log_params = torch.stack([torch.full((4,), math.log(5.0)).double(), shape.log()], 1)
    expected = 5 * torch.tensor([1.0, math.sqrt(math.pi) / 2, 2.0, 6.0], dtype=torch.float64)
    # log_scale came through float32.
    assert_close(functional.weibull_mean(log_params), expected, 1e-7)
    assert_close(functional.weibull_mean(log_params[:, :1]), expected[:1].expand(4), 1e-7)


def test_survival_is_the_quadrature_of_the_hazard():
    """H(t) is the integral of h over (0, t]; in u = log time the integrand is smooth."""
    log_params, columns = random_rows(2)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    # Over forty e-folds of H; the rest is 4e-18 of it.
    length = 40 * torch.exp(-log_params[:, 1:])
    u = columns["time"].log()[:, None] - length * (1 - torch.as_tensor(nodes)) / 2
    hazard = torch.exp(functional.weibull_log_hazard(log_params, u.exp()) + u)
    quadrature = (hazard * torch.as_tensor(weights)).sum(1, keepdim=True) * length / 2
    survival = functional.weibull_survival(log_params, columns["time"][:, None])
    assert_close(torch.exp(-quadrature), survival)


def test_the_hazard_is_minus_the_slope_of_the_log_survival():
    """The slope by log time is minus the slope by log scale."""
    log_params, columns = random_rows(3)
    # Where the survival is not so small that its logarithm magnifies what exp has rounded.
    likely = functional.weibull_survival(log_params, columns["time"][:, None])[:, 0] > 1e-4
    assert likely.sum() > 20
    log_params, time = log_params[likely].requires_grad_(), columns["time"][likely]
    log_survival = functional.weibull_survival(log_params, time[:, None]).log()
    (slope,) = torch.autograd.grad(log_survival.sum(), log_params)
    hazard = functional.weibull_log_hazard(log_params, time[:, None]).exp()
    assert_close(slope[:, 0] / time, hazard[:, 0].detach(), 1e-11)


@pytest.mark.parametrize("n_params", [1, 2])
def test_samples_follow_the_distribution(n_params):
    log_params = torch.tensor([[0.0, 0.7], [3.0, -0.6], [-2.0, 0.0]])[:, :n_params].double()
    draws = functional.weibull_sample(log_params, 4000, generator=torch.Generator().manual_seed(0))
    assert draws.shape == (3, 4000)
    assert draws.dtype == log_params.dtype
    for row, model_row in zip(draws, log_params, strict=True):
        model = scipy_model(model_row[None])
        test = scipy.stats.kstest(row.numpy(), lambda t, model=model: model.cdf(t)[0])
        assert test.pvalue > 0.01
    uniform = 1 - functional.weibull_survival(log_params, draws)
    assert abs(torch.corrcoef(uniform)[0, 1:]).max() < 0.05


def test_samples_are_those_of_the_generator():
    log_params = torch.zeros(2, 2)
    draw = lambda seed, n=3: functional.weibull_sample(  # noqa: E731
        log_params, n, generator=torch.Generator().manual_seed(seed)
    )
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    state = torch.random.get_rng_state()
    draw(1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert functional.weibull_sample(log_params).shape == (2, 1)
    float32 = draw(0, 10**5)
    assert (float32 > 0).all()
    assert float32.isfinite().all()


# R's survreg: log scale = linear predictor, shape = 1 / its scale.
def lung(*names):
    frame = lifelines.datasets.load_lung().dropna(subset=list(names))
    x = np.column_stack([np.ones(len(frame)), *(frame[name] for name in names)])
    columns = {
        "event": torch.tensor(frame["status"].to_numpy(bool).copy()),
        "time": torch.tensor(frame["time"].to_numpy(float).copy()),
    }
    return torch.as_tensor(x), columns


@pytest.mark.parametrize(
    ("names", "coefficients", "scale", "log_likelihood"),
    [
        ((), [6.034904], 0.7593936, -1153.9),
        (("age",), [6.88712062, -0.01360829], 0.7587515, -1151.9),
        (
            ("sex", "age", "ph.ecog"),
            [6.273435252, 0.401090541, -0.007475439, -0.339638098],
            0.731109,
            -1132.4,
        ),
    ],
)
def test_survreg_on_lung(names, coefficients, scale, log_likelihood):
    """Printed by R 3.4.1: tests/r_lung.Rout.save in github.com/therneau/survival."""
    x, columns = lung(*names)
    beta = torch.tensor([*coefficients, -math.log(scale)], dtype=torch.float64)

    def loss(beta):
        log_scale = x @ beta[:-1]
        return nll(
            torch.stack([log_scale, beta[-1].expand_as(log_scale)], 1), **columns, reduction="sum"
        )

    value, gradient = value_and_gradient(loss, beta)
    assert abs(-value.item() - log_likelihood) <= 0.05
    # A Newton step from the printed digits stays within them.
    step = 1e-5 * torch.eye(len(beta)).double()
    hessian = torch.stack(
        [
            (value_and_gradient(loss, beta + h)[1] - value_and_gradient(loss, beta - h)[1]) / 2e-5
            for h in step
        ]
    )
    newton = torch.linalg.solve(hessian, gradient)
    assert newton.abs().max() < 2e-6


def test_survreg_mean_on_lung():
    """384.8529: tests/Examples/survival-Ex.Rout.save, example dsurvreg, same repository."""
    log_params = torch.tensor([[6.034904, -math.log(0.7593936)]], dtype=torch.float64)
    # Seven digits of the parameters are printed.
    assert_close(
        functional.weibull_mean(log_params), torch.tensor([384.8529], dtype=torch.float64), 5e-7
    )


def test_survreg_fit_with_weights_and_offset():
    """R 4.5.3, survival 3.8.12: github.com/Cameron-Lyons/survival,
    python/tests/fixtures/aft_lowlevel_reference.json, extreme_weighted_offset.

    Its y are log times, so that its likelihood lacks the Jacobian: the sum of w y over the events.
    """
    linear_predictor = torch.tensor(
        [
            *(2.32684446354457, 2.6104537474074, 1.39840521379765, 3.28286873034945),
            *(2.25442948060252, 2.82684446354457, 3.43846588080984, 3.68286873034945),
            *(2.79883233014213, 2.75442948060252, 3.5104537474074, 3.42684446354457),
        ],
        dtype=torch.float64,
    )
    y = torch.tensor(
        [1.2, 2.5, 0.9, 3, 1.8, 2.7, 3.9, 1.1, 2.2, 3.6, 1.4, 2.9], dtype=torch.float64
    )
    event = torch.tensor([1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1]).bool()
    weight = torch.tensor([0.5, 1.0, 2.0] * 4, dtype=torch.float64)
    log_shape = torch.full_like(y, 0.318811273937044)
    log_params = torch.stack([linear_predictor, log_shape], 1)
    loss, gradient = value_and_gradient(
        nll, log_params, event, y.exp(), weight=weight, reduction="sum"
    )
    jacobian = (weight * y)[event].sum()
    assert_close(-loss + jacobian, torch.tensor(-16.1024021497618, dtype=torch.float64), 1e-13)
    # The score at R's last iteration is 6e-9.
    assert_close(gradient.sum(0), torch.zeros(2).double(), 1e-8)
