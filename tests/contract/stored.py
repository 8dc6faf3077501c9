"""Rows that stay where they are, and small estimators that are fitted to them."""

from __future__ import annotations

import numpy as np
import pytest
from torch.utils.data import Dataset

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from tests.options import merged

KINDS = (CoxNNRegressor, WeibullAFTRegressor)
both = pytest.mark.parametrize("kind", KINDS)


class Rows(Dataset):
    """A dataset of the rows of an array or tensor; a slice of it is one, too."""

    def __init__(self, X):
        self.X = X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        return type(self)(self.X[index]) if isinstance(index, slice) else self.X[index]


class Batches(Rows):
    """The same, and it returns the rows of a batch as one array or tensor."""

    def __getitems__(self, indices):
        return self.X[indices]


def mapped(X, folder, mode="r", **order):
    """An array in a file, opened as a memory map."""
    path = folder / f"{len(list(folder.iterdir()))}.npy"
    file = np.lib.format.open_memmap(path, "w+", X.dtype, X.shape, **order)
    file[:] = X
    file.flush()
    return np.load(path, mmap_mode=mode)


def small(kind, **parameters):
    """A quick estimator of one network in float64."""
    defaults = {
        "hidden_layer_sizes": (4,),
        "n_estimators": 1,
        "max_epochs": 3,
        "batch_size": 40,
        "lr": 0.01,
    }
    defaults |= {"dtype": "float64", "random_state": 0}
    return kind(**merged(defaults, parameters))
