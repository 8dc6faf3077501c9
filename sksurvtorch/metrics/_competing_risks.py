"""Concordance of risk scores for one of several competing causes of an event."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sksurv.exceptions import NoComparablePairException
from sksurv.util import Surv

from sksurvtorch._validation import check_competing_risks_y, check_number
from sksurvtorch.metrics import _concordance as pairs

Array = NDArray[Any]


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
    status, time = check_y(y, "y")
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
    :math:`u \le t`, after [1]_. As in scikit-survival, censorings at the same time count in
    :math:`\hat G`; where many events and censorings share times, add a little to those of the
    censorings.

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
    status, time = check_y(survival_test, "survival_test")
    event, rank = _ever_after(status, time, cause)
    _, *counts = pairs.concordance_index_censored(event, rank, estimate, tied_tol=tied_tol)
    _, _, risk = pairs.check_rows(event, time, estimate)
    counting = event if tau is None else event & (time < tau)
    others = (status > 0) & ~event
    needed = counting | (others & (time < time[counting].max(initial=-np.inf)))
    weight = pairs.censoring_weights(any_event(survival_train), time, needed)
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


def _ever_after(status: Array, time: Array, cause: int) -> tuple[Array, Array]:
    """Return which rows have an event of the cause, and ranks of times: other events last."""
    check_number("cause", cause, int, 1)
    event = status == cause
    rank = np.unique(time, return_inverse=True)[1]
    return event, np.where((status > 0) & ~event, len(time), rank)


def any_event(survival_train: Any) -> Array:
    """Return the training data with one kind of event."""
    status, time = check_y(survival_train, "survival_train")
    y: Array = Surv.from_arrays(status > 0, time)
    return y


def check_y(y: Any, name: str) -> tuple[Array, Array]:
    """Return status and time."""
    status, time = check_competing_risks_y(y, "score", name=name)
    return status, time
