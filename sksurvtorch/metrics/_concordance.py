"""Concordance of risk scores with right-censored times, in O(n log n)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sksurv.exceptions import NoComparablePairException

from sksurvtorch._validation import check_number, check_survival_y, for_numpy

Array = NDArray[Any]
# Of the pairs: concordant, discordant, tied in risk, at the same time.
Counts = tuple[float, float, float, float]

# Up to this many rows the tree is held in int32, which takes two thirds of the time.
_INT32_ROWS = 2**29 - 1


def concordance_index_censored(
    event_indicator: Any,
    event_time: Any,
    estimate: Any,
    *,
    tied_tol: float = 1e-8,
    sample_weight: Any = None,
) -> tuple[float, float, float, float, float]:
    r"""Harrell's concordance index, the numbers of scikit-survival in O(n log n) time.

    A pair of rows i, j is comparable if i has an event and j is at risk after it: j has a later
    time, or is censored at the same one. With :math:`\eta` the estimate, the pair is tied in risk
    if :math:`|\eta_i - \eta_j|` is at most `tied_tol`, else concordant if
    :math:`\eta_i > \eta_j` and discordant if not. The index is

    .. math::

        \frac{\text{concordant} + \text{tied} / 2}{\text{concordant} + \text{discordant} +
        \text{tied}}

    Parameters
    ----------
    event_indicator : bool array of shape (n_samples,)
        True for an observed event, False for a right-censored row.
    event_time : array of shape (n_samples,)
        Time of the event or the censoring, floating-point or integer, in any unit.
    estimate : array of shape (n_samples,)
        Risk score, floating-point or integer: the higher, the earlier the event.
    tied_tol : float, default=1e-8
        Estimates this close are tied. The difference is taken in the dtype of `estimate`, without
        overflow if that is an integer one.
    sample_weight : array of shape (n_samples,), optional
        A pair counts as the product of the weights of its two rows. Copies of a row are never
        comparable with each other, having the same time and status, so integer weights give the
        numbers of the data with each row repeated that often, and a row of weight 0 is absent.

    Returns
    -------
    cindex : float
        The concordance index: 1 for a perfect order, 0.5 on average for a random one.
    concordant : int, or float with `sample_weight`
        Number of concordant pairs.
    discordant : int, or float with `sample_weight`
        Number of discordant pairs.
    tied_risk : int, or float with `sample_weight`
        Number of comparable pairs tied in risk.
    tied_time : int, or float with `sample_weight`
        Number of comparable pairs, tied in risk or not, that have the same time.

    Raises
    ------
    NoComparablePairException
        If no pair is comparable. It is a `ValueError`, from `sksurv.exceptions`. scikit-survival
        itself returns NaN where all events share the last time, and raises a plain `ValueError`
        where there is no event.
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    See Also
    --------
    sksurv.metrics.concordance_index_censored : The same in O(n²) time, without weights.

    Notes
    -----
    O(n log n) time and O(n) memory. Counts are exact. Weighted ones are sums of non-negative
    terms in float64, off by about 1e-14 of the square of the total weight, and 0 where there is
    no such pair; with integer weights they are exact up to 2**53.

    Of three estimates the middle one may be tied with both others, and these not with each other,
    so the estimates cannot be divided into groups of ties. Rows are sorted by time. For each event
    two numbers of later rows are counted: with an estimate below those tied with its own, and with
    one that is not above these. A wavelet tree counts them for all events, level by level.

    References
    ----------
    .. [1] F. E. Harrell, K. L. Lee, D. B. Mark, "Multivariable prognostic models", Statistics in
       Medicine 15, 1996, doi:10.1002/(SICI)1097-0258(19960229)15:4<361::AID-SIM168>3.0.CO;2-4.
    .. [2] R. Grossi, A. Gupta, J. S. Vitter, "High-order entropy-compressed text indexes", SODA
       2003, for the wavelet tree.

    Examples
    --------
    Of the pairs (1, 2), (1, 3) and (2, 3) the last is in the wrong order:

    >>> from sksurvtorch.metrics import concordance_index_censored
    >>> event, time = [True, True, False], [1.0, 2.0, 3.0]
    >>> concordance_index_censored(event, time, [0.9, 0.2, 0.5])
    (0.666..., 2, 1, 0, 0)

    A weight of 3 is three rows:

    >>> concordance_index_censored(event, time, [0.9, 0.2, 0.5], sample_weight=[3, 1, 1])
    (0.857..., 6.0, 1.0, 0.0, 0.0)
    """
    check_number("tied_tol", tied_tol, float, 0)
    event, time, estimate = check_rows(event_indicator, event_time, estimate)
    weight = None if sample_weight is None else check_weight(sample_weight, len(event))
    # Events come before the censorings at their time, which outlive them.
    order = np.lexsort((~event, time))
    if weight is not None:
        order = order[weight[order] > 0]
    rows = Rows.of(event[order], time[order], estimate[order], tied_tol)
    _check_comparable(rows)
    return index_of(rows, None if weight is None else weight[order])


def concordance_index_ipcw(
    survival_train: Any,
    survival_test: Any,
    estimate: Any,
    *,
    tau: float | None = None,
    tied_tol: float = 1e-8,
) -> tuple[float, float, float, float, float]:
    r"""Uno's concordance index, the numbers of scikit-survival in O(n log n) time.

    The pairs are those of `concordance_index_censored`, but every pair whose event is at t counts
    :math:`1 / \hat G(t)^2` times, with :math:`\hat G` the Kaplan-Meier estimate of the probability
    to be uncensored at t. So the index does not depend on how many rows are censored.

    Parameters
    ----------
    survival_train : structured array of shape (n_train,)
        Event indicator and time of the training data, from which the censoring is estimated.
    survival_test : structured array of shape (n_samples,)
        Event indicator and time of the rows that are judged.
    estimate : array of shape (n_samples,)
        Risk score, floating-point or integer: the higher, the earlier the event.
    tau : float, optional
        Only events before this time count in the index.
    tied_tol : float, default=1e-8
        Estimates this close are tied.

    Returns
    -------
    cindex : float
        The concordance index: 1 for a perfect order, 0.5 on average for a random one.
    concordant, discordant, tied_risk, tied_time : int
        Numbers of pairs without weights and `tau`, as `concordance_index_censored` returns them.

    Raises
    ------
    NoComparablePairException
        If no pair counts. It is a `ValueError`, from `sksurv.exceptions`; scikit-survival itself
        returns NaN where `tau` excludes all events.
    ValueError, TypeError
        If an argument has the wrong kind, shape or content, or if the training data cannot tell the
        probability of being uncensored at a time of an event.

    See Also
    --------
    sksurv.metrics.concordance_index_ipcw : The same in O(n²) time.

    Notes
    -----
    O(n log n) time and O(n) memory. The index equals scikit-survival's to rounding, the counts are
    the same.

    References
    ----------
    .. [1] H. Uno, T. Cai, M. J. Pencina, R. B. D'Agostino, L. J. Wei, "On the C-statistics for
       evaluating overall adequacy of risk prediction procedures with censored survival data",
       Statistics in Medicine 30, 2011, doi:10.1002/sim.4154.

    Examples
    --------
    Without censoring it is Harrell's index:

    >>> import numpy as np
    >>> from sksurv.util import Surv
    >>> from sksurvtorch.metrics import concordance_index_ipcw
    >>> y = Surv.from_arrays([True, True, True], [1.0, 2.0, 3.0])
    >>> concordance_index_ipcw(y, y, np.array([0.9, 0.2, 0.5]))
    (0.666..., 2, 1, 0, 0)
    """
    check_number("tied_tol", tied_tol, float, 0)
    if tau is not None:
        check_number("tau", tau, float, 0)
    event, time = check_survival_y(survival_test, "concordance index", name="survival_test")
    event, time, estimate = check_rows(event, time, estimate)
    counts = event if tau is None else event & (time < tau)
    weight = np.square(censoring_weights(survival_train, time, counts))
    order = np.lexsort((~event, time))
    rows = Rows.of(event[order], time[order], estimate[order], tied_tol)
    _check_comparable(rows)
    concordant, discordant, tied_risk = _pairs_of_events(rows)
    of_event = weight[order[rows.event]]
    total = of_event @ (concordant + discordant + tied_risk)
    if not total > 0:  # with no `tau` every event counts
        raise NoComparablePairException(
            f"`tau` must leave an event before it that some row outlives, got {tau}. The "
            "concordance index is not defined: raise it."
        )
    cindex = float(of_event @ (concordant + tied_risk / 2) / total)
    one, two, three = (int(pairs.sum()) for pairs in (concordant, discordant, tied_risk))
    return cindex, one, two, three, int((rows.stop - rows.start).sum())


def censoring_weights(
    survival_train: Any, time: Array, counts: Array, hint: str = "Set `tau` to that time or "
) -> Array:
    """Return the inverse probability to be uncensored; 0 for rows that do not count."""
    weight = np.zeros(len(time))
    censoring = censoring_curve(survival_train)
    if counts.any():
        uncensored = censoring.predict_proba(time[counts])
        if not (uncensored > 0).all():
            raise ValueError(
                "`survival_train` must leave a chance to be uncensored at each event of "
                f"`survival_test`, got none at {time[counts][uncensored == 0].min():g}. {hint}"
                "an earlier one."
            )
        weight[counts] = 1 / uncensored
    return weight


def censoring_curve(survival_train: Any) -> Any:
    """Return scikit-survival's estimate of the censoring, to the bit."""
    # Its own fit goes through the rows one by one, which takes 3 s of a million.
    from sksurv.nonparametric import CensoringDistributionEstimator
    from sksurv.util import check_y_survival

    event, time = check_y_survival(survival_train)
    estimate = CensoringDistributionEstimator()
    if event.all():
        return estimate.fit(survival_train)
    times, n_rows = np.unique(time, return_counts=True)
    event_times, n_tied = np.unique(time[event], return_counts=True)
    n_events = np.zeros_like(n_rows)
    n_events[times.searchsorted(event_times)] = n_tied
    n_censored = n_rows - n_events
    # Who has an event at a time is not at risk of censoring there.
    n_at_risk = np.cumsum(n_rows[::-1])[::-1] - n_events
    share = np.divide(n_censored, n_at_risk, out=np.zeros(len(times)), where=n_censored > 0)
    estimate.unique_time_ = np.r_[-np.inf, times]  # in float32 if the times are
    estimate.prob_ = np.r_[1.0, np.cumprod(1.0 - share)]
    return estimate


