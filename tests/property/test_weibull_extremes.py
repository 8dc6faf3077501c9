"""The Weibull loss and functions for parameters and times at the end of what a float can hold."""

import itertools

import pytest
import torch

from sksurvtorch.functional import (
    weibull_cumulative_hazard,
    weibull_log_cumulative_hazard,
    weibull_log_hazard,
    weibull_mean,
    weibull_median,
    weibull_quantile,
    weibull_survival,
)
from sksurvtorch.functional import weibull_neg_log_likelihood as nll
from tests import twins
from tests.cohorts import value_and_gradient


def extreme_rows(dtype):
    """Every pair of extreme parameters with either event and times about one."""
    top = torch.finfo(dtype).max
    sizes = [0.0, 1e2, -1e2, 1e4, -1e4, 1e30, -1e30, top, -top]
    table = itertools.product(sizes, sizes, [0.0, 1.0], [1e-3, 1.0, 2.0, 1e3])
    table = torch.tensor(list(table), dtype=torch.float64)
    return table[:, :2].to(dtype), table[:, 2].bool(), table[:, 3].to(dtype)


def exactly(log_params, event, time):
    """The twin's numbers before they are rounded to floats."""
    return [
        twins.weibull_row(*params, is_event, at)
        for params, is_event, at in zip(
            log_params.tolist(), event.tolist(), time.tolist(), strict=True
        )
    ]


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=["float32", "float64"])
def extreme(request):
    """Extreme rows, their losses and gradients, and the exact ones."""
    log_params, event, time = extreme_rows(request.param)
    cotangent = torch.ones(len(time), dtype=request.param)
    ours = value_and_gradient(nll, log_params, event, time, reduction="none", cotangent=cotangent)
    return (log_params, event, time), ours, exactly(log_params, event, time)


def test_value_and_gradient_are_finite_at_extremes(extreme):
    _, (value, gradient), _ = extreme
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_mean_and_its_gradient_are_finite_at_each_extreme(extreme, reduction):
    (log_params, event, time), _, _ = extreme
    for row in range(0, len(time), 7):
        one = slice(row, row + 1)
        value, gradient = value_and_gradient(
            nll, log_params[one], event[one], time[one], reduction=reduction
        )
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_values_are_right_at_extremes_that_a_float_can_hold(extreme):
    _, (value, _), exact = extreme
    limits = torch.finfo(value.dtype)
    checked = 0
    for ours, (expected, *_) in zip(value.tolist(), exact, strict=True):
        if abs(expected) < limits.max / 2:
            # H = exp(z) has the rounding of z, which is up to 100 in float32 and 700 in float64.
            assert abs(ours - expected) <= 1e3 * limits.eps * max(1, abs(expected))
            checked += 1
    assert checked > len(exact) / 2


def test_the_gradient_has_the_right_sign_at_extremes(extreme):
    """Wherever the exact one is not zero and a float can hold it."""
    (log_params, event, time), (_, gradient), exact = extreme
    limits = torch.finfo(gradient.dtype)
    wrong = [
        (log_params[row].tolist(), bool(event[row]), time[row].item(), name, ours, float(expected))
        for row, (slopes, (_, *exacts)) in enumerate(zip(gradient.tolist(), exact, strict=True))
        for name, ours, expected in zip(("scale", "shape"), slopes, exacts, strict=True)
        if limits.tiny <= abs(expected) <= limits.max and ours * float(expected) <= 0
    ]
    assert not wrong, f"{len(wrong)} wrong, first {wrong[:3]}"


def test_a_gradient_too_large_for_a_float_keeps_its_sign(extreme):
    (log_params, event, time), (_, gradient), exact = extreme
    limits = torch.finfo(gradient.dtype)
    wrong = [
        (log_params[row].tolist(), bool(event[row]), time[row].item(), name, ours, expected > 0)
        for row, (slopes, (_, *exacts)) in enumerate(zip(gradient.tolist(), exact, strict=True))
        for name, ours, expected in zip(("scale", "shape"), slopes, exacts, strict=True)
        if abs(expected) > limits.max and (ours == 0 or (ours > 0) != (expected > 0))
    ]
    assert not wrong, f"{len(wrong)} wrong, first {wrong[:3]}"


@pytest.mark.parametrize("time", [1e-300, 1e300, 5e-324])
@pytest.mark.parametrize("event", [True, False])
def test_value_and_gradient_are_finite_at_extreme_times(event, time):
    log_params, _, _ = extreme_rows(torch.float64)
    n = len(log_params)
    times = torch.full((n,), time, dtype=torch.float64)
    events = torch.full((n,), event)
    value, gradient = value_and_gradient(
        nll, log_params, events, times, reduction="none", cotangent=torch.ones(n).double()
    )
    assert value.isfinite().all()
    assert gradient.isfinite().all()


def test_an_extreme_entry_is_finite():
    log_params, event, _ = extreme_rows(torch.float64)
    n = len(log_params)
    for entry, time in ((1e-300, 1e300), (1e-300, 2e-300), (1.0, 1.0 + 2**-52), (0.0, 1.0)):
        value, gradient = value_and_gradient(
            nll,
            log_params,
            event,
            torch.full((n,), time, dtype=torch.float64),
            entry=torch.full((n,), entry, dtype=torch.float64),
            reduction="none",
            cotangent=torch.ones(n).double(),
        )
        assert value.isfinite().all()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_functions_at_extremes_are_never_nan(dtype):
    log_params, _, _ = extreme_rows(dtype)
    log_params = log_params.unique(dim=0)
    times = torch.tensor([1e-30, 1.0, 1e30], dtype=dtype)
    survival = weibull_survival(log_params, times)
    assert ((survival >= 0) & (survival <= 1)).all()
    assert (survival.diff(dim=1) <= 0).all()
    for function in (weibull_log_hazard, weibull_log_cumulative_hazard, weibull_cumulative_hazard):
        assert not function(log_params, times).isnan().any()
    probability = torch.tensor([0.25, 0.5, 0.75], dtype=dtype)
    assert not weibull_quantile(log_params, probability).isnan().any()
    assert not weibull_median(log_params).isnan().any()
    assert not weibull_mean(log_params).isnan().any()
