"""Predicted survival functions beside Kaplan-Meier: by hand and against scikit-survival."""

import numpy as np
import pytest
from sksurv.nonparametric import kaplan_meier_estimator

from sksurvtorch.displays import SurvivalFunctionDisplay
from tests.unit.displays.patients import (
    ENTRY,
    EVENT,
    TEST,
    TIME,
    TRAIN,
    X,
    Y,
    edges,
    texts_of_legend,
)
from tests.unit.refusals import refuses


def test_mean_and_band_by_hand():
    survival = [[1.0, 0.8, 0.5], [1.0, 0.4, 0.1], [1.0, 0.6, 0.3], [1.0, 0.8, 0.3]]
    display = SurvivalFunctionDisplay.from_predictions(survival, [0, 1, 4], quantiles=(0, 1))
    np.testing.assert_allclose(display.line_.get_xydata(), [[0, 1], [1, 0.65], [4, 0.3]])
    assert {(1, 0.8), (1, 0.4), (4, 0.5), (4, 0.1)} <= edges(display.band_)
    quarter = display.plot(quantiles=(0.25, 0.75))
    assert {(1, 0.8), (1, 0.55), (4, 0.35), (4, 0.25)} <= edges(quarter.band_)
    assert texts_of_legend(quarter.ax_) == [
        "Predicted, mean",
        "Predicted, 25 % to 75 % of the samples",
    ]
    assert display.plot(quantiles=None).band_ is None
    assert display.kaplan_meier_line_ is None


def test_kaplan_meier_is_that_of_scikit_survival_from_one_on(cox):
    display = SurvivalFunctionDisplay.from_estimator(cox, X[TEST], Y[TEST], time_unit="days")
    times, survival, conf_int = kaplan_meier_estimator(EVENT[TEST], TIME[TEST], conf_type="log-log")
    x, y = display.kaplan_meier_line_.get_data()
    assert (x[0], y[0]) == (0, 1)
    np.testing.assert_array_equal(x[1:], times)
    np.testing.assert_array_equal(y[1:], survival)
    assert display.kaplan_meier_line_.get_drawstyle() == "steps-post"
    middle = len(times) // 2
    band = edges(display.kaplan_meier_band_)
    assert {(times[middle], bound) for bound in conf_int[:, middle].round(9)} <= band
    assert display.ax_.get_xlabel() == "Time (days)"
    assert texts_of_legend(display.ax_) == [
        "CoxPHSurvivalAnalysis, mean",
        "CoxPHSurvivalAnalysis, 5 % to 95 % of the samples",
        "Kaplan-Meier",
        "Kaplan-Meier, 95 % confidence",
    ]


def test_kaplan_meier_with_late_entry(cox):
    early = np.where(ENTRY > 0, ENTRY, -np.inf)
    display = SurvivalFunctionDisplay.from_estimator(cox, X, Y, entry=early)
    expected = kaplan_meier_estimator(EVENT, TIME, ENTRY, conf_type="log-log")
    for found, wanted in zip(display.kaplan_meier, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    plain = SurvivalFunctionDisplay.from_estimator(cox, X, Y, entry=np.zeros(len(Y)) - 1)
    np.testing.assert_array_equal(
        plain.kaplan_meier[1], kaplan_meier_estimator(EVENT, TIME, conf_type="log-log")[1]
    )


def test_step_functions_are_evaluated_over_their_domain(cox):
    display = SurvivalFunctionDisplay.from_estimator(cox, X[TEST])
    assert (display.times[0], display.times[-1]) == (0, TIME[TRAIN].max())
    functions = cox.predict_survival_function(X[TEST])
    np.testing.assert_array_equal(display.survival[7], functions[7](display.times))
    own = SurvivalFunctionDisplay.from_estimator(cox, X[TEST], times=[30, 365])
    assert own.survival.shape == (250, 2)
    assert own.survival[7, 1] == functions[7](365)


def test_functions_without_end_stop_at_the_last_training_time(stopped):
    display = SurvivalFunctionDisplay.from_estimator(stopped, X[:5])
    assert display.times[-1] == TIME.max()
    later = SurvivalFunctionDisplay.from_estimator(stopped, X[:5], times=[0, 2 * TIME.max()])
    assert (later.survival[:, 1] > 0).all()


def test_samples_are_spread_in_the_order_of_their_survival():
    survival = np.array([0.5, 0.1, 0.9, 0.3, 0.7])[:, None] * np.ones(2)
    display = SurvivalFunctionDisplay(survival, np.arange(2))

    def drawn(samples):
        return [line.get_ydata()[0] for line in display.plot(samples=samples).sample_lines_]

    assert drawn(0) == []
    assert drawn(1) == [0.5]
    assert drawn(2) == [0.3, 0.7]
    assert drawn(5) == [0.1, 0.3, 0.5, 0.7, 0.9]
    assert drawn([2, 0]) == [0.9, 0.5]


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"samples": -1}, ValueError, "`samples` must be at least 0 and less than 3, got -1."),
        ({"samples": 3}, ValueError, "`samples` must be at least 0 and less than 3, got 3."),
        (
            {"samples": [0, 2]},
            ValueError,
            "`samples` must hold indices from 0 to 1, got from 0 to 2.",
        ),
        (
            {"samples": "all"},
            TypeError,
            "`samples` must be an integer or an array of them, got 'all'.",
        ),
        *(
            (
                {"quantiles": quantiles},
                ValueError,
                "`quantiles` must be two ascending numbers within [0, 1] or None, got "
                f"{quantiles!r}.",
            )
            for quantiles in [(0.9, 0.1), (0.5, 0.5), (0, 2), 0.5, "ab"]
        ),
        ({"entry": [0, 0]}, ValueError, "`entry` must come with `y`, got no y."),
        (
            {"y": Y[:3]},
            ValueError,
            "`y` must have one row for each prediction, 2, got 3.",
        ),
        (
            {"times": [0, 1, 2]},
            ValueError,
            "`survival` must have shape (n_samples, 3), a column for each of `times`, got (2, 2).",
        ),
        (
            {"times": [1, 1]},
            ValueError,
            "`times` must be finite, at least 0 and ascending without ties.",
        ),
        (
            {"times": [[0, 1]]},
            ValueError,
            "`times` must be numbers of shape (n_times,), got int64 of shape (1, 2).",
        ),
        (
            {"survival": [[1, 0.5], [1, 1.1]]},
            ValueError,
            "`survival` must be within [0, 1], got 1.1 (1 of 4). It is the probability that the "
            "event is later.",
        ),
    ],
)
def test_survival_function_refuses(options, error, sentence):
    options = {"survival": [[1, 0.5], [1, 0.6]], "times": [0, 1]} | options
    refuses(lambda: SurvivalFunctionDisplay.from_predictions(**options), error, sentence)


def test_times_outside_the_domain_are_refused(cox):
    last = float(TIME[TRAIN].max())
    refuses(
        lambda: SurvivalFunctionDisplay.from_estimator(cox, X, times=[1, last + 1]),
        ValueError,
        f"`times` must be within [0, {last:g}], where all predicted survival functions are "
        f"defined, got {last + 1:g}. Leave out what lies outside.",
    )
