"""Bands and intervals of accelerated failure time models."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sksurvtorch import _validation as validation
from sksurvtorch.estimators._aft_predictions import AFTPredictions
from sksurvtorch.estimators._bands import (
    Jackknife,
    LinearBand,
    Pair,
    log_time_range,
)
from sksurvtorch.functional._distributions import DISTRIBUTIONS
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.target import last_times


class AFTIntervals(AFTPredictions):
    """Accelerated failure time model whose ensembles say how sure they are.

    The quantile of a time on the standard scale, z = shape (log t - log scale), is linear in the
    log time, of a model and of each of its members. So a band is one of z; that of a Weibull model
    is the logarithm of the cumulative hazard.
    """

    def predict_survival_interval(self, X: Any, level: float = 0.9, *, times: Any = None) -> Pair:
        """Predict a band for the survival of each sample over time.

        It is pointwise, and for the curve of a person given the covariates: it says how well the
        curve is known, not when the event will be, which is `predict_time_interval`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        level : float, default=0.9
            Probability, above 0 and below 1, with which the bounds at a time are meant to hold the
            true value between them.
        times : array-like of shape (n_times,), optional
            Times of the bounds, each at least 0; `unique_times_` if left out.

        Returns
        -------
        lower : array of shape (n_samples, n_times)
            Lower bounds, at most `predict_survival_function`. They do not rise with time.
        upper : array of shape (n_samples, n_times)
            Upper bounds, in the same way.

        Raises
        ------
        ValueError
            If the model is no ensemble of five networks or more that one call of `fit` has trained.

        Notes
        -----
        On the scale of z = shape (log t - log scale), which is log(-log S) in a Weibull model, the
        band is the curve plus and minus a quantile of Student's t times a standard error. Its
        variance is that of a delete-a-group jackknife of the members' curves [1]_, plus the
        variance between members of different penalties, plus two terms for what all members have in
        common, as predictions out of bag show: that they differ too much or too little between
        people, by their calibration slope [2]_, and that they miss effects of features, by a
        variance component of their residuals [3]_.

        References
        ----------
        .. [1] P. S. Kott, "The delete-a-group jackknife", Journal of Official Statistics 17(4),
           521-526, 2001.
        .. [2] H. C. van Houwelingen, "Validation, calibration, revision and combination of
           prognostic survival models", Statistics in Medicine 19(24), 3401-3415, 2000,
           doi:10.1002/1097-0258(20001230)19:24<3401::AID-SIM554>3.0.CO;2-2.
        .. [3] X. Lin, "Variance component testing in generalised linear models with random
           effects", Biometrika 84(2), 309-326, 1997, doi:10.1093/biomet/84.2.309.
        """
        return self._band(X, level, times, survival=True)

    def predict_cumulative_hazard_interval(
        self, X: Any, level: float = 0.9, *, times: Any = None
    ) -> Pair:
        """Predict a band for the cumulative hazard of each sample over time.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        level : float, default=0.9
            Probability, above 0 and below 1, with which the bounds at a time are meant to hold the
            true value between them.
        times : array-like of shape (n_times,), optional
            Times of the bounds, each at least 0; `unique_times_` if left out.

        Returns
        -------
        lower : array of shape (n_samples, n_times)
            Lower bounds, at most `predict_cumulative_hazard_function`: minus the logarithms of the
            upper bounds of `predict_survival_interval`.
        upper : array of shape (n_samples, n_times)
            Upper bounds, in the same way.

        Raises
        ------
        ValueError
            If the model is no ensemble of five networks or more that one call of `fit` has trained.
        """
        return self._band(X, level, times, survival=False)

    def predict_quantile_interval(self, X: Any, probability: Any, level: float = 0.9) -> Pair:
        """Predict an interval for the time by which the event has happened with a probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        probability : float or array-like of shape (n_quantiles,)
            Probability of the event: 0.25 asks for the time at which survival has fallen to 0.75.
        level : float, default=0.9
            Probability, above 0 and below 1, with which an interval is meant to hold the truth.

        Returns
        -------
        lower : array of shape (n_samples,), or (n_samples, n_quantiles)
            Times at which the lower bound of `predict_survival_interval` has fallen to
            1 - probability, at most `predict_quantile`.
        upper : array of shape (n_samples,), or (n_samples, n_quantiles)
            Times at which the upper bound has; infinite where survival may stay above.

        Raises
        ------
        ValueError
            If the model is no ensemble of five networks or more that one call of `fit` has trained.
        """
        return self._quantiles(X, probability, level)

    def predict_median_interval(self, X: Any, level: float = 0.9) -> Pair:
        """Predict an interval for the median time of the event.

        It is for the median of the distribution of a person's time, not for the time itself.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        level : float, default=0.9
            Probability, above 0 and below 1, with which an interval is meant to hold the truth.

        Returns
        -------
        lower : array of shape (n_samples,)
            Earliest medians, at most `predict_median`, in the unit of the training times.
        upper : array of shape (n_samples,)
            Latest medians; infinite where survival may stay above one half.

        Raises
        ------
        ValueError
            If the model is no ensemble of five networks or more that one call of `fit` has trained.
        """
        return self._quantiles(X, 0.5, level)

    def predict_time_interval(self, X: Any, level: float = 0.9) -> Pair:
        """Predict an interval for the time of a new person's event.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        level : float, default=0.9
            Probability, above 0 and below 1, with which a time is meant to lie within. Each bound
            alone is meant to hold with probability (1 + level) / 2.

        Returns
        -------
        lower : array of shape (n_samples,)
            Earliest times, in the unit of the training times; 0 where few rows judge.
        upper : array of shape (n_samples,)
            Latest times; infinite where the follow-up does not identify them, as with many censored
            rows.

        Raises
        ------
        ValueError
            If the model is no ensemble of five networks or more that one call of `fit` has
            trained, or was fitted with late entry.

        Notes
        -----
        Conformal prediction with weights for the censoring [1]_ and cross-fitting [2]_: between the
        bounds lie those cumulative hazards that training rows have at the times of their events, by
        members that have not seen them, weighted by the inverse probability of not being censored.
        Coverage is on average over people, not for each of them. It needs censoring that depends
        neither on the time of the event nor on the covariates, and is approximate, since the
        probability of censoring is estimated, and all members predict for new people. The method
        of [3]_ would need the censoring times of rows with an event, too.

        References
        ----------
        .. [1] R. Farina, E. J. Tchetgen Tchetgen, A. K. Kuchibhotla, "Doubly robust and efficient
           calibration of prediction sets for right-censored time-to-event outcomes",
           arXiv:2501.04615, 2025.
        .. [2] V. Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial
           Intelligence 74, 9-28, 2015, doi:10.1007/s10472-013-9368-4.
        .. [3] E. Candès, L. Lei, Z. Ren, "Conformalized survival analysis", JRSS B 85(1), 24-45,
           2023, doi:10.1093/jrsssb/qkac004.
        """
        log_scale, log_shape = self._log_params(X).numpy().T
        bounds = (
            log_scale + self._standard(np.array([-hazard])) * np.exp(-log_shape)
            for hazard in self._hazard_bounds(level)
        )
        lower, upper = (np.exp(bound) for bound in bounds)
        return lower, upper

    def _learn_members(
        self, dataset: SurvivalDataset, outputs: Tensor, left_out: Tensor
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Return the mean log scale, and the sum of hazards at each own time."""
        assert dataset.y is not None
        known = "time" in dataset.y  # of intervals there is no own time
        log_time = last_times(dataset.y).double().log().numpy()
        log_scale, hazard = np.zeros(len(log_time)), np.zeros(len(log_time))
        for share, output, own in zip(self.member_weights_, outputs, left_out, strict=True):
            if share > 0:  # an infinite hazard would count otherwise
                output, out = output.double(), own.numpy()
                log_scale += share * output[:, 0].numpy()
                level, rise = _line(output[own])
                hazard[out] -= share * self._log_survival_at(level + rise * log_time[out])
        center = np.average(log_scale, weights=dataset.weight)
        return {"center": np.array([center])}, hazard if known else None

    def _off_center(self, output: Tensor) -> np.ndarray:
        """Return how far the log scales are from their mean."""
        off: np.ndarray = output[:, 0].numpy() - self._interval_basis["center"]
        return off

    @property
    def _score_unit(self) -> float:
        return self.log_time_spread_

    def _band(self, X: Any, level: float, times: Any, *, survival: bool) -> Pair:
        """Return bounds of survival or of the cumulative hazard."""
        band = self._linear(X, level)
        grid = self._check_times(times, None)
        with np.errstate(divide="ignore"):
            log_time = np.log(grid.astype(float))
        v = (log_time - self.log_time_center_) / self.log_time_spread_
        early, late = (self._log_survival_at(z) for z in band.over_time(v))
        return (np.exp(late), np.exp(early)) if survival else (-early, -late)

    def _quantiles(self, X: Any, probability: Any, level: float) -> Pair:
        """Return bounds of quantiles of the time."""
        band = self._linear(X, level)
        asked = validation.check_probability(np.atleast_1d(probability)).numpy()
        center, spread = self.log_time_center_, self.log_time_spread_
        with np.errstate(divide="ignore"):
            needed = self._standard(np.log1p(-asked))
        reached = band.reached(needed, *log_time_range(center, spread))
        lower, upper = (np.exp(center + spread * v) for v in reached)
        return (lower[:, 0], upper[:, 0]) if np.ndim(probability) == 0 else (lower, upper)

    def _linear(self, X: Any, level: float) -> LinearBand:
        """Return the band around the curves of some samples."""
        quantile = self._quantile_of(level)
        output, outputs = self._outputs(X)
        own, rise = _line(output)
        extra = rise * rise * self._common_variance(output)
        jackknife = Jackknife.of(self.member_weights_)
        return LinearBand.of(jackknife, own, rise, _line(outputs), extra, quantile)

    def _log_survival_at(self, z: np.ndarray) -> np.ndarray:
        """Return the logarithm of survival at some standard quantiles."""
        log_survival: np.ndarray = (
            DISTRIBUTIONS[self._distribution].log_survival(torch.from_numpy(z)).numpy()
        )
        return log_survival

    def _standard(self, log_survival: np.ndarray) -> np.ndarray:
        """Return the standard quantiles with some logarithms of survival."""
        z: np.ndarray = (
            DISTRIBUTIONS[self._distribution].inverse(torch.from_numpy(log_survival)).numpy()
        )
        return z


def _line(output: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return level and slope of the standard quantile over the scaled log time."""
    rise = output[..., 1].exp()
    return (-rise * output[..., 0]).numpy(), rise.numpy()
