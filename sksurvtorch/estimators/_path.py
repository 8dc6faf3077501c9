"""Survival of subjects whose covariates change: rows of periods, joined."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sksurvtorch._validation import check_vector, for_numpy
from sksurvtorch.estimators._baseline import find_strata
from sksurvtorch.estimators._functions import FollowUp


class SurvivalPaths:
    """Model that joins the curves of several rows of a subject to one."""

    def predict_survival_path(
        self,
        X: Any,
        *,
        subject: Any,
        entry: Any,
        exit: Any,
        times: Any = None,
        stratum: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        r"""Predict survival of subjects whose covariates change with time.

        A subject has a row for each period (entry, exit] in which its covariates are constant. The
        cumulative hazard of the subject is the sum of those of its rows over their periods,

        .. math:: H(t) = \sum_j H(\min(\max(t, entry_j), exit_j) \mid x_j) - H(entry_j \mid x_j)

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Rows of all subjects, in any order.
        subject : array-like of shape (n_rows,)
            Label of the subject of each row.
        entry : array-like of shape (n_rows,)
            Start of each period, at least 0. A subject whose first entry is above 0 is known to be
            free of the event until then.
        exit : array-like of shape (n_rows,)
            End of each period, later than its start, and the start of the next one of the subject.
            Infinite for covariates that stay as they are.
        times : array-like of shape (n_times,), optional
            Times of the values; `unique_times_` if left out. A Cox model needs times from 0 to the
            last time of the fit, and rows whose periods up to then end by the last time of their
            stratum. If `times` is left out, the hazard beyond that time counts as 0.
        stratum : array-like of shape (n_rows,), optional
            Stratum of each row; needed if the model was fitted with strata.

        Returns
        -------
        labels : array of shape (n_subjects,)
            Subjects in the order of their first rows.
        survival : array of shape (n_subjects, n_times)
            Survival of each: 1 up to its first entry, and NaN after its last exit, since nothing
            is known of its covariates there.

        Raises
        ------
        ValueError
            If periods of a subject overlap or leave a gap. For a model of competing risks also if
            it has subdistribution hazards; with cause-specific ones survival is that of all causes.

        Notes
        -----
        The path of the covariates has to be known in advance, or be assumed: a period that begins
        later takes for granted that the subject lives to see it. A covariate that only the living
        have, such as a measurement at a visit, can be predicted from up to the next visit alone.
        """
        check_is_fitted(self, "net_")
        model: Any = self  # a mixin: the estimator has the curves
        n_rows = model._check_X(X, reset=False).n_held
        start, end = _check_periods(entry, exit, n_rows)
        labels, code = _check_subjects(subject, start, end)
        given = {} if stratum is None else {"stratum": self._check_has_strata(stratum)}
        rows = find_strata(stratum, getattr(model, "strata_", None), n_rows)
        follow_up = model._follow_up(rows)
        grid = model._check_times(times, None)
        if times is not None:
            _check_reached(grid, start, end, follow_up)
        # Of a period after all times nothing is asked, and behind the last time of its stratum the
        # hazard stays as it is.
        start = np.minimum(start, np.minimum(grid.max(initial=0), follow_up.last))
        stop = np.maximum(start, np.minimum(end, follow_up.last))
        within = np.clip(grid, start[:, None], stop[:, None])
        of_rows = model.predict_cumulative_hazard_function(
            X, times=within, conditional_after=start, **given
        )
        hazard = np.zeros((len(labels), len(grid)))
        np.add.at(hazard, code, of_rows)
        last = np.zeros(len(labels))
        np.maximum.at(last, code, end)
        hazard[grid > last[:, None]] = np.nan
        return labels, np.exp(-hazard)

    def _check_has_strata(self, stratum: Any) -> Any:
        """Return strata, or raise if the model cannot have any."""
        if not hasattr(self, "strata_"):
            raise ValueError(
                f"`stratum` must be left out of {type(self).__name__}, which has no strata, got "
                "one."
            )
        return stratum


def _check_periods(entry: Any, exit: Any, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the start and the end of the period of each row."""
    start, end = (
        check_vector(name, np.array(for_numpy(name, value)), n_rows).double().numpy()
        for name, value in (("entry", entry), ("exit", exit))
    )
    bad = ~((start >= 0) & (start < np.inf))
    if bad.any():
        raise ValueError(
            f"`entry` must be at least 0 and finite, got {start[bad][0]!s} ({bad.sum()} of "
            f"{n_rows} rows). Time starts at 0."
        )
    bad = ~(end > start)
    if bad.any():
        raise ValueError(
            f"`exit` must be later than the entry of its row, got {end[bad][0]!s} after "
            f"{start[bad][0]!s} ({bad.sum()} of {n_rows} rows). A row lasts for (entry, exit], "
            "which may not be empty."
        )
    return start, end


def _check_reached(
    grid: np.ndarray, start: np.ndarray, end: np.ndarray, follow_up: FollowUp
) -> None:
    """Raise if a time needs the hazard of a period beyond the last time of its stratum."""
    if follow_up.stratum is None:
        return
    reached = np.minimum(grid, end[:, None]) > follow_up.last[:, None]
    late = reached & (grid > start[:, None])
    hint = "A Cox model says nothing about later times; leave them out."
    follow_up.refuse("within [0, {}]", "times", np.where(late, grid, 0), late.any(axis=1), hint)


def _check_subjects(
    subject: Any, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels in the order of their first rows, and the number of that of each row."""
    # Numbers and text in one list stay what they are.
    kind = object if isinstance(subject, (list, tuple)) else None
    values = np.asarray(for_numpy("subject", subject), dtype=kind)
    if values.shape != start.shape:
        raise ValueError(f"`subject` must have shape {start.shape}, got {values.shape}.")
    if any(map(_is_missing, values)):
        raise ValueError("`subject` must name a subject for each row, got missing values.")
    numbers: dict[Any, int] = {}
    code = np.array([numbers.setdefault(value, len(numbers)) for value in values.tolist()], int)
    _check_no_gap(code, start, end, list(numbers))
    first = np.unique(code, return_index=True)[1]
    return values[first], code


def _is_missing(value: Any) -> bool:
    """Whether a label is None or NaN, or what pandas has for it."""
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas.NA is neither equal nor different
        return True


def _check_no_gap(code: np.ndarray, start: np.ndarray, end: np.ndarray, labels: list[Any]) -> None:
    """Raise unless each row of a subject begins where the one before ends."""
    order = np.lexsort((start, code))
    before, after = order[:-1], order[1:]
    bad = (code[before] == code[after]) & (end[before] != start[after])
    if not bad.any():
        return
    before, after = before[bad][0], after[bad][0]
    hint = "Rows of a subject may not overlap."
    if start[after] > end[before]:
        hint = "What happened in a gap is not known: give the rows after it another label."
    raise ValueError(
        "`entry` must be the exit of the row before, of the same subject, got "
        f"{start[after]!s} after {end[before]!s} for subject {labels[code[after]]!r} "
        f"({bad.sum()} of {len(code)} rows). {hint}"
    )
