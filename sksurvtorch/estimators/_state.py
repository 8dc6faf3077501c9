"""All that a fitted estimator is, apart from code: what a file of it holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sksurvtorch._validation import check_number
from sksurvtorch.estimators._checks import check_parameters, check_penalties, made_with
from sksurvtorch.estimators._net import may_fit, net_with
from sksurvtorch.nets.training import Training

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator

#: What every fit sets.
_ALWAYS = ("n_iter_", "_seed")
#: The shape of a sample where the network is the user's own, or else the number of features.
_SHAPE = ("input_shape_", "n_features_in_")
_PERHAPS = ("feature_names_in_", "oob_prediction_", "oob_score_", "_interval_basis")


@dataclass
class Fitted:
    """A fitted estimator without its class.

    Attributes
    ----------
    parameters : dict
        Parameters as they are now.
    made_with : dict
        Parameters that made the network, at the time of the fit.
    learned : dict
        Attributes that the fit has set: numbers, tuples, arrays, dicts of arrays or None.
    weights : dict of tensors
        State of the network.
    history : list of dict
        A row for each epoch, without its batches.
    batch_size : int
        Largest number of rows in a step.
    l2 : float
        Penalty on the scale of the loss of the last training.
    device : torch.device
        Where it was computed, or is to be.
    """

    parameters: dict[str, Any]
    made_with: dict[str, Any]
    learned: dict[str, Any]
    weights: dict[str, Tensor]
    history: list[dict[str, Any]]
    batch_size: int
    l2: float
    device: torch.device


def get_state(estimator: SurvivalNetEstimator) -> Fitted:
    """Return what a fitted estimator is."""
    perhaps = [name for name in (*_SHAPE, *_PERHAPS) if hasattr(estimator, name)]
    names = (*_ALWAYS, *perhaps, *estimator._learned)
    net = estimator.net_
    history = [{k: v for k, v in epoch.items() if k != "batches"} for epoch in net.history]
    return Fitted(
        parameters=estimator.get_params(deep=False),
        made_with=dict(estimator._made_with),
        learned={name: getattr(estimator, name) for name in names},
        weights=net.module_.state_dict(),
        history=history,
        batch_size=net.batch_size,
        l2=net.l2,
        device=estimator.device_,
    )


def is_learned(kind: type[SurvivalNetEstimator], names: set[str]) -> bool:
    """Whether these are the names of all that a fit has set."""
    rest = names - {*_ALWAYS, *kind._learned}
    complete = len(names) - len(rest) == len(_ALWAYS) + len(kind._learned)
    return complete and len(rest & {*_SHAPE}) == 1 and rest <= {*_SHAPE, *_PERHAPS}


def from_state(kind: type[SurvivalNetEstimator], state: Fitted) -> SurvivalNetEstimator:
    """Return an estimator in a state that `get_state` has returned."""
    maker = _maker(kind, state)
    maker._restore(state)
    weights = {name.replace("_orig_mod.", ""): weight for name, weight in state.weights.items()}
    if not may_fit(maker, weights):
        raise ValueError("The network that the parameters make has no such weights.")
    training = Training(0, state.batch_size, [], l2=state.l2)
    net = net_with(maker, training, state.weights)
    net.history.extend({"batches": [], **epoch} for epoch in state.history)
    estimator = kind(**state.parameters)
    # Of a parameter that the file does not have, what has made the network all the same.
    estimator._restore(replace(state, made_with=made_with(maker)), net)
    return estimator


def _maker(kind: type[SurvivalNetEstimator], state: Fitted) -> SurvivalNetEstimator:
    """Return an estimator with the parameters that made the network, if they are valid."""
    # The others may have changed since, to be used by the next fit.
    kept = {k: v for k, v in state.parameters.items() if k.startswith(("iterator_", "callbacks__"))}
    kept.pop("iterator_train__batch_size", None)
    verbose = state.parameters.get("verbose")
    if isinstance(verbose, int) and verbose >= 0:
        kept["verbose"] = verbose
    maker = kind(**kept | {"n_estimators": 1} | state.made_with)
    check_number("n_estimators", maker.n_estimators, int, 1)  # as a fit has resolved it
    check_parameters(maker)
    check_penalties(maker)
    maker._check_own_parameters()
    return maker
