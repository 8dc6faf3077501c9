"""Which derivatives the losses with an analytic gradient offer: the first, and no others.

The transforms of torch.func hand out tensors that numpy cannot read, and that keep what is done to
them. Under them such a loss is computed as a whole inside an `autograd.Function`, where torch gives
the tensors themselves, and its gradient is the one that the loss has otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sksurvtorch._validation import check_constant, transforms
from sksurvtorch.functional._compiler import left_out_of_graphs

Evaluate = Callable[[Tensor, bool], tuple[Tensor, Tensor | None]]


class FirstDerivative(torch.autograd.Function):
    """Base of the losses whose backward pass is analytic."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Keep the compiler out of a backward pass that is called within compiled code."""
        super().__init_subclass__(**options)
        left_out_of_graphs(cls.backward)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Refuse forward-mode derivatives."""
        raise NotImplementedError(_FORWARD_MODE.format("This loss"))


_FORWARD_MODE = (
    "{} offers no forward-mode derivative. Use backward, torch.autograd.grad, or torch.func.grad, "
    "vjp or jacrev."
)
_FIRST_ALONE = "Call backward or torch.autograd.grad without create_graph=True."


class Evaluated(FirstDerivative):
    """One number with its gradient, both computed at once.

    Call ``Evaluated.apply(prediction, evaluate, name)``, where `evaluate` takes the prediction and
    whether its gradient is needed, and returns the loss and the gradient, which may then be None.
    """

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, evaluate: Evaluate, name: str) -> Tensor:
        """Compute both."""
        value, gradient = evaluate(prediction, ctx.needs_input_grad[0])
        ctx.name = name
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Return what is known by now."""
        refuse_second_derivative(ctx.name)
        (gradient,) = ctx.saved_tensors
        return grad * gradient, None, None  # torch casts it to half precision


def refuse_second_derivative(name: str, hint: str = _FIRST_ALONE) -> None:
    """Raise in a backward pass that is itself recorded, as ``create_graph=True`` does."""
    # Recorded without more ado it would take the first derivative for a constant.
    if torch.is_grad_enabled():
        raise NotImplementedError(f"{name} offers no second derivative. {hint}")


def refuse_batched_gradient(name: str, grad: Tensor) -> None:
    """Raise in a backward pass of several gradients at once."""
    if torch._C._functorch.is_legacy_batchedtensor(grad):
        raise NotImplementedError(
            f"{name} takes one gradient at a time. Leave out is_grads_batched=True or "
            "vectorize=True, or use torch.func.jacrev."
        )


def refuse_transforms(name: str, hint: str) -> None:
    """Raise under any transform of torch.func."""
    if transforms():
        raise NotImplementedError(f"`{name}` cannot be called within torch.func. {hint}")


def by_reverse_mode(
    name: str, loss: Callable[..., Tensor], prediction: Tensor, columns: dict[str, Any]
) -> Tensor:
    """Return a loss under transforms of torch.func, with its first derivative by the prediction.

    Parameters
    ----------
    name : str
        What the user has called, in quotes.
    loss : callable
        Takes the prediction and the columns as keywords.
    prediction : tensor
        What the gradient is by.
    columns : dict
        All else; tensors among them may be those that a transform hands out.

    Returns
    -------
    tensor
        What `loss` returns.
    """
    for column in columns:
        check_constant(column, columns[column])
    others = transforms() - {"Grad"}  # of grad, vjp and jacrev
    if others == {"Vmap"}:
        raise NotImplementedError(
            f"{name} offers no torch.func.vmap. Call it for one batch after the other."
        )
    if "Trace" in others:
        raise NotImplementedError(
            f"{name} cannot be recorded, as torch.func.linearize and make_fx do. Use backward, "
            "torch.autograd.grad, or torch.func.grad, vjp or jacrev."
        )
    if others:
        raise NotImplementedError(_FORWARD_MODE.format(name))
    value: Tensor = _ReverseMode.apply(prediction, columns, _Call(name, loss))  # type: ignore[no-untyped-call]
    return value


class _Call:
    """A call of a loss, and the graph that it has made."""

    def __init__(self, name: str, loss: Callable[..., Tensor]) -> None:
        self.name = name
        self.loss = loss

    def value(self, prediction: Tensor, columns: dict[str, Any]) -> Tensor:
        """Return the loss, and keep how it was made."""
        with torch.enable_grad():
            self._input = prediction.detach().requires_grad_()
            self._output = self.loss(self._input, **columns)
        return self._output.detach()

    def gradient(self, grad: Tensor) -> Tensor:
        """Return the derivative of the loss, times `grad`."""
        (gradient,) = torch.autograd.grad(self._output, self._input, grad, retain_graph=True)
        return gradient


class _ReverseMode(FirstDerivative):
    """A loss under a transform."""

    @staticmethod
    def forward(prediction: Tensor, columns: dict[str, Any], call: _Call) -> Tensor:
        """Compute the loss."""
        return call.value(prediction, columns)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the call for its gradient."""
        ctx.save_for_backward(inputs[0])
        ctx.call = inputs[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient, in a way that torch.func can take apart."""
        (prediction,) = ctx.saved_tensors
        return _Gradient.apply(grad, prediction, ctx.call), None, None  # type: ignore[no-untyped-call]


class _Gradient(torch.autograd.Function):
    """The gradient of a loss under a transform."""

    @staticmethod
    def forward(grad: Tensor, prediction: Tensor, call: _Call) -> Tensor:
        """Return the gradient of the call."""
        return call.gradient(grad)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the name for messages."""
        ctx.name = inputs[2].name

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Refuse second derivatives."""
        raise NotImplementedError(
            f"{ctx.name} offers no second derivative. Take torch.func.grad, vjp or jacrev of it "
            "once."
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """Refuse forward-mode derivatives."""
        raise NotImplementedError(_FORWARD_MODE.format(ctx.name))

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], grad: Tensor, prediction: Tensor, call: _Call
    ) -> Any:
        """Return several gradients, as `torch.func.jacrev` asks for them."""
        if in_dims[0] is None:
            return _Gradient.apply(grad, prediction, call), None  # type: ignore[no-untyped-call]
        each = grad.unbind(in_dims[0])
        return torch.stack([_Gradient.apply(g, prediction, call) for g in each]), 0  # type: ignore[no-untyped-call]
