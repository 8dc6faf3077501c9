"""Displays: what they hold against hand calculations and scikit-survival, errors word for word."""

import re
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetRegressor
from sksurv.compare import compare_survival
from sksurv.datasets import load_gbsg2, load_whas500
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.displays import (
    LossCurveDisplay,
    RiskGroupsDisplay,
    SurvivalCalibrationDisplay,
    SurvivalFunctionDisplay,
)
from sksurvtorch.exceptions import TiedGroupsWarning

X, Y = load_whas500()
X = X[["age", "bmi", "hr", "sysbp"]].astype(float)
EVENT, TIME = Y["fstat"], Y["lenfol"]
ENTRY = np.where(np.arange(len(Y)) % 3 == 0, np.minimum(TIME / 2, 100), 0)
TRAIN, TEST = slice(0, None, 2), slice(1, None, 2)
MAKE_Y = "Make one with sksurv.util.Surv.from_arrays(event, time)."


@pytest.fixture(autouse=True)
def plt():
    """Draw without a screen, and leave no figure open."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture(scope="module")
def cox():
    return CoxPHSurvivalAnalysis().fit(X[TRAIN], Y[TRAIN])


@pytest.fixture(scope="module")
def stopped():
    """A fit of twelve epochs or fewer, stopped early."""
    model = WeibullAFTRegressor(
        max_epochs=12, early_stopping=True, n_iter_no_change=3, lr=0.02, random_state=0
    )
    return model.fit(X, Y)


def refuses(action, error, sentence):
    """Assert that an action raises just this error with just this sentence."""
    with pytest.raises(error) as raised:
        action()
    assert raised.type is error
    assert str(raised.value) == sentence


def edges(band):
    """Return the points of a band as a set."""
    return {tuple(point) for point in band.get_paths()[0].vertices.round(9).tolist()}


def texts_of_legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# matplotlib


def test_matplotlib_is_loaded_by_plot_alone():
    code = "import sys, sksurvtorch.displays; print('matplotlib' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


@pytest.mark.parametrize(
    "display",
    [
        SurvivalFunctionDisplay(np.ones((2, 2)), np.arange(2)),
        LossCurveDisplay(np.ones(2)),
        SurvivalCalibrationDisplay(np.ones(1), np.ones(1), np.ones((2, 1)), time=1),
        RiskGroupsDisplay([(np.ones(1), np.ones(1), np.ones((2, 1)))], [np.ones(1)], ["a"]),
    ],
    ids=lambda display: type(display).__name__,
)
def test_without_matplotlib_plot_says_how_to_install_it(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    refuses(
        display.plot,
        ImportError,
        f"`{type(display).__name__}.plot` needs matplotlib. Install it with "
        '`pip install "sksurvtorch[plot]"`.',
    )


DRAW = {
    "survival": (
        lambda cox, stopped, **o: SurvivalFunctionDisplay.from_estimator(cox, X, Y, **o),
        "line_",
    ),
    "loss": (
        lambda cox, stopped, **o: LossCurveDisplay.from_estimator(stopped, **o),
        "valid_line_",
    ),
    "calibration": (
        lambda cox, stopped, **o: SurvivalCalibrationDisplay.from_estimator(
            cox, X, Y, time=365, **o
        ),
        "line_",
    ),
    "groups": (
        lambda cox, stopped, **o: RiskGroupsDisplay.from_estimator(cox, X, Y, **o),
        "lines_",
    ),
}
every_kind = pytest.mark.parametrize(("draw", "line"), DRAW.values(), ids=DRAW)


@every_kind
def test_axes_are_used_where_given_and_made_where_not(cox, stopped, plt, draw, line):
    made = draw(cox, stopped)
    assert plt.get_fignums() == [made.figure_.number]
    assert made.plot() is made
    assert len(plt.get_fignums()) == 2
    _, ax = plt.subplots()
    for given in (draw(cox, stopped, ax=ax), made.plot(ax)):
        assert given.ax_ is ax
        assert given.figure_ is ax.figure
        assert np.atleast_1d(getattr(given, line))[0].figure is ax.figure
    assert len(plt.get_fignums()) == 3


@every_kind
def test_style_reaches_the_lines_in_either_spelling(cox, stopped, draw, line):
    for style in ({"lw": 3.5}, {"linewidth": 3.5}):
        drawn = np.atleast_1d(getattr(draw(cox, stopped, **style), line))
        assert {one.get_linewidth() for one in drawn} == {3.5}


# survival functions


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


# kinds of estimators


@pytest.mark.parametrize(
    "model",
    [CoxPHSurvivalAnalysis(), CoxNNRegressor(hidden_layer_sizes=(), max_epochs=2, random_state=0)],
    ids=["scikit-survival", "own"],
)
def test_pipelines_and_searches_stand_for_their_model(model):
    pipeline = make_pipeline(StandardScaler(), model).fit(X[TRAIN], Y[TRAIN])
    key = f"{pipeline.steps[-1][0]}__ties"
    search = GridSearchCV(pipeline, {key: ["efron"]}, cv=2).fit(X[TRAIN], Y[TRAIN])
    expected = [
        f(365)
        for f in pipeline.set_params(**{key: "efron"})
        .fit(X[TRAIN], Y[TRAIN])
        .predict_survival_function(X[TEST])
    ]
    for estimator in (pipeline, search):
        display = SurvivalFunctionDisplay.from_estimator(estimator, X[TEST], times=[365])
        np.testing.assert_allclose(display.survival[:, 0], expected, rtol=1e-12)
        assert display.name == type(model).__name__
        calibration = SurvivalCalibrationDisplay.from_estimator(
            estimator, X[TEST], Y[TEST], time=365, n_groups=1
        )
        np.testing.assert_allclose(calibration.predicted, np.mean(expected), rtol=1e-12)
        groups = RiskGroupsDisplay.from_estimator(estimator, X[TEST], Y[TEST])
        assert groups.table_[:, 0].tolist() == [84, 83, 83]


def test_what_is_no_fitted_survival_model_is_refused():
    refuses(
        lambda: SurvivalFunctionDisplay.from_estimator(LinearRegression().fit(X, TIME), X),
        TypeError,
        "`estimator` must have the method `predict_survival_function`, got LinearRegression. Pass "
        "a survival model, or a pipeline or a search that ends in one.",
    )
    for unfitted in (CoxNNRegressor(), GridSearchCV(CoxPHSurvivalAnalysis(), {"alpha": [1]})):
        for draw in (
            lambda model: SurvivalFunctionDisplay.from_estimator(model, X),
            lambda model: RiskGroupsDisplay.from_estimator(model, X, Y),
            LossCurveDisplay.from_estimator,
        ):
            with pytest.raises(NotFittedError):
                draw(unfitted)


# losses


def test_losses_are_those_of_the_history(stopped):
    display = LossCurveDisplay.from_estimator(make_pipeline(StandardScaler(), stopped))
    history = stopped.net_.history
    np.testing.assert_array_equal(display.train_loss, history[:, "train_loss"])
    np.testing.assert_array_equal(display.valid_loss, history[:, "valid_loss"])
    np.testing.assert_array_equal(display.train_line_.get_xdata(), np.arange(len(history)) + 1)
    np.testing.assert_array_equal(display.valid_line_.get_ydata(), history[:, "valid_loss"])
    best = display.best_epoch
    assert best == np.argmin(history[:, "valid_loss"]) + 1 < len(history)
    assert display.best_line_.get_xdata()[0] == best
    labels = ["Training with penalty", "Validation", f"Best epoch: {best}"]
    assert texts_of_legend(display.valid_ax_) == labels


@pytest.mark.parametrize("tol", [0.0, 0.01])
def test_best_epoch_is_the_one_whose_weights_were_kept(tol):
    """Training for just so many epochs gives the same model."""
    model = CoxNNRegressor(
        max_epochs=10, early_stopping=True, tol=tol, lr_schedule="constant", lr=0.02, random_state=0
    ).fit(X, Y)
    display = LossCurveDisplay.from_estimator(model)
    lowest = int(np.argmin(display.valid_loss)) + 1
    assert (display.best_epoch == lowest) == (tol == 0)
    assert 1 <= display.best_epoch < len(display.train_loss)
    short = model.set_params(max_epochs=display.best_epoch)
    kept = model.predict(X)
    np.testing.assert_array_equal(short.fit(X, Y).predict(X), kept)


def test_no_validation_no_best_epoch():
    display = LossCurveDisplay.from_estimator(CoxNNRegressor(max_epochs=2).fit(X, Y))
    assert display.valid_loss is None
    assert display.best_epoch is None
    assert display.valid_line_ is None
    assert display.best_line_ is None
    assert display.ax_.get_ylabel() == "Negative log partial likelihood per event"


@pytest.mark.parametrize(
    ("kind", "options", "name", "axis"),
    [
        (CoxNNRegressor, {"alpha": 0}, "Negative log partial likelihood per event", "own"),
        (WeibullAFTRegressor, {"alpha": 0}, "Negative log likelihood per sample", "same"),
        (WeibullAFTRegressor, {}, "Negative log likelihood per sample", "own"),
        (CoxNNRegressor, {"momentum": True}, "Negative log partial likelihood per event", "own"),
    ],
)
def test_label_and_axes_of_the_loss(kind, options, name, axis):
    model = kind(max_epochs=2, early_stopping=True, random_state=0, **options).fit(X, Y)
    display = LossCurveDisplay.from_estimator(model)
    assert display.loss_name == name
    assert display.penalised == (options.get("alpha") != 0)
    assert (display.valid_ax_ is not display.ax_) == (axis == "own")
    labels = [name] if axis == "same" else [f"{name}, training", f"{name}, validation"]
    axes = dict.fromkeys([display.ax_, display.valid_ax_])
    assert [ax.get_ylabel() for ax in axes] == labels
    assert LossCurveDisplay.from_estimator(model, valid_axis="same").valid_ax_.lines
    display.plot(valid_axis="same")
    assert display.valid_ax_ is display.ax_


def test_a_net_of_skorch_has_a_loss_too():
    net = NeuralNetRegressor(nn.Linear, module__in_features=4, module__out_features=1, verbose=0)
    net.set_params(max_epochs=3)
    refuses(
        lambda: LossCurveDisplay.from_estimator(net),
        ValueError,
        "`estimator` must have a training loss in its history, got 0 epochs and none. Fit it "
        "first.",
    )
    rows = StandardScaler().fit_transform(X).astype("float32")
    net.fit(rows, rows[:, :1])
    display = LossCurveDisplay.from_estimator(net, name="net")
    assert display.best_epoch == np.argmin(net.history[:, "valid_loss"]) + 1
    assert display.ax_.get_ylabel() == "Loss (MSELoss)"
    assert texts_of_legend(display.ax_)[:2] == ["Net, training", "Net, validation"]


def test_loss_curve_refuses(cox, stopped):
    refuses(
        lambda: LossCurveDisplay.from_estimator(cox),
        TypeError,
        "`estimator` must be an estimator of this package, a pipeline or a search that ends in "
        "one, or a skorch net, got CoxPHSurvivalAnalysis. It has no history of losses.",
    )
    refuses(
        lambda: LossCurveDisplay.from_estimator(stopped, valid_axis="twin"),
        ValueError,
        "`valid_axis` must be one of 'auto', 'same', 'own', got 'twin'.",
    )


# calibration


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
            "`entry` must be less than `time`, got 3 (1 of 4 rows). A row is at risk on (entry, "
            "time], which may not be empty.",
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


# groups of risk


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
