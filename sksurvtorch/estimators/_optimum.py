"""Whether a training has come to an optimum, and whether a linear model has one.

The likelihood of a linear model has no maximum where its features separate rows with an event from
those without: some combination of coefficients then raises it the more, the larger it is. Training
ends somewhere far out, where the likelihood is flat in that direction.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from sksurvtorch._warnings import warn
from sksurvtorch.estimators._linear import minimise, mlp_of, sample
from sksurvtorch.estimators._settings import Settings, is_lbfgs, is_linear, n_members, penalties
from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.modules import MLP
from sksurvtorch.nets.moments import column_ranges
from sksurvtorch.nets.training import Training

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator
    from sksurvtorch.nets import SurvivalNet

# A feature is looked at if it changes the output by this share of what an estimator takes for far.
_WEAK = 0.3
# The likelihood is flat in a direction in which its logarithm falls by less where outputs move by 1
# in the root mean square: two standard errors are then more than 14.
_FLAT = 0.01
# How many features are looked at together, of those that change the output most.
_N_FEATURES = 50
_STEP = 1e-5  # of derivatives, in standard deviations of a feature
_N_EPOCHS, _TOL = 20, 1e-12


def warn_unless_optimal(
    estimator: SurvivalNetEstimator, dataset: SurvivalDataset, output: Tensor, settings: Settings
) -> None:
    """Warn of a shape or coefficients that are infinite, or of L-BFGS that needs more epochs."""
    if settings.partial:
        return
    message = (
        estimator._why_no_maximum(dataset)
        or _of_features(_infinite_features(estimator, dataset, output, settings))
        or _of_epochs(estimator)
    )
    if message:
        warn(message, ConvergenceWarning)


def _of_features(infinite: list[str]) -> str | None:
    """Return a sentence on features whose coefficients are infinite, if there are any."""
    if not infinite:
        return None
    more = [f"{len(infinite) - 5} more"] if len(infinite) > 5 else []
    return (
        "The likelihood has no maximum: it rises without end with the coefficients of "
        f"{', '.join(infinite[:5] + more)}, which separate rows with an event from rows "
        "without. Set `alpha` above 0, or leave features out."
    )


def _of_epochs(estimator: SurvivalNetEstimator) -> str | None:
    """Return a sentence if L-BFGS has used up its epochs."""
    if not _has_used_up_its_epochs(estimator.net_):
        return None
    return (
        f"L-BFGS has not reached an optimum in {estimator.n_iter_} epochs. Raise `max_epochs`, "
        "or `alpha`."
    )


def _has_used_up_its_epochs(net: SurvivalNet) -> bool:
    """Whether L-BFGS was in its last epoch, and has not come to its end."""
    converged = dict(net.callbacks_).get("converged")
    if converged is None or converged.ended_:
        return False
    return bool(0 < converged.n_epochs_ == net.max_epochs)


def _infinite_features(
    estimator: SurvivalNetEstimator, dataset: SurvivalDataset, output: Tensor, settings: Settings
) -> list[str]:
    """Return the features of a linear model whose coefficients are infinite."""
    is_single = n_members(estimator) == 1 and settings.group.size == 1
    if not (is_single and is_linear(estimator)) or penalties(estimator) != (0.0,):
        return []
    if float((output.amax(0) - output.amin(0)).max()) < estimator._far:
        return []
    rows = sample(estimator, dataset)
    if len(rows) < len(dataset):  # a part of the rows may be separated where all are not
        return []
    module = copy.deepcopy(estimator._trained).cpu().double().requires_grad_()
    features = _strong_features(mlp_of(module), rows, _WEAK * estimator._far)
    if len(features) == 0:
        return []
    if not is_lbfgs(estimator):
        minimise(estimator, module, rows, Training(_N_EPOCHS, len(rows), []), _TOL, settings)
    found = _Likelihood(module, estimator._criterion(), rows, features).flat_features()
    names = getattr(estimator, "feature_names_in_", None)
    return [f"feature {k}" if names is None else repr(names[k]) for k in found]


def _strong_features(mlp: MLP, rows: SurvivalDataset, least: float) -> Tensor:
    """Return the features that change the output most, and by more than `least`."""
    lowest, highest = column_ranges(rows.rows)
    slope = mlp.coefficients()[0].abs().amax(0)
    change = slope * (highest - lowest).to(slope)
    order: Tensor = change.argsort(descending=True)
    return order[change[order] > least][:_N_FEATURES]


class _Likelihood:
    """Negative log likelihood of a linear model as a function of its largest coefficients.

    Parameters
    ----------
    module : torch.nn.Module
        Network whose part is an `MLP` without hidden layers, in float64.
    criterion : torch.nn.Module
        Mean loss.
    rows : SurvivalDataset
        All rows, in memory.
    features : int tensor of shape (n_coefficients,)
        Features whose coefficients are looked at.
    """

    def __init__(
        self, module: nn.Module, criterion: nn.Module, rows: SurvivalDataset, features: Tensor
    ) -> None:
        assert rows.target is not None
        self.module, self.mlp = module, mlp_of(module)
        self.criterion, self.rows, self.target = criterion.eval(), rows, rows.target
        linear = self.mlp.linear
        self.parts = [linear.weight] if linear.bias is None else [linear.weight, linear.bias]
        self.start = [part.detach().clone() for part in self.parts]
        self.features = features
        # Weights count as they compare with each other.
        mean_weight = 1.0 if rows.weight is None else float(rows.weight.double().mean())
        self.scale = float(self.target.information) / mean_weight

    def flat_features(self) -> np.ndarray:
        """Return the features in whose direction the likelihood is flat."""
        directions, curvature = self._principal_directions()
        least = self._value(torch.zeros_like(directions[0]))
        found = torch.zeros(len(self.features), dtype=torch.bool, device="cpu")
        for direction in directions[curvature < 10 * _FLAT]:
            rise = min(self._value(direction), self._value(-direction)) - least
            if rise < _FLAT:
                size = direction[:, : len(self.features)].abs().amax(0)
                found |= size > 0.1 * size.max()
        return np.sort(self.features[found].numpy())

    def _principal_directions(self) -> tuple[Tensor, Tensor]:
        """Return directions that move outputs by 1 in the root mean square, and curvatures."""
        n_outputs, n_columns = len(self.start[0]), len(self.features) + len(self.parts) - 1
        values, vectors = torch.linalg.eigh(self._second_moments())
        kept = values > 1e-10 * values.max()  # collinear features leave directions without effect
        units = torch.block_diag(*[vectors[:, kept] / values[kept].sqrt()] * n_outputs)
        # The flat ones are only guessed here, so differences to one side are exact enough.
        here = self._gradient(torch.zeros(n_outputs, n_columns, dtype=torch.float64, device="cpu"))
        each = torch.eye(len(units), dtype=torch.float64, device="cpu")
        ways = (_STEP * unit.reshape(n_outputs, n_columns) for unit in each)
        information = torch.stack([(self._gradient(way) - here) / _STEP for way in ways], 1)
        within = units.T @ (information + information.T) @ units / 2
        if not within.isfinite().all():  # the coefficients are too far out for differences
            return units.T.reshape(-1, n_outputs, n_columns), torch.zeros_like(within[0])
        curvature, mixed = torch.linalg.eigh(within)
        return (units @ mixed).T.reshape(-1, n_outputs, n_columns), curvature

    def _second_moments(self) -> Tensor:
        """Return the mean products of the inputs of the linear part."""
        total: Tensor | float = 0.0
        for X in self.rows.rows.pieces():
            Z = ((X.cpu() - self.mlp.center) / self.mlp.spread)[:, self.features]
            if len(self.parts) > 1:
                Z = torch.cat([Z, torch.ones_like(Z[:, :1])], 1)
            total = total + Z.T @ Z
        assert isinstance(total, Tensor)
        return total / len(self.rows)

    @torch.no_grad()
    def _value(self, way: Tensor) -> float:
        """Return the value some way from the coefficients."""
        return float(self._at(way))

    def _at(self, way: Tensor) -> Tensor:
        """Return the value some way from the coefficients, with its gradient there."""
        with torch.no_grad():
            for part, start in zip(self.parts, self.start, strict=True):
                part.copy_(start)
            self.parts[0][:, self.features] += way[:, : len(self.features)]
            if len(self.parts) > 1:
                self.parts[1] += way[:, -1]
        output = self.module(self.rows.rows.whole().cpu())
        return self.scale * self.target.loss(self.criterion, output, None)

    def _gradient(self, way: Tensor) -> Tensor:
        """Return the gradient some way from the coefficients."""
        weight, *bias = torch.autograd.grad(self._at(way), self.parts)
        columns = [weight[:, self.features], *(part[:, None] for part in bias)]
        return torch.cat(columns, 1).reshape(-1)
