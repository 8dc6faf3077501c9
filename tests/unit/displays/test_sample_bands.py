"""Bands of single samples: by hand, against the intervals of ensembles, and what is refused."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.displays import SurvivalFunctionDisplay
from tests.unit.displays.patients import TEST, TIME, TRAIN, X, Y, edges, texts_of_legend
from tests.unit.refusals import refuses

TIMES = np.array([0.0, 1.0, 4.0])
SURVIVAL = np.array([[1.0, 0.8, 0.5], [1.0, 0.4, 0.1], [1.0, 0.7, 0.6]])
LOWER = np.array([[1.0, 0.75, 0.35], [1.0, 0.3, 0.05], [1.0, 0.65, 0.45]])
UPPER = np.array([[1.0, 0.9, 0.55], [1.0, 0.6, 0.15], [1.0, 0.85, 0.7]])


def draw(**options):
    options = {"bounds": (LOWER, UPPER)} | options
    return SurvivalFunctionDisplay.from_predictions(SURVIVAL, TIMES, **options)


def outline(lower, upper):
    """Return the points of a band between straight lines."""
    return set(zip([*TIMES, *TIMES], [*lower, *upper], strict=True))


@pytest.fixture(scope="module", params=[CoxNNRegressor, WeibullAFTRegressor])
def ensemble(request):
    return request.param(n_estimators=5, max_epochs=2, random_state=0).fit(X[TRAIN], Y[TRAIN])


def test_each_sample_has_its_own_band_by_hand():
    display = draw(level=0.9)
    for k in range(3):
        np.testing.assert_array_equal(display.sample_lines_[k].get_ydata(), SURVIVAL[k])
        assert outline(LOWER[k], UPPER[k]) == edges(display.sample_bands_[k])
    assert display.line_ is None
    assert display.band_ is None
    assert texts_of_legend(display.ax_) == [
        f"Predicted, sample {k}, with 90 % band" for k in range(3)
    ]
    chosen = display.plot(samples=[2, 0], name="Cox")
    assert len(chosen.sample_lines_) == 2
    assert outline(LOWER[2], UPPER[2]) == edges(chosen.sample_bands_[0])
    np.testing.assert_array_equal(chosen.sample_lines_[0].get_ydata(), SURVIVAL[2])
    assert texts_of_legend(chosen.ax_)[0] == "Cox, sample 2, with 90 % band"
    middle = draw(samples=1)  # of the middle mean survival, whose level is not known
    assert texts_of_legend(middle.ax_) == ["Predicted, sample 0, with band"]
    assert outline(LOWER[0], UPPER[0]) == edges(middle.sample_bands_[0])


def test_one_sample_needs_no_number():
    one = SurvivalFunctionDisplay.from_predictions(
        SURVIVAL[:1], TIMES, bounds=(LOWER[:1], UPPER[:1]), level=0.955
    )
    assert texts_of_legend(one.ax_) == ["Predicted, with 95.5 % band"]
    plain = SurvivalFunctionDisplay.from_predictions(SURVIVAL[:1], TIMES, ax=one.ax_, name="Linear")
    assert plain.band_ is None
    np.testing.assert_array_equal(plain.line_.get_ydata(), SURVIVAL[0])
    assert sorted(texts_of_legend(one.ax_)) == ["Linear", "Predicted, with 95.5 % band"]


def test_a_display_without_bounds_has_no_bands_after_one_with_them():
    display = draw()
    display.bounds = None
    display.plot()
    assert display.sample_bands_ == display.sample_lines_ == []
    assert display.line_ is not None


def test_bands_stand_beside_kaplan_meier():
    display = SurvivalFunctionDisplay.from_predictions(
        SURVIVAL, TIMES, Y[:3], bounds=(LOWER, UPPER)
    )
    assert display.kaplan_meier_line_ is not None
    assert len(display.sample_bands_) == 3
    assert "Kaplan-Meier" in texts_of_legend(display.ax_)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_bands_are_the_intervals_of_the_ensemble(ensemble, level):
    rows = X[TEST][:3]
    display = SurvivalFunctionDisplay.from_estimator(ensemble, rows, level=level)
    expected = ensemble.predict_survival_interval(rows, level, times=display.times)
    for found, wanted in zip(display.bounds, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert (display.times[0], display.times[-1]) == (0, TIME[TRAIN].max())
    assert (display.bounds[0] < display.bounds[1])[:, 100:].all()
    assert texts_of_legend(display.ax_)[1] == (
        f"{type(ensemble).__name__}, sample 1, with {100 * level:g} % band"
    )
    own = SurvivalFunctionDisplay.from_estimator(ensemble, rows, level=level, times=[365, 730])
    wanted = ensemble.predict_survival_interval(rows, level, times=[365, 730])
    np.testing.assert_array_equal(own.bounds, wanted)


def test_bands_of_pipelines_and_searches_are_those_of_their_model():
    model = CoxNNRegressor(n_estimators=5, max_epochs=2, random_state=0)
    pipeline = make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), model))
    key = "pipeline__coxnnregressor__ties"
    search = GridSearchCV(pipeline, {key: ["breslow"]}, cv=2).fit(X[TRAIN], Y[TRAIN])
    pipeline.set_params(**{key: "breslow"}).fit(X[TRAIN], Y[TRAIN])
    rows = X[TEST][:2]
    scaled = pipeline[-1][0].transform(pipeline[0].transform(rows))
    expected = pipeline[-1][-1].predict_survival_interval(scaled, 0.8, times=[365])
    alone = make_pipeline(clone(model)).fit(X[TRAIN], Y[TRAIN])
    for estimator in (pipeline, search):
        display = SurvivalFunctionDisplay.from_estimator(estimator, rows, level=0.8, times=[365])
        np.testing.assert_array_equal(display.bounds, expected)
    display = SurvivalFunctionDisplay.from_estimator(alone, rows, level=0.8, times=[365])
    np.testing.assert_array_equal(
        display.bounds, alone[0].predict_survival_interval(rows, 0.8, times=[365])
    )


def test_bands_are_told_apart_without_colour():
    first = draw(samples=[0, 1])
    second = draw(samples=[2], ax=first.ax_)
    lines = [*first.sample_lines_, *second.sample_lines_]
    bands = [*first.sample_bands_, *second.sample_bands_]
    assert len({line.get_color() for line in lines}) == 3
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-."]
    assert len({str(band.get_linestyle()) for band in bands}) == 3
    for line, band in zip(lines, bands, strict=True):
        (edge,), (face,) = band.get_edgecolor(), band.get_facecolor()
        assert to_hex(edge) == to_hex(face) == to_hex(line.get_color())
        assert face[3] < edge[3]


def test_the_legend_shows_a_line_on_its_band():
    display = draw(samples=[1], level=0.9)
    (handle,), (label,) = display.ax_.get_legend_handles_labels()
    assert tuple(handle) == (display.sample_bands_[0], display.sample_lines_[0])
    assert label == "Predicted, sample 1, with 90 % band"
    assert texts_of_legend(draw(samples=[1], label="Anna").ax_) == ["Anna"]


def test_a_band_has_steps_where_its_curve_has():
    display = draw(samples=[0], drawstyle="steps-post", lw=3)
    assert {(1, 1.0), (1, 0.75), (4, 0.75), (4, 0.35)} <= edges(display.sample_bands_[0])
    assert display.sample_lines_[0].get_linewidth() == 3
    assert (4, 0.75) not in edges(draw(samples=[0]).sample_bands_[0])


@pytest.mark.parametrize(
    ("lower", "upper", "top", "right"),
    [
        (0.4, 0.6, False, False),
        (0.05, 0.6, True, True),
        ([0.05, 0.5, 0.5], 0.97, False, True),
        ([0.05, 0.5, 0.05], [0.5, 0.5, 0.97], True, False),
    ],
)
def test_the_legend_leaves_edges_of_bands_free(lower, upper, top, right):
    """The curve runs through the middle, the edges of its band through some corners."""
    survival = np.full((1, 3), 0.5)
    bounds = [np.broadcast_to(bound, (1, 3)) for bound in (lower, upper)]
    display = SurvivalFunctionDisplay.from_predictions(survival, [0, 2, 4], bounds=bounds, name="A")
    display.figure_.canvas.draw()
    box = display.ax_.get_legend().get_window_extent()
    middle = display.ax_.transAxes.inverted().transform((box.min + box.max) / 2)
    assert (middle > 0.5).tolist() == [right, top]


def test_the_legend_leaves_curves_of_other_displays_free():
    low, middle = ([[survival] * 3] for survival in (0.05, 0.5))
    first = SurvivalFunctionDisplay.from_predictions(low, TIMES, name="low")
    first.ax_.plot([], [])  # a line of the user's, without a point
    SurvivalFunctionDisplay.from_predictions(middle, TIMES, name="middle", ax=first.ax_)
    first.figure_.canvas.draw()
    box = first.ax_.get_legend().get_window_extent()
    assert first.ax_.transAxes.inverted().transform(box.min)[1] > 0.5


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"level": 0}, ValueError, "`level` must be more than 0 and less than 1, got 0."),
        ({"level": 1.0}, ValueError, "`level` must be more than 0 and less than 1, got 1.0."),
        ({"level": "90 %"}, TypeError, "`level` must be a number, got '90 %' of type str."),
        (
            {"level": 0.9, "bounds": None},
            ValueError,
            "`level` must come with `bounds`, got no bounds.",
        ),
        (
            {"bounds": (UPPER, LOWER)},
            ValueError,
            "`bounds` must have `survival` between them, got 0.8 with the bounds 0.9 and 0.75 (6 "
            "of 9). Pass (lower, upper), with the samples and times of `survival`.",
        ),
        (
            {"bounds": (LOWER, UPPER[[1, 1, 2]])},
            ValueError,
            "`bounds` must have `survival` between them, got 0.8 with the bounds 0.75 and 0.6 (2 "
            "of 9). Pass (lower, upper), with the samples and times of `survival`.",
        ),
        (
            {"bounds": (LOWER, UPPER[:2])},
            ValueError,
            "`bounds` must each have the shape of `survival`, (3, 3), got (2, 3).",
        ),
        (
            {"bounds": (LOWER, np.where(UPPER == 0.6, np.nan, UPPER))},
            ValueError,
            "`bounds` must be within [0, 1], got nan (1 of 9). It is the probability that the "
            "event is later.",
        ),
        (
            {"bounds": LOWER},
            TypeError,
            "`bounds` must be a pair of arrays, (lower, upper), got ndarray of length 3.",
        ),
        (
            {"bounds": 0.9},
            TypeError,
            "`bounds` must be a pair of arrays, (lower, upper), got float.",
        ),
        (
            {"quantiles": (0.1, 0.9)},
            ValueError,
            "`quantiles` must be left out where there are bounds, got (0.1, 0.9). They are those "
            "of the band of the mean, which is not drawn then.",
        ),
        (
            {"samples": 0},
            ValueError,
            "`samples` must choose 1 to 7 samples where each is drawn with its band, got 0 of 3. "
            "Pass the indices of a few.",
        ),
    ],
)
def test_bands_refuse(options, error, sentence):
    refuses(lambda: draw(**options), error, sentence)


def test_default_quantiles_say_nothing_with_bounds():
    for quantiles in ((0.05, 0.95), [0.05, 0.95], None):
        assert draw(quantiles=quantiles).band_ is None


def test_more_samples_than_can_be_told_apart_are_refused(ensemble):
    refuses(
        lambda: SurvivalFunctionDisplay.from_estimator(ensemble, X[TEST], level=0.9),
        ValueError,
        "`samples` must choose 1 to 7 samples where each is drawn with its band, got 250 of 250. "
        "Pass the indices of a few.",
    )
    display = SurvivalFunctionDisplay.from_estimator(ensemble, X[TEST], level=0.9, samples=7)
    assert len(display.sample_bands_) == 7


def test_models_without_bounds_are_refused(cox):
    refuses(
        lambda: SurvivalFunctionDisplay.from_estimator(cox, X[:1], level=0.9),
        TypeError,
        "`level` must be None for a model without the method `predict_survival_interval`, got 0.9 "
        "and CoxPHSurvivalAnalysis. Leave it out, or give bounds of your own to "
        "`from_predictions`.",
    )
    refuses(
        lambda: SurvivalFunctionDisplay.from_estimator(cox, X[:1], level=90),
        ValueError,
        "`level` must be more than 0 and less than 1, got 90.",
    )
    one = CoxNNRegressor(n_estimators=1, max_epochs=1, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match="n_estimators") as own:
        one.predict_survival_interval(X[:1])
    refuses(
        lambda: SurvivalFunctionDisplay.from_estimator(one, X[:1], level=0.9),
        ValueError,
        str(own.value),
    )
