"""X in a file or a dataset: the fit is that of the array, and windows take the rows by turns."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
import torch
from sksurv.util import Surv
from torch import nn
from torch.utils.data import IterableDataset, Subset

from sksurvtorch import CoxNNRegressor
from sksurvtorch.exceptions import PrecisionWarning
from sksurvtorch.losses import WeibullAFTLoss
from sksurvtorch.nets import MLP, SurvivalNet, survival_target
from sksurvtorch.nets.rows import base
from sksurvtorch.nets.rows import mapped as mapped_module
from sksurvtorch.nets.rows.mapped import MappedRows
from tests.contract.stored import Batches, Rows, both, mapped, small

N, TIMES = 150, [0.1, 0.5, 1.0]


@pytest.fixture(scope="module")
def patients():
    """Features that are whole numbers, which any dtype holds; tied times; entries, strata..."""
    rng = np.random.default_rng(0)
    X = rng.integers(-5, 6, size=(N, 4)).astype(float)
    time = rng.exponential(np.exp(-X[:, 0] / 3))
    censoring = rng.exponential(2.0, N)
    observed = np.ceil(np.minimum(time, censoring) * 20) / 20
    columns = {
        "sample_weight": rng.integers(0, 3, N) / 2,
        "entry": observed * rng.random(N) * 0.9,
        "stratum": rng.choice(["a", "b", "c"], N),
    }
    return X, Surv.from_arrays(time <= censoring, observed), columns


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    """What is looked at piece by piece comes in several pieces."""
    monkeypatch.setattr(base, "_AT_ONCE", 32)


class Lists(Rows):
    """The same, but the rows of a batch come as a list."""

    def __getitems__(self, indices):
        return [self.X[index] for index in indices]


MAPS = {
    "float64": mapped,
    "float32": lambda X, folder: mapped(X.astype(np.float32), folder),
    "int16": lambda X, folder: mapped(X.astype(np.int16), folder),
    "other byte order": lambda X, folder: mapped(X.astype(X.dtype.newbyteorder()), folder),
    "Fortran": lambda X, folder: mapped(X, folder, fortran_order=True),
    "columns": lambda X, folder: mapped(np.hstack([X + 1, X]), folder)[:, 4:],
    "every other row": lambda X, folder: mapped(np.repeat(X, 2, axis=0), folder)[::2],
    "array on a map": lambda X, folder: np.asarray(mapped(X, folder)),
    "r+": lambda X, folder: mapped(X, folder, "r+"),
    "c": lambda X, folder: mapped(X, folder, "c"),
}
DATASETS = {
    "rows": lambda X, folder: Rows(X),
    "tensors": lambda X, folder: Rows(torch.from_numpy(X).float()),
    "batches": lambda X, folder: Batches(X.astype(np.int64)),
    "tensor batches": lambda X, folder: Batches(torch.from_numpy(X)),
    "lists": lambda X, folder: Lists(X),
    "subset": lambda X, folder: Subset(Rows(np.vstack([X + 1, X])), range(len(X), 2 * len(X))),
}
SOURCES = MAPS | DATASETS
one_of_each = pytest.mark.parametrize("source", ["float64", "batches"])


def own_columns(kind, columns, names):
    return {k: columns[k] for k in names if k != "stratum" or kind is CoxNNRegressor}


def everything(model, X, y, columns):
    """Scores, survival and concordance."""
    of_rows = {name: columns[name] for name in ("stratum",) if name in columns}
    survival = model.predict_survival_function(X, times=TIMES, **of_rows)
    return np.hstack([model.predict(X), survival.ravel(), model.score(X, y)])


@pytest.fixture(scope="module")
def once():
    """A function that computes what has a name once: fits in memory, for several sources."""
    known = {}

    def computed(name, compute):
        if name not in known:
            known[name] = compute()
        return known[name]

    return computed


@pytest.fixture
def assert_same_fit(once, patients, tmp_path):
    """Fits to X in memory and in store are one, and so are their predictions for either."""

    def compared(kind, source, names=(), atol=1e-9, **parameters):
        X, y, columns = patients
        columns = own_columns(kind, columns, names)

        def in_memory():
            model = small(kind, **parameters).fit(X.copy(), y, **columns)
            return model.n_iter_, everything(model, X.copy(), y, columns)

        n_iter, expected = once(f"{kind} {names} {parameters}", in_memory)
        stored = SOURCES[source](X, tmp_path)
        ours = small(kind, **parameters).fit(stored, y, **columns)
        assert ours.n_iter_ == n_iter
        assert np.ptp(expected[:N]) > 0.1
        for at in (stored, X.copy()):
            np.testing.assert_allclose(
                everything(ours, at, y, columns), expected, rtol=0, atol=atol
            )

    return compared


@both
@pytest.mark.parametrize("source", SOURCES)
def test_the_fit_is_that_of_the_array(kind, source, assert_same_fit):
    assert_same_fit(kind, source)


OPTIONS = [
    {"early_stopping": True, "max_epochs": 8, "n_iter_no_change": 2, "lr": 0.1},
    {"momentum": True, "batch_size": 20},
    {"momentum": True, "early_stopping": True},
    {"batch_size": None},
    {"hidden_layer_sizes": ()},
    {"hidden_layer_sizes": (), "optimizer": "lbfgs"},
    {"norm": "batch", "dropout": 0.2},
    {"module": nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))},
]


@both
@one_of_each
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_so_it_is_with_every_option(kind, source, options, assert_same_fit):
    assert_same_fit(kind, source, **options)


@both
@one_of_each
def test_so_it_is_with_an_optimizer_that_stops_by_itself(kind, source, assert_same_fit):
    # Where L-BFGS stops on a network's loss depends on the last digits of its steps.
    options = {"optimizer": "lbfgs", "max_epochs": 10, "alpha": 10.0}
    assert_same_fit(kind, source, atol=1e-4, **options)


@both
@one_of_each
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    "names", [["sample_weight"], ["entry"], ["stratum"], ["sample_weight", "entry", "stratum"]]
)
def test_so_it_is_with_further_columns(kind, source, early_stopping, names, assert_same_fit):
    assert_same_fit(kind, source, names, early_stopping=early_stopping)


class Signed(Rows):
    """A dataset that leaves a file of the name of each process that reads."""

    def __init__(self, X, folder):
        super().__init__(X)
        self.folder = folder

    def __getitem__(self, index):
        (self.folder / str(os.getpid())).touch()
        return super().__getitem__(index)


@both
def test_so_it_is_where_another_process_reads(kind, assert_same_fit, patients, tmp_path):
    assert_same_fit(kind, "rows", iterator_train__num_workers=1)
    X, y, _ = patients
    small(kind, iterator_train__num_workers=1, max_epochs=1).fit(Signed(X, tmp_path), y)
    # This one, and that of the epoch; few rows are predicted at once.
    assert len(list(tmp_path.iterdir())) == 2


@both
@one_of_each
def test_in_single_precision_the_fits_are_close(kind, source, assert_same_fit):
    # Other sums of 40 float32 numbers in each of 12 steps.
    assert_same_fit(kind, source, dtype="float32", atol=1e-4)


@both
@one_of_each
def test_a_training_goes_on_with_stored_rows(kind, source, patients, tmp_path):
    X, y, _ = patients
    stored = SOURCES[source](X, tmp_path)
    ours, expected = small(kind, warm_start=True), small(kind, warm_start=True)
    for model, at in ((ours, stored), (expected, X)):
        model.partial_fit(at, y).partial_fit(at, y).fit(at, y)
    assert ours.n_iter_ == 5
    np.testing.assert_allclose(ours.predict(stored), expected.predict(X), rtol=0, atol=1e-9)


@both
@one_of_each
@pytest.mark.parametrize("batch_size", [40, None])
def test_rows_may_have_axes(kind, source, batch_size, patients, tmp_path):
    X, y, _ = patients
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    options = {"module": module, "batch_size": batch_size}
    squares = X.reshape(-1, 2, 2)
    ours = small(kind, **options).fit(SOURCES[source](squares, tmp_path), y)
    assert ours.input_shape_ == (2, 2)
    expected = small(kind, **options).fit(squares, y)
    predicted = ours.predict(SOURCES[source](squares, tmp_path))
    np.testing.assert_allclose(predicted, expected.predict(squares), rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match=r"must have shape \(2, 2\), as in `fit`, got \(4,\)"):
        ours.predict(SOURCES[source](X, tmp_path))


class Halving(nn.Module):
    """A linear model of half its input, which it may write to."""

    def __init__(self, in_place):
        super().__init__()
        self.linear = nn.Linear(4, 1)
        self.in_place = in_place

    def forward(self, X):
        return self.linear(X.mul_(0.5) if self.in_place else X * 0.5)


# L-BFGS is cut short here.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@both
@pytest.mark.parametrize(
    "options", [{"batch_size": 40}, {"batch_size": None}, {"optimizer": "lbfgs", "max_epochs": 2}]
)
@pytest.mark.parametrize("source", ["memory", "float64", "r+", "c", "rows", "batches"])
def test_a_network_may_write_to_its_input(kind, source, options, once, patients, tmp_path):
    X, y, _ = patients
    stored = X.copy() if source == "memory" else SOURCES[source](X, tmp_path)
    options = {"module": Halving, **options}
    reading = small(kind, module__in_place=False, **options)
    expected = once(f"{kind} {options}", lambda: reading.fit(X, y).predict(X))
    ours = small(kind, module__in_place=True, **options).fit(stored, y).predict(stored)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)
    held = stored.X if isinstance(stored, Rows) else stored
    np.testing.assert_array_equal(held, X)


@both
@pytest.mark.parametrize("source", ["float64", "r+", "c", "Fortran"])
def test_pages_are_given_back_and_changes_of_a_private_map_stay(
    kind, source, patients, tmp_path, monkeypatch
):
    X, y, _ = patients
    monkeypatch.setattr(mapped_module, "_RESIDENT", 0)
    stored = SOURCES[source](X, tmp_path)
    if source in ("r+", "c"):
        X = X + 1
        stored += 1
    small(kind).fit(stored, y).predict(stored)
    np.testing.assert_array_equal(stored, X)


@both
@pytest.mark.parametrize("source", ["float64", "rows", "batches"])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_global_random_states_stay(kind, source, num_workers, patients, tmp_path):
    X, y, _ = patients
    stored = SOURCES[source](X, tmp_path)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    options = {"iterator_train__num_workers": num_workers, "early_stopping": True, "dropout": 0.1}
    small(kind, **options).fit(stored, y).predict(stored)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_a_mapped_subset_is_where_it_was(patients, tmp_path):
    X, _, _ = patients
    rows = MappedRows(mapped(X, tmp_path), torch.float64)
    some = rows.select(torch.tensor([5, 3, 140])).select(torch.tensor([2, 0]))
    assert some.shape == (2, 4)
    np.testing.assert_array_equal(some.whole().numpy(), X[[140, 5]])
    assert some.array is rows.array


# What cannot be.


def damaged(source, X, folder):
    X = X.copy()
    X[77, 2] = np.nan
    return MAPS["float64"](X, folder) if source == "float64" else Batches(X)


@both
@one_of_each
@pytest.mark.parametrize(
    "options", [{}, {"batch_size": None}, {"module": nn.Linear(4, 1)}], ids=str
)
def test_a_missing_value_is_found_wherever_it_is(kind, source, options, patients, tmp_path):
    X, y, _ = patients
    stored = damaged(source, X, tmp_path)
    with pytest.raises(ValueError, match=r"^Input X contains NaN\.$"):
        small(kind, **options).fit(stored, y)
    model = small(kind, **options).fit(X, y)
    for call in (model.predict, lambda X: model.partial_fit(X, y), lambda X: model.score(X, y)):
        with pytest.raises(ValueError, match=r"^Input X contains NaN\.$"):
            call(stored)


# numpy warns where it finds infinity, in an array too.
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_value_that_is_too_large_is_found(patients):
    X, y, _ = patients
    with pytest.raises(ValueError, match=r"infinity or a value too large for dtype\('float32'\)"):
        CoxNNRegressor().fit(Rows(X * 1e100), y)


class Pairs(Rows):
    def __getitem__(self, index):
        return self.X[index], True


class Named(Rows):
    def __getitem__(self, index):
        return {"x": self.X[index]}


class PairOfBatches(Rows):
    def __getitems__(self, indices):
        return self.X[indices], np.ones(len(indices), bool)


class NamedBatches(Rows):
    def __getitems__(self, indices):
        return {"x": self.X[indices]}


@both
@pytest.mark.parametrize(
    ("dataset", "got"),
    [(Pairs, "tuple"), (Named, "dict"), (PairOfBatches, "tuple"), (NamedBatches, "dict")],
)
def test_items_must_be_features_alone(kind, dataset, got, patients):
    X, y, _ = patients
    model = small(kind).fit(X, y)
    for call in (lambda X: small(kind).fit(X, y), model.predict):
        with pytest.raises(TypeError, match=rf"the features of a sample, got {got}\. Event and"):
            call(dataset(X))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(np.zeros((10, 4)))


class StreamOfLength(Stream):
    def __len__(self):
        return 10


@pytest.mark.parametrize("dataset", [Stream, StreamOfLength])
def test_a_stream_cannot_be_shuffled(dataset, patients):
    sentence = f"X must be a dataset with `__len__` and `__getitem__`, got {dataset.__name__}. Each"
    with pytest.raises(TypeError, match=re.escape(sentence)):
        CoxNNRegressor().fit(dataset(), patients[1][:10])


class Short(Rows):
    """Leaves rows out that it was asked for."""

    def __getitems__(self, indices):
        return self.X[[index for index in indices if index != 77]]


@both
def test_a_dataset_must_return_each_row_it_is_asked_for(kind, patients):
    X, y, _ = patients
    model = small(kind).fit(X, y)
    for call in (lambda X: small(kind).fit(X, y), model.predict):
        with pytest.raises(ValueError, match=r"must have the shape \(\d+, 4\), got \(\d+, 4\)"):
            call(Short(X))


@both
@one_of_each
def test_errors_are_those_of_an_array(kind, source, patients, tmp_path):
    X, y, _ = patients
    model = small(kind).fit(X, y)
    with pytest.raises(ValueError, match=r"X has 3 features, but \w+ is expecting 4 features"):
        model.predict(SOURCES[source](X[:, :3], tmp_path))
    stored = SOURCES[source](X, tmp_path)
    with pytest.raises(ValueError, match=r"`y` must have one row for each of X, 150, got 149\."):
        small(kind).fit(stored, y[:-1])
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(149,\), expected \(150,\)"):
        model.score(stored, y, np.ones(149))
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array instead"):
        small(kind).fit(SOURCES[source](X[:, 0], tmp_path), y)
    with pytest.raises(ValueError, match="Found array with dim 3"):
        small(kind).fit(SOURCES[source](X[:, None], tmp_path), y)
    with pytest.raises(ValueError, match=r"at least 2 samples to fit, got n_samples = 1"):
        small(kind).fit(SOURCES[source](X[:1], tmp_path), y[:1])


def test_an_empty_dataset_is_refused(patients):
    X, y, _ = patients
    with pytest.raises(ValueError, match=r"^X must have rows, got a dataset of length 0\.$"):
        CoxNNRegressor().fit(Rows(X[:0]), y[:0])


@pytest.mark.parametrize("source", ["float64", "rows"])
def test_columns_that_float32_rounds_away_are_told(source, patients, tmp_path):
    X, y, _ = patients
    X = X.copy()
    X[:, 1] = 1e4 + X[:, 1] / 100  # float32 holds steps of a thousandth there
    X[:, 3] = 1e9 + X[:, 3]  # and of 64 here: nothing is left
    sentence = r"^2 columns of X \(the first is number 1\) vary so little"
    with pytest.warns(PrecisionWarning, match=sentence):
        small(CoxNNRegressor, dtype="float32").fit(SOURCES[source](X, tmp_path), y)
    small(CoxNNRegressor).fit(SOURCES[source](X, tmp_path), y)


def test_a_dataset_of_complex_rows_is_refused(patients):
    X, y = patients[:2]
    rows = torch.as_tensor(np.asarray(X, dtype=float)).to(torch.complex64)
    with pytest.raises(ValueError, match=r"X must be real, got a dataset of torch\.complex64"):
        CoxNNRegressor(max_epochs=1).fit(Subset(rows, range(len(rows))), y)


# skorch.


@one_of_each
@pytest.mark.parametrize("loss", ["cox", "weibull"])
@pytest.mark.parametrize("split", ["default", None])
def test_a_skorch_net_takes_them_too(source, loss, split, patients, tmp_path):
    X, y, columns = patients
    X = X.astype(np.float32)
    y = survival_target(y, weight=columns["sample_weight"])
    stored = mapped(X, tmp_path) if source == "float64" else Batches(X)
    options = {} if split == "default" else {"train_split": None}
    if loss == "weibull":
        options["criterion"] = WeibullAFTLoss
    nets = []
    for x in (torch.from_numpy(X), stored):
        torch.manual_seed(0)
        net = SurvivalNet(
            MLP,
            module__n_features=4,
            module__n_outputs=1,
            optimizer=torch.optim.Adam,
            lr=0.01,
            max_epochs=3,
            batch_size=50,
            iterator_train__shuffle=True,
            iterator_train__generator=np.random.default_rng(0),
            verbose=0,
            **options,
        )
        nets.append(net.fit(x, y))
        net.partial_fit(x, y)
    expected, ours = (net.predict(x) for net, x in zip(nets, (X, stored), strict=True))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)  # float32, 12 steps
    assert np.ptp(expected) > 0.1
    loss_name = "valid_loss" if split == "default" else "train_loss"
    losses = [net.history[:, loss_name] for net in nets]
    np.testing.assert_allclose(*losses, rtol=1e-4)
