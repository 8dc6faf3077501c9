"""Accelerated failure time models of events that are known to lie in intervals."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EpochScoring
from sksurv.util import Surv

from sksurvtorch import AFTLoss, CoxNNRegressor, WeibullAFTRegressor, load, save
from sksurvtorch.exceptions import NoEventError
from sksurvtorch.functional import aft_neg_log_likelihood
from sksurvtorch.metrics import concordance_index_interval_censored, log_likelihood_scorer
from sksurvtorch.nets import interval_censored_y, survival_target
from tests.contract.aft_models import AFT_KINDS, columns_of, every, inspected, small
from tests.unit.refusals import refuses


@pytest.fixture(scope="module")
def data():
    return inspected()


@pytest.fixture(scope="module", params=AFT_KINDS, ids=lambda kind: kind.__name__)
def ensemble(request, data):
    """A model of five small networks."""
    return small(request.param, n_estimators=5).fit(*data)


@every
def test_exact_and_right_censored_rows_are_those_of_surv(kind):
    X, y = inspected()
    event, time = y["lower"] == y["upper"], y["lower"] + 0.25
    upper = np.where(event, time, np.inf)
    columns = {"sample_weight": columns_of(interval_censored_y(time, upper))["sample_weight"]}
    one = small(kind, n_estimators=5).fit(X, Surv.from_arrays(event, time), **columns)
    other = small(kind, n_estimators=5).fit(X, interval_censored_y(time, upper), **columns)
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    np.testing.assert_array_equal(one.unique_times_, other.unique_times_)
    assert one.oob_score_ == other.oob_score_
    for a, b in zip(one.predict_time_interval(X), other.predict_time_interval(X), strict=True):
        np.testing.assert_array_equal(a, b)
    outcome = Surv.from_arrays(event, time)
    assert one.score(X, outcome) == other.score(X, interval_censored_y(time, upper))


@every
def test_the_loss_is_that_of_the_intervals(kind, data):
    X, y = data
    columns = columns_of(y)
    model = small(kind, batch_size=None, max_epochs=1, alpha=0.0).fit(X, y, **columns)
    scale, shape = (torch.from_numpy(value) for value in model.predict_params(X))
    weight = torch.from_numpy(columns["sample_weight"])
    loss = aft_neg_log_likelihood(
        torch.stack([scale.log(), shape.log()], 1),
        lower=torch.from_numpy(y["lower"].copy()),
        upper=torch.from_numpy(y["upper"].copy()),
        entry=torch.from_numpy(columns["entry"]),
        weight=weight,
        distribution=model._distribution,
    )
    own = model.log_likelihood(X, y, columns["sample_weight"], entry=columns["entry"])
    np.testing.assert_allclose(own, -loss.item(), rtol=1e-12)


@every
def test_training_lowers_the_loss_and_predicts_the_order(kind, data):
    X, y = data
    model = small(kind, max_epochs=15).fit(X, y)
    losses = model.net_.history[:, "train_loss"]
    assert losses[-1] < losses[0]
    assert model.score(X, y) > 0.7
    for weight in (None, np.arange(len(y)) % 4):
        found = concordance_index_interval_censored(
            y["lower"], y["upper"], model.predict(X), sample_weight=weight
        )
        assert model.score(X, y, sample_weight=weight) == found[0]


@every
def test_a_change_of_unit(kind, data):
    X, y = data
    days = interval_censored_y(365.25 * y["lower"], 365.25 * y["upper"])
    one, other = small(kind).fit(X, y), small(kind).fit(X, days)
    np.testing.assert_allclose(365.25 * one.predict_median(X), other.predict_median(X), rtol=1e-9)
    np.testing.assert_allclose(one.shape_, other.shape_, rtol=1e-9)


@every
def test_repeated_rows_are_weights(kind, data):
    X, y = data
    weight = np.arange(len(y)) % 3
    options = {"batch_size": None, "hidden_layer_sizes": (), "optimizer": "lbfgs"}
    one = small(kind, **options).fit(X, y, sample_weight=weight)
    other = small(kind, **options).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(one.predict_median(X), other.predict_median(X), rtol=1e-6)


def test_out_of_bag(ensemble, data):
    _, y = data
    assert not np.isnan(ensemble.oob_prediction_).any()
    found = concordance_index_interval_censored(y["lower"], y["upper"], ensemble.oob_prediction_)
    assert ensemble.oob_score_ == found[0]


def test_bands(ensemble, data):
    X, _ = data
    curve = ensemble.predict_survival_function(X, return_array=True)
    lower, upper = ensemble.predict_survival_interval(X)
    assert ((lower <= curve) & (curve <= upper) & (lower < upper)).all()
    with pytest.raises(
        ValueError, match=r"^`y` must have events at known times, and `entry` be left out"
    ):
        ensemble.predict_time_interval(X)


def test_times_are_the_bounds_of_intervals(ensemble, data):
    _, y = data
    bounds = np.unique(np.concatenate([y["lower"], y["upper"]]))
    np.testing.assert_array_equal(
        ensemble.unique_times_, bounds[(bounds > 0) & np.isfinite(bounds)]
    )


def test_saved_and_pickled(ensemble, data, tmp_path):
    X, _ = data
    save(ensemble, tmp_path / "model")
    for copy in (load(tmp_path / "model"), pickle.loads(pickle.dumps(ensemble))):
        assert type(copy) is type(ensemble)
        np.testing.assert_array_equal(copy.predict(X), ensemble.predict(X))
        one, other = (m.predict_survival_interval(X)[0] for m in (copy, ensemble))
        np.testing.assert_array_equal(one, other)


@every
@pytest.mark.parametrize(
    "options",
    [
        {"early_stopping": True, "max_epochs": 6},
        {"momentum": True},
        {"shape": "per_sample"},
        {"n_estimators": 5, "early_stopping": True, "batch_size": 16},
        {"optimizer": "lbfgs", "hidden_layer_sizes": ()},
    ],
    ids=lambda options: " ".join(options),
)
def test_all_ways_of_training(kind, options, data):
    X, y = data
    model = small(kind, **options).fit(X, y, **columns_of(y))
    assert np.isfinite(model.predict(X)).all()
    assert model.score(X, y) > 0.6


@pytest.mark.parametrize("early_stopping", [False, True])
def test_no_event_at_a_known_time(early_stopping, data):
    """Rows with an upper bound are events where rows are divided, at whatever time they were."""
    X, y = data
    rows = y["lower"] < y["upper"]
    model = small(
        WeibullAFTRegressor, n_estimators=5, early_stopping=early_stopping, max_epochs=2
    ).fit(X[rows], y[rows])
    assert model.score(X[rows], y[rows]) > 0.6
    censored = np.isinf(y["upper"])
    with pytest.raises(NoEventError, match=r"^`y` must have an event, got"):
        small(WeibullAFTRegressor).fit(X[censored], y[censored])


@every
def test_calls_of_partial_fit(kind, data):
    X, y = data
    model = small(kind, alpha=0.0).partial_fit(X, y)
    before = model.log_likelihood(X, y)
    for _ in range(20):
        model.partial_fit(X, y)
    assert model.log_likelihood(X, y) > before


def test_a_search_by_likelihood(data):
    X, y = data
    model = make_pipeline(StandardScaler(), small(WeibullAFTRegressor))
    grid = {"weibullaftregressor__alpha": [0.1, 1e5]}
    search = GridSearchCV(model, grid, cv=3, scoring=log_likelihood_scorer, error_score="raise")
    search.fit(X, y)
    assert search.best_params_ == {"weibullaftregressor__alpha": 0.1}
    scores = cross_val_score(clone(model), X, y, cv=3, error_score="raise")
    assert (scores > 0.5).all()


def test_a_callback_that_scores(data):
    X, y = data

    def known(y):
        """A sum over both bounds, whatever the order of the rows."""
        return np.ptp(y["lower"]) + y["upper"][np.isfinite(y["upper"])].sum()

    def score(net, X, y):
        assert y.dtype.names == ("lower", "upper")
        return known(y)

    scoring = EpochScoring(score, name="known", on_train=True, use_caching=False)
    model = small(WeibullAFTRegressor, callbacks=[("known", scoring)]).fit(X, y)
    np.testing.assert_allclose(model.net_.history[-1, "known"], known(y), rtol=1e-9)


def test_a_skorch_net_with_the_loss(data):
    from skorch import NeuralNet

    X, y = data
    torch.manual_seed(0)
    net = NeuralNet(
        torch.nn.Linear,
        module__in_features=3,
        module__out_features=2,
        criterion=AFTLoss,
        criterion__distribution="lognormal",
        optimizer=torch.optim.Adam,
        lr=0.05,
        max_epochs=15,
        train_split=None,
        verbose=0,
    )
    net.fit(X, survival_target(y))
    assert net.history[-1, "train_loss"] < net.history[0, "train_loss"] - 0.1


def test_rounding_makes_no_point_of_an_interval():
    X, y = inspected()
    y = y.copy()
    # The unit of the network has no two numbers for them.
    y["lower"][0] = 1e-3
    y["upper"][0] = np.nextafter(1e-3, 1)
    model = small(WeibullAFTRegressor, max_epochs=1).fit(X, y)
    columns = {name: torch.from_numpy(y[name].copy()) for name in ("lower", "upper")}
    target = model._make_dataset(model._check_X(X, reset=False), columns).y
    assert target["lower"][0] < target["upper"][0]
    exact = y["lower"] == y["upper"]
    assert exact.any()
    assert (target["lower"] == target["upper"])[torch.from_numpy(exact)].all()


@every
@pytest.mark.parametrize("side", ["lower", "upper"])
def test_a_group_without_a_bound_makes_its_coefficient_infinite(kind, side, data):
    _, y = data
    y, group = y.copy(), np.arange(len(y)) % 3 == 0
    y[side][group] = {"lower": 0.0, "upper": np.inf}[side]
    y["upper"][group & (y["lower"] == 0)] = 3.0 if side == "lower" else np.inf
    y["lower"][group & np.isinf(y["upper"])] = 1.0
    # Without a maximum L-BFGS uses up its epochs.
    model = kind(hidden_layer_sizes=(), optimizer="lbfgs", max_epochs=20)
    with pytest.warns(ConvergenceWarning, match="The likelihood has no maximum"):
        model.fit(group[:, None].astype(float), y)


@every
@pytest.mark.parametrize("bounds", [(0.0, 2.0), (5.0, 9.0)])
def test_intervals_that_all_have_times_in_common_are_refused(kind, bounds, data):
    X, _ = data
    lower, upper = np.full(len(X), bounds[0]), bounds[1] + np.arange(len(X))
    sentence = (
        "`y` must have intervals of which some lie apart, got 150 rows whose events may all be "
        f"from {bounds[0]:g} to {bounds[1]:g}. The likelihood has no maximum then: it is highest "
        "if all of them are there."
    )
    refuses(lambda: small(kind).fit(X, interval_censored_y(lower, upper)), ValueError, sentence)


@every
def test_few_inspections_do_not_hide_how_much_times_vary(kind):
    """The unit of the network comes from a likelihood: middles of intervals hardly differ."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    time = np.exp(4 - 0.25 * X[:, 0] + 0.3 * rng.normal(size=400))
    visit = rng.uniform(50, 70, 400)
    early = time <= visit
    y = interval_censored_y(np.where(early, 0, visit), np.where(early, visit, np.inf))
    model = small(kind, n_estimators=5, max_epochs=5).fit(X, y)
    assert 0.3 < model.log_time_spread_ < 0.8  # that of the log visits is 0.1
    held_out = np.exp(4 - 0.25 * X[:, 0] + 0.3 * rng.normal(size=400))
    exact = interval_censored_y(held_out, held_out)
    assert model.log_likelihood(X, exact) > -4.6  # the truth has -4.3


