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
doi:10.1093/biomet/84.2.309), whose variance is twice the sum of K² r² r² if nothing is missed. What
the differences of the members account for is taken off: an error e of the output adds v e to r. And
of what is left, x with the standard error s, the part 1 - (s / x)² counts, as in an estimate of
James and Stein (1961, Proc. 4th Berkeley Symposium 1, 361-379), so that little is made of noise.
"""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import SplineTransformer

# Of a cubic spline for each feature, which has 7 curves.
_N_KNOTS, _N_CURVES = 5, 7
#: So many rows at most are compared.
MOST_ROWS = 1_024
# Numbers in the curves of features that are taken together.
_MOST_NUMBERS = 2**18
# A feature with two values has no other shape than a line.
_LEAST_CURVATURE = 1e-6


# Of rows whose prediction is out of all proportion.
@np.errstate(over="ignore", invalid="ignore")
def missed_variance(
    kernel: np.ndarray, score: np.ndarray, information: np.ndarray, deviations: np.ndarray
) -> float:
    """Return the variance over people of what all members have missed.

    Parameters
    ----------
    kernel : array of shape (n_samples, n_samples)
        What `kernel_of` returns.
    score : array of shape (n_samples,)
        First derivative of the log likelihood by an output, by members that have left the row out.
    information : array of shape (n_samples,)
        Minus the second derivative, 0 where that is positive.
    deviations : array of shape (n_deviations, n_samples)
        Errors of the output, as members differ, whose squares add up to its variance.

    Returns
    -------
    float
        In the unit of the output, squared; 0 if the residuals tell of no more than members do, or
        if some are not finite. Factors of the likelihood make no difference.
    """
    largest = information.max()
    if not 0 < largest < np.inf:
        return 0.0
    score, information = score / largest, information / largest
    squares = kernel * kernel
    divisor = information @ squares @ information
    if not divisor > 0:  # no feature has curves
        return 0.0
    errors = information * deviations
    known = np.einsum("ij,ij->", errors @ kernel, errors)
    found = float((score @ kernel @ score - max(known, 0.0)) / divisor)
    if not 0 < found < np.inf:
        return 0.0
    error = 2 * float((score * score) @ squares @ (score * score) / divisor**2)
    return max(0.0, found - error / found)


def kernel_of(X: np.ndarray) -> np.ndarray:
    """Return f @ f.T of all features, with 0 for a row and itself; f @ f has the mean 1.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Features.

    Returns
    -------
    array of shape (n_samples, n_samples)
        Of splines of each feature less their lines, each with the same part in the sum.
    """
    kernel, n_curved = np.zeros((len(X), len(X))), 0
    at_once = max(1, _MOST_NUMBERS // (_N_CURVES * len(X)))
    for start in range(0, X.shape[1], at_once):
        curves = _curves_of(X[:, start : start + at_once])
        n_curved += curves.shape[1]
        flat = curves.reshape(len(X), -1)
        kernel += flat @ flat.T
    np.fill_diagonal(kernel, 0.0)
    kernel /= max(1, n_curved)
    return kernel


def _curves_of(X: np.ndarray) -> np.ndarray:
    """Return splines less their lines, (n_samples, n_features, 7), of features that have any.

    The squares of a feature's curves have the mean 1 in sum.
    """
    largest = np.abs(X).max(0)
    x = X / np.where(largest > 0, largest, 1.0)
    splines = SplineTransformer(n_knots=_N_KNOTS, knots="quantile")
    splines.set_output(transform="default")  # whatever is set for all
    f = splines.fit_transform(x).reshape(*x.shape, _N_CURVES)
    f -= f.mean(0)
    x -= x.mean(0)
    spread = (x * x).sum(0)
    slope = np.einsum("ij,ijk->jk", x, f) / np.where(spread > 0, spread, 1.0)[:, None]
    f -= x[:, :, None] * slope
    curvature = np.einsum("ijk,ijk->j", f, f) / len(x)
    curved = curvature > _LEAST_CURVATURE
    curves: np.ndarray = f[:, curved] / np.sqrt(curvature[curved])[:, None]
    return curves