def sums_of_pairs(
    event: Array, time: Array, estimate: Array, tied_tol: float, of_event: Array, of_row: Array
) -> Array:
    """Sum concordant, discordant and tied pairs, each with the weights of its event and its row."""
    order = np.lexsort((~event, time))
    rows = Rows.of(event[order], time[order], estimate[order], tied_tol)
    return np.array(_weigh(rows, of_row[order], of_event[order][rows.event])[:3])


def index_of(rows: Rows, weight: Array | None) -> tuple[float, float, float, float, float]:
    """Return the index and the numbers of pairs, weighted with positive weights of sorted rows."""
    if weight is None:
        counts = _count(rows)
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # the next line raises then
            counts = _weigh(rows, weight, weight[rows.event])
        _check_range(counts, weight)
    concordant, discordant, tied_risk, _ = counts
    cindex = (concordant + tied_risk / 2) / (concordant + discordant + tied_risk)
    return cindex, *counts


class Rows(NamedTuple):
    """Rows sorted by time; what there is of each event is sorted by its estimate.

    Of interval-censored times the rows are sorted by the lower bound, and those with a finite upper
    bound are the events.
    """

    rank: Array  # of the estimate of each row, ties in any order
    event: Array  # the rows that are events
    start: Array  # for each event the first row comparable with it; all after that one are
    stop: Array  # for each event the first row of a later time
    bounds: Array  # (2, n_events): tied with it are the ranks from the first to before the second

    @classmethod
    def of(cls, event: Array, time: Array, estimate: Array, tied_tol: float) -> Rows:
        """Work out ranks and bounds of rows sorted by time, events first."""
        later = time[1:] != time[:-1]
        start = _run_ends(later | (event[1:] != event[:-1]))
        return cls.ranked(event, estimate, tied_tol, start, _run_ends(later))

    @classmethod
    def ranked(
        cls, event: Array, estimate: Array, tied_tol: float, start: Array, stop: Array
    ) -> Rows:
        """Work out ranks and bounds, where start and stop are known of each row."""
        by_value = np.argsort(estimate)
        rank = np.empty_like(by_value)
        rank[by_value] = np.arange(len(rank))
        # Events in this order walk down the tree side by side, which the processor's cache likes.
        at_events = event[by_value]
        row = by_value[at_events]
        kind = np.int32 if len(rank) <= _INT32_ROWS else np.int64
        return cls(
            rank=rank.astype(kind),
            event=row,
            start=start[row].astype(kind),
            stop=stop[row],
            bounds=_tied_ranks(estimate[by_value], tied_tol)[:, at_events].astype(kind),
        )


