"""A checkpoint resumes the training that it is of, and no other one."""

from __future__ import annotations

import io
import shutil
import zipfile

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler
from skorch.dataset import ValidSplit
from sksurv.datasets import load_whas500
from torch import nn

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.exceptions import ModelFileError
from sksurvtorch.nets import MLP, SurvivalNet, TrainingCheckpoint

BASE = {
    "hidden_layer_sizes": (4,),
    "n_estimators": 1,
    "max_epochs": 4,
    "batch_size": 100,
    "random_state": 0,
}
X, Y = load_whas500()
X = X.to_numpy(dtype="float32")
N = len(X)
WEIGHT, ENTRY = np.linspace(1, 2, N), np.zeros(N)
STRATUM = np.arange(N) % 2
COLUMNS = {"sample_weight": WEIGHT, "entry": ENTRY, "stratum": STRATUM}


class Gone(Exception):
    """All is lost but the file."""


class Accident(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise Gone


class Own(nn.Module):
    """Its options do not show in its text."""

    def __init__(self, sign=1):
        super().__init__()
        self.sign, self.layer = sign, nn.Linear(14, 1)

    def forward(self, X):
        return self.sign * self.layer(X)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.pt"


def cut_off(model, path, X=X, y=Y, epoch=2, **columns):
    """Fit until an epoch after which all is lost but the file."""
    others = model.callbacks or []
    model.set_params(callbacks=[TrainingCheckpoint(path), Accident(epoch), *others])
    with pytest.raises(Gone):
        model.fit(X, y, **columns)
    model.set_params(callbacks=[TrainingCheckpoint(path), *others])
    return model


def refused(model, what, *data, **columns):
    with pytest.raises(
        ValueError, match=rf"^`path` must be of this training.* differs in .*{what}"
    ):
        model.fit(*(data or (X, Y)), **columns)


CHANGES = {
    "batch_size": {"batch_size": 32},
    "max_epochs": {"max_epochs": 9},
    "lr": {"lr": 0.1},
    "alpha": {"alpha": 1.0},
    "ties": {"ties": "breslow"},
    "hidden_layer_sizes": {"hidden_layer_sizes": (9,)},
    "optimizer": {"optimizer": "sgd"},
    "optimizer__betas": {"optimizer__betas": (0.8, 0.9)},
    "random_state": {"random_state": 1},
    "activation": {"activation": "tanh"},
    "dropout": {"dropout": 0.2},
    "norm": {"norm": "layer"},
    "lr_schedule": {"lr_schedule": "constant"},
    "early_stopping": {"early_stopping": True},
    "momentum": {"momentum": True},
    "dtype": {"dtype": "float64"},
    "iterator_train__shuffle": {"iterator_train__shuffle": False},
    "module": {"hidden_layer_sizes": (64, 64), "module": nn.Linear(14, 1)},
}


@pytest.mark.parametrize(("name", "options"), CHANGES.items(), ids=CHANGES)
def test_what_shapes_a_training_is_compared_and_named(name, options, path):
    model = cut_off(CoxNNRegressor(**BASE), path)
    before = path.read_bytes()
    refused(model.set_params(**options), name)
    assert path.read_bytes() == before


def test_the_values_that_differ_are_told(path):
    cut_off(CoxNNRegressor(**BASE), path)
    model = CoxNNRegressor(**BASE, activation="tanh", callbacks=[TrainingCheckpoint(path)])
    with pytest.raises(
        ValueError, match=r"activation \('relu' before, 'tanh' now\), the network\. Re"
    ):
        model.fit(X, Y)


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ({"dropout": 0.2}, {"dropout": 0.3}, "dropout"),
        ({"momentum": True}, {"momentum_rate": 0.9}, "momentum_rate"),
        ({"early_stopping": True}, {"n_iter_no_change": 3}, "n_iter_no_change"),
        ({"early_stopping": True}, {"validation_fraction": 0.3}, "validation_fraction"),
        ({"module": Own, "hidden_layer_sizes": (64, 64)}, {"module__sign": -1}, "module__sign"),
        (
            {"lr_schedule": "constant", "callbacks": [LRScheduler("StepLR", step_size=1)]},
            {"callbacks": [LRScheduler("StepLR", step_size=2)]},
            "the callbacks",
        ),
        ({"callbacks": [GradientNormClipping(1.0)]}, {"callbacks": []}, "the callbacks"),
    ],
)
def test_so_are_options_of_options(before, after, name, path):
    model = cut_off(CoxNNRegressor(**BASE | before), path)
    if "callbacks" in after:
        after = {"callbacks": [TrainingCheckpoint(path), *after["callbacks"]]}
    refused(model.set_params(**after), name)


