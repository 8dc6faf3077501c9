"""The linear models of the members of an ensemble, all taken to their optima at once.

The linear model of few rows takes the time of its calls, and here one call serves all members. What
is minimised is the sum of their losses. It has for each member the gradient that it would have
alone: where the gradient is 0, each is at the optimum of its own rows, whatever the others are.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn

from sksurvtorch.nets.dataset import SurvivalDataset
from sksurvtorch.nets.ensemble import SideBySide
from sksurvtorch.nets.rows.base import numbers
from sksurvtorch.nets.target import Criterion
from sksurvtorch.nets.training import PerMember

# The optimum of a member is where no derivative of its mean loss is larger.
_TOLERANCE = 1e-6
_OPTIONS = {"maxiter": 100, "maxcor": 20, "gtol": _TOLERANCE, "ftol": 0.0}


def fit_together(
    linear: SideBySide, train: SurvivalDataset, members: PerMember, criterion: Criterion
) -> list[int]:
    """Take linear models from where they are towards the optima of their own rows.

    Parameters
    ----------
    linear : SideBySide
        Networks without hidden layers on the CPU, in float64.
    train : SurvivalDataset
        Rows in memory.
    members : PerMember
        Rows and penalty of each network.
    criterion : callable
        Mean loss.

    Returns
    -------
    list of int
        The networks that have come to their optima. The others have none, or one that is far away.
    """
    assert train.y is not None
    n_members, n_rows = members.rows.shape
    targets = train.y.split(members.rows.flatten(), [n_rows] * n_members)
    Z = (train.rows.whole().cpu() - linear.center) / linear.spread
    # Where the rows of each stand among the outputs of all, which have those of the first in front.
    own = (members.rows + len(Z) * numbers(0, n_members)[:, None]).flatten()
    weights = list(linear.parameters())

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the sum of the losses of all members, and its gradient."""
        nn.utils.vector_to_parameters(torch.from_numpy(flat), weights)
        outputs = linear.of_standardised(Z).flatten(0, 1).index_select(0, own)
        outputs = outputs.unflatten(0, (n_members, n_rows))
        loss = targets[0].sum_of_losses(criterion, outputs, None, targets, [1.0] * n_members)
        loss = loss + 0.5 * (members.l2 * linear.squared_weights()).sum()
        gradient = torch.autograd.grad(loss, weights)
        return loss.item(), nn.utils.parameters_to_vector(gradient).numpy()

    start = nn.utils.parameters_to_vector(weights).detach().numpy()
    found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=_OPTIONS)
    nn.utils.vector_to_parameters(torch.from_numpy(found.x), weights)
    slopes = torch.from_numpy(found.jac).split([weight.numel() for weight in weights])
    steepest = torch.cat([slope.unflatten(0, (n_members, -1)) for slope in slopes], 1).abs().amax(1)
    arrived: list[int] = (steepest <= _TOLERANCE).nonzero().flatten().tolist()
    return arrived
