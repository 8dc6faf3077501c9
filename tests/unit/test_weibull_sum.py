"""The Weibull likelihood by numpy against the one row by row, and where it leaves rows to it."""

import math

import pytest
import torch

from sksurvtorch.functional import _arrays, _weibull_sum
from sksurvtorch.functional import weibull_neg_log_likelihood as weibull
from tests.cohorts import value_and_gradient

N = 60


def columns(seed, *, weighted, integer):
    rng = torch.Generator().manual_seed(seed)
    time = torch.rand(N, generator=rng, dtype=torch.float64) * 9 + 0.5
    weight = torch.rand(N, generator=rng, dtype=torch.float64) if weighted else None
    return {
        "event": torch.rand(N, generator=rng) < 0.5,
        "time": time.ceil().long() if integer else time,
        "weight": weight,
    }


@pytest.mark.parametrize("many", [False, True], ids=["few", "blocks of many"])
@pytest.mark.parametrize("integer", [False, True], ids=["times", "whole times"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_both_ways_agree_to_rounding(monkeypatch, reduction, width, weighted, integer, many):
    if many:
        monkeypatch.setattr(_weibull_sum, "_BLOCK", 7)
        monkeypatch.setattr(_arrays, "_MANY", 1)
    given = columns(width, weighted=weighted, integer=integer)
    rng = torch.Generator().manual_seed(9)
    log_params = torch.randn(N, width, generator=rng, dtype=torch.float64)
    quick = value_and_gradient(weibull, log_params, **given, reduction=reduction)
    rows = weibull(log_params, **given, reduction="none")
    total = N if given["weight"] is None else given["weight"].sum()
    expected = rows.sum() / (total if reduction == "mean" else 1)
    torch.testing.assert_close(quick[0], expected, rtol=1e-14, atol=0)
    monkeypatch.setattr("sksurvtorch.functional.weibull.loss_and_gradient", lambda *_: None)
    general = value_and_gradient(weibull, log_params, **given, reduction=reduction)
    for one, other in zip(quick, general, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("width", [1, 2])
def test_the_gradient_of_an_event_at_its_scale_does_not_cancel(width):
    event, time = torch.tensor([True]), torch.tensor([1.0])
    log_scale = 1e-12
    log_params = torch.tensor([[log_scale, 0.0][:width]], dtype=torch.float64)
    _, gradient = value_and_gradient(weibull, log_params, event=event, time=time)
    torch.testing.assert_close(gradient[0, 0].item(), log_scale, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "params",
    [(-200.0,), (-200.0, 0.0), (0.0, 800.0), (torch.nan,), (torch.nan, 0.0), (0.0, -torch.inf)],
)
def test_rows_out_of_range_are_left_to_the_other_way(params):
    log_params = torch.tensor([[0.0, 0.0][: len(params)], params], dtype=torch.float64)
    event, time = torch.tensor([True, True]), torch.tensor([2.0, 2.0])
    assert _weibull_sum.loss_and_gradient(log_params, event, time, None, True) is None


@pytest.mark.parametrize("z", [1e-9, 0.011, 0.1249, 0.1251, 0.3])
@pytest.mark.parametrize("sign", [1, -1])
def test_what_an_event_adds_keeps_its_digits_at_any_distance_from_its_scale(z, sign):
    event, time = torch.tensor([True, False]), torch.ones(2, dtype=torch.float64)
    log_params = torch.tensor([[-sign * z], [-sign * z]], dtype=torch.float64)
    _, gradient = value_and_gradient(weibull, log_params, event=event, time=time, reduction="sum")
    assert gradient[0, 0].item() == pytest.approx(-math.expm1(sign * z), rel=3e-15)
    assert gradient[1, 0].item() == pytest.approx(-math.exp(sign * z), rel=1e-15)
