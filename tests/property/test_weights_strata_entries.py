"""What a weight, a stratum and a late entry of a row mean."""

from __future__ import annotations

import numpy as np
import pytest
from sksurv.linear_model.coxph import BreslowEstimator

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from tests.property.small_fits import LINEAR, both, fit_small, risk_and_survival, take_rows


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_weight_of_zero_removes_the_row(kind, early_stopping, patients):
    X, event, time = patients
    weight = np.random.default_rng(0).choice([0.0, 1.0, 2.5], len(X))
    there = weight > 0
    options = {"early_stopping": early_stopping}
    weighted = fit_small(kind, (X, event, time), weight=weight, **options)
    removed = fit_small(kind, take_rows(patients, there), weight=weight[there], **options)
    np.testing.assert_array_equal(weighted.unique_times_, removed.unique_times_)
    np.testing.assert_array_equal(risk_and_survival(weighted, X), risk_and_survival(removed, X))


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [(CoxNNRegressor, {"ties": "breslow"}), (WeibullAFTRegressor, {})],
)
def test_a_whole_weight_is_the_row_repeated(kind, parameters, patients):
    X, _, _ = patients
    weight = np.random.default_rng(0).integers(1, 4, len(X))
    weighted = fit_small(kind, patients, weight=weight, **LINEAR, **parameters)
    repeated = fit_small(
        kind, take_rows(patients, np.repeat(np.arange(len(X)), weight)), **LINEAR, **parameters
    )
    # Both searches end within 1e-12 of the least loss, that is within 1e-6 in the weights.
    np.testing.assert_allclose(
        risk_and_survival(weighted, X), risk_and_survival(repeated, X), rtol=1e-5, atol=1e-6
    )


def test_stratified_baselines_are_separate_baselines(patients):
    X, event, time = patients
    stratum = np.array(["x", "z", "y"])[np.arange(len(X)) % 3]
    fitted = fit_small(CoxNNRegressor, patients, stratum=stratum)
    risk = fitted.predict(X)
    for label in "xyz":
        of = stratum == label
        alone = BreslowEstimator().fit(risk[of], event[of], time[of])
        ours = fitted.predict_survival_function(X, stratum=np.full(len(X), label))
        theirs = alone.get_survival_function(risk)
        within = np.unique(time[of])
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine(within), other(within), rtol=1e-9, atol=1e-14)
    mixed = fitted.predict_survival_function(X, return_array=True, stratum=stratum)
    for label in "xyz":
        one = fitted.predict_survival_function(X, return_array=True, stratum=np.full(len(X), label))
        np.testing.assert_array_equal(mixed[stratum == label], one[stratum == label])


@pytest.mark.parametrize("labels", [[-3, 7], ["a", "b"], [0.5, 1.5], [False, True]])
def test_strata_may_have_any_labels(patients, labels):
    X, _, _ = patients
    stratum, code = np.array(labels)[np.arange(len(X)) % 2], np.arange(len(X)) % 2
    ours = fit_small(CoxNNRegressor, patients, stratum=stratum)
    theirs = fit_small(CoxNNRegressor, patients, stratum=code)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_array_equal(
        ours.predict_median(X, stratum=stratum), theirs.predict_median(X, stratum=code)
    )
    assert len(ours.strata_) == 2


@both
def test_entry_before_all_times_is_none(kind, patients):
    X, _, time = patients
    plain = risk_and_survival(fit_small(kind, patients), X)
    # Other sums are taken, which round otherwise.
    early = fit_small(kind, patients, entry=np.zeros(len(X)))
    np.testing.assert_allclose(risk_and_survival(early, X), plain, rtol=1e-9, atol=1e-11)
    late = fit_small(kind, patients, entry=0.9 * time)
    assert not np.allclose(risk_and_survival(late, X), plain, rtol=1e-3)


@both
def test_a_row_cut_in_two_is_the_row(kind, patients):
    """(0, s] and (s, t], the first without an event: what `entry` is for."""
    X, event, time = patients
    cut = 0.4 * time
    entry = np.concatenate([np.zeros(len(X)), cut])
    pieces = (
        np.vstack([X, X]),
        np.concatenate([np.zeros(len(X), dtype=bool), event]),
        np.concatenate([cut, time]),
    )
    whole = fit_small(kind, patients, **LINEAR)
    in_two = fit_small(kind, pieces, entry=entry, **LINEAR)
    np.testing.assert_allclose(in_two.coef_, whole.coef_, rtol=1e-5, atol=1e-6)
    grid = np.unique(time)
    for ours, theirs in zip(
        in_two.predict_survival_function(X[:5]), whole.predict_survival_function(X[:5]), strict=True
    ):
        np.testing.assert_allclose(ours(grid), theirs(grid), rtol=1e-4, atol=1e-6)
