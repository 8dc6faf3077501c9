"""The twins the library is measured with, measured themselves."""

import math

import pytest
import torch
from scipy.stats import weibull_min

from tests import twins
from tests.cohorts import assert_close, random_cohort, value_and_gradient


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("spread", [1.0, 500.0])
def test_the_cox_twin_is_exact(spread, ties):
    for seed in range(4):
        cohort = random_cohort(
            seed, n=15, with_=["entry", "stratum", "weight"], spread=spread, n_times=4
        )
        loss, gradient = twins.cox_in_60_digits(cohort.log_hazard_ratio, **cohort.target, ties=ties)
        value = value_and_gradient(
            twins.cox, cohort.log_hazard_ratio, **cohort.target, ties=ties, reduction="sum"
        )
        assert_close(value[0], loss, 2e-14)
        assert_close(value[1], gradient, 2e-14)


def test_the_cox_twin_on_three_subjects_by_hand():
    """Events of A and B at 2, C censored at 2: S = 1 + e + e², E = 1 + e."""
    arguments = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([True, True, False]), torch.ones(3)
    total, tied = 1 + math.e + math.e**2, 1 + math.e
    breslow = 2 * math.log(total) - 1
    efron = math.log(total) + math.log(total - tied / 2) - 1
    assert twins.cox(*arguments, ties="breslow", reduction="sum").item() == pytest.approx(
        breslow, rel=1e-15
    )
    assert twins.cox(*arguments, ties="efron", reduction="mean").item() == pytest.approx(
        efron / 2, rel=1e-15
    )


def test_the_weibull_twin_is_scipys_weibull():
    generator = torch.Generator().manual_seed(0)
    log_params = torch.randn(30, 2, generator=generator, dtype=torch.float64)
    event = torch.rand(30, generator=generator) < 0.5
    time = 3 * torch.rand(30, generator=generator, dtype=torch.float64)
    entry = time * torch.rand(30, generator=generator, dtype=torch.float64)
    model = weibull_min(log_params[:, 1].exp().numpy(), scale=log_params[:, 0].exp().numpy())
    likelihood = torch.where(
        event, *(torch.as_tensor(f(time.numpy())) for f in (model.logpdf, model.logsf))
    )
    expected = torch.as_tensor(model.logsf(entry.numpy())) - likelihood
    assert_close(twins.weibull(log_params, event, time, entry=entry)[0], expected, 1e-13)
