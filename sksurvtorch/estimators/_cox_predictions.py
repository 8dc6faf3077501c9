"""Survival, hazards and times of a Cox model."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sksurvtorch import _validation as validation
from sksurvtorch.estimators._base import SurvivalNetEstimator
from sksurvtorch.estimators._baseline import Baseline, find_strata
from sksurvtorch.estimators._functions import check_conditional_after, step_functions


class CoxPredictions(SurvivalNetEstimator):
    """Cox model that predicts curves and times: a baseline hazard and log hazard ratios."""

    strata_: np.ndarray | None
    _baseline: Baseline

    def predict_cumulative_hazard_function(
        self,
        X: Any,
        return_array: bool = False,
        *,
        times: Any = None,
        conditional_after: Any = None,
        stratum: Any = None,
    ) -> np.ndarray:
        """Predict the cumulative hazard over time.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        return_array : bool, default=False
            Return the values at `unique_times_` rather than functions.
        times : array-like of shape (n_times,) or (n_samples, n_times), optional
            Return the values at these times, each from 0 to the last time of the fit, or of the
            sample's stratum. A row for each sample has times of its own.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time at which a sample is known to be event-free, from 0 to the last time of the fit, or
            of its stratum. The hazard is counted from there: it is H(t) - H(conditional_after), and
            0 before.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

        Returns
        -------
        array of shape (n_samples,) of StepFunction, or (n_samples, n_times) of float
            Cumulative hazard functions: 0 before the first event. Behind the last time of its
            stratum a function stays as it is, which is no prediction.
        """
        return self._functions(X, stratum, return_array, times, conditional_after, survival=False)

    def predict_survival_function(
        self,
        X: Any,
        return_array: bool = False,
        *,
        times: Any = None,
        conditional_after: Any = None,
        stratum: Any = None,
    ) -> np.ndarray:
        """Predict survival over time, the probability that the event is later.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        return_array : bool, default=False
            Return the values at `unique_times_` rather than functions.
        times : array-like of shape (n_times,) or (n_samples, n_times), optional
            Return the values at these times, each from 0 to the last time of the fit, or of the
            sample's stratum. A row for each sample has times of its own.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time at which a sample is known to be event-free, from 0 to the last time of the fit, or
            of its stratum. The probability is given that: it is S(t) / S(conditional_after), and 1
            before. Times still count from 0, not from there.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

        Returns
        -------
        array of shape (n_samples,) of StepFunction, or (n_samples, n_times) of float
            Survival functions: 1 before the first event. Behind the last time of its stratum a
            function stays as it is, which is no prediction.
        """
        return self._functions(X, stratum, return_array, times, conditional_after, survival=True)

    def predict_quantile(
        self, X: Any, probability: Any, *, conditional_after: Any = None, stratum: Any = None
    ) -> np.ndarray:
        """Predict the time by which the event has happened with a given probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        probability : float or array-like of shape (n_quantiles,)
            Probability of the event: 0.25 asks for the time at which survival has fallen to 0.75.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time at which a sample is known to be event-free, from 0 to the last time of the fit, or
            of its stratum. The probability is given that; the result is a time since 0 all the
            same, not the time that remains (lifelines sets the clock back to 0).
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

        Returns
        -------
        array of shape (n_samples,), or (n_samples, n_quantiles) for several probabilities
            The first time at which survival is at most 1 - probability, in the unit of the
            training times; infinite where it stays above within the follow-up.
        """
        log_hazard_ratio = self.predict(X)
        asked = validation.check_probability(np.atleast_1d(probability)).numpy()
        rows = find_strata(stratum, self.strata_, len(log_hazard_ratio))
        after = self._check_after(conditional_after, len(rows), rows)
        quantile = self._baseline.quantile(log_hazard_ratio, rows, asked, after)
        return quantile[:, 0] if np.ndim(probability) == 0 else quantile

    def predict_median(
        self, X: Any, *, conditional_after: Any = None, stratum: Any = None
    ) -> np.ndarray:
        """Predict the median time of the event.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time at which a sample is known to be event-free, from 0 to the last time of the fit, or
            of its stratum. The median is that of those who are; it is a time since 0 all the same,
            not the time that remains (lifelines sets the clock back to 0).
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

        Returns
        -------
        array of shape (n_samples,)
            The first time at which survival is at most one half, in the unit of the training
            times; infinite where it stays above within the follow-up.
        """
        return self.predict_quantile(X, 0.5, conditional_after=conditional_after, stratum=stratum)

    def predict_expectation(
        self, X: Any, *, conditional_after: Any = None, stratum: Any = None
    ) -> np.ndarray:
        """Predict the mean time of the event, restricted to the follow-up.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time at which a sample is known to be event-free, from 0 to the last time of the fit, or
            of its stratum. The mean is that of those who are; it is a time since 0 all the same.
            `predict_mean_residual_life` counts from there.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

        Returns
        -------
        array of shape (n_samples,)
            Integral of survival from 0 to the last training time, or that of the sample's stratum,
            in the unit of the training times. Means of strata with different last times cannot be
            compared.
        """
        log_hazard_ratio = self.predict(X)
        rows = find_strata(stratum, self.strata_, len(log_hazard_ratio))
        after = self._check_after(conditional_after, len(rows), rows)
        times, last = self.unique_times_, self._follow_up(rows).last
        return self._baseline.restricted_mean(log_hazard_ratio, rows, times, after, last)

    def predict_mean_residual_life(
        self, X: Any, conditional_after: Any, *, stratum: Any = None
    ) -> np.ndarray:
        """Predict the mean time that remains until the event, within the follow-up.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        conditional_after : float or array-like of shape (n_samples,)
            Time at which a sample is known to be event-free, from 0 to the last time of the fit, or
            of its stratum.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

        Returns
        -------
        array of shape (n_samples,)
            Integral of S(t) / S(conditional_after) from there to the last training time, or that of
            the sample's stratum, in the unit of the training times. `predict_expectation` is the
            sum of both.
        """
        log_hazard_ratio = self.predict(X)
        rows = find_strata(stratum, self.strata_, len(log_hazard_ratio))
        follow_up = self._follow_up(rows)
        after = check_conditional_after(conditional_after, len(rows), follow_up)
        times, last = self.unique_times_, follow_up.last
        return self._baseline.mean_residual_life(log_hazard_ratio, rows, times, after, last)

    @property
    def log_baseline_cumulative_hazard_(self) -> np.ndarray:
        """Log baseline cumulative hazard, (n_strata, n_unique_times), made when it is read."""
        check_is_fitted(self, "_baseline")
        return self._baseline.table(np.arange(self._baseline.n_strata), self.unique_times_)

    @property
    def _baseline_steps(self) -> dict[str, np.ndarray]:
        """The baseline hazard as arrays, as a file holds it."""
        return dict(vars(self._baseline))

    @_baseline_steps.setter
    def _baseline_steps(self, steps: dict[str, np.ndarray]) -> None:
        self._baseline = Baseline(**steps)

    def _functions(
        self,
        X: Any,
        stratum: Any,
        return_array: bool,
        times: Any,
        conditional_after: Any,
        *,
        survival: bool,
    ) -> np.ndarray:
        """Return survival or cumulative hazard at `times` or `unique_times_`, or as functions."""
        as_array = self._is_array_wanted(return_array, times)
        log_hazard_ratio = self.predict(X)
        n_samples = len(log_hazard_ratio)
        rows = find_strata(stratum, self.strata_, n_samples)
        grid = self._check_times(times, n_samples, rows)
        after = self._check_after(conditional_after, n_samples, rows)
        values = self._baseline.over_time(
            log_hazard_ratio, rows, grid, survival=survival, after=after
        )
        if as_array:
            return values
        return step_functions(grid, values, start=float(survival))
