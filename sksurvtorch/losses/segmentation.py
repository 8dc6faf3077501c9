"""DaCapo's losses of dense predictions as modules, for a plain loop and as skorch criteria."""

from __future__ import annotations

import torch
from torch import Tensor

from sksurvtorch import _validation as validation
from sksurvtorch.functional import affinities_terms, hot_distance_terms, weighted_error
from sksurvtorch.losses.dense import WeightedLoss


# numpydoc does not see that the losses below inherit their options.
class DummyLoss(WeightedLoss):  # numpydoc ignore=PR02
    """Mean absolute error, weighted; a stand-in while other parts are tested.

    DaCapo's own sums (``reduction="sum"``) and leaves the weight out: ``weighting="dacapo"`` leaves
    it out too, and warns of it.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides by what `normalize` says.
    normalize : {"voxels", "weight"}, default="voxels"
        The number of elements, or the sum of their weights.
    weighting : {"linear", "dacapo"}, default="linear"
        Whether a weight multiplies the error or is left out.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.losses import DummyLoss
    >>> DummyLoss().compute(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4, 5, 6]))
    tensor(3.)
    """

    def terms(
        self, prediction: Tensor, target: Tensor, weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the only term, the absolute error.

        Parameters
        ----------
        prediction : floating-point tensor of any shape
            Output of the network.
        target : tensor of the same shape
            What it should be.
        weight : tensor of the same shape, or 1 in place of some of its axes, optional
            Weight of each element.

        Returns
        -------
        dict of str to tensor
            With the key ``"absolute_error"``.
        """
        kind = "absolute_error"
        return {kind: weighted_error(prediction, target, weight, kind=kind, **self.options)}


class MSELoss(WeightedLoss):  # numpydoc ignore=PR02
    """Mean squared error, weighted.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides by what `normalize` says.
    normalize : {"voxels", "weight"}, default="voxels"
        The number of elements, or the sum of their weights.
    weighting : {"linear", "dacapo"}, default="linear"
        ``"linear"`` multiplies the squared error by the weight. ``"dacapo"`` multiplies prediction
        and target by it, so that a weight of 2 counts 4; weights of 0 and 1 count the same.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.losses import MSELoss
    >>> prediction, target, weight = (
    ...     torch.tensor([[3.0]]),
    ...     torch.tensor([[0.0]]),
    ...     torch.tensor([[2.0]]),
    ... )
    >>> MSELoss().compute(prediction, target, weight)
    tensor(18.)
    >>> MSELoss(weighting="dacapo").compute(prediction, target, weight)
    tensor(36.)
    """

    def terms(
        self, prediction: Tensor, target: Tensor, weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the only term, the squared error.

        Parameters
        ----------
        prediction : floating-point tensor of any shape
            Output of the network.
        target : tensor of the same shape
            What it should be.
        weight : tensor of the same shape, or 1 in place of some of its axes, optional
            Weight of each element.

        Returns
        -------
        dict of str to tensor
            With the key ``"squared_error"``.
        """
        kind = "squared_error"
        return {kind: weighted_error(prediction, target, weight, kind=kind, **self.options)}


class AffinitiesLoss(WeightedLoss):
    """Cross-entropy of affinities plus squared error of local shape descriptors.

    See `sksurvtorch.functional.affinities_terms` for the formula.

    Parameters
    ----------
    num_affinities : int
        Number of channels with affinities, at least 1; those that follow hold descriptors.
    lsds_to_affs_weight_ratio : float
        Factor of the descriptors' term, at least 0.
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides each term by what `normalize` says.
    normalize : {"voxels", "weight"}, default="voxels"
        The number of elements of the term, or the sum of their weights.
    weighting : {"linear", "dacapo"}, default="linear"
        Both multiply the errors by the weight, but if there are no descriptors ``"dacapo"`` leaves
        the weight out, and warns of it.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.losses import AffinitiesLoss
    >>> loss = AffinitiesLoss(num_affinities=1, lsds_to_affs_weight_ratio=0.5)
    >>> round(loss.compute(torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)).item(), 4)  # log 2 + 0.5 / 4
    0.8181
    >>> sorted(loss.last_terms)
    ['affinities', 'lsds']
    """

    def __init__(
        self,
        num_affinities: int,
        lsds_to_affs_weight_ratio: float,
        *,
        reduction: str = "mean",
        normalize: str = "voxels",
        weighting: str = "linear",
    ) -> None:
        super().__init__(reduction=reduction, normalize=normalize, weighting=weighting)
        validation.check_number("num_affinities", num_affinities, int, 1)
        validation.check_number("lsds_to_affs_weight_ratio", lsds_to_affs_weight_ratio, float, 0)
        self.num_affinities = num_affinities
        self.lsds_to_affs_weight_ratio = lsds_to_affs_weight_ratio

    def terms(
        self, prediction: Tensor, target: Tensor, weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the terms of affinities and of descriptors, the latter times the ratio.

        Parameters
        ----------
        prediction : floating-point tensor of shape (n_samples, n_channels, ...)
            Logits.
        target : tensor of the same shape
            Affinities and descriptors within [0, 1].
        weight : tensor of the same shape, or 1 in place of some of its axes, optional
            Weight of each element.

        Returns
        -------
        dict of str to tensor
            With the key ``"affinities"`` and, if there are further channels, ``"lsds"``.
        """
        return affinities_terms(
            prediction,
            target,
            weight,
            num_affinities=self.num_affinities,
            lsds_to_affs_weight_ratio=self.lsds_to_affs_weight_ratio,
            **self.options,
        )

    @staticmethod
    def activate(prediction: Tensor) -> Tensor:
        """Turn logits into probabilities and descriptors.

        Parameters
        ----------
        prediction : tensor of shape (n_samples, n_channels, ...)
            Output of the network.

        Returns
        -------
        tensor of the same shape
            Within [0, 1].
        """
        return prediction.sigmoid()

    def extra_repr(self) -> str:
        """Return the options for ``repr``."""
        return f"{self.num_affinities}, {self.lsds_to_affs_weight_ratio}, {super().extra_repr()}"


class HotDistanceLoss(WeightedLoss):  # numpydoc ignore=PR02
    """Cross-entropy of classes plus squared error of the distances to their boundaries.

    See `sksurvtorch.functional.hot_distance_terms` for the formula.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides each term by what `normalize` says.
    normalize : {"voxels", "weight"}, default="voxels"
        The number of elements of the term, or the sum of their weights.
    weighting : {"linear", "dacapo"}, default="linear"
        ``"linear"`` multiplies both errors by the weight. ``"dacapo"`` multiplies distance and
        target by it, so that there a weight of 2 counts 4.

    Examples
    --------
    >>> import torch
    >>> from sksurvtorch.losses import HotDistanceLoss
    >>> loss = HotDistanceLoss()
    >>> prediction, target = torch.zeros(1, 2, 8, 8), torch.ones(1, 2, 8, 8)
    >>> round(loss(prediction, target).item(), 4)  # log 2 + 1
    1.6931
    >>> {name: round(term.item(), 4) for name, term in loss.last_terms.items()}
    {'hot': 0.6931, 'distance': 1.0}
    """

    def terms(
        self, prediction: Tensor, target: Tensor, weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the terms of classes and distances.

        Parameters
        ----------
        prediction : floating-point tensor of shape (n_samples, 2 * n_classes, ...)
            Logits of the classes, then distances.
        target : tensor of the same shape
            Classes within [0, 1], then distances.
        weight : tensor of the same shape, or 1 in place of some of its axes, optional
            Weight of each element.

        Returns
        -------
        dict of str to tensor
            With the keys ``"hot"`` and ``"distance"``.
        """
        kind = type(self)
        own = (kind.hot_loss, kind.distance_loss)
        if own == (HotDistanceLoss.hot_loss, HotDistanceLoss.distance_loss):
            return hot_distance_terms(prediction, target, weight, **self.options)
        # A subclass has changed one of the two: take them one by one.
        weight = None if weight is None else weight.expand(prediction.shape)
        halves = [
            (None, None) if x is None else self.split(x) for x in (prediction, target, weight)
        ]
        hot, distance = zip(*halves, strict=True)
        return {"hot": self.hot_loss(*hot), "distance": self.distance_loss(*distance)}

    def hot_loss(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the cross-entropy of the classes alone.

        Parameters
        ----------
        prediction : floating-point tensor of shape (n_samples, n_classes, ...)
            Logits: the first half of the channels.
        target : tensor of the same shape
            Classes within [0, 1].
        weight : tensor of the same shape, or 1 in place of some of its axes, optional
            Weight of each element.

        Returns
        -------
        tensor of shape (), or of the shape of `prediction` with ``reduction="none"``
            The term ``"hot"``.
        """
        return weighted_error(prediction, target, weight, kind="cross_entropy", **self.options)

    def distance_loss(
        self, prediction: Tensor, target: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """Return the squared error of the distances alone.

        Parameters
        ----------
        prediction : floating-point tensor of shape (n_samples, n_classes, ...)
            Distances: the second half of the channels.
        target : tensor of the same shape
            Distances.
        weight : tensor of the same shape, or 1 in place of some of its axes, optional
            Weight of each element.

        Returns
        -------
        tensor of shape (), or of the shape of `prediction` with ``reduction="none"``
            The term ``"distance"``.
        """
        return weighted_error(prediction, target, weight, **self.options)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first and the second half of the channels.

        Parameters
        ----------
        x : tensor of shape (n_samples, 2 * n_classes, ...)
            A prediction, a target or a weight.

        Returns
        -------
        two tensors of shape (n_samples, n_classes, ...)
            Views: classes, distances.
        """
        validation.check_even_channels("x", x)
        hot, distance = x.chunk(2, dim=1)
        return hot, distance

    @staticmethod
    def activate(prediction: Tensor) -> Tensor:
        """Turn logits of the classes into probabilities, and leave the distances.

        Parameters
        ----------
        prediction : tensor of shape (n_samples, 2 * n_classes, ...)
            Output of the network.

        Returns
        -------
        tensor of the same shape
            Probabilities within [0, 1], then distances.
        """
        validation.check_even_channels("prediction", prediction)
        hot, distance = prediction.chunk(2, dim=1)
        return torch.cat([hot.sigmoid(), distance], dim=1)
