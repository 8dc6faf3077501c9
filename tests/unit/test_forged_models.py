"""Model files that somebody has forged, with a right checksum: refused, and at no cost."""

from __future__ import annotations

import copy
import json
import random
import sys

import numpy as np
import pytest
import torch
from sksurv.datasets import load_veterans_lung_cancer
from torch import nn

from sksurvtorch import (
    CompetingRisksNNRegressor,
    CoxNNRegressor,
    WeibullAFTRegressor,
    load,
    save,
)
from sksurvtorch.exceptions import ModelFileError
from sksurvtorch.nets import competing_risks_y
from sksurvtorch.persistence import _container as container

X, Y = load_veterans_lung_cancer()
X = X[["Age_in_years", "Karnofsky_score", "Months_from_Diagnosis"]]
STRATUM = np.array(["a", "b"])[np.arange(len(X)) % 2]

CAUSES = competing_risks_y(
    np.where(Y["Status"], 1 + np.arange(len(X)) % 2, 0), Y["Survival_in_days"]
)


class Own(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, X):
        return self.layers(X)


SMALL = {"hidden_layer_sizes": (4,), "n_estimators": 1, "max_epochs": 2, "random_state": 0}
MODELS = {
    "cox": (CoxNNRegressor(**SMALL), {}),
    "strata": (CoxNNRegressor(**SMALL), {"stratum": STRATUM}),
    "weibull": (WeibullAFTRegressor(**SMALL, momentum=True, norm="batch"), {}),
    "five": (CoxNNRegressor(**SMALL | {"n_estimators": 5}), {"stratum": STRATUM}),
    "five weibull": (WeibullAFTRegressor(**SMALL | {"n_estimators": 5}), {}),
    "causes": (CompetingRisksNNRegressor(**SMALL), {"y": CAUSES}),
    "five causes": (CompetingRisksNNRegressor(**SMALL | {"n_estimators": 5}), {"y": CAUSES}),
    "own": (CoxNNRegressor(module=Own, module__width=4, max_epochs=2), {}),
    "torch": (CoxNNRegressor(module=nn.Linear, module__in_features=3, module__out_features=1), {}),
}
AGAIN = {"own": {"module": Own}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of each model, fitted once, as document and tensors."""
    folder, made = tmp_path_factory.mktemp("models"), {}
    for name, (model, columns) in MODELS.items():
        columns = dict(columns)
        y = columns.pop("y", Y)
        save(model.fit(X, y, **columns), folder / name)
        made[name] = container.read(folder / name)
    return made


@pytest.fixture
def forged(files, tmp_path):
    """Writes a forged file of one of the models."""

    def write(forge, name="cox"):
        document, tensors = copy.deepcopy(files[name])
        forge(document, tensors)
        container.write(tmp_path / "forged", document, tensors)
        return tmp_path / "forged"

    return write


DOCUMENTS = {
    "class": lambda document: document.update({"class": "Popen"}),
    "no class": lambda document: document.pop("class"),
    "unhashable class": lambda document: document.update({"class": []}),
    "part": lambda document: document.update(code="print(1)"),
    "parameter": lambda document: document["parameters"].update(hook="x"),
    "kind of value": lambda document: document["parameters"].update(lr={"eval": "1"}),
    "two kinds": lambda document: document["parameters"].update(lr={"float": "nan", "list": []}),
    "optimizer": lambda document: document["parameters"].update(optimizer={"torch.optim": "Adams"}),
    "function": lambda document: document["parameters"].update(optimizer={"torch.nn": "init"}),
    "dtype": lambda document: document["parameters"].update(dtype={"dtype": "load"}),
    "device": lambda document: document.update(device={"device": "warp"}),
    "array": lambda document: document["learned"]["dict"].update(n_iter_={"array": "none"}),
    "attribute": lambda document: document["learned"]["dict"].update(predict=1),
    "no learned": lambda document: document.update(learned={"dict": {}}),
    "absent": lambda document: document.update(absent=[1]),
    "no absence": lambda document: document["parameters"].update(lr={"absent": True}),
    "history": lambda document: document.update(history=3),
    "epoch": lambda document: document["history"]["list"].append(3),
}


@pytest.mark.parametrize("forge", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_that_save_has_not_written_is_refused(forge, forged):
    with pytest.raises(ModelFileError):
        load(forged(lambda document, tensors: forge(document)))


def learned(**changes):
    """Other values of what the fit has learned; one that is None is left out."""

    def forge(document, tensors):
        of_fit = document["learned"]["dict"]
        for name, value in changes.items():
            of_fit.pop(name)
            if value is not ...:
                of_fit[name] = value

    return forge


def tensor(name, value):
    def forge(document, tensors):
        assert name in tensors
        tensors[name] = torch.as_tensor(value)

    return forge


def parameter(name, value):
    def forge(document, tensors):
        for part in ("parameters", "made_with"):
            document[part][name] = value

    return forge


def basis(document):
    """What intervals are made of, as the document has it."""
    return document["learned"]["dict"]["_interval_basis"]["dict"]


def one_stratum(document, tensors):
    """Steps of members that are in order, of one stratum alone."""
    end = int(tensors[BASIS + "offsets"][1])
    tensors[BASIS + "offsets"] = torch.tensor([0, end])
    tensors[BASIS + "times"] = tensors[BASIS + "times"][:end]
    tensors[BASIS + "members"] = tensors[BASIS + "members"][:, :end].contiguous()


def one_cause(prefix, *names):
    """Cut the tables of all causes to the first one."""

    def forge(document, tensors):
        for name in names:
            table = tensors[prefix + name]
            cut = table[:, :1] if name == "members" else table[:1]
            tensors[prefix + name] = cut.contiguous()

    return forge


LAST = "learned.last_times_"
STEPS = "learned._baseline_steps."
HAZARDS = "learned._incidence_steps."
BASIS = "learned._interval_basis."
CONTENT = {
    "no times": ("cox", tensor("learned.unique_times_", torch.zeros(0))),
    "times that fall": ("cox", tensor("learned.unique_times_", [2.0, 1.0])),
    "NaN as a time": ("weibull", tensor("learned.unique_times_", [1.0, np.nan])),
    "times in bfloat16": ("cox", tensor("learned.unique_times_", torch.ones(1).bfloat16())),
    "a table of times": ("cox", tensor("learned.unique_times_", torch.ones(2, 2))),
    "seed": ("cox", learned(_seed=-1)),
    "large seed": ("cox", learned(_seed=10**40)),
    "True as a number": ("cox", learned(n_features_in_=True)),
    "no features": ("cox", learned(n_features_in_=0)),
    "fewer features": ("cox", learned(n_features_in_=2)),
    "shape": ("own", learned(input_shape_={"tuple": [3, {"dict": {}}]})),
    "shape below 0": ("own", learned(input_shape_={"tuple": [-3]})),
    "another shape": ("own", learned(input_shape_={"tuple": [4]})),
    "name": ("cox", learned(feature_names_in_={"object": {"list": ["a", "b", 3]}})),
    "names": ("cox", learned(feature_names_in_={"object": {"list": ["a", "b"]}})),
    "a text": ("cox", learned(feature_names_in_={"text": "abc"})),
    "lists as text": ("cox", learned(feature_names_in_={"text": {"list": [{"list": []}]}})),
    "labels": ("strata", learned(strata_={"text": {"list": ["b", "a"]}})),
    "equal labels": ("strata", learned(strata_={"text": {"list": ["a", "a"]}})),
    "no labels": ("strata", learned(strata_=None)),
    "labels of two kinds": ("strata", learned(strata_={"object": {"list": ["a", 1]}})),
    "last times of fewer strata": ("strata", tensor(LAST, [999.0])),
    "last times of no kind": ("strata", learned(last_times_=3)),
    "a table of last times": ("cox", tensor(LAST, [[999.0]])),
    "NaN as a last time": ("strata", tensor(LAST, [np.nan, 999.0])),
    "a last time beyond all": ("cox", tensor(LAST, [1000.0])),
    "last times before that of all": ("strata", tensor(LAST, [991.0, 991.0])),
    "a last time of no row": ("strata", tensor(LAST, [992.0, 999.0])),
    "a last time before an event": ("strata", tensor(LAST, [587.0, 999.0])),
    "last times of other strata": ("causes", tensor(LAST, [999.0, 999.0])),
    "spread": ("weibull", learned(log_time_spread_=0.0)),
    "center": ("weibull", learned(log_time_center_="x")),
    "infinite center": ("weibull", learned(log_time_center_={"float": "inf"})),
    "steps": ("cox", learned(_baseline_steps={"dict": {}})),
    "no steps": ("cox", learned(_baseline_steps=...)),
    "offsets": ("cox", tensor(STEPS + "offsets", [0, 10**9])),
    "offsets that fall": ("strata", tensor(STEPS + "offsets", [0, 10**6, 50])),
    "negative offset": ("strata", tensor(STEPS + "offsets", [0, -1, 50])),
    "fractions as offsets": ("cox", tensor(STEPS + "offsets", [0.0, 1.0])),
    "hazard": ("cox", tensor(STEPS + "log_cumulative_hazard", [0.0])),
    "intervals": ("five", learned(_interval_basis={"dict": {}})),
    "intervals of another model": ("five", lambda d, t: basis(d).pop("offsets")),
    "no list of intervals": ("five", learned(_interval_basis=3)),
    "a number among intervals": ("five", lambda d, t: basis(d).update(slope=1.0)),
    "part of the scores": ("five weibull", lambda d, t: basis(d).pop("mass")),
    "slope": ("five", tensor(BASIS + "slope", torch.tensor([np.nan]))),
    "negative variance": ("five", tensor(BASIS + "missed", torch.tensor([-1.0]))),
    "infinite variance": ("five", tensor(BASIS + "missed", torch.tensor([np.inf]))),
    "nothing missed": ("five", lambda d, t: basis(d).pop("missed")),
    "two centers": ("five weibull", tensor(BASIS + "center", torch.zeros(2))),
    "scores that fall": ("five", tensor(BASIS + "score", torch.arange(128.0).flip(0))),
    "fewer scores": ("five", tensor(BASIS + "score", torch.ones(2))),
    "mass": ("five weibull", tensor(BASIS + "mass", torch.zeros(128))),
    "members": ("five", tensor(BASIS + "members", torch.zeros(5, 3))),
    "members of no kind": ("five", tensor(BASIS + "members", torch.zeros(0, 3))),
    "steps of other strata": ("five", one_stratum),
    "no causes": ("causes", learned(n_causes_=0)),
    "more causes": ("causes", learned(n_causes_=3)),
    "a billion causes": ("causes", learned(n_causes_=10**9)),
    "number of causes": ("causes", parameter("n_causes", "many")),
    "kind of hazard": ("causes", parameter("hazard", "x")),
    "hazards of fewer causes": ("causes", tensor(HAZARDS + "log_hazard", torch.zeros(1, 97))),
    "hazards of one cause": ("causes", one_cause(HAZARDS, "log_hazard", "log_cumulative_hazard")),
    "members of one cause": ("five causes", one_cause(BASIS, "members")),
    "slope of one cause": ("five causes", one_cause(BASIS, "slope")),
    "variance of one cause": ("five causes", one_cause(BASIS, "missed")),
    "intervals of one cause": ("five causes", one_cause(BASIS, "members", "slope", "missed")),
    "hazards that are no table": ("causes", tensor(HAZARDS + "log_hazard", torch.zeros(2))),
    "NaN as a hazard": ("causes", tensor(HAZARDS + "log_hazard", torch.full((2, 97), np.nan))),
    "hazards that fall": (
        "causes",
        tensor(HAZARDS + "log_cumulative_hazard", -torch.arange(194.0).reshape(2, 97)),
    ),
    "history": ("cox", lambda d, t: d["history"]["list"][0]["dict"].update(batches=3)),
    "batch size": ("cox", lambda d, t: d.update(batch_size=0)),
    "penalty": ("cox", lambda d, t: d.update(l2={"float": "nan"})),
    "absent parameter": ("cox", lambda d, t: d["absent"].update(lr="0.1")),
    "absence of a number": ("own", lambda d, t: d["absent"].update(module=3)),
    "no weights": ("cox", lambda d, t: [t.pop(k) for k in list(t) if k.startswith("weights.")]),
    "weights of another dtype": ("cox", tensor("weights.linear.weight", torch.ones(1, 3).half())),
    "complex weights": ("own", tensor("weights.layers.2.bias", torch.ones(1) * 1j)),
    "weights of another shape": ("cox", tensor("weights.linear.weight", torch.ones(3, 1))),
    "further weights": ("cox", lambda d, t: t.update({"weights.more": torch.ones(1)})),
    "steps of the average": ("weibull", tensor("weights._extra_state", [1, 2])),
    "activation": ("cox", parameter("activation", "Popen")),
    "optimizer": ("cox", parameter("optimizer", "x" * 1000)),
    "option of the optimizer": ("cox", parameter("optimizer__betas", "x")),
    "option of the built-in network": ("cox", parameter("module__width", 3)),
    "option of an own network": ("own", parameter("module__width", "x")),
    "unknown option": ("own", parameter("module__depth", 3)),
    "no network": ("own", parameter("module", None)),
    "a container as network": ("torch", parameter("module", {"torch.nn": "Module"})),
    "dropout": ("cox", parameter("dropout", {"list": []})),
    "sizes": ("cox", parameter("hidden_layer_sizes", {"dict": {"4": 4}})),
    "nested": ("cox", lambda d, t: parameter("activation", nested(450))(d, t)),
}


def nested(depth):
    value = 1.0
    for _ in range(depth):
        value = {"list": [value]}
    return value


@pytest.mark.parametrize(("name", "forge"), CONTENT.values(), ids=CONTENT)
def test_content_that_no_fit_has_left_is_refused(name, forge, forged):
    path = forged(forge, name)
    with pytest.raises(ModelFileError):
        load(path, **AGAIN.get(name, {}))


LARGE = {
    "layers": ("cox", parameter("hidden_layer_sizes", {"tuple": [10**5, 10**5]})),
    "huge layers": ("cox", parameter("hidden_layer_sizes", {"tuple": [10**18, 10**18]})),
    "many layers": ("cox", parameter("hidden_layer_sizes", {"tuple": [1] * 10**5})),
    "features": ("cox", learned(n_features_in_=10**10, feature_names_in_=...)),
    "samples": ("own", learned(input_shape_={"tuple": [10**5, 10**5]}, feature_names_in_=...)),
    "a network of torch": ("torch", parameter("module__out_features", 10**10)),
    "network of layers": ("torch", lambda d, t: layers_of_torch(d)),
    "option of an own network": ("own", parameter("module__width", 10**9)),
    "labels": (
        "strata",
        learned(strata_={"text": {"list": ["x" * 10**5, *map(str, range(10**4))]}}),
    ),
}


def layers_of_torch(document):
    for part in ("parameters", "made_with"):
        document[part].pop("module__in_features")
        document[part].pop("module__out_features")
    for name, value in {
        "module": {"torch.nn": "LSTM"},
        "module__input_size": 3,
        "module__hidden_size": 1,
        "module__num_layers": 10**8,
    }.items():
        parameter(name, value)(document, {})


# A limit of memory beyond which a process gets none.
LIMITED = """
import resource, sys
import tests.unit.test_forged_models as here
model = here.CoxNNRegressor(n_estimators=1, max_epochs=1).fit(here.X, here.Y)
here.save(model, sys.argv[1])  # all is imported
here.load(sys.argv[1])
(taken,) = [int(line.split()[1]) for line in open("/proc/self/status") if "VmSize" in line]
resource.setrlimit(resource.RLIMIT_AS, (taken * 1024 + 2**27,) * 2)
for name, path in zip(sys.argv[2::2], sys.argv[3::2]):
    try:
        here.load(path, **here.AGAIN.get(name, {}))
    except here.ModelFileError as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")
def test_a_small_file_does_not_have_much_memory_taken(forged, tmp_path, forked):
    """Each would take gigabytes if what it says was made before it is compared."""
    told = []
    for number, (name, forge) in enumerate(LARGE.values()):
        path = forged(forge, name).rename(tmp_path / f"{number}")
        told += [name, str(path)]
    run = forked(LIMITED, arguments=[tmp_path / "first", *told])
    assert run.stdout.split() == ["ModelFileError"] * len(LARGE), run.stderr


JUNK = [
    *(None, True, -1, 0, 10**9, 10**400, 1e308, "", "cosine", "array", [], {}, [1], {"list": 3}),
    *({"float": "nan"}, {"float": "1"}, {"tuple": ["x"]}, {"dict": {"a": 1}}, {"array": "none"}),
    *({"torch.nn": "Linear"}, {"torch.optim": "SGD"}, {"device": "cuda:99"}, {"dtype": "int8"}),
    *({"absent": True}, {"text": {"list": ["a"]}}, {"object": {"list": [None]}}, {"text": 1}),
]


def places(value, path=()):
    """All keys and items of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, (dict, list)):
            yield from places(item, (*path, key))


def changed(document, tensors, rng):
    """Change a place of a document, or one of its tensors."""
    if rng.random() < 0.25:
        name = rng.choice(sorted(tensors))
        value = tensors[name]
        tensors[name] = rng.choice(
            [value[:0], value.flatten(), value[None], value.bool(), value.double() - 3]
            if value.ndim
            else [value[None], value.bool(), -value]
        )
        return
    *path, key = rng.choice(list(places(document)))
    parent = document
    for step in path:
        parent = parent[step]
    what = rng.random()
    if what < 0.2:
        del parent[key]
    elif what < 0.3 and isinstance(parent, dict):
        parent[rng.choice(["x", "lr", "module", "module__x", "callbacks__x"])] = parent.pop(key)
    else:
        parent[key] = copy.deepcopy(rng.choice(JUNK))


@pytest.mark.parametrize("seed", range(40))
def test_a_random_forgery_is_refused_or_harmless(seed, files, tmp_path):
    """Whatever is loaded predicts for samples of the width of the fit."""
    rng, path = random.Random(seed), tmp_path / "forged"
    for _ in range(5):
        name = rng.choice(list(MODELS))
        document, tensors = copy.deepcopy(files[name])
        for _ in range(rng.choice([1, 1, 3])):
            changed(document, tensors, rng)
        container.write(path, document, tensors)
        given, refusal = {} if document.get("absent") == {} else AGAIN.get(name, {}), ""
        try:
            loaded = load(path, **given)
        except ModelFileError:
            continue
        except TypeError as error:
            refusal = str(error)
        if refusal:  # the file says that it does not hold a parameter, or that it does
            assert "must be given" in refusal or "must be left out" in refusal
            continue
        # Parameters of today, which are for the next fit, may be anything.
        loaded.set_params(**MODELS[name][0].get_params())
        columns = {"stratum": loaded.strata_[:1].repeat(5)} if has_strata(loaded) else {}
        names = getattr(loaded, "feature_names_in_", None)  # perhaps forged
        rows = X.to_numpy() if names is None else X.set_axis(names, axis=1)
        survival = loaded.predict_survival_function(rows[:5], return_array=True, **columns)
        assert survival.shape == (5, len(loaded.unique_times_))
        assert json.dumps(list(loaded.net_.history[-1:]), default=str)


def has_strata(model):
    return getattr(model, "strata_", None) is not None
