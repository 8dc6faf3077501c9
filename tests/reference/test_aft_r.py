"""Numbers that R's survreg prints for models of several distributions, and lifelines for intervals.

R `survival`, tests/testreg.Rout.save in github.com/therneau/survival. Its scale is 1 / shape.
"""

import math
from functools import partial

import lifelines.datasets
import numpy as np
import pytest
import scipy.optimize
import torch

from sksurvtorch.functional import aft_neg_log_likelihood
from tests.cohorts import value_and_gradient

nll = partial(aft_neg_log_likelihood, distribution="weibull")

TIME = torch.tensor([9.0, 1.0, 1.0, 6.0, 6.0, 8.0], dtype=torch.float64)
EVENT = torch.tensor([1, 1, 0, 1, 1, 0]).bool()
X = torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0, 0.0], dtype=torch.float64)[:, None]


def summed(beta, x, *args, **options):
    """The loss of a linear model of log scale with one shape, and its gradient."""

    def loss(beta):
        log_scale = beta[0] + x @ beta[1:-1]
        log_params = torch.stack([log_scale, beta[-1].expand_as(log_scale)], 1)
        return nll(log_params, *args, **options, reduction="sum")

    value, gradient = value_and_gradient(loss, torch.as_tensor(beta, dtype=torch.float64))
    return value.item(), gradient.numpy()


def fitted(x, *args, start=1.0, **options):
    """Coefficients, the inverse of the shape, and the log likelihood of the best linear model."""
    first = np.zeros(x.shape[1] + 2)
    first[0] = start
    found = scipy.optimize.minimize(
        lambda beta: summed(beta, x, *args, **options), first, jac=True, options={"gtol": 1e-6}
    )
    assert abs(found.jac).max() < 1e-3
    return found.x[:-1], math.exp(-found.x[-1]), -found.fun


@pytest.mark.parametrize(
    ("distribution", "coefficients", "scale", "log_likelihood", "digits"),
    [
        ("loglogistic", [2.177208, -1.195672], 0.3847582, -10.7, 5e-7),
        ("lognormal", [2.210, -1.268], 0.64, -10.5, 5e-3),
        ("weibull", [2.2373335, -0.7442249], 0.4563163, None, 5e-7),
    ],
)
def test_survreg_on_six_rows(distribution, coefficients, scale, log_likelihood, digits):
    beta, found_scale, found = fitted(X, EVENT, TIME, distribution=distribution)
    np.testing.assert_allclose(beta, coefficients, rtol=0, atol=digits)
    assert found_scale == pytest.approx(scale, abs=digits)
    if log_likelihood is not None:
        assert found == pytest.approx(log_likelihood, abs=0.05)
    at = [*coefficients, -math.log(scale)]
    value, gradient = summed(at, X, EVENT, TIME, distribution=distribution)
    assert -value == pytest.approx(found, abs=1e-4)
    assert abs(gradient).max() < 30 * digits


def test_intervals_of_diabetes():
    """731 intervals as flexsurv and icenReg have them: see lifelines' load_diabetes."""
    frame = lifelines.datasets.load_diabetes()
    male = torch.as_tensor(frame["gender"].eq("male").to_numpy(float))[:, None]
    lower, upper = (torch.as_tensor(frame[side].to_numpy(float)) for side in ("left", "right"))
    beta, scale, log_likelihood = fitted(male, lower=lower, upper=upper, start=3.0)
    assert log_likelihood == pytest.approx(-2027.196, abs=5e-4)
    assert math.exp(beta[0]) == pytest.approx(18.31971, abs=5e-4)
    assert beta[1] == pytest.approx(0.04576, abs=5e-5)
    assert 1 / scale == pytest.approx(2.82628, abs=5e-5)


@pytest.mark.parametrize(
    ("distribution", "fitter"),
    [("lognormal", "LogNormalFitter"), ("loglogistic", "LogLogisticFitter")],
)
def test_lifelines_likelihood_of_intervals(distribution, fitter):
    frame = lifelines.datasets.load_diabetes()
    lower, upper = frame["left"].to_numpy(float), frame["right"].to_numpy(float)
    theirs = getattr(lifelines, fitter)().fit_interval_censoring(lower, upper)
    *_, ours = fitted(
        torch.zeros(len(lower), 0).double(),
        lower=torch.as_tensor(lower),
        upper=torch.as_tensor(upper),
        distribution=distribution,
        start=3.0,
    )
    assert ours == pytest.approx(theirs.log_likelihood_, abs=1e-3)
