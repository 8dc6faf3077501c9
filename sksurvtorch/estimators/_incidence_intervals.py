"""Bands around the cumulative incidences of several causes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sksurvtorch.estimators._bands import STEPS, Jackknife, Pair
from sksurvtorch.estimators._baseline import find_strata
from sksurvtorch.estimators._functions import pieces
from sksurvtorch.estimators._incidence import CausesBaseline, curves_of
from sksurvtorch.estimators._incidence_predictions import IncidencePredictions
from sksurvtorch.estimators._intervals import IntervalEstimator
from sksurvtorch.functional import CompetingRisksBaseline, competing_risks_baseline
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.targets import CompetingRisksTarget

# The largest float below 1: where an incidence rounds to 1 its curves still have logarithms.
_MOST = 1 - 2.0**-53


class IncidenceIntervals(IncidencePredictions, IntervalEstimator):
    """Model of competing risks whose ensembles say how sure they are.

    Each member has baseline hazards of its own, of the rows that it has seen.
    """

    cause: int

    def predict_cumulative_incidence_interval(
        self,
        X: Any,
        level: float = 0.9,
        *,
        cause: int | None = None,
        times: Any = None,
        stratum: Any = None,
    ) -> Pair:
        """Predict a band for the cumulative incidence of each cause over time.

        It is pointwise, and for the curve of a person given the covariates: it says how well the
        curve is known.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        level : float, default=0.9
            Probability, above 0 and below 1, with which the bounds at a time are meant to hold the
            true value between them.
        cause : int, optional
            Cause of the event, from 1 on; all causes if left out.
        times : array-like of shape (n_times,), optional
            Times of the bounds, each from 0 to the last time of the fit, or of each stratum asked
            for; `unique_times_` if left out, where bounds stay as they are behind the last time of
            their stratum.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

        Returns
        -------
        lower : array of shape (n_samples, n_causes, n_times), or (n_samples, n_times)
            Lower bounds, at most `predict_cumulative_incidence`. They do not fall with time, and
            are 0 before the first event of the cause.
        upper : array of the same shape
            Upper bounds, in the same way.

        Raises
        ------
        ValueError
            If the model is no ensemble of five networks or more that one call of `fit` has trained.

        Notes
        -----
        The band is that of `CoxNNRegressor.predict_survival_interval`, on the scale log(-log(1 -
        F)) of the incidence F: a delete-a-group jackknife of the members' curves [1]_, plus the
        variance between members of different penalties, plus the squares of what a curve changes by
        if the log hazard ratios of each cause are multiplied by their calibration slope, and if
        those of one cause change by what all members have missed of them.

        Nothing is known of a cause without events, nor of a stratum without: there the incidence
        and both bounds are 0.

        References
        ----------
        .. [1] B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall, 1993.
        """
        quantile = self._quantile_of(level)
        if cause is not None:
            self._check_cause(cause)
        output, outputs = self._outputs(X)
        rows = find_strata(stratum, self.strata_, len(output))
        grid = self._check_times(times, None, rows)
        basis = self._interval_basis
        kept = (basis["offsets"], basis["times"])
        band = IncidenceBand(
            self._baseline,
            [CausesBaseline.cumulative(*kept, own) for own in basis["members"]],
            CausesBaseline.cumulative(*kept, self._baseline.at(*kept)),
            Jackknife.of(self.member_weights_),
            quantile,
            basis["slope"],
            basis["missed"],
            self._as_fitted.hazard,
        )
        pair = band.over_time(output, outputs, rows, grid)
        if cause is None:
            return pair
        return tuple(np.ascontiguousarray(bound[:, cause - 1]) for bound in pair)  # type: ignore[return-value]

    # What a model is: hooks.

    def _learn_members(
        self, dataset: SurvivalDataset, outputs: Tensor, left_out: Tensor
    ) -> tuple[dict[str, np.ndarray], None]:
        """Return the baselines of the members; there are no intervals of times."""
        target = dataset.y
        assert isinstance(target, CompetingRisksTarget)
        kept = self._baseline.thinned(STEPS)
        members = np.empty((len(outputs), self.n_causes_, len(kept.times)))
        for k, (output, own) in enumerate(zip(outputs, left_out, strict=True)):
            seen = (~own).nonzero().squeeze(1)
            # With the censoring of all rows: that of the rows seen has gaps where few enter late.
            risk_sets = target.risk_sets.take(seen)
            fitted = competing_risks_baseline(output[seen].double(), risk_sets=risk_sets)
            members[k] = CausesBaseline.of(fitted, kept.n_strata).at(kept.offsets, kept.times)
        return {"offsets": kept.offsets, "times": kept.times, "members": members}, None

    def _off_center(self, output: Tensor) -> np.ndarray:
        """Return the log hazard ratio of the cause, whose mean over the training data is 0."""
        return self._risk_score(output)

    @property
    def _n_scored(self) -> int:
        return self.n_causes_

    @property
    def _scored(self) -> int:
        return self.cause - 1


@dataclass(frozen=True, eq=False)
class IncidenceBand:
    """Band around the incidences of samples.

    Attributes
    ----------
    baseline : CausesBaseline
        Baseline hazards of the prediction.
    of_members : list of CausesBaseline
        Those of the members, at some steps of each stratum.
    at_steps : CausesBaseline
        Those of the prediction, at the same steps.
    jackknife : Jackknife
        What makes variances of members.
    quantile : float
        Number of standard deviations between curve and bound.
    slope : array of shape (n_causes,)
        What the log hazard ratios are best multiplied by.
    missed : array of shape (n_causes,)
        Variance of what all members have missed of the log hazard ratios.
    hazard : {"cause-specific", "subdistribution"}
        Of which kind the hazards are.
    """

    baseline: CausesBaseline
    of_members: list[CausesBaseline]
    at_steps: CausesBaseline
    jackknife: Jackknife
    quantile: float
    slope: np.ndarray
    missed: np.ndarray
    hazard: str

    @cached_property
    def _whole(self) -> CompetingRisksBaseline:
        return self.baseline.as_tensors(self.hazard)

    @cached_property
    def _thinned(self) -> CompetingRisksBaseline:
        return self.at_steps.as_tensors(self.hazard)

    @cached_property
    def _members(self) -> list[CompetingRisksBaseline]:
        return [baseline.as_tensors(self.hazard) for baseline in self.of_members]

    def over_time(
        self, log_hazard_ratio: Tensor, each: Tensor, stratum: np.ndarray, times: np.ndarray
    ) -> Pair:
        """Return bounds of the incidences over time.

        Parameters
        ----------
        log_hazard_ratio : float64 tensor of shape (n_samples, n_causes)
            Prediction.
        each : float64 tensor of shape (n_members, n_samples, n_causes)
            Log hazard ratios by the members.
        stratum : int array of shape (n_samples,)
            Numbers of the strata.
        times : array of shape (n_times,)
            Times, in any order.

        Returns
        -------
        pair of arrays of shape (n_samples, n_causes, n_times)
            Lower and upper bounds.
        """
        shape = (*log_hazard_ratio.shape, len(times))
        lower, upper = np.zeros(shape), np.zeros(shape)
        for rows, steps in self._pieces(stratum):
            some = torch.from_numpy(rows)
            curve = self._log_curves(self._whole, log_hazard_ratio[some], stratum[rows], steps)
            half = self.quantile * self._deviation(
                log_hazard_ratio[some], each[:, some], stratum[rows], steps
            )
            # An incidence can only rise. So a lower bound holds from its time on, an upper one up
            # to it.
            low = np.maximum.accumulate(curve - half, axis=2)
            high = np.minimum.accumulate((curve + half)[..., ::-1], axis=2)[..., ::-1]
            column = np.searchsorted(steps, times, side="right") - 1
            begun = np.flatnonzero(column >= 0)
            for bound, values in ((lower, low), (upper, high)):
                at = values[..., column[begun]]
                bound[np.ix_(rows, np.arange(shape[1]), begun)] = -np.expm1(-np.exp(at))
        return lower, upper

    def _pieces(self, stratum: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Iterate over samples of one stratum with events, and its steps."""
        for code in np.unique(stratum):
            of_stratum = np.flatnonzero(stratum == code)
            steps = self.baseline.steps(code)
            if len(steps) == 0:  # no event, so nothing is known of its curves
                continue
            width = max(len(steps), STEPS * len(self.of_members)) * self.baseline.n_causes
            for piece in pieces(len(of_stratum), width):
                yield of_stratum[piece], steps

    def _deviation(
        self, log_hazard_ratio: Tensor, each: Tensor, stratum: np.ndarray, steps: np.ndarray
    ) -> np.ndarray:
        """Return the standard deviations of curves, on the scale of their logarithms."""
        known = self.at_steps.steps(stratum[0])
        members = [
            self._log_curves(baseline, own, stratum, known)
            for baseline, own in zip(self._members, each, strict=True)
        ]
        curves = np.stack(members)
        curves[:, np.isneginf(curves).all(0)] = 0.0  # before the first event of a cause
        variance = (self.jackknife.deviations(curves, log=True) ** 2).sum(0)
        # What is common to all members, by what a curve changes by.
        steps_of_causes = torch.from_numpy(np.diag(np.sqrt(self.missed))[self.missed > 0])
        others = [log_hazard_ratio * torch.from_numpy(self.slope)]
        others += [log_hazard_ratio + step for step in steps_of_causes]
        here = self._log_curves(self._thinned, log_hazard_ratio, stratum, known)
        begun = here > -np.inf
        for other in others:
            there = self._log_curves(self._thinned, other, stratum, known)
            variance[begun] += (there[begun] - here[begun]) ** 2
        place = np.searchsorted(known, steps, side="right") - 1
        deviation: np.ndarray = np.sqrt(variance)[..., np.maximum(place, 0)]
        return deviation

    def _log_curves(
        self,
        baseline: CompetingRisksBaseline,
        log_hazard_ratio: Tensor,
        stratum: np.ndarray,
        at: np.ndarray,
    ) -> np.ndarray:
        """Return log(-log(1 - F)) of the incidences F, (n_samples, n_causes, n_times)."""
        curves = curves_of(baseline, log_hazard_ratio, stratum, at)
        incidence = np.minimum(curves.incidence.numpy(), _MOST)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(-np.log1p(-incidence)))
