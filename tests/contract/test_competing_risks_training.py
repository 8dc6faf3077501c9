"""Trainings of competing risks: columns, stored rows, further calls, networks of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EpochScoring
from torch import nn

from sksurvtorch import CompetingRisksNNRegressor
from sksurvtorch.exceptions import SkippedBatchWarning
from sksurvtorch.functional import CompetingRiskSets
from sksurvtorch.functional import competing_risks_neg_log_likelihood as competing
from sksurvtorch.metrics import concordance_index_competing_risks
from sksurvtorch.nets import TrainingCheckpoint, competing_risks_y
from tests.contract.risk_models import Mlp, columns_of, either_hazard, linear, risks, small
from tests.contract.stored import Batches, Rows, mapped
from tests.contract.test_checkpoint import Accident
from tests.contract.test_ensemble_training import Watch

ALL = ("entry", "stratum", "sample_weight")


def curves(model, X, columns):
    """Log hazard ratios, incidences and time lost."""
    given = {"stratum": columns["stratum"]} if "stratum" in columns else {}
    incidence = model.predict_cumulative_incidence(X, return_array=True, **given)
    lost = model.predict_restricted_mean_time_lost(X, **given)
    return np.hstack([model.predict_log_hazard_ratio(X), lost, incidence.reshape(len(X), -1)])


@either_hazard
def test_batches_have_the_censoring_of_all_rows(hazard):
    """Each step of plain gradient descent is by the loss of the rows among those of the fit."""
    X, y = risks(dtype=np.float64)
    columns = columns_of(y, "entry", "stratum")
    torch.manual_seed(0)
    network = Mlp().double()
    model = small(
        module=network, hazard=hazard, optimizer="sgd", lr=0.1, lr_schedule="constant",
        max_epochs=2, callbacks=[Watch()],
    ).fit(X, y, **columns)  # fmt: skip
    watch = next(c for _, c in model.net_.callbacks_ if isinstance(c, Watch))
    codes = np.unique(columns["stratum"], return_inverse=True)[1]
    given = {"status": y["status"].copy(), "time": y["time"].copy(), "entry": columns["entry"]}
    given = {name: torch.from_numpy(x) for name, x in (given | {"stratum": codes}).items()}
    whole = CompetingRiskSets(**given, n_causes=2, hazard=hazard)
    features = torch.from_numpy(X)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    assert len(watch.steps_) == 8
    for inputs, _, _ in watch.steps_:
        rows = torch.tensor([int((features == row).all(1).nonzero()) for row in inputs])
        optimizer.zero_grad()
        competing(network(inputs), risk_sets=whole.take(rows)).backward()
        optimizer.step()
    with torch.no_grad():
        expected = network(features)
    np.testing.assert_allclose(model.predict_log_hazard_ratio(X), expected, atol=1e-10)


@either_hazard
@pytest.mark.parametrize("names", [("entry",), ("stratum",), ("entry", "stratum")])
def test_whole_weights_are_repeated_rows_and_weights_of_0_are_absent(names, hazard):
    X, y = risks(dtype=np.float64)
    columns = columns_of(y, *names)
    weight = np.random.default_rng(2).choice([0, 1, 2], len(y))
    last = y["time"].argmax()  # which stays, so that the follow-up does
    weight[last] = 1
    rows = np.repeat(np.arange(len(y)), weight)
    options = {"hazard": hazard, "ties": "breslow"}
    ours = linear(**options).fit(X, y, sample_weight=weight, **columns)
    repeated = {name: column[rows] for name, column in columns.items()}
    theirs = linear(**options).fit(X[rows], y[rows], **repeated)
    np.testing.assert_allclose(curves(ours, X, columns), curves(theirs, X, columns), atol=1e-8)
    plain = linear(**options).fit(X, y, **columns)
    assert np.abs(plain.coef_ - ours.coef_).max() > 0.01


def test_a_cause_whose_only_event_has_weight_0_is_absent():
    X, y = risks()
    y["status"][7] = 3
    weight = np.ones(len(y))
    assert small(max_epochs=1).fit(X, y, weight).n_causes_ == 3
    weight[7] = 0
    assert small(max_epochs=1).fit(X, y, weight).n_causes_ == 2


@either_hazard
def test_strata_have_baselines_of_their_own(hazard):
    """With coefficients that are 0, each stratum has the curves of its own rows."""
    X, y = risks()
    labels = columns_of(y, "stratum")["stratum"]
    options = {"hazard": hazard, "alpha": 1e12}
    whole = linear(**options).fit(X, y, stratum=labels)
    assert whole.strata_.tolist() == ["a", "b"]
    assert whole.log_baseline_cumulative_hazard_.shape == (2, 2, len(whole.unique_times_))
    for label in ("a", "b"):
        own = labels == label
        alone = linear(**options).fit(X[own], y[own])
        at = alone.unique_times_
        expected = alone.predict_cumulative_incidence(X[:1], times=at)
        found = whole.predict_cumulative_incidence(X[:1], times=at, stratum=[label])
        np.testing.assert_allclose(found, expected, atol=1e-8)
    given = {"return_array": True, "stratum": labels}
    both = whole.predict_cumulative_incidence(X, **given)
    assert np.abs(both[labels == "a"][0] - both[labels == "b"][0]).max() > 0.01
    functions = whole.predict_cumulative_incidence(X, stratum=labels)
    found = [[f(whole.unique_times_) for f in row] for row in functions]
    np.testing.assert_array_equal(found, both)


STORES = {
    "map": mapped,
    "rows": lambda X, folder: Rows(X),
    "batches": lambda X, folder: Batches(torch.from_numpy(X)),
}


@either_hazard
@pytest.mark.parametrize("store", STORES)
def test_rows_that_are_stored_train_the_same_model(store, hazard, tmp_path):
    X, y = risks(dtype=np.float64)
    columns = columns_of(y, *ALL)
    for options in ({}, {"early_stopping": True, "n_iter_no_change": 1, "lr": 0.1}):
        expected = small(hazard=hazard, **options).fit(X, y, **columns)
        stored = STORES[store](X, tmp_path)
        ours = small(hazard=hazard, **options).fit(stored, y, **columns)
        found = [curves(ours, at, columns) for at in (stored, X)]
        for own in found:
            np.testing.assert_allclose(own, curves(expected, X, columns), rtol=0, atol=1e-9)
        assert ours.score(stored, y) == expected.score(X, y)
    windows = small(hazard=hazard, iterator_train__window_bytes=1_600).fit(stored, y, **columns)
    assert np.isfinite(curves(windows, X, columns)).all()


def test_an_ensemble_of_a_memory_map_is_that_of_the_array(tmp_path):
    X, y = risks(dtype=np.float64)
    expected = small(n_estimators=3).fit(X, y)
    ours = small(n_estimators=3).fit(mapped(X, tmp_path), y)
    np.testing.assert_allclose(curves(ours, X, {}), curves(expected, X, {}), atol=1e-9)


@either_hazard
def test_two_fits_with_warm_start_are_one_of_as_many_epochs(hazard):
    X, y = risks()
    options = {"hazard": hazard, "lr_schedule": "constant"}
    whole = small(max_epochs=4, **options).fit(X, y)
    parts = small(max_epochs=2, warm_start=True, **options).fit(X, y).fit(X, y)
    assert parts.n_iter_ == 4
    np.testing.assert_allclose(curves(parts, X, {}), curves(whole, X, {}), atol=1e-10)


def test_partial_fit_trains_on_and_takes_the_baseline_of_the_last_rows():
    X, y = risks()
    model = small(n_causes=3)
    for part in (slice(0, 75), slice(75, 150), slice(75, 150)):
        model.partial_fit(X[part], y[part])
    assert model.n_iter_ == 3
    assert model.n_causes_ == 3
    np.testing.assert_array_equal(model.unique_times_, np.unique(y["time"][75:]))
    incidence = model.predict_cumulative_incidence(X, return_array=True)
    assert incidence.shape == (150, 3, len(model.unique_times_))
    assert (incidence[:, 2] == 0).all()
    third = competing_risks_y(np.where(y["status"] == 1, 3, y["status"]), y["time"])
    model.partial_fit(X, third)  # there is an output for it
    incidence = model.predict_cumulative_incidence(X, return_array=True)
    assert (incidence[:, 0] == 0).all()
    assert incidence[:, 2].max() > 0.1


@pytest.mark.parametrize("options", [{}, {"n_estimators": 3}])
def test_a_fit_that_was_cut_off_resumes_from_its_checkpoint(options, tmp_path):
    X, y = risks()
    path = tmp_path / "fit.pt"
    whole = small(max_epochs=5, **options).fit(X, y)
    broken = small(max_epochs=5, callbacks=[TrainingCheckpoint(path), Accident(2)], **options)
    with pytest.raises(OSError, match="gone"):
        broken.fit(X, y)
    resumed = small(max_epochs=5, callbacks=[TrainingCheckpoint(path)], **options).fit(X, y)
    np.testing.assert_array_equal(curves(resumed, X, {}), curves(whole, X, {}))
    other = small(max_epochs=5, callbacks=[TrainingCheckpoint(path)], **options)
    exchanged = competing_risks_y(np.array([0, 2, 1])[y["status"]], y["time"])
    with pytest.raises(ValueError, match=r"of one that differs in status\. Remove"):
        other.fit(X, exchanged)
    with pytest.raises(ValueError, match=r"differs in hazard \('cause-specific' before"):
        other.set_params(hazard="subdistribution").fit(X, y)


class Seen(Callback):
    """Keeps the causes of each batch."""

    def on_train_begin(self, net, **kwargs):
        self.causes_ = []

    def on_batch_begin(self, net, batch, training, **kwargs):
        if training:
            self.causes_.append(np.bincount(batch[1].cause.numpy(), minlength=3))


def test_callbacks_see_status_and_time():
    X, y = risks()

    def concordance(net, X, y):
        assert y.dtype.names == ("status", "time")
        return concordance_index_competing_risks(y, net.predict(X)[:, 1], cause=2)[0]

    scoring = EpochScoring(concordance, on_train=True, name="concordance", lower_is_better=False)
    model = small(callbacks=[("scoring", scoring), ("seen", Seen())], lr=0.05).fit(X, y)
    assert model.net_.history[-1, "concordance"] > 0.6
    found = dict(model.net_.callbacks_)["seen"].causes_
    np.testing.assert_array_equal(sum(found[:4]), np.bincount(y["status"]))


def test_batches_without_an_event_are_left_out_and_said():
    X, y = risks()
    y["status"][np.flatnonzero(y["status"])[4:]] = 0
    with pytest.warns(SkippedBatchWarning):
        model = small(batch_size=10).fit(X, y)
    assert np.isfinite(curves(model, X, {})).all()


class TwoInputs(nn.Module):
    def __init__(self, n_causes=2):
        super().__init__()
        self.a, self.b = nn.Linear(1, n_causes), nn.Linear(3, n_causes)

    def forward(self, left, right):
        return self.a(left) + self.b(right)


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_several_inputs(n_estimators):
    X, y = risks()
    inputs = {"left": X[:, :1], "right": X[:, 1:]}
    options = {"lr": 0.05, "max_epochs": 10, "n_estimators": n_estimators}
    model = small(module=TwoInputs, **options).fit(inputs, y)
    assert model.input_shape_ == {"left": (1,), "right": (3,)}
    assert model.predict_cumulative_incidence(inputs, times=[3.0]).shape == (150, 2, 1)
    for cause in (1, 2):
        assert model.set_params(cause=cause).score(inputs, y) > 0.65


def test_a_network_of_ones_own_is_a_class_with_options_too():
    X, y = risks()
    model = small(module=Mlp, module__width=3, module__n_causes=3, n_causes=3).fit(X, y)
    assert model.net_.module_.layers[0].out_features == 3
    assert model.predict_log_hazard_ratio(X).shape == (150, 3)
    outputs = model.predict_log_hazard_ratio(X)
    with torch.no_grad():
        expected = model.net_.module_(torch.from_numpy(X).double())
    np.testing.assert_allclose(outputs, expected, atol=1e-12)


def test_the_default_is_15_networks():
    X, y = risks()
    model = CompetingRisksNNRegressor(max_epochs=1, random_state=0).fit(X, y)
    assert model.n_estimators_ == 15
    few = competing_risks_y(np.where(np.arange(150) < 4, 1 + np.arange(150) % 2, 0), y["time"])
    model = CompetingRisksNNRegressor(max_epochs=1, random_state=0).fit(X, few)
    assert model.n_estimators_ == 1  # five events of any cause are needed


def test_a_coefficient_that_is_infinite_is_told():
    """Of one cause: the feature separates its events from all other rows."""
    X, y = risks(dtype=np.float64)
    X[:, 3] = y["status"] == 2
    with pytest.warns(UserWarning, match="feature 3, which separate"):
        linear().fit(X, y)
