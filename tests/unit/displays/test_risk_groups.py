"""Groups of risk: their curves, the log-rank test, and the table of numbers at risk."""

import numpy as np
import pandas as pd
import pytest
from sksurv.compare import compare_survival
from sksurv.datasets import load_gbsg2
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv

from sksurvtorch.displays import RiskGroupsDisplay
from tests.unit.displays.patients import ENTRY, EVENT, TEST, TIME, X, Y, texts_of_legend
from tests.unit.refusals import refuses


@pytest.mark.parametrize(
    ("n_groups", "labels"),
    [
        (1, ["All samples"]),
        (2, ["Low risk", "High risk"]),
        (3, ["Low risk", "Medium risk", "High risk"]),
        (5, ["Group 1 (lowest)", "Group 2", "Group 3", "Group 4", "Group 5 (highest)"]),
    ],
)
def test_groups_of_risk_are_kaplan_meier_and_log_rank_of_scikit_survival(cox, n_groups, labels):
    display = RiskGroupsDisplay.from_estimator(cox, X[TEST], Y[TEST], n_groups=n_groups)
    assert display.labels == labels
    event, time = EVENT[TEST], TIME[TEST]
    codes = np.empty(250, dtype=int)
    for k, rows in enumerate(np.array_split(np.argsort(cox.predict(X[TEST])), n_groups)):
        codes[rows] = k
        expected = kaplan_meier_estimator(event[rows], time[rows], conf_type="log-log")
        for found, wanted in zip(display.kaplan_meier[k], expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(display.lines_[k].get_ydata()[1:], expected[1])
        at_risk = [(time[rows] >= t).sum() for t in display.table_times_]
        assert display.table_[k].tolist() == at_risk
    if n_groups == 1:
        assert display.p_value is None
    else:
        assert display.p_value == compare_survival(Y[TEST], codes)[1]


def test_the_higher_the_score_the_earlier():
    display = RiskGroupsDisplay.from_predictions(Y, -TIME)
    ends = [curve[0][-1] for curve in display.kaplan_meier]
    assert ends == sorted(ends, reverse=True)


def test_numbers_at_risk_by_hand():
    """At risk on (entry, time]; at 0 those that do not enter later."""
    y = Surv.from_arrays([True, False, True], [2, 4, 6])
    display = RiskGroupsDisplay.from_groups(y, ["a"] * 3, times=[0, 2, 3, 4, 5, 6, 7])
    assert display.table_.tolist() == [[3, 3, 2, 2, 1, 1, 0]]
    late = RiskGroupsDisplay.from_groups(
        y, ["a"] * 3, times=[0, 1, 2, 3, 4, 5, 6, 7], entry=[0, 1, 3]
    )
    assert late.table_.tolist() == [[1, 1, 2, 1, 2, 1, 1, 0]]


def test_late_entry_in_curves_and_table_and_no_log_rank(cox):
    display = RiskGroupsDisplay.from_groups(Y, np.arange(500) % 2, entry=ENTRY)
    rows = np.arange(500) % 2 == 1
    expected = kaplan_meier_estimator(EVENT[rows], TIME[rows], ENTRY[rows], conf_type="log-log")
    np.testing.assert_array_equal(display.kaplan_meier[1][1], expected[1])
    at_risk = [((t > ENTRY) & (t <= TIME))[rows].sum() for t in display.table_times_[1:]]
    assert display.table_[1, 1:].tolist() == at_risk
    assert display.p_value is None


@pytest.mark.parametrize(
    ("event", "groups"),
    [([False] * 4, ["a", "a", "b", "b"]), ([False, False, True, True], ["a", "a", "b", "b"])],
    ids=["no event", "nobody at risk"],
)
def test_no_log_rank_where_it_is_not_defined(event, groups):
    y = Surv.from_arrays(event, [1, 2, 3, 4])
    assert RiskGroupsDisplay.from_groups(y, groups).p_value is None


def test_groups_come_in_the_order_of_their_categories():
    features, y = load_gbsg2()
    sizes = features["tgrade"].value_counts()
    display = RiskGroupsDisplay.from_groups(y, features["tgrade"].to_numpy(str))
    assert display.labels == ["I", "II", "III"]
    assert display.table_[:, 0].tolist() == [sizes[label] for label in display.labels]
    ordered = features["tgrade"].astype(str).astype(pd.CategoricalDtype(["III", "none", "I", "II"]))
    for groups in (ordered, ordered.array):
        display = RiskGroupsDisplay.from_groups(y, groups)
        assert display.labels == ["III", "I", "II"]
        assert display.table_[:, 0].tolist() == [sizes[label] for label in display.labels]


@pytest.mark.parametrize("p_value", [0.0003, 0.034])
def test_the_log_rank_test_is_written(cox, p_value):
    display = RiskGroupsDisplay.from_estimator(cox, X, Y)
    display.p_value = p_value
    note = "Log-rank p < 0.001" if p_value < 0.001 else "Log-rank p = 0.034"
    assert note in [text.get_text() for text in display.plot().table_texts_]
    assert display.plot(table=False).ax_.get_legend().get_title().get_text() == note
    assert texts_of_legend(display.ax_) == display.labels


LONG = "Received hormonal therapy after surgery and radiotherapy before"


@pytest.mark.parametrize("size", [(6.4, 4.8), (4, 3.5), (12, 8)])
@pytest.mark.parametrize("labels", [["All"], [LONG, "Untreated"], list("abcdef")])
def test_the_table_keeps_clear_of_the_label_and_below_the_ticks(plt, labels, size):
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    groups = np.array(labels)[np.arange(500) % len(labels)]
    display = RiskGroupsDisplay.from_groups(Y, groups, ax=ax, times=[0, 1000, 2000])
    figure.canvas.draw()
    label = ax.xaxis.get_label().get_window_extent()
    boxes = [text.get_window_extent() for text in display.table_texts_ if text.get_text()]
    # In the figure, below the label of the axis, and clear of each other.
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)
    assert all(box.y1 < label.y0 for box in boxes)
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    ticks = ax.transData.transform([[time, 0] for time in (0, 1000, 2000)])[:, 0]
    numbers = [t for t in display.table_texts_ if t.get_text().isdigit()]
    centres = [(b.x0 + b.x1) / 2 for b in (t.get_window_extent() for t in numbers)]
    np.testing.assert_allclose(centres, np.tile(ticks, len(labels)), atol=1)
    assert ax.get_xticks().tolist() == [0, 1000, 2000]
    counts = [int(text.get_text()) for text in numbers]
    assert counts == display.table_.ravel().tolist()