def _run_ends(change: Array) -> Array:
    """For each row the first row after its run; `change` says where a new run begins."""
    ends = np.append(np.flatnonzero(change) + 1, len(change) + 1)
    return np.repeat(ends, np.diff(ends, prepend=0))


def _tied_ranks(value: Array, tied_tol: float) -> Array:
    """For each of the sorted values the first rank tied with it, and the first above these."""
    if value.dtype.kind in "iu":
        # Modulo 2**64 the difference of a value and a smaller one is right for any integers.
        value = value.astype(np.uint64)
    first = np.arange(len(value))
    # Rounded subtraction is monotone, so bisection finds what the direct comparison of all pairs
    # would; a search for the rounded `value - tied_tol` would not. And who is not tied with the
    # value before is tied with none.
    with np.errstate(over="ignore"):  # an infinite difference is no tie
        tied = np.flatnonzero(value[1:] - value[:-1] <= tied_tol) + 1
        upper, high = value[tied], tied - 1
        low = np.zeros_like(high)
        for _ in range(len(value).bit_length() if len(tied) else 0):
            middle = (low + high) >> 1
            is_tied = upper - value[middle] <= tied_tol
            high = np.where(is_tied, middle, high)
            low = np.where(is_tied, low, middle + 1)
    first[tied] = high
    # k is tied with a smaller i if the first rank tied with k is at most i.
    return np.stack([first, np.cumsum(np.bincount(first, minlength=len(value)))])


