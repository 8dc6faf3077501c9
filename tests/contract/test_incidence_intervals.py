"""Bands around cumulative incidences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from sksurvtorch import CompetingRisksNNRegressor, CoxNNRegressor, load, save
from sksurvtorch.estimators._bands import Jackknife
from sksurvtorch.estimators._missed import kernel_of, missed_variance
from sksurvtorch.functional import (
    CompetingRiskSets,
    competing_risks_baseline,
    competing_risks_neg_log_likelihood,
    cumulative_incidence,
)
from sksurvtorch.nets import competing_risks_y
from tests.contract.test_ensembles import Watch, rows_of_members
from tests.unit.refusals import refuses

SMALL = {
    "n_estimators": 10,
    "alpha": [1.0, 100.0],
    "hidden_layer_sizes": (4,),
    "max_epochs": 4,
    "dtype": "float64",
    "random_state": 0,
}
CASES = {
    "cause-specific": ("cause-specific", ()),
    "strata, weights": ("cause-specific", ("stratum", "sample_weight")),
    "entry": ("cause-specific", ("entry",)),
    "subdistribution": ("subdistribution", ()),
    "subdistribution, strata": ("subdistribution", ("stratum", "entry")),
}


def patients(n=150, seed=0):
    """A feature for each cause, and one with a parabola for both; times in whole weeks."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    each = rng.exponential(np.exp(-X[:, :2] - X[:, 2:] ** 2))
    time, censoring = each.min(1), rng.exponential(2.0, n)
    status = np.where(time <= censoring, 1 + each.argmin(1), 0)
    return X, competing_risks_y(status, 1 + np.floor(20 * np.minimum(time, censoring)))


