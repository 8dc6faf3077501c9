"""Bands and intervals of a Cox model."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from sksurvtorch import _validation as validation
from sksurvtorch.estimators._bands import STEPS, Jackknife, Pair, SteppedBand, as_curves
from sksurvtorch.estimators._baseline import Baseline, find_strata
from sksurvtorch.estimators._cox_predictions import CoxPredictions
from sksurvtorch.estimators._intervals import IntervalEstimator
from sksurvtorch.functional import breslow_baseline
from sksurvtorch.nets.dataset import SurvivalDataset


class CoxIntervals(CoxPredictions, IntervalEstimator):
    """Cox model whose ensembles say how sure they are.

    Each member has a baseline hazard of its own, Breslow's of the rows that it has seen.
    """

    def predict_survival_interval(
        self, X: Any, level: float = 0.9, *, times: Any = None, stratum: Any = None
    ) -> Pair:
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
            Times of the bounds, each from 0 to the last time of the fit, or of each stratum asked
            for; `unique_times_` if left out, where bounds stay as they are behind the last time of
            their stratum.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

        Returns
        -------
        lower : array of shape (n_samples, n_times)
            Lower bounds, at most `predict_survival_function`. They do not rise with time, and are 1
            before the first event.
        upper : array of shape (n_samples, n_times)
            Upper bounds, in the same way.

        Raises
        ------
        ValueError
            If the model is no ensemble of five networks or more that one call of `fit` has trained.

        Notes
        -----
        On the scale log(-log S) the band is the curve plus and minus a quantile of Student's t
        times a standard error. Its variance is that of a delete-a-group jackknife of the members'
        curves [1]_, with the baseline hazard of each, plus the variance between members of
        different penalties, plus two terms for what all members have in common, as predictions out
        of bag show: that they differ too much or too little between people, by their calibration
        slope [2]_, and that they miss effects of features, by a variance component of their
        residuals [3]_.

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
        return self._band(X, level, times, stratum, survival=True)

    def predict_cumulative_hazard_interval(
        self, X: Any, level: float = 0.9, *, times: Any = None, stratum: Any = None
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
            Times of the bounds, each from 0 to the last time of the fit, or of each stratum asked
            for; `unique_times_` if left out, where bounds stay as they are behind the last time of
            their stratum.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

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
        return self._band(X, level, times, stratum, survival=False)

    def predict_quantile_interval(
        self, X: Any, probability: Any, level: float = 0.9, *, stratum: Any = None
    ) -> Pair:
        """Predict an interval for the time by which the event has happened with a probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        probability : float or array-like of shape (n_quantiles,)
            Probability of the event: 0.25 asks for the time at which survival has fallen to 0.75.
        level : float, default=0.9
            Probability, above 0 and below 1, with which an interval is meant to hold the truth.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

        Returns
        -------
        lower : array of shape (n_samples,), or (n_samples, n_quantiles)
            Times at which the lower bound of `predict_survival_interval` has fallen to
            1 - probability, at most `predict_quantile`.
        upper : array of shape (n_samples,), or (n_samples, n_quantiles)
            Times at which the upper bound has; infinite where survival may stay above
            within the follow-up.

        Raises
        ------
        ValueError
            If the model is no ensemble of five networks or more that one call of `fit` has trained.
        """
        return self._quantiles(X, probability, level, stratum)

    def predict_median_interval(self, X: Any, level: float = 0.9, *, stratum: Any = None) -> Pair:
        """Predict an interval for the median time of the event.

        It is for the median of the distribution of a person's time, not for the time itself.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        level : float, default=0.9
            Probability, above 0 and below 1, with which an interval is meant to hold the truth.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

        Returns
        -------
        lower : array of shape (n_samples,)
            Earliest medians, at most `predict_median`, in the unit of the training times.
        upper : array of shape (n_samples,)
            Latest medians; infinite where survival may stay above one half
            within the follow-up.

        Raises
        ------
        ValueError
            If the model is no ensemble of five networks or more that one call of `fit` has trained.
        """
        return self._quantiles(X, 0.5, level, stratum)

    def predict_time_interval(self, X: Any, level: float = 0.9, *, stratum: Any = None) -> Pair:
        """Predict an interval for the time of a new person's event.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        level : float, default=0.9
            Probability, above 0 and below 1, with which a time is meant to lie within. Each bound
            alone is meant to hold with probability (1 + level) / 2.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

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
        hazard = np.array(self._hazard_bounds(level))
        log_hazard_ratio = self.predict(X)
        rows = find_strata(stratum, self.strata_, len(log_hazard_ratio))
        times = self._baseline.reached(log_hazard_ratio, rows, hazard)
        times[:, hazard == 0] = 0.0
        return times[:, 0], times[:, 1]

    def _learn_members(
        self, dataset: SurvivalDataset, outputs: Tensor, left_out: Tensor
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return the baselines of the members, and the sum of hazards at each own time."""
        assert dataset.y is not None
        columns = dict(dataset.y.items())
        time = columns["time"].numpy()
        stratum = np.zeros(len(time), dtype=int)
        if "stratum" in columns:
            stratum = columns["stratum"].numpy()
        kept = self._baseline.thinned(STEPS)
        of_kept = np.repeat(np.arange(kept.n_strata), np.diff(kept.offsets))
        members = np.empty((len(outputs), len(kept.times)))
        hazard = np.zeros(len(time))
        weights = self.member_weights_
        for k, (output, own) in enumerate(zip(outputs[:, :, 0], left_out, strict=True)):
            seen: dict[str, Any] = {name: column[~own] for name, column in columns.items()}
            baseline = Baseline.of(breslow_baseline(output[~own].double(), **seen), kept.n_strata)
            members[k] = baseline.at(of_kept, kept.times)
            if weights[k] > 0:  # an infinite hazard would count otherwise
                out = own.numpy()
                log_hazard = baseline.at(stratum[out], time[out]) + output[own].double().numpy()
                with np.errstate(over="ignore"):
                    hazard[out] += weights[k] * np.exp(log_hazard)
        return {"offsets": kept.offsets, "times": kept.times, "members": members}, hazard

    def _off_center(self, output: Tensor) -> np.ndarray:
        """Return the log hazard ratio, whose mean over the training data is 0."""
        return self._risk_score(output)

    def _band(self, X: Any, level: float, times: Any, stratum: Any, *, survival: bool) -> Pair:
        """Return bounds of survival or of the cumulative hazard."""
        band, samples = self._stepped(X, level, stratum)
        grid = self._check_times(times, None, samples[-1])
        return as_curves(*band.over_time(*samples, grid), survival=survival)

    def _quantiles(self, X: Any, probability: Any, level: float, stratum: Any) -> Pair:
        """Return bounds of quantiles of the time."""
        band, samples = self._stepped(X, level, stratum)
        asked = validation.check_probability(np.atleast_1d(probability)).numpy()
        with np.errstate(divide="ignore"):
            needed = np.log(-np.log1p(-asked))
        pair = band.reached(*samples, needed)
        for time in pair:
            time[:, asked == 0] = 0.0
        return (pair[0][:, 0], pair[1][:, 0]) if np.ndim(probability) == 0 else pair

    def _stepped(
        self, X: Any, level: float, stratum: Any
    ) -> tuple[SteppedBand, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Return the band, and what it takes of some samples."""
        quantile = self._quantile_of(level)
        output, outputs = self._outputs(X)
        rows = find_strata(stratum, self.strata_, len(output))
        basis = self._interval_basis
        # Only the places of these steps count.
        steps = Baseline(basis["offsets"], basis["times"], basis["members"][0])
        jackknife = Jackknife.of(self.member_weights_)
        band = SteppedBand(self._baseline, steps, basis["members"], jackknife, quantile)
        extra = self._common_variance(output)
        return band, (self._risk_score(output), outputs[:, :, 0].numpy(), extra, rows)