def _levels(rank: Array) -> Iterator[tuple[int, Array, Array]]:
    """Walk down a wavelet tree: half the size of its nodes, its ranks, which of them go left.

    A node has the ranks from a multiple of its size on, in order of time, and stands at that
    multiple.
    """
    n_bits = len(rank).bit_length()
    # With ranks no bound exceeds, after all rows, every node is full.
    rank = np.append(rank, np.arange(len(rank), 2**n_bits, dtype=rank.dtype))
    for bit in reversed(range(n_bits)):
        half = 2**bit
        left = (rank & half) == 0
        yield half, rank, left
        children = rank.compress(left).reshape(-1, half), rank.compress(~left).reshape(-1, half)
        rank = np.stack(children, axis=1).reshape(-1)


def _descend(at: Array, node: Array, half: int, after: Array, right: Array) -> Array:
    """Follow `at` to the right or left child; `after` ranks from it to the node's end go left."""
    in_left = node + half - after
    # np.where takes ten times as long if what it chooses cannot be foreseen.
    moved: Array = in_left + right * (at + after - in_left)
    return moved


def _prefix_sums(value: Array, dtype: Any) -> Array:
    """Sums of the first 0, 1, ... values."""
    sums = np.zeros(len(value) + 1, dtype)
    np.cumsum(value, out=sums[1:])
    return sums


def _pairs_of_events(rows: Rows) -> tuple[Array, Array, Array]:
    """Count the concordant, discordant and tied pairs of each event with the rows after it."""
    at = np.broadcast_to(rows.start, rows.bounds.shape)
    below = np.zeros_like(rows.bounds)
    for half, rank, left in _levels(rows.rank):
        node, right = rows.bounds & (-2 * half), (rows.bounds & half) != 0
        # Of the ranks before this node half went left.
        after = half + (node >> 1) - _prefix_sums(left, rank.dtype).take(at)
        below += right * after
        at = _descend(at, node, half, after, right)
    low, high = below.astype(np.int64)
    return low, len(rows.rank) - rows.start - high, high - low


def _count(rows: Rows) -> Counts:
    """Count the pairs."""
    one, two, three = (int(pairs.sum()) for pairs in _pairs_of_events(rows))
    return one, two, three, int((rows.stop - rows.start).sum())


