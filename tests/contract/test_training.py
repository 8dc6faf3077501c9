"""What training does with learning rate, penalty, batches and weights, first and later on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.exceptions import NonFiniteLossError, PrecisionWarning
from sksurvtorch.nets import SurvivalNet, survival_target

both = pytest.mark.parametrize("kind", [CoxNNRegressor, WeibullAFTRegressor])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    time, censored = rng.exponential(np.exp(-X[:, 0])), rng.exponential(2.0, 200)
    return X, Surv.from_arrays(time <= censored, np.minimum(time, censored))


def linear(kind, **parameters):
    return kind(hidden_layer_sizes=(), optimizer="lbfgs", **parameters)


@both
def test_the_learning_rate_falls_to_zero_and_starts_again(kind, data):
    model = kind(
        n_estimators=1, warm_start=True, max_epochs=3, batch_size=50, lr=1e-2, random_state=0
    )
    for _ in range(2):
        rates = [row["event_lr"] for row in model.fit(*data).net_.history[-3:, "batches"][0]]
        assert rates[0] == 1e-2
        assert (np.diff(rates) < 0).all()
        assert model.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


@both
def test_each_partial_fit_trains_at_the_full_rate(kind, data):
    model, before = kind(n_estimators=1, random_state=0).fit(*data), None
    for _ in range(4):
        risk = model.partial_fit(*data).predict(data[0])
        assert model.net_.optimizer_.param_groups[0]["lr"] == 1e-3
        assert before is None or not np.array_equal(risk, before)
        before = risk


def test_the_linear_model_starts_at_its_optimum_whatever_the_optimizer(data):
    X, y = data
    expected = CoxPHSurvivalAnalysis().fit(X, y).coef_
    model = CoxNNRegressor(hidden_layer_sizes=(), random_state=0).fit(X, y)
    # Mini-batches wander around the optimum of all rows.
    np.testing.assert_allclose(model.coef_, expected, atol=0.03)


@both
def test_a_warm_start_takes_the_penalty_and_batches_of_its_own_data(kind, data):
    X, y = data
    warm = linear(kind, alpha=5.0, warm_start=True).fit(X[:60], y[:60]).fit(X, y)
    if kind is WeibullAFTRegressor:  # its times stay standardised by the first data
        warm = linear(kind, alpha=0.0, warm_start=True).fit(X[:60], y[:60]).fit(X, y)
        expected = linear(kind, alpha=0.0).fit(X, y)
    else:
        # So do the inputs; in their units the penalty is another one, if only a little.
        expected = linear(kind, alpha=5.0).fit(X, y)
    np.testing.assert_allclose(warm.coef_, expected.coef_, rtol=1e-2, atol=5e-3)


@both
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_layer_sizes", (3,)),
        ("dtype", "float64"),
        ("optimizer", "sgd"),
        ("norm", "layer"),
        ("optimizer__weight_decay", 0.1),
    ],
)
def test_a_parameter_that_made_the_network_may_not_change_under_it(kind, name, value, data):
    model = kind(n_estimators=1, warm_start=True, max_epochs=1).fit(*data)
    model.set_params(**{name: value})
    with pytest.raises(ValueError, match=rf"^`{name}` must stay .* where the training of a netw"):
        model.fit(*data)
    model.set_params(warm_start=False).fit(*data)


@both
def test_a_lower_rate_or_another_batch_size_may(kind, data):
    model = kind(n_estimators=1, warm_start=True, max_epochs=1, batch_size=100).fit(*data)
    model.set_params(lr=1e-5, batch_size=50, lr_schedule="constant").fit(*data)
    assert model.net_.optimizer_.param_groups[0]["lr"] == 1e-5
    assert model.net_.history[-1, "train_batch_count"] == 4


def test_a_network_that_diverged_in_its_last_step_is_refused(data):
    """Its losses and weights were finite, its output is not."""
    diverging = CoxNNRegressor(
        n_estimators=1,
        optimizer="sgd",
        lr=1e5,
        lr_schedule="constant",
        max_epochs=3,
        random_state=0,
    )
    with pytest.raises(NonFiniteLossError):
        diverging.fit(*data)
    with pytest.raises(AttributeError):
        diverging.net_  # noqa: B018 -- the access is what is tested


def test_weights_count_the_same_in_small_batches(data):
    """A batch of heavy rows is a larger part of the likelihood than one of light rows."""
    X, y = data
    weight = np.where(np.arange(200) % 10 == 0, 20.0, 1.0)
    whole = linear(WeibullAFTRegressor).fit(X, y, weight).coef_
    small = WeibullAFTRegressor(
        hidden_layer_sizes=(), batch_size=25, max_epochs=40, lr=1e-2, random_state=0
    )
    # Steps of a fixed size end near the optimum only.
    np.testing.assert_allclose(small.fit(X, y, weight).coef_, whole, atol=0.01)


@both
def test_reversed_views_are_read_as_they_are(kind, data):
    X, y = data
    model = kind(n_estimators=1, max_epochs=2, random_state=0)
    expected = model.fit(X[::-1].copy(), y[::-1].copy()).predict(X)
    np.testing.assert_array_equal(model.fit(X[::-1], y[::-1]).predict(X), expected)


def test_columns_that_the_dtype_cannot_tell_apart_are_named(data):
    X, y = data
    with pytest.warns(PrecisionWarning, match="3 columns of X"):
        CoxNNRegressor(n_estimators=1, max_epochs=1).fit(X + 1e8, y)
    CoxNNRegressor(n_estimators=1, max_epochs=1, dtype="float64").fit(X + 1e8, y)


def test_one_early_event_among_late_censorings_is_within_the_floats():
    rng = np.random.default_rng(0)
    y = Surv.from_arrays(np.arange(50_000) == 0, np.where(np.arange(50_000) == 0, 30.0, 365.0))
    model = WeibullAFTRegressor(n_estimators=1, max_epochs=1, batch_size=5000).fit(
        rng.normal(size=(50_000, 2)), y
    )
    assert np.isfinite(model.predict_median(np.zeros((1, 2)))).all()


def test_an_entry_just_before_the_time_stays_before_it(data):
    X, y = data
    late = Surv.from_arrays(y["event"], y["time"] + 1e6)
    WeibullAFTRegressor(n_estimators=1, max_epochs=1).fit(X, late, entry=late["time"] - 1e-9)


@both
@pytest.mark.parametrize(("asked", "rows"), [(50, 50), (-1, 200), (None, 200)])
def test_the_batch_size_may_be_given_in_skorchs_spelling(kind, asked, rows, data):
    model = kind(n_estimators=1, max_epochs=1, iterator_train__batch_size=asked).fit(*data)
    assert model.net_.batch_size == rows


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1, bias=False)

    def forward(self, X):
        return self.layer(X)


def test_a_survival_net_takes_the_target_with_or_without_help(data):
    """And skorch's default split, which hands over subsets."""
    X, y = data
    losses = []
    for target in (y, survival_target(y), survival_target(y[::-1][::-1])):
        torch.manual_seed(0)
        net = SurvivalNet(Line, verbose=0, max_epochs=2)
        net.set_params(iterator_train__generator=np.random.default_rng(0))
        losses.append(net.fit(X.astype("float32"), target).history[-1, "valid_loss"])
    assert losses[0] == losses[1] == losses[2] > 0
