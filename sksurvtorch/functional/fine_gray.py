"""Weighted start-stop rows of the model of Fine and Gray, for those who expand rows themselves."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sksurvtorch._validation import check_number, check_risk_columns, comparable
from sksurvtorch.functional._arithmetic import widest
from sksurvtorch.functional._autograd import refuse_transforms
from sksurvtorch.functional._censoring import Keys, log_censoring
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.functional._order import nonzero


class FineGrayRows(NamedTuple):
    """Start-stop rows of one cause, as `fine_gray_weights` gives them.

    Attributes
    ----------
    row : int64 tensor of shape (n_rows,)
        The row of the data that each belongs to, ascending.
    start : tensor of shape (n_rows,)
        Time from which on it is at risk, itself excluded; without `entry` 0, or one less than the
        earliest time if there is a time that is not above 0.
    stop : tensor of shape (n_rows,)
        Last time at which it is at risk.
    event : bool tensor of shape (n_rows,)
        Whether it ends with an event of the cause.
    weight : tensor of shape (n_rows,)
        Weight from `start` to `stop`, in float64 where the device has it.
    """

    row: Tensor
    start: Tensor
    stop: Tensor
    event: Tensor
    weight: Tensor


@left_out_of_graphs
def fine_gray_weights(
    status: Tensor,
    time: Tensor,
    *,
    entry: Tensor | None = None,
    stratum: Tensor | None = None,
    weight: Tensor | None = None,
    cause: int = 1,
) -> FineGrayRows:
    r"""Expand rows for a weighted Cox model that is the model of Fine and Gray for one cause.

    A row with an event of another cause at T stays at risk until the last time, with the weight
    :math:`G(t-) / G(T-)` at t (with `entry` that of `competing_risks_neg_log_likelihood`). It is
    cut where the weight changes, and pieces without an event of the cause are left out. All other
    rows stay as they are.

    Parameters
    ----------
    status : int tensor of shape (n_samples,)
        0 for a right-censored row, else the number of the cause of its event, from 1 on.
    time : tensor of shape (n_samples,)
        Time of the event or the censoring, floating-point or integer, in any unit.
    entry : tensor of shape (n_samples,), optional
        Time of delayed entry (left truncation). Each row has to be a subject.
    stratum : int tensor of shape (n_samples,), optional
        Strata have their own curves of the censoring, and have to be strata of the model.
    weight : tensor of shape (n_samples,), optional
        Weight of each row, which the curves and the result are weighted by.
    cause : int, default=1
        The cause whose subdistribution hazard is modelled.

    Returns
    -------
    FineGrayRows
        `row`, `start`, `stop`, `event` and `weight` of the start-stop rows.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    See Also
    --------
    competing_risks_neg_log_likelihood : The loss without an expansion, for all causes at once.

    Notes
    -----
    Without weights the rows are those of R's `survival::finegray`, which leaves out the strata
    without an event of the cause; here they are kept. R also takes an entry at the earliest time
    for one before it, if no entry is later. There are up to n_samples² rows: the loss with
    ``hazard="subdistribution"`` gives the same in O(n log n).

    References
    ----------
    .. [1] R. B. Geskus, "Cause-specific cumulative incidence estimation and the Fine and Gray model
       under both left truncation and right censoring", Biometrics 67, 2011,
       doi:10.1111/j.1541-0420.2010.01420.x.

    Examples
    --------
    The first row has an event of cause 2. Of the two others at risk at time 2 one is censored, so
    afterwards it counts half, as at the event at 3:

    >>> import torch
    >>> from sksurvtorch.functional import fine_gray_weights
    >>> rows = fine_gray_weights(torch.tensor([2, 0, 1]), torch.tensor([1.0, 2.0, 3.0]))
    >>> rows.row, rows.stop, rows.weight
    (tensor([0, 0, 1, 2]), tensor([2., 3., 2., 3.]), tensor([1.0000, 0.5000, 1.0000, 1.0000],
           dtype=torch.float64))
    """
    check_number("cause", cause, int, 1)
    refuse_transforms("fine_gray_weights", "It has no gradient: call it before or after.")
    columns = check_risk_columns(status, time, entry, stratum, weight)
    status, time = columns["status"], columns["time"]
    if not time.is_floating_point():  # a start may be below what a small type holds
        time = time.to(torch.int64)
    if "entry" in columns:
        time, start = comparable(time, columns["entry"])
    else:
        lowest = 0 if (time > 0).all() else time.min().item() - 1
        start = torch.full_like(time, lowest)
    own = columns.get("weight", torch.ones_like(status)).to(widest(status.device))
    is_other = (status > 0) & (status != cause)
    cuts = _Cuts.of(columns, time, start, own, cause)
    n_pieces = cuts.n_more(is_other) + 1
    row = _arange(n_pieces).repeat_interleave(n_pieces)
    number = _arange(row) - (n_pieces.cumsum(0) - n_pieces)[row]
    event = (status == cause)[row]
    whole = torch.where(is_other, cuts.end, time)
    start, stop, weight = start[row], whole[row], own[row]
    more = nonzero(number > 0)
    begin, end, ratio = cuts.pieces(row[more], number[more])
    start[more], stop[more] = begin, end
    weight[more] *= ratio
    return FineGrayRows(row, start, stop, event, weight)


class _Cuts(NamedTuple):
    """Where the weights of rows change, and the intervals before cuts that hold an event."""

    time: Tensor  # (n_cuts,) of each cut, of one stratum after the other
    kept: Tensor  # (n_kept,) cuts behind an interval with an event of the cause
    log_kept: Tensor  # (n_kept,) logarithm of G(t-) in these intervals
    log_censoring: Tensor  # (n_samples,) at the time of each row
    end: Tensor  # (n_samples,) time of the first cut that is not before that of each row
    first: Tensor  # (n_samples,) first of `kept` behind that cut
    stop: Tensor  # (n_samples,) end of the stratum in `kept`

    @classmethod
    def of(
        cls,
        columns: dict[str, Tensor],
        time: Tensor,
        start: Tensor,
        weight: Tensor,
        cause: int,
    ) -> _Cuts:
        """Find them, given times and entries in one dtype."""
        keys, status = Keys.of(columns), columns["status"]
        stratum = keys.time // keys.width
        latest = keys.time.new_zeros(keys.n_strata).scatter_reduce(0, stratum, keys.time, "amax")
        is_cut = ((status == 0) & (weight > 0)) | (keys.time == latest[stratum])
        key, at = keys.time[is_cut], time[is_cut]
        if "entry" in columns:
            is_there = weight > 0
            key = torch.cat([key, keys.entry[is_there]])
            at = torch.cat([at, start[is_there]])
        point, place = key.unique(return_inverse=True)
        times = at.new_empty(len(point)).index_copy_(0, place, at)
        cut = torch.searchsorted(point, keys.time)
        logs = log_censoring(columns)
        row = nonzero(status == cause)
        kept, place = cut[row].unique(return_inverse=True)
        log_kept = logs.new_empty(len(kept)).index_copy_(0, place, logs[row])
        first = torch.searchsorted(kept, cut, right=True)
        stop = torch.searchsorted(point[kept], keys.width * (stratum + 1))
        return cls(times, kept, log_kept, logs, times[cut], first, stop)

    def n_more(self, is_other: Tensor) -> Tensor:
        """Return how many pieces each row has, besides that with its own time."""
        return ((self.stop - self.first) * is_other).clamp(min=0)

    def pieces(self, row: Tensor, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return start, stop and weight of pieces of rows, numbered from 1 on."""
        place = self.first[row] + number - 1
        cut = self.kept[place]
        ratio = (self.log_kept[place] - self.log_censoring[row]).exp()
        return self.time[cut - 1], self.time[cut], ratio


def _arange(like: Tensor) -> Tensor:
    """Return the places of the elements of a vector."""
    return torch.arange(len(like), dtype=torch.int64, device=like.device)
