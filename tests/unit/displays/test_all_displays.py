"""What all displays have in common: matplotlib, axes, style, and which estimators they take."""

import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.linear_model import CoxPHSurvivalAnalysis

from sksurvtorch import CoxNNRegressor
from sksurvtorch.displays import (
    CumulativeIncidenceDisplay,
    DCalibrationDisplay,
    IncidenceCalibrationDisplay,
    LossCurveDisplay,
    RiskGroupsDisplay,
    SurvivalCalibrationDisplay,
    SurvivalFunctionDisplay,
)
from sksurvtorch.metrics import DCalibration
from tests.unit.displays.patients import TEST, TIME, TRAIN, Y_CAUSES, X, Y
from tests.unit.refusals import refuses


@pytest.mark.parametrize(
    "display",
    [
        SurvivalFunctionDisplay(np.ones((2, 2)), np.arange(2)),
        LossCurveDisplay(np.ones(2)),
        SurvivalCalibrationDisplay(np.ones(1), np.ones(1), np.ones((2, 1)), time=1),
        DCalibrationDisplay(DCalibration(0.0, 1.0, np.full(2, 0.5))),
        RiskGroupsDisplay([(np.ones(1), np.ones(1), np.ones((2, 1)))], [np.ones(1)], ["a"]),
        CumulativeIncidenceDisplay(np.ones((1, 2)), np.arange(2)),
        IncidenceCalibrationDisplay(
            np.ones((1, 1)),
            np.ones(1),
            [(np.ones(1), np.ones(1), np.ones((2, 1)))],
            [np.ones(1)],
            ["a"],
        ),
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
        lambda cox, stopped, causes, **o: SurvivalFunctionDisplay.from_estimator(cox, X, Y, **o),
        "line_",
    ),
    "loss": (
        lambda cox, stopped, causes, **o: LossCurveDisplay.from_estimator(stopped, **o),
        "valid_line_",
    ),
    "calibration": (
        lambda cox, stopped, causes, **o: SurvivalCalibrationDisplay.from_estimator(
            cox, X, Y, time=365, **o
        ),
        "line_",
    ),
    "d-calibration": (
        lambda cox, stopped, causes, **o: DCalibrationDisplay.from_estimator(
            cox, X[TRAIN], Y[TRAIN], **o
        ),
        "bars_",
    ),
    "groups": (
        lambda cox, stopped, causes, **o: RiskGroupsDisplay.from_estimator(cox, X, Y, **o),
        "lines_",
    ),
    "incidence": (
        lambda cox, stopped, causes, **o: CumulativeIncidenceDisplay.from_estimator(causes, X, **o),
        "areas_",
    ),
    "incidence of groups": (
        lambda cox, stopped, causes, **o: IncidenceCalibrationDisplay.from_estimator(
            causes, X, Y_CAUSES, **o
        ),
        "predicted_lines_",
    ),
}
every_kind = pytest.mark.parametrize(("draw", "line"), DRAW.values(), ids=DRAW)


@every_kind
def test_axes_are_used_where_given_and_made_where_not(cox, stopped, causes, plt, draw, line):
    made = draw(cox, stopped, causes)
    assert plt.get_fignums() == [made.figure_.number]
    assert made.plot() is made
    assert len(plt.get_fignums()) == 2
    _, ax = plt.subplots()
    for given in (draw(cox, stopped, causes, ax=ax), made.plot(ax)):
        assert given.ax_ is ax
        assert given.figure_ is ax.figure
        assert np.atleast_1d(getattr(given, line))[0].figure is ax.figure
    assert len(plt.get_fignums()) == 3


@every_kind
def test_style_reaches_the_lines_in_either_spelling(cox, stopped, causes, draw, line):
    for style in ({"lw": 3.5}, {"linewidth": 3.5}):
        drawn = np.atleast_1d(getattr(draw(cox, stopped, causes, **style), line))
        assert {float(np.squeeze(one.get_linewidth())) for one in drawn} == {3.5}


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
        d_calibration = DCalibrationDisplay.from_estimator(estimator, X[TRAIN], Y[TRAIN])
        assert d_calibration.name == type(model).__name__
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
            lambda model: SurvivalFunctionDisplay.from_estimator(model, X[:1], level=0.9),
            lambda model: DCalibrationDisplay.from_estimator(model, X, Y),
            lambda model: RiskGroupsDisplay.from_estimator(model, X, Y),
            LossCurveDisplay.from_estimator,
        ):
            with pytest.raises(NotFittedError):
                draw(unfitted)