def test_a_piece_of_its_curve_stands_in_each_row(plt):
    """More styles than there are names, so that the dashes are compared."""
    figure, ax = plt.subplots(layout="constrained")
    display = RiskGroupsDisplay.from_groups(Y, np.arange(500) % 7, ax=ax)
    figure.canvas.draw()
    pieces = [line for line in ax.lines if line not in display.lines_]
    names = [text for text in display.table_texts_[2:] if text.get_ha() == "right"]
    for line, piece, name in zip(display.lines_, pieces, names, strict=True):
        for kind in ("_dash_pattern", "_color", "_linewidth"):
            assert str(vars(piece)[kind]) == str(vars(line)[kind])
        box, around = name.get_window_extent(), piece.get_window_extent()
        assert box.y0 < around.y0 <= around.y1 < box.y1
        assert box.x1 < around.x0 < around.x1 < ax.bbox.x0
    assert ax.get_legend_handles_labels()[1] == display.labels


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (
            lambda: RiskGroupsDisplay.from_predictions(Y, TIME, labels=["low", "high"]),
            "`labels` must name the 3 groups, got 2 names.",
        ),
        (
            lambda: RiskGroupsDisplay.from_predictions(Y, np.full(500, np.inf)),
            "`risk_score` must be finite, got 500 of 500 that are not.",
        ),
        (
            lambda: RiskGroupsDisplay.from_predictions(Y, TIME[:9]),
            "`risk_score` must have shape (500,), got (9,).",
        ),
        (
            lambda: RiskGroupsDisplay.from_groups(Y, ["a", "b"]),
            "`groups` must have shape (500,), got (2,).",
        ),
        (
            lambda: RiskGroupsDisplay.from_groups(Y, ["a", None] * 250),
            "`groups` must name a group for each sample, got missing values.",
        ),
        (
            lambda: RiskGroupsDisplay.from_groups(Y, ["a", "b"] * 250, times=[1, 0]),
            "`times` must be finite, at least 0 and ascending without ties.",
        ),
    ],
)
def test_groups_of_risk_refuse(draw, sentence):
    refuses(draw, ValueError, sentence)


def test_labels_of_the_user(cox):
    display = RiskGroupsDisplay.from_estimator(cox, X, Y, n_groups=2, labels=["low", "high"])
    assert display.labels == ["low", "high"]
