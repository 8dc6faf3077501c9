"""Learners of cumulative incidences for `competing_risks.py`: this package and its peers.

Each takes features, status and time, and returns a function that predicts the incidences of new
features at some times, of shape (n_samples, n_causes, n_times).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import chdir
from unittest.mock import patch

import numpy as np
import torch
from sklearn.ensemble._hist_gradient_boosting import binning
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.nonparametric import cumulative_incidence_competing_risks
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CompetingRisksNNRegressor
from sksurvtorch.nets import competing_risks_y

Array = np.ndarray
Predict = Callable[[Array, Array], Array]
Learner = Callable[[Array, Array, Array], Predict]

OURS, BOOST = "cause-specific", "SurvivalBoost"
SAME_TIME = "SurvivalBoost, same time"


def ours(**parameters: object) -> Learner:
    """Return a learner that is the estimator of this package."""

    def fit(X: Array, status: Array, time: Array) -> Predict:
        model = CompetingRisksNNRegressor(random_state=0, **parameters)
        model.fit(X, competing_risks_y(status, time))
        last = float(model.unique_times_[-1])
        return lambda new, times: model.predict_cumulative_incidence(
            new, times=np.minimum(times, last)
        )

    return fit


def aalen_johansen(X: Array, status: Array, time: Array) -> Predict:
    """Learn the incidences of all, without features."""
    steps, curves = cumulative_incidence_competing_risks(status, time)
    # The first row is the incidence of any event.
    curves = np.insert(curves[1:], 0, 0.0, axis=1)

    def predict(new: Array, times: Array) -> Array:
        found = curves[:, np.searchsorted(steps, times, side="right")]
        return np.broadcast_to(found, (len(new), *found.shape))

    return predict


def cox_of_each_cause(X: Array, status: Array, time: Array) -> Predict:
    """Learn scikit-survival's linear Cox model of each cause; the product integral combines them.

    The ridge of 1e-4 is that of `defaults.py`, which keeps nearly singular folds solvable.
    """
    grid = np.unique(time[status > 0])
    models, steps = [], []
    for cause in range(1, status.max() + 1):
        model = CoxPHSurvivalAnalysis(alpha=1e-4, n_iter=200, ties="efron")
        models.append(model.fit(X, Surv.from_arrays(status == cause, time)))
        steps.append(np.diff(model.cum_baseline_hazard_(grid), prepend=0.0))

    def predict(new: Array, times: Array) -> Array:
        at = np.searchsorted(grid, times, side="right")
        pieces = np.array_split(new, max(1, len(new) // 500))
        return np.concatenate([predict_piece(piece, at) for piece in pieces])

    def predict_piece(new: Array, at: Array) -> Array:
        each = np.stack(
            [
                np.exp(model.predict(new))[:, None] * step
                for model, step in zip(models, steps, strict=True)
            ]
        )
        total = each.sum(axis=0)
        before = np.exp(total - np.cumsum(total, axis=1))
        # An event of any cause within a step, shared by the causes as their hazards are.
        rises = before * -np.expm1(-total) * np.divide(each, total, where=total > 0, out=each)
        curves = np.insert(np.cumsum(rises, axis=2), 0, 0.0, axis=2)
        return curves[:, :, at].swapaxes(0, 1)

    return predict


weighted_bins = binning._find_binning_thresholds


def unweighted_bins(column: Array, max_bins: int, sample_weight: Array | None = None) -> Array:
    """Return the bounds of the bins of scikit-learn's trees, without weights."""
    return weighted_bins(column, max_bins)


def survival_boost(n_iter: int = 100) -> Learner:
    """Return hazardous' gradient boosting, with its defaults but for the number of trees.

    It fits scikit-learn's trees with weights, once for each iteration. In scikit-learn 1.9 bins are
    weighted quantiles, which take a second or more each time: here they have no weights, as in
    earlier versions.
    """

    def fit(X: Array, status: Array, time: Array) -> Predict:
        from hazardous import SurvivalBoost

        model = SurvivalBoost(n_iter=n_iter, show_progressbar=False, random_state=0)
        with patch.object(binning, "_find_binning_thresholds", unweighted_bins):
            model.fit(X, {"event": status, "duration": time})
        return lambda new, times: model.predict_cumulative_incidence(new, times=times)[:, 1:]

    return fit


class CauseNetwork(nn.Module):
    """A shared network, and one behind it for each cause."""

    def __init__(self, shared: nn.Module, of_cause: list[nn.Module]) -> None:
        super().__init__()
        self.shared, self.of_cause = shared, nn.ModuleList(of_cause)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Return the scores, of shape (n_samples, n_causes, n_intervals)."""
        shared = self.shared(X)
        return torch.stack([own(shared) for own in self.of_cause], dim=1)


def deep_hit(X: Array, status: Array, time: Array) -> Predict:
    """Learn pycox's DeepHit with the settings of its notebook of competing risks.

    They are those of examples/deephit_competing_risks.ipynb in its repository, but for the times
    that separate the intervals: here they are quantiles of the events, and the curves are linear
    between them.
    """
    import torchtuples
    from pycox.models import DeepHit
    from pycox.preprocessing.label_transforms import LabTransDiscreteTime

    torch.manual_seed(0)
    intervals = LabTransDiscreteTime(10, scheme="quantiles").fit(time, status > 0)
    interval, event = intervals.transform(time, status > 0)
    cuts, target = intervals.cuts, (interval, np.where(event > 0, status, 0))
    held_out = np.random.default_rng(0).permutation(len(X)) < len(X) // 5
    inputs = X.astype("float32")
    train, validation = (
        (inputs[rows], tuple(column[rows] for column in target)) for rows in (~held_out, held_out)
    )
    layers = torchtuples.practical.MLPVanilla
    shared = layers(X.shape[1], [64], 64, dropout=0.1)
    of_cause = [layers(64, [32], len(cuts), dropout=0.1) for _ in range(status.max())]
    optimizer = torchtuples.optim.AdamWR(
        lr=0.01, decoupled_weight_decay=0.01, cycle_eta_multiplier=0.8
    )
    network = CauseNetwork(shared, of_cause)
    model = DeepHit(network, optimizer, alpha=0.2, sigma=0.1, duration_index=cuts)
    stop = torchtuples.callbacks.EarlyStoppingCycle()
    # The callback keeps the best weights in a file of the working directory.
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        model.fit(*train, 256, 512, [stop], verbose=False, val_data=validation)

    def predict(new: Array, times: Array) -> Array:
        curves = np.moveaxis(model.predict_cif(new.astype("float32")), 2, 0)
        right = np.clip(np.searchsorted(cuts, times), 1, len(cuts) - 1)
        part = (times - cuts[right - 1]) / (cuts[right] - cuts[right - 1])
        part = np.clip(part, 0, 1)
        return curves[:, :, right - 1] * (1 - part) + curves[:, :, right] * part

    return predict


LEARNERS: dict[str, Learner] = {
    "Aalen-Johansen": aalen_johansen,
    OURS: ours(),
    "subdistribution": ours(hazard="subdistribution"),
    "linear": ours(hidden_layer_sizes=(), optimizer="lbfgs"),
    "Cox of each cause": cox_of_each_cause,
    BOOST: survival_boost(),
    # The number of trees is that which takes as long as OURS.
    SAME_TIME: survival_boost(),
    "DeepHit": deep_hit,
}
# The package that a learner needs, beside those of the tests.
NEEDS = {BOOST: "hazardous", SAME_TIME: "hazardous", "DeepHit": "pycox"}
