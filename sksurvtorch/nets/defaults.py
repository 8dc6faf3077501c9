"""What torch does by default where a program has said so: its device, and its autocast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch

#: Kinds of devices that autocast may be on for.
_AUTOCAST = ("cpu", "cuda", "mps", "xpu")


def on_cpu() -> AbstractContextManager[Any]:
    """Return a context in which such tensors are made on the CPU, as torch does by itself."""
    # The context slows down each call of torch, so there is one only where it is needed.
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


@contextmanager
def optimizer_on_cpu(step_fn: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    """Let an optimizer make its tensors on the CPU, but not the network that its closure calls."""
    default = torch.get_default_device()
    if default.type == "cpu":
        yield step_fn
        return

    def closure() -> Any:
        """Call it with the default device of the user."""
        with default:
            return step_fn()

    with torch.device("cpu"):
        yield closure


@contextmanager
def without_autocast() -> Iterator[None]:
    """Compute in the dtype of each tensor, whatever autocast there is outside this context."""
    with ExitStack() as stack:
        for device in _AUTOCAST:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(_outermost())
        yield


@contextmanager
def without_autocast_cache() -> Iterator[None]:
    """Let autocast cast weights anew in each call, since they change within this context."""
    before = torch.is_autocast_cache_enabled()
    with _outermost():
        if any(map(torch.is_autocast_enabled, _AUTOCAST)):
            torch.set_autocast_cache_enabled(False)
        try:
            yield
        finally:
            torch.set_autocast_cache_enabled(before)


@contextmanager
def _outermost() -> Iterator[None]:
    """Let autocast forget the weights that it has cast whenever a context within this one ends."""
    # It does so when the outermost one ends. In a training within that, a network with an autocast
    # of its own would have the weights of the first step in each.
    level = torch.autocast_increment_nesting()
    for _ in range(level):
        torch.autocast_decrement_nesting()
    torch.clear_autocast_cache()  # of predictions before
    try:
        yield
    finally:
        for _ in range(level - 1):
            torch.autocast_increment_nesting()
