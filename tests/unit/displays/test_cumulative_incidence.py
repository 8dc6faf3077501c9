"""Areas of the incidences of all causes: by hand, names beside them, errors word for word."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksurvtorch import CompetingRisksNNRegressor
from sksurvtorch.displays import CumulativeIncidenceDisplay
from tests.unit.displays.patients import TEST, TIME, TRAIN, Y_CAUSES, X, edges
from tests.unit.refusals import refuses

HALVES = [[0.0, 0.1, 0.2], [0.0, 0.3, 0.5]]
draw = CumulativeIncidenceDisplay.from_predictions


def written(display):
    return [text.get_text() for text in display.texts_]


def test_areas_by_hand():
    """Each begins where the one below ends, and the last one ends at 1."""
    display = draw(HALVES, [0, 1, 4], cause_names=["relapse", "death"], time_unit="years")
    first, second, none = map(edges, display.areas_)
    assert {(1, 0), (1, 0.1), (4, 0), (4, 0.2)} <= first
    assert {(1, 0.1), (1, 0.4), (4, 0.2), (4, 0.7)} <= second
    assert {(0, 0), (0, 1), (1, 0.4), (1, 1), (4, 0.7), (4, 1)} <= none
    assert written(display) == ["relapse  20 %", "death  50 %", "No event  30 %"]
    assert display.ax_.get_xlabel() == "Time (years)"
    assert (display.ax_.get_xlim(), display.ax_.get_ylim()) == ((0, 4), (0, 1))


def test_of_several_samples_the_mean_is_drawn():
    other = np.zeros((2, 3))
    display = draw(np.stack([HALVES, other]), [0, 1, 4], no_event_name="Alive")
    assert written(display) == ["Cause 1  10 %", "Cause 2  25 %", "Alive  65 %"]


def test_a_model_predicts_what_is_drawn(causes):
    display = CumulativeIncidenceDisplay.from_estimator(causes, X[TEST], times=[0, 100, 1000])
    expected = causes.predict_cumulative_incidence(X[TEST], times=[0, 100, 1000])
    np.testing.assert_allclose(display.incidence, expected.mean(axis=0), rtol=1e-12)
    survival = causes.predict_survival_function(X[TEST], times=[1000])
    np.testing.assert_allclose(1 - display.incidence[:, -1].sum(), survival.mean(), rtol=1e-6)


def test_times_by_default_are_those_of_the_fit(causes):
    one = X[TEST].iloc[:1]
    display = CumulativeIncidenceDisplay.from_estimator(causes, one)
    assert (display.times[0], display.times[-1], len(display.times)) == (0, TIME[TRAIN].max(), 501)
    expected = causes.predict_cumulative_incidence(one, times=display.times)[0]
    np.testing.assert_allclose(display.incidence, expected, rtol=1e-12)


def test_strata_reach_the_model():
    stratum = np.arange(500) % 2
    model = CompetingRisksNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs")
    model.fit(X, Y_CAUSES, stratum=stratum)
    for times in (None, [0, 500]):
        display = CumulativeIncidenceDisplay.from_estimator(model, X[:1], times=times, stratum=[1])
        expected = model.predict_cumulative_incidence(X[:1], times=[500], stratum=[1])[0, :, 0]
        at = np.searchsorted(display.times, 500, side="right") - 1
        np.testing.assert_allclose(display.incidence[:, at], expected, rtol=0.02)


def test_pipelines_and_searches_stand_for_their_model():
    model = CompetingRisksNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs")
    pipeline = make_pipeline(StandardScaler(), model).fit(X[TRAIN], Y_CAUSES[TRAIN])
    scaled = pipeline[:-1].transform(X[TEST])
    expected = pipeline[-1].predict_cumulative_incidence(scaled, times=[500]).mean(axis=0)
    grid = {"competingrisksnnregressor__ties": ["efron"]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X[TRAIN], Y_CAUSES[TRAIN])
    alone = make_pipeline(pipeline[-1])
    for estimator, features in ((pipeline, X[TEST]), (search, X[TEST]), (alone, scaled)):
        display = CumulativeIncidenceDisplay.from_estimator(estimator, features, times=[500])
        np.testing.assert_allclose(display.incidence, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("last", "n_causes"), [([0.01, 0.01], 2), ([0.01, 0.02, 0.01, 0.0, 0.96], 5)]
)
@pytest.mark.parametrize("size", [(6.4, 4.8), (4, 3)])
def test_names_keep_clear_of_each_other_and_within_the_figure(plt, last, n_causes, size):
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    display = draw(np.array([[0.0, value] for value in last]), [0, 1], ax=ax)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in display.texts_]
    assert len(boxes) == n_causes + 1
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    assert all(box.x0 > ax.bbox.x1 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in boxes)
    assert [box.y0 for box in boxes] == sorted(box.y0 for box in boxes)


@pytest.mark.parametrize("n_causes", [1, 2, 3, 7])
def test_a_square_has_the_colour_of_its_area_and_all_differ(n_causes):
    display = draw(np.full((n_causes, 2), 0.1), [0, 1])
    colors = [tuple(area.get_facecolor()[0]) for area in display.areas_]
    assert [tuple(patch.get_facecolor()) for patch in display.ax_.patches] == colors
    assert len(set(colors)) == n_causes + 1
    # Neighbours differ in lightness, so that a print without colour shows them too.
    light = [np.dot(color[:3], [0.299, 0.587, 0.114]) for color in colors]
    assert min(abs(np.diff(light))) > 0.05


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"incidence": [[0.0, 0.6], [0.0, 0.5]], "times": [0, 1]},
            "`incidence` must add up to at most 1 over the causes, got 1.1. Incidences of "
            "cause-specific hazards do; those of subdistribution hazards need not.",
        ),
        (
            {"incidence": [[0.0, -0.1, 0.2]]},
            "`incidence` must be within [0, 1], got -0.1 (1 of 3). It is the probability that the "
            "event has happened.",
        ),
        (
            {"incidence": [0.1, 0.2, 0.3]},
            "`incidence` must have shape (n_causes, n_times) or (n_samples, n_causes, n_times), "
            "with a column for each of the 3 times, got (3,).",
        ),
        (
            {"times": [0, 1]},
            "`incidence` must have shape (n_causes, n_times) or (n_samples, n_causes, n_times), "
            "with a column for each of the 2 times, got (2, 3).",
        ),
        (
            {"times": [0, 4, 1]},
            "`times` must be finite, at least 0 and ascending without ties.",
        ),
        (
            {"cause_names": ["relapse"]},
            "`cause_names` must name the 2 causes, got 1 names. The first is that of status 1.",
        ),
        (
            {"cause_names": "ab"},
            "`cause_names` must name the 2 causes, got 1 names. The first is that of status 1.",
        ),
    ],
)
def test_areas_refuse(options, sentence):
    options = {"incidence": HALVES, "times": [0, 1, 4]} | options
    refuses(lambda: draw(**options), ValueError, sentence)


def test_subdistribution_hazards_are_refused():
    model = CompetingRisksNNRegressor(
        hidden_layer_sizes=(), optimizer="lbfgs", hazard="subdistribution"
    )
    model.fit(X, Y_CAUSES)
    with pytest.raises(ValueError, match=r"^`hazard` must be 'cause-specific'"):
        CumulativeIncidenceDisplay.from_estimator(model, X[:1])


def test_a_model_of_one_cause_is_refused(cox):
    refuses(
        lambda: CumulativeIncidenceDisplay.from_estimator(cox, X),
        TypeError,
        "`estimator` must have the method `predict_cumulative_incidence`, got "
        "CoxPHSurvivalAnalysis. Pass a survival model, or a pipeline or a search that ends in one.",
    )
