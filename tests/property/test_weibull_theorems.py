"""What is true of the Weibull likelihood whatever the data."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sksurvtorch.functional import (
    weibull_cumulative_hazard,
    weibull_log_cumulative_hazard,
    weibull_log_hazard,
    weibull_median,
    weibull_quantile,
    weibull_survival,
)
from sksurvtorch.functional import weibull_neg_log_likelihood as nll
from sksurvtorch.losses import WeibullAFTLoss
from tests import twins
from tests.cohorts import assert_close, value_and_gradient

GRID = torch.logspace(-1, 1, 9, dtype=torch.float64)


@st.composite
def rows(draw, *, n_params=None, entry=None, weight=None):
    """Log params, and the columns by name."""
    n = draw(st.integers(1, 8))

    def column(elements):
        return draw(st.lists(elements, min_size=n, max_size=n))

    def is_there(choice):
        return draw(st.booleans()) if choice is None else choice

    def double(numbers):
        return torch.tensor(numbers, dtype=torch.float64)

    n_params = draw(st.sampled_from([1, 2])) if n_params is None else n_params
    log_params = torch.stack([double(column(st.floats(-2.0, 2.0))) for _ in range(n_params)], 1)
    log_params[:, 1:] /= 2
    columns = {
        "event": torch.tensor(column(st.booleans())),
        "time": double(column(st.floats(0.1, 10.0))),
    }
    if is_there(entry):
        share = column(st.sampled_from([0.0, 0.1, 0.5, 0.9]))
        columns["entry"] = columns["time"] * double(share)
    if is_there(weight):
        columns["weight"] = double(column(st.sampled_from([0.25, 1.0, 3.0])))
    return log_params, columns


def loss_and_gradient(log_params, columns, **options):
    """The summed loss and its gradient."""
    return value_and_gradient(nll, log_params, **columns, reduction="sum", **options)


def assert_same(one, other, tolerance=1e-12):
    assert_close(one[0], other[0], tolerance)
    assert_close(one[1], other[1], tolerance)


def weight_of(columns):
    return columns.get("weight", torch.ones(len(columns["event"])).double())


@given(data=rows(), unit=st.sampled_from([1e-9, 1 / 365.25, 24.0, 1e9]))
def test_a_change_of_unit_adds_its_logarithm_for_each_event(data, unit):
    log_params, columns = data
    moved = log_params.clone()
    moved[:, 0] += math.log(unit)
    scaled = {k: v * unit if k in ("time", "entry") else v for k, v in columns.items()}
    here, there = loss_and_gradient(log_params, columns), loss_and_gradient(moved, scaled)
    events = weight_of(columns)[columns["event"]].sum()
    # Times and log scale are rounded anew, and H up to 1e4 has that times the log of the unit.
    assert_close(there[0], here[0] + math.log(unit) * events, 1e-11)
    assert_close(there[1], here[1], 1e-11)


@given(data=rows(n_params=1))
def test_shape_one_is_the_exponential_distribution(data):
    log_scale, columns = data
    rate = torch.distributions.Exponential((-log_scale[:, 0]).exp())
    expected = torch.where(
        columns["event"],
        -rate.log_prob(columns["time"]),
        columns["time"] / log_scale[:, 0].exp(),
    )
    expected = expected - columns.get("entry", torch.zeros(1)) / log_scale[:, 0].exp()
    losses = nll(log_scale, **columns, reduction="none")
    assert_close(losses, expected * weight_of(columns))
    with_shape = torch.cat([log_scale, torch.zeros_like(log_scale)], 1)
    here = loss_and_gradient(log_scale, columns)
    there = loss_and_gradient(with_shape, columns)
    assert_same(here, (there[0], there[1][:, :1]), 1e-15)
    for function in (weibull_log_hazard, weibull_survival, weibull_cumulative_hazard):
        assert torch.equal(function(log_scale, GRID), function(with_shape, GRID))


@given(data=rows())
def test_quantile_inverts_survival(data):
    log_params, _ = data
    probability = torch.tensor([0.01, 0.3, 0.5, 0.99], dtype=torch.float64)
    quantile = weibull_quantile(log_params, probability)
    assert_close(weibull_survival(log_params, quantile), (1 - probability).expand_as(quantile))
    assert_close(weibull_median(log_params), quantile[:, 2])
    assert (quantile.diff(dim=1) > 0).all()


@given(data=rows())
def test_the_functions_are_one_function(data):
    """exp, and minus log, of one another; survival in [0, 1] and never rising."""
    log_params, _ = data
    log_cumulative = weibull_log_cumulative_hazard(log_params, GRID)
    cumulative = weibull_cumulative_hazard(log_params, GRID)
    survival = weibull_survival(log_params, GRID)
    # exp(z) has the rounding of z times |z|, here up to 10.
    assert_close(cumulative / log_cumulative.exp(), torch.ones_like(cumulative))
    assert_close(survival, torch.exp(-cumulative))
    assert ((survival >= 0) & (survival <= 1)).all()
    assert (survival.diff(dim=1) <= 0).all()
    shape = log_params[:, 1:].exp() if log_params.shape[1] == 2 else 1.0
    expected = torch.log(torch.as_tensor(shape)) + log_cumulative - GRID.log()
    assert_close(weibull_log_hazard(log_params, GRID), expected)


@given(data=rows())
def test_the_loss_is_that_of_hazard_and_cumulative_hazard(data):
    log_params, columns = data
    at = columns["time"][:, None]
    losses = weibull_cumulative_hazard(log_params, at)[:, 0]
    losses = losses - columns["event"] * weibull_log_hazard(log_params, at)[:, 0]
    if "entry" in columns:
        late = columns["entry"] > 0
        before = weibull_cumulative_hazard(log_params[late], columns["entry"][late][:, None])
        losses[late] -= before[:, 0]
    assert_close(nll(log_params, **columns, reduction="none"), weight_of(columns) * losses)


@given(data=rows(entry=False), share=st.sampled_from([0.1, 0.5, 0.999]))
def test_a_row_cut_in_two_is_the_row(data, share):
    """(0, t] is (0, s] censored and (s, t]."""
    log_params, columns = data
    cut = share * columns["time"]
    first = {**columns, "event": torch.zeros_like(columns["event"]), "time": cut}
    second = {**columns, "entry": cut}
    parts = [loss_and_gradient(log_params, part) for part in (first, second)]
    whole = loss_and_gradient(log_params, columns)
    # H up to 1e4 is split, and each part rounded.
    assert_same([a + b for a, b in zip(*parts, strict=True)], whole, 1e-11)


@given(data=rows(entry=False))
def test_entry_at_zero_is_no_entry(data):
    log_params, columns = data
    early = {**columns, "entry": torch.zeros_like(columns["time"])}
    assert_same(loss_and_gradient(log_params, early), loss_and_gradient(log_params, columns))


@given(data=rows(), random=st.randoms(use_true_random=False))
def test_each_row_is_on_its_own(data, random):
    log_params, columns = data
    n = len(log_params)
    order = torch.tensor(random.sample(range(n), n))
    losses = nll(log_params, **columns, reduction="none")
    assert losses.shape == (n,)
    permuted = {k: v[order] for k, v in columns.items()}
    assert_close(nll(log_params[order], **permuted, reduction="none"), losses[order], 1e-15)
    alone = [
        nll(log_params[i : i + 1], **{k: v[i : i + 1] for k, v in columns.items()}, reduction="sum")
        for i in range(n)
    ]
    assert_close(torch.stack(alone), losses, 1e-15)


@given(data=rows())
def test_the_reductions_agree(data):
    """'mean' divides by the sum of the weights."""
    log_params, columns = data
    losses = nll(log_params, **columns, reduction="none")
    assert_close(nll(log_params, **columns, reduction="sum"), losses.sum())
    assert_close(nll(log_params, **columns), losses.sum() / weight_of(columns).sum())


@given(data=rows(weight=False))
def test_weights_of_two_are_rows_taken_twice(data):
    log_params, columns = data
    index = torch.arange(len(log_params)).repeat(2)
    twice = log_params[index], {k: v[index] for k, v in columns.items()}
    weighted = {**columns, "weight": torch.full((len(log_params),), 2.0).double()}
    here, there = loss_and_gradient(log_params, weighted), loss_and_gradient(*twice)
    assert_same(here, (there[0], there[1].reshape(2, *log_params.shape).sum(0)))
    assert_close(nll(log_params, **weighted), nll(twice[0], **twice[1]))


@given(data=rows(weight=False))
def test_a_weight_of_zero_removes_the_row(data):
    log_params, columns = data
    index = torch.cat([torch.arange(len(log_params)), torch.tensor([0])])
    more = {k: v[index] for k, v in columns.items()}
    more["weight"] = (torch.arange(len(index)) < len(log_params)).double()
    value, gradient = value_and_gradient(nll, log_params[index], **more)
    assert_close(value, nll(log_params, **columns))
    assert (gradient[-1] == 0).all()


@given(data=rows())
def test_a_batch_of_censored_rows_is_fine(data):
    log_params, columns = data
    censored = {**columns, "event": torch.zeros_like(columns["event"])}
    value, gradient = loss_and_gradient(log_params, censored)
    losses, slopes = twins.weibull(log_params, **censored)
    assert value > 0
    assert_same((value, gradient), (losses.sum(), slopes))


def test_the_exponential_likelihood_is_least_at_events_over_time():
    event = torch.tensor([True, False, True, True])
    time = torch.tensor([1.0, 4.0, 2.5, 0.5], dtype=torch.float64)
    entry = torch.tensor([0.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    weight = torch.tensor([1.0, 2.0, 3.0, 0.5], dtype=torch.float64)
    scale = (weight * (time - entry)).sum() / weight[event].sum()

    def loss(log_scale):
        return nll(log_scale.expand(4, 1), event, time, entry=entry, weight=weight)

    _, gradient = value_and_gradient(loss, scale.log().reshape(1, 1))
    assert_close(gradient, torch.zeros(1, 1).double())


@pytest.mark.parametrize("n_params", [1, 2])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_gradcheck(reduction, n_params):
    log_params = torch.tensor([[0.1, 0.2], [-0.5, -0.3], [0.4, 0.0]])[:, :n_params].double()
    columns = {
        "event": torch.tensor([True, False, True]),
        "time": torch.tensor([0.5, 2.0, 1.0]).double(),
        "entry": torch.tensor([0.0, 1.0, 0.5]).double(),
        "weight": torch.tensor([1.0, 2.0, 0.5]).double(),
    }

    def function(at):
        return nll(at, **columns, reduction=reduction)

    at = log_params.requires_grad_()
    assert torch.autograd.gradcheck(function, (at,))


@pytest.mark.parametrize("n_params", [1, 2])
def test_second_derivatives_are_right_or_refused(n_params):
    at = torch.tensor([[0.1, 0.2], [-0.5, -0.3], [0.4, 0.0]])[:, :n_params].double()
    event, time = torch.tensor([True, False, True]), torch.tensor([0.5, 2.0, 1.0]).double()
    entry = torch.tensor([0.0, 1.0, 0.5]).double()

    def function(flat):
        return nll(flat.reshape(3, n_params), event, time, entry=entry)

    at = at.reshape(-1)
    steps = 1e-5 * torch.eye(len(at)).double()
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


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("how", ["arguments", "mapping"])
def test_the_module_is_the_function_with_its_options_bound(how, reduction):
    log_params = torch.tensor([[0.1, 0.2], [-0.5, -0.3], [0.4, 0.0]]).double()
    columns = {
        "event": torch.tensor([True, False, True]),
        "time": torch.tensor([0.5, 2.0, 1.0]).double(),
        "entry": torch.tensor([0.0, 1.0, 0.5]).double(),
        "weight": torch.tensor([1.0, 2.0, 0.5]).double(),
    }
    module = WeibullAFTLoss(reduction=reduction)
    for names in (["event", "time"], ["event", "time", "entry"], list(columns)):
        some = {name: columns[name] for name in names}
        expected = nll(log_params, **some, reduction=reduction)
        ours = module(log_params, some) if how == "mapping" else module(log_params, **some)
        assert_close(ours, expected, 1e-15)


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_times_that_are_not_positive_are_counted_in_the_error(bad):
    time = torch.tensor([1.0, bad, 2.0, bad, bad])
    with pytest.raises(ValueError, match="3"):
        nll(torch.zeros(5, 2), torch.ones(5).bool(), time)


@pytest.mark.parametrize(
    "wrong",
    [
        {"reduction": "average"},
        {"time": torch.ones(4)},
        {"time": torch.tensor([1.0, math.nan, 2.0])},
        {"event": torch.tensor([True, False])},
        {"event": torch.tensor([0.5, 1.0, 0.0])},
        {"entry": torch.zeros(2)},
        {"entry": torch.tensor([0.0, math.nan, 0.0])},
        {"weight": torch.tensor([1.0, -1.0, 1.0])},
        {"weight": torch.ones(2)},
        {"log_params": torch.zeros(2, 2)},
        {"log_params": torch.zeros(3, 3)},
        {"log_params": torch.zeros(3, 2).long()},
    ],
    ids=lambda wrong: "-".join(
        f"{k}={v.tolist() if isinstance(v, torch.Tensor) else v}" for k, v in wrong.items()
    ),
)
def test_wrong_arguments_are_refused(wrong):
    columns = {
        "log_params": torch.zeros(3, 2),
        "event": torch.tensor([True, True, False]),
        "time": torch.tensor([1.0, 2.0, 3.0]),
    }
    assert nll(**columns).isfinite()
    with pytest.raises((ValueError, TypeError)):
        nll(**{**columns, **wrong})
