"""Scorers for searches and cross-validation, of competing risks and of the likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sksurvtorch._validation import check_number, check_option
from sksurvtorch.metrics._competing_risks import (
    check_y,
    concordance_index_competing_risks,
    concordance_index_competing_risks_ipcw,
)
from sksurvtorch.metrics._incidence import check_times, integrated_brier_score_incidence
from sksurvtorch.metrics._last_step import last_step

SCORES = ("integrated_brier", "concordance", "concordance_ipcw")
# Shares of the events before the first of the times and after the last, and how many there are.
_TAIL, _N_TIMES = 0.1, 20


@dataclass(frozen=True, repr=False)
class IncidenceScorer:
    """What `make_incidence_scorer` returns: call it with a fitted estimator, X and y."""

    score: str
    cause: int
    times: tuple[float, ...] | None

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """Return the score, which is the higher, the better."""
        status, time = check_y(y, "y")
        if not (status == self.cause).any():
            raise ValueError(
                f"`y` must have an event of cause {self.cause} for a score, got {len(time)} rows "
                "without. Use fewer folds, or stratify them by the status."
            )
        times = np.array(self.times or _default_times(status, time, self.score))
        incidence = _incidence(estimator, X, self.cause, times)
        if self.score == "integrated_brier":
            return -integrated_brier_score_incidence(y, y, incidence, times, cause=self.cause)
        risk = incidence[:, 0]
        if self.score == "concordance":
            return float(concordance_index_competing_risks(y, risk, cause=self.cause)[0])
        result = concordance_index_competing_risks_ipcw(
            y, y, risk, cause=self.cause, tau=float(times[0])
        )
        return float(result[0])

    def __repr__(self) -> str:
        times = "" if self.times is None else f", times={list(self.times)}"
        return f"make_incidence_scorer({self.score!r}, cause={self.cause}{times})"


def make_incidence_scorer(
    score: str = "integrated_brier", *, cause: int = 1, times: Any = None
) -> IncidenceScorer:
    """Make a scorer of predicted cumulative incidences, to be passed as `scoring`.

    Parameters
    ----------
    score : {"integrated_brier", "concordance", "concordance_ipcw"}, default="integrated_brier"
        ``"integrated_brier"`` is minus the integrated Brier score of the incidence, so that higher
        is better. ``"concordance"`` orders the samples by their incidence at one time, and
        ``"concordance_ipcw"`` counts the events before that time with weights against the
        censoring.
    cause : int, default=1
        The cause whose incidence is judged.
    times : float or array-like of shape (n_times,), optional
        Times of the incidences: ascending, two at least, for the Brier score, one for a
        concordance. By default of each y they are 20 times between those by which a tenth and nine
        tenths of the events of any cause have happened, or the last of these.

    Returns
    -------
    callable
        Takes a fitted estimator, X and y, and returns a number. The estimator, or the last step of
        a pipeline, has to have `predict_cumulative_incidence`.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind or content.

    See Also
    --------
    sksurvtorch.CompetingRisksNNRegressor : Its own `score` orders by the log hazard ratio.

    Notes
    -----
    The censoring is estimated from the rows that are judged. Of models with strata the scorer can
    make no predictions: score these in a loop. ``"concordance"`` counts later events, too.

    Folds have their share of each cause with
    ``cv=list(StratifiedKFold(5).split(X, y["status"]))``.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from sksurv.datasets import load_bmt
    >>> from sksurvtorch import CompetingRisksNNRegressor
    >>> from sksurvtorch.metrics import make_incidence_scorer
    >>> X, y = load_bmt()
    >>> model = CompetingRisksNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs", alpha=1)
    >>> scorer = make_incidence_scorer("concordance", cause=2, times=12)
    >>> scores = cross_val_score(model, X.astype(float), y, scoring=scorer, cv=3)
    >>> scores.shape
    (3,)
    """
    check_option("score", score, SCORES)
    check_number("cause", cause, int, 1)
    if times is None:
        return IncidenceScorer(score, cause, None)
    grid = check_times(times)
    if score == "integrated_brier":
        if len(grid) < 2 or (np.diff(grid) <= 0).any():
            raise ValueError(
                "`times` must be at least two that ascend for the integrated Brier score, got "
                f"{grid.tolist()}."
            )
    elif len(grid) != 1:
        raise ValueError(f"`times` must be one time for a concordance, got {grid.tolist()}.")
    return IncidenceScorer(score, cause, tuple(grid.tolist()))


def _default_times(status: NDArray[Any], time: NDArray[Any], score: str) -> tuple[float, ...]:
    """Return times within the follow-up, between early and late events."""
    of_events = time[status > 0]
    first, last = np.quantile(of_events, [_TAIL, 1 - _TAIL])
    if score != "integrated_brier":
        return (float(last),)
    if not first < last:
        raise ValueError(
            f"`y` must have events at several times for the integrated Brier score, got all at "
            f"{first:g}. Give `times`."
        )
    return tuple(np.linspace(first, last, _N_TIMES).tolist())


def _incidence(estimator: Any, X: Any, cause: int, times: NDArray[Any]) -> NDArray[Any]:
    """Return the predicted incidence, (n_samples, n_times), also by the end of a pipeline."""
    name = "predict_cumulative_incidence"
    model, X = last_step(estimator, X, name)
    if not hasattr(model, name):
        raise TypeError(
            f"`estimator` must have the method `{name}`, got {type(model).__name__}. Use a "
            "CompetingRisksNNRegressor, or a pipeline or a search that ends in one."
        )
    incidence: NDArray[Any] = model.predict_cumulative_incidence(X, cause=cause, times=times)
    return incidence


def log_likelihood_scorer(estimator: Any, X: Any, y: Any) -> float:
    """Score a fitted model by the log likelihood of held-out rows, for searches.

    Pass it as `scoring` to scikit-learn's searches and cross-validation. It calls the method
    `log_likelihood` of the model at the end of a pipeline or a search: the mean log likelihood of a
    row, an event with its density per unit of time.

    Parameters
    ----------
    estimator : fitted estimator
        Model with `log_likelihood`, such as `sksurvtorch.WeibullAFTRegressor`, or a pipeline or a
        search that ends in one.
    X : array-like of shape (n_samples, n_features)
        Samples.
    y : structured array of shape (n_samples,)
        Event indicator and time of the samples, or lower and upper bounds of their times.

    Returns
    -------
    float
        Mean log likelihood of a row: the higher, the better.

    Raises
    ------
    TypeError
        If the model has no such method.

    Notes
    -----
    It is a proper score: the true distribution has the greatest mean. Differences between models
    do not depend on the unit of time, the score itself does.

    Neither late entry nor weights that `fit` gets are passed on: where there are any, call
    `log_likelihood` with those of the held-out rows.

    Examples
    --------
    >>> from sksurvtorch.metrics import log_likelihood_scorer
    >>> class Constant:
    ...     def log_likelihood(self, X, y):
    ...         return -1.5
    >>> log_likelihood_scorer(Constant(), [[0.0]], [(1.0, 2.0)])
    -1.5
    """
    name = "log_likelihood"
    model, X = last_step(estimator, X, name)
    if not hasattr(model, name):
        raise TypeError(
            f"`estimator` must have the method `{name}`, got {type(model).__name__}. Use an "
            "accelerated failure time model such as WeibullAFTRegressor, or a pipeline or a search "
            "that ends in one."
        )
    return float(model.log_likelihood(X, y))
