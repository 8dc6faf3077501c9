"""Files of models: what they give back, what they refuse, and that they hold no code."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.datasets import load_veterans_lung_cancer
from sksurv.util import Surv
from torch import nn

from sksurvtorch import (
    CompetingRisksNNRegressor,
    CoxNNRegressor,
    WeibullAFTRegressor,
    load,
    save,
)
from sksurvtorch.estimators import _net
from sksurvtorch.exceptions import ModelFileError
from sksurvtorch.nets import competing_risks_y
from sksurvtorch.persistence import _container as container


class Own(nn.Module):
    """With weights that are drawn at the first call, a buffer, and tied weights."""

    def __init__(self, n_hidden=4, n_outputs=1):
        super().__init__()
        self.first = nn.LazyLinear(n_hidden)
        self.norm = nn.BatchNorm1d(n_hidden)
        self.once, self.again = nn.Linear(n_hidden, n_hidden), nn.Linear(n_hidden, n_hidden)
        self.again.weight = self.once.weight
        self.last = nn.Linear(n_hidden, n_outputs)

    def forward(self, X):
        hidden = self.norm(self.first(X.flatten(1)))
        return self.last(self.again(self.once(hidden).relu()).relu())


MODELS = {
    "cox": CoxNNRegressor(n_estimators=1, random_state=0),
    "cox linear": CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs"),
    "cox momentum": CoxNNRegressor(momentum=True, batch_size=16, norm="batch", dropout=0.2),
    "cox options": CoxNNRegressor(
        early_stopping=True,
        optimizer=torch.optim.AdamW,
        optimizer__betas=(0.8, 0.9),
        iterator_train__shuffle=False,
        tol=np.float32(0.0),
        device=torch.device("cpu"),
    ),
    "weibull": WeibullAFTRegressor(random_state=np.int64(0)),
    "weibull linear": WeibullAFTRegressor(hidden_layer_sizes=[], optimizer="lbfgs"),
    "weibull per sample": WeibullAFTRegressor(shape="per_sample", dtype="float64", momentum=True),
    "cox own": CoxNNRegressor(module=Own, module__n_hidden=3, momentum=True, batch_size=32),
    "weibull own": WeibullAFTRegressor(module=Own(n_outputs=2), shape="per_sample"),
}
CAUSES = {
    "five networks": CompetingRisksNNRegressor(n_estimators=5, cause=2),
    "subdistribution": CompetingRisksNNRegressor(hazard="subdistribution", n_causes=3),
    "linear": CompetingRisksNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs"),
    "momentum": CompetingRisksNNRegressor(momentum=True, batch_size=16),
}


@pytest.fixture(scope="module")
def data():
    X, y = load_veterans_lung_cancer()
    return X[["Age_in_years", "Karnofsky_score", "Months_from_Diagnosis"]], y


@pytest.fixture(scope="module")
def fitted(data):
    """Each model, fitted once."""
    return {
        name: clone(model).set_params(max_epochs=3).fit(*data) for name, model in MODELS.items()
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(fitted, path):
    save(fitted["cox"], path)
    return path


def again(model):
    return {} if model.module is None else {"module": model.module}


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_is_the_saved_one_to_the_bit(name, fitted, data, path):
    model, (X, y) = fitted[name], data
    save(model, path)
    loaded = load(path, **again(model))
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    for values in ("predict_survival_function", "predict_cumulative_hazard_function"):
        np.testing.assert_array_equal(
            getattr(loaded, values)(X, return_array=True),
            getattr(model, values)(X, return_array=True),
        )
    np.testing.assert_array_equal(loaded.predict_median(X), model.predict_median(X))
    assert loaded.score(X, y) == model.score(X, y)
    assert loaded.get_params() == model.get_params()
    assert loaded.net_.l2 == model.net_.l2
    assert loaded.n_iter_ == model.n_iter_ == len(loaded.net_.history)
    assert loaded.net_.history[:, "train_loss"] == model.net_.history[:, "train_loss"]
    assert list(getattr(loaded, "feature_names_in_", ())) == list(
        getattr(model, "feature_names_in_", ())
    )


@pytest.mark.parametrize("strata", [False, True])
@pytest.mark.parametrize("model", CAUSES.values(), ids=CAUSES)
def test_a_loaded_model_of_several_causes_is_the_saved_one_to_the_bit(model, strata, data, path):
    X, y = data
    status = np.where(y["Status"], 1 + np.arange(len(y)) % 2, 0)
    columns = {"stratum": np.where(np.arange(len(y)) % 3, "a", "b")} if strata else {}
    fitted = clone(model).set_params(max_epochs=3, random_state=0)
    fitted.fit(X, competing_risks_y(status, y["Survival_in_days"]), **columns)
    save(fitted, path)
    loaded = load(path)
    assert loaded.get_params() == fitted.get_params()
    columns = {name: column[:9] for name, column in columns.items()}
    for each in ("predict_cumulative_incidence", "predict_restricted_mean_time_lost"):
        expected = getattr(fitted, each)(X[:9], **columns)
        found = getattr(loaded, each)(X[:9], **columns)
        if expected.dtype == object:
            expected, found = ([f.y for f in x.ravel()] for x in (expected, found))
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    for name in ("log_baseline_cumulative_hazard_", "member_weights_", "strata_", "n_causes_"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(fitted, name))


@pytest.mark.parametrize("name", ["cox", "cox momentum", "cox own", "weibull own"])
def test_training_goes_on_from_the_loaded_weights(name, fitted, data, path):
    model, (X, y) = fitted[name], data
    save(model, path)
    loaded = load(path, **again(model))
    before = loaded.net_.history[-1, "train_loss"]
    loaded.partial_fit(X, y)
    assert loaded.net_.l2 == model.net_.l2
    assert loaded.n_iter_ == model.n_iter_ + 1
    # One epoch moves the loss little; new weights would be far off.
    assert loaded.net_.history[-1, "train_loss"] == pytest.approx(before, rel=0.2)
    clone(loaded).fit(X, y)


def test_a_new_process_predicts_the_same(saved, fitted, data, forked):
    code = f"""
