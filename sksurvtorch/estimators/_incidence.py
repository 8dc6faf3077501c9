"""Baseline hazards of several causes of an event, and the curves of samples that follow from them.

The steps stand as in `_baseline`: one stratum after the other, with a row for each cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sksurvtorch.estimators._baseline import Baseline, spaced
from sksurvtorch.estimators._functions import pieces
from sksurvtorch.functional import (
    CompetingRisksBaseline,
    CumulativeIncidence,
    cumulative_incidence,
)


@dataclass(frozen=True, eq=False)
class CausesBaseline:
    """Baseline hazards of all causes, as the steps of all strata, one stratum after the other.

    Attributes
    ----------
    offsets : int array of shape (n_strata + 1,)
        Stratum i has the steps from ``offsets[i]`` up to, but not with, ``offsets[i + 1]``.
    times : array of shape (n_steps,)
        Times of events of any cause, ascending within a stratum.
    log_hazard : float64 array of shape (n_causes, n_steps)
        Logarithm of the step of the cumulative hazard of each cause; -inf where it has no event.
    log_cumulative_hazard : float64 array of shape (n_causes, n_steps)
        Value from each step on, not descending within a stratum.
    """

    offsets: np.ndarray
    times: np.ndarray
    log_hazard: np.ndarray
    log_cumulative_hazard: np.ndarray

    @classmethod
    def of(cls, fitted: CompetingRisksBaseline, n_strata: int) -> Self:
        """Take over an estimate; a stratum may have no event in it."""
        log_cumulative_hazard = fitted.log_cumulative_hazard.numpy().astype(float)
        stratum = np.zeros(len(fitted.times), int)
        if fitted.stratum is not None:
            stratum = fitted.stratum.numpy()
        offsets = np.searchsorted(stratum, np.arange(n_strata + 1))
        for steps in map(slice, offsets[:-1], offsets[1:]):
            # Rounding could let a sum over more events be lower.
            of_stratum = log_cumulative_hazard[:, steps]
            np.maximum.accumulate(of_stratum, axis=1, out=of_stratum)
        log_hazard = fitted.log_hazard.numpy().astype(float)
        return cls(offsets, fitted.times.numpy(), log_hazard, log_cumulative_hazard)

    @property
    def n_strata(self) -> int:
        """Number of strata of the fit."""
        return len(self.offsets) - 1

    @property
    def n_causes(self) -> int:
        """Number of causes."""
        return len(self.log_hazard)

    @classmethod
    def cumulative(cls, offsets: np.ndarray, times: np.ndarray, whole: np.ndarray) -> Self:
        """Return the baseline hazards with these log cumulative hazards, (n_causes, n_steps)."""
        before = np.concatenate([np.full((len(whole), 1), -np.inf), whole[:, :-1]], axis=1)
        before[:, offsets[:-1][offsets[:-1] < len(times)]] = -np.inf
        with np.errstate(divide="ignore", invalid="ignore"):
            step = whole + np.log1p(-np.exp(before - whole))
        return cls(offsets, times, np.where(whole > before, step, -np.inf), whole)

    def at(self, offsets: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return the log cumulative hazards, (n_causes, n_steps), at other steps of the strata."""
        stratum = np.repeat(np.arange(self.n_strata), np.diff(offsets))
        causes = range(1, self.n_causes + 1)
        return np.stack([self.of_cause(k).at(stratum, times) for k in causes])

    def thinned(self, most: int) -> Self:
        """Return at most so many steps of each cause in each stratum, of the first event on."""
        kept = []
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            of_causes = [np.flatnonzero(own > -np.inf) for own in self.log_hazard[:, start:end]]
            places = [own[spaced(len(own), most)] for own in of_causes]
            kept.append(start + np.unique(np.concatenate(places)))
        steps = np.concatenate(kept)
        offsets = np.concatenate([[0], np.cumsum([len(own) for own in kept])])
        whole = self.log_cumulative_hazard[:, steps]
        return self.cumulative(offsets, self.times[steps], whole)

    def steps(self, stratum: int) -> np.ndarray:
        """Return the times of the steps of a stratum."""
        return self.times[slice(*self.offsets[[stratum, stratum + 1]])]

    def of_cause(self, cause: int) -> Baseline:
        """Return the baseline hazard of one cause, numbered from 1 on."""
        return Baseline(self.offsets, self.times, self.log_cumulative_hazard[cause - 1])

    def as_tensors(self, hazard: str) -> CompetingRisksBaseline:
        """Return the steps as `cumulative_incidence` takes them, of this kind of hazards."""
        codes = np.repeat(np.arange(self.n_strata), np.diff(self.offsets))
        # Copies, since those of a model that joblib has mapped to memory cannot be written to.
        return CompetingRisksBaseline(
            torch.from_numpy(codes),
            torch.from_numpy(self.times.copy()),
            torch.from_numpy(self.log_hazard.copy()),
            torch.from_numpy(self.log_cumulative_hazard.copy()),
            hazard,
        )

    def time_lost(
        self,
        log_hazard_ratio: Tensor,
        stratum: np.ndarray,
        until: np.ndarray,
        hazard: str,
        after: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the integrals of the incidences from 0 to `until`, (n_samples, n_causes)."""
        distinct = np.unique(self.times).astype(float)
        baseline = self.as_tensors(hazard)
        lost = np.zeros((len(stratum), self.n_causes))
        for end in np.unique(until):
            times = distinct[distinct < end]
            width = np.diff(np.append(times, end))
            of_end = np.flatnonzero(until == end)
            for piece in pieces(len(of_end), self.n_causes * len(times)):
                rows = of_end[piece]
                since = None if after is None else after[rows]
                own = log_hazard_ratio[torch.from_numpy(rows)]
                curves = curves_of(baseline, own, stratum[rows], times, since)
                lost[rows] = curves.incidence.numpy() @ width
        return lost


def curves_of(
    baseline: CompetingRisksBaseline,
    log_hazard_ratio: Tensor,
    stratum: np.ndarray,
    times: np.ndarray,
    after: np.ndarray | None = None,
) -> CumulativeIncidence:
    """Return the incidences of samples at each time, and with cause-specific hazards survival.

    Parameters
    ----------
    baseline : CompetingRisksBaseline
        Baseline hazards.
    log_hazard_ratio : float64 tensor of shape (n_samples, n_causes)
        Output of the network.
    stratum : int array of shape (n_samples,)
        Numbers of the strata.
    times : array of shape (n_times,), or (n_samples, n_times)
        Times, for all samples or those of each, in any order.
    after : array of shape (n_samples,), optional
        Times at which the samples are known to be event-free.

    Returns
    -------
    CumulativeIncidence
        Of shapes (n_samples, n_causes, n_times) and (n_samples, n_times).
    """
    # torch wants the byte order of the machine.
    grid = torch.from_numpy(times.astype(times.dtype.newbyteorder("="), order="C"))
    own = torch.from_numpy(stratum)
    since = None if after is None else torch.from_numpy(after)
    return cumulative_incidence(log_hazard_ratio, baseline, grid, stratum=own, after=since)
