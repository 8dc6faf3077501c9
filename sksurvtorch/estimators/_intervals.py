"""Bands and intervals: what a fit learns for them, and what both models have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sksurvtorch import _validation as validation
from sksurvtorch.estimators._bands import Jackknife, Pair
from sksurvtorch.estimators._base import SurvivalNetEstimator
from sksurvtorch.estimators._ensemble import LeftOut, outputs_of_members
from sksurvtorch.estimators._functions import evenly
from sksurvtorch.estimators._missed import MOST_ROWS, kernel_of, missed_variance
from sksurvtorch.estimators._settings import N_FOLDS, n_members
from sksurvtorch.estimators._time_interval import NAMES, bounds, learn_scores
from sksurvtorch.nets.dataset import SurvivalDataset

# Of a model that has learned nothing the slope could be anything.
_LEAST_SLOPE, _MOST_SLOPE = 0.0, 2.0
# Of an output, for a difference of derivatives, which are float64.
_STEP = 1e-4


class IntervalEstimator(SurvivalNetEstimator):
    """Estimator whose ensembles say how sure they are."""

    #: What intervals are made of, besides the members: arrays by name.
    _interval_basis: dict[str, np.ndarray]

    def predict_risk_interval(self, X: Any, level: float = 0.9) -> Pair:
        """Predict an interval for the risk score of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        level : float, default=0.9
            Probability, above 0 and below 1, with which an interval is meant to cover.

        Returns
        -------
        lower : array of shape (n_samples,)
            Lower bounds, at most what `predict` returns, for the score of the true curve.
        upper : array of shape (n_samples,)
            Upper bounds.

        Raises
        ------
        ValueError
            If the model is no ensemble of five networks or more that one call of `fit` has trained.
        """
        quantile = self._quantile_of(level)
        output, outputs = self._outputs(X)
        jackknife, score = Jackknife.of(self.member_weights_), self._risk_score(output)
        deviation = jackknife.deviations(np.stack([self._risk_score(own) for own in outputs]))
        variance = (deviation**2).sum(0) + self._score_unit**2 * self._common_variance(output)
        half = quantile * np.sqrt(variance)
        return score - half, score + half

    # What a model is: hooks.

    @abstractmethod
    def _learn_members(
        self, dataset: SurvivalDataset, outputs: Tensor, left_out: Tensor
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Return what bands need to know of members, and a cumulative hazard of each row.

        The second, of shape (n_samples,), is the sum over those members that have left a row out of
        their weights times the cumulative hazard at its own time. It is None of models without
        intervals of times.
        """

    @abstractmethod
    def _off_center(self, output: Tensor) -> np.ndarray:
        """Return how far each sample's output that makes the risk score is from the middle."""

    @property
    def _n_scored(self) -> int:
        """Number of outputs, the first ones, that can make a risk score."""
        return 1

    @property
    def _scored(self) -> int:
        """Number of the output that makes the risk score."""
        return 0

    @property
    def _score_unit(self) -> float:
        """What the risk score changes by where the output does by 1, without its sign."""
        return 1.0

    def _learn_intervals(self, dataset: SurvivalDataset, left: LeftOut) -> None:
        """Learn what intervals are made of, if there are members that can be compared."""
        if n_members(self) < N_FOLDS:
            return
        # Rows set aside for early stopping are seen by none, and have no part in this.
        left_out = left.left_out & ~left.left_out.all(0)
        of_members, hazard = self._learn_members(dataset, left.outputs, left_out)
        basis = {
            "slope": _calibration_slopes(self, dataset, left.of_rows),
            "missed": _missed_variances(self, dataset, left),
            **of_members,
        }
        if hazard is not None and not _enters_late(dataset):
            share = np.zeros(len(hazard))
            for weight, rows in zip(self.member_weights_, left_out.numpy(), strict=True):
                share += weight * rows
            judged = share > 0
            assert dataset.y is not None
            own = {name: column.cpu().numpy()[judged] for name, column in dataset.y.items()}
            score = hazard[judged] / share[judged]
            basis |= learn_scores(score, own["event"], own["time"], own.get("weight"))
        self._interval_basis = basis

    # What intervals are made of.

    def _quantile_of(self, level: float) -> float:
        """Return the number of standard deviations from a curve to its bound, if it has one."""
        validation.check_number("level", level, float, 0, 1, closed=False)
        self._check_has_intervals()
        return Jackknife.of(self.member_weights_).quantile(level)

    def _check_has_intervals(self) -> None:
        check_is_fitted(self, "net_")
        count = n_members(self._as_fitted)
        if count < N_FOLDS:
            raise ValueError(
                f"`n_estimators` must be at least {N_FOLDS} in `fit` for an interval, got {count}. "
                "Intervals come from how much networks differ that have left out different rows."
            )
        if not hasattr(self, "_interval_basis"):
            raise ValueError(
                "Intervals must come from one call of `fit`, got a model of `partial_fit` or of a "
                "training that was resumed. Call `fit` with warm_start=False."
            )

    def _outputs(self, X: Any) -> tuple[Tensor, Tensor]:
        """Return the output for new samples, and those of the members, in float64."""
        rows = self._check_X(X, reset=False)
        return self._forward(rows).double(), outputs_of_members(self, rows).double()

    def _common_variance(self, output: Tensor) -> np.ndarray:
        """Return the variance of outputs by errors that all members have in common.

        If the true differences between people are `slope` times those predicted, as they are out
        of bag, an output is off by (1 - slope) times its distance from the middle. To it comes the
        variance of what all have missed.
        """
        basis, k = self._interval_basis, self._scored
        off = (1 - basis["slope"][k]) * self._off_center(output)
        variance: np.ndarray = off * off + basis["missed"][k]
        return variance

    def _hazard_bounds(self, level: float) -> tuple[float, float]:
        """Return between which cumulative hazards the time of a new person lies."""
        validation.check_number("level", level, float, 0, 1, closed=False)
        self._check_has_intervals()
        if "score" not in self._interval_basis:
            raise ValueError(
                "`y` must have events at known times, and `entry` be left out, in `fit` for the "
                "interval of a time, got intervals or late entry. The interval is made of the "
                "hazards at known times of people who were followed from time 0."
            )
        return bounds({name: self._interval_basis[name] for name in NAMES}, level)


