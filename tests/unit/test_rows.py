"""What all rows can do, in whichever way they lie: a new way takes its place in `WAYS`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sksurvtorch._processes import Processes
from sksurvtorch.nets.rows import as_rows
from sksurvtorch.nets.rows.spread import SpreadRows
from sksurvtorch.nets.target import PlainTarget
from tests.contract.stored import Batches, mapped
from tests.contract.stored import Rows as Items

N = 23
X = np.random.default_rng(0).normal(size=(N, 3))
START = 9  # of the rows of the second process


def spread(own, rank):
    """Rows of two processes, as the one of this rank has them."""
    return SpreadRows(own, [START, N - START], Processes(2, rank), in_memory=own.in_memory)


WAYS = {
    "memory": lambda folder: as_rows(X),
    "mapped": lambda folder: as_rows(mapped(X, folder)),
    "mapped by columns": lambda folder: as_rows(mapped(np.asfortranarray(X), folder)),
    "dataset": lambda folder: as_rows(Items(X)),
    "dataset of batches": lambda folder: as_rows(Batches(X)),
    "spread, first process": lambda folder: spread(as_rows(X[:START]), 0),
    "spread, second process": lambda folder: spread(as_rows(mapped(X[START:], folder)), 1),
}


def held(way, rows):
    """Those of some rows that the process has in which the test takes place."""
    if "spread" not in way:
        return rows
    return rows[rows < START] if "first" in way else rows[rows >= START]


@pytest.fixture(params=[False, True], ids=["all", "selected"])
def chosen(request):
    """All rows, or some in an order of their own."""
    return np.array([20, 3, 4, 5, 17, 11, 0, 8, 22]) if request.param else np.arange(N)


@pytest.fixture
def rows(way, chosen, tmp_path):
    made = WAYS[way](tmp_path)
    return made if len(chosen) == N else made.select(torch.from_numpy(chosen))


every_way = pytest.mark.parametrize("way", WAYS)


@every_way
def test_shape_and_size(way, rows, chosen):
    assert len(rows) == len(chosen)
    assert rows.shape == (len(chosen), 3)
    assert rows.dtype == torch.float64
    assert rows.row_bytes == 24
    assert rows.n_held == len(held(way, chosen))
    assert rows.n_in_window(240) == (len(chosen) if rows.in_memory else 10)


@every_way
def test_rows_that_are_asked_for(way, rows, chosen):
    asked = np.array([5, 0, 8, 7])
    expected = X[held(way, chosen[asked])]
    np.testing.assert_array_equal(rows.take(torch.from_numpy(asked)), expected)
    again = rows.select(torch.from_numpy(asked)).select(torch.tensor([3, 1]))
    np.testing.assert_array_equal(again.whole(), X[held(way, chosen[[7, 0]])])


@every_way
@pytest.mark.parametrize("method", ["read", "read_window"])
def test_batches(way, method, rows, chosen):
    batches = [np.array([4, 1, 8]), np.array([], dtype=int), np.array([0, 7])]
    got = list(getattr(rows, method)(map(torch.from_numpy, batches)))
    assert len(got) == 3
    for batch, part in zip(batches, got, strict=True):
        np.testing.assert_array_equal(part, X[held(way, chosen[batch])])
    assert list(getattr(rows, method)([])) == []


@every_way
def test_all_rows(way, rows, chosen):
    expected = X[held(way, chosen)]
    np.testing.assert_array_equal(rows.whole(), expected)
    for size in (4, None):
        pieces = list(rows.pieces(size))
        assert max(map(len, pieces)) <= (size or N)
        np.testing.assert_array_equal(torch.cat(pieces), expected)
    column = torch.arange(float(len(chosen)))
    np.testing.assert_array_equal(torch.from_numpy(X[chosen])[rows.held(column).long()], expected)
    two = X[held(way, np.arange(N))][:2] if "spread" in way else X[chosen[:2]]
    np.testing.assert_array_equal(rows.head(), two)


@every_way
@pytest.mark.parametrize("some", [[0, 2, 5, 8], []], ids=["some", "none"])
def test_copies_in_memory(way, some, rows, chosen):
    copied = rows.select(torch.tensor(some, dtype=torch.int64)).into_memory()
    assert copied.in_memory
    assert len(copied) == len(some)
    np.testing.assert_array_equal(copied.whole(), X[held(way, chosen[some])].reshape(-1, 3))


@every_way
def test_no_rows_are_one_empty_piece(way, tmp_path):
    none = WAYS[way](tmp_path).select(torch.tensor([], dtype=torch.int64))
    (piece,) = none.pieces()
    assert piece.shape == (0, 3)


@every_way
def test_targets_know_where_rows_of_other_processes_are(way, rows, chosen):
    y = PlainTarget({"event": torch.ones(len(chosen)), "time": torch.from_numpy(chosen)})
    marked = rows.mark(y)
    assert marked.n_rows == len(chosen)
    if "spread" not in way:
        assert marked is y
        return
    first = chosen < START
    assert marked.spread.counts == [first.sum(), (~first).sum()]
    gathered = np.concatenate([chosen[first], chosen[~first]])
    np.testing.assert_array_equal(gathered[marked.spread.place], chosen)
    some = marked.take(torch.tensor([8, 0, 1]))
    np.testing.assert_array_equal(some["time"], chosen[[8, 0, 1]])
    gathered = [x for x in chosen[[8, 0, 1]] if x < START] + [
        x for x in chosen[[8, 0, 1]] if x >= START
    ]
    np.testing.assert_array_equal(np.array(gathered)[some.spread.place], chosen[[8, 0, 1]])
