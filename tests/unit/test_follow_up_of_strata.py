"""Predictions of a stratum end at its own last time: by loops, and every refusal."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sksurv.util import Surv

from sksurvtorch import CompetingRisksNNRegressor, CoxNNRegressor, load, save
from sksurvtorch.displays import CumulativeIncidenceDisplay, IncidenceCalibrationDisplay
from sksurvtorch.nets import competing_risks_y
from sksurvtorch.persistence import _container as container
from tests.unit.refusals import refuses

# Up to 20 in "a", to 9 in "b" and to 5, without an event, in "c". Rows of weight 0 do not count:
# "d" has no others. "b" ends with a censored row.
RNG = np.random.default_rng(0)
STRATUM = np.array(["a"] * 20 + ["b"] * 8 + ["c"] * 5 + ["d"] * 2 + ["b"])
TIME = np.concatenate([np.arange(1.0, 21), [0.5, 1, 2.5, 3, 4, 4.5, 5, 9], range(1, 6), [2, 3, 30]])
EVENT = (np.arange(36) % 4 > 0) & (STRATUM != "c") & (TIME != 9)
WEIGHT = np.where((STRATUM == "d") | (TIME == 30), 0.0, RNG.choice([0.5, 1.0], 36))
X = RNG.normal(size=(36, 2))
Y = Surv.from_arrays(EVENT, TIME)
STATUS = np.where(EVENT, 1 + np.arange(36) % 2, 0)
CAUSES = competing_risks_y(STATUS, TIME)
LAST = {"a": 20.0, "b": 9.0, "c": 5.0, "d": 0.0}

ROWS = np.array([20, 0, 30, 21, 33, 1])  # "b", "a", "c", "b", "d", "a"
NEW, OWN = X[ROWS], STRATUM[ROWS]
ENDS = np.array([LAST[own] for own in OWN])
KNOWN = OWN != "d"

SMALL = {"hidden_layer_sizes": (), "max_epochs": 3, "random_state": 0, "dtype": "float64"}
COLUMNS = {"sample_weight": WEIGHT, "stratum": STRATUM}


@pytest.fixture(scope="module")
def cox():
    return CoxNNRegressor(**SMALL).fit(X, Y, **COLUMNS)


@pytest.fixture(scope="module")
def causes():
    return CompetingRisksNNRegressor(**SMALL).fit(X, CAUSES, **COLUMNS)


@pytest.fixture(scope="module", params=[CoxNNRegressor, CompetingRisksNNRegressor])
def ensemble(request):
    """Five networks, and the names of their bands."""
    is_cox = request.param is CoxNNRegressor
    y, names = (Y, ["survival", "cumulative_hazard"]) if is_cox else (CAUSES, ["incidence"])
    members = {**SMALL, "hidden_layer_sizes": (2,), "n_estimators": 5}
    bands = [f"predict_{name}_interval".replace("incid", "cumulative_incid") for name in names]
    return request.param(**members).fit(X, y, **COLUMNS), bands


def refusal(rule, got, count, hint="", stratum="b", name="times"):
    """The sentence for a time that is later than the last one of a stratum."""
    return (
        f"`{name}` must be {rule} {LAST[stratum]}{']' if rule[0] == 'w' else ''}, the follow-up of "
        f"the stratum '{stratum}' in the fit, got {got} ({count} of 6 samples). {hint} "
        "`last_times_` has the last time of each stratum."
    )


LEAVE_OUT = "A Cox model says nothing about later times; leave them out."
NOTHING = "A Cox model says nothing about later times."
CURVES = {
    "cox": ["predict_survival_function", "predict_cumulative_hazard_function"],
    "causes": [
        "predict_survival_function",
        "predict_cumulative_hazard_function",
        "predict_cumulative_incidence",
    ],
}
PAIRS = [(model, method) for model, methods in CURVES.items() for method in methods]
GIVEN = {
    "cox": [*CURVES["cox"], "predict_median", "predict_expectation"],
    "causes": [*CURVES["causes"], "predict_restricted_mean_time_lost"],
}


def test_a_fit_learns_the_last_time_of_each_stratum(cox, causes):
    for model in (cox, causes):
        assert dict(zip(model.strata_, model.last_times_, strict=True)) == LAST
        assert model.last_times_.dtype == model.unique_times_.dtype
        assert model.unique_times_[-1] == 20
        y = Y if model is cox else CAUSES
        plain = type(model)(**SMALL).fit(X, y, sample_weight=WEIGHT)
        assert plain.last_times_.tolist() == [20]


def test_validation_rows_count():
    """The latest row of a stratum may be one that the network is not trained with."""
    for seed in range(3):
        options = SMALL | {"early_stopping": True, "validation_fraction": 0.4, "random_state": seed}
        model = CoxNNRegressor(**options).fit(X, Y, **COLUMNS)
        assert model.last_times_.tolist() == [*LAST.values()]


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_times_of_another_dtype(dtype):
    y = np.empty(28, dtype=[("event", bool), ("time", dtype)])
    y["event"], y["time"] = EVENT[:28], np.ceil(TIME[:28])
    model = CoxNNRegressor(**SMALL).fit(X[:28], y, stratum=STRATUM[:28])
    assert model.last_times_.dtype == model.unique_times_.dtype
    assert model.last_times_.tolist() == [20, 9]
    mean = model.predict_expectation(X[:28], stratum=STRATUM[:28])
    assert (mean <= model.last_times_[(STRATUM[:28] == "b").astype(int)]).all()


@pytest.mark.parametrize(("model", "method"), PAIRS)
def test_times_beyond_the_stratum_are_refused(model, method, request):
    predict = getattr(request.getfixturevalue(model), method)
    some, own = NEW[KNOWN], OWN[KNOWN]
    assert predict(some, times=[0.0, 5.0], stratum=own).shape[-1] == 2
    sentence = refusal("within [0,", "10.0", 4, LEAVE_OUT)
    refuses(lambda: predict(NEW, times=[1.0, 10.0, 11.0], stratum=OWN), ValueError, sentence)
    # Each row has times of its own, up to the last one and not beyond.
    each = np.column_stack([ENDS, ENDS / 2])
    assert predict(NEW, times=each, stratum=OWN).shape[-1] == 2
    each[3, 1] = np.nextafter(9, 10)
    sentence = refusal("within [0,", str(each[3, 1]), 1, LEAVE_OUT)
    refuses(lambda: predict(NEW, times=each, stratum=OWN), ValueError, sentence)
    refuses(
        lambda: predict(NEW, times=[1.0, -1.0], stratum=OWN),
        ValueError,
        "`times` must be at least 0 and finite, got -1.0 (1 of 2). Time starts at 0.",
    )
    assert predict(NEW, times=[], stratum=OWN).size == 0


@pytest.mark.parametrize("model", GIVEN)
def test_being_event_free_beyond_the_stratum_is_refused(model, request):
    fitted = request.getfixturevalue(model)
    methods = [getattr(fitted, name) for name in GIVEN[model]]
    if model == "cox":
        methods.append(lambda X, conditional_after, **given: fitted.predict_quantile(
            X, [0.1, 0.5], conditional_after=conditional_after, **given
        ))  # fmt: skip
        methods.append(fitted.predict_mean_residual_life)
    for predict in methods:
        assert len(predict(NEW, conditional_after=ENDS, stratum=OWN)) == 6
        late = np.where(OWN == "c", 6.0, ENDS)
        sentence = refusal("within [0,", "6.0", 1, NOTHING, "c", "conditional_after")
        for after, text in (
            (late, sentence),
            (9.5, refusal("within [0,", "9.5", 4, NOTHING, name="conditional_after")),
        ):
            call = {"conditional_after": after, "stratum": OWN}
            refuses(lambda predict=predict, call=call: predict(NEW, **call), ValueError, text)


def test_bands_beyond_the_stratum_are_refused(ensemble):
    model, bands = ensemble
    for name in bands:
        predict = getattr(model, name)
        whole = predict(NEW, stratum=OWN)
        at = predict(NEW[KNOWN], times=[2.5, 5.0], stratum=OWN[KNOWN])
        column = np.searchsorted(model.unique_times_, [2.5, 5.0])
        for bound, some in zip(whole, at, strict=True):
            np.testing.assert_array_equal(bound[KNOWN][..., column], some)
            stays = bound[OWN == "b"][..., model.unique_times_ >= 9]
            assert (stays == stays[..., :1]).all()
        sentence = refusal("within [0,", "10.0", 4, LEAVE_OUT)
        call = {"times": [10.0], "stratum": OWN}
        refuses(lambda predict=predict, call=call: predict(NEW, **call), ValueError, sentence)


@pytest.mark.parametrize(("model", "method"), PAIRS)
def test_without_times_a_curve_stays_as_it_is(model, method, request):
    fitted = request.getfixturevalue(model)
    predict = getattr(fitted, method)
    for after in (None, ENDS, ENDS / 2):
        given = {"stratum": OWN, "conditional_after": after}
        values = predict(NEW, True, **given)
        grid = np.minimum(fitted.unique_times_, ENDS[:, None])
        np.testing.assert_array_equal(predict(NEW, times=grid, **given), values)
    assert len(np.unique(values[1])) > 5
    functions = predict(NEW, stratum=OWN).reshape(6, -1)[:, 0]
    assert functions[0](20.0) == functions[0](9.0)


def survival_by_loops(model, row, stratum, time):
    """Survival of a sample by Breslow's estimate; there are no ties within a stratum."""
    ratio, hazard = np.exp(model.predict(X)), 0.0
    own = (stratum == STRATUM) & (WEIGHT > 0)
    for at in np.unique(TIME[own & EVENT]):
        dead = own & EVENT & (at == TIME)
        if at <= time:
            hazard += WEIGHT[dead].sum() / (WEIGHT * ratio)[own & (at <= TIME)].sum()
    return np.exp(-hazard * ratio[row])


