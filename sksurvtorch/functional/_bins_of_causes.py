"""Rows with several causes of an event in bins: a set of bins for each cause, in one call.

A row of the data and a cause are a pair, and the pairs of a cause are the rows of a Cox model in
which other causes are censorings. The pairs stand row by row, as the outputs of a network do; the
bins cause by cause. All causes have the same levels of time: those of the events of any of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sksurvtorch.functional._arrays import Floats
from sksurvtorch.functional._bins import Bins
from sksurvtorch.functional._competing import Competing
from sksurvtorch.functional._levels import Levels

Places = NDArray[np.intp]


class Causes(NamedTuple):
    """Rows with the cause of each event."""

    status: NDArray[np.int64]  # (n_samples,) 0 for a censored row, else the number of the cause
    n_causes: int
    weight: Tensor | None  # (n_samples,)
    log_censoring: Floats | None  # (n_samples,) None for cause-specific hazards

    def bins(self, ties: str, level: Levels) -> Bins | None:
        """Put the pairs into bins; None if that takes logarithms."""
        first = level.stop * np.arange(self.n_causes)
        return self._bins(ties, level.of_row[:, None] + first, level.stop * self.n_causes)

    def batches(self, ties: str, level: Places, sizes: Places) -> list[Bins] | None:
        """Put the pairs of batches that stand behind each other into bins, in one pass.

        Parameters
        ----------
        ties : {"efron", "breslow"}
            How events at the same time share their risk set.
        level : int array of shape (n_samples,)
            Levels of the rows.
        sizes : int array of shape (n_batches,)
            Number of rows of each batch, each with an event.

        Returns
        -------
        list of Bins, or None
            The bins of each batch; None if the rows of some batch do not lie in order, or if that
            takes logarithms.
        """
        start = sizes.cumsum() - sizes
        step = np.diff(level, prepend=level[:1])
        step[start] = 1
        if step.min() < 0:
            return None
        number = (step > 0).cumsum() - 1
        joined, _ = Levels(number, int(number[-1]) + 1).joined(self.status > 0)
        first = joined.of_row[start]
        width = np.diff(first, append=joined.stop - 1) + 1
        # The levels of a batch, cause by cause, stand behind those of the batch before.
        begin = self.n_causes * (width.cumsum() - width)
        own = joined.of_row + (begin - first).repeat(sizes)
        pair = own[:, None] + width.repeat(sizes)[:, None] * np.arange(self.n_causes)
        whole = self._bins(ties, pair, self.n_causes * int(width.sum()))
        if whole is None:
            return None
        return whole.split(begin, self.n_causes * width, self.n_causes * sizes, self.n_causes)

    def _bins(self, ties: str, pair: Places, stop: int) -> Bins | None:
        """Put the pairs into bins, given their levels of shape (n_samples, n_causes)."""
        is_event = self.status[:, None] == np.arange(1, self.n_causes + 1)
        event, levels = is_event.ravel(), Levels(pair.ravel(), stop)
        columns: dict[str, Any] = {}
        if self.weight is not None:
            columns["weight"] = self.weight.repeat_interleave(self.n_causes)
        whole = Bins.of_levels(columns, ties, levels, event, levels.n_events(event))
        whole = whole._replace(n_sets=self.n_causes)
        if self.log_censoring is None:
            return whole
        other = ((self.status > 0)[:, None] & ~is_event).ravel()
        log_censoring = self.log_censoring.repeat(self.n_causes)
        of_level = np.zeros(stop)
        of_level[levels.of_row[event]] = log_censoring[event]
        at = of_level.take(whole.of_denominator >> 1)
        competing = Competing.of(whole.of_row, other, log_censoring, at)
        return None if competing is None else whole._replace(competing=competing)


def columns_of_pairs(
    columns: dict[str, Tensor], n_causes: int, codes: Tensor | None
) -> dict[str, Tensor]:
    """Return the columns of pairs of a row and a cause, in which a cause is a stratum.

    Parameters
    ----------
    columns : dict of tensors of shape (n_samples,)
        Checked columns: status, time, and entry and weight where given.
    n_causes : int
        Number of causes.
    codes : int tensor of shape (n_samples,), or None
        Codes of the strata, from 0 on; None without strata.

    Returns
    -------
    dict of tensors of shape (n_samples * n_causes,)
        The columns event, time, and entry, stratum and weight where there are such.
    """
    status = columns["status"]
    cause = torch.arange(n_causes, dtype=torch.int64, device=status.device)
    pairs = {"event": (status.unsqueeze(1) == cause + 1).reshape(-1)}
    for name in ("time", "entry", "weight"):
        if name in columns:
            pairs[name] = columns[name].repeat_interleave(n_causes)
    if codes is not None:
        pairs["stratum"] = (codes.unsqueeze(1) * n_causes + cause).reshape(-1)
    elif n_causes > 1:
        pairs["stratum"] = cause.repeat(len(status))
    return pairs
