"""Sums over the elements of a dense prediction, in blocks that fit into the cache.

An expression such as ``(weight * (prediction - target) ** 2).mean()`` on a volume writes each
step to memory and keeps some of them for the gradient. Here a block of the volume goes through all
steps before the next one begins, and the gradient is computed from the inputs when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sksurvtorch._validation import is_readable
from sksurvtorch.functional._arithmetic import returned_in, widest
from sksurvtorch.functional._autograd import (
    FirstDerivative,
    refuse_batched_gradient,
    refuse_second_derivative,
)

_NAME = "The loss of a dense prediction"
BLOCK_SIZE = 2**17  # elements for each thread; the few temporaries of a block fit into its cache


@dataclass(frozen=True)
class Kind:
    """Error of an element as a function of prediction and target, with its derivative."""

    plain: Callable[[Tensor, Tensor], Tensor]  # torch's own, with any derivative
    value: Callable[[Tensor, Tensor], Tensor]  # the values of `plain`, with few temporaries
    slope: Callable[[Tensor, Tensor], Tensor]  # derivative of `value` by the prediction


def _cross_entropy(p: Tensor, t: Tensor) -> Tensor:
    # max(p, 0) - p t is exact for t = 0 and 1, so the small part that follows is not lost.
    large = p.clamp(min=0).addcmul_(p, t, value=-1)
    return F.softplus(p.abs().neg_()).add_(large)


def _sigmoid_squared_error_slope(p: Tensor, t: Tensor) -> Tensor:
    s = p.sigmoid()
    return (s - t).mul_(s).mul_(1 - s).mul_(2)


ABSOLUTE_ERROR = Kind(
    plain=lambda p, t: (p - t).abs(),
    value=lambda p, t: (p - t).abs_(),
    slope=lambda p, t: (p - t).sgn_(),
)
SQUARED_ERROR = Kind(
    plain=lambda p, t: F.mse_loss(p, t, reduction="none"),
    value=lambda p, t: (p - t).square_(),
    slope=lambda p, t: (p - t).mul_(2),
)
CROSS_ENTROPY = Kind(
    plain=lambda p, t: F.binary_cross_entropy_with_logits(p, t, reduction="none"),
    value=_cross_entropy,
    slope=lambda p, t: p.sigmoid().sub_(t),
)
SIGMOID_SQUARED_ERROR = Kind(
    plain=lambda p, t: F.mse_loss(p.sigmoid(), t, reduction="none"),
    value=lambda p, t: p.sigmoid().sub_(t).square_(),
    slope=_sigmoid_squared_error_slope,
)


@dataclass(frozen=True)
class Part:
    """Channels from `start` to before `stop` that make one term; without them all of a volume."""

    kind: Kind
    start: int | None = None
    stop: int | None = None

    def of(self, volume: Tensor) -> Tensor:
        """Return a view of the channels of this part."""
        return volume if self.start is None else volume[:, self.start : self.stop]


def hiding(
    compute: Callable[[bool], Sequence[Tensor]], weight: Tensor | None
) -> tuple[Sequence[Tensor], bool]:
    """Compute losses, and say whether the targets under weight 0 had to be hidden for it.

    Such a target may be NaN, and 0 times NaN is NaN. It would show in the loss, so where that can
    be looked at, on the CPU, the targets are hidden only if need be.
    """
    if weight is None:
        return compute(False), False
    if is_readable(weight):
        losses = compute(False)
        if all(bool(loss.isfinite().all()) for loss in losses):
            return losses, False
    return compute(True), True


def weighted_sums(
    prediction: Tensor, target: Tensor, weight: Tensor | None, parts: tuple[Part, ...]
) -> tuple[Tensor, ...]:
    """Sum weight times value over the elements of each part, in the widest dtype there is."""
    sums: tuple[Tensor, ...] = _WeightedSums.apply(  # type: ignore[no-untyped-call]
        prediction, target, weight, parts
    )
    return sums


class _WeightedSums(FirstDerivative):
    """The sums of the parts, with their analytic gradient by the prediction."""

    @staticmethod
    def forward(
        ctx: Any,
        prediction: Tensor,
        target: Tensor,
        weight: Tensor | None,
        parts: tuple[Part, ...],
    ) -> tuple[Tensor, ...]:
        """Sum the values of each part."""
        sums, hide = hiding(
            lambda hide: _sums(prediction, target, weight, parts, hide=hide), weight
        )
        ctx.save_for_backward(prediction, target, weight)
        ctx.parts, ctx.hide = parts, hide
        return tuple(sums)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Refuse forward-mode derivatives outside of torch.func."""
        raise NotImplementedError(
            f"{_NAME} offers no forward mode of torch.autograd. Use torch.func.jvp."
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """Compute the gradient block by block."""
        refuse_second_derivative(_NAME, "Leave out create_graph=True, or use torch.func.hessian.")
        refuse_batched_gradient(_NAME, grads[0])
        prediction, target, weight = ctx.saved_tensors
        gradient = torch.empty_like(prediction)
        for part, grad in zip(ctx.parts, grads, strict=True):
            out = part.of(gradient)
            for block, p, t, w in _blocks(part, prediction, target, weight, hide=ctx.hide):
                slope = part.kind.slope(p, t)
                if w is None:
                    torch.mul(slope, grad, out=out[block])
                else:
                    torch.mul(slope.mul_(grad), w, out=out[block])
        return gradient, None, None, None


def _sums(
    prediction: Tensor,
    target: Tensor,
    weight: Tensor | None,
    parts: tuple[Part, ...],
    *,
    hide: bool,
) -> tuple[Tensor, ...]:
    """Sum weight times value over the elements of each part."""
    wide = widest(prediction.device)
    sums = []
    for part in parts:
        total = torch.zeros((), dtype=wide, device=prediction.device)
        for _, p, t, w in _blocks(part, prediction, target, weight, hide=hide):
            value = part.kind.value(p, t)
            total += (value if w is None else value.mul_(w)).sum()
        sums.append(total)
    return tuple(sums)


def _blocks(
    part: Part, prediction: Tensor, target: Tensor, weight: Tensor | None, *, hide: bool
) -> Iterator[tuple[Any, Tensor, Tensor, Tensor | None]]:
    """Yield where a block of the part is, and its prediction, target and weight."""
    dtype = returned_in(prediction)
    if weight is not None:
        weight = part.of(weight.expand(prediction.shape))
    prediction, target = part.of(prediction), part.of(target)
    for block in _indices(prediction):
        p, t = prediction[block].to(dtype), target[block].to(dtype)
        w = None if weight is None else weight[block].to(dtype)
        if hide and w is not None:
            t = t.masked_fill(w == 0, 0)
        yield block, p, t, w


def _indices(volume: Tensor) -> Iterator[Any]:
    """Yield indices of blocks; one block of all where a kernel's start costs more than memory."""
    if volume.device.type != "cpu":
        yield ...
        return
    shape, size = volume.shape, BLOCK_SIZE * torch.get_num_threads()
    # The first axis along which a step is no more than a block.
    axis = next(k for k in range(len(shape)) if prod(shape[k + 1 :]) <= size)
    step = size // max(1, prod(shape[axis + 1 :]))
    for lead in product(*map(range, shape[:axis])):
        for start in range(0, shape[axis], step):
            yield (*lead, slice(start, start + step))