def _enters_late(dataset: SurvivalDataset) -> bool:
    """Whether some rows have an entry after 0."""
    assert dataset.y is not None
    return "entry" in dataset.y and bool((dataset.y["entry"] > 0).any())


def _calibration_slopes(
    estimator: IntervalEstimator, dataset: SurvivalDataset, output: Tensor
) -> np.ndarray:
    """Return what the differences of predictions are best multiplied by, of rows left out.

    The likelihood is largest there; a level, where the model has one, is fitted with it.
    """
    assert dataset.y is not None
    target, criterion = dataset.y, estimator._criterion().eval()
    n_slopes = estimator._n_scored
    center = output[:, :n_slopes].mean(0)
    first, others = output[:, :n_slopes] - center, output[:, n_slopes:]

    def loss_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss with these slopes and level, and its gradient."""
        slopes_and_level = torch.from_numpy(x.copy()).requires_grad_()
        slopes, level = slopes_and_level[:-1], slopes_and_level[-1]
        scaled = torch.cat([center + level + slopes * first, others], dim=1)
        loss = target.loss(criterion, scaled, None)
        (gradient,) = torch.autograd.grad(loss, slopes_and_level)
        return loss.item(), gradient.numpy()

    free = (None, None) if estimator._has_level else (0.0, 0.0)
    found = minimize(
        loss_and_gradient,
        np.array([1.0] * n_slopes + [0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[*[(_LEAST_SLOPE, _MOST_SLOPE)] * n_slopes, free],
    )
    # Without an optimum nothing is known of the slopes, and predictions stand as they are.
    slopes: np.ndarray = found.x[:-1]
    return slopes if np.isfinite(found.x).all() else np.ones(n_slopes)


def _missed_variances(
    estimator: IntervalEstimator, dataset: SurvivalDataset, left: LeftOut
) -> np.ndarray:
    """Return the variance of what members have missed in each output that can make a score."""
    n_scored = estimator._n_scored
    if estimator.module is not None:  # whose inputs may be images, codes, or anything else
        return np.zeros(n_scored)
    judged = evenly(len(dataset), MOST_ROWS)
    kernel = kernel_of(dataset.rows.take(torch.from_numpy(judged)).double().cpu().numpy())
    outputs = left.outputs[:, judged].double().numpy()
    jackknife = Jackknife.of(estimator.member_weights_)
    found = np.empty(n_scored)
    for k in range(n_scored):
        score, information = _derivatives(estimator, dataset, left.of_rows, k)
        deviations = jackknife.deviations(outputs[..., k])
        found[k] = missed_variance(kernel, score[judged], information[judged], deviations)
    return found


def _derivatives(
    estimator: IntervalEstimator, dataset: SurvivalDataset, output: Tensor, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first two derivatives of the log likelihood by the k-th output of each row.

    Both are those of its mean. The second one is by the row's own output, without its sign, and 0
    where it is positive. It is the change of the first one along random signs, to which the outputs
    of other rows add little, as they cancel (C. Bekas, E. Kokiopoulou, Y. Saad, "An estimator for
    the diagonal of a matrix", Applied Numerical Mathematics 57, 1214-1229, 2007,
    doi:10.1016/j.apnum.2007.01.003).
    """
    assert dataset.y is not None
    target, criterion = dataset.y, estimator._criterion().eval()

    def score(step: np.ndarray) -> np.ndarray:
        """Return the first derivative, with a step added to the outputs."""
        moved = output.clone()
        moved[:, k] += torch.from_numpy(step)
        moved.requires_grad_()
        (gradient,) = torch.autograd.grad(target.loss(criterion, moved, None), moved)
        first: np.ndarray = -gradient[:, k].numpy()
        return first

    step = _STEP * np.random.default_rng(0).choice([-1.0, 1.0], len(output))
    with np.errstate(invalid="ignore"):  # of predictions out of all proportion
        change = (score(step) - score(-step)) / (2 * step)
    return score(0 * step), np.maximum(-change, 0)
