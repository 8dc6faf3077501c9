"""D-calibration as a histogram: by hand, at each sample's own time, direction, shared axes."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from sksurv.util import Surv

from sksurvtorch.displays import DCalibrationDisplay
from tests.unit.displays.patients import EVENT, TIME, TRAIN, X, Y, texts_of_legend
from tests.unit.refusals import MAKE_Y, refuses

FROM_ESTIMATOR = DCalibrationDisplay.from_estimator
FROM_PREDICTIONS = DCalibrationDisplay.from_predictions
UNIFORM = (np.arange(400) + 0.5) / 400


def deaths(n_samples):
    return Surv.from_arrays(np.ones(n_samples, dtype=bool), np.arange(1, n_samples + 1))


def test_bars_by_hand():
    """Events at 0.1, 0.3, 0.9; one censored at 0.5 is half in the first quarter, half beyond."""
    y = Surv.from_arrays([True, True, True, False], [4, 3, 1, 2])
    display = FROM_PREDICTIONS(y, [0.1, 0.3, 0.9, 0.5], n_bins=4, name="Cox")
    data = display.bars_.get_data()
    np.testing.assert_allclose(data.values, [1.5 / 4, 1.5 / 4, 0, 1 / 4], atol=1e-15)
    np.testing.assert_allclose(data.edges, [0, 0.25, 0.5, 0.75, 1])
    assert data.baseline == 0
    assert display.expected_line_.get_ydata() == [0.25, 0.25]
    assert display.ax_.get_ylim()[0] == 0
    assert display.ax_.get_ylim()[1] > 1.5 / 4
    # (0.5, 0.5, -1, 0) squared add up to 1.5, in units of the expected 1: chi-squared with 3 df.
    assert texts_of_legend(display.ax_) == ["Perfectly calibrated", "Cox, p = 0.68"]
    assert display.ax_.get_xlabel() == "Predicted survival at the time of the event"


def test_survival_is_that_of_each_sample_at_its_own_time(cox):
    display = FROM_ESTIMATOR(cox, X[TRAIN], Y[TRAIN], n_bins=5)
    functions = cox.predict_survival_function(X[TRAIN])
    counts = np.zeros(5)
    for function, event, time in zip(functions, EVENT[TRAIN], TIME[TRAIN], strict=True):
        s = function(time)
        for k in range(5):
            if event:
                counts[k] += k / 5 <= s < (k + 1) / 5 or (k == 4 and s == 1)
            else:
                counts[k] += max(0, min(s, (k + 1) / 5) - k / 5) / s
    np.testing.assert_allclose(display.result.shares, counts / 250, atol=1e-12)
    assert display.name == "CoxPHSurvivalAnalysis"
    given = FROM_PREDICTIONS(
        Y[TRAIN], [f(t) for f, t in zip(functions, TIME[TRAIN], strict=True)], n_bins=5
    )
    np.testing.assert_array_equal(given.result.shares, display.result.shares)


def test_functions_without_end_take_any_time(stopped):
    y = Surv.from_arrays([True, False], [10, 3 * TIME.max()])
    display = FROM_ESTIMATOR(stopped, X[:2], y)
    first, second = stopped.predict_survival_function(X[:2])
    expected = [first(10), second(3 * TIME.max())]
    np.testing.assert_array_equal(
        display.result.shares, FROM_PREDICTIONS(y, np.ravel(expected)).result.shares
    )


@pytest.mark.parametrize(
    ("survival", "shape"),
    [
        (UNIFORM**0.5, "rises"),  # predicted too high
        (UNIFORM**2, "falls"),  # predicted too low
        (0.5 + 0.6 * (UNIFORM - 0.5), "hump"),  # curves that are too flat
        (np.clip(0.5 + 1.6 * (UNIFORM - 0.5), 0, 1), "valley"),  # curves that are too steep
    ],
)
def test_the_shape_of_the_bars_is_as_documented(survival, shape):
    first, *_, last = FROM_PREDICTIONS(deaths(400), survival).bars_.get_data().values
    assert (first < 0.1) == (shape in ("rises", "hump"))
    assert (last < 0.1) == (shape in ("falls", "hump"))


def test_small_p_values_are_not_rounded_to_0():
    y = deaths(50)
    assert FROM_PREDICTIONS(y, np.full(50, 0.95)).bars_.get_label() == "Samples, p < 0.001"
    assert FROM_PREDICTIONS(deaths(400), UNIFORM).bars_.get_label() == "Samples, p = 1"


def test_displays_share_axes_with_one_reference_and_other_styles(cox, stopped):
    y = deaths(10)
    first = FROM_PREDICTIONS(y, np.linspace(0.05, 0.95, 10), name="low")
    second = FROM_PREDICTIONS(y, np.linspace(0.9, 0.95, 10), name="high", ax=first.ax_)
    assert texts_of_legend(first.ax_) == [
        "Perfectly calibrated",
        "low, p = 1",
        "high, p < 0.001",
    ]
    assert first.bars_.get_linestyle() != second.bars_.get_linestyle()
    assert to_hex(first.bars_.get_edgecolor()) != to_hex(second.bars_.get_edgecolor())
    third = FROM_PREDICTIONS(y, np.linspace(0.05, 0.95, 10), name="third", ax=first.ax_)
    assert third.ax_.get_ylim()[1] > 1  # the highest bar of all
    bare = first.plot(ref_line=False, name="other")
    assert bare.expected_line_ is None
    assert texts_of_legend(bare.ax_) == ["other, p = 1"]


def test_options_of_the_bars():
    display = FROM_PREDICTIONS(deaths(10), np.linspace(0.05, 0.95, 10))
    plain = display.bars_
    assert plain.get_facecolor()[3] < plain.get_edgecolor()[3] == 1
    colored = display.plot(color="red").bars_
    assert to_hex(colored.get_edgecolor()) == to_hex(colored.get_facecolor()) == "#ff0000"
    assert colored.get_facecolor()[3] < 1
    own = display.plot(fc="none", ec="black", label="own").bars_
    assert own.get_facecolor()[3] == 0
    assert own.get_label() == "own"


def test_times_beyond_the_curves_are_refused(cox):
    last = float(TIME[TRAIN].max())
    y = Surv.from_arrays([True, False, True], [1, last + 1, last + 9])
    refuses(
        lambda: FROM_ESTIMATOR(cox, X[:3], y),
        ValueError,
        f"`y` must have times within [0, {last:g}], where all predicted survival functions are "
        f"defined, got {last + 1:g} (2 of 3). Censor later ones at {last:g}, until when these "
        "samples are known to have no event.",
    )
    y = Surv.from_arrays([True, False, False], [1, last, last])
    assert FROM_ESTIMATOR(cox, X[:3], y).result.shares.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"n_bins": 1}, ValueError, "`n_bins` must be at least 2, got 1."),
        ({"n_bins": 2.0}, TypeError, "`n_bins` must be an integer, got 2.0 of type float."),
        (
            {"survival": [0.1, 0.2]},
            ValueError,
            "`survival` must have shape (3,), one for each sample at its own time, got (2,).",
        ),
        (
            {"survival": [0.1, 0.2, 1.5]},
            ValueError,
            "`survival` must be within [0, 1], got 1.5 (1 of 3). It is the probability that the "
            "event is later.",
        ),
        (
            {"y": None},
            ValueError,
            "This DCalibrationDisplay requires y to be passed, but the target y is None. It must "
            f"be a structured array with the fields event and time. {MAKE_Y}",
        ),
    ],
)
def test_d_calibration_refuses(options, error, sentence):
    options = {"y": deaths(3), "survival": [0.1, 0.2, 0.3]} | options
    refuses(lambda: FROM_PREDICTIONS(**options), error, sentence)


def test_y_of_other_samples_is_refused(cox):
    refuses(
        lambda: FROM_ESTIMATOR(cox, X[:3], Y[:2]),
        ValueError,
        "`y` must have one row for each prediction, 3, got 2.",
    )
