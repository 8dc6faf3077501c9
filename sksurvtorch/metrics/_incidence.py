"""Scores of predicted cumulative incidences of one of several causes of an event."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sksurvtorch._validation import check_number, for_numpy
from sksurvtorch.metrics._competing_risks import any_event, check_y
from sksurvtorch.metrics._concordance import censoring_curve, censoring_weights
from sksurvtorch.metrics._groups import quantile_groups

Array = NDArray[Any]

# Probabilities may be off by what sums of float32 are off.
_ROUNDING = 1e-5


def brier_score_incidence(
    survival_train: Any, survival_test: Any, estimate: Any, times: Any, *, cause: int = 1
) -> tuple[Array, Array]:
    r"""Brier score of the predicted cumulative incidence of one cause, at each time.

    With :math:`F(t | x)` the prediction and :math:`\hat G` the Kaplan-Meier estimate of the
    probability to be uncensored, it is the mean over the rows of

    .. math::

        \frac{(1_{\{T \le t,\, \text{cause}\}} - F(t | x))^2}{\hat G(T)} \; 1_{\{T \le t,\,
        \text{any event}\}} + \frac{F(t | x)^2}{\hat G(t)} \; 1_{\{T > t\}}

    A row censored before t has no part, which the weights of the others make up for. If the
    censoring does not depend on x, the true incidence has the least score on average.

    As in scikit-survival and hazardous, :math:`\hat G(T)` counts censorings at T itself. Where
    many events and censorings share times, such as whole months, this is too small and the score
    is wrong: then add a little to the times of all censorings, which come after the events.

    Parameters
    ----------
    survival_train : structured array of shape (n_train,)
        Status (0 for a censored row, else the number of the cause of its event) and time of the
        training data, from which the censoring is estimated.
    survival_test : structured array of shape (n_samples,)
        Status and time of the rows that are judged.
    estimate : array of shape (n_samples, n_times)
        Predicted probability that an event of the cause has happened by each time.
    times : array of shape (n_times,)
        Times of the predictions, within the follow-up of the training data.
    cause : int, default=1
        The cause whose incidence was predicted.

    Returns
    -------
    times : array of shape (n_times,)
        The times.
    brier_scores : array of shape (n_times,)
        The score at each time: 0 is perfect.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content, or if the training data leave no chance
        to be uncensored where it is needed.

    Notes
    -----
    O(n_samples × n_times). With one cause it is scikit-survival's `brier_score` of 1 - F.

    References
    ----------
    .. [1] E. Graf, C. Schmoor, W. Sauerbrei, M. Schumacher, "Assessment and comparison of
       prognostic classification schemes for survival data", Statistics in Medicine 18, 1999.
    .. [2] R. Schoop, J. Beyersmann, M. Schumacher, H. Binder, "Quantifying the predictive accuracy
       of time-to-event models in the presence of competing risks", Biometrical Journal 53, 2011,
       doi:10.1002/bimj.201000073.

    Examples
    --------
    One of the three had an event of cause 1 by time 2, and all were predicted a half:

    >>> import numpy as np
    >>> from sksurvtorch.metrics import brier_score_incidence
    >>> from sksurvtorch.nets import competing_risks_y
    >>> y = competing_risks_y([1, 2, 2], [1, 2, 3])
    >>> brier_score_incidence(y, y, np.full((3, 1), 0.5), [2])
    (array([2.]), array([0.25]))
    """
    status, time = check_y(survival_test, "survival_test")
    check_number("cause", cause, int, 1)
    grid = check_times(times)
    probability = _check_probability(estimate, (len(time), len(grid)))
    train, needed = any_event(survival_train), (status > 0) & (time <= grid.max())
    of_event = censoring_weights(train, time, needed, "Let the last of `times` be ")
    uncensored = censoring_curve(train).predict_proba(grid)
    scores = np.empty(len(grid))
    for column, (t, left) in enumerate(zip(grid, uncensored, strict=True)):
        by_now = time <= t
        later = ~by_now
        if left == 0 and later.any():
            raise ValueError(
                "`survival_train` must leave a chance to be uncensored at each of `times`, got "
                f"none at {t:g}. Leave out that time and later ones."
            )
        happened = by_now & (status == cause)
        weight = of_event * by_now
        weight[later] = 1 / left if left > 0 else 0.0
        scores[column] = np.mean(weight * np.square(happened - probability[:, column]))
    return grid, scores


def integrated_brier_score_incidence(
    survival_train: Any, survival_test: Any, estimate: Any, times: Any, *, cause: int = 1
) -> float:
    """Mean over time of the Brier score of a cumulative incidence.

    The integral of `brier_score_incidence` from the first time to the last, by trapezoids, divided
    by their distance.

    Parameters
    ----------
    survival_train : structured array of shape (n_train,)
        Status and time of the training data, from which the censoring is estimated.
    survival_test : structured array of shape (n_samples,)
        Status and time of the rows that are judged.
    estimate : array of shape (n_samples, n_times)
        Predicted probability that an event of the cause has happened by each time.
    times : array of shape (n_times,)
        Times of the predictions, ascending, two at least.
    cause : int, default=1
        The cause whose incidence was predicted.

    Returns
    -------
    float
        The score: 0 is perfect.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    Examples
    --------
    >>> import numpy as np
    >>> from sksurvtorch.metrics import integrated_brier_score_incidence
    >>> from sksurvtorch.nets import competing_risks_y
    >>> y = competing_risks_y([1, 2, 2], [1, 2, 3])
    >>> integrated_brier_score_incidence(y, y, np.full((3, 2), 0.5), [1, 2])
    0.25
    """
    grid = check_times(times)
    if len(grid) < 2 or (np.diff(grid) <= 0).any():
        raise ValueError(
            f"`times` must be at least two that ascend, got {len(grid)}. Sort them, with the "
            "columns of `estimate`."
        )
    _, scores = brier_score_incidence(survival_train, survival_test, estimate, grid, cause=cause)
    return float(np.trapezoid(scores, grid) / (grid[-1] - grid[0]))


class IncidenceCalibration(NamedTuple):
    """Result of `incidence_calibration`.

    Attributes
    ----------
    predicted : array of shape (n_groups,)
        Mean predicted incidence of each group, ascending.
    observed : array of shape (n_groups,)
        Aalen-Johansen estimate of the incidence in each group.
    group_size : int array of shape (n_groups,)
        Number of samples in each group.
    """

    predicted: Array
    observed: Array
    group_size: Array


def incidence_calibration(
    y: Any, estimate: Any, time: float, *, cause: int = 1, n_groups: int = 10
) -> IncidenceCalibration:
    """Predicted cumulative incidence at one time beside the observed one, by groups of samples.

    The samples are grouped by their prediction. Of well calibrated predictions the means of the
    groups are near their Aalen-Johansen estimates [1]_.

    Parameters
    ----------
    y : structured array of shape (n_samples,)
        Status (0 for a censored row, else the number of the cause of its event) and time.
    estimate : array of shape (n_samples,)
        Predicted probability that an event of the cause has happened by the time.
    time : float
        Time of the predictions, within the follow-up of each group.
    cause : int, default=1
        The cause whose incidence was predicted.
    n_groups : int, default=10
        Number of groups, of about equal size; 1 compares the mean of all.

    Returns
    -------
    IncidenceCalibration
        `predicted`, `observed` and `group_size`.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    Notes
    -----
    Equal predictions are never split between groups. Where they leave fewer groups than asked for,
    a `TiedGroupsWarning` says so. Within a group the censoring has to be independent of the events.

    References
    ----------
    .. [1] M. Wolbers, M. T. Koller, J. C. M. Witteman, E. W. Steyerberg, "Prognostic models with
       competing risks: methods and application to coronary risk prediction", Epidemiology 20,
       2009, doi:10.1097/EDE.0b013e3181a39056.

    Examples
    --------
    Of the first two one has an event of cause 1 by time 2, of the last two both:

    >>> from sksurvtorch.metrics import incidence_calibration
    >>> from sksurvtorch.nets import competing_risks_y
    >>> y = competing_risks_y([1, 2, 1, 1], [1, 2, 1, 2])
    >>> result = incidence_calibration(y, [0.4, 0.5, 0.9, 1.0], 2, n_groups=2)
    >>> result.predicted, result.observed
    (array([0.45, 0.95]), array([0.5, 1. ]))
    """
    status, times = check_y(y, "y")
    check_number("cause", cause, int, 1)
    check_number("time", time, float, 0)
    probability = _check_probability(estimate, (len(times),))
    codes = quantile_groups(probability, n_groups)
    group_size = np.bincount(codes)
    observed = np.empty(len(group_size))
    for code in range(len(group_size)):
        rows = codes == code
        curve = _aalen_johansen(status[rows], times[rows], cause, time)
        if curve is None:
            raise ValueError(
                f"`time` must be within the follow-up of each group, got {time:g}. That of group "
                f"{code + 1} of {len(group_size)}, by ascending prediction, ends with a censoring "
                f"at {times[rows].max():g}. Take an earlier time, or fewer groups."
            )
        observed[code] = curve
    predicted = np.bincount(codes, weights=probability) / group_size
    return IncidenceCalibration(predicted, observed, group_size)


def _aalen_johansen(status: Array, time: Array, cause: int, at: float) -> float | None:
    """Return the Aalen-Johansen estimate at a time, or None after the end of the follow-up."""
    times, place = np.unique(time, return_inverse=True)
    n_rows = np.bincount(place)
    n_at_risk = np.cumsum(n_rows[::-1])[::-1]
    any_event = np.bincount(place[status > 0], minlength=len(times)) / n_at_risk
    own = np.bincount(place[status == cause], minlength=len(times)) / n_at_risk
    survival = np.cumprod(1 - any_event)
    if at > times[-1] and any_event[-1] < 1:
        return None
    return float(np.sum((np.append(1.0, survival[:-1]) * own)[times <= at]))


def check_times(times: Any) -> Array:
    """Return times as an ascending or other array of floats."""
    grid = np.atleast_1d(np.asarray(for_numpy("times", times), dtype=float))
    if grid.ndim != 1 or not len(grid) or not np.isfinite(grid).all():
        raise ValueError(
            f"`times` must be finite, of shape (n_times,), got an array of shape {grid.shape}."
        )
    return grid


def _check_probability(estimate: Any, shape: tuple[int, ...]) -> Array:
    """Return predicted probabilities."""
    checked = np.asarray(for_numpy("estimate", estimate), dtype=float)
    if checked.shape != shape:
        raise ValueError(
            f"`estimate` must have shape {shape}, a row for each sample, got {checked.shape}."
        )
    bad = ~((checked >= -_ROUNDING) & (checked <= 1 + _ROUNDING))
    if bad.any():
        raise ValueError(
            f"`estimate` must be within [0, 1], got {checked[bad][0]:g} ({bad.sum()} of "
            f"{checked.size}). It is the probability that the event has happened."
        )
    return checked