def test_means_end_with_their_stratum(cox):
    """Steps, so that the middle of an interval between times has its value."""
    cuts = np.unique([0, *TIME[TIME < 30], *ENDS / 3])
    middle, width = (cuts[1:] + cuts[:-1]) / 2, np.diff(cuts)
    mean = cox.predict_expectation(NEW, stratum=OWN)
    after = ENDS / 3
    left = cox.predict_mean_residual_life(NEW, after, stratum=OWN)
    given = cox.predict_expectation(NEW, conditional_after=after, stratum=OWN)
    for i, row in enumerate(ROWS):
        curve = [survival_by_loops(cox, row, OWN[i], time) for time in middle]
        inside = middle < ENDS[i]
        np.testing.assert_allclose(mean[i], (curve * width)[inside].sum(), rtol=1e-12, atol=1e-15)
        later = inside & (middle > after[i])
        expected = (curve * width)[later].sum() / survival_by_loops(cox, row, OWN[i], after[i])
        np.testing.assert_allclose(left[i], expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(given[i], after[i] + expected, rtol=1e-12, atol=1e-14)
    assert (mean[OWN == "c"] == 5).all()
    assert (cox.predict_mean_residual_life(NEW, ENDS, stratum=OWN) == 0).all()


@pytest.mark.parametrize("hazard", ["cause-specific", "subdistribution"])
def test_time_lost_ends_with_its_stratum(hazard):
    model = CompetingRisksNNRegressor(hazard=hazard, **SMALL).fit(X, CAUSES, **COLUMNS)
    cuts = np.unique([0, *TIME[TIME < 30]])
    middle, width = (cuts[1:] + cuts[:-1]) / 2, np.diff(cuts)
    lost = model.predict_restricted_mean_time_lost(NEW, stratum=OWN)
    for i, end in enumerate(ENDS):
        inside = middle < end
        incidence = model.predict_cumulative_incidence(
            NEW[i : i + 1], times=middle[inside], stratum=OWN[i : i + 1]
        )
        np.testing.assert_allclose(lost[i], incidence[0] @ width[inside], rtol=1e-12, atol=1e-15)
        one = model.predict_restricted_mean_time_lost(NEW[i : i + 1], stratum=OWN[i : i + 1])
        np.testing.assert_allclose(one[0], lost[i], rtol=1e-13)
    some = {"stratum": OWN[OWN == "b"]}
    until = model.predict_restricted_mean_time_lost(NEW[OWN == "b"], until=9, **some)
    np.testing.assert_allclose(until, lost[OWN == "b"], rtol=1e-13)
    refuses(
        lambda: model.predict_restricted_mean_time_lost(NEW, until=9.5, stratum=OWN),
        ValueError,
        refusal("at most", "9.5", 4, "The model says nothing about later times.", name="until"),
    )


def test_time_lost_and_the_time_without_an_event_add_up_to_the_end(causes):
    lost = causes.predict_restricted_mean_time_lost(NEW, stratum=OWN).sum(axis=1)
    cuts = np.unique([0, *TIME[TIME < 30]])
    for i, end in enumerate(ENDS):
        middle = ((cuts[1:] + cuts[:-1]) / 2)[cuts[1:] <= end]
        one = {"times": middle, "stratum": OWN[i : i + 1]}
        survival = causes.predict_survival_function(NEW[i : i + 1], **one)[0]
        width = np.diff(cuts)[cuts[1:] <= end]
        np.testing.assert_allclose(lost[i] + survival @ width, end, rtol=1e-12)


# Paths.

PERIODS = {
    "subject": [1, 1, 2, 2, 3, 4],
    "entry": [0, 4, 0, 3, 0, 0],
    "exit": [4, np.inf, 3, 8, 0.5, 20],
    "stratum": ["c", "a", "a", "b", "d", "a"],
}


def test_a_path_may_leave_a_stratum_before_its_last_time(cox):
    """Subject 1 leaves "c" at 4, and 2 enters "b" at 3 and leaves it at 8."""
    keep = [0, 1, 2, 3, 5]
    some = {name: np.array(column, dtype=object)[keep].tolist() for name, column in PERIODS.items()}
    labels, survival = cox.predict_survival_path(NEW[keep], times=[3.0, 7.0, 20.0], **some)
    assert labels.tolist() == [1, 2, 4]
    hazard = np.zeros((3, 3))
    for subject, row, entry, exit, stratum in zip(
        [0, 0, 1, 1, 2], ROWS[keep], some["entry"], some["exit"], some["stratum"], strict=True
    ):
        for k, time in enumerate([3.0, 7.0, 20.0]):
            ends = [min(max(time, entry), exit), entry]
            own = [-np.log(survival_by_loops(cox, row, stratum, end)) for end in ends]
            hazard[subject, k] += own[0] - own[1]
    hazard[1, 2] = np.nan
    np.testing.assert_allclose(survival, np.exp(-hazard), rtol=1e-12)


def test_a_path_beyond_its_stratum_is_refused(cox):
    late = PERIODS | {"exit": [4, np.inf, 3, 12, 0.5, 20]}
    sentence = refusal("within [0,", "10.0", 1, LEAVE_OUT)
    call = {"times": [0.0, 10.0, 20.0], **late, "stratum": ["c", "a", "a", "b", "c", "a"]}
    refuses(lambda: cox.predict_survival_path(NEW, **call), ValueError, sentence)
    sentence = refusal("within [0,", "0.25", 1, LEAVE_OUT, "d")
    call = {"times": [0.0, 0.25, 20.0], **PERIODS}
    refuses(lambda: cox.predict_survival_path(NEW, **call), ValueError, sentence)
    # Nothing is asked of a row that is not there yet, whatever its stratum.
    begins = {"subject": [1, 1], "entry": [0, 6], "exit": [6, np.inf], "stratum": ["a", "c"]}
    _, early = cox.predict_survival_path(NEW[:2], times=[2.0, 5.5, 6.0], **begins)
    plain = cox.predict_survival_function(NEW[:1], times=[2.0, 5.5, 6.0], stratum=["a"])
    np.testing.assert_allclose(early, plain, rtol=1e-13)
    refuses(
        lambda: cox.predict_survival_path(NEW[:2], times=[5.5, 6.5], **begins),
        ValueError,
        refusal("within [0,", "6.5", 1, LEAVE_OUT, "c").replace("of 6 samples", "of 2 samples"),
    )
    refuses(
        lambda: cox.predict_survival_path(NEW[:2], times=[21.0], **begins),
        ValueError,
        "`times` must be within [0, 20.0], the follow-up of the fit, got 21.0 (1 of 1). "
        f"{LEAVE_OUT}",
    )


def test_without_times_a_path_stays_as_it_is(cox, causes):
    alone = {"subject": range(6), "entry": np.zeros(6), "exit": np.full(6, np.inf), "stratum": OWN}
    for model in (cox, causes):
        _, survival = model.predict_survival_path(NEW, **alone)
        plain = model.predict_survival_function(NEW, True, stratum=OWN)
        np.testing.assert_allclose(survival, plain, rtol=1e-13)
    late = {"subject": [1, 1], "entry": [0, 6], "exit": [6, np.inf], "stratum": ["a", "c"]}
    _, survival = cox.predict_survival_path(NEW[:2], **late)
    at = np.searchsorted(cox.unique_times_, 6)
    assert (survival[0, at:] == survival[0, at]).all()
    assert survival[0, at] < survival[0, at - 1]


# What keeps a model, and what changes it.


@pytest.mark.parametrize("kept", ["file", "pickle"])
def test_files_and_pickles_keep_the_last_times(kept, cox, causes, tmp_path):
    for model in (cox, causes):
        if kept == "file":
            save(model, tmp_path / "model")
            again = load(tmp_path / "model")
        else:
            again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.last_times_, model.last_times_)
        assert again.last_times_.dtype == model.last_times_.dtype
        sentence = refusal("within [0,", "10.0", 4, LEAVE_OUT)
        predict = again.predict_survival_function
        refuses(lambda p=predict: p(NEW, times=[10.0], stratum=OWN), ValueError, sentence)


