"""Incidences, survival, hazards and time lost of competing risks."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sksurvtorch import _validation as validation
from sksurvtorch.estimators._base import SurvivalNetEstimator
from sksurvtorch.estimators._baseline import find_strata
from sksurvtorch.estimators._functions import step_functions
from sksurvtorch.estimators._incidence import CausesBaseline, curves_of


class IncidencePredictions(SurvivalNetEstimator):
    """Model of competing risks that predicts curves: baseline hazards and log hazard ratios."""

    n_causes_: int
    strata_: np.ndarray | None
    _baseline: CausesBaseline

    def predict_log_hazard_ratio(self, X: Any) -> np.ndarray:
        """Predict the log hazard ratios of all causes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        array of shape (n_samples, n_causes)
            Log hazard ratios, whose level has no meaning.
        """
        output: np.ndarray = self._output(X).numpy()
        return output

    def predict_cumulative_incidence(
        self,
        X: Any,
        return_array: bool = False,
        *,
        cause: int | None = None,
        times: Any = None,
        conditional_after: Any = None,
        stratum: Any = None,
    ) -> np.ndarray:
        """Predict the probability that an event of each cause has happened, over time.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        return_array : bool, default=False
            Return the values at `unique_times_` rather than functions.
        cause : int, optional
            Cause of the event, from 1 on; all causes if left out.
        times : array-like of shape (n_times,) or (n_samples, n_times), optional
            Return the values at these times, each from 0 to the last time of the fit, or of the
            sample's stratum. A row for each sample has times of its own.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time at which a sample is known to be event-free, from 0 to the last time of the fit, or
            of its stratum. The probability is given that: (F(t) - F(s)) / S(s) with s that time,
            and 0 before. Times still count from 0, not from there.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

        Returns
        -------
        array of shape (n_samples, n_causes) of StepFunction, or (n_samples, n_causes, n_times) of \
