"""Scores of predictions for one of several competing causes of an event."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sksurv.exceptions import NoComparablePairException
from sksurv.util import Surv

from sksurvtorch._validation import check_competing_risks_y, check_number, for_numpy
from sksurvtorch.metrics import _concordance as pairs
from sksurvtorch.metrics._groups import quantile_groups

Array = NDArray[Any]

# Probabilities may be off by what sums of float32 are off.
_ROUNDING = 1e-5


def concordance_index_competing_risks(
    y: Any,
    estimate: Any,
    *,
    cause: int = 1,
    tied_tol: float = 1e-8,
    sample_weight: Any = None,
) -> tuple[float, float, float, float, float]:
    r"""Concordance index for the events of one cause, in O(n log n) time.

    It is `concordance_index_censored` with the events of the cause, where a row with an event of
    another cause is free of this one ever after: every event of the cause, earlier or later, is
    comparable with it [1]_.

    Parameters
    ----------
    y : structured array of shape (n_samples,)
        Status (0 for a censored row, else the number of the cause of its event) and time.
    estimate : array of shape (n_samples,)
        Risk of the cause, such as its cumulative incidence at some time: the higher, the earlier.
    cause : int, default=1
        The cause whose events count.
    tied_tol : float, default=1e-8
        Estimates this close are tied.
    sample_weight : array of shape (n_samples,), optional
        A pair counts as the product of the weights of its two rows.

    Returns
    -------
    cindex : float
        The concordance index: 1 for a perfect order, 0.5 on average for a random one.
    concordant, discordant, tied_risk, tied_time : int, or float with `sample_weight`
        Numbers of pairs, as `concordance_index_censored` returns them.

    Raises
    ------
    NoComparablePairException
        If no pair is comparable.
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    See Also
    --------
    concordance_index_competing_risks_ipcw : With weights against the censoring.

    References
    ----------
    .. [1] M. Wolbers, M. T. Koller, J. C. M. Witteman, E. W. Steyerberg, "Prognostic models with
       competing risks: methods and application to coronary risk prediction", Epidemiology 20,
       2009, doi:10.1097/EDE.0b013e3181a39056.

    Examples
    --------
    The event of cause 1 at 3 should have a higher risk than the row with cause 2, and than the
    censored one:

    >>> from sksurvtorch.metrics import concordance_index_competing_risks
    >>> from sksurvtorch.nets import competing_risks_y
    >>> y = competing_risks_y([2, 1, 0], [1, 3, 4])
    >>> concordance_index_competing_risks(y, [0.1, 0.5, 0.7])
    (0.5, 1, 1, 0, 0)
    """
    status, time = _check_y(y, "y")
    event, rank = _ever_after(status, time, cause)
    return pairs.concordance_index_censored(
        event, rank, estimate, tied_tol=tied_tol, sample_weight=sample_weight
    )


def concordance_index_competing_risks_ipcw(
    survival_train: Any,
    survival_test: Any,
    estimate: Any,
    *,
    cause: int = 1,
    tau: float | None = None,
    tied_tol: float = 1e-8,
) -> tuple[float, float, float, float, float]:
    r"""Concordance index for one cause that does not depend on the censoring.

    The pairs are those of `concordance_index_competing_risks`. With :math:`\hat G` the
    Kaplan-Meier estimate of the probability to be uncensored, an event at t counts
    :math:`1 / \hat G(t)^2` times with a row that is at risk after it, and
    :math:`1 / (\hat G(t) \hat G(u))` times with a row that had an event of another cause at
    :math:`u \le t` [1]_.

    Parameters
    ----------
    survival_train : structured array of shape (n_train,)
        Status and time of the training data, from which the censoring is estimated.
    survival_test : structured array of shape (n_samples,)
        Status and time of the rows that are judged.
    estimate : array of shape (n_samples,)
        Risk of the cause: the higher, the earlier.
    cause : int, default=1
        The cause whose events count.
    tau : float, optional
        Only events before this time count.
    tied_tol : float, default=1e-8
        Estimates this close are tied.

    Returns
    -------
    cindex : float
        The concordance index: 1 for a perfect order, 0.5 on average for a random one.
    concordant, discordant, tied_risk, tied_time : int
        Numbers of pairs without weights and `tau`.

    Raises
    ------
    NoComparablePairException
        If no pair counts.
    ValueError, TypeError
        If an argument has the wrong kind, shape or content, or if the training data cannot tell the
        probability of being uncensored at a time of an event.

    Notes
    -----
    O(n log n) time. With one cause it is `concordance_index_ipcw`.

    References
    ----------
    .. [1] M. Wolbers, P. Blanche, M. T. Koller, J. C. M. Witteman, T. A. Gerds, "Concordance for
       prognostic models with competing risks", Biostatistics 15, 2014,
       doi:10.1093/biostatistics/kxt059.

    Examples
    --------
    Without censoring it is the index without weights:

    >>> from sksurvtorch.metrics import concordance_index_competing_risks_ipcw
    >>> from sksurvtorch.nets import competing_risks_y
    >>> y = competing_risks_y([2, 1, 1], [1, 3, 4])
    >>> concordance_index_competing_risks_ipcw(y, y, [0.1, 0.5, 0.7])
    (0.666..., 2, 1, 0, 0)
    """
    check_number("tied_tol", tied_tol, float, 0)
    if tau is not None:
        check_number("tau", tau, float, 0)
    status, time = _check_y(survival_test, "survival_test")
    event, rank = _ever_after(status, time, cause)
    _, *counts = pairs.concordance_index_censored(event, rank, estimate, tied_tol=tied_tol)
    _, _, risk = pairs.check_rows(event, time, estimate)
    counting = event if tau is None else event & (time < tau)
    others = (status > 0) & ~event
    needed = counting | (others & (time < time[counting].max(initial=-np.inf)))
    weight = pairs.censoring_weights(_any_event(survival_train), time, needed)
    of_event, none = weight * counting, np.ones(len(time))
    total = pairs.sums_of_pairs(event, time, risk, tied_tol, weight * of_event, none)
    if needed[others].any():
        # Back in time, rows with another event before an event are those that outlive it.
        place = np.unique(time, return_inverse=True)[1]
        back = -2 * place - others
        at = event | others
        of_row = (weight * others)[at]
        total += pairs.sums_of_pairs(event[at], back[at], risk[at], tied_tol, of_event[at], of_row)
    concordant, _, tied = total
    if not total.sum() > 0:
        raise NoComparablePairException(
            f"`tau` must leave an event of cause {cause} before it that is comparable with some "
            f"row, got {tau}. The concordance index is not defined: raise it."
        )
    cindex = float((concordant + tied / 2) / total.sum())
    return cindex, counts[0], counts[1], counts[2], counts[3]


def brier_score_incidence(
    survival_train: Any, survival_test: Any, estimate: Any, times: Any, *, cause: int = 1
) -> tuple[Array, Array]:
    r"""Brier score of the predicted cumulative incidence of one cause, at each time.

    With :math:`F(t | x)` the prediction and :math:`\hat G` the Kaplan-Meier estimate of the
    probability to be uncensored, it is the mean over the rows of

    .. math::

        \frac{(1_{\{T \le t,\, \text{cause}\}} - F(t | x))^2}{\hat G(T)} \; 1_{\{T \le t,\,
        \text{any event}\}} + \frac{F(t | x)^2}{\hat G(t)} \; 1_{\{T > t\}}

    A row censored before t has no part, which the weights of the others make up for. The score
    is proper: the true incidence has the least, if the censoring does not depend on x.

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
    status, time = _check_y(survival_test, "survival_test")
    check_number("cause", cause, int, 1)
    grid = _check_times(times)
    probability = _check_probability(estimate, (len(time), len(grid)))
    train, needed = _any_event(survival_train), (status > 0) & (time <= grid.max())
    of_event = pairs.censoring_weights(train, time, needed, "Let the last of `times` be ")
    uncensored = pairs.censoring_curve(train).predict_proba(grid)
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
    grid = _check_times(times)
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
    status, times = _check_y(y, "y")
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


def _ever_after(status: Array, time: Array, cause: int) -> tuple[Array, Array]:
    """Return which rows have an event of the cause, and ranks of times: other events last."""
    check_number("cause", cause, int, 1)
    event = status == cause
    rank = np.unique(time, return_inverse=True)[1]
    return event, np.where((status > 0) & ~event, len(time), rank)


def _any_event(survival_train: Any) -> Array:
    """Return the training data with one kind of event."""
    status, time = _check_y(survival_train, "survival_train")
    y: Array = Surv.from_arrays(status > 0, time)
    return y


def _check_y(y: Any, name: str) -> tuple[Array, Array]:
    """Return status and time."""
    status, time = check_competing_risks_y(y, "score", name=name)
    return status, time


def _check_times(times: Any) -> Array:
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
