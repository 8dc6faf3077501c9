"""Networks in ONNX files give what the estimators predict, by onnxruntime."""

from __future__ import annotations

import logging
import sys

import numpy as np
import onnxruntime
import pytest
from sklearn.base import clone
from sksurv.datasets import load_veterans_lung_cancer
from torch import nn

from sksurvtorch import (
    CompetingRisksNNRegressor,
    CoxNNRegressor,
    LogNormalAFTRegressor,
    WeibullAFTRegressor,
)
from sksurvtorch.nets import competing_risks_y
from sksurvtorch.persistence import export_onnx, onnx


class Images(nn.Module):
    def __init__(self, n_outputs=1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 2, (1, 2)), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(1)
        )

    def forward(self, X):
        return self.layers(X).squeeze(1)


class OnlyThree(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, X):
        return self.linear(X).reshape(len(X))


class Branching(OnlyThree):
    def forward(self, X):
        return self.linear(X) if X.sum() > 0 else -self.linear(X)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(1, 1), nn.Linear(3, 1)

    def forward(self, a, b):
        return self.first(a) + self.second(b).tanh()


@pytest.fixture(scope="module")
def data():
    X, y = load_veterans_lung_cancer()
    columns = ["Age_in_years", "Karnofsky_score", "Months_from_Diagnosis"]
    return X[columns].to_numpy("float32"), y


def run(path, X):
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": X}), strict=True))


MODELS = {
    "cox": CoxNNRegressor(n_estimators=1, norm="batch", dropout=0.5),
    "cox linear": CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs"),
    "cox momentum": CoxNNRegressor(momentum=True, batch_size=16),
    "cox ensemble": CoxNNRegressor(n_estimators=10),
    "cox copies": CoxNNRegressor(n_estimators=2, norm="batch"),
    "weibull": WeibullAFTRegressor(n_estimators=1),
    "weibull ensemble": WeibullAFTRegressor(n_estimators=3, norm="layer", dtype="float64"),
    "weibull per sample": WeibullAFTRegressor(n_estimators=1, shape="per_sample", dtype="float64"),
}


@pytest.fixture
def logger():
    """The log of torch's exporter, at another level than by default."""
    logger = logging.getLogger("torch.onnx")
    logger.setLevel(logging.INFO)
    yield logger
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_outputs_are_those_of_the_estimator(model, data, tmp_path, logger, capfd):
    """In silence, and the model can be trained on as if there had been no export."""
    X, y = data
    model.set_params(max_epochs=3, random_state=0).fit(X, y)
    twin = clone(model).fit(X, y)
    wide = model.dtype == "float64" or model.optimizer == "lbfgs"
    X = X.astype("float64" if wide else "float32")
    path = tmp_path / "model.onnx"
    export_onnx(model, path)
    assert list(tmp_path.iterdir()) == [path]  # the weights are in it
    assert capfd.readouterr() == ("", "")
    assert logger.level == logging.INFO
    # A log scale near 0 has the absolute error of the numbers that it is the difference of.
    tolerance = {"rtol": 1e-12, "atol": 1e-14} if wide else {"rtol": 1e-5, "atol": 1e-5}
    if isinstance(model, CoxNNRegressor):
        expected = {"log_hazard_ratio": model.predict(X)}
    else:
        scale, shape = model.predict_params(X)
        expected = {"log_scale": np.log(scale), "log_shape": np.log(shape)}
    for n_samples in (1, 2, len(X)):
        outputs = run(path, X[:n_samples])
        assert outputs.keys() == expected.keys()
        for name, values in expected.items():
            assert outputs[name].shape == (n_samples,)
            np.testing.assert_allclose(outputs[name], values[:n_samples], **tolerance)
    for each in (model, twin):
        each.partial_fit(X, y)
    np.testing.assert_array_equal(model.predict(X), twin.predict(X))


