"""Bands and intervals of both estimators, beside twins that are made from the members alone."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import t as student
from sklearn.base import clone
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor, load, save
from sksurvtorch.estimators import _cox_intervals
from tests.contract.small_models import Mlp, both, fitted, own_columns
from tests.contract.test_ensemble_training import Watch
from tests.contract.test_ensembles import rows_of_members
from tests.unit.refusals import refuses

LEVEL = 0.8


@pytest.fixture(scope="module")
def distinct(whas500):
    """Rows that can be told by their features, of which 5 does not divide the numbers."""
    X, y = (part[:203] for part in whas500)
    return X + np.arange(203, dtype=np.float32)[:, None] / 10_000, y


@pytest.fixture(scope="module")
def columns():
    """Entry, stratum and weight of each row."""
    rng = np.random.default_rng(0)
    return {
        "entry": rng.uniform(0, 1e-3, 203),
        "stratum": rng.choice(["a", "b", "c"], 203, p=[0.7, 0.25, 0.05]),
        "sample_weight": rng.uniform(0.5, 2, 203),
    }


NAMES = {"cox": CoxNNRegressor, "weibull": WeibullAFTRegressor}
#: With how many members, and with which columns a model is fitted.
CASES = {
    "15": (15, ()),
    "12": (12, ()),
    "5": (5, ()),
    "weights": (10, ("sample_weight",)),
    "all columns": (10, ("sample_weight", "stratum", "entry")),
}


@pytest.fixture(scope="module", params=[f"{kind}: {case}" for kind in NAMES for case in CASES])
def case(request, distinct, columns):
    """A fitted model, its columns, the rows that its members have seen, and what they predict."""
    name, what = request.param.split(": ")
    kind = NAMES[name]
    n_estimators, used = CASES[what]
    X, y = distinct
    given = {name: own for name, own in own_columns(kind, columns).items() if name in used}
    entry = given.get("entry")
    if entry is not None:
        given["entry"] = np.minimum(entry, y["time"] / 2)
    options = {"hidden_layer_sizes": (8,), "max_epochs": 3, "batch_size": 48, "lr": 0.05}
    model = kind(n_estimators=n_estimators, random_state=0, callbacks=[Watch()], **options)
    model.fit(X, y, **given)
    return Twin(model, X, y, given)


class Twin:
    """What members predict, by loops."""

    def __init__(self, model, X, y, given):
        self.model, self.X, self.y, self.given = model, X, y, given
        self.seen = rows_of_members(model, X)
        self.weight = given.get("sample_weight", np.ones(len(X)))
        self.stratum = given.get("stratum", np.zeros(len(X), int))
        self.entry = given.get("entry", np.full(len(X), -np.inf))
        self.asked = {"stratum": self.stratum[:20]} if "stratum" in given else {}
        self.is_cox = isinstance(model, CoxNNRegressor)
        with torch.no_grad():
            own = torch.from_numpy(X).expand(model.n_estimators, *X.shape)
            self.outputs = model._trained.members(own).double().numpy()
        if self.is_cox:
            self.outputs -= self.outputs.mean(1, keepdims=True)

    def hazard(self, k, row, time):
        """The cumulative hazard of one row at a time, by one member."""
        if not self.is_cox:
            center, spread = self.model.log_time_center_, self.model.log_time_spread_
            log_scale, log_shape = self.outputs[k, row]
            v = (np.log(time) - center) / spread
            return np.exp(np.exp(log_shape) * (v - log_scale))
        ratio = np.exp(self.outputs[k, :, 0])
        return ratio[row] * sum(jump for at, jump in self.jumps(k, self.stratum[row]) if at <= time)

    def jumps(self, k, stratum):
        """Breslow's jumps of one member."""
        if (k, stratum) not in vars(self).setdefault("_jumps", {}):
            seen = np.zeros(len(self.X), bool)
            seen[self.seen[k]] = True
            own = seen & (self.stratum == stratum)
            ratio, time = np.exp(self.outputs[k, :, 0]), self.y["time"]
            self._jumps[k, stratum] = [
                (at, self.weight[own & self.y["event"] & (time == at)].sum()
                 / (self.weight * ratio)[own & (self.entry < at) & (at <= time)].sum())
                for at in np.unique(time[own & self.y["event"]])
            ]  # fmt: skip
        return self._jumps[k, stratum]

    def variance(self, row, time):
        """The variance of the log cumulative hazard of a row at a time."""
        model = self.model
        hazards = np.array([self.hazard(k, row, time) for k in range(model.n_estimators)])
        n_divisions = model.n_estimators // 5
        share = model.member_weights_[: 5 * n_divisions].reshape(n_divisions, 5).sum(1)
        share = share / share.sum()
        total, means = 0.0, []
        for w, five in zip(share, hazards[: 5 * n_divisions].reshape(n_divisions, 5), strict=True):
            if (five > 0).all():
                deviation = np.log(five) - np.log(five).mean()
                means.append(np.log(five).mean())
            else:
                # Relative deviations of the baseline, with those of the log hazard ratio.
                eta = self.outputs[len(means) * 5 :][:5, row, 0]
                baseline = five / np.exp(eta)
                deviation = baseline / baseline.mean() - 1 + eta - eta.mean()
                means.append(np.log(baseline.mean()) + eta.mean())
            total += w * 0.8 * (deviation**2).sum()
        total += share @ (means - share @ means) ** 2
        return total + ((1 - self.slope) * self.off_center(row)) ** 2

    @property
    def slope(self):
        return float(self.model._interval_basis["slope"][0])

    def mean_output(self):
        return np.tensordot(self.model.member_weights_, self.outputs, 1)

    def off_center(self, row):
        """How far the log cumulative hazard of a row is from the middle, in its covariates."""
        output = self.mean_output()
        if self.is_cox:
            return output[row, 0]
        center = self.weight @ output[:, 0] / self.weight.sum()
        return np.exp(output[row, 1]) * (center - output[row, 0])

    def quantile(self, level):
        n_divisions = self.model.n_estimators // 5
        share = self.model.member_weights_[: 5 * n_divisions].reshape(n_divisions, 5).sum(1)
        share = share / share.sum()
        return student.ppf((1 + level) / 2, 4 / (share**2).sum())

    def out_of_bag(self):
        """The output for each row by members that have not seen it, (n_samples, n_outputs)."""
        model = self.model
        n_penalties = max(1, model.n_estimators // 5)
        found = np.zeros(self.outputs.shape[1:])
        for g in range(n_penalties):
            group = [k for k in range(model.n_estimators) if k // 5 % n_penalties == g]
            weight = model.member_weights_[group].sum()
            for row in range(len(self.X)):
                by = [k for k in group if row not in self.seen[k]]
                found[row] += weight * self.outputs[by, row].mean(0)
        return found


def test_bands_are_a_jackknife_of_the_members_curves(case):
    model, y = case.model, case.y
    for row in range(6):
        own = case.stratum == case.stratum[row]
        times = np.unique(y["time"][own & y["event"]])
        if not case.is_cox:
            times = times[::10]
        where = {name: given[[row]] for name, given in case.asked.items()}
        X = case.X[[row]]
        lower, upper = model.predict_cumulative_hazard_interval(X, LEVEL, times=times, **where)
        (point,) = model.predict_cumulative_hazard_function(X, times=times, **where)
        sd = np.sqrt([case.variance(row, time) for time in times])
        factor = np.exp(case.quantile(LEVEL) * sd)
        # Curves rise: a lower bound holds from its time on, an upper one up to it.
        expected_lower = np.maximum.accumulate(point / factor)
        expected_upper = np.minimum.accumulate((point * factor)[::-1])[::-1]
        np.testing.assert_allclose(lower[0], expected_lower, rtol=1e-3)
        np.testing.assert_allclose(upper[0], expected_upper, rtol=1e-3)


def test_the_slope_is_that_of_a_model_of_the_out_of_bag_predictions(case):
    output, y = case.out_of_bag(), case.y
    if case.is_cox:
        if len(case.given) > 1:
            pytest.skip("scikit-survival has neither strata nor late entry")
        score = case.model.oob_prediction_[:, None]
        if case.given:
            rows = np.repeat(np.arange(203), np.round(100 * case.weight).astype(int))
            score, y = score[rows], y[rows]
        ties = "breslow" if case.given else "efron"
        expected = CoxPHSurvivalAnalysis(ties=ties, n_iter=200).fit(score, y).coef_[0]
        if not 0 <= expected <= 2:
            expected = np.clip(expected, 0, 2)
        assert case.slope == pytest.approx(expected, abs=0.02 if case.given else 1e-3)
        return
    model = case.model
    v = (np.log(y["time"]) - model.log_time_center_) / model.log_time_spread_
    shape, middle = np.exp(output[:, 1]), output[:, 0].mean()

    def loss(x):
        log_scale = middle + x[1] + x[0] * (output[:, 0] - middle)
        log_hazard = shape * (v - log_scale)
        hazard = np.exp(log_hazard)
        if "entry" in case.given:
            entry = (np.log(case.entry) - model.log_time_center_) / model.log_time_spread_
            hazard = hazard - np.exp(shape * (entry - log_scale))
        return case.weight @ (hazard - y["event"] * log_hazard)

    expected = minimize(loss, [1.0, 0.0], bounds=[(0, 2), (None, None)]).x[0]
    assert case.slope == pytest.approx(expected, abs=1e-3)


def test_risk_intervals_are_a_jackknife_of_the_members_scores(case):
    model, X = case.model, case.X[:20]
    lower, upper = model.predict_risk_interval(X, LEVEL)
    each = model.predict_members(X)
    n_divisions = model.n_estimators // 5
    share = model.member_weights_[: 5 * n_divisions].reshape(n_divisions, 5).sum(1)
    share = share / share.sum()
    divided = each[: 5 * n_divisions].reshape(n_divisions, 5, 20)
    variance = share @ (0.8 * ((divided - divided.mean(1, keepdims=True)) ** 2).sum(1))
    variance += share @ (divided.mean(1) - share @ divided.mean(1)) ** 2
    off_center = np.array([case.off_center(row) for row in range(20)])
    if not case.is_cox:  # on the scale of log time, in the unit of the user
        shape = np.exp(case.mean_output()[:20, 1]) / model.log_time_spread_
        off_center = off_center / shape
    half = case.quantile(LEVEL) * np.sqrt(variance + ((1 - case.slope) * off_center) ** 2)
    np.testing.assert_allclose(upper - model.predict(X), half, rtol=1e-4)
    np.testing.assert_allclose(model.predict(X) - lower, half, rtol=1e-4)


def test_times_are_calibrated_on_rows_left_out(case):
    model, y, weight = case.model, case.y, case.weight
    if "entry" in case.given:
        refuses(
            lambda: model.predict_time_interval(case.X, **case.asked),
            ValueError,
            "`entry` must be left out of `fit` for the interval of a time, got late entry. Those "
            "who enter late have survived so far, and are no sample of new people.",
        )
        return
    scores, masses = [], []
    for row in np.flatnonzero(y["event"]):
        by = [k for k in range(model.n_estimators) if row not in case.seen[k]]
        own = model.member_weights_[by]
        hazards = np.array([case.hazard(k, row, y["time"][row]) for k in by])
        scores.append(own @ hazards / own.sum())
        kept = 1.0
        for at in np.unique(y["time"][~y["event"] & (y["time"] < y["time"][row])]):
            censored = ~y["event"] & (y["time"] == at)
            kept *= 1 - weight[censored].sum() / weight[(y["time"] > at) | censored].sum()
        masses.append(weight[row] / kept)
    scores, masses = np.array(scores), np.array(masses)
    whole, new = weight.sum() + weight.mean(), weight.mean()
    for level in (0.5, 0.9):
        low = [h for h in scores if masses[scores < h].sum() + new <= whole * (1 - level) / 2]
        high = [h for h in scores
                if whole - masses[scores <= h].sum() <= whole * (1 - level) / 2]  # fmt: skip
        found = model._hazard_bounds(level)
        assert found[0] == pytest.approx(max(low, default=0.0), rel=1e-4)
        assert found[1] == pytest.approx(min(high, default=np.inf), rel=1e-4)
        lower, upper = model.predict_time_interval(case.X[:20], level, **case.asked)
        for bound, hazard in ((lower, found[0]), (upper, found[1])):
            expected = model.predict_quantile(case.X[:20], 1 - np.exp(-hazard), **case.asked)
            np.testing.assert_allclose(bound, expected, rtol=1e-9)
        assert (lower <= upper).all()
        assert (lower < upper).any()


def all_intervals(model, X, level=0.9, **where):
    """All intervals that a model has, but for that of a time."""
    return {
        "survival": (
            model.predict_survival_interval(X, level, **where),
            model.predict_survival_function(X, return_array=True, **where),
        ),
        "hazard": (
            model.predict_cumulative_hazard_interval(X, level, **where),
            model.predict_cumulative_hazard_function(X, return_array=True, **where),
        ),
        "quantile": (
            model.predict_quantile_interval(X, [0, 0.1, 0.5, 0.99, 1], level, **where),
            model.predict_quantile(X, [0, 0.1, 0.5, 0.99, 1], **where),
        ),
        "median": (
            model.predict_median_interval(X, level, **where),
            model.predict_median(X, **where),
        ),
        "risk": (model.predict_risk_interval(X, level), model.predict(X)),
    }


def test_intervals_hold_the_prediction_and_grow_with_the_level(case):
    model, X = case.model, case.X[:20]
    nested = [all_intervals(model, X, level, **case.asked) for level in (0.01, 0.5, 0.9, 0.999)]
    for name in nested[0]:
        for narrow, wide in pairwise(nested):
            (lower, upper), point = narrow[name]
            assert lower.shape == upper.shape == point.shape
            assert (lower <= point).all(), name
            assert (point <= upper).all(), name
            assert (wide[name][0][0] <= lower).all()
            assert (upper <= wide[name][0][1]).all()
    (lower, upper), _ = nested[-1]["survival"]
    assert (np.diff(lower) <= 0).all()
    assert (np.diff(upper) <= 0).all()
    assert (upper - lower).max() > 0.3
    if not case.given.get("entry", np.zeros(1)).any():
        first, second = (model.predict_time_interval(X, k, **case.asked) for k in (0.5, 0.9))
        assert (second[0] <= first[0]).all()
        assert (first[1] <= second[1]).all()


def test_survival_and_hazard_are_one_band_at_any_times(case):
    model, X = case.model, case.X[:20]
    last = model.unique_times_[-1]
    times = np.array([last, 0.0, last / 3, last / 2])
    survival = model.predict_survival_interval(X, times=times, **case.asked)
    hazard = model.predict_cumulative_hazard_interval(X, times=times, **case.asked)
    for ours, other in zip(survival, hazard[::-1], strict=True):
        np.testing.assert_allclose(ours, np.exp(-other), rtol=1e-12)
        assert (ours[:, 1] == 1).all()
    whole = model.predict_survival_interval(X, **case.asked)
    at = model.predict_survival_interval(X, times=model.unique_times_[::-1], **case.asked)
    for ours, other in zip(whole, at, strict=True):
        np.testing.assert_array_equal(ours, other[:, ::-1])


def test_quantiles_are_where_the_band_has_fallen(case):
    model, X = case.model, case.X[:20]
    last = model.unique_times_[-1]
    for p in (0.1, 0.5, 0.8):
        pair = model.predict_quantile_interval(X, p, **case.asked)
        for side, time in enumerate(pair):
            at = np.where(np.isinf(time), last, time)
            before = np.nextafter(at, 0) if case.is_cox else at * (1 - 1e-6)
            grid = np.concatenate([before, at])
            bound = model.predict_survival_interval(X, times=grid, **case.asked)[side]
            bound_before, bound_at = np.diag(bound[:, :20]), np.diag(bound[:, 20:])
            assert (bound_before > 1 - p).all()
            reached = bound_at <= (1 - p) * (1 + 1e-9)
            np.testing.assert_array_equal(reached, np.isfinite(time))
    for ours, other in zip(
        model.predict_median_interval(X, **case.asked),
        model.predict_quantile_interval(X, [0.5], **case.asked),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, other[:, 0])


def test_files_pickles_and_equal_fits_have_the_same_intervals(case, tmp_path):
    model, X = case.model, case.X[:20]
    path = tmp_path / "model"
    save(model, path)
    refit = clone(model).fit(case.X, case.y, **case.given)
    expected = all_intervals(model, X, **case.asked)
    restored = load(path, callbacks=None)
    for again in (restored, pickle.loads(pickle.dumps(model)), refit):
        found = all_intervals(again, X, **case.asked)
        for name, (pair, _) in expected.items():
            np.testing.assert_array_equal(found[name][0], pair)
        if not case.given.get("entry", np.zeros(1)).any():
            np.testing.assert_array_equal(
                again.predict_time_interval(X, **case.asked),
                model.predict_time_interval(X, **case.asked),
            )


PREDICT = (
    "predict_survival_interval",
    "predict_cumulative_hazard_interval",
    "predict_median_interval",
    "predict_risk_interval",
    "predict_time_interval",
)


def all_refuse(model, X, sentence):
    """Assert that each method refuses."""
    for name in PREDICT:
        refuses(lambda name=name: getattr(model, name)(X), ValueError, sentence)


@both
@pytest.mark.parametrize("n_estimators", [1, 4])
def test_few_networks_are_refused(kind, n_estimators, whas500):
    model = fitted(kind, whas500, n_estimators=n_estimators, max_epochs=1)
    all_refuse(
        model,
        whas500[0],
        f"`n_estimators` must be at least 5 in `fit` for an interval, got {n_estimators}. "
        "Intervals come from how much networks differ that have left out different rows.",
    )


@both
def test_levels_are_refused(kind, whas500):
    X, _ = whas500
    model = fitted(kind, whas500, n_estimators=5, max_epochs=1)
    for name in PREDICT:
        for level in (0.0, 1.0, -0.5, 90):
            refuses(
                lambda name=name, level=level: getattr(model, name)(X, level),
                ValueError,
                f"`level` must be more than 0 and less than 1, got {level!r}.",
            )
        refuses(
            lambda name=name: getattr(model, name)(X, "0.9"),
            TypeError,
            "`level` must be a number, got '0.9' of type str.",
        )


@both
def test_a_training_that_goes_on_leaves_no_intervals(kind, whas500, tmp_path):
    X, y = whas500
    sentence = (
        "Intervals must come from one call of `fit`, got a model of `partial_fit`, of a training "
        "that was resumed, or of a file of an earlier version. Call `fit` with warm_start=False."
    )
    model = fitted(kind, whas500, n_estimators=5, max_epochs=1)
    before = all_intervals(model, X)
    model.set_params(warm_start=True).fit(X, y)
    all_refuse(model, X, sentence)
    model.set_params(warm_start=False).fit(X, y)
    for name, (pair, _) in all_intervals(model, X).items():
        np.testing.assert_array_equal(pair, before[name][0])
    model.partial_fit(X, y)
    all_refuse(model, X, sentence)
    save(model, tmp_path / "model")
    all_refuse(load(tmp_path / "model"), X, sentence)
    all_refuse(clone(model).partial_fit(X, y), X, sentence)


@both
def test_times_are_refused_as_for_curves(kind, whas500):
    X, _ = whas500
    model = fitted(kind, whas500, n_estimators=5, max_epochs=1)
    for times in ([-1.0], [[1.0]], [1e9] if kind is CoxNNRegressor else [np.inf]):
        with pytest.raises(ValueError, match="`times` must be") as expected:
            model.predict_survival_function(X, times=times)
        refuses(
            lambda times=times: model.predict_survival_interval(X, times=times),
            ValueError,
            str(expected.value),
        )


def test_strata_are_asked_for_as_for_curves(whas500):
    X, y = whas500
    model = CoxNNRegressor(n_estimators=5, max_epochs=1, random_state=0)
    model.fit(X, y, stratum=np.resize(["a", "b"], len(X)))
    for name in (*PREDICT[:3], PREDICT[4]):
        with pytest.raises(ValueError, match="`stratum` must be given, as in `fit`, got None"):
            getattr(model, name)(X)
        lower, _ = getattr(model, name)(X[:2], stratum=["b", "a"])
        assert len(lower) == 2
    a, b = (model.predict_survival_interval(X[:1], stratum=[s]) for s in "ab")
    assert not np.array_equal(a, b)


@both
@pytest.mark.parametrize(
    "options",
    [
        {"module": Mlp, "module__n_outputs": 1},
        {"early_stopping": True},
        {"hidden_layer_sizes": (), "optimizer": "lbfgs", "max_epochs": 20},
        {"norm": "batch"},
        {"alpha": (1.0, 100.0), "n_estimators": 10},
    ],
    ids=["own module", "early stopping", "linear", "batch norm", "own penalties"],
)
def test_other_settings(kind, options, whas500):
    X, _ = whas500
    if kind is WeibullAFTRegressor and "module" in options:
        options = {**options, "shape": "shared"}
    model = fitted(kind, whas500, **{"n_estimators": 5, "max_epochs": 2, **options})
    for (lower, upper), point in all_intervals(model, X).values():
        assert ((lower <= point) & (point <= upper)).all()
    lower, upper = model.predict_time_interval(X)
    assert (lower <= upper).all()
    assert (lower < upper).mean() > 0.9


def test_early_stopping_rows_have_no_part_in_the_scores(whas500):
    _, y = whas500
    model = fitted(CoxNNRegressor, whas500, n_estimators=5, max_epochs=2, early_stopping=True)
    n_events = y["event"].sum()
    assert len(model._interval_basis["score"]) == n_events - round(0.2 * n_events)


def test_many_events_are_thinned(monkeypatch, whas500):
    X, _ = whas500
    exact = fitted(CoxNNRegressor, whas500, n_estimators=5)
    monkeypatch.setattr(_cox_intervals, "_STEPS", 30)
    thinned = fitted(CoxNNRegressor, whas500, n_estimators=5)
    assert len(exact._interval_basis["times"]) > 60
    assert 20 < len(thinned._interval_basis["times"]) <= 30
    for (lower, upper), point in all_intervals(thinned, X).values():
        assert ((lower <= point) & (point <= upper)).all()
    for ours, other in zip(
        thinned.predict_survival_interval(X), exact.predict_survival_interval(X), strict=True
    ):
        # The standard error of a baseline changes little from one kept time to the next.
        assert 0 < np.abs(ours - other).mean() < 0.01


@both
def test_whole_numbers_of_rows_and_times(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 2))
    y = Surv.from_arrays(rng.random(150) < 0.7, rng.integers(1, 30, 150))
    model = fitted(kind, (X, y), n_estimators=5, max_epochs=2)
    for (lower, upper), point in all_intervals(model, X[:1]).values():
        assert ((lower <= point) & (point <= upper)).all()


@both
def test_coverage_in_a_linear_simulation(kind):
    """Of 4 data sets of 300 rows the band holds 80 to 99 % of the truth, the interval 84 to 96 %.

    The errors of a data set belong together: its coverage varies by some 0.1, that of four by
    0.05. The 1,200 times of new people vary by 0.01, and the calibration on 300 rows by 0.01.
    """
    bands, times = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(600, 4))
        log_hazard_ratio = X @ [0.8, -0.5, 0.0, 0.0]
        time = (rng.exponential(size=600) * np.exp(-log_hazard_ratio)) ** (1 / 1.5)
        censoring = rng.exponential(2.0, 600)
        y = Surv.from_arrays(time <= censoring, np.minimum(time, censoring))
        model = kind(n_estimators=15, random_state=0, hidden_layer_sizes=(16,), max_epochs=15)
        model.fit(X[:300], y[:300])
        grid = np.quantile(y["time"][:300], np.linspace(0.1, 0.9, 9))
        lower, upper = model.predict_survival_interval(X[300:], times=grid)
        truth = np.exp(-(grid**1.5) * np.exp(log_hazard_ratio[300:, None]))
        bands.append(((lower <= truth) & (truth <= upper)).mean())
        first, last = model.predict_time_interval(X[300:])
        times.append(((first <= time[300:]) & (time[300:] <= last)).mean())
    assert 0.80 < np.mean(bands) < 0.99
    assert 0.84 < np.mean(times) < 0.96
