"""Displays of interval-censored times: Turnbull's estimate, what it leaves open, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sksurv.functions import StepFunction
from sksurv.util import Surv

from sksurvtorch.displays import (
    DCalibrationDisplay,
    RiskGroupsDisplay,
    SurvivalCalibrationDisplay,
    SurvivalFunctionDisplay,
)
from sksurvtorch.metrics import d_calibration, d_calibration_interval_censored, turnbull
from sksurvtorch.nets import interval_censored_y
from tests.interval_twins import random_intervals
from tests.unit.displays.patients import edges, texts_of_legend
from tests.unit.refusals import refuses

INF = np.inf
# A point at 1, the interval (2, 4], and a row that is censored at 6: a third each.
THREE = interval_censored_y([1, 2, 6], [1, 4, INF])
TIMES = np.array([0.0, 3.0, 6.0])
CURVES = np.tile([1.0, 0.5, 0.2], (3, 1))
WITHOUT_ENTRY = (
    "`entry` must be left out for interval-censored times, got a column. Turnbull's estimate is "
    "computed without late entry here: leave out the rows that enter late."
)


class Exponential(BaseEstimator):
    """A fitted model whose rates are the first column of X."""

    def fit(self, X, y=None):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        return np.asarray(X)[:, 0]

    def predict_survival_function(self, X, times=None, return_array=False):
        grid = np.arange(0, 7.0)
        values = np.exp(-np.outer(np.asarray(X)[:, 0], grid))
        if return_array:
            return values
        return [StepFunction(grid, row, domain=(0, 6)) for row in values]


RATES = np.array([[0.2], [0.1], [0.3]])


def test_turnbull_stands_beside_the_predictions():
    display = SurvivalFunctionDisplay.from_predictions(CURVES, TIMES, THREE)
    assert display.kaplan_meier_line_ is display.kaplan_meier_band_ is None
    points = display.turnbull_line_.get_xydata()
    expected = [(0, 1), (1, 1), (1, 1), (1, 2 / 3), (2, 2 / 3), (np.nan, 2 / 3), (4, 1 / 3)]
    # It ends with the follow-up: of what comes after 6 nothing is known.
    np.testing.assert_allclose(points, [*expected, (6, 1 / 3)])
    box = edges(display.turnbull_boxes_)
    third, two_thirds = round(1 / 3, 9), round(2 / 3, 9)
    assert box == {(2, third), (2, two_thirds), (4, third), (4, two_thirds)}
    assert texts_of_legend(display.ax_)[2:] == ["Turnbull", "Turnbull, not determined"]
    assert display.turnbull.mass == pytest.approx([1 / 3] * 3)


def test_each_interval_has_a_box_of_its_own():
    y = interval_censored_y([0, 0, 3, 5], [1, 2, 4, 5])
    display = SurvivalFunctionDisplay.from_predictions(np.ones((4, 2)), [0, 6], y)
    paths = display.turnbull_boxes_.get_paths()
    found = [path.vertices[[0, 2]].tolist() for path in paths]
    boxes = [np.unique(path.vertices, axis=0)[:, 0].tolist() for path in paths]
    assert [(min(x), max(x)) for x in boxes] == [(0, 1), (3, 4)], found
    assert display.turnbull_line_.get_xydata()[-1].tolist() == [5, 0]


def test_a_mass_that_nobody_sees_does_not_break_the_line():
    lower, upper = [0, 0, 0, 1, 2], [1, 1, 3, 3, 3]
    curve = turnbull(lower, upper)._replace(
        left=np.array([0.0, 2.0]),
        right=np.array([1.0, 3.0]),
        mass=np.array([1 - 1e-9, 1e-9]),
        survival=np.array([1e-9, 0]),
    )
    display = SurvivalFunctionDisplay(np.ones((1, 2)), np.arange(2), turnbull=curve).plot()
    assert display.turnbull_line_.get_xdata()[1:].tolist() == pytest.approx(
        [0, np.nan, 1, 3], nan_ok=True
    )


def test_event_and_time_are_drawn_as_kaplan_meier():
    y = Surv.from_arrays([True, False, True], [1.0, 2.0, 3.0])
    display = SurvivalFunctionDisplay.from_predictions(CURVES, TIMES, y)
    assert display.turnbull is display.turnbull_line_ is display.turnbull_boxes_ is None
    assert "Kaplan-Meier" in texts_of_legend(display.ax_)


def test_groups_are_drawn_without_numbers_at_risk():
    rng = np.random.default_rng(0)
    lower, upper = random_intervals(rng, 60)
    y, risk = interval_censored_y(lower, upper), rng.normal(size=60)
    display = RiskGroupsDisplay.from_predictions(y, risk, n_groups=2, table=True)
    assert display.table_ is display.n_at_risk is display.p_value is None
    assert display.table_texts_ == []
    assert texts_of_legend(display.ax_) == ["Low risk", "High risk"]
    for rows, line, curve in zip(
        (risk <= np.median(risk), risk > np.median(risk)),
        display.lines_,
        display.kaplan_meier,
        strict=True,
    ):
        expected = turnbull(lower[rows], upper[rows])
        np.testing.assert_array_equal(curve.mass, expected.mass)
        points = line.get_xydata()
        points = points[np.isfinite(points).all(1)]
        least = curve.survival_bounds(points[:, 0])[0]
        greatest = curve.survival_bounds(np.nextafter(points[:, 0], 0))[1]
        # Masses below a millionth are not drawn.
        assert (points[:, 1] <= greatest + 1e-5).all()
        assert (points[:, 1] >= least - 1e-5).all()
    for line, boxes in zip(display.lines_, display.bands_, strict=True):
        assert boxes.get_facecolor()[0].tolist() == list(to_rgba(line.get_color(), 0.18))
    groups = np.where(risk > 0, "b", "a")
    assert RiskGroupsDisplay.from_groups(y, groups).labels == ["a", "b"]


def test_axes_reach_to_the_end_of_the_follow_up():
    display = RiskGroupsDisplay.from_groups(THREE, ["a", "a", "a"])
    assert display.ax_.get_xlim() == (0, 1.02 * 6)
    display = RiskGroupsDisplay.from_groups(THREE[:2], ["a", "a"], times=[0, 8])
    assert display.ax_.get_xlim() == (0, 1.02 * 8)


@pytest.mark.parametrize(
    ("time", "observed", "ends"),
    [(0.5, 1, (1, 1)), (1, 2 / 3, (2 / 3, 2 / 3)), (3, 1 / 2, (1 / 3, 2 / 3)), (6, 1 / 3, None)],
)
def test_calibration_shows_the_range_that_is_left_open(time, observed, ends):
    display = SurvivalCalibrationDisplay.from_predictions(
        THREE, [0.3, 0.4, 0.5], time=time, n_groups=1, time_unit="years"
    )
    assert display.method == "Turnbull"
    assert display.observed == pytest.approx([observed])
    assert display.conf_int[:, 0] == pytest.approx(ends or (observed, observed))
    assert display.predicted == pytest.approx([0.4])
    segment = display.interval_lines_.get_segments()[0]
    assert segment[:, 1] == pytest.approx(display.conf_int[:, 0])
    label = f"Turnbull survival at {time:g} years, range left open"
    assert display.ax_.get_ylabel() == label


def test_calibration_is_turnbull_within_groups():
    rng = np.random.default_rng(1)
    lower, upper = random_intervals(rng, 80)
    survival = rng.random(80)
    display = SurvivalCalibrationDisplay.from_predictions(
        interval_censored_y(lower, upper), survival, time=0.4, n_groups=4
    )
    for number, rows in enumerate(np.array_split(np.argsort(survival), 4)):
        ends = np.concatenate(turnbull(lower[rows], upper[rows]).survival_bounds([0.4]))
        assert display.conf_int[:, number] == pytest.approx(ends, abs=1e-6)


def test_calibration_ends_with_the_follow_up_of_a_group():
    sentence = (
        "`time` must be within the follow-up of each group, got 6.5. That of group 1 of 1, by "
        "ascending predicted survival, ends with a censoring at 6. Take an earlier time, or fewer "
        "groups."
    )
    draw = SurvivalCalibrationDisplay.from_predictions
    refuses(lambda: draw(THREE, [0.3, 0.4, 0.5], time=6.5, n_groups=1), ValueError, sentence)
    # If the last event has happened, survival is 0 ever after.
    assert draw(THREE[:2], [0.3, 0.4], time=6.5, n_groups=1).observed.tolist() == [0]


def test_d_calibration_spreads_a_row_between_its_ends():
    """A half, a quarter of (0.25, 0.75] each side, and all of [0, 0.4]."""
    survival = [[0.5, 0.5], [0.75, 0.25], [0.4, 0]]
    display = DCalibrationDisplay.from_predictions(THREE, survival, n_bins=2)
    np.testing.assert_allclose(display.result.shares, [1.5 / 3, 1.5 / 3])
    assert display.bars_.get_data().values == pytest.approx([0.5, 0.5])


def test_d_calibration_asks_the_functions_at_both_ends():
    model, y = Exponential(), interval_censored_y([0, 2, 6], [3, 2, INF])
    display = DCalibrationDisplay.from_estimator(model, RATES, y, n_bins=4)
    ends = [1, np.exp(-0.2), np.exp(-1.8)], [np.exp(-0.6), np.exp(-0.2), 0]
    expected = d_calibration_interval_censored(*ends, n_bins=4)
    np.testing.assert_allclose(display.result.shares, expected.shares)
    assert display.result.statistic == pytest.approx(expected.statistic)


def test_d_calibration_asks_no_function_at_0_or_infinity():
    """scikit-survival's functions may begin with the first training time."""

    class Late(Exponential):
        def predict_survival_function(self, X):
            functions = super().predict_survival_function(X)
            return [StepFunction(f.x[1:], f.y[1:], domain=(1, 6)) for f in functions]

    y = interval_censored_y([0, 0, 2], [1, 2, INF])
    draw = DCalibrationDisplay.from_estimator
    expected = draw(Exponential(), RATES, y).result.shares.tolist()
    assert draw(Late(), RATES, y).result.shares.tolist() == expected


