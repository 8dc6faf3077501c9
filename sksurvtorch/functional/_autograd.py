"""A refusal that every analytic gradient needs."""

import torch


def refuse_second_derivative(name: str) -> None:
    """Raise in a backward pass that is itself recorded, as ``create_graph=True`` does."""
    # Recorded without more ado it would take the first derivative for a constant.
    if torch.is_grad_enabled():
        raise NotImplementedError(
            f"`{name}` offers no second derivative. Call backward or torch.autograd.grad without "
            "create_graph=True."
        )