from sksurv.datasets import load_veterans_lung_cancer
from sksurvtorch import load
X, _ = load_veterans_lung_cancer()
print(load({str(saved)!r}).predict(X[{list(data[0].columns)!r}]).tobytes().hex())
"""
    run = forked(code)
    assert run.stderr == ""
    assert bytes.fromhex(run.stdout) == fitted["cox"].predict(data[0]).tobytes()


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["squamous", "small"], dtype=object),
        np.array(["a", "b"]),
        np.array([2.5, -1.0]),
        np.array([7, 3], dtype=np.int16),
        np.array([True, False]),
    ],
    ids=lambda labels: str(labels.dtype),
)
def test_strata_keep_their_labels(labels, data, path):
    X, y = data
    stratum = labels[np.arange(len(X)) % 2]
    model = CoxNNRegressor(n_estimators=1, max_epochs=1, random_state=0).fit(X, y, stratum=stratum)
    save(model, path)
    loaded = load(path)
    assert loaded.strata_.dtype == model.strata_.dtype
    np.testing.assert_array_equal(
        loaded.predict_median(X, stratum=stratum), model.predict_median(X, stratum=stratum)
    )


def test_the_parameters_of_the_fit_make_the_network_and_those_of_today_the_next(data, path):
    X, y = data
    options = {"n_estimators": 1, "max_epochs": 1, "random_state": 0}
    model = CoxNNRegressor(hidden_layer_sizes=5, **options).fit(X, y)
    risk = model.predict(X)
    save(
        model.set_params(hidden_layer_sizes=(2, 2), optimizer="sgd", optimizer__momentum=0.9), path
    )
    loaded = load(path)
    np.testing.assert_array_equal(loaded.predict(X), risk)
    assert loaded.hidden_layer_sizes == (2, 2)
    loaded.fit(X, y)
    assert loaded.net_.module_.hidden[0].weight.shape == (2, 3)
    assert loaded.net_.optimizer_.param_groups[0]["momentum"] == 0.9


def test_parameters_of_the_next_fit_do_not_stand_in_for_one_that_made_the_network(data, path):
    """As in a file of a version that did not have it yet."""
    model = CoxNNRegressor(n_estimators=1, max_epochs=2, hidden_layer_sizes=4).fit(*data)
    save(model.set_params(dtype="float64"), path)
    document, tensors = container.read(path)
    assert document["made_with"].pop("dtype") == "float32"
    container.write(path, document, tensors)
    loaded = load(path)
    assert (loaded.predict(data[0]) == model.predict(data[0])).all()
    assert loaded._made_with == model._made_with


def test_the_shape_of_samples_is_that_of_the_last_fit(data, path):
    X, y = data
    model = CoxNNRegressor(module=Own, max_epochs=1).fit(X.to_numpy()[:, None], y)
    assert not hasattr(model, "n_features_in_")
    model.set_params(module=None).fit(X, y)
    assert not hasattr(model, "input_shape_")
    save(model, path)
    assert load(path).n_features_in_ == 3


def test_a_device_can_be_chosen(saved, data):
    loaded = load(saved, device="cpu")
    assert (loaded.device, loaded.device_) == ("cpu", torch.device("cpu"))
    with pytest.raises(ValueError, match="`device` must name a device of this machine"):
        load(saved, device="cuda:17")


def test_a_model_of_a_device_that_is_missing_here_predicts_on_the_cpu(saved, data, fitted):
    """As if it had been fitted on a GPU."""
    document, tensors = container.read(saved)
    document["device"] = document["parameters"]["device"] = {"device": "cuda:17"}
    document["made_with"]["device"] = {"device": "cuda:17"}
    container.write(saved, document, tensors)
    loaded = load(saved)
    assert loaded.device_ == torch.device("cpu")
    assert loaded.device == torch.device("cuda:17")
    np.testing.assert_array_equal(loaded.predict(data[0]), fitted["cox"].predict(data[0]))
    with pytest.raises(ValueError, match="`device` must name a device of this machine"):
        clone(loaded).fit(*data)


def test_code_is_given_again(data, path):
    X, y = data
    options = {"module": Own, "callbacks": [], "random_state": np.random.RandomState(0)}
    model = CoxNNRegressor(n_estimators=1, **options, max_epochs=1).fit(X, y)
    save(model, path)
    with pytest.raises(TypeError, match=r"^`module` must be given to load this model, which had "):
        load(path)
    with pytest.raises(TypeError, match=r"^`random_state` must be given"):
        load(path, module=Own)
    with pytest.raises(
        TypeError, match=r"^`lr` must be left out, got 0.1: the file holds all but "
    ):
        load(path, module=Own, random_state=None, lr=0.1)
    loaded = load(path, module=Own(), random_state=1)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.random_state == 1


def test_another_network_is_refused(data, path):
    X, y = data
    save(CoxNNRegressor(module=Own, max_epochs=1).fit(X, y), path)
    with pytest.raises(ValueError, match=r"^`module` must be the network that was saved\."):
        load(path, module=lambda: nn.Linear(3, 1))


class Pooled(nn.Module):
    """Of few weights for samples of any size, which it looks at."""

    def __init__(self, n_channels=2):
        super().__init__()
        self.first, self.last = nn.Conv1d(1, n_channels, 3), nn.Linear(n_channels, 1)

    def forward(self, X):
        assert bool(X.isfinite().all())
        return self.last(self.first(X[:, None]).relu().mean(2))


class PooledAtTheFirstCall(nn.Module):
    """The same, of which nothing is made before."""

    def forward(self, X):
        if not hasattr(self, "made"):
            self.made = Pooled().to(X)
        return self.made(X)


def called(**options):
    network = PooledAtTheFirstCall(**options)
    network(torch.zeros(2, 100))
    return network


@pytest.mark.parametrize("momentum", [False, True])
def test_networks_of_large_samples_are_loaded_without_a_call(momentum, data, path, monkeypatch):
    """Nor can they be called without numbers."""
    X, y = np.random.default_rng(0).normal(size=(20, 100)), data[1][:20]
    options = {"max_epochs": 2, "momentum": momentum, "batch_size": 10}
    model = CoxNNRegressor(module=Pooled, module__n_channels=3, **options).fit(X, y)
    other = CoxNNRegressor(module=PooledAtTheFirstCall, **options).fit(X, y)
    save(model, path)
    save(other, path.with_name("other"))
    monkeypatch.setattr(_net, "_SAMPLE_BYTES", 2**8)
    assert (load(path, module=Pooled).predict(X) == model.predict(X)).all()
    with pytest.raises(ModelFileError, match=r"give a function as `module` that makes it and call"):
        load(path.with_name("other"), module=PooledAtTheFirstCall)
    lazy = nn.Sequential(nn.AvgPool1d(10), nn.LazyLinear(1))
    save(CoxNNRegressor(module=lazy, **options).fit(X, y), path)
    with pytest.raises(ModelFileError, match=r"give a function as `module` that makes it and call"):
        load(path, module=lazy)
    larger = nn.Sequential(nn.LazyLinear(4), nn.LazyLinear(1))  # than the samples
    model = CoxNNRegressor(module=larger, **options).fit(X, y)
    save(model, path)
    assert (load(path, module=larger).predict(X) == model.predict(X)).all()
    loaded = load(path.with_name("other"), module=called)
    assert (loaded.predict(X) == other.predict(X)).all()
    monkeypatch.undo()
    loaded = load(path.with_name("other"), module=PooledAtTheFirstCall)
    assert (loaded.predict(X) == other.predict(X)).all()


def test_only_fitted_estimators_of_this_package_are_saved(data, path):
    with pytest.raises(NotFittedError):
        save(CoxNNRegressor(), path)
    with pytest.raises(NotFittedError):
        save(make_pipeline(StandardScaler(), CoxNNRegressor()), path)
    with pytest.raises(TypeError, match=r"got a Pipeline that ends with StandardScaler\.$"):
        save(make_pipeline(StandardScaler()), path)

    class Child(CoxNNRegressor):
        pass

    with pytest.raises(
        TypeError, match=r"^`estimator` must be a CompetingRisksNNRegressor or .*got Child"
    ):
        save(Child(), path)
    assert not path.exists()


def test_a_folder_or_file_that_is_missing_is_named(fitted, tmp_path):
    missing = tmp_path / "none" / "model.safetensors"
    with pytest.raises(FileNotFoundError, match=r"^`path` must lie in a folder that exists"):
        save(fitted["cox"], missing)
    with pytest.raises(FileNotFoundError, match=r"^`path` must name a file, got "):
        load(missing)


def test_a_file_cut_short_anywhere_is_refused(saved):
    content = saved.read_bytes()
    for length in [0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="must name a whole and unaltered file"):
            load(saved)


def test_a_file_with_any_other_byte_is_refused(saved):
    """One byte at a time, throughout header, document and weights."""
    content = bytearray(saved.read_bytes())
    for place in np.linspace(0, len(content) - 1, 300).astype(int):
        content[place] ^= 1
        saved.write_bytes(content)
        with pytest.raises(ModelFileError):
            load(saved)
        content[place] ^= 1


def test_a_file_of_another_version_is_refused(saved, monkeypatch):
    with safe_open(saved, framework="pt") as file:
        metadata, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    save_file(tensors, saved, metadata | {"version": "4"})
    with pytest.raises(
        ModelFileError, match=r"a file of version 1, 2, 3, got .* of version 4\. Load it"
    ):
        load(saved)


# Made at the commit before version 2, where rows i = 0, ..., 11 have
#   X = np.random.default_rng(0).standard_normal((12, 1)), event = i % 3 > 0,
#   time = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8] and stratum = list("abacbaccbaba"), by
#   CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs", max_epochs=1).fit(X, y).
# The numbers are what it predicted for X = -1, 0, 1 in strata a, b, c: the cumulative hazard at
# times 0, 1, 4.5 and 9, the median, and the mean.
VERSION_1 = {
    "plain": (
        [
            [0.0, 0.14081540110145202, 0.38728566859724306, 5.258969007623128],
            [0.0, 0.07737149486879097, 0.21279541077356554, 2.8895581762061116],
            [0.0, 0.04251202760071973, 0.1169211528283565, 1.587677440497656],
        ],
        [5.0, 6.0, 8.0],
        [4.9122851023787435, 5.969040820499483, 6.965956593967501],
    ),
    "strata": (
        [
            [0.0, 0.0, 0.0022020283407314287, 0.017518470272707986],
            [0.0, 1.013419414827073, 1.013419414827073, 9.454291705294203],
            [0.0, 0.0, 0.0, 1.2022918974602776],
        ],
        [np.inf, 1.0, 6.0],
        [8.982458555609824, 2.4522161729625975, 6.90151408834334],
    ),
}


@pytest.mark.parametrize("name", VERSION_1)
def test_a_file_of_version_1_predicts_what_it_did(name, path):
    model = load(Path(__file__).parent / "data" / f"cox_{name}_version_1.safetensors")
    save(model, path)
    hazard, median, mean = VERSION_1[name]
    X, stratum = [[-1.0], [0.0], [1.0]], np.array(["a", "b", "c"])
    asked = {} if model.strata_ is None else {"stratum": stratum}
    for loaded in (model, load(path)):
        values = loaded.predict_cumulative_hazard_function(X, times=[0, 1, 4.5, 9], **asked)
        np.testing.assert_allclose(values, hazard, 1e-12)
        np.testing.assert_array_equal(loaded.predict_median(X, **asked), median)
        np.testing.assert_allclose(loaded.predict_expectation(X, **asked), mean, 1e-12)


@pytest.mark.parametrize("shape", [(), (8,), (1, 7), (1, 8, 1)])
def test_a_baseline_of_version_1_has_a_column_for_each_time(shape, path):
    document, tensors = container.read(
        Path(__file__).parent / "data" / "cox_plain_version_1.safetensors"
    )
    tensors["learned.log_baseline_cumulative_hazard_"] = torch.zeros(shape)
    container.write(path, document, tensors)
    with pytest.raises(ModelFileError, match=r"with a baseline hazard of shape \("):
        load(path)


def test_a_file_of_another_program_is_refused(saved):
    save_file({"weight": torch.zeros(2)}, saved)
    with pytest.raises(
        ModelFileError, match=r"that `sksurvtorch.save` has written.*format is None"
    ):
        load(saved)
    saved.write_bytes(pickle.dumps(CoxNNRegressor()))
    with pytest.raises(ModelFileError, match="whole and unaltered"):
        load(saved)


def test_the_file_holds_no_code_and_no_training_data(fitted, path):
    model = fitted["cox momentum"]
    save(model, path)
    document, tensors = container.read(path)
    assert json.loads(json.dumps(document)) == document
    assert set(tensors) == {
        *(f"weights.{name}" for name in model.net_.module_.state_dict()),
        "learned.unique_times_",
        "learned.last_times_",
        *(
            f"learned._baseline_steps.{name}"
            for name in ("offsets", "times", "log_cumulative_hazard")
        ),
    }


def test_what_cannot_be_kept_is_named(fitted, data, path):
    model = CoxNNRegressor(n_estimators=1, max_epochs=1).fit(*data)
    model.net_.history.record("extra", object())
    with pytest.raises(TypeError, match=r"^`history` must be numbers, text or arrays .*object"):
        save(model, path)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # cut short
def test_many_strata_take_the_room_of_their_steps(path):
    """A table of 2 000 strata at 20 000 times would take 305 MiB."""
    rng = np.random.default_rng(0)
    n_rows = 20_000
    X = rng.standard_normal((n_rows, 1)).astype(np.float32)
    y = Surv.from_arrays(rng.random(n_rows) < 0.7, rng.exponential(size=n_rows))
    model = CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs", max_epochs=1)
    model.fit(X, y, stratum=rng.integers(0, 2_000, n_rows))
    save(model, path)
    assert path.stat().st_size < 2**20
    assert len(pickle.dumps(model)) < 2**20
    assert sum(part.nbytes for part in model._baseline_steps.values()) < 2**19
