"""Incidence of groups: Aalen-Johansen, the means of the predictions, the table, errors."""

import re

import numpy as np
import pytest
from sksurv.nonparametric import cumulative_incidence_competing_risks

from sksurvtorch.displays import IncidenceCalibrationDisplay
from sksurvtorch.displays._incidence import aalen_johansen
from sksurvtorch.exceptions import TiedGroupsWarning
from sksurvtorch.nets import competing_risks_y
from tests.unit.displays.patients import (
    ENTRY,
    STATUS,
    TEST,
    TIME,
    Y_CAUSES,
    X,
    edges,
    texts_of_legend,
)
from tests.unit.refusals import refuses

draw = IncidenceCalibrationDisplay.from_predictions
GRID = np.array([0.0, 500.0, 1000.0])


def rising(score):
    """Return incidences at the grid that reach some scores."""
    return np.asarray(score)[:, None] * np.array([0, 0.5, 1])


def test_calibration_by_hand():
    """Of three at risk one has the event at 1, one another at 2; the last one has it at 3."""
    y = competing_risks_y([1, 2, 1, 0, 1, 2], [1, 2, 3, 1, 2, 4])
    incidence = [[0.0, 0.1], [0.0, 0.2], [0.0, 0.3], [0.0, 0.9], [0.0, 0.8], [0.0, 0.7]]
    display = draw(y, incidence, [0, 4], n_groups=2, time_unit="years")
    np.testing.assert_allclose(display.predicted, [[0, 0.2], [0, 0.8]])
    low, high = display.lines_
    np.testing.assert_allclose(
        low.get_xydata(), [[0, 0], [1, 1 / 3], [2, 1 / 3], [3, 2 / 3]], rtol=1e-12
    )
    np.testing.assert_allclose(high.get_xydata(), [[0, 0], [1, 0], [2, 0.5], [4, 0.5]], rtol=1e-12)
    assert [line.get_drawstyle() for line in display.lines_] == ["steps-post"] * 2
    for line, mean in zip(display.predicted_lines_, (0.2, 0.8), strict=True):
        np.testing.assert_allclose(line.get_xydata(), [[0, 0], [4, mean]])
    assert [line.get_color() for line in display.lines_] == [
        line.get_color() for line in display.predicted_lines_
    ]
    assert all(line.is_dashed() for line in display.predicted_lines_)
    assert display.ax_.get_xlabel() == "Time (years)"
    assert display.ax_.get_ylabel() == "Cumulative incidence of cause 1"
    assert display.ax_.get_ylim()[0] == 0


@pytest.mark.parametrize("cause", [1, 2])
def test_estimate_and_interval_are_those_of_scikit_survival_within_groups(causes, cause):
    display = IncidenceCalibrationDisplay.from_estimator(
        causes, X[TEST], Y_CAUSES[TEST], cause=cause, times=GRID, n_groups=5
    )
    predicted = causes.predict_cumulative_incidence(X[TEST], cause=cause, times=GRID)
    parts = np.array_split(np.argsort(predicted[:, -1]), 5)
    status, time = STATUS[TEST], TIME[TEST]
    for k, part in enumerate(parts):
        np.testing.assert_allclose(display.predicted[k], predicted[part].mean(axis=0), rtol=1e-12)
        times, incidence, conf_int = cumulative_incidence_competing_risks(
            status[part], time[part], conf_type="log-log"
        )
        found = display.aalen_johansen[k]
        np.testing.assert_array_equal(found[0], times)
        np.testing.assert_allclose(found[1], incidence[cause], rtol=1e-12)
        np.testing.assert_allclose(found[2], conf_int[cause], rtol=1e-9, atol=1e-12)
        at_risk = [(time[part] >= t).sum() for t in display.table_times_]
        assert display.table_[k].tolist() == at_risk
        bounds = conf_int[cause][:, times == times[times <= 1000][-1]].ravel()
        assert {(1000.0, round(bound, 9)) for bound in bounds} <= edges(display.bands_[k])


def brute_force(status, time, entry, cause):
    """Return the incidence at each time, by the risk set of each."""
    times, survival, total, found = np.unique(time), 1.0, 0.0, []
    for t in times:
        at_risk = ((entry < t) & (t <= time)).sum()
        total += survival * ((time == t) & (status == cause)).sum() / at_risk
        survival *= 1 - ((time == t) & (status > 0)).sum() / at_risk
        found.append(total)
    return found


def test_late_entry_in_curves_and_table():
    display = draw(Y_CAUSES, rising(np.linspace(0.1, 0.9, 500)), GRID, n_groups=2, entry=ENTRY)
    for k, rows in enumerate((slice(250), slice(250, None))):
        expected = brute_force(STATUS[rows], TIME[rows], ENTRY[rows], 1)
        np.testing.assert_allclose(display.aalen_johansen[k][1], expected, rtol=1e-12)
        ticks = display.table_times_[1:]
        at_risk = [((t > ENTRY) & (t <= TIME))[rows].sum() for t in ticks]
        assert display.table_[k, 1:].tolist() == at_risk


