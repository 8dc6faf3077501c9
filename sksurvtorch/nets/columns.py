"""The target for a plain skorch net, and codes of strata."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from sksurvtorch._validation import (
    check_competing_risks_y,
    check_interval,
    check_interval_y,
    check_status,
    check_survival_y,
    check_time,
    check_vector,
    for_numpy,
    is_interval_y,
)

if TYPE_CHECKING:
    from skorch.helper import SliceDict


def survival_target(
    y: Any, entry: Any = None, stratum: Any = None, weight: Any = None, index: Any = None
) -> SliceDict:
    """Make a target that skorch can slice and batch out of scikit-survival's, or of intervals.

    Parameters
    ----------
    y : structured array of shape (n_samples,)
        Event indicator and time, as `sksurv.util.Surv` makes it; or lower and upper bounds of the
        time, as `interval_censored_y` makes it.
    entry : array-like of shape (n_samples,), optional
        Time of delayed entry, in the unit of the time.
    stratum : array-like of shape (n_samples,), optional
        Labels of the strata: numbers, bools, text or dates. Integers are kept, others replaced by
        codes: where a net sees the data part by part, or several processes hold parts, give
        integers.
    weight : array-like of shape (n_samples,), optional
        Weight of each row.
    index : array-like of int of shape (n_samples,), optional
        Identity of each row, such as ``range(n_samples)``, for `sksurvtorch.losses.MomentumLoss`.

    Returns
    -------
    skorch.helper.SliceDict
        With the keys event and time, or lower and upper, and the others where given. It can be
        passed as `y` to `fit` of a net whose criterion is a survival loss, and to scikit-learn's
        cross-validation around it. Intervals are for `sksurvtorch.losses.AFTLoss`.

    Raises
    ------
    ValueError
        If `y` is not such an array, or lengths differ; also if there are strata of intervals, for
        which no loss has any.

    Examples
    --------
    >>> from sksurv.util import Surv
    >>> from sksurvtorch.nets import survival_target
    >>> survival_target(Surv.from_arrays([True, False], [2.0, 3.0]))["time"]
    array([2., 3.])
    """
    columns = {"entry": entry, "weight": weight, "index": index}
    if is_interval_y(y):
        if stratum is not None:
            raise ValueError(
                "`stratum` must be None with intervals, got strata. Accelerated failure time "
                "models have none."
            )
        lower, upper = check_interval_y(y, "target")
        return _target({"lower": lower, "upper": upper}, None, columns)
    event, time = check_survival_y(y)
    return _target({"event": event, "time": time}, stratum, columns)


def competing_risks_target(
    y: Any, entry: Any = None, stratum: Any = None, weight: Any = None, index: Any = None
) -> SliceDict:
    """Make a target that skorch can slice and batch out of status and time.

    Parameters
    ----------
    y : structured array of shape (n_samples,)
        Status and time, as `competing_risks_y` makes it, and `sksurv.datasets.load_bmt` returns it:
        0 for a censored row, else the number of the cause of its event.
    entry, stratum, weight, index : array-like of shape (n_samples,), optional
        As for `survival_target`.

    Returns
    -------
    skorch.helper.SliceDict
        With the keys status and time, and the others where given. It can be passed as `y` to `fit`
        of a net whose criterion is a `sksurvtorch.losses.CompetingRisksLoss`.

    Raises
    ------
    ValueError
        If `y` is not such an array, or lengths differ.

    Examples
    --------
    >>> from sksurvtorch.nets import competing_risks_target, competing_risks_y
    >>> competing_risks_target(competing_risks_y([2, 0], [2.0, 3.0]))["status"]
    array([2, 0])
    """
    status, time = check_competing_risks_y(y, "target")
    columns = {"entry": entry, "weight": weight, "index": index}
    return _target({"status": status, "time": time}, stratum, columns)


def competing_risks_y(status: Any, time: Any) -> np.ndarray:
    """Make the structured array of status and time out of two columns.

    `sksurv.util.Surv` has events of one kind only. What this returns is what
    ``sksurv.util.check_y_survival(y, competing_risks=True)`` reads.

    Parameters
    ----------
    status : array-like of int of shape (n_samples,)
        0 for a right-censored row, else the number of the cause of its event, from 1 on.
    time : array-like of shape (n_samples,)
        Time of the event or the censoring, at least 0.

    Returns
    -------
    structured array of shape (n_samples,)
        With the fields status, of int64, and time, of float64.

    Raises
    ------
    ValueError, TypeError
        If a column has the wrong kind, shape or content.

    Examples
    --------
    >>> from sksurvtorch.nets import competing_risks_y
    >>> competing_risks_y([2, 0], [2.5, 3])
    array([(2, 2.5), (0, 3. )], dtype=[('status', '<i8'), ('time', '<f8')])
    """
    codes = check_status(np.asarray(for_numpy("status", status))).numpy()
    times = check_time(np.asarray(for_numpy("time", time)), len(codes)).numpy()
    y = np.empty(len(codes), dtype=[("status", np.int64), ("time", np.float64)])
    y["status"], y["time"] = codes, times
    check_competing_risks_y(y)
    return y


def interval_censored_y(lower: Any, upper: Any) -> np.ndarray:
    """Make the structured array of interval-censored times out of two columns.

    The event of a row lies in (lower, upper]. Two equal bounds are an event at exactly that time,
    an infinite upper bound a row that is right-censored at the lower one, and a lower bound of 0 a
    row that is left-censored at the upper one.

    Parameters
    ----------
    lower : array-like of shape (n_samples,)
        Last time at which the event had not happened yet, finite and at least 0.
    upper : array-like of shape (n_samples,)
        First time at which it was known to have happened, at least `lower`; infinite if that was
        never known.

    Returns
    -------
    structured array of shape (n_samples,)
        With the fields lower and upper, of float64.

    Raises
    ------
    ValueError, TypeError
        If a column has the wrong kind, shape or content, or a row with the bounds 0 and infinity
        says nothing.

    Examples
    --------
    An event between two visits, one at a known time, and a row that is right-censored:

    >>> from sksurvtorch.nets import interval_censored_y
    >>> interval_censored_y([1, 2, 3], [2, 2, float("inf")])
    array([(1.,  2.), (2.,  2.), (3., inf)],
          dtype=[('lower', '<f8'), ('upper', '<f8')])
    """
    columns = (np.asarray(for_numpy(n, v)) for n, v in (("lower", lower), ("upper", upper)))
    low, high = check_interval(*columns)
    y = np.empty(len(low), dtype=[("lower", np.float64), ("upper", np.float64)])
    y["lower"], y["upper"] = low.numpy(), high.numpy()
    return y


def _target(target: dict[str, Any], stratum: Any, columns: dict[str, Any]) -> SliceDict:
    """Return a target with other columns where they are given."""
    from skorch.helper import SliceDict

    n_samples = len(next(iter(target.values())))
    if stratum is not None:
        labels, codes = stratum_codes(stratum, n_samples)
        integers = labels.dtype.kind in "iu"
        target["stratum"] = labels[codes].astype(np.int64) if integers else codes
    for name, column in columns.items():
        if column is not None:
            vector = check_vector(name, np.array(for_numpy(name, column)), n_samples)
            target[name] = vector.numpy()
    return SliceDict(**target)


def stratum_codes(stratum: Any, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of the strata, ascending, and the code of each row."""
    labels, codes = np.unique(stratum_labels(stratum, n_samples), return_inverse=True)
    return labels, codes


