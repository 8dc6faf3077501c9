"""The door: X, y and what comes with them, as rows and columns that a net can be trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.utils.validation import _check_sample_weight, check_array, validate_data

from sksurvtorch import _validation as validation
from sksurvtorch._processes import Group
from sksurvtorch._warnings import warn
from sksurvtorch.estimators._settings import is_linear, penalties, resolve_dtype
from sksurvtorch.exceptions import NearlyTiedTimesWarning, PrecisionWarning
from sksurvtorch.nets.moments import column_ranges
from sksurvtorch.nets.rows import Rows, as_rows, find_stored, join
from sksurvtorch.nets.target import Columns

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator

# Beyond them a loss, or its gradient, is infinite in float32, or its mean in float64.
_LEAST_WEIGHT, _MOST_WEIGHT = 1e-300, 1e30
# Of a unit of weight: the square of its gradient, which Adam takes, is finite in float32.
_MOST_PENALTY = 1e15
# Relative difference that sums of some thousand steps can come to by rounding.
_ROUNDING = {np.float64: 1e-12, np.float32: 1e-6}


def check_X(
    estimator: SurvivalNetEstimator, X: Any, *, reset: bool
) -> tuple[Rows, tuple[int, ...] | dict[str, tuple[int, ...]]]:
    """Return the rows of X, and the shape of a sample; what is stored stays there."""
    network = estimator if reset else estimator._as_fitted
    own = network.module is not None
    dtype = resolve_dtype(network)
    if isinstance(X, Mapping):
        if not own:
            raise TypeError(
                "`X` must be one array for the built-in network, got a mapping of "
                f"{', '.join(map(repr, X)) or 'nothing'}. Give a `module` that takes these inputs."
            )
        known = getattr(estimator, "input_shape_", ())
        return _check_inputs(X, dtype, known if isinstance(known, dict) else ())
    dtypes = [dtype]
    if is_linear(network):
        dtypes.append(torch.float32)  # which the linear model widens piece by piece
    shape: dict[str, Any] = {"reset": reset, "ensure_2d": not own, "allow_nd": own}
    names = [str(dtype).removeprefix("torch.") for dtype in dtypes]
    if isinstance(X, torch.Tensor) and X.dtype == torch.bfloat16:
        X = X.float()  # which numpy does not have
    check = _in_words(partial(validate_data, estimator, dtype=names, order="C", **shape), own=own)
    rows = as_rows(X, dtypes, check)
    if reset and not own:
        near = _nearly_constant(rows, dtype)
        if len(near):
            _warn_of_lost_precision(near[_range_as_given(X, near) > 0], dtype)
    return rows, rows.shape[1:]


def _check_inputs(
    X: Mapping[Any, Any], dtype: torch.dtype, order: Iterable[str]
) -> tuple[Rows, dict[str, tuple[int, ...]]]:
    """Return the rows of several inputs, in this order as far as it has them, and their shapes."""
    if not X or not all(isinstance(name, str) and name.isidentifier() for name in X):
        raise ValueError(f"The keys of `X` must be arguments of `module`, got {[*X]}.")
    inputs = {}
    for name in sorted(X, key=[*order, *X].index):
        options = {"dtype": str(dtype).removeprefix("torch."), "order": "C", "input_name": name}
        check = partial(check_array, ensure_2d=False, allow_nd=True, **options)
        inputs[name] = as_rows(X[name], [dtype], _in_words(check, own=True))
    return join(inputs, dtype), {name: rows.shape[1:] for name, rows in inputs.items()}


def _in_words(check: Callable[[Any], np.ndarray], *, own: bool) -> Callable[[Any], np.ndarray]:
    """Return a check of X whose errors say what X has to be, where numpy's do not."""

    def checked(X: Any) -> np.ndarray:
        """Return X as the check does."""
        try:
            return check(X)
        except ValueError as error:
            if "inhomogeneous" in str(error):
                raise ValueError(
                    "`X` must have samples of one shape, got some of different lengths. Pad or cut "
                    "them."
                ) from error
            if "Found array with dim" in str(error) and not own:
                raise ValueError(
                    f"{error} Give a `module` that takes samples of several axes, such as images."
                ) from error
            raise

    return checked