def columns(y, names):
    rng = np.random.default_rng(1)
    first = np.arange(len(y)) < 40  # at risk from the start, so that there is no gap
    every = {
        "stratum": np.where(np.arange(len(y)) % 3, "a", "b"),
        "sample_weight": rng.choice([0.5, 1.0, 2.0], len(y)),
        "entry": np.where(first, 0.0, np.floor(0.3 * y["time"])),
    }
    return {name: every[name] for name in names}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A fitted model, with what it was fitted to."""
    hazard, names = CASES[request.param]
    X, y = patients()
    given = columns(y, names)
    model = CompetingRisksNNRegressor(hazard=hazard, callbacks=[Watch()], **SMALL)
    model.fit(X, y, **given)
    asked = {"stratum": given["stratum"][:12]} if "stratum" in given else {}
    return model, X, y, given, asked


def curves_of_members(model, X, y, given, grid):
    """The incidences of the first 12 rows by each member, and by all with scaled outputs."""
    with torch.no_grad():
        own = torch.from_numpy(X).expand(model.n_estimators, *X.shape)
        outputs = model._trained.members(own).double()
    outputs -= outputs.mean(1, keepdim=True)
    codes = None
    target = {name: torch.from_numpy(y[name].copy()) for name in ("status", "time")}
    if "stratum" in given:
        codes = torch.from_numpy(np.unique(given["stratum"], return_inverse=True)[1])
        target["stratum"] = codes
    for name, column in given.items():
        if name != "stratum":
            target[{"sample_weight": "weight"}.get(name, name)] = torch.from_numpy(column)
    asked = None if codes is None else codes[:12]
    whole = CompetingRiskSets(**target, hazard=model.hazard)

    def curves(output, risk_sets, rows, of=None):
        baseline = competing_risks_baseline(output[rows], risk_sets=risk_sets)
        shown = output[:12] if of is None else of[:12]
        return cumulative_incidence(shown, baseline, grid, stratum=asked).incidence.numpy()

    each, left = [], torch.zeros(model.n_estimators, len(X), dtype=torch.bool)
    for k, rows in enumerate(rows_of_members(model, X)):
        rows = torch.as_tensor(rows)
        left[k] = True
        left[k, rows] = False
        each.append(curves(outputs[k], whole.take(rows), rows))
    weight = torch.from_numpy(model.member_weights_)[:, None, None]
    mean = (outputs * weight).sum(0)
    every = torch.arange(len(X))
    slopes = torch.from_numpy(model._interval_basis["slope"])
    missed = torch.from_numpy(model._interval_basis["missed"]).sqrt()
    moved = [mean, slopes * mean, mean + missed * torch.eye(2)[0], mean + missed * torch.eye(2)[1]]
    shown = [curves(mean, whole, every, of=output) for output in moved]
    return np.stack(each), shown, outputs, left, whole


def test_bands_are_a_jackknife_of_the_members_curves(case):
    model, X, y, given, asked = case
    grid = np.array([5.0, 12.0, 30.0])
    each, shown, *_ = curves_of_members(model, X, y, given, torch.from_numpy(grid))
    share = model.member_weights_.reshape(2, 5).sum(1)
    log_each, log_here, *log_others = (np.log(-np.log1p(-F)) for F in (each, *shown))
    division = log_each.reshape(2, 5, *log_here.shape)
    assert np.isfinite(division).all()
    mean = division.mean(1)
    within = 0.8 * ((division - mean[:, None]) ** 2).sum(1)
    weights = share[:, None, None, None]
    between = (mean - (weights * mean).sum(0)) ** 2
    variance = (weights * (within + between)).sum(0)
    variance += sum((log_other - log_here) ** 2 for log_other in log_others)
    half = student.ppf(0.95, 4 / (share @ share)) * np.sqrt(variance)
    expected = [-np.expm1(-np.exp(log_here + sign * half)) for sign in (-1, 1)]
    # At other times the curve may say more; bounds of all times are monotone.
    lower, upper = model.predict_cumulative_incidence_interval(X[:12], **asked)
    at = np.searchsorted(model.unique_times_, grid, side="right") - 1
    assert (lower[..., at] >= expected[0] - 1e-9).all()
    assert (upper[..., at] <= expected[1] + 1e-9).all()
    close = [
        np.isclose(bound[..., at], value, rtol=1e-7, atol=0).mean()
        for bound, value in zip((lower, upper), expected, strict=True)
    ]
    assert min(close) > 0.7


def out_of_bag(model, outputs, left):
    """The log hazard ratios of rows by members that have left them out."""
    share = model.member_weights_.reshape(2, 5).sum(1)
    return sum(
        s * (outputs * left[:, :, None])[5 * g : 5 * g + 5].sum(0)
        / left[5 * g : 5 * g + 5].sum(0)[:, None]
        for g, s in enumerate(share)
    )  # fmt: skip


def test_what_all_members_have_missed_is_judged_by_rows_left_out(case):
    model, X, y, given, _ = case
    grid = torch.tensor([1.0], dtype=torch.float64)
    _, _, outputs, left, whole = curves_of_members(model, X, y, given, grid)
    left_out = out_of_bag(model, outputs, left)

    def score(output):
        output = output.clone().requires_grad_()
        loss = competing_risks_neg_log_likelihood(output, risk_sets=whole, reduction="sum")
        return -torch.autograd.grad(loss, output)[0]

    for k in range(2):
        second = np.empty(len(X))
        for row in range(len(X)):
            step = torch.zeros_like(left_out)
            step[row, k] = 1e-4
            second[row] = (score(left_out + step) - score(left_out - step))[row, k] / 2e-4
        deviations = Jackknife.of(model.member_weights_).deviations(outputs[..., k].numpy())
        first = score(left_out)[:, k].numpy()
        expected = missed_variance(kernel_of(X), first, np.maximum(-second, 0), deviations)
        # The information comes from one difference of derivatives, to a tenth or so.
        assert model._interval_basis["missed"][k] == pytest.approx(expected, rel=0.15, abs=2e-3)


def test_slopes_are_those_of_a_model_of_the_out_of_bag_predictions(case):
    model, X, y, given, _ = case
    grid = torch.tensor([1.0], dtype=torch.float64)
    _, _, outputs, left, whole = curves_of_members(model, X, y, given, grid)
    left_out = out_of_bag(model, outputs, left)
    slopes = torch.from_numpy(model._interval_basis["slope"])
    assert slopes.shape == (2,)

    def value(a, b):
        scaled = left_out * torch.tensor([a, b], dtype=torch.float64)
        return competing_risks_neg_log_likelihood(scaled, risk_sets=whole).item()

    best = value(*slopes.tolist())
    for step in (-0.02, 0.02):
        for a, b in ((step, 0.0), (0.0, step)):
            tried = [float(slopes[0]) + a, float(slopes[1]) + b]
            if all(0 <= x <= 2 for x in tried):
                assert value(*tried) > best


def test_risk_intervals_are_those_of_the_cause(case):
    model, X, *_ = case
    jackknife = Jackknife.of(model.member_weights_)
    basis, known = model._interval_basis, model.cause
    try:
        basis["missed"] += [0.5, 0.0]
        for k in (0, 1):
            model.cause = k + 1
            score = model.predict(X)
            variance = (jackknife.deviations(model.predict_members(X)) ** 2).sum(0)
            variance += ((1 - basis["slope"][k]) * score) ** 2 + basis["missed"][k]
            half = jackknife.quantile(0.8) * np.sqrt(variance)
            lower, upper = model.predict_risk_interval(X, 0.8)
            np.testing.assert_allclose(lower, score - half, rtol=1e-8)
            np.testing.assert_allclose(upper, score + half, rtol=1e-8)
    finally:
        model.cause = known
        basis["missed"] -= [0.5, 0.0]


def test_bands_hold_the_curve_rise_and_grow_with_the_level(case):
    model, X, _, _, asked = case
    curve = model.predict_cumulative_incidence(X[:12], True, **asked)
    widths = []
    for level in (0.5, 0.9, 0.99):
        lower, upper = model.predict_cumulative_incidence_interval(X[:12], level, **asked)
        assert lower.shape == upper.shape == curve.shape
        assert (lower <= curve + 1e-12).all()
        assert (curve <= upper + 1e-12).all()
        assert (np.diff(lower) >= 0).all()
        assert (np.diff(upper) >= 0).all()
        assert lower.min() >= 0
        assert upper.max() <= 1
        widths.append(upper - lower)
    assert (widths[0] <= widths[1]).all()
    assert (widths[1] <= widths[2]).all()
    assert widths[2].mean() > 1.5 * widths[0].mean() > 0


def test_a_cause_and_times_are_parts_of_the_band(case, tmp_path):
    model, X, _, _, asked = case
    whole = model.predict_cumulative_incidence_interval(X[:12], **asked)
    times = [model.last_times_.min(), 0.0, 7.5, 5.0]
    at = np.searchsorted(model.unique_times_, times, side="right") - 1
    part = model.predict_cumulative_incidence_interval(X[:12], cause=2, times=times, **asked)
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model", callbacks=None)
    again = loaded.predict_cumulative_incidence_interval(X[:12], **asked)
    for found, expected, other in zip(part, whole, again, strict=True):
        assert found.shape == (12, 4)
        expected_at = np.where(at >= 0, expected[:, 1][:, at], 0.0)
        np.testing.assert_allclose(found, expected_at, rtol=1e-12)
        np.testing.assert_array_equal(other, expected)


@pytest.mark.parametrize("n", [120, 600])
def test_one_cause_has_the_band_of_the_cox_model(n):
    """Of 600 rows there are more steps than the members keep.

    They differ before all members have an event, and where 1 - F has no digits left.
    """
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    time, event = rng.exponential(np.exp(-X[:, 0])), rng.random(n) < 0.8
    y = np.array(list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", float)])
    options = SMALL | {"max_epochs": 2}
    cox = CoxNNRegressor(**options).fit(X, y)
    ours = CompetingRisksNNRegressor(**options).fit(X, competing_risks_y(event, time))
    lower, upper = cox.predict_survival_interval(X[:20])
    low, high = ours.predict_cumulative_incidence_interval(X[:20], cause=1)
    kept = high < 1 - 1e-6
    kept[:, :10] = False
    assert kept.mean() > 0.5
    np.testing.assert_allclose((1 - upper)[kept], low[kept], rtol=0, atol=1e-9)
    np.testing.assert_allclose((1 - lower)[kept], high[kept], rtol=0, atol=1e-9)
    for found, expected in zip(
        ours.predict_risk_interval(X), cox.predict_risk_interval(X), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_risk_intervals_are_of_the_cause(case):
    model, X, *_ = case
    members = model.predict_members(X)
    try:
        model.set_params(cause=2)
        lower, upper = model.predict_risk_interval(X)
        score = model.predict(X)
        np.testing.assert_allclose((lower + upper) / 2, score, rtol=0, atol=1e-12)
        assert not np.allclose(model.predict_members(X), members)
    finally:
        model.set_params(cause=1)
    assert not np.allclose(model.predict_risk_interval(X)[1] - model.predict(X), upper - score)


def test_one_network_has_no_band():
    X, y = patients()
    model = CompetingRisksNNRegressor(**SMALL | {"n_estimators": 1, "alpha": 1.0}).fit(X, y)
    refuses(
        lambda: model.predict_cumulative_incidence_interval(X),
        ValueError,
        "`n_estimators` must be at least 5 in `fit` for an interval, got 1. Intervals come from "
        "how much networks differ that have left out different rows.",
    )


def test_a_rare_cause_has_a_band_from_its_first_event_on():
    """There are more steps than are kept, and those of a rare cause are among them."""
    rng = np.random.default_rng(0)
    n = 1000
    time, status = rng.permutation(n) + 1.0, np.ones(n, int)
    status[np.isin(time, [301, 402, 555, 560, 700, 702])] = 2
    model = CompetingRisksNNRegressor(**SMALL | {"max_epochs": 1})
    model.fit(rng.normal(size=(n, 2)), competing_risks_y(status, time))
    X = rng.normal(size=(5, 2))
    lower, upper = model.predict_cumulative_incidence_interval(X, cause=2)
    curve = model.predict_cumulative_incidence(X, True, cause=2)
    begun = model.unique_times_ >= 301
    assert (curve[:, ~begun] == 0).all()
    assert (upper[:, begun] > 1.2 * curve[:, begun]).all()
    assert (lower[:, begun] < 0.8 * curve[:, begun]).all()


def test_a_cause_with_one_event_has_a_band():
    X, y = patients()
    y = y[(y["status"] != 2) | (np.arange(len(y)) == np.flatnonzero(y["status"] == 2)[0])]
    X = X[: len(y)]
    model = CompetingRisksNNRegressor(**SMALL).fit(X, y)
    lower, upper = model.predict_cumulative_incidence_interval(X)
    assert np.isfinite(upper).all()
    assert np.isfinite(lower).all()
    assert (upper[:, 1, -1] > lower[:, 1, -1]).all()
