"""Where X becomes rows: the one place that looks in which way they lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from sksurvtorch.nets.rows.base import Rows
from sksurvtorch.nets.rows.dataset import DatasetRows
from sksurvtorch.nets.rows.mapped import MappedRows, is_mapped
from sksurvtorch.nets.rows.memory import MemoryRows, as_tensor


def as_rows(
    X: Any, dtypes: Sequence[torch.dtype] = (), check: Callable[[Any], np.ndarray] | None = None
) -> Rows:
    """Return the rows of X.

    Parameters
    ----------
    X : array, tensor, torch.utils.data.Dataset, or Rows
        What a user has passed as X.
    dtypes : sequence of torch.dtype, default=()
        Dtypes to choose from for rows that are stored, as `find_stored` does.
    check : callable, optional
        Takes X and returns the array that it is in memory, or raises. Of rows that are stored it
        gets the first two.

    Returns
    -------
    Rows
        The rows, which stay where they are.
    """
    if isinstance(X, Rows):
        return X
    stored = find_stored(X, dtypes)
    if stored is not None:
        if check is not None:
            check(stored.head().numpy())
        return stored
    if check is not None:
        return MemoryRows(as_tensor(check(X)))
    from skorch.utils import to_tensor  # which takes some time to load

    tensor = to_tensor(X, device="cpu")
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"X must be one array or tensor, got {type(X).__name__}.")
    return MemoryRows(tensor)


def find_stored(X: Any, dtypes: Sequence[torch.dtype] = ()) -> Rows | None:
    """Return the rows of X where they are stored, or None if it is in memory.

    Parameters
    ----------
    X : array, torch.utils.data.Dataset, or anything else
        What a user has passed as X.
    dtypes : sequence of torch.dtype, default=()
        Dtypes to choose from. A map is read in its own dtype if that is among them, and else in the
        first one, as a dataset is. If there are none, the rows are read as they are.

    Returns
    -------
    Rows or None
        The rows of a memory map or a torch dataset.
    """
    if isinstance(X, Dataset):
        return DatasetRows(X, dtypes[0] if dtypes else None)
    if not (is_mapped(X) and X.dtype.kind in "fiub" and len(X)):
        return None
    own = [dtype for dtype in dtypes if X.dtype == str(dtype).removeprefix("torch.")] or dtypes[:1]
    return MappedRows(X, own[0] if own else torch.from_numpy(X[:0].copy()).dtype)
