"""A warning has the line of the user as its place."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor, CoxPHLoss, displays
from sksurvtorch.exceptions import (
    IgnoredWeightWarning,
    NearlyTiedTimesWarning,
    NonFiniteLossWarning,
    PrecisionWarning,
    SkippedBatchWarning,
    TiedGroupsWarning,
)
from sksurvtorch.functional import weighted_error
from sksurvtorch.losses import AffinitiesLoss, MomentumLoss
from sksurvtorch.nets import SurvivalNet, survival_target
from tests.integration.test_trouble import PoisonWeight

G = np.random.default_rng(0)
X = G.normal(size=(40, 2))
y = Surv.from_arrays([True] * 40, G.permutation(40) + 1.0)
VOLUME = torch.rand(1, 2, 4)


def new(**options):
    return CoxNNRegressor(**{"max_epochs": 2, "random_state": 0, "hidden_layer_sizes": 2} | options)


def nearly_tied():
    new().fit(X, Surv.from_arrays([True] * 40, [0.3, 0.1 + 0.2, *range(1, 39)]))


def searched():
    times = [0.3, 0.1 + 0.2, *range(1, 39)]
    search = GridSearchCV(new(), {"alpha": [0.0]}, cv=[(range(20), range(20, 40))])
    search.fit(X, Surv.from_arrays([True] * 40, times))


def lost_precision():
    new(optimizer="adam").fit(X + np.array([0, 1e9]), y)


def not_converged():
    new(hidden_layer_sizes=(), optimizer="lbfgs", max_epochs=1).fit(X, y)


def not_finite():
    new(max_epochs=4, callbacks=[PoisonWeight(2)]).fit(X, y)


def skipped():
    event = np.arange(40) == 0
    new(batch_size=4).fit(X, Surv.from_arrays(event, y["time"]))


def skipped_by_a_net():
    event = np.arange(40) == 0
    net = SurvivalNet(
        nn.Linear(2, 1), CoxPHLoss(), max_epochs=1, batch_size=4, train_split=None, verbose=0
    )
    net.fit(X.astype(np.float32), survival_target(Surv.from_arrays(event, y["time"])))


def without_event():
    loss = MomentumLoss(CoxPHLoss(), bank_size=2)
    eta = torch.zeros(3, requires_grad=True)
    loss((eta, eta), torch.zeros(3).bool(), torch.arange(3.0))


def ignored_weight():
    AffinitiesLoss(2, 0.5, weighting="dacapo")(VOLUME, (VOLUME, VOLUME))


def ignored_weight_of_a_function():
    weighted_error(VOLUME, VOLUME, VOLUME, kind="absolute_error", weighting="dacapo")


def ignored_weight_compiled():
    loss = torch.compile(AffinitiesLoss(2, 0.5, weighting="dacapo"), backend="eager")
    loss(VOLUME, (VOLUME, VOLUME))


def tied_groups():
    model = new().fit(X, y)
    displays.RiskGroupsDisplay.from_estimator(model, np.repeat(X[:2], 20, axis=0), y, n_groups=4)


CASES = {
    nearly_tied: NearlyTiedTimesWarning,
    searched: NearlyTiedTimesWarning,
    lost_precision: PrecisionWarning,
    not_converged: ConvergenceWarning,
    not_finite: NonFiniteLossWarning,
    skipped: SkippedBatchWarning,
    skipped_by_a_net: SkippedBatchWarning,
    without_event: SkippedBatchWarning,
    ignored_weight: IgnoredWeightWarning,
    ignored_weight_of_a_function: IgnoredWeightWarning,
    ignored_weight_compiled: IgnoredWeightWarning,
    tied_groups: TiedGroupsWarning,
}


@pytest.mark.parametrize("case", CASES)
def test_a_warning_points_to_the_line_of_the_user(case, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        case()
    places = {(w.filename, w.lineno) for w in record if w.category is CASES[case]}
    lines, first = inspect.getsourcelines(case)
    assert places
    assert places <= {(__file__, first + k) for k in range(1, len(lines))}