float
            Cumulative incidence functions: 0 before the first event. Behind the last time of its
            stratum a function stays as it is, which is no prediction. Without the axis of the
            causes if a `cause` is given.

        Raises
        ------
        ValueError
            With `conditional_after`, if the models of subdistribution hazards do not agree: if the
            incidences of the causes given that add up to more than 1.
        """
        as_array = self._is_array_wanted(return_array, times)
        check_is_fitted(self, "net_")
        if cause is not None:
            self._check_cause(cause)
        incidence, grid = self._curves(X, times, conditional_after, stratum)
        if cause is not None:
            incidence = np.ascontiguousarray(incidence[:, cause - 1])
        if as_array:
            return incidence
        return step_functions(grid, incidence, start=0.0)

    def predict_survival_function(
        self,
        X: Any,
        return_array: bool = False,
        *,
        times: Any = None,
        conditional_after: Any = None,
        stratum: Any = None,
    ) -> np.ndarray:
        """Predict the probability that there is no event of any cause, over time.

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
            before.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

        Returns
        -------
        array of shape (n_samples,) of StepFunction, or (n_samples, n_times) of float
            Survival functions: 1 before the first event. Behind the last time of its stratum a
            function stays as it is, which is no prediction.

        Raises
        ------
        ValueError
            If the model was fitted with ``hazard="subdistribution"``.
        """
        as_array = self._is_array_wanted(return_array, times)
        hazards, grid = self._hazards(X, None, times, conditional_after, stratum)
        survival: np.ndarray = np.exp(np.negative(hazards, out=hazards), out=hazards)
        if as_array:
            return survival
        return step_functions(grid, survival, start=1.0)

    def predict_cumulative_hazard_function(
        self,
        X: Any,
        return_array: bool = False,
        *,
        cause: int | None = None,
        times: Any = None,
        conditional_after: Any = None,
        stratum: Any = None,
    ) -> np.ndarray:
        """Predict the cumulative hazard of one cause, or of all together, over time.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        return_array : bool, default=False
            Return the values at `unique_times_` rather than functions.
        cause : int, optional
            Cause of the event, from 1 on; an event of any cause if left out, whose hazard is the
            sum over the causes.
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
            stratum a function stays as it is, which is no prediction. With subdistribution hazards
            the incidence of the cause is 1 - exp(-hazard).

        Raises
        ------
        ValueError
            If `cause` is left out of a model with ``hazard="subdistribution"``, or
            `conditional_after` is given to it.
        """
        as_array = self._is_array_wanted(return_array, times)
        hazards, grid = self._hazards(X, cause, times, conditional_after, stratum)
        if as_array:
            return hazards
        return step_functions(grid, hazards, start=0.0)

    def predict_restricted_mean_time_lost(
        self,
        X: Any,
        *,
        cause: int | None = None,
        until: float | None = None,
        conditional_after: Any = None,
        stratum: Any = None,
    ) -> np.ndarray:
        """Predict the mean time lost to each cause, up to some time.

        It is the integral of the cumulative incidence from 0 to `until`: how much of that time is
        lost on average by events of the cause.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        cause : int, optional
            Cause of the event, from 1 on; all causes if left out.
        until : float, optional
            End of the time, above 0 and at most the last time of the fit, or of each stratum asked
            for. By default it is that last time, with strata of the sample's own.
        conditional_after : float or array-like of shape (n_samples,), optional
            Time at which a sample is known to be event-free, from 0 to the last time of the fit, or
            of its stratum. The time lost is that of those who are.
        stratum : array-like of shape (n_samples,), optional
            Stratum of each sample; needed if the model was fitted with strata.

        Returns
        -------
        array of shape (n_samples, n_causes), or (n_samples,) for one cause
            Time lost, in the unit of the training times. With cause-specific hazards the sum over
            the causes and the mean time without an event add up to `until`.

        Raises
        ------
        ValueError
            With `conditional_after`, as `predict_cumulative_incidence` does.
        """
        check_is_fitted(self, "net_")
        if until is not None:
            validation.check_number("until", until, float, 0, closed=False)
        if cause is not None:
            self._check_cause(cause)
        output = self._output(X)
        rows = find_strata(stratum, self.strata_, len(output))
        after = self._check_after(conditional_after, len(output), rows)
        end = self._end(until, rows)
        hazard = self._as_fitted.hazard
        lost: np.ndarray = self._baseline.time_lost(output, rows, end, hazard, after)
        return lost if cause is None else np.ascontiguousarray(lost[:, cause - 1])

    @property
    def log_baseline_cumulative_hazard_(self) -> np.ndarray:
        """Log baseline cumulative hazards, (n_strata, n_causes, n_unique_times), made when read."""
        check_is_fitted(self, "_baseline")
        strata = np.arange(self._baseline.n_strata)
        causes = range(1, self.n_causes_ + 1)
        tables = [self._baseline.of_cause(k).table(strata, self.unique_times_) for k in causes]
        return np.stack(tables, axis=1)

    @property
    def _incidence_steps(self) -> dict[str, np.ndarray]:
        """The baseline hazards as arrays, as a file holds them."""
        return dict(vars(self._baseline))

    @_incidence_steps.setter
    def _incidence_steps(self, steps: dict[str, np.ndarray]) -> None:
        self._baseline = CausesBaseline(**steps)

    def _check_cause(self, cause: Any) -> None:
        """Raise unless this is the number of a cause that the model knows."""
        validation.check_number("cause", cause, int, 1)
        if cause > self.n_causes_:
            raise ValueError(
                f"`cause` must be at most {self.n_causes_}, the number of causes of the fit, got "
                f"{cause}. It is the largest status of the rows that count unless `n_causes` is "
                "given."
            )

    def _end(self, until: float | None, rows: np.ndarray) -> np.ndarray:
        """Return up to which time the time lost of each sample counts, if it may."""
        follow_up = self._follow_up(rows)
        last = np.broadcast_to(np.asarray(follow_up.last, dtype=float), rows.shape)
        if until is None:
            return last
        late, hint = until > last, "The model says nothing about later times."
        if follow_up.stratum is not None:
            follow_up.refuse("at most {}", "until", np.array([[until]]), late, hint)
        elif late.any():
            raise ValueError(
                f"`until` must be at most {last[0]}, the follow-up of the fit, got {until}. {hint}"
            )
        return np.full(rows.shape, until, dtype=float)

    def _curves(
        self, X: Any, times: Any, conditional_after: Any, stratum: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the incidences of all causes, and the times at which they are."""
        output = self._output(X)
        rows = find_strata(stratum, self.strata_, len(output))
        grid = self._check_times(times, len(output), rows)
        after = self._check_after(conditional_after, len(output), rows)
        baseline = self._baseline.as_tensors(self._as_fitted.hazard)
        curves = curves_of(baseline, output, rows, grid, after)
        return curves.incidence.numpy(), grid

    def _hazards(
        self, X: Any, cause: int | None, times: Any, conditional_after: Any, stratum: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the cumulative hazard of a cause, or of all, and the times at which it is."""
        check_is_fitted(self, "net_")
        if cause is None and self._as_fitted.hazard == "subdistribution":
            raise ValueError(
                "`hazard` must be 'cause-specific' for survival and the hazard of all causes "
                "together, got 'subdistribution'. Each cause then has a model of its own, whose "
                "incidences can add up to more than 1; give a `cause`, or fit cause-specific "
                "hazards."
            )
        if conditional_after is not None and self._as_fitted.hazard == "subdistribution":
            raise ValueError(
                "`conditional_after` must be None for subdistribution hazards, got a value. Those "
                "who have had another event stay at risk of this one: their hazard is not that of "
                "samples without any. Ask for incidences, or fit cause-specific hazards."
            )
        if cause is not None:
            self._check_cause(cause)
        output = self._output(X).numpy()
        rows = find_strata(stratum, self.strata_, len(output))
        grid = self._check_times(times, len(output), rows)
        after = self._check_after(conditional_after, len(output), rows)
        total = np.zeros((len(output), grid.shape[-1]))
        for k in range(1, self.n_causes_ + 1) if cause is None else [cause]:
            baseline = self._baseline.of_cause(k)
            total += baseline.over_time(output[:, k - 1], rows, grid, survival=False, after=after)
        return total, grid