def _weigh(rows: Rows, weight: Array, of_event: Array) -> Counts:
    """Sum the weights of the pairs, those of an event and of a row that outlives it, multiplied.

    No sum is a difference of others, which would leave rounding.
    """
    of_rank = np.zeros(2 ** len(weight).bit_length())
    of_rank[rows.rank] = weight
    at = np.broadcast_to(rows.start, rows.bounds.shape)
    concordant, discordant, tied = np.zeros((3, len(rows.start)))
    for half, rank, left in _levels(rows.rank):
        node, right = rows.bounds & (-2 * half), (rows.bounds & half) != 0
        aside = _sums_of_other_child(of_rank[rank], left, at, node + 2 * half, right)
        # Above the fork of the ways to both bounds nothing lies between them.
        forked = node[0] != node[1]
        concordant += right[0] * aside[0]
        tied += forked * (~right[0] * aside[0] + right[1] * aside[1])
        discordant += ~right[1] * aside[1]
        after = half + (node >> 1) - _prefix_sums(left, rank.dtype).take(at)
        at = _descend(at, node, half, after, right)
    # The leaves: of the bounds themselves, the lower one is tied and the upper one is above.
    leaf = of_rank[rows.bounds] * (at == rows.bounds)
    until = _prefix_sums(weight, np.float64)
    sums = concordant, discordant + leaf[1], tied + leaf[0], until[rows.stop] - until[rows.start]
    one, two, three, four = (float(of_event @ term) for term in sums)
    return one, two, three, four


def _sums_of_other_child(value: Array, left: Array, at: Array, end: Array, right: Array) -> Array:
    """Sums from `at` to before `end`, of what goes left where `right` is true, else right."""
    sums = np.concatenate([_prefix_sums(value * goes, np.float64) for goes in (left, ~left)])
    table = ~right * end.dtype.type(len(value) + 1)
    of_other: Array = sums.take(end + table) - sums.take(at + table)
    return of_other


# These checks are not in `_validation`, which is about tensors: a torch dtype would not hold
# every estimate, and scikit-survival's exception may be named here only.
def check_rows(event: Any, time: Any, estimate: Any) -> tuple[Array, Array, Array]:
    """Return the three as arrays of one length."""
    event = np.asarray(for_numpy("event_indicator", event))
    if event.dtype != bool:
        raise ValueError(
            f"`event_indicator` must be bool, got {event.dtype}. "
            "Pass True for an observed event and False for a censored row."
        )
    event = check_vector("event_indicator", event, None, "b")
    time = check_vector("event_time", time, len(event))
    return event, time, check_vector("estimate", estimate, len(event))


def check_vector(name: str, value: Any, n_samples: int | None, kinds: str = "iuf") -> Array:
    """Return `value` as a finite array of shape (n_samples,) of one of the kinds."""
    array = np.asarray(for_numpy(name, value))
    if array.dtype.kind not in kinds:
        hint = f" Pass {name}.astype(float)." if array.dtype == bool else ""
        raise TypeError(
            f"`{name}` must be an integer or floating-point array, got {array.dtype}.{hint}"
        )
    if array.ndim != 1 or (n_samples is not None and len(array) != n_samples):
        wanted = "(n_samples,)" if n_samples is None else f"({n_samples},)"
        raise ValueError(f"`{name}` must have shape {wanted}, got {array.shape}.")
    bad = ~np.isfinite(array)
    if bad.any():
        raise ValueError(
            f"`{name}` must be finite, got {array[bad][0]!s} ({bad.sum()} of {len(array)} rows)."
        )
    return array


def check_weight(weight: Any, n_samples: int) -> Array:
    """Return `weight` as a float64 array without negative values."""
    array = check_vector("sample_weight", weight, n_samples, "biuf").astype(np.float64)
    bad = array < 0
    if bad.any():
        raise ValueError(
            f"`sample_weight` must be at least 0, got {array[bad][0]!s} "
            f"({bad.sum()} of {n_samples} rows). A weight of 0 leaves the row out."
        )
    return array


def _check_comparable(rows: Rows) -> None:
    """Raise unless some row is comparable with an event."""
    if not (rows.start < len(rows.rank)).any():
        raise NoComparablePairException(
            "The rows must hold a comparable pair, an event and a row that is at risk after "
            f"it, got {len(rows.event)} events in {len(rows.rank)} rows of positive weight. "
            "The concordance index is not defined: score more rows at once."
        )


def _check_range(counts: Counts, weight: Array) -> None:
    """Raise if products of weights have left the range of float64."""
    if not 0 < sum(counts[:3]) < np.inf:
        raise ValueError(
            "`sample_weight` must have products within the range of float64, got weights up to "
            f"{weight.max()!s}. Divide them by their mean."
        )
