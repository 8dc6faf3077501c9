"""The target for a plain skorch net, and codes of strata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sksurvtorch._validation import check_survival_y, check_vector, for_numpy

if TYPE_CHECKING:
    from skorch.helper import SliceDict


def survival_target(
    y: Any, entry: Any = None, stratum: Any = None, weight: Any = None, index: Any = None
) -> SliceDict:
    """Make a target that skorch can slice and batch out of scikit-survival's.

    Parameters
    ----------
    y : structured array of shape (n_samples,)
        Event indicator and time, as `sksurv.util.Surv` makes it.
    entry : array-like of shape (n_samples,), optional
        Time of delayed entry, in the unit of the time.
    stratum : array-like of shape (n_samples,), optional
        Labels of the strata, of any type. Integers are kept, others replaced by codes: where a net
        sees the data part by part, or several processes hold parts, give integers.
    weight : array-like of shape (n_samples,), optional
        Weight of each row.
    index : array-like of int of shape (n_samples,), optional
        Identity of each row, such as ``range(n_samples)``, for `sksurvtorch.losses.MomentumLoss`.

    Returns
    -------
    skorch.helper.SliceDict
        With the keys event and time, and the others where given. It can be passed as `y` to `fit`
        of a net whose criterion is a survival loss, and to scikit-learn's cross-validation around
        it.

    Raises
    ------
    ValueError
        If `y` is not such an array, or lengths differ.

    Examples
    --------
    >>> from sksurv.util import Surv
    >>> from sksurvtorch.nets import survival_target
    >>> survival_target(Surv.from_arrays([True, False], [2.0, 3.0]))["time"]
    array([2., 3.])
    """
    from skorch.helper import SliceDict

    event, time = check_survival_y(y)
    columns = {"entry": entry, "weight": weight, "index": index}
    if stratum is not None:
        labels, codes = stratum_codes(stratum, len(time))
        labels = np.array(labels.tolist())  # integers may have come as objects
        integers = labels.dtype.kind in "iu"
        columns["stratum"] = labels[codes].astype(np.int64) if integers else codes
    given = {
        name: check_vector(name, np.array(for_numpy(name, column)), len(time)).numpy()
        for name, column in columns.items()
        if column is not None
    }
    return SliceDict(event=event, time=time, **given)


def stratum_codes(stratum: Any, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of the strata, ascending, and the code of each row."""
    values = np.asarray(for_numpy("stratum", stratum))
    if values.shape != (n_samples,):
        raise ValueError(f"`stratum` must have shape ({n_samples},), got {values.shape}.")
    missing = [value is None or value != value for value in values.tolist()]
    if any(missing):
        first = values[missing].tolist()[0]
        raise ValueError(
            f"`stratum` must not be missing, got {first!r} ({sum(missing)} of {n_samples} rows). "
            "Give such rows a stratum of their own."
        )
    labels, codes = np.unique(values, return_inverse=True)
    return labels, codes
