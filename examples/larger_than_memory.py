"""
Data that are larger than memory: Parquet and .npy
==================================================

Rows can stay in their file. Here they are written to a Parquet file, which a small torch dataset
reads by groups of rows, and to a `.npy` file, which is memory-mapped. One epoch is trained with
each, and with the same array in memory, and the peaks of memory are compared.

Needs ``pip install pyarrow``. The script takes the number of rows as an argument; the default is a
million.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sksurv.util import Surv
from torch.utils.data import Dataset, Subset

from sksurvtorch import CoxNNRegressor

N_FEATURES, GROUP, N_TEST = 100, 10_000, 20_000


def write_parquet(path, n):
    """Write features, event and time, some rows at a time."""
    rng = np.random.default_rng(0)
    slope = rng.normal(size=N_FEATURES) / N_FEATURES**0.5
    names = [f"x{k}" for k in range(N_FEATURES)]
    fields = [(name, pa.float32()) for name in names]
    schema = pa.schema([*fields, ("event", pa.bool_()), ("time", pa.float64())])
    with pq.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer:
        for start in range(0, n, GROUP):
            X = rng.standard_normal((min(GROUP, n - start), N_FEATURES), dtype=np.float32)
            hazard = np.exp(X @ slope + X[:, 0] * X[:, 1] / 2)
            death, censoring = rng.exponential(size=(2, len(X))) / [hazard, np.ones(len(X))]
            columns = [*X.T.copy(), death <= censoring, np.minimum(death, censoring)]
            writer.write_table(pa.table(columns, schema=schema))


class ParquetRows(Dataset):
    """Features in a Parquet file; the two groups of rows that were read last are kept."""

    def __init__(self, path):
        self.file = pq.ParquetFile(path)
        self.names = [name for name in self.file.schema_arrow.names if name.startswith("x")]
        self.read_group = lru_cache(2)(self.read_group)

    def read_group(self, group):
        """Return the features of a group of rows."""
        table = self.file.read_row_group(group, self.names, use_threads=False)
        return np.column_stack([column.to_numpy() for column in table.columns])

    def __len__(self):
        return self.file.metadata.num_rows

    def __getitem__(self, index):
        return self.__getitems__([index])[0]

    def __getitems__(self, indices):
        """Return some rows as one array."""
        group, row = np.divmod(indices, GROUP)
        X = np.empty((len(row), len(self.names)), np.float32)
        for k in np.unique(group):
            X[group == k] = self.read_group(k)[row[group == k]]
        return X


def write_npy(parquet, path):
    """Copy the features into a .npy file, some rows at a time."""
    file = pq.ParquetFile(parquet)
    X = np.lib.format.open_memmap(path, "w+", np.float32, (file.metadata.num_rows, N_FEATURES))
    names, start = file.schema_arrow.names[:N_FEATURES], 0
    for batch in file.iter_batches(10_000, columns=names, use_threads=False):
        X[start : start + len(batch)] = np.column_stack(batch.columns)
        start += len(batch)


def peak():
    """Return the largest resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if not status.exists():
        return np.nan  # not Linux
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def fit(kind, folder):
    """Fit in this process, and return seconds, the growth of the peak, and the concordance."""
    torch.set_num_threads(1)
    target = pq.read_table(folder / "rows.parquet", columns=["event", "time"], use_threads=False)
    y = Surv.from_arrays(target["event"].to_numpy(), target["time"].to_numpy())
    n_train = len(y) - N_TEST
    before, start = peak(), perf_counter()
    if kind == "Parquet":
        rows = ParquetRows(folder / "rows.parquet")
        X, X_test = (Subset(rows, part) for part in (range(n_train), range(n_train, len(y))))
    else:
        rows = np.load(folder / "rows.npy", mmap_mode=None if kind == "in memory" else "r")
        X, X_test = rows[:n_train], rows[n_train:]
    # The rows of eight groups are shuffled together; they are read in the order of the file.
    group_bytes = 4 * N_FEATURES * GROUP
    # One network, as for all that stays in a file: the three fits are then the same one.
    model = CoxNNRegressor(
        n_estimators=1,
        max_epochs=1,
        batch_size=1024,
        lr=5e-3,
        iterator_train__block_bytes=group_bytes,
        iterator_train__window_bytes=8 * group_bytes,
        random_state=0,
    )
    model.fit(X, y[:n_train])
    seconds, growth = perf_counter() - start, peak() - before
    return seconds, growth, model.score(X_test, y[n_train:])


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_parquet(folder / "rows.parquet", n)
        write_npy(folder / "rows.parquet", folder / "rows.npy")
        print(f"{n} rows, features of {n * N_FEATURES * 4 / 2**20:.0f} MiB")
        print("            seconds  peak, MiB  concordance")
        for kind in ("in memory", ".npy", "Parquet"):
            # Each in a process of its own, whose peak says what this fit took.
            with ProcessPoolExecutor(1, get_context("spawn")) as processes:
                seconds, growth, concordance = processes.submit(fit, kind, folder).result()
            print(f"{kind:12}{seconds:7.1f}{growth:11.1f}{concordance:13.3f}")


if __name__ == "__main__":
    main()