def test_weights_that_a_network_begins_with_are_compared(path):
    torch.manual_seed(0)
    options = {**BASE, "hidden_layer_sizes": (64, 64)}
    model = cut_off(CoxNNRegressor(**options, module=nn.Linear(14, 1)), path)
    refused(model.set_params(module=nn.Linear(14, 1)), "module")


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("change", ["value", "left out"])
def test_what_comes_with_the_rows_is_compared(column, change, path):
    model = cut_off(CoxNNRegressor(**BASE), path, **COLUMNS)
    others = {name: values.copy() for name, values in COLUMNS.items()}
    if change == "value":
        others[column][-1] = 0.5 if column == "entry" else others[column][-1] / 2
    else:
        del others[column]
    refused(model, column, **others)
    model.fit(X, Y, **COLUMNS)


@pytest.mark.parametrize("kind", [CoxNNRegressor, WeibullAFTRegressor])
@pytest.mark.parametrize("name", ["number of rows", "event", "time", "X"])
def test_every_row_is_compared(kind, name, path):
    other, y = X.copy(), Y.copy()
    other[317, [3, 5]] = -1.0, -2.0  # signs, which could cancel each other in a sum
    model = cut_off(kind(**BASE), path, other)
    if name == "number of rows":
        other, y = other[:-1], y[:-1]
    elif name == "X":
        other[317, [3, 5]] = 1.0, 2.0
    else:
        y[y.dtype.names[name == "time"]][7] += 1
        y[y.dtype.names[0]][8] ^= True
    refused(model, name, other, y)


