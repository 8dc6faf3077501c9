"""Pipelines in one file, without pickle."""

from __future__ import annotations

import io
import sys
import zipfile

import numpy as np
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sksurv.datasets import load_veterans_lung_cancer
from torch import nn

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor, load, save
from sksurvtorch.exceptions import ModelFileError
from sksurvtorch.persistence import _container as container

X, Y = load_veterans_lung_cancer()
NUMBERS, LABELS = ["Age_in_years", "Karnofsky_score"], ["Celltype", "Treatment"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pipeline.safetensors"


def model(kind=CoxNNRegressor, **options):
    return kind(n_estimators=1, max_epochs=2, random_state=0, **options)


def columns():
    labels = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS), (labels, LABELS)
    )


def of_numbers(kind=CoxNNRegressor):
    return make_pipeline(StandardScaler(), model(kind)).fit(X[NUMBERS], Y)


@pytest.mark.parametrize("kind", [CoxNNRegressor, WeibullAFTRegressor])
def test_scaler_encoder_and_model_are_in_one_file(kind, path):
    pipeline = Pipeline([("columns", columns()), ("survival", model(kind))]).fit(X, Y)
    save(pipeline, path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with pytest.raises(
        TypeError, match=r"^`trusted` must name the types numpy.dtype for the steps"
    ):
        load(path)
    for trusted in (["numpy.dtype"], [np.dtype]):
        loaded = load(path, trusted=trusted)
        assert [name for name, _ in loaded.steps] == ["columns", "survival"]
        np.testing.assert_array_equal(loaded.predict(X), pipeline.predict(X))
        assert loaded.score(X, Y) == pipeline.score(X, Y)
    loaded.fit(X, Y)
    np.testing.assert_array_equal(loaded.predict(X), pipeline.predict(X))


def test_what_skops_trusts_needs_no_names(path):
    pipeline = of_numbers()
    save(pipeline, path)
    loaded = load(path, device="cpu")
    np.testing.assert_array_equal(loaded.predict(X[NUMBERS]), pipeline.predict(X[NUMBERS]))
    assert loaded[-1].device == "cpu"


def test_the_options_of_a_pipeline_stay(path, tmp_path):
    pipeline = Pipeline(
        [("first", "passthrough"), ("model", model())],
        memory=str(tmp_path / "memory"),
        verbose=False,
    ).fit(X[NUMBERS], Y)
    save(pipeline, path)
    loaded = load(path)
    assert loaded.memory == pipeline.memory
    assert loaded.steps[0] == ("first", "passthrough")
    alone = Pipeline([("model", model())]).fit(X[NUMBERS], Y)
    save(alone, path)
    assert [name for name, _ in load(path).steps] == ["model"]


def test_code_of_the_model_is_given_again(path):
    pipeline = make_pipeline(StandardScaler(), model(module=Two)).fit(X[NUMBERS], Y)
    save(pipeline, path)
    with pytest.raises(TypeError, match=r"^`module` must be given"):
        load(path)
    loaded = load(path, module=Two)
    np.testing.assert_array_equal(loaded.predict(X[NUMBERS]), pipeline.predict(X[NUMBERS]))


class Two(nn.Linear):
    def __init__(self):
        super().__init__(2, 1)


class Child(StandardScaler):
    pass


def test_code_of_a_step_is_trusted_by_its_name_alone(path):
    pipeline = make_pipeline(Child(), model()).fit(X[NUMBERS], Y)
    save(pipeline, path)
    name = f"{Child.__module__}.Child"
    for trusted in (None, [], ["numpy.dtype"]):
        with pytest.raises(TypeError, match=rf"^`trusted` must name the types {name} for"):
            load(path, trusted=trusted)
    np.testing.assert_array_equal(
        load(path, trusted=[name]).predict(X[NUMBERS]), pipeline.predict(X[NUMBERS])
    )


def test_a_model_alone_is_as_before(path):
    save(model().fit(X[NUMBERS], Y), path)
    document, tensors = container.read(path)
    assert "name" not in document
    assert "steps" not in tensors
    assert b'"version":"2"' in path.read_bytes()


def test_without_skops_it_says_so(path, monkeypatch):
    pipeline = of_numbers()
    save(pipeline, path)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    for call in (lambda: save(pipeline, path), lambda: load(path)):
        with pytest.raises(ImportError, match=r'^A pipeline needs .*"sksurvtorch\[pipeline\]"'):
            call()
    save(pipeline[-1], path)
    load(path)


def forge(path, change):
    document, tensors = container.read(path)
    change(document, tensors)
    container.write(path, document, tensors, "3")


def rewritten(change, compression=zipfile.ZIP_STORED):
    """Another archive of the steps."""

    def write(document, tensors):
        old = zipfile.ZipFile(io.BytesIO(tensors["steps"].numpy().tobytes()))
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", compression) as new:
            for name in old.namelist():
                new.writestr(name, change(name, old.read(name)))
        tensors["steps"] = torch.frombuffer(bytearray(content.getvalue()), dtype=torch.uint8)

    return write


def huge(name, content):
    if not name.endswith(".npy"):
        return content
    header = io.BytesIO()
    described = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


FORGERIES = {
    "no archive": lambda d, t: t.update(steps=torch.zeros(10, dtype=torch.uint8)),
    "numbers": lambda d, t: t.update(steps=torch.zeros(10)),
    "no name": lambda d, t: d.pop("name"),
    "name": lambda d, t: d.update(name=3),
    "no steps": lambda d, t: t.pop("steps"),
    "no schema": rewritten(lambda name, content: b"{}" if name == "schema.json" else content),
    "compressed": rewritten(lambda name, content: content, zipfile.ZIP_DEFLATED),
    "huge array": rewritten(huge),
    "cut short": lambda d, t: t.update(steps=t["steps"][:-30]),
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES)
def test_forged_steps_are_refused(change, path):
    save(of_numbers(), path)
    forge(path, change)
    with pytest.raises(ModelFileError, match=r"that `sksurvtorch.save` has written"):
        load(path)


def test_functions_are_not_run(path):
    pipeline = make_pipeline(FunctionTransformer(np.log1p), model()).fit(X[NUMBERS], Y)
    save(pipeline, path)
    try:
        loaded = load(path)
    except TypeError as error:
        loaded = load(path, trusted=str(error).split("types ")[1].split(" for")[0].split(", "))
    np.testing.assert_array_equal(loaded.predict(X[NUMBERS]), pipeline.predict(X[NUMBERS]))