def stratum_labels(stratum: Any, n_samples: int) -> np.ndarray:
    """Return the label of each row, in a dtype of numbers, bools, text or dates."""
    # numpy makes text of the numbers in a list that has both.
    dtype = object if isinstance(stratum, list | tuple) else None
    values = np.asarray(for_numpy("stratum", stratum), dtype=dtype)
    if values.shape != (n_samples,):
        raise ValueError(f"`stratum` must have shape ({n_samples},), got {values.shape}.")
    _check_none_missing(values)
    if values.dtype.kind != "O":
        return values
    kinds = sorted({_kind_of_label(value) for value in values})
    if len(kinds) > 1 or kinds[0] not in _LABELS:
        raise TypeError(
            f"`stratum` must be numbers, bools, text or dates, all of one kind, got "
            f"{' and '.join(kinds)}. Convert the labels, for instance to text."
        )
    return np.array(values.tolist(), dtype=_LABELS[kinds[0]])


#: Dtypes of labels that come as objects.
_LABELS = {"number": None, "bool": bool, "str": str, "date": "datetime64"}


def _kind_of_label(value: Any) -> str:
    """Return what kind of label an object is, or else its type."""
    if isinstance(value, bool | np.bool_):
        return "bool"
    if isinstance(value, int | float | np.integer | np.floating):
        return "number"
    if isinstance(value, date | np.datetime64):
        return "date"
    return "str" if isinstance(value, str) else type(value).__name__


def _check_none_missing(values: np.ndarray) -> None:
    """Raise if a label is None, NaN, NaT or the NA of pandas."""
    if values.dtype.kind == "O":
        # The NA of pandas is neither equal to anything nor different from it.
        missing = np.array([v is None or type(v).__name__ == "NAType" or v != v for v in values])
    else:
        missing = values != values
    if missing.any():
        first, n_missing = values[missing].tolist()[0], missing.sum()
        raise ValueError(
            f"`stratum` must not be missing, got {first!r} ({n_missing} of {len(values)} rows). "
            "Give such rows a stratum of their own."
        )