@pytest.mark.parametrize("model", ["cox", "causes"])
def test_a_file_without_last_times_has_that_of_all_strata(model, request, tmp_path):
    """As 0.1.0 has written them; they were taken to be so."""
    fitted = request.getfixturevalue(model)
    save(fitted, tmp_path / "model")
    document, tensors = container.read(tmp_path / "model")
    del document["learned"]["dict"]["last_times_"], tensors["learned.last_times_"]
    container.write(tmp_path / "old", document, tensors)
    old = load(tmp_path / "old")
    assert old.last_times_.tolist() == [20.0] * 4
    values = old.predict_survival_function(NEW, times=[20.0], stratum=OWN)[:, 0]
    expected = fitted.predict_survival_function(NEW, True, stratum=OWN)[:, -1]
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("call", ["partial_fit", "fit"])
def test_a_later_call_may_bring_later_times(call):
    model = CoxNNRegressor(**SMALL, warm_start=True)
    early = TIME <= 4
    getattr(model, call)(X[early], Y[early], stratum=STRATUM[early])
    assert model.last_times_.tolist() == [4, 4, 4, 3]
    getattr(model, call)(X, Y, **COLUMNS)
    assert model.last_times_.tolist() == [20, 9, 5, 0]
    assert model.predict_survival_function(NEW[:1], times=[9.0], stratum=["b"]).shape == (1, 1)
    getattr(model, call)(X, Y, sample_weight=WEIGHT)
    assert model.last_times_.tolist() == [20]


# Displays.


def test_displays_of_a_stratum_that_ends_early(causes):
    display = CumulativeIncidenceDisplay.from_estimator(causes, NEW[:1], stratum=["b"])
    behind = display.incidence[:, display.times >= 9]
    assert (display.times[-1], display.incidence.shape) == (20, (2, 501))
    np.testing.assert_array_equal(behind, behind[:, :1].repeat(behind.shape[1], axis=1))
    options = {"times": [0, 10], "stratum": ["b"]}
    with pytest.raises(
        ValueError, match=r"^`times` must be within \[0, 9\.0\], the follow-up of t"
    ):
        CumulativeIncidenceDisplay.from_estimator(causes, NEW[:1], **options)
    counted = WEIGHT > 0
    display = IncidenceCalibrationDisplay.from_estimator(
        causes, X[counted], CAUSES[counted], stratum=STRATUM[counted]
    )
    assert display.times[-1] == 20