@pytest.mark.parametrize("bounds", [([1, 2, 7], [2, 3, INF]), ([1, 2, 3], [2, 3, 7])])
def test_d_calibration_says_what_to_do_beyond_the_predictions(bounds):
    sentence = (
        "`y` must have times within [0, 6], where all predicted survival functions are defined, "
        "got 7 (1 of 3). Set later lower bounds to 6 and later upper ones to infinity: that is "
        "true, too."
    )
    draw = DCalibrationDisplay.from_estimator
    y = interval_censored_y(*bounds)
    refuses(lambda: draw(Exponential(), RATES, y), ValueError, sentence)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SurvivalFunctionDisplay, {}),
        (SurvivalCalibrationDisplay, {"time": 2, "n_groups": 1}),
        (DCalibrationDisplay, {}),
        (RiskGroupsDisplay, {"n_groups": 1}),
    ],
)
def test_pipelines_are_drawn_and_lengths_compared(kind, options):
    pipe = make_pipeline(FunctionTransformer(), Exponential()).fit(RATES)
    assert kind.from_estimator(pipe, RATES, THREE, **options).ax_ is not None
    with pytest.raises(ValueError, match=r"(2, got 3|shape \(3,\), got \(2,\))"):
        kind.from_estimator(pipe, RATES[:2], THREE, **options)


