"""Rows of a torch dataset."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from sksurvtorch._validation import to_tensor
from sksurvtorch.nets.defaults import on_cpu
from sksurvtorch.nets.rows.base import Numbers
from sksurvtorch.nets.rows.stored import StoredRows


class DatasetRows(StoredRows):
    """Rows of a torch dataset, read by a `torch.utils.data.DataLoader`.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Its items are rows. One with `__getitems__` is asked for all rows of a batch at once, and
        may return them as one array.
    dtype : torch.dtype, optional
        Dtype of the rows that are read; that of the first row if left out.
    """

    is_costly = True

    def __init__(self, dataset: Dataset[Any], dtype: torch.dtype | None = None) -> None:
        self.dataset = dataset
        self._n_stored = _n_rows(dataset)
        with on_cpu():
            first = _Stack(dtype)([dataset[0]])
        self.dtype = first.dtype
        self._sample_shape = first.shape[1:]

    def _read(self, batches: Numbers, num_workers: int, seed: int) -> Iterator[Tensor]:
        asked: deque[int] = deque()  # workers may be asked for some batches ahead

        def places() -> Iterator[list[int]]:
            """Yield the places of each batch, and keep how many there are."""
            for rows in batches:
                asked.append(len(rows))
                yield rows.tolist() or [0]  # of no rows there would be no shape

        loader = DataLoader(
            self.dataset,
            batch_sampler=places(),
            num_workers=num_workers,
            collate_fn=_Stack(self.dtype),
            # It would draw from the global one.
            generator=torch.Generator("cpu").manual_seed(seed),
        )
        with on_cpu():
            loaded = iter(loader)
        while True:
            with on_cpu():
                batch = next(loaded, None)
            if batch is None:
                return
            n_rows = asked.popleft()
            expected = max(1, n_rows), *self._sample_shape
            if tuple(batch.shape) != expected:
                raise ValueError(
                    f"A batch of X must have the shape {expected}, got {tuple(batch.shape)}. "
                    "`__getitems__` returns a row for each index, in their order."
                )
            yield batch[:n_rows]

    def pieces(self, size: int | None = None, num_workers: int = 0) -> Iterator[Tensor]:
        """Iterate over all rows as they lie, in pieces that fit in memory whatever is asked for."""
        n_rows = self.n_at_once
        return super().pieces(n_rows if size is None else min(size, n_rows), num_workers)


class _Stack:
    """Make a batch of the items of a dataset, and look whether it can be one.

    Parameters
    ----------
    dtype : torch.dtype, optional
        Dtype of the batch; that of the items if left out.
    """

    def __init__(self, dtype: torch.dtype | None) -> None:
        self.dtype = dtype

    def __call__(self, items: Any) -> Tensor:
        """Return the batch; a dataset with `__getitems__` may have made it already."""
        # `__getitems__` may have made a pair or a dict of batches.
        item = items[0] if isinstance(items, list) else items
        if isinstance(item, (tuple, list, Mapping, str)):
            raise TypeError(
                "An item of X must be one array or tensor, the features of a sample, got "
                f"{type(item).__name__}. Event and time are given as `y`."
            )
        batch = items if isinstance(items, (np.ndarray, Tensor)) else default_collate(items)
        batch = to_tensor(batch)
        if batch.is_complex():  # of which a cast would drop half
            raise ValueError(f"X must be real, got a dataset of {batch.dtype}.")
        return batch if self.dtype is None else batch.to(self.dtype)


def _n_rows(dataset: Any) -> int:
    """Return the number of rows of a dataset, or raise unless it can be asked for any of them."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise TypeError(
            "X must be a dataset with `__len__` and `__getitem__`, got "
            f"{type(dataset).__name__}. Each epoch takes the rows in another order."
        )
    if not len(dataset):
        raise ValueError("X must have rows, got a dataset of length 0.")
    return len(dataset)
