"""The default device of torch, in front of code that makes tensors without naming a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch


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
