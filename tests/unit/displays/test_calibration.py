"""Calibration at one time: groups, Kaplan-Meier within them, ties, errors word for word."""

import re

import numpy as np
import pytest
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from sksurvtorch.displays import RiskGroupsDisplay, SurvivalCalibrationDisplay
from sksurvtorch.exceptions import TiedGroupsWarning
from tests.unit.displays.patients import ENTRY, EVENT, TEST, TIME, TRAIN, X, Y, texts_of_legend
from tests.unit.refusals import MAKE_Y, refuses


def test_calibration_by_hand():
    """In the first group 1 of 3 dies at 1, one is censored at 2, the last dies at 3."""
    y = Surv.from_arrays([True, False, True, True, False], [1, 2, 3, 5, 6])
    survival = [0.3, 0.1, 0.2, 0.9, 0.7]
    display = SurvivalCalibrationDisplay.from_predictions(
        y, survival, time=2.5, n_groups=2, time_unit="years"
    )
    np.testing.assert_allclose(display.predicted, [0.2, 0.8], rtol=1e-15)  # lists are float64
    np.testing.assert_allclose(display.observed, [2 / 3, 1])
    assert display.group_size.tolist() == [3, 2]
    np.testing.assert_array_equal(display.conf_int[:, 1], [1, 1])
    np.testing.assert_allclose(display.line_.get_xydata(), [[0.2, 2 / 3], [0.8, 1]])
    segment = display.interval_lines_.get_segments()[0]
    np.testing.assert_allclose(segment, [[0.2, x] for x in display.conf_int[:, 0]])
    assert display.ax_.get_xlabel() == "Predicted survival at 2.5 years, mean of the group"
    # The time of an event counts.
    at_event = SurvivalCalibrationDisplay.from_predictions(y, survival, time=5, n_groups=2)
    np.testing.assert_allclose(at_event.observed, [0, 0.5])


def test_calibration_is_kaplan_meier_within_groups(cox):
    display = SurvivalCalibrationDisplay.from_estimator(cox, X[TEST], Y[TEST], time=400, n_groups=5)
    survival = np.array([f(400) for f in cox.predict_survival_function(X[TEST])])
    parts = np.array_split(np.argsort(survival), 5)
    assert display.group_size.tolist() == [50] * 5
    for k, part in enumerate(parts):
        times, estimate, conf_int = kaplan_meier_estimator(
            EVENT[TEST][part], TIME[TEST][part], conf_type="log-log"
        )
        last = np.flatnonzero(times <= 400)[-1]
        assert display.observed[k] == estimate[last]
        np.testing.assert_array_equal(display.conf_int[:, k], conf_int[:, last])
        np.testing.assert_allclose(display.predicted[k], survival[part].mean(), rtol=1e-12)


def test_calibration_with_late_entry():
    survival = np.linspace(0.1, 0.9, len(Y))
    display = SurvivalCalibrationDisplay.from_predictions(
        Y, survival, time=300, n_groups=2, entry=ENTRY
    )
    times, estimate = kaplan_meier_estimator(EVENT[:250], TIME[:250], ENTRY[:250])
    assert display.observed[0] == estimate[times <= 300][-1]


def test_order_of_the_rows_does_not_matter():
    """Nor do ties, which fall into one group."""
    rng = np.random.default_rng(0)
    survival = rng.integers(1, 40, size=len(Y)) / 40
    order = rng.permutation(len(Y))
    draw = SurvivalCalibrationDisplay.from_predictions
    one = draw(Y, survival, time=200, n_groups=5)
    other = draw(Y[order], survival[order], time=200, n_groups=5)
    np.testing.assert_array_equal(one.observed, other.observed)
    np.testing.assert_array_equal(one.group_size, other.group_size)
    assert one.group_size.sum() == len(Y)


@pytest.mark.parametrize(
    ("survival", "n_groups", "sizes"),
    [
        ([0.1, 0.5, 0.5, 0.5, 0.9, 0.9], 3, [4, 2]),
        ([0.9, 0.9, 0.9, 0.1, 0.2, 0.9], 3, [2, 4]),
        ([0.5] * 6, 4, [6]),
        ([0.5] * 5 + [0.6], 6, [5, 1]),
    ],
)
def test_ties_are_not_split_and_fewer_groups_are_told(survival, n_groups, sizes):
    y = Surv.from_arrays([True] * 6, [3, 4, 5, 6, 7, 8])
    sentence = (
        f"Tied predictions are not split, which leaves {len(sizes)} of the {n_groups} groups asked "
        "for. Lower `n_groups`, or group the samples by other values."
    )
    with pytest.warns(TiedGroupsWarning, match=f"^{re.escape(sentence)}$"):
        display = SurvivalCalibrationDisplay.from_predictions(
            y, survival, time=5, n_groups=n_groups
        )
    assert display.group_size.tolist() == sizes
    with pytest.warns(TiedGroupsWarning, match=f"^{re.escape(sentence)}$"):
        groups = RiskGroupsDisplay.from_predictions(y, survival, n_groups=n_groups)
    assert groups.table_[:, 0].tolist() == sizes


