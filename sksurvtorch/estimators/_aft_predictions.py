"""What accelerated failure time models predict: parameters, functions of time, times."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sksurvtorch.estimators._functions import (
    ContinuousFunction,
    check_conditional_after,
    pieces,
)
from sksurvtorch.estimators._intervals import IntervalEstimator
from sksurvtorch.functional import (
    aft_log_survival,
    aft_mean,
    aft_mean_residual_life,
    aft_quantile,
)


class AFTPredictions(IntervalEstimator):
    """Model whose log time has a location and a scale, with a distribution that is known."""

    #: Name of the distribution, one of `sksurvtorch.functional.aft_neg_log_likelihood`.
    _distribution: ClassVar[str]

    log_time_center_: float
    log_time_spread_: float
    unique_times_: np.ndarray

    def predict_params(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Predict the parameters of the distribution of the time.

        The logarithm of the time has the location log(scale) and the scale 1 / shape.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        scale : array of shape (n_samples,)
            The higher, the later the event, in the unit of the training times. By this time 63 %
            have had the event in a Weibull model; it is the median of the others.
        shape : array of shape (n_samples,)
            The higher, the less times vary.
        """
        scale, shape = self._log_params(X).exp().numpy().T
        return scale, shape

    def predict_cumulative_hazard_function(
        self,
        X: Any,
        return_array: bool = False,
        *,
        times: Any = None,
        conditional_after: Any = None,
    ) -> np.ndarray:
        """Predict the cumulative hazard over time.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        return_array : bool, default=False
            Return the values at `unique_times_` rather than functions.
        times : array-like of shape (n_times,) or (n_samples, n_times), optional
            Return the values at these times, or at those of each sample, each at least 0.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time at which a sample is known to be event-free, at least 0: what has accumulated since
            then, 0 before.

        Returns
        -------
        array of shape (n_samples,) of functions, or (n_samples, n_times) of float
            Cumulative hazard functions, exact at any time from 0 on.
        """
        return self._functions(torch.neg, X, return_array, times, conditional_after)

    def predict_survival_function(
        self,
        X: Any,
        return_array: bool = False,
        *,
        times: Any = None,
        conditional_after: Any = None,
    ) -> np.ndarray:
        """Predict survival over time, the probability that the event is later.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        return_array : bool, default=False
            Return the values at `unique_times_` rather than functions.
        times : array-like of shape (n_times,) or (n_samples, n_times), optional
            Return the values at these times, or at those of each sample, each at least 0.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time s at which a sample is known to be event-free, at least 0: then survival is
            S(t) / S(s), and 1 before s. Times still count from 0, not from s.

        Returns
        -------
        array of shape (n_samples,) of functions, or (n_samples, n_times) of float
            Survival functions, exact at any time from 0 on.
        """
        return self._functions(torch.exp, X, return_array, times, conditional_after)

    def predict_quantile(
        self, X: Any, probability: Any, *, conditional_after: Any = None
    ) -> np.ndarray:
        """Predict the time by which the event has happened with a given probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        probability : float or array-like of shape (n_quantiles,)
            Probability of the event: 0.25 asks for the time at which survival has fallen to 0.75.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time at which a sample is known to be event-free, at least 0.

        Returns
        -------
        array of shape (n_samples,), or (n_samples, n_quantiles) for several probabilities
            Times in the unit of the training times, counted from 0.
        """
        log_params = self._log_params(X)
        asked = torch.from_numpy(np.atleast_1d(np.asarray(probability, dtype=float)))
        after = self._after(conditional_after, len(log_params))
        found = aft_quantile(log_params, asked, after=after, distribution=self._distribution)
        quantile: np.ndarray = found.numpy()
        return quantile[:, 0] if np.ndim(probability) == 0 else quantile

    def predict_median(self, X: Any, *, conditional_after: Any = None) -> np.ndarray:
        """Predict the median time of the event.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time at which a sample is known to be event-free, at least 0.

        Returns
        -------
        array of shape (n_samples,)
            Times in the unit of the training times, counted from 0.
        """
        return self.predict_quantile(X, 0.5, conditional_after=conditional_after)

    def predict_expectation(self, X: Any, *, conditional_after: Any = None) -> np.ndarray:
        """Predict the mean time of the event.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time at which a sample is known to be event-free, at least 0.

        Returns
        -------
        array of shape (n_samples,)
            Times in the unit of the training times, counted from 0; infinite for a log-logistic
            distribution of shape 1 or below, which has no mean.
        """
        log_params = self._log_params(X)
        after = self._after(conditional_after, len(log_params))
        mean: np.ndarray = aft_mean(
            log_params, after=after, distribution=self._distribution
        ).numpy()
        return mean

    def predict_mean_residual_life(self, X: Any, conditional_after: Any) -> np.ndarray:
        """Predict the mean time from a time without an event to the event.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        conditional_after : float or array-like of shape (n_samples,)
            Time at which a sample is known to be event-free, at least 0.

        Returns
        -------
        array of shape (n_samples,)
            Mean remaining times: `predict_expectation` less `conditional_after`.
        """
        log_params = self._log_params(X)
        after = check_conditional_after(conditional_after, len(log_params), self._follow_up())
        remaining: np.ndarray = aft_mean_residual_life(
            log_params, torch.from_numpy(after), distribution=self._distribution
        ).numpy()
        return remaining

    def _log_params(self, X: Any) -> Tensor:
        """Return log scale and log shape of new samples in the unit of the training times."""
        return self._in_units_of_time(self._output(X))

    def _in_units_of_time(self, output: Tensor) -> Tensor:
        """Return log scale and log shape in the unit of the training times."""
        log_scale, log_shape = output.T
        spread = self.log_time_spread_
        return torch.stack(
            [self.log_time_center_ + spread * log_scale, log_shape - math.log(spread)], dim=1
        )

    def _functions(
        self,
        function: Callable[[Tensor], Tensor],
        X: Any,
        return_array: bool,
        times: Any,
        conditional_after: Any,
    ) -> np.ndarray:
        """Return a function of log survival at `times` or `unique_times_`, or as functions."""
        as_array = self._is_array_wanted(return_array, times)
        log_params = self._log_params(X)
        n_samples = len(log_params)
        after = self._after(conditional_after, n_samples)
        grid = self._check_times(times, n_samples).astype(float)
        values, at = np.empty((n_samples, grid.shape[-1])), torch.from_numpy(grid)
        for piece in pieces(*values.shape):
            rows = at if at.ndim == 1 else at[piece]
            given = None if after is None else after[piece]
            log_survival = aft_log_survival(
                log_params[piece], rows, after=given, distribution=self._distribution
            )
            values[piece] = function(log_survival).numpy()
        if as_array:
            return values
        functions = np.empty(n_samples, dtype=object)
        for i, row in enumerate(values):
            given = None if after is None else after[i : i + 1].clone()
            params = log_params[i : i + 1].clone()  # a view would keep those of all samples
            own = partial(_evaluate, self._distribution, function, params, given)
            functions[i] = ContinuousFunction(grid, row, own)
        return functions

    def _after(self, conditional_after: Any, n_samples: int) -> Tensor | None:
        """Return the times at which samples are known to be event-free, if they are."""
        after = self._check_after(conditional_after, n_samples)
        return None if after is None else torch.from_numpy(after)


def _evaluate(
    distribution: str,
    function: Callable[[Tensor], Tensor],
    log_params: Tensor,
    after: Tensor | None,
    times: np.ndarray,
) -> np.ndarray:
    """Return a function of log survival of one sample at some times."""
    at = torch.from_numpy(times)
    log_survival = aft_log_survival(log_params, at, after=after, distribution=distribution)
    values: np.ndarray = function(log_survival)[0].numpy()
    return values
