"""Batches of rows that are stored: in which order they are read and dealt."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from sksurv.util import Surv
from torch import nn
from torch.utils.data import Dataset

from sksurvtorch import CoxNNRegressor
from sksurvtorch.estimators import _linear
from sksurvtorch.exceptions import SkippedBatchWarning
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.loader import BatchLoader
from sksurvtorch.nets.rows import as_rows
from sksurvtorch.nets.target import PlainTarget, UnsortedTarget
from tests.contract.stored import Batches, Rows, both, mapped, small

MIB = 2**20


class Numbers(Dataset):
    """Rows of 1 KiB that hold their number."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return np.full(256, index, dtype=np.float32)

    def __getitems__(self, indices):
        return np.repeat(np.asarray(indices, dtype=np.float32)[:, None], 256, axis=1)


def cox_target(event):
    time = torch.arange(float(len(event))) % 97
    return UnsortedTarget({"event": torch.from_numpy(event), "time": time}, "efron")


def plain_target(event):
    time = torch.arange(float(len(event))) % 97
    return PlainTarget({"event": torch.from_numpy(event), "time": time})


def windowed(target, n=10_000, batch_size=300, window=2 * MIB, event=None, seed=0, **options):
    """A loader of numbered rows, of which a window holds 2,048 and a block 256."""
    event = np.arange(n) % 5 == 0 if event is None else event
    dataset = SurvivalDataset(as_rows(Numbers(n)), target(event))
    options = {"shuffle": True, "generator": np.random.default_rng(seed)} | options
    return BatchLoader(dataset, batch_size, window_bytes=window, **options)


class Noted(Numbers):
    """The same, noting what it is asked for."""

    def __init__(self, n):
        super().__init__(n)
        self.asked = []

    def __getitems__(self, indices):
        self.asked.extend(indices)
        return super().__getitems__(indices)


