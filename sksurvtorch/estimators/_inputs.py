"""The door: X, y and what comes with them, as rows and columns that a net can be trained with."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils.validation import _check_sample_weight, validate_data

from sksurvtorch import _validation as validation
from sksurvtorch._processes import Group
from sksurvtorch.estimators._settings import is_linear, resolve_dtype
from sksurvtorch.exceptions import PrecisionWarning
from sksurvtorch.nets.moments import column_ranges
from sksurvtorch.nets.rows import Rows, as_rows, find_stored
from sksurvtorch.nets.target import Columns

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator


def check_X(estimator: SurvivalNetEstimator, X: Any, *, reset: bool) -> Rows:
    """Return the rows of X; what is stored stays there."""
    own = estimator.module is not None
    dtype = resolve_dtype(estimator)
    dtypes = [dtype]
    if is_linear(estimator):
        dtypes.append(torch.float32)  # which the linear model widens piece by piece
    shape: dict[str, Any] = {"reset": reset, "ensure_2d": not own, "allow_nd": own}
    names = [str(dtype).removeprefix("torch.") for dtype in dtypes]
    check = partial(validate_data, estimator, dtype=names, order="C", **shape)
    rows = as_rows(X, dtypes, check)
    if reset and not own:
        near = _nearly_constant(rows, dtype)
        if len(near):
            _warn_of_lost_precision(near[_range_as_given(X, near) > 0], dtype)
    return rows


def check_data(
    estimator: SurvivalNetEstimator, rows: Rows, y: Any, given: dict[str, Any], group: Group
) -> tuple[Rows, Columns]:
    """Return the rows that count and their columns, event, time and so on."""
    event, time = validation.check_survival_y(
        y, type(estimator).__name__, positive=estimator._positive_time
    )
    n_samples = len(rows)
    if len(event) != n_samples:
        raise ValueError(f"`y` must have one row for each of X, {n_samples}, got {len(event)}.")
    columns = {"event": torch.from_numpy(event), "time": torch.from_numpy(time)}
    given = estimator._encode_strata(given, n_samples)
    for name, value in given.items():
        if value is not None and name != "sample_weight":
            columns[name] = validation.check_vector(
                name, np.array(validation.for_numpy(name, value)), n_samples
            )
    if "entry" in columns:
        validation.check_entry(columns["entry"], columns["time"])
    if given["sample_weight"] is None:
        return rows, columns
    may_vanish = group.size > 1  # other processes may have rows that count
    kind = {"dtype": np.float64, "ensure_non_negative": True, "allow_all_zero_weights": may_vanish}
    weight = _check_sample_weight(given["sample_weight"], rows, **kind)
    columns["weight"] = validation.check_weight(weight, n_samples, may_vanish=may_vanish)
    # A row of weight 0 counts as absent, in batches and standardisation too.
    counts = columns["weight"] > 0
    if not counts.all():
        rows = rows.select(counts.nonzero().squeeze(1))
        columns = {name: column[counts] for name, column in columns.items()}
    return rows, columns


def _nearly_constant(rows: Rows, dtype: torch.dtype) -> np.ndarray:
    """Return the columns that hardly vary in the dtype of the network."""
    lowest, highest = column_ranges(rows)
    coarse = torch.finfo(dtype).eps * torch.maximum(lowest.abs(), highest.abs())
    return np.flatnonzero(highest - lowest < 1000 * coarse)


def _range_as_given(X: Any, columns: np.ndarray) -> np.ndarray:
    """Return the largest differences in some columns, in the precision in which X came."""
    exact = find_stored(X, [torch.float64])
    if exact is None:
        return np.asarray(np.ptp(np.asarray(X)[:, columns].astype(float), axis=0))
    lowest, highest = column_ranges(exact)
    difference: np.ndarray = np.asarray(highest - lowest)[columns]
    return difference


def _warn_of_lost_precision(lost: np.ndarray, dtype: torch.dtype) -> None:
    """Warn of columns that vary, and are nearly constant in the dtype of the network."""
    if len(lost):
        name = str(dtype).removeprefix("torch.")
        warnings.warn(
            f"{len(lost)} columns of X (the first is number {lost[0]}) vary so little around their "
            f"mean that {name} hardly tells their values apart. Subtract the mean before `fit`, "
            "or set dtype='float64'.",
            PrecisionWarning,
            stacklevel=2,
        )
