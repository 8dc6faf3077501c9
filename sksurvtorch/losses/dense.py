"""What the losses of dense predictions have in common: a target with a weight, options, terms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import reduce
from operator import add
from typing import Any, Self

import torch
from torch import Tensor, nn

from sksurvtorch import _validation as validation

DenseTarget = Tensor | tuple[Tensor, Tensor] | Mapping[str, Tensor]


class Loss(nn.Module, ABC):
    """Base of the losses of dense predictions; a subclass has the method `compute`.

    A subclass written for DaCapo is a skorch criterion as it stands, whether it has an ``__init__``
    that calls this one or not.

    Attributes
    ----------
    last_terms : dict of str to tensor
        The parts of the last loss by name, without gradient; empty unless `compute` sets it.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.losses import Loss
    >>> class LogCosh(Loss):
    ...     def compute(self, prediction, target, weight=None):
    ...         error = (prediction - target).cosh().log()
    ...         return error.mean() if weight is None else (weight * error).mean()
    >>> LogCosh()(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
    tensor(0.)
    """

    last_terms: dict[str, Tensor]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make a module even where a subclass does not call ``super().__init__``."""
        loss = super().__new__(cls)
        nn.Module.__init__(loss)
        loss.last_terms = {}
        return loss

    @abstractmethod
    def compute(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the loss.

        Parameters
        ----------
        prediction : tensor of shape (n_samples, n_channels, ...)
            Output of the network.
        target : tensor of the same shape
            What it should be.
        weight : tensor, optional
            Weight of each element.

        Returns
        -------
        tensor of shape ()
            The loss, to be minimised.
        """

    def forward(self, y_pred: Tensor, y_true: DenseTarget) -> Tensor:
        """Return the loss of a batch, whose target may have a weight with it.

        Parameters
        ----------
        y_pred : tensor of shape (n_samples, n_channels, ...)
            Output of the network.
        y_true : tensor, pair of tensors, or mapping
            The target, in the shape of `y_pred`; or target and weight as a pair, as a mapping with
            the keys target and weight, or packed into one tensor of shape
            (n_samples, 2, n_channels, ...).

        Returns
        -------
        tensor
            What `compute` returns.
        """
        target, weight = validation.unpack_dense_target(y_pred, y_true)
        return self.compute(y_pred, target, weight)

    @staticmethod
    def activate(prediction: Tensor) -> Tensor:
        """Turn the output of the network into what the target means, for ``predict_nonlinearity``.

        Parameters
        ----------
        prediction : tensor of shape (n_samples, n_channels, ...)
            Output of the network.

        Returns
        -------
        tensor of the same shape
            Here the output itself.
        """
        return prediction


class WeightedLoss(Loss):
    """Base of losses with options, each the sum of its terms.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides each term by what `normalize` says.
    normalize : {"voxels", "weight"}, default="voxels"
        The number of elements of the term, or the sum of their weights.
    weighting : {"linear", "dacapo"}, default="linear"
        ``"linear"`` multiplies the error of an element by its weight. ``"dacapo"`` does what DaCapo
        does, which the losses say.
    """

    def __init__(
        self, *, reduction: str = "mean", normalize: str = "voxels", weighting: str = "linear"
    ) -> None:
        super().__init__()
        validation.check_option("reduction", reduction, validation.REDUCTIONS)
        validation.check_option("normalize", normalize, validation.NORMALIZE)
        validation.check_option("weighting", weighting, validation.WEIGHTINGS)
        self.reduction = reduction
        self.normalize = normalize
        self.weighting = weighting

    @property
    def options(self) -> dict[str, str]:
        """The options by name."""
        return {
            "reduction": self.reduction,
            "normalize": self.normalize,
            "weighting": self.weighting,
        }

    @abstractmethod
    def terms(
        self, prediction: Tensor, target: Tensor, weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the terms of the loss by name.

        Parameters
        ----------
        prediction : tensor of shape (n_samples, n_channels, ...)
            Output of the network.
        target : tensor of the same shape
            What it should be.
        weight : tensor of the same shape, or 1 in place of some of its axes, optional
            Weight of each element.

        Returns
        -------
        dict of str to tensor
            Each of shape (), or of the shape of its channels with ``reduction="none"``; they add up
            to the loss.
        """

    def compute(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the sum of the terms.

        Parameters
        ----------
        prediction : tensor of shape (n_samples, n_channels, ...)
            Output of the network.
        target : tensor of the same shape
            What it should be.
        weight : tensor of the same shape, or 1 in place of some of its axes, optional
            Weight of each element.

        Returns
        -------
        tensor of shape (), or of the shape of `prediction` with ``reduction="none"``
            In the dtype of `prediction`, or in float32 where that is half precision.
        """
        terms = self.terms(prediction, target, weight)
        if self.reduction == "none":
            return (
                next(iter(terms.values())) if len(terms) == 1 else torch.cat([*terms.values()], 1)
            )
        self.last_terms = {name: term.detach() for name, term in terms.items()}
        return reduce(add, terms.values())

    def extra_repr(self) -> str:
        """Return the options for ``repr``."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())
