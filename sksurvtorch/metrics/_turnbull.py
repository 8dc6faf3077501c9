"""Turnbull's nonparametric estimate of survival from interval-censored times."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from sklearn.exceptions import ConvergenceWarning

from sksurvtorch._validation import check_number
from sksurvtorch._warnings import warn
from sksurvtorch.metrics._concordance import check_weight
from sksurvtorch.metrics._intervals import bounds

Array = NDArray[Any]

# How often a step is halved before it is given up.
_HALVINGS = 12


class Turnbull(NamedTuple):
    """Result of `turnbull`.

    Attributes
    ----------
    left : array of shape (n_intervals,)
        Where the innermost intervals (left, right] begin, ascending. Two equal ends are a point.
    right : array of shape (n_intervals,)
        Where they end; the last end is infinite if survival does not fall to 0 within the
        follow-up.
    mass : array of shape (n_intervals,)
        Probability of the event in each of them. They add up to 1.
    survival : array of shape (n_intervals,)
        Survival from each end on, up to where the next interval begins.
    log_likelihood : float
        Log likelihood, weighted, of the bounds that were given: the greatest of all distributions.
    gap : float
        By how much at most the mean log likelihood of a row may be below the greatest.
    """

    left: Array
    right: Array
    mass: Array
    survival: Array
    log_likelihood: float
    gap: float

    def survival_bounds(self, times: Any) -> tuple[Array, Array]:
        """Return the least and the greatest survival that the estimate allows at each time.

        Within an innermost interval survival may fall anywhere. Elsewhere both are equal.

        Parameters
        ----------
        times : array-like of shape (n_times,)
            Times, at least 0.

        Returns
        -------
        least : array of shape (n_times,)
            Survival if each event happens where its interval begins.
        greatest : array of shape (n_times,)
            Survival if each event happens where its interval ends.
        """
        times = np.asarray(times, dtype=float)
        before = np.append(1.0, self.survival)
        begun = np.where(self.left == self.right, self.left, np.nextafter(self.left, np.inf))
        least = before[begun.searchsorted(times, side="right")]
        return least, before[self.right.searchsorted(times, side="right")]


def turnbull(
    lower: Any,
    upper: Any,
    *,
    sample_weight: Any = None,
    tol: float = 1e-9,
    max_iter: int = 10_000,
) -> Turnbull:
    r"""Turnbull's estimate of survival from interval-censored times.

    It is the distribution with the greatest likelihood

    .. math::

        \prod_i \left(S(\text{lower}_i) - S(\text{upper}_i)\right)^{w_i}

    in which a row with equal bounds has the probability of that point. All of it lies in the
    innermost intervals: those that begin with a lower bound, end with an upper one, and have no
    other bound between [1]_. How it is distributed within one of these the likelihood does not
    depend on, so there the curve is not determined.

    Parameters
    ----------
    lower : array of shape (n_samples,)
        Last time at which the event had not happened yet, finite and at least 0.
    upper : array of shape (n_samples,)
        First time at which it was known to have happened, at least `lower`; infinite for a
        right-censored row. Equal bounds are an event at that time.
    sample_weight : array of shape (n_samples,), optional
        Weight of each row. A row of weight 0 is absent.
    tol : float, default=1e-9
        The iterations end when the mean log likelihood of a row is known to be within this of the
        greatest.
    max_iter : int, default=10000
        Number of iterations after which a `ConvergenceWarning` of scikit-learn says that they have
        not converged.

    Returns
    -------
    Turnbull
        `left`, `right`, `mass`, `survival`, `log_likelihood` and `gap`; its method
        `survival_bounds` gives survival at any time.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content.

    Notes
    -----
    Each iteration makes steps of the self-consistency equation of [1]_, which is the
    EM algorithm, with the extrapolation of [2]_, and one of the iterative convex minorant [3]_. It
    takes O(n_samples) time; 10 to 100 of them are usual, and thousands where the weights differ by
    many orders of magnitude. Afterwards the derivatives of the log likelihood bound what is
    missing, `gap`: it is concave.

    With rows that are either events or right-censored it is the Kaplan-Meier estimate, which is
    computed as such, as wherever no two rows overlap in part. Late entry is not supported: a row
    that enters late needs another likelihood.

    The probability of the interval of each row is unique, the masses nearly always are [4]_. There
    is no confidence band: the estimate converges more slowly than Kaplan-Meier, and not to a normal
    distribution.

    References
    ----------
    .. [1] B. W. Turnbull, "The empirical distribution function with arbitrarily grouped, censored
       and truncated data", Journal of the Royal Statistical Society, Series B 38, 1976,
       doi:10.1111/j.2517-6161.1976.tb01597.x.
    .. [2] R. Varadhan, C. Roland, "Simple and globally convergent methods for accelerating the
       convergence of any EM algorithm", Scandinavian Journal of Statistics 35, 2008,
       doi:10.1111/j.1467-9469.2007.00585.x.
    .. [3] J. A. Wellner, Y. Zhan, "A hybrid algorithm for computation of the nonparametric maximum
       likelihood estimator from censored data", Journal of the American Statistical Association
       92, 1997, doi:10.1080/01621459.1997.10474049.
    .. [4] R. Gentleman, C. J. Geyer, "Maximum likelihood for interval censored data: consistency
       and computation", Biometrika 81, 1994, doi:10.1093/biomet/81.3.618.

    Examples
    --------
    Of four events one is after 3, and the others can all be between 1 and 2. Within this interval
    the curve falls from 1 to 1/4:

    >>> from sksurvtorch.metrics import turnbull
    >>> curve = turnbull([0, 1, 1, 3], [2, 2, 3, float("inf")])
    >>> curve.left, curve.right, curve.mass
    (array([1., 3.]), array([ 2., inf]), array([0.75, 0.25]))
    >>> curve.survival_bounds([1, 1.5, 2])
    (array([1.  , 0.25, 0.25]), array([1.  , 1.  , 0.25]))
    """
    check_number("tol", tol, float, 0)
    check_number("max_iter", max_iter, int, 1)
    low, high = bounds(lower, upper)
    if not len(low):
        raise ValueError("`lower` must have at least one row, got none.")
    weight = np.ones(len(low)) if sample_weight is None else check_weight(sample_weight, len(low))
    if not 0 < weight.sum() < np.inf:
        raise ValueError(
            f"`sample_weight` must have a positive and finite sum, got {weight.sum()}. Divide the "
            "weights by their mean."
        )
    left, right, problem = _innermost(low[weight > 0], high[weight > 0], weight[weight > 0])
    mass = problem.kaplan_meier()
    mass = problem.solve(tol, max_iter) if mass is None else mass
    gap = problem.gap(mass)
    if gap > tol:
        warn(
            f"Turnbull's estimate has not converged after {max_iter} iterations: the mean log "
            f"likelihood of a row may be {gap:.1e} below the greatest, and `tol` is {tol:g}. Raise "
            "`max_iter` or `tol`.",
            ConvergenceWarning,
        )
    survival = np.append(np.cumsum(mass[:0:-1])[::-1], 0.0)
    return Turnbull(
        left, right, mass, survival, float(weight.sum() * problem.log_likelihood(mass)), gap
    )


class _Problem(NamedTuple):
    """Which of the innermost intervals the rows hold: from first to before stop, all of them."""

    first: Array
    stop: Array
    weight: Array  # they add up to 1
    n_intervals: int

    def probability(self, mass: Array) -> Array:
        """Return the probability of the bounds of each row."""
        until = np.append(0.0, np.cumsum(mass))
        probability: Array = until[self.stop] - until[self.first]
        # A difference of sums would leave rounding where the row has one interval only.
        alone = self.stop - self.first == 1
        probability[alone] = mass[self.first[alone]]
        return probability

    def log_likelihood(self, mass: Array) -> float:
        """Return the mean log likelihood, -inf where the masses are impossible."""
        probability = self.probability(mass)
        if not (probability > 0).all():
            return -np.inf
        return float(self.weight @ np.log(probability))

    def derivative(self, mass: Array) -> Array:
        """Return the derivative of the mean log likelihood in each mass; 1 at the maximum."""
        part = self.weight / self.probability(mass)
        return np.cumsum(self._at(self.first, part) - self._at(self.stop, part))[:-1]

    def _at(self, place: Array, value: Array) -> Array:
        """Sum values at the places before, between and after the intervals."""
        return np.bincount(place, value, self.n_intervals + 1)

    def gap(self, mass: Array) -> float:
        """Bound how far the mean log likelihood is below the greatest, by its concavity."""
        if self.log_likelihood(mass) == -np.inf:
            return np.inf
        return float(max(self.derivative(mass).max() - 1, 0))

    def kaplan_meier(self) -> Array | None:
        """Return the estimate where each row has one interval, or all from one on; else None."""
        alone = self.stop - self.first == 1
        if not (alone | (self.stop == self.n_intervals)).all():
            return None
        events = self._at(self.first[alone], self.weight[alone])[:-1]
        # A row that may have any interval from one on is at risk before that one only.
        leaving = self._at(self.first + alone, self.weight)
        at_risk = np.cumsum(leaving[:0:-1])[::-1]
        hazard = np.append(events[:-1] / at_risk[:-1], 1.0)
        mass: Array = hazard * np.cumprod(np.append(1.0, 1 - hazard[:-1]))
        return mass

    def solve(self, tol: float, max_iter: int) -> Array:
        """Iterate from equal masses until the gap is at most `tol`."""
        mass = np.full(self.n_intervals, 1 / self.n_intervals)
        with np.errstate(divide="ignore", invalid="ignore"):  # the gap is infinite then
            for _ in range(max_iter):
                if self.gap(mass) <= tol:
                    break
                mass = self._convex_minorant(self._extrapolate(mass))
        return mass

    def _expect(self, mass: Array) -> Array:
        """Return the masses after a step of the EM algorithm."""
        new: Array = mass * self.derivative(mass)
        new /= new.sum()
        return new

    def _extrapolate(self, mass: Array) -> Array:
        """Return the masses after two steps of the EM algorithm, or beyond if that is better."""
        once = self._expect(mass)
        twice = self._expect(once)
        step = once - mass
        bend = twice - once - step
        size = float(np.linalg.norm(bend))
        length = max(float(np.linalg.norm(step)) / size, 1.0) if size > 0 else 1.0
        least = self.log_likelihood(twice)
        for _ in range(_HALVINGS):
            if length == 1:
                break  # that is the second step
            far: Array = mass + 2 * length * step + length**2 * bend
            far /= far.sum()
            if (far >= 0).all() and self.log_likelihood(far) > least:
                return far
            length = max((length + 1) / 2, 1.0)
        return twice

    def _convex_minorant(self, mass: Array) -> Array:
        """Return the masses after a Newton step of the cumulative ones, which have to ascend.

        The matrix of second derivatives is taken as diagonal, so the step is an isotonic
        regression. It is halved until the likelihood rises.
        """
        probability = self.probability(mass)
        slope = self.weight / probability
        curvature = slope / probability
        inner = slice(1, -1)  # the sums before and after all intervals are 0 and 1
        slopes = (self._at(self.stop, slope) - self._at(self.first, slope))[inner]
        curvatures = (self._at(self.stop, curvature) + self._at(self.first, curvature))[inner]
        if not (np.isfinite(curvatures) & (curvatures > 0)).all():
            return mass
        until = np.cumsum(mass)[:-1]
        wanted = isotonic_regression(until + slopes / curvatures, weights=curvatures).x
        move, least = wanted.clip(0, 1) - until, self.log_likelihood(mass)
        for _ in range(_HALVINGS):
            new: Array = np.diff(until + move, prepend=0.0, append=1.0)
            if (new >= 0).all() and self.log_likelihood(new) > least:
                return new
            move = move / 2
        return mass


def _innermost(low: Array, high: Array, weight: Array) -> tuple[Array, Array, _Problem]:
    """Find the innermost intervals, and which of them the rows hold."""
    # At the same time points begin first, then intervals and points end, then intervals begin.
    values = np.unique([low, high])
    begin = 3 * values.searchsorted(low) + 2 * (low < high)
    end = 3 * values.searchsorted(high) + 1
    places = np.unique([begin, end])
    ends = places % 3 == 1
    inner = np.flatnonzero(~ends[:-1] & ends[1:])
    left, right = places[inner], places[inner + 1]
    first, stop = left.searchsorted(begin), right.searchsorted(end, side="right")
    # Rows that hold the same intervals count as one.
    code, row = np.unique(first * (len(left) + 1) + stop, return_inverse=True)
    first, stop = np.divmod(code, len(left) + 1)
    problem = _Problem(first, stop, np.bincount(row, weight / weight.sum()), len(left))
    return values[left // 3], values[right // 3], problem
