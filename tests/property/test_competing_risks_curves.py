"""What holds for the curves of any model of competing risks."""

from __future__ import annotations

import numpy as np
import pytest
from sksurv.testing import assert_chf_properties, assert_survival_function_properties

from sksurvtorch.estimators import _functions
from sksurvtorch.nets import competing_risks_y
from tests.contract.risk_models import Outputs, columns_of, either_hazard, linear, risks, small

#: Features, which `Outputs` has as log hazard ratios.
SCALES = {"moderate": 1.0, "far apart": 30.0, "huge": 300.0}


def model_and_rows(scale, hazard="cause-specific", n_causes=3, columns=()):
    """A model whose log hazard ratios are the features of some other rows, and its rows."""
    X, y = risks(120, n_causes=n_causes, dtype=np.float64)
    given = columns_of(y, *columns)
    options = {"max_epochs": 1, "batch_size": None, "hazard": hazard}
    model = small(module=lambda: Outputs(n_causes), **options).fit(X, y, **given)
    new = scale * np.random.default_rng(1).choice([-1.0, -0.5, 0.0, 0.5, 1.0], (40, 4))
    new[:2] = scale * np.array([[1.0], [-1.0]])
    return model, new, {name: given[name][:40] for name in ("stratum",) if name in columns}


@pytest.mark.parametrize("columns", [(), ("entry", "stratum", "sample_weight")])
@pytest.mark.parametrize("scale", SCALES)
def test_incidences_and_survival_add_up_to_one(scale, columns):
    model, X, given = model_and_rows(SCALES[scale], columns=columns)
    incidence = model.predict_cumulative_incidence(X, return_array=True, **given)
    survival = model.predict_survival_function(X, return_array=True, **given)
    assert incidence.shape == (40, 3, len(model.unique_times_))
    np.testing.assert_allclose(incidence.sum(1) + survival, 1, rtol=0, atol=1e-12)
    assert (np.diff(survival) <= 0).all()
    hazards = [
        model.predict_cumulative_hazard_function(X, return_array=True, cause=k, **given)
        for k in (1, 2, 3)
    ]
    whole = model.predict_cumulative_hazard_function(X, return_array=True, **given)
    np.testing.assert_allclose(whole, sum(hazards), rtol=1e-12)
    np.testing.assert_allclose(survival, np.exp(-whole), rtol=1e-12)
    if scale == "moderate":
        assert_survival_function_properties(survival)
        for of_cause in (whole, *hazards):
            assert_chf_properties(of_cause)


@either_hazard
@pytest.mark.parametrize("scale", SCALES)
def test_incidences_rise_from_0_to_at_most_1(scale, hazard):
    model, X, _ = model_and_rows(SCALES[scale], hazard)
    incidence = model.predict_cumulative_incidence(X, return_array=True)
    assert (incidence >= 0).all()
    assert (incidence <= 1).all()
    assert (np.diff(incidence, axis=2) >= 0).all()
    assert (model.predict_cumulative_incidence(X, times=[0.0]) == 0).all()
    if SCALES[scale] > 1:
        assert incidence.max() > 1 - 1e-9
        assert incidence[1].max() < 1e-9


@either_hazard
@pytest.mark.parametrize("columns", [(), ("stratum",)])
def test_time_lost_is_the_integral_of_the_incidence(columns, hazard):
    model, X, given = model_and_rows(1.0, hazard, columns=columns)
    times = model.unique_times_
    for until in (times[-1], 17.0, 17.3, times[0] / 2, times[0]):
        fine = np.unique([*np.linspace(0, until, 50), *times[times < until], until])
        incidence = model.predict_cumulative_incidence(X, times=fine[:-1], **given)
        expected = incidence @ np.diff(fine)
        found = model.predict_restricted_mean_time_lost(X, until=until, **given)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        for cause in (1, 2, 3):
            one = model.predict_restricted_mean_time_lost(X, until=until, cause=cause, **given)
            np.testing.assert_array_equal(one, found[:, cause - 1])
        if hazard == "cause-specific":
            left = model.predict_survival_function(X, times=fine[:-1], **given) @ np.diff(fine)
            np.testing.assert_allclose(found.sum(1) + left, until, rtol=1e-12)
    whole = model.predict_restricted_mean_time_lost(X, until=times[-1], **given)
    np.testing.assert_array_equal(model.predict_restricted_mean_time_lost(X, **given), whole)


@pytest.mark.parametrize("rows", [1, 3])
def test_curves_do_not_depend_on_the_pieces_they_are_made_of(rows, monkeypatch):
    model, X, given = model_and_rows(1.0, columns=("stratum",))
    hazards = model.predict_cumulative_hazard_function(X, return_array=True, **given)
    lost = model.predict_restricted_mean_time_lost(X, **given)
    monkeypatch.setattr(_functions, "_PIECE", rows * 3 * len(model.unique_times_))
    again = model.predict_cumulative_hazard_function(X, return_array=True, **given)
    np.testing.assert_array_equal(again, hazards)
    # A product of matrices may add in another order.
    lost_again = model.predict_restricted_mean_time_lost(X, **given)
    np.testing.assert_allclose(lost_again, lost, rtol=1e-13)


def test_the_level_of_an_output_changes_no_curve():
    """The baseline takes it up, of each cause by itself."""
    X, y = risks(120, dtype=np.float64)
    shifted = X + np.array([3.0, -2.0, 0.0, 0.0])
    options = {"module": Outputs(), "max_epochs": 1, "batch_size": None}
    found = [
        small(**options).fit(Z, y).predict_cumulative_incidence(Z, return_array=True)
        for Z in (X, shifted)
    ]
    np.testing.assert_allclose(*found, rtol=1e-12)


@either_hazard
def test_numbers_of_causes_are_names(hazard):
    """Cause 1 and 2 exchanged: the same model, with its outputs exchanged."""
    X, y = risks(200, n_causes=3)
    other = competing_risks_y(np.array([0, 2, 1, 3])[y["status"]], y["time"])
    ours, theirs = (linear(hazard=hazard).fit(X, outcome) for outcome in (y, other))
    np.testing.assert_allclose(theirs.coef_[[1, 0, 2]], ours.coef_, atol=1e-6)
    found = theirs.predict_cumulative_incidence(X, return_array=True)[:, [1, 0, 2]]
    expected = ours.predict_cumulative_incidence(X, return_array=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    theirs.set_params(cause=2)
    assert theirs.score(X, other) == pytest.approx(ours.score(X, y), abs=1e-12)


@either_hazard
def test_a_cause_without_events_has_incidences_of_0(hazard):
    X, y = risks(120)
    ours = linear(hazard=hazard, n_causes=4).fit(X, y)
    fewer = linear(hazard=hazard).fit(X, y)
    assert ours.n_causes_ == 4
    incidence = ours.predict_cumulative_incidence(X, return_array=True)
    assert (incidence[:, 2:] == 0).all()
    expected = fewer.predict_cumulative_incidence(X, return_array=True)
    np.testing.assert_allclose(incidence[:, :2], expected, atol=1e-9)
    assert (ours.coef_[2:] == 0).all()
    assert (ours.log_baseline_cumulative_hazard_[:, 2:] == -np.inf).all()
    assert (ours.predict_restricted_mean_time_lost(X)[:, 2:] == 0).all()
    hazards = ours.predict_cumulative_hazard_function(X, return_array=True, cause=4)
    assert (hazards == 0).all()
