"""scikit-learn's own checks of an estimator, on targets recoded as survival times."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import (
    check_sample_weight_equivalence_on_dense_data,
    parametrize_with_checks,
)
from sklearn.utils.validation import column_or_1d
from sksurv.util import Surv

from sksurvtorch import (
    CompetingRisksNNRegressor,
    CoxNNRegressor,
    LogLogisticAFTRegressor,
    LogNormalAFTRegressor,
    WeibullAFTRegressor,
)


class PlainTarget:
    """Take the plain y of the checks as survival times.

    Each value becomes a positive time by a monotone function, and an event or a censoring by its
    own digits, so that equal rows stay equal whatever rows are around them. What is no number
    (None, NaN, complex) goes on as it is.
    """

    @staticmethod
    def recode(y):
        if y is None:
            return y
        values = column_or_1d(y, warn=True)
        if np.iscomplexobj(values):
            return values
        values = values.astype(float)
        time = np.where(values > 0, 1 + values, 1 / (1 - np.minimum(values, 0)))
        with np.errstate(invalid="ignore"):
            event = np.floor(8 * values) % 4 != 3
        return Surv.from_arrays(event, time)

    def fit(self, X, y, sample_weight=None):
        return super().fit(X, self.recode(y), sample_weight)

    def partial_fit(self, X, y, sample_weight=None):
        return super().partial_fit(X, self.recode(y), sample_weight)

    def score(self, X, y, sample_weight=None):
        return super().score(X, self.recode(y), sample_weight)


class PlainCox(PlainTarget, CoxNNRegressor):
    pass


class PlainWeibull(PlainTarget, WeibullAFTRegressor):
    pass


class PlainLogNormal(PlainTarget, LogNormalAFTRegressor):
    pass


class PlainLogLogistic(PlainTarget, LogLogisticAFTRegressor):
    pass


class PlainCompetingRisks(PlainTarget, CompetingRisksNNRegressor):
    """Some of the events are of a second cause, again by their own digits."""

    @staticmethod
    def recode(y):
        recoded = PlainTarget.recode(y)
        if getattr(recoded, "dtype", None) is None or recoded.dtype.names is None:
            return recoded
        with np.errstate(invalid="ignore"):
            second = np.floor(3 * column_or_1d(y).astype(float)) % 4 >= 2
        status = recoded["event"] * (1 + second)
        y = np.empty(len(status), [("status", np.int64), ("time", float)])
        y["status"], y["time"] = status, recoded["time"]
        return y


# Few epochs, since nothing that is checked needs a good fit.
STOPPING = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 6}
CONFIGURATIONS = {
    # In float32 the order of the rows can change the last bit of a network's output, and several
    # networks have more of these than the tolerance of 1e-7 allows. Narrow ones show what is of
    # several; those of one network below have the layers that are used by default.
    "number chosen": {"dtype": "float64", "hidden_layer_sizes": (4,), "max_epochs": 2},
    "one network": {"n_estimators": 1, "max_epochs": 4},
    "mini-batches": {"n_estimators": 1, "dtype": "float64", "batch_size": 16, "max_epochs": 2},
    "early stopping": {"n_estimators": 1, "dtype": "float64", **STOPPING},
    "linear": {"hidden_layer_sizes": (), "optimizer": "lbfgs", "alpha": 10.0},
    # In float64 the processor decides whether it keeps the tolerance of the check of weights: a
    # shape for each of 15 rows is hardly identified.
    "per sample": {"n_estimators": 1, "shape": "per_sample", "max_epochs": 4},
    # Only competing risks have kinds of hazards.
    "subdistribution": {
        "n_estimators": 1,
        "dtype": "float64",
        "hazard": "subdistribution",
        "max_epochs": 2,
    },
    # With five there are intervals, too.
    "five networks": {
        "dtype": "float64",
        "n_estimators": 5,
        "hidden_layer_sizes": (4,),
        "max_epochs": 1,
    },
    "momentum": {"momentum": True, "max_epochs": 4},
    "momentum, mini-batches": {"momentum": True, "batch_size": 16, "max_epochs": 2},
    # Only a Cox model has ties.
    "momentum, single rows": {
        "momentum": True,
        "batch_size": 1,
        "ties": "efron",
        "max_epochs": 1,
    },
    "momentum, early stopping": {"momentum": True, **STOPPING},
}
# Fifteen networks take as long as all others, so that five of them show what is of several.
ONE_KIND = {"number chosen"}
#: Of competing risks, since they differ from Cox models in nothing that these would show.
LEFT_OUT = {"momentum", "momentum, single rows", "momentum, early stopping"}
#: Of further distributions, which differ from a Weibull model in their likelihood alone.
OF_LIKELIHOOD = {"five networks", "mini-batches", "linear", "per sample"}
ESTIMATORS = [
    kind(**parameters)
    for kind in (PlainCox, PlainWeibull, PlainLogNormal, PlainLogLogistic, PlainCompetingRisks)
    for name, parameters in CONFIGURATIONS.items()
    if set(parameters) <= set(kind().get_params())
    and not (kind is not PlainCox and name in ONE_KIND)
    and not (kind is PlainCompetingRisks and name in LEFT_OUT)
    and (kind not in (PlainLogNormal, PlainLogLogistic) or name in OF_LIKELIHOOD)
]


def expected_failures(estimator):
    """Return the checks that cannot pass, with the reason."""
    reason = None
    one = estimator.n_estimators == 1 or estimator.hidden_layer_sizes == () or estimator.momentum
    if not one:
        reason = "Members of an ensemble leave out rows of their own, of repeated rows others."
    elif estimator.batch_size in (1, 16):
        reason = "Repeated rows make other batches than weighted ones."
    elif estimator.early_stopping:
        reason = "A repeated row may fall on both sides of the split."
    elif getattr(estimator, "ties", None) == "efron":
        reason = "Efron takes two copies of an event for two tied events; so does R."
    elif estimator.dtype == "auto" and estimator.optimizer != "lbfgs":
        reason = "float32 rounds at 1e-7, which is the tolerance of the check."
    return {} if reason is None else {"check_sample_weight_equivalence_on_dense_data": reason}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures, xfail_strict=True)
def test_estimator_check(estimator, check):
    check(estimator)


# Of the estimators above only a linear Weibull model can pass this check. These can; of the other
# checks they would show nothing more.
@pytest.mark.parametrize("momentum", [False, True])
@pytest.mark.parametrize(
    "estimator",
    [
        PlainCox(dtype="float64", ties="breslow"),
        # The linear start ends where its loss hardly falls any more: the stronger the penalty, the
        # nearer to the optimum, whatever the processor rounds.
        PlainWeibull(dtype="float64", alpha=100.0),
        PlainCompetingRisks(dtype="float64", ties="breslow", alpha=100.0),
        # Adam would make a step of what is left of a gradient that is 0 at the start, an optimum.
        PlainCompetingRisks(
            dtype="float64", ties="breslow", hazard="subdistribution", optimizer="sgd", lr=0.1
        ),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_whole_weights_are_repeated_rows(estimator, momentum):
    exact = clone(estimator).set_params(n_estimators=1, max_epochs=4, momentum=momentum)
    check_sample_weight_equivalence_on_dense_data(type(exact).__name__, exact)