def test_ties_within_a_group_are_no_matter():
    y = Surv.from_arrays([True] * 6, [3, 4, 5, 6, 7, 8])
    display = SurvivalCalibrationDisplay.from_predictions(
        y, [0.1, 0.1, 0.1, 0.8, 0.8, 0.8], time=5, n_groups=2
    )
    assert display.group_size.tolist() == [3, 3]


def test_after_the_follow_up_survival_is_known_only_where_it_is_0():
    y = Surv.from_arrays([True, True, True, False], [1, 2, 3, 4])
    draw = SurvivalCalibrationDisplay.from_predictions
    survival = [0.1, 0.2, 0.3, 0.4]
    np.testing.assert_allclose(draw(y, survival, time=4, n_groups=2).observed, [0, 0.5])
    refuses(
        lambda: draw(y, survival, time=4.5, n_groups=2),
        ValueError,
        "`time` must be within the follow-up of each group, got 4.5. That of group 2 of 2, by "
        "ascending predicted survival, ends with a censoring at 4. Take an earlier time, or fewer "
        "groups.",
    )


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"n_groups": 0}, ValueError, "`n_groups` must be at least 1, got 0."),
        (
            {"n_groups": 5},
            ValueError,
            "`n_groups` must be at most the number of samples, 4, got 5.",
        ),
        (
            {"n_groups": 2.0},
            TypeError,
            "`n_groups` must be an integer, got 2.0 of type float.",
        ),
        ({"time": -1}, ValueError, "`time` must be at least 0, got -1."),
        (
            {"survival": [0.1, 0.2, 0.3]},
            ValueError,
            "`survival` must have shape (4,), got (3,).",
        ),
        (
            {"survival": [0.1, 0.2, np.nan, 0.3]},
            ValueError,
            "`survival` must be finite, got 1 of 4 that are not.",
        ),
        (
            {"survival": [0.1, 0.2, -0.1, 0.3]},
            ValueError,
            "`survival` must be within [0, 1], got -0.1 (1 of 4). It is the probability that the "
            "event is later.",
        ),
        (
            {"y": None},
            ValueError,
            "This SurvivalCalibrationDisplay requires y to be passed, but the target y is None. "
            f"It must be a structured array with the fields event and time. {MAKE_Y}",
        ),
        (
            {"entry": [0, 1, 3, 0]},
            ValueError,
            "`entry` must be less than the time of its row, got 3 (1 of 4 rows). A row is at "
            "risk on (entry, time], which may not be empty.",
        ),
        (
            {"entry": [-1, 1, 0, 0], "y": Surv.from_arrays([True] * 4, [0, 2, 3, 4])},
            ValueError,
            "`time` must be positive where some enter late, got 0. A row is at risk on (entry, "
            "time], from 0 on: leave out those that were never at risk.",
        ),
    ],
)
def test_calibration_refuses(options, error, sentence):
    y = Surv.from_arrays([True, True, True, False], [1, 2, 3, 4])
    options = {"y": y, "survival": [0.1, 0.2, 0.3, 0.4], "time": 2, "n_groups": 2} | options
    refuses(lambda: SurvivalCalibrationDisplay.from_predictions(**options), error, sentence)


def test_time_outside_the_domain_is_refused(cox):
    last = float(TIME[TRAIN].max())
    refuses(
        lambda: SurvivalCalibrationDisplay.from_estimator(cox, X, Y, time=9999),
        ValueError,
        f"`time` must be within [0, {last:g}], where all predicted survival functions are defined, "
        "got 9999. Leave out what lies outside.",
    )


def test_displays_share_axes_with_one_diagonal_and_other_markers(cox, stopped):
    first = SurvivalCalibrationDisplay.from_estimator(cox, X, Y, time=365)
    second = SurvivalCalibrationDisplay.from_estimator(stopped, X, Y, time=365, ax=first.ax_)
    assert texts_of_legend(first.ax_) == [
        "Perfectly calibrated",
        "CoxPHSurvivalAnalysis",
        "WeibullAFTRegressor",
    ]
    assert first.line_.get_marker() != second.line_.get_marker()
    assert first.line_.get_color() != second.line_.get_color()
    bare = first.plot(ref_line=False, name="other")
    assert texts_of_legend(bare.ax_) == ["other"]
