"""Concordance of risk scores with interval-censored times, in O(n log n)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sksurv.exceptions import NoComparablePairException

from sksurvtorch._validation import check_interval, check_number, for_numpy
from sksurvtorch.metrics._concordance import Rows, check_vector, check_weight, index_of

Array = NDArray[Any]


class IntervalConcordance(NamedTuple):
    """Result of `concordance_index_interval_censored`.

    Attributes
    ----------
    concordance : float
        The concordance index: 1 for a perfect order, 0.5 on average for a random one.
    concordant : int, or float with `sample_weight`
        Number of concordant pairs.
    discordant : int, or float with `sample_weight`
        Number of discordant pairs.
    tied_risk : int, or float with `sample_weight`
        Number of comparable pairs tied in risk.
    tied_time : int, or float with `sample_weight`
        Number of comparable pairs, tied in risk or not, of which one's upper bound is the other's
        lower one.
    """

    concordance: float
    concordant: float
    discordant: float
    tied_risk: float
    tied_time: float


def concordance_index_interval_censored(
    lower: Any,
    upper: Any,
    estimate: Any,
    *,
    tied_tol: float = 1e-8,
    sample_weight: Any = None,
) -> IntervalConcordance:
    r"""Concordance index of interval-censored times, over the pairs whose order is known.

    The event of a row lies in (lower, upper]; equal bounds are an event at that time, an infinite
    upper one is a right-censored row. A pair of rows i, j is comparable if the event of i cannot be
    the later one: :math:`\text{upper}_i < \text{lower}_j`, or these are equal and not both rows are
    events at exactly that time. With :math:`\eta` the estimate, the pair is tied in risk if
    :math:`|\eta_i - \eta_j|` is at most `tied_tol`, else concordant if :math:`\eta_i > \eta_j` and
    discordant if not. The index is

    .. math::

        \frac{\text{concordant} + \text{tied} / 2}{\text{concordant} + \text{discordant} +
        \text{tied}}

    Parameters
    ----------
    lower : array of shape (n_samples,)
        Last time at which the event had not happened yet, finite and at least 0.
    upper : array of shape (n_samples,)
        First time at which it was known to have happened, at least `lower`; infinite for a
        right-censored row.
    estimate : array of shape (n_samples,)
        Risk score, floating-point or integer: the higher, the earlier the event.
    tied_tol : float, default=1e-8
        Estimates this close are tied. The difference is taken in the dtype of `estimate`.
    sample_weight : array of shape (n_samples,), optional
        A pair counts as the product of the weights of its two rows. A row of weight 0 is absent.

    Returns
    -------
    IntervalConcordance
        `concordance`, `concordant`, `discordant`, `tied_risk` and `tied_time`.

    Raises
    ------
    NoComparablePairException
        If no pair is comparable. It is a `ValueError`, from `sksurv.exceptions`.
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    See Also
    --------
    concordance_index_censored : For events and right-censored rows, with equal numbers.

    Notes
    -----
    O(n log n) time and O(n) memory. Pairs of intervals that overlap do not count, whatever the
    estimates say of them: the index is that of the pairs which the visits happened to tell apart.

    Copies of a row are never comparable with each other, so integer weights give the numbers of the
    data with each row repeated that often.

    References
    ----------
    .. [1] F. E. Harrell, K. L. Lee, D. B. Mark, "Multivariable prognostic models", Statistics in
       Medicine 15, 1996, doi:10.1002/(SICI)1097-0258(19960229)15:4<361::AID-SIM168>3.0.CO;2-4.

    Examples
    --------
    The first event is before both others, which overlap; of these two pairs one is in order:

    >>> from sksurvtorch.metrics import concordance_index_interval_censored
    >>> lower, upper = [0, 2, 3], [1, 4, float("inf")]
    >>> concordance_index_interval_censored(lower, upper, [0.5, 0.2, 0.9])
    IntervalConcordance(concordance=0.5, concordant=1, discordant=1, tied_risk=0, tied_time=0)
    """
    check_number("tied_tol", tied_tol, float, 0)
    low, high = bounds(lower, upper)
    estimate = check_vector("estimate", estimate, len(low))
    weight = None if sample_weight is None else check_weight(sample_weight, len(low))
    order = np.lexsort((low < high, low))  # events at a time before intervals that begin there
    if weight is not None:
        order = order[weight[order] > 0]
    rows = _rows(low[order], high[order], estimate[order], tied_tol)
    if not (rows.start < len(rows.rank)).any():
        raise NoComparablePairException(
            "The rows must hold a comparable pair, of which one event is known to be the earlier "
            f"one, got {len(rows.event)} finite upper bounds in {len(rows.rank)} rows of positive "
            "weight. The concordance index is not defined: score more rows at once."
        )
    return IntervalConcordance(*index_of(rows, None if weight is None else weight[order]))


def bounds(lower: Any, upper: Any) -> tuple[Array, Array]:
    """Return valid bounds as float64 arrays."""
    columns = (np.asarray(for_numpy(n, v)) for n, v in (("lower", lower), ("upper", upper)))
    low, high = check_interval(*columns)
    return low.numpy(), high.numpy()


def _rows(low: Array, high: Array, estimate: Array, tied_tol: float) -> Rows:
    """Find for each row the first one that is known to be later; rows are sorted."""
    # An interval begins behind the events at its lower bound, and ends with those at its upper one.
    values = np.unique([low, high])
    begin = 2 * values.searchsorted(low) + (low < high)
    end = 2 * values.searchsorted(high)
    start, stop = begin.searchsorted(end + (low == high)), begin.searchsorted(end + 2)
    return Rows.ranked(np.isfinite(high), estimate, tied_tol, start, stop)