@pytest.mark.parametrize(
    "draw",
    [
        lambda **entry: SurvivalFunctionDisplay.from_predictions(CURVES, TIMES, THREE, **entry),
        lambda **entry: RiskGroupsDisplay.from_groups(THREE, [0, 0, 1], **entry),
        lambda **entry: RiskGroupsDisplay.from_predictions(THREE, [0, 0, 1], **entry),
        lambda **entry: SurvivalCalibrationDisplay.from_predictions(
            THREE, [0.1, 0.2, 0.3], time=1, **entry
        ),
    ],
)
def test_late_entry_is_refused(draw):
    refuses(lambda: draw(entry=[0, 0, 1]), ValueError, WITHOUT_ENTRY)


def test_d_calibration_refuses_one_column():
    sentence = (
        "`survival` must have shape (3, 2), for the lower and the upper bound of each sample, got "
        "(3,)."
    )
    draw = DCalibrationDisplay.from_predictions
    refuses(lambda: draw(THREE, [0.1, 0.2, 0.3]), ValueError, sentence)


def test_d_calibration_of_events_and_censorings_is_the_same():
    rng = np.random.default_rng(0)
    event, survival = rng.random(200) < 0.5, rng.random(200)
    expected = d_calibration(event, survival, n_bins=7)
    found = d_calibration_interval_censored(survival, np.where(event, survival, 0), n_bins=7)
    np.testing.assert_allclose(found.shares, expected.shares, rtol=1e-12)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-10)
    assert found.pvalue == pytest.approx(expected.pvalue, rel=1e-10)


def test_bins_of_intervals_are_those_of_their_definition():
    rng = np.random.default_rng(0)
    ends = np.sort(rng.random((50, 2)))
    edges_ = np.linspace(0, 1, 6)
    counts = np.zeros(5)
    for low, high in ends:
        for k in range(5):
            counts[k] += max(min(high, edges_[k + 1]) - max(low, edges_[k]), 0) / (high - low)
    found = d_calibration_interval_censored(ends[:, 1], ends[:, 0], n_bins=5)
    np.testing.assert_allclose(found.shares, counts / 50, rtol=1e-12)


def test_right_predictions_are_calibrated_whatever_the_visits():
    rng = np.random.default_rng(0)
    time, visits = rng.exponential(size=4000), np.sort(rng.exponential(size=(4000, 3)))
    visits = np.column_stack([np.zeros(4000), visits, np.full(4000, INF)])
    place = (visits < time[:, None]).sum(1) - 1
    lower, upper = (np.take_along_axis(visits, k[:, None], 1)[:, 0] for k in (place, place + 1))
    right = d_calibration_interval_censored(np.exp(-lower), np.exp(-upper))
    assert abs(right.shares - 0.1).max() < 0.01
    assert right.pvalue > 0.5
    wrong = d_calibration_interval_censored(np.exp(-1.5 * lower), np.exp(-1.5 * upper))
    assert wrong.pvalue < 1e-6


@pytest.mark.parametrize(
    ("ends", "sentence"),
    [
        (([0.5, 0.2], [0.4, 0.3]), "`survival_upper` must be at most `survival_lower`, got 0.3 "
         "above 0.2 (1 of 2). Survival falls with time."),
        (([0.5, 1.2], [0.4, 0.3]), "`survival_lower` must be within [0, 1], got 1.2 (1 of 2). It "
         "is the probability that the event is later."),
        (([0.5, 0.4], [0.4]), "`survival_upper` must have shape (2,), one for each sample at its "
         "own time, got (1,)."),
        (([], []), "`survival_lower` must have at least one sample, got none."),
    ],
)  # fmt: skip
def test_refusals_of_d_calibration(ends, sentence):
    refuses(lambda: d_calibration_interval_censored(*ends), ValueError, sentence)
