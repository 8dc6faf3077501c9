"""Values of the losses that can be checked by hand."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from sksurvtorch.functional import (
    RiskSets,
    breslow_baseline,
    cox_neg_partial_log_likelihood,
    weibull_mean,
    weibull_median,
    weibull_neg_log_likelihood,
    weibull_quantile,
    weibull_survival,
)

ETA = torch.tensor([log(1.0), log(2.0), log(4.0)], dtype=torch.float64)  # hazard ratios 1, 2, 4


def cox(event, time, **options):
    event = torch.tensor(event)
    options = {"reduction": "sum"} | options
    return cox_neg_partial_log_likelihood(ETA, event, torch.tensor(time), **options).item()


def test_each_event_divides_by_those_still_at_risk():
    assert cox([True, True, True], [1, 2, 3]) == pytest.approx(log(7) + log(6 / 2) + log(4 / 4))


def test_a_row_censored_at_an_event_is_at_risk_there():
    assert cox([True, False, False], [1, 1, 1]) == pytest.approx(log(7))


def test_efron_takes_away_part_of_the_tied_events():
    two_tied = log(7) + log(7 - (1 + 2) / 2) - log(1) - log(2)
    assert cox([True, True, False], [1, 1, 2]) == pytest.approx(two_tied)


def test_breslow_leaves_them_all():
    two_tied = 2 * log(7) - log(1) - log(2)
    assert cox([True, True, False], [1, 1, 2], ties="breslow") == pytest.approx(two_tied)


def test_an_entry_at_the_time_of_an_event_is_too_late():
    entry = torch.tensor([0, 0, 1])
    assert cox([True, False, False], [1, 2, 3], entry=entry) == pytest.approx(log(3))


def test_strata_have_their_own_risk_sets():
    stratum = torch.tensor([0, 1, 1])
    expected = log(1 / 1) + log(6 / 2)
    assert cox([True, True, False], [1, 1, 2], stratum=stratum) == pytest.approx(expected)


def test_the_mean_divides_by_the_weight_of_the_events():
    weight = torch.tensor([3.0, 1.0, 2.0])
    expected = 3 * (log(3 * 1 + 2 + 2 * 4) - log(1)) / 3
    found = cox([True, False, False], [1, 2, 3], weight=weight, reduction="mean")
    assert found == pytest.approx(expected)


def test_none_gives_each_event_its_part_and_a_censored_row_zero():
    part = cox_neg_partial_log_likelihood(
        ETA, torch.tensor([True, False, True]), torch.tensor([1, 2, 3]), reduction="none"
    )
    assert part.tolist() == pytest.approx([log(7), 0, 0])


def test_the_gradient_is_expected_minus_observed():
    eta = ETA.clone().requires_grad_()
    event, time = torch.tensor([True, False, False]), torch.tensor([1, 2, 3])
    cox_neg_partial_log_likelihood(eta, event, time, reduction="sum").backward()
    assert eta.grad.tolist() == pytest.approx([1 / 7 - 1, 2 / 7, 4 / 7])


def test_uniform_weights_of_any_size_change_the_level_alone():
    """log sum w exp(eta) has log w in it; what is left is the loss without weights."""
    eta = torch.linspace(-500, 500, 50, dtype=torch.float64)
    event, time = torch.ones(50, dtype=torch.bool), torch.arange(50)
    plain = cox_neg_partial_log_likelihood(eta, event, time)
    for size in (1e-120, 1e100):
        weight = torch.full((50,), size, dtype=torch.float64)
        loss = cox_neg_partial_log_likelihood(eta, event, time, weight=weight)
        assert (loss - log(size)).item() == pytest.approx(plain.item(), rel=1e-12)


def test_the_baseline_adds_events_over_those_at_risk():
    event, time = torch.tensor([True, True, False]), torch.tensor([1, 2, 3])
    baseline = breslow_baseline(ETA, event, time)
    assert baseline.stratum is None
    assert baseline.times.tolist() == [1, 2]
    hazard = baseline.log_cumulative_hazard.exp().tolist()
    assert hazard == pytest.approx([1 / 7, 1 / 7 + 1 / 6])


def test_risk_sets_count_and_describe_themselves():
    risk_sets = RiskSets(torch.tensor([True, False, True]), torch.tensor([3, 1, 3]))
    assert repr(risk_sets) == "RiskSets(n_samples=3, n_events=2, ties='efron')"
    assert len(risk_sets) == 3


@pytest.mark.parametrize(
    ("event", "expected"),
    [(True, 1.0), (False, 1.0)],
)
def test_at_its_scale_an_exponential_has_hazard_and_cumulative_hazard_one(event, expected):
    loss = weibull_neg_log_likelihood(
        torch.zeros(1, 1), torch.tensor([event]), torch.tensor([1.0]), reduction="sum"
    )
    assert loss.item() == expected


def test_a_weibull_row_is_cumulative_hazard_minus_log_hazard():
    log_params = torch.tensor([[log(2.0), log(3.0)]], dtype=torch.float64)  # scale 2, shape 3
    loss = weibull_neg_log_likelihood(log_params, torch.tensor([True]), torch.tensor([4.0]))
    assert loss.item() == pytest.approx(8 - log(3 / 2 * 4))
    entered = weibull_neg_log_likelihood(
        log_params, torch.tensor([True]), torch.tensor([4.0]), entry=torch.tensor([2.0])
    )
    assert entered.item() == pytest.approx(8 - 1 - log(3 / 2 * 4))


def test_functions_of_an_exponential():
    log_params = torch.tensor([[log(2.0)]], dtype=torch.float64)  # scale 2
    survival = weibull_survival(log_params, torch.tensor([0.0, 2.0, 4.0]))
    assert survival[0].tolist() == pytest.approx([1, exp(-1), exp(-2)])
    assert weibull_median(log_params).item() == pytest.approx(2 * log(2))
    assert weibull_mean(log_params).item() == pytest.approx(2)
    quantile = weibull_quantile(log_params, torch.tensor([0.0, 1 - exp(-1), 1.0]))
    assert quantile[0].tolist() == pytest.approx([0, 2, float("inf")])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_parameters_that_are_not_finite_have_no_loss(wrong):
    log_params = torch.full((1, 2), wrong)
    loss = weibull_neg_log_likelihood(log_params, torch.tensor([True]), torch.tensor([1.0]))
    assert loss.isnan()
