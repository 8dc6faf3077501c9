"""The memory bank of momentum: outputs and targets of earlier batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sksurvtorch._validation import comparable
from sksurvtorch.functional._arrays import ascending, first_repeated, places_of_others

Columns = dict[str, Tensor]


class MemoryBank(nn.Module):
    """First in, first out: the latest rows of earlier batches, the oldest in front.

    The outputs stay on the device of the network, the targets on the CPU, where risk sets are
    sorted: so no step has to wait for the device.

    Parameters
    ----------
    size : int
        Largest number of rows.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        # Neither buffers nor parameters: `float()` and the like would round the times.
        self.output: Tensor | None = None
        self.columns: Columns = {}

    def __len__(self) -> int:
        return 0 if self.output is None else len(self.output)

    def resize(self, size: int) -> None:
        """Let there be so many rows at most, from the next batch on."""
        self.size = size

    def before(self, columns: Columns) -> tuple[Tensor | None, Columns]:
        """Put the rows of the bank before those of a batch, without older copies of the latter.

        Parameters
        ----------
        columns : dict of tensors of shape (n_samples,)
            Targets of the batch.

        Returns
        -------
        output : tensor, or None
            Outputs for the rows of the bank; None if it is empty.
        columns : dict of tensors
            Targets of the rows of the bank and of the batch.
        """
        if self.output is None:
            if "index" in columns:
                _unlike(columns["index"][:0], columns["index"])
            return None, columns
        if columns.keys() != self.columns.keys():
            (name, *_) = columns.keys() ^ self.columns.keys()
            raise ValueError(
                f"`{name}` must come with every batch or with none, got both: the rows in the bank "
                f"{'lack' if name in columns else 'have'} it."
            )
        output = self.output
        # A state may have been loaded on another device.
        older = {name: column.cpu() for name, column in self.columns.items()}
        if "index" in columns:
            rows = _unlike(older["index"], columns["index"])
            if rows is not None:
                older = {name: column.index_select(0, rows) for name, column in older.items()}
                output = output.index_select(0, rows.to(output.device, non_blocking=True))
        return output, {name: _cat(older[name], column) for name, column in columns.items()}

    def keep(self, output: Tensor, columns: Columns) -> None:
        """Hold the last of these rows."""
        self.output = _last(output, self.size)
        self.columns = {name: _last(column, self.size) for name, column in columns.items()}

    def get_extra_state(self) -> dict[str, Any]:
        """Return the rows, for `state_dict`."""
        return {"output": self.output, "columns": dict(self.columns)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the rows of a `state_dict`."""
        output = state["output"]
        if output is not None and len(output) > self.size:
            raise ValueError(
                f"`bank_size` must be at least {len(output)} to load this state, got {self.size}: "
                "so many rows are in the bank that was saved."
            )
        self.output, self.columns = output, dict(state["columns"])

    def extra_repr(self) -> str:
        """Return the size for ``repr``."""
        return f"size={self.size}, filled={len(self)}"


def _last(x: Tensor, size: int) -> Tensor:
    """Return the last rows; as a view only if this holds on to little else."""
    return x[-size:].clone() if len(x) > 2 * size else x[-size:]


def _cat(x: Tensor, y: Tensor) -> Tensor:
    """Concatenate in a dtype that keeps the values of both."""
    return torch.cat([x, y] if x.dtype == y.dtype else comparable(x, y))


def _unlike(older: Tensor, newer: Tensor) -> Tensor | None:
    """Return the places in `older` of values that `newer` does not have; None for all of them."""
    codes = ascending(newer)
    repeated = first_repeated(codes)
    if repeated is not None:
        raise ValueError(
            f"`index` must not repeat within a batch, got {repeated} more than once. It tells the "
            "rows apart, and a row can be at risk only once."
        )
    return places_of_others(older, codes)
