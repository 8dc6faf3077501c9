"""A fit to rows in a file or a dataset does not take the memory that the rows would."""

from __future__ import annotations

import numpy as np
import pytest

from tests.integration.test_memory import pytestmark  # noqa: F401, skips elsewhere

# 300 MB: far more than the window that is shuffled, half of the default, and the pages that may be
# mapped. Of a map in Fortran order these are more, and it has 600 MB and the window of the default.
N, P = 250_000, 300
ROWS = {"C": N, "Fortran": 2 * N}
WINDOW = ", iterator_train__window_bytes=2**26"
FIT = """
import numpy as np, torch
from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.estimators import _linear

_linear._N_EPOCHS = 1  # as much memory as more of them
rng = np.random.default_rng(0)

def target(n):
    y = np.empty(n, dtype=[("event", bool), ("time", float)])
    y["event"], y["time"] = rng.random(n) < 0.5, rng.exponential(size=n)
    return y

class Made(torch.utils.data.Dataset):
    '''Rows that are made when they are asked for.'''

    def __init__(self, n, p):
        self.n = n
        self.table = rng.standard_normal((1009, p), dtype=np.float32)
        self.factor = rng.random((997, 1), dtype=np.float32)

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return self.__getitems__([index])[0]

    def __getitems__(self, indices):
        rows = np.asarray(indices)
        return self.table[rows % 1009] * self.factor[rows % 997]

def extra(X, n):
    '''Return the mebibytes by which a fit and a prediction raise the peak.'''
    model = {model}
    y = target(n)
    weight = {weight}
    small = np.asarray([X[i] for i in range(300)])
    model.fit(small, y[:300], None if weight is None else weight[:300]).predict(small)
    before = peak()
    model.fit(X, y, weight).predict(X)
    return peak() - before
"""
MODEL = "{kind}(max_epochs=1, batch_size=4096, random_state=0{options})"


@pytest.fixture(scope="module")
def path(tmp_path_factory, request):
    """A file of 300 or 600 MB."""
    rows = np.random.default_rng(0).standard_normal((10_000, P), dtype=np.float32)
    path = tmp_path_factory.mktemp("large") / "X.npy"
    columns = request.param == "Fortran"
    n = ROWS[request.param]
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n, P), fortran_order=columns)
    for start in range(0, n, 10_000):
        X[start : start + 10_000] = rows + start / n
    X.flush()
    yield path
    path.unlink()


@pytest.fixture
def share_of_x(printed):
    """A function that returns the memory that a fit takes, in units of X."""

    def share(source, kind, options="", weight="None", n=N):
        options = ", hidden_layer_sizes=(8,)" + (WINDOW if n == N else "") + options
        code = FIT.format(model=MODEL.format(kind=kind, options=options), weight=weight)
        return printed(code + f"print(extra({source}, {n}) / ({n * P * 4} / 2**20))")

    return share


@pytest.mark.parametrize(
    ("path", "kind", "options", "weight"),
    [
        ("C", "CoxNNRegressor", "", "None"),
        # Half of the rows count, and are chosen as early stopping chooses rows.
        ("C", "WeibullAFTRegressor", "", "rng.integers(0, 2, n).astype(float)"),
        # It reads rows in every way in which the others do.
        ("Fortran", "CoxNNRegressor", ", early_stopping=True", "None"),
    ],
    indirect=["path"],
)
def test_a_fit_to_a_memory_map_holds_no_more_than_a_part_of_it(
    kind, options, weight, path, share_of_x
):
    """A copy of X would add 1, and so would its pages if they stayed."""
    n = len(np.load(path, mmap_mode="r"))
    assert share_of_x(f"np.load('{path}', mmap_mode='r')", kind, options, weight, n) < 0.65


def test_so_does_one_to_a_dataset(share_of_x):
    assert share_of_x(f"Made({N}, {P})", "CoxNNRegressor") < 0.45


@pytest.mark.parametrize("kind", ["CoxNNRegressor", "WeibullAFTRegressor"])
def test_a_row_takes_its_target_and_little_more(kind, printed):
    """Bytes for each further row, of which the target that is given, 9, is not counted.

    The network is one's own, for which no part of the rows comes into memory to start from, and the
    window is small, so that all of it is of the row itself.
    """
    options = ", module=torch.nn.Linear(5, 1), iterator_train__window_bytes=2**22"
    code = FIT.format(model=MODEL.format(kind=kind, options=options), weight="None")
    few, many = (printed(code + f"print(extra(Made({n}, 5), {n}))") for n in (10**6, 3 * 10**6))
    assert (many - few) * 2**20 / 2e6 < 65