def check_data(
    estimator: SurvivalNetEstimator, rows: Rows, y: Any, given: dict[str, Any], group: Group
) -> tuple[Rows, Columns]:
    """Return the rows that count and their columns, event, time and so on."""
    columns, n_samples = estimator._check_y(y, in_fit=True), len(rows)
    if len(y) != n_samples:
        raise ValueError(f"`y` must have one row for each of X, {n_samples}, got {len(y)}.")
    given = estimator._encode_strata(given, n_samples)
    for name, value in given.items():
        if value is not None and name != "sample_weight":
            columns[name] = validation.check_vector(
                name, np.array(validation.for_numpy(name, value)), n_samples
            )
    if "entry" in columns:
        if "upper" in columns:
            bounds = columns["lower"], columns["upper"]
            validation.check_entry_of_bounds(columns["entry"], *bounds)
        else:
            validation.check_entry(columns["entry"], columns["time"])
    if given["sample_weight"] is None:
        return rows, columns
    given_weight = validation.for_numpy("sample_weight", given["sample_weight"])
    may_vanish = group.size > 1  # other processes may have rows that count
    kind = {"dtype": np.float64, "ensure_non_negative": True, "allow_all_zero_weights": may_vanish}
    weight = _check_sample_weight(given_weight, rows, **kind)
    columns["weight"] = validation.check_vector("sample_weight", weight, n_samples)
    # A row of weight 0 counts as absent, in batches and standardisation too.
    counts = columns["weight"] > 0
    if not counts.all():
        rows = rows.select(counts.nonzero().squeeze(1))
        columns = {name: column[counts] for name, column in columns.items()}
    return rows, columns


def check_total_weight(estimator: SurvivalNetEstimator, columns: Columns) -> None:
    """Raise if weights are so large or so small that losses would overflow."""
    if "weight" not in columns:
        return
    total, strength = float(columns["weight"].sum()), max(penalties(estimator))
    least = max(_LEAST_WEIGHT, strength / _MOST_PENALTY)
    if least <= total <= _MOST_WEIGHT:
        return
    hint = "Divide the weights by their mean."
    if _LEAST_WEIGHT <= total < least:
        hint = (
            f"`alpha`, a penalty of {strength:g}, allows no smaller one. Divide the weights by "
            "their mean, or set `alpha` to 0."
        )
    raise ValueError(
        f"`sample_weight` must have a sum from {least:.0e} to {_MOST_WEIGHT:.0e}, got "
        f"{total:.3g}. {hint}"
    )


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
        warn(
            f"{len(lost)} columns of X (the first is number {lost[0]}) vary so little around their "
            f"mean that {name} hardly tells their values apart. Subtract the mean before `fit`, "
            "or set dtype='float64'.",
            PrecisionWarning,
        )


def warn_of_nearly_tied_times(columns: Columns) -> None:
    """Warn of times, and of entries, that would be equal if they were not rounded."""
    time = columns["time"].numpy()
    if time.dtype.kind != "f":
        return
    every = [time] if "entry" not in columns else [time, columns["entry"].double().numpy()]
    values = np.unique(np.concatenate(every))
    values = values[np.isfinite(values)]
    # Numbers that came in float32 are all found there.
    with np.errstate(over="ignore"):
        precision = np.float32 if (values == values.astype(np.float32)).all() else np.float64
    difference = np.diff(values) / np.maximum(np.abs(values[1:]), np.abs(values[:-1]))
    rounding = _ROUNDING[precision]
    whole = values == np.floor(values)
    near = (difference < rounding) & ~(whole[1:] & whole[:-1])
    # Of many times some come as close by chance, and then many more not much farther away.
    if 10 * near.sum() <= (difference < 100 * rounding).sum():
        return
    first = int(near.argmax())
    warn(
        f"{near.sum()} of {len(values)} distinct times differ from the time before by no more than "
        f"rounding, such as {values[first + 1]!s} from {values[first]!s}: they are not tied. Round "
        "the times, for instance by numpy.round(time, 6), if they should be.",
        NearlyTiedTimesWarning,
    )
