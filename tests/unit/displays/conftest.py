"""No screen for any of these tests, and two models to draw."""

import matplotlib
import pytest
from sksurv.linear_model import CoxPHSurvivalAnalysis

from sksurvtorch import CompetingRisksNNRegressor, WeibullAFTRegressor
from tests.unit.displays.patients import TRAIN, Y_CAUSES, X, Y


@pytest.fixture(autouse=True)
def plt():
    """Draw without a screen, and leave no figure open."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture(scope="module")
def cox():
    return CoxPHSurvivalAnalysis().fit(X[TRAIN], Y[TRAIN])


@pytest.fixture(scope="module")
def stopped():
    """A fit of twelve epochs or fewer, stopped early."""
    model = WeibullAFTRegressor(
        max_epochs=12, early_stopping=True, n_iter_no_change=3, lr=0.02, random_state=0
    )
    return model.fit(X, Y)


@pytest.fixture(scope="module")
def causes():
    """A linear model of two causes."""
    model = CompetingRisksNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs")
    return model.fit(X[TRAIN], Y_CAUSES[TRAIN])