def test_bounds_that_say_nothing_have_no_effect_on_the_unit(data):
    X, y = data
    units = []
    for bound in (0.0, 1e-20, 1e-300):
        other = y.copy()
        other["lower"][other["lower"] == 0] = bound
        model = small(WeibullAFTRegressor, max_epochs=1).fit(X, other)
        units.append([model.log_time_center_, model.log_time_spread_, *model.predict(X)])
    np.testing.assert_allclose(units[1], units[0], atol=1e-4)
    np.testing.assert_allclose(units[2], units[0], atol=1e-4)


def test_a_cox_model_has_no_likelihood_for_them(data):
    with pytest.raises(ValueError, match="WeibullAFTRegressor, LogNormalAFTRegressor or LogLog"):
        CoxNNRegressor(n_estimators=1, max_epochs=1).fit(*data)


def test_an_entry_after_the_interval_is_refused(data):
    X, y = data
    entry = np.zeros(len(y))
    entry[3] = np.where(np.isfinite(y["upper"][3]), y["upper"][3], y["lower"][3])
    with pytest.raises(ValueError, match=r"^`entry` must be less than the end of its row"):
        small(WeibullAFTRegressor).fit(X, y, entry=entry)


def test_rows_of_another_number_are_refused(data):
    X, y = data
    model = small(WeibullAFTRegressor, max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match=r"^`y` must have one row for each of X, 150, got 149\."):
        model.log_likelihood(X, y[1:])
    with pytest.raises(ValueError, match=r"^`y` must have one row for each of X, 150, got 149\."):
        model.score(X, y[1:])
    np.testing.assert_allclose(model.log_likelihood(X, y, 2.0), model.log_likelihood(X, y))
    with pytest.raises(ValueError, match="`sample_weight`"):
        model.log_likelihood(X, y, -np.ones(len(y)))
    with pytest.raises(TypeError, match=r"^`entry` must be numeric"):
        model.log_likelihood(X, y, entry=["a"] * len(y))
