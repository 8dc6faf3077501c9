"""Losses of dense predictions, such as those of a network that segments volumes.

Element by element a loss compares a prediction with its target and multiplies by a weight. The
formulas are DaCapo's (https://github.com/janelia-cellmap/dacapo, version 0.3.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sksurvtorch import _validation as validation
from sksurvtorch._warnings import warn
from sksurvtorch.exceptions import IgnoredWeightWarning
from sksurvtorch.functional import _dense as dense
from sksurvtorch.functional._arithmetic import returned_in, widest
from sksurvtorch.functional._dense import Kind, Part

KINDS = {
    "absolute_error": dense.ABSOLUTE_ERROR,
    "squared_error": dense.SQUARED_ERROR,
    "cross_entropy": dense.CROSS_ENTROPY,
}


def weighted_error(
    prediction: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    kind: str = "squared_error",
    reduction: str = "mean",
    normalize: str = "voxels",
    weighting: str = "linear",
) -> Tensor:
    r"""Weighted error of a dense prediction, the mean of :math:`w\,e(p, t)`.

    With p the prediction, t the target and w the weight of an element, e is

    * :math:`|p - t|`, the absolute error;
    * :math:`(p - t)^2`, the squared error;
    * :math:`\max(p, 0) - p\,t + \log(1 + \exp(-|p|))`, the cross-entropy of the probability
      :math:`1 / (1 + \exp(-p))`.

    Parameters
    ----------
    prediction : floating-point tensor of any shape
        Output of the network. Logits for the cross-entropy: the higher, the more likely.
    target : tensor of the shape of `prediction`
        Any real dtype; it is cast to that of the computation.
    weight : tensor of the shape of `prediction`, or 1 in place of some of its axes, optional
        An element of weight 0 adds nothing, whatever its target, NaN included.
    kind : {"absolute_error", "squared_error", "cross_entropy"}, default="squared_error"
        The error e.
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides the sum by what `normalize` says.
    normalize : {"voxels", "weight"}, default="voxels"
        The number of elements, or the sum of their weights.
    weighting : {"linear", "dacapo"}, default="linear"
        ``"linear"`` multiplies by weights, which are finite and at least 0. ``"dacapo"`` does
        what DaCapo does, to the bit: the squared error is :math:`(w p - w t)^2`, the absolute error
        leaves the weight out, and any weight is taken.

    Returns
    -------
    tensor of shape (), or of the shape of `prediction` with ``reduction="none"``
        In the dtype of `prediction`, or in float32 where that is half precision.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong kind, shape or content: a weight that is negative, weights of
        sum 0 to divide by, a target that counts and is not finite. Values are looked at on the CPU
        only, and not in compiled code.

    Warns
    -----
    IgnoredWeightWarning
        If ``weighting="dacapo"`` leaves out a weight that is not None.

    Notes
    -----
    O(n) time. ``"mean"`` and ``"sum"`` with linear weights take no memory beyond the gradient: the
    elements are gone through in blocks, and the analytic gradient is computed from the inputs.
    Second derivatives are offered by ``reduction="none"``, and raise otherwise.

    Examples
    --------
    The error of 2 counts three times, 3 · 4 / 2 elements:

    >>> import torch
    >>> from sksurvtorch.functional import weighted_error
    >>> prediction, target = torch.tensor([2.0, 5.0]), torch.tensor([0.0, 5.0])
    >>> weighted_error(prediction, target, torch.tensor([3.0, 1.0]))
    tensor(6.)
    """
    validation.check_option("kind", kind, tuple(KINDS))
    drop_weight = weighting == "dacapo" and kind == "absolute_error"
    (term,) = _terms(
        prediction,
        target,
        weight,
        {kind: Part(KINDS[kind])},
        options=(reduction, normalize, weighting),
        drop_weight=drop_weight,
    ).values()
    return term


def affinities_terms(
    prediction: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    num_affinities: int,
    lsds_to_affs_weight_ratio: float,
    reduction: str = "mean",
    normalize: str = "voxels",
    weighting: str = "linear",
) -> dict[str, Tensor]:
    r"""Losses of affinities and of local shape descriptors, whose sum is to be minimised.

    The first channels are logits of affinities, with the cross-entropy as their error. The others
    are logits of descriptors d within [0, 1], with the error
    :math:`r\,(1 / (1 + \exp(-p)) - d)^2`, r being the ratio.

    Parameters
    ----------
    prediction : floating-point tensor of shape (n_samples, n_channels, ...)
        Logits.
    target : tensor of the shape of `prediction`
        Affinities and descriptors within [0, 1].
    weight : tensor of the shape of `prediction`, or 1 in place of some of its axes, optional
        An element of weight 0 adds nothing.
    num_affinities : int
        Number of channels with affinities, at least 1.
    lsds_to_affs_weight_ratio : float
        The ratio, at least 0.
    reduction, normalize, weighting : optional
        As in `weighted_error`; each term is a mean over its own channels. ``"dacapo"`` leaves the
        weight out if there are no descriptors.

    Returns
    -------
    dict of tensors
        ``"affinities"`` and, if there are further channels, ``"lsds"``, as from `weighted_error`.

    References
    ----------
    .. [1] A. Sheridan et al., "Local shape descriptors for neuron segmentation", Nature Methods 20,
       2023, doi:10.1038/s41592-022-01711-z.
    """
    validation.check_number("num_affinities", num_affinities, int, 1)
    validation.check_number("lsds_to_affs_weight_ratio", lsds_to_affs_weight_ratio, float, 0)
    validation.check_dense_prediction(prediction)
    validation.check_num_affinities(num_affinities, prediction)
    n_channels = prediction.shape[1]
    parts = {"affinities": Part(dense.CROSS_ENTROPY, 0, num_affinities)}
    if n_channels > num_affinities:
        parts["lsds"] = Part(dense.SIGMOID_SQUARED_ERROR, num_affinities, n_channels)
    terms = _terms(
        prediction,
        target,
        weight,
        parts,
        options=(reduction, normalize, weighting),
        drop_weight=weighting == "dacapo" and n_channels == num_affinities,
    )
    if "lsds" in terms:
        terms["lsds"] = lsds_to_affs_weight_ratio * terms["lsds"]
    return terms


def hot_distance_terms(
    prediction: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    normalize: str = "voxels",
    weighting: str = "linear",
) -> dict[str, Tensor]:
    """Losses of classes and of distances to their boundaries, whose sum is to be minimised.

    The first half of the channels are logits of classes, with the cross-entropy as their error, the
    second half distances, with the squared error.

    Parameters
    ----------
    prediction : floating-point tensor of shape (n_samples, 2 * n_classes, ...)
        Logits, then distances.
    target : tensor of the shape of `prediction`
        Classes within [0, 1], then distances.
    weight : tensor of the shape of `prediction`, or 1 in place of some of its axes, optional
        An element of weight 0 adds nothing.
    reduction, normalize, weighting : optional
        As in `weighted_error`; each term is a mean over its own channels.

    Returns
    -------
    dict of tensors
        ``"hot"`` and ``"distance"``, as from `weighted_error`.
    """
    validation.check_dense_prediction(prediction)
    validation.check_even_channels("prediction", prediction)
    n_channels = prediction.shape[1]
    parts = {
        "hot": Part(dense.CROSS_ENTROPY, 0, n_channels // 2),
        "distance": Part(dense.SQUARED_ERROR, n_channels // 2, n_channels),
    }
    return _terms(prediction, target, weight, parts, options=(reduction, normalize, weighting))


def _terms(
    prediction: Tensor,
    target: Tensor,
    weight: Tensor | None,
    parts: dict[str, Part],
    *,
    options: tuple[str, str, str],
    drop_weight: bool = False,
) -> dict[str, Tensor]:
    """Return the loss of each part."""
    _check(prediction, target, weight, options)
    reduction, normalize, weighting = options
    target = _for_autograd("target", target)
    weight = None if weight is None else _for_autograd("weight", weight)
    if drop_weight and weight is not None:
        _warn_of_dropped_weight()
        weight = None
    losses: Sequence[Tensor]
    divisors = None
    if reduction == "mean" and normalize == "weight" and weight is not None:
        reduction = "sum"
        divisors = [_weight_sum(name, part, prediction, weight) for name, part in parts.items()]
    if weighting == "linear" and reduction != "none" and _is_constant(target, weight):
        losses = _analytic(prediction, target, weight, parts, reduction)
    else:
        one = _as_dacapo if weighting == "dacapo" else _as_written
        losses, _ = dense.hiding(
            lambda hide: [
                one(*operands, part.kind, reduction)
                for part, operands in _operands(parts, prediction, target, weight, hide=hide)
            ],
            weight,
        )
    if divisors is not None:
        losses = [loss / divisor for loss, divisor in zip(losses, divisors, strict=True)]
    validation.check_finite_target(losses, target, weight)
    dtype = returned_in(prediction)
    return {name: loss.to(dtype) for name, loss in zip(parts, losses, strict=True)}


def _check(
    prediction: Tensor, target: Tensor, weight: Tensor | None, options: tuple[str, str, str]
) -> None:
    """Raise unless the arguments have the right kind, shape and content."""
    reduction, normalize, weighting = options
    validation.check_option("reduction", reduction, validation.REDUCTIONS)
    validation.check_option("normalize", normalize, validation.NORMALIZE)
    validation.check_option("weighting", weighting, validation.WEIGHTINGS)
    validation.check_dense_prediction(prediction)
    validation.check_dense_target(target, prediction)
    if weight is not None:
        validation.check_dense_weight(weight, prediction)
        if weighting == "linear":
            weight = validation.signed("weight", weight)
            dtype = returned_in(prediction)
            validation.check_counting_weight(weight, dtype, prediction.numel())


def _for_autograd(name: str, x: Tensor) -> Tensor:
    """Return a tensor that autograd can keep; one of torch.inference_mode is copied for it."""
    x = validation.signed(name, x)
    return x.clone() if x.is_inference() and not torch.is_inference_mode_enabled() else x


def _warn_of_dropped_weight() -> None:
    warn(
        'weighting="dacapo" leaves the weight out here, as DaCapo does. Use weighting="linear" to '
        "let it count, or pass none.",
        IgnoredWeightWarning,
    )


def _weight_sum(name: str, part: Part, prediction: Tensor, weight: Tensor) -> Tensor:
    """Return the sum of the weights over the elements of a part."""
    weight = weight if weight.ndim > 1 and weight.shape[1] == 1 else part.of(weight)
    total = weight.sum(dtype=widest(weight.device))
    validation.check_weight_sum(total, name)
    return total * (part.of(prediction).numel() / weight.numel())


def _is_constant(target: Tensor, weight: Tensor | None) -> bool:
    """Whether the gradient by the prediction, which is analytic, is all that can be asked for.

    The plain expressions are what a compiler makes its own blocks of, and torch.func transforms.
    """
    moving = target.requires_grad or (weight is not None and weight.requires_grad)
    return not (moving or torch.compiler.is_compiling() or validation.transforms())


def _analytic(
    prediction: Tensor,
    target: Tensor,
    weight: Tensor | None,
    parts: dict[str, Part],
    reduction: str,
) -> list[Tensor]:
    """Return the losses with linear weights, in blocks."""
    sums = dense.weighted_sums(prediction, target, weight, tuple(parts.values()))
    if reduction == "sum":
        return list(sums)
    counts = [part.of(prediction).numel() for part in parts.values()]
    return [total / count for total, count in zip(sums, counts, strict=True)]


def _operands(
    parts: dict[str, Part],
    prediction: Tensor,
    target: Tensor,
    weight: Tensor | None,
    *,
    hide: bool,
) -> Iterator[tuple[Part, tuple[Tensor, Tensor, Tensor | None]]]:
    """Yield each part with its prediction, target and weight in one shape and dtype."""
    dtype = returned_in(prediction)
    # Gradients of the pieces of a split are joined, those of slices padded and added.
    sizes = [part.of(prediction).shape[1:2].numel() for part in parts.values()]
    pieces = prediction.split(sizes, dim=1) if len(parts) > 1 else (prediction,)
    for part, p in zip(parts.values(), pieces, strict=True):
        t = part.of(target).to(dtype)
        w = None
        if weight is not None:
            w = part.of(weight.expand(prediction.shape)).to(dtype)
            t = t.masked_fill(w == 0, 0) if hide else t
        yield part, (p.to(dtype), t, w)


def _as_written(p: Tensor, t: Tensor, w: Tensor | None, kind: Kind, reduction: str) -> Tensor:
    """Return the loss with linear weights, as it stands in the formula."""
    return _reduced(kind.plain(p, t), w, reduction)


def _as_dacapo(p: Tensor, t: Tensor, w: Tensor | None, kind: Kind, reduction: str) -> Tensor:
    """Return the loss as DaCapo computes it; the order of the operations decides the last bit."""
    if kind is dense.SQUARED_ERROR:
        p, t = (p, t) if w is None else (p * w, t * w)
        return F.mse_loss(p, t, reduction=reduction)
    return _reduced(kind.plain(p, t), w, reduction)


def _reduced(elements: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """Return the weighted elements, their sum, or its quotient by their number."""
    if weight is not None:
        elements = elements * weight
    if reduction == "none":
        return elements
    return elements.sum() if reduction == "sum" else elements.mean()