@pytest.mark.parametrize("change", ["row", "column", "order"])
def test_rows_of_a_memory_map_are_compared_and_those_in_memory_with_them(change, path, tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", X.dtype, X.shape)
    mapped[:] = X
    model = cut_off(CoxNNRegressor(**BASE), path, mapped)
    model.fit(X, Y)  # the same rows
    shutil.copy(path, tmp_path / "copy")
    if change == "row":
        mapped[-1] += 1
    elif change == "column":
        mapped[:] = X[:, ::-1]
    else:
        mapped[:] = X[::-1]
    refused(model, "X", mapped, Y)


class Dataset(torch.utils.data.Dataset):
    def __init__(self, X, noise=0.0):
        self.X, self.noise = torch.from_numpy(X), noise
        self.read = 0

    def __len__(self):
        return len(self.X)

    def __getitem__(self, row):
        self.read += 1
        return self.X[row] + self.noise * torch.randn(14)


def test_of_a_dataset_some_rows_are_compared(path):
    options = {**BASE, "hidden_layer_sizes": (64, 64), "module": Own}
    model = cut_off(CoxNNRegressor(**options), path, Dataset(X))
    plain, watched = Dataset(X), Dataset(X)
    model.fit(watched, Y)
    CoxNNRegressor(**options | {"max_epochs": 2}).fit(plain, Y)
    assert watched.read - plain.read < 2 * 256 + 20
    refused(model, "X", Dataset(X + 1), Y)


def test_augmented_rows_are_not_compared(path):
    options = {**BASE, "hidden_layer_sizes": (64, 64), "module": Own}
    model = cut_off(CoxNNRegressor(**options), path, Dataset(X, noise=1.0))
    assert model.fit(Dataset(X, noise=1.0), Y).n_iter_ == 4


class Counted(Callback):
    """Only looks."""

    def on_epoch_end(self, net, **kwargs):
        self.seen_ = len(net.history)


@pytest.mark.parametrize(
    "options",
    [
        {"verbose": 2},
        {"device": torch.device("cpu")},
        {"iterator_train__num_workers": 0},
        {"hidden_layer_sizes": 4, "alpha": 10},
        {"iterator_train__batch_size": 100},
        {"callbacks": [Counted()]},
    ],
)
def test_what_does_not_shape_a_training_may_change(options, path, capsys):
    whole = CoxNNRegressor(**BASE).fit(X, Y)
    model = cut_off(CoxNNRegressor(**BASE), path)
    if "callbacks" in options:
        options = {"callbacks": [TrainingCheckpoint(path), *options["callbacks"]]}
    np.testing.assert_array_equal(
        model.set_params(**options).fit(X, Y).predict(X), whole.predict(X)
    )


def test_a_training_without_a_cosine_may_be_made_longer_and_not_shorter(path):
    options = {**BASE, "lr_schedule": "constant"}
    longer = CoxNNRegressor(**options | {"max_epochs": 6}).fit(X, Y)
    model = CoxNNRegressor(**options, callbacks=[TrainingCheckpoint(path)]).fit(X, Y)
    again = model.set_params(max_epochs=6).fit(X, Y)
    assert again.n_iter_ == 6
    np.testing.assert_array_equal(again.predict(X), longer.predict(X))
    with pytest.raises(ValueError, match=r"^`max_epochs` must be at least 6, .* got 5"):
        model.set_params(max_epochs=5).fit(X, Y)


def test_without_a_random_state_the_seed_is_that_of_the_file(path):
    """The same rows are set aside, and the same units left out."""
    options = {**BASE, "random_state": None, "early_stopping": True, "dropout": 0.3}
    whole = CoxNNRegressor(**options, callbacks=[TrainingCheckpoint(path)]).fit(X, Y)
    shutil.copy(path, path.with_name("whole"))
    path.unlink()
    cut_off(CoxNNRegressor(**options | {"random_state": None}), path)
    named = [("kept", TrainingCheckpoint("elsewhere"))]
    first = CoxNNRegressor(**options, callbacks=named, callbacks__kept__path=path).fit(X, Y)
    again = CoxNNRegressor(**options, callbacks=named, callbacks__kept__path=path).fit(X, Y)
    np.testing.assert_array_equal(first.predict(X), again.predict(X))
    other = CoxNNRegressor(
        **options, callbacks={"kept": TrainingCheckpoint(path.with_name("whole"))}
    )
    np.testing.assert_array_equal(other.fit(X, Y).predict(X), whole.predict(X))


def test_an_instance_of_random_state_resumes_where_it_is_made_anew(path):
    whole = CoxNNRegressor(**BASE | {"random_state": np.random.RandomState(3)}).fit(X, Y)
    model = cut_off(CoxNNRegressor(**BASE | {"random_state": np.random.RandomState(3)}), path)
    refused(model, "random_state")  # it draws another seed
    model.set_params(random_state=np.random.RandomState(3)).fit(X, Y)
    np.testing.assert_array_equal(model.predict(X), whole.predict(X))


def test_a_net_of_ones_own_is_compared_and_keeps_its_parameters(path):
    def net(*callbacks, **options):
        torch.manual_seed(0)
        defaults = {
            "module__n_features": 14,
            "train_split": ValidSplit(5),
            "max_epochs": 3,
            "batch_size": 100,
            "l2": 0.1,
            "verbose": 0,
            "callbacks": list(callbacks),
        }
        return SurvivalNet(MLP, **{**defaults, **options})

    with pytest.raises(Gone):
        net(TrainingCheckpoint(path), Accident(2)).fit(X, Y)
    for name, options in {
        "l2": {"l2": 0.2},
        "batch_size": {"batch_size": 50},
        "the network": {"module__activation": "tanh"},
        "the optimizer": {"optimizer__weight_decay": 0.1},
        "iterator_train__shuffle": {"iterator_train__shuffle": True},
        "train_split": {"train_split": ValidSplit(4)},
        "the criterion": {"criterion__ties": "breslow"},
    }.items():
        with pytest.raises(ValueError, match=rf"differs in .*{name}"):
            net(TrainingCheckpoint(path), **options).fit(X, Y)
    resumed = net(TrainingCheckpoint(path)).fit(X, Y)
    assert len(resumed.history) == 3
    assert resumed.max_epochs == 3


def test_a_file_that_is_cut_short_or_altered_is_refused_by_its_name(path):
    model = cut_off(CoxNNRegressor(**BASE), path)
    whole = path.read_bytes()
    message = rf"^`path` must name a whole file of `TrainingCheckpoint`, got '{path}': "
    for length in [0, 1, 30, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match=message):
            model.fit(X, Y)
    parts = zipfile.ZipFile(io.BytesIO(whole)).infolist()
    for part in parts:  # a bit of each tensor
        content = bytearray(whole)
        content[part.header_offset + 200] ^= 1
        path.write_bytes(content)
        if zipfile.ZipFile(path).testzip() is None:  # it was padding
            continue
        with pytest.raises(ModelFileError, match=message):
            model.fit(X, Y)
    path.write_bytes(whole)
    assert model.fit(X, Y).n_iter_ == 4


OTHERS = {
    "text": b"no checkpoint",
    "zip": None,
    "a number": 3,
    "weights": {"layer.weight": torch.zeros(3)},
    "of 0.1.0": {"kind": {"max_epochs": 3}, "weights": {}, "history": []},
    "parts": {"format": "sksurvtorch training 2", "kind": {}, "weights": {}},
    "code": nn.Linear(1, 1),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_file_of_another_kind_is_refused_by_its_name(what, path):
    if isinstance(OTHERS[what], bytes):
        path.write_bytes(OTHERS[what])
    elif OTHERS[what] is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("name", "content")
    else:
        torch.save(OTHERS[what], path)
    model = CoxNNRegressor(**BASE, callbacks=[TrainingCheckpoint(path)])
    with pytest.raises(
        ModelFileError, match=rf"whole file of `TrainingCheckpoint`, got '{path}': it"
    ):
        model.fit(X, Y)


def changed(state, forge):
    forge(state)
    return state


FORGERIES = {
    "no weights": lambda state: state.pop("weights"),
    "other weights": lambda state: state["weights"].popitem(),
    "weights as numbers": lambda state: state.update(weights={"a": 3}),
    "history": lambda state: state.update(history=[3]),
    "streams": lambda state: state.update(streams=[[torch.zeros(3)]]),
    "stream": lambda state: state.update(streams=[3]),
    "generator": lambda state: state.update(generator={"bit_generator": "x"}),
    "optimizer": lambda state: state.update(optimizer={}),
    "groups": lambda state: state["optimizer"].update(param_groups=[]),
    "callbacks": lambda state: state.update(callbacks={"lr_schedule": {"lr_scheduler_": 3}}),
    "kind": lambda state: state.update(kind=[]),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_file_is_refused(forge, path):
    model = cut_off(CoxNNRegressor(**BASE, dropout=0.1), path)
    torch.save(changed(torch.load(path, weights_only=True), forge), path)
    with pytest.raises(ModelFileError, match="whole file of `TrainingCheckpoint`"):
        model.fit(X, Y)


def test_a_compressed_file_is_refused(path, tmp_path):
    """It could be a thousand times as large as it looks."""
    model = cut_off(CoxNNRegressor(**BASE), path)
    with (
        zipfile.ZipFile(path) as old,
        zipfile.ZipFile(tmp_path / "new", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.infolist():
            new.writestr(part.filename, old.read(part))
    shutil.move(tmp_path / "new", path)
    with pytest.raises(ModelFileError, match="whole file of `TrainingCheckpoint`"):
        model.fit(X, Y)