@pytest.mark.parametrize("n_causes", [1, 3])
def test_log_hazard_ratios_of_several_causes(n_causes, data, tmp_path):
    X, y = data
    status = np.where(y["Status"], 1 + np.arange(len(y)) % n_causes, 0)
    model = CompetingRisksNNRegressor(n_estimators=3, dtype="float64", max_epochs=2, random_state=0)
    model.fit(X, competing_risks_y(status, y["Survival_in_days"]))
    export_onnx(model, tmp_path / "model.onnx")
    for rows in (X[:1].astype(float), X.astype(float)):
        found = run(tmp_path / "model.onnx", rows)["log_hazard_ratio"]
        assert found.shape == (len(rows), n_causes)
        np.testing.assert_allclose(found, model.predict_log_hazard_ratio(rows), rtol=0, atol=1e-12)


def test_a_network_of_the_user_for_images(data, tmp_path):
    """It is left as it was, of which the mode of training is a part."""
    X, y = data
    images = X[:, None, None]
    model = CoxNNRegressor(module=Images, max_epochs=1, random_state=0).fit(images, y)
    model.net_.module_.train()
    export_onnx(model, tmp_path / "model.onnx")
    assert all(part.training for part in model.net_.module_.modules())
    outputs = run(tmp_path / "model.onnx", images)["log_hazard_ratio"]
    np.testing.assert_allclose(outputs, model.predict(images), rtol=1e-5, atol=1e-5)


def test_a_network_for_one_number_of_samples_is_refused(data, tmp_path):
    model = CoxNNRegressor(module=OnlyThree, max_epochs=1).fit(*data)
    with pytest.raises(ValueError, match=r"`module` must take any number of samples .*X\.shape"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_network_that_branches_on_values_is_refused(data, tmp_path):
    model = CoxNNRegressor(module=Branching, max_epochs=1).fit(*data)
    with pytest.raises(
        ValueError, match=r"^`module` must be a network that torch\.onnx\.export tak"
    ):
        export_onnx(model, tmp_path / "model.onnx")
    assert not [*tmp_path.iterdir()]


def test_several_inputs_are_side_by_side(data, tmp_path):
    X, y = {"b": data[0], "a": data[0][:, :1]}, data[1]
    model = CoxNNRegressor(module=TwoInputs, max_epochs=1, random_state=0).fit(X, y)
    export_onnx(model, tmp_path / "model.onnx")
    joined = np.concatenate([X[name] for name in model.input_shape_], axis=1)
    found = run(tmp_path / "model.onnx", joined)["log_hazard_ratio"]
    np.testing.assert_allclose(found, model.predict(X), rtol=1e-5, atol=1e-5)


def test_a_network_that_is_too_large_for_a_file_is_refused_before(data, tmp_path):
    model = CoxNNRegressor(n_estimators=1, hidden_layer_sizes=4, max_epochs=1).fit(*data)
    model.net_.module_.more = nn.Linear(2**15, 2**14, bias=False, device="meta")  # of 2 GiB
    sentence = r"^`estimator` must have weights of at most 1\.98 GiB for one .* got 2\.00 GiB\."
    with pytest.raises(ValueError, match=sentence):
        export_onnx(model, tmp_path / "model.onnx")
    assert not [*tmp_path.iterdir()]


def test_a_missing_package_and_another_estimator_are_named(data, tmp_path, monkeypatch):
    model = CoxNNRegressor(n_estimators=1, max_epochs=1).fit(*data)
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "onnxscript" else sys)
    with pytest.raises(ImportError, match=r"needs onnxscript\. .*sksurvtorch\[onnx\]"):
        export_onnx(model, tmp_path / "model.onnx")
    with pytest.raises(
        TypeError, match=r"^`estimator` must be one of CompetingRisksNNRegressor, Cox"
    ):
        export_onnx(3, tmp_path / "model.onnx")


def test_a_file_says_which_distribution_its_parameters_have(data, tmp_path):
    X, y = data
    model = LogNormalAFTRegressor(hidden_layer_sizes=(), max_epochs=1, random_state=0).fit(X, y)
    export_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert session.get_modelmeta().custom_metadata_map["distribution"] == "lognormal"
    log_scale, log_shape = session.run(None, {"X": X})
    scale, shape = model.predict_params(X)
    np.testing.assert_allclose(np.exp(log_scale), scale, rtol=1e-4)
    np.testing.assert_allclose(np.exp(log_shape), shape, rtol=1e-4)
