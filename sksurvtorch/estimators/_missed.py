"""How large the effects of features are that all members of an ensemble have missed.

Members that have learned too little are alike in what they miss, so that their differences tell
nothing of it. The residuals of rows left out do. Say that the output lacks f(x) @ c, where f are
curves of each feature, and the coefficients c have mean 0 and variance tau². Let r be the first
derivative of the log likelihood by the output of a row, v minus the second one, and K = f @ f.T.
Then r[i] r[j] has the mean tau² K[i, j] v[i] v[j], and least squares over all pairs of rows, each
product with a variance of v[i] v[j], give

    tau² = sum of K[i, j] r[i] r[j] / sum of K[i, j]² v[i] v[j], over all i and j that differ.

The numerator is the score statistic of a variance component (X. Lin, "Variance component testing in
generalised linear models with random effects", Biometrika 84, 309-326, 1997,
doi:10.1093/biomet/84.2.309). What the differences of the members account for is taken off: an error
e of the output adds v e to r.
"""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import SplineTransformer

from sksurvtorch.nets.rows import Rows

# Of a cubic spline for each feature, which has 7 curves.
_N_KNOTS, _N_CURVES = 5, 7
# So many numbers at most, of rows that are spread evenly over all.
_MOST_NUMBERS = 2**21
# A feature with two values has no other shape than a line.
_LEAST_CURVATURE = 1e-6


def rows_to_judge(rows: Rows) -> np.ndarray:
    """Return the numbers of the rows that are looked at, all if they are not too many."""
    n_rows = max(2, _MOST_NUMBERS // (_N_CURVES * rows.shape[1]))
    if len(rows) <= n_rows:
        return np.arange(len(rows))
    return np.linspace(0, len(rows) - 1, n_rows).astype(np.int64)


# Of rows whose prediction is out of all proportion.
@np.errstate(over="ignore", invalid="ignore")
def missed_variance(
    X: np.ndarray, score: np.ndarray, information: np.ndarray, deviations: np.ndarray
) -> float:
    """Return the variance over people of what all members have missed.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Features.
    score : array of shape (n_samples,)
        First derivative of the log likelihood by an output, by members that have left the row out.
    information : array of shape (n_samples,)
        Minus the second derivative, 0 where that is positive. A factor of both makes no difference.
    deviations : array of shape (n_deviations, n_samples)
        Errors of the output, as members differ, whose squares add up to its variance.

    Returns
    -------
    float
        In the unit of the output, squared; 0 if the residuals tell of no more than members do, or
        if some are not finite.
    """
    largest = information.max()
    if not 0 < largest < np.inf:
        return 0.0
    score, information = score / largest, information / largest
    curves = _curves_of(X)
    each = curves * np.sqrt(information)[:, None]
    # Both have the same sum of squares.
    product = each.T @ each if each.shape[1] < len(each) else each @ each.T
    squares = (each * each).sum(1)
    divisor = (product * product).sum() - squares @ squares
    if not divisor > 0:  # no feature has curves
        return 0.0
    found = _of_pairs(curves, score[None]) - _of_pairs(curves, information * deviations)
    variance = found / float(divisor)
    return variance if 0 < variance < np.inf else 0.0


def _of_pairs(curves: np.ndarray, residuals: np.ndarray) -> float:
    """Return the sum of K[i, j] r[i] r[j] over all i and j that differ, and over several r."""
    totals = residuals @ curves
    own = (residuals * residuals) @ np.einsum("ij,ij->i", curves, curves)
    return float((totals * totals).sum() - own.sum())


def _curves_of(X: np.ndarray) -> np.ndarray:
    """Return splines of each feature less their lines, whose mean sum of squares of a row is 1."""
    largest = np.abs(X).max(0)
    x = X / np.where(largest > 0, largest, 1.0)
    splines = SplineTransformer(n_knots=_N_KNOTS, knots="quantile")
    f = splines.fit_transform(x).reshape(*x.shape, _N_CURVES)
    f -= f.mean(0)
    x -= x.mean(0)
    spread = (x * x).sum(0)
    slope = np.einsum("ij,ijk->jk", x, f) / np.where(spread > 0, spread, 1.0)[:, None]
    f -= x[:, :, None] * slope
    curvature = np.einsum("ijk,ijk->j", f, f) / len(x)
    curved = curvature > _LEAST_CURVATURE
    f = f[:, curved] / np.sqrt(curvature[curved] * max(1, curved.sum()))[:, None]
    curves: np.ndarray = f.reshape(len(x), -1)
    return curves
