"""Random numbers that belong to one fit."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

# torch's layers draw from one generator per process and device. A fit lends it its own state for
# the length of one call, and no two fits do so at the same time.
_LENDING = threading.RLock()


class RandomStream:
    """Context in which torch draws from a stream of its own, and leaves the global one as it was.

    Parameters
    ----------
    seed : int
        Start of the stream.
    device : torch.device
        Device whose generator is lent the stream, besides the CPU's.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self._states = [torch.Generator(d).manual_seed(seed).get_state() for d in self._devices()]

    def get_states(self) -> list[Tensor]:
        """Return where the stream is, on each device."""
        return [state.clone() for state in self._states]

    def set_states(self, states: list[Tensor]) -> None:
        """Go to a place that `get_states` has returned, as far as devices are the same."""
        own = self._states
        for state, there in zip(states, own, strict=False):
            if state.dtype != there.dtype or state.shape != there.shape:
                raise ValueError(f"a state of {state.dtype} and shape {tuple(state.shape)}")
        self._states = [state.clone() for state in states[: len(own)]] + own[len(states) :]

    def _devices(self) -> list[torch.device]:
        cpu = torch.device("cpu")
        return [cpu] if self.device.type == "cpu" else [cpu, self.device]

    def _exchange(self, states: list[Tensor]) -> list[Tensor]:
        """Set the states of the global generators, and return what they were."""
        before = [_get_state(device) for device in self._devices()]
        for device, state in zip(self._devices(), states, strict=True):
            _set_state(device, state)
        return before

    def __enter__(self) -> None:
        _LENDING.acquire()
        self._outer = self._exchange(self._states)

    def __exit__(self, *exc_info: object) -> None:
        self._states = self._exchange(self._outer)
        _LENDING.release()


def _get_state(device: torch.device) -> Tensor:
    if device.type == "cpu":
        return torch.get_rng_state()
    module: Any = torch.get_device_module(device)
    state: Tensor = module.get_rng_state(device)
    return state


def _set_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cpu":
        torch.set_rng_state(state)
    else:
        module: Any = torch.get_device_module(device)
        module.set_rng_state(state, device)