class Augmented(Dataset):
    """Rows of random numbers."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return torch.rand(1)


def numbers(batches):
    return [X[:, 0].long().numpy() for X, _ in batches]


either_target = pytest.mark.parametrize("target", [cox_target, plain_target])


@either_target
@pytest.mark.parametrize("num_workers", [0, 1])
def test_each_row_comes_once_an_epoch_with_its_target(target, num_workers):
    loader = windowed(target, num_workers=num_workers)
    for _ in range(2):
        batches = list(loader)
        rows = np.concatenate(numbers(batches))
        np.testing.assert_array_equal(np.sort(rows), np.arange(10_000))
        for name, expected in (("time", rows % 97), ("event", rows % 5 == 0)):
            got = torch.cat([y[name] for _, y in batches])
            np.testing.assert_array_equal(got.numpy(), expected)
        sizes = [len(X) for X, _ in batches]
        assert len(sizes) == len(loader) == 34
        assert max(sizes) - min(sizes) == 1


@either_target
def test_events_are_spread_over_the_batches_of_a_window(target):
    # Rare where the file begins, frequent where it ends.
    event = np.random.default_rng(0).random(10_000) < np.arange(10_000) / 10_000
    loader = windowed(target, event=event, seed=1)
    counts = [int(y["event"].sum()) for _, y in loader]
    per_window = 2048 * 34 // 10_000
    for first in range(0, len(counts), per_window):
        assert np.ptp(counts[first : first + per_window]) <= 3
    assert np.ptp(counts) > 50


@either_target
def test_windows_are_of_neighbours_in_random_order(target):
    loader = windowed(target, n=40_000)
    epochs = [numbers(loader) for _ in range(2)]
    per_window = 2048 * len(loader) // 40_000
    for batches in epochs:
        windows = [
            np.concatenate(batches[k : k + per_window]) for k in range(0, len(loader), per_window)
        ]
        for rows in windows:
            # Up to eight blocks, of which some may be neighbours.
            assert 1 <= np.sum(np.diff(np.sort(rows)) > 1) <= 7
        assert np.ptp([rows.mean() for rows in windows]) > 5_000
        distances = np.abs(np.diff([np.median(rows) for rows in windows]))
        assert np.median(distances) > 2_000, "blocks that follow each other lie together"
        # Within a window a batch has rows of each block, in no order of the file.
        for batch in batches[:per_window]:
            assert np.ptp(batch) > 0.8 * np.ptp(windows[0])
    assert Counter(map(frozenset, epochs[0])) != Counter(map(frozenset, epochs[1]))
    first_blocks = [{row // 1000 for row in batches[0]} for batches in epochs]
    assert first_blocks[0] != first_blocks[1]


@either_target
def test_a_window_that_holds_all_rows_shuffles_them_all(target):
    for batch in numbers(windowed(target, window=64 * MIB)):
        assert np.ptp(batch) > 9_000


@either_target
def test_a_window_below_a_batch_is_a_batch(target):
    loader = windowed(target, window=1)
    rows = numbers(loader)
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(10_000))
    assert len(rows) == len(loader)


@either_target
def test_without_shuffling_rows_come_as_they_lie(target):
    batches = list(windowed(target, shuffle=False))
    np.testing.assert_array_equal(np.concatenate(numbers(batches)), np.arange(10_000))
    time = torch.cat([y["time"] for _, y in batches]).numpy()
    np.testing.assert_array_equal(time, np.arange(10_000) % 97)


@either_target
def test_equal_generators_draw_equal_epochs(target):
    one, other = (windowed(target, seed=3) for _ in range(2))
    for _ in range(2):
        for a, b in zip(numbers(one), numbers(other), strict=True):
            np.testing.assert_array_equal(a, b)


def wide(n=640, seed=0):
    """Rows of 1 KiB, 128 of them in a window. Events are in the first half only."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 256), dtype=np.float32)
    time = rng.exponential(np.exp(-X[:, 0]))
    return X, Surv.from_arrays(np.arange(n) < n // 2, time)


class First(nn.Module):
    """A linear model of the first columns."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 1)

    def forward(self, X):
        return self.linear(X[:, :8])


WINDOWS = {"module": First, "iterator_train__window_bytes": MIB // 8, "dtype": "float32", "lr": 0.1}


@both
@pytest.mark.parametrize("source", ["float32", "batches of float32"])
def test_equal_random_states_give_equal_fits_by_windows(kind, source, tmp_path):
    X, y = wide()
    y["event"] = True
    stored = mapped(X, tmp_path) if source == "float32" else Batches(X)
    options = {**WINDOWS, "batch_size": 64, "max_epochs": 4}
    fits = [small(kind, **options, random_state=seed).fit(stored, y) for seed in (0, 0, 1)]
    one, same, other = (model.predict(stored) for model in fits)
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    assert fits[0].score(stored, y) > 0.7


def test_batches_of_windows_without_events_are_skipped_and_counted(tmp_path):
    X, y = wide()
    # 5 windows of 4 batches; the second half of the rows has no event.
    options = {**WINDOWS, "batch_size": 32, "max_epochs": 1, "iterator_train__shuffle": False}
    with pytest.warns(SkippedBatchWarning, match=r"left out of the fit, 10 in all"):
        model = small(CoxNNRegressor, **options).fit(mapped(X, tmp_path), y)
    assert model.net_.history[-1, "train_batch_count"] == 10


ASKED: list[int] = []


class Watched(Batches):
    """A dataset that notes which rows it is asked for."""

    def __getitems__(self, indices):
        ASKED.extend(indices)
        return super().__getitems__(indices)


class Epoch(Callback):
    """Keeps which rows were asked for in the last epoch."""

    def on_epoch_begin(self, net, **kwargs):
        ASKED.clear()

    def on_epoch_end(self, net, **kwargs):
        self.asked_ = ASKED.copy()


@both
def test_early_stopping_reads_neighbouring_rows_together(kind):
    """What is set aside leaves the others as they lie, rather than in order of time."""
    X, y = wide()
    y["event"] = True
    options = {**WINDOWS, "batch_size": 40, "max_epochs": 1, "early_stopping": True}
    model = small(kind, callbacks=[("epoch", Epoch())], **options).fit(Watched(X), y)
    train, valid = np.split(dict(model.net_.callbacks_)["epoch"].asked_, [512])
    assert set(train) | set(valid) == set(range(640))
    for start in range(0, 4 * 118, 118):  # windows of three batches, of nine or ten blocks
        window = np.sort(train[start : start + 118])
        assert np.sum(np.diff(window) > 3) < 12


@both
def test_the_linear_start_is_that_of_a_window_of_the_size_asked_for(kind, monkeypatch):
    X, y = wide()
    y["event"] = True
    monkeypatch.setattr(_linear, "_AT_ONCE", 32)
    started_with = []
    sample = _linear.sample

    def spy(*args):
        started_with.append(len(rows := sample(*args)))
        return rows

    monkeypatch.setattr(_linear, "sample", spy)
    for window in ({"iterator_train__window_bytes": MIB // 8}, {}):
        options = {"hidden_layer_sizes": (2,), "dtype": "float32", "max_epochs": 1}
        kind(**options, **window, random_state=0).fit(Rows(X), y)
    assert started_with == [128, 640]


@both
def test_a_window_of_a_dataset_is_read_in_the_order_of_the_file(kind):
    """A file may hold rows in groups that are read as a whole."""
    X, y = wide()
    y["event"] = True
    options = {**WINDOWS, "batch_size": 32, "max_epochs": 1}
    model = small(kind, callbacks=[("epoch", Epoch())], **options).fit(Watched(X), y)
    asked = np.reshape(dict(model.net_.callbacks_)["epoch"].asked_, (5, 128))
    assert (np.diff(asked) > 0).all()


def test_blocks_are_the_groups_of_a_file_if_they_have_their_size():
    loader = windowed(cox_target, block_bytes=1000 * 1024)
    per_window = 2048 * len(loader) // 10_000
    batches = numbers(loader)
    windows = [
        np.unique(np.concatenate(batches[k : k + per_window]) // 1000)
        for k in range(0, len(batches), per_window)
    ]
    # Each group is in one window, or in two if the end of a window cuts it.
    assert sum(map(len, windows)) <= 10 + len(windows) - 1


def test_windows_stay_apart_where_batches_are_skipped():
    """Each would be read with a part of the next one, and most groups twice."""
    event = np.arange(10_000) % 500 == 0  # 20 of them in 34 batches
    dataset = SurvivalDataset(as_rows(numbered := Noted(10_000)), cox_target(event))
    generator = np.random.default_rng(0)
    options = {"window_bytes": 2 * MIB, "block_bytes": 100 * 1024, "generator": generator}
    loader = BatchLoader(dataset, 300, shuffle=True, **options)
    numbered.asked.clear()
    n_read = sum(map(len, numbers(loader)))
    assert loader.n_skipped > 5
    assert len(numbered.asked) == n_read
    starts = np.flatnonzero(np.diff(numbered.asked) < 0)
    assert len(starts) == 5, "each of the six windows is read once, as it lies"


@pytest.mark.parametrize("name", ["window_bytes", "block_bytes"])
def test_sizes_that_make_no_sense_are_refused(name, tmp_path):
    X, y = wide()
    model = small(CoxNNRegressor, **{f"iterator_train__{name}": 0})
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
        model.fit(mapped(X, tmp_path), y)


@pytest.mark.parametrize("shuffle", [True, False])
def test_workers_draw_other_random_numbers_in_each_epoch(shuffle):
    dataset = SurvivalDataset(as_rows(Augmented()), plain_target(np.ones(20, dtype=bool)))
    epochs = []
    for seed in (0, 0, 1):
        generator = np.random.default_rng(seed)
        loader = BatchLoader(dataset, 8, shuffle=shuffle, generator=generator, num_workers=1)
        epochs.append([torch.cat([X for X, _ in loader]).tolist() for _ in range(2)])
    first, same, other = epochs
    assert first == same
    assert first[0] != first[1]
    assert first[0] != other[0]


@either_target
def test_a_batch_size_that_changes_counts_from_the_next_epoch_on(target):
    event = np.arange(256) % 2 == 0
    dataset = SurvivalDataset(as_rows(torch.zeros(256, 1)), target(event))
    loader = BatchLoader(dataset, 64, shuffle=True)
    counts = [len(list(loader)) for _ in range(3)]
    loader.batch_size = 128
    assert [*counts, len(list(loader))] == [4, 4, 4, 2]


def test_a_small_window_is_shuffled_by_blocks_too():
    """A block of the size of the window would be read in the order of the file."""
    epochs = [numbers(windowed(cox_target, window=MIB // 4, batch_size=64, seed=k)) for k in (0, 1)]
    for batches in epochs:
        window = np.concatenate(batches[: 256 * len(batches) // 10_000])
        assert np.ptp(window) > 2_000