def test_a_group_may_lack_the_cause_or_all_events():
    y = competing_risks_y([0, 0, 2, 0, 1, 2], [1, 2, 3, 4, 5, 6])
    display = draw(y, rising([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), GRID, n_groups=3)
    assert [curve[1].tolist() for curve in display.aalen_johansen] == [[0, 0], [0, 0], [0.5, 0.5]]
    np.testing.assert_array_equal(display.aalen_johansen[0][2], np.zeros((2, 2)))
    # Of the last one at risk the event is certain, and an incidence of 1 has no interval.
    certain = aalen_johansen(np.array([1]), np.array([1.0]), None, 1)[0]
    assert [part.tolist() for part in certain] == [[1], [1], [[1], [1]]]


def test_the_picture_ends_with_the_predictions():
    """A curve beyond is cut, and one that ends before is not drawn on."""
    y = competing_risks_y([1, 0, 1, 1, 0, 0], [100, 200, 2000, 300, 400, 500])
    display = draw(y, rising([0.1, 0.2, 0.3, 0.7, 0.8, 0.9]), GRID, n_groups=2)
    longer, shorter = display.lines_
    np.testing.assert_allclose(longer.get_xydata()[-1], [1000, 1 / 3])
    np.testing.assert_allclose(shorter.get_xydata()[-1], [500, 1 / 3])
    assert display.ax_.get_xlim() == (0, 1020)
    assert display.aalen_johansen[0][0][-1] == 2000


def test_ticks_names_and_legend():
    y, incidence = Y_CAUSES, rising(np.linspace(0.1, 0.9, 500))
    options = {"ticks": [0, 400, 800], "labels": ["low", "high"], "cause_name": "relapse"}
    display = draw(y, incidence, GRID, n_groups=2, **options)
    assert display.ax_.get_xticks().tolist() == [0, 400, 800]
    assert display.table_.tolist() == [
        [(TIME[rows] >= t).sum() for t in (0, 400, 800)] for rows in (slice(250), slice(250, None))
    ]
    assert display.ax_.get_ylabel() == "Cumulative incidence of relapse"
    kinds = ["Aalen-Johansen, 95 % confidence", "Predicted"]
    assert texts_of_legend(display.ax_) == kinds
    assert {"low", "high"} <= {text.get_text() for text in display.table_texts_}
    bare = display.plot(table=False)
    assert texts_of_legend(bare.ax_) == ["high", "low", *kinds]
    assert bare.table_texts_ == []


def test_ties_are_not_split():
    y = competing_risks_y([1] * 6, [3, 4, 5, 6, 7, 8])
    sentence = "Tied predictions are not split, which leaves 2 of the 3 groups asked for."
    with pytest.warns(TiedGroupsWarning, match=f"^{re.escape(sentence)}"):
        display = draw(y, rising([0.1, 0.5, 0.5, 0.5, 0.9, 0.9]), GRID)
    assert display.labels == ["Low risk", "High risk"]
    assert display.table_[:, 0].tolist() == [4, 2]


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"cause": 3},
            ValueError,
            "`cause` must have events in `y`, got 3. Causes with events there: 1, 2.",
        ),
        ({"cause": 0}, ValueError, "`cause` must be at least 1, got 0."),
        ({"n_groups": 0}, ValueError, "`n_groups` must be at least 1, got 0."),
        ({"labels": ["a"]}, ValueError, "`labels` must name the 2 groups, got 1 names."),
        (
            {"incidence": rising([0.1, 0.2, 0.3])},
            ValueError,
            "`y` must have one row for each prediction, 3, got 4.",
        ),
        (
            {"incidence": rising([0.1, 0.2, 0.3, np.nan])},
            ValueError,
            "`incidence` must be within [0, 1], got nan (3 of 12). It is the probability that the "
            "event has happened.",
        ),
        (
            {"incidence": [0.1, 0.2, 0.3, 0.4]},
            ValueError,
            "`incidence` must have shape (n_samples, n_times), with a column for each of the 3 "
            "times, got (4,).",
        ),
        (
            {"ticks": [1, 0]},
            ValueError,
            "`ticks` must be finite, at least 0 and ascending without ties.",
        ),
        (
            {"entry": [0, 1, 3, 0]},
            ValueError,
            "`entry` must be less than the time of its row, got 3 (1 of 4 rows). A row is at "
            "risk on (entry, time], which may not be empty.",
        ),
        (
            {"y": None},
            ValueError,
            "This IncidenceCalibrationDisplay requires y to be passed, but the target y is None. "
            "It must be a structured array with the fields status and time. Make one with "
            "sksurvtorch.nets.competing_risks_y(status, time).",
        ),
    ],
)
def test_calibration_refuses(options, error, sentence):
    y = competing_risks_y([1, 2, 1, 0], [1, 2, 3, 4])
    options = {"y": y, "incidence": rising([0.1, 0.2, 0.3, 0.4]), "n_groups": 2} | options
    refuses(lambda: draw(times=GRID, **options), error, sentence)


def test_a_cause_that_the_model_does_not_know_is_refused(causes):
    refuses(
        lambda: IncidenceCalibrationDisplay.from_estimator(causes, X, Y_CAUSES, cause=3),
        ValueError,
        "`cause` must be at most 2, the number of causes of the fit, got 3.",
    )
