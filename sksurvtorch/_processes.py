"""The processes that train one model together, and what they exchange by torch.distributed.

A fit has one `Group`, which its accelerator decides, and hands it down. Only `GatheredLoss`, which
has no accelerator, and the check of one ask torch.distributed itself, by `world`. All processes of
a group call its methods at the same point: each waits until the others have called.
"""

from __future__ import annotations

import gc
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Group(ABC):
    """Processes that train one model together."""

    size: int  # number of processes
    rank: int  # of this one, counted from 0

    @abstractmethod
    def exchange(self, what: Any) -> list[Any]:
        """Return the objects that the processes give, in the order of their ranks."""

    @abstractmethod
    def of_first(self, x: Tensor) -> Tensor:
        """Return the tensor that the first process gives as `x`."""

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Let all processes fail if one does, rather than wait for it."""
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        said = self.exchange(None if failure is None else f"{type(failure).__name__}: {failure}")
        if failure is not None:
            raise failure
        for number, what in enumerate(said):
            if what is not None:
                raise RuntimeError(
                    f"The fit ends because process {number} of {len(said)} could not go on. {what}"
                )


@dataclass(frozen=True)
class Alone(Group):
    """The group of one process: it needs no torch.distributed, whoever may use that."""

    size: int = 1
    rank: int = 0

    def exchange(self, what: Any) -> list[Any]:
        """Return what this process gives."""
        return [what]

    def of_first(self, x: Tensor) -> Tensor:
        """Return `x` as it is."""
        return x

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Do nothing: there is nobody to wait for."""
        yield


@dataclass(frozen=True)
class Processes(Group):
    """All processes of torch.distributed, several of them: there are rows to gather."""

    def exchange(self, what: Any) -> list[Any]:
        """Return the objects that the processes give, in the order of their ranks."""
        said: list[Any] = [None] * self.size
        with torch.device("cpu"):  # it would ask torch's default device
            dist.all_gather_object(said, what)
        return said

    def exchange_numbers(self, numbers: Sequence[int], device: torch.device) -> list[list[int]]:
        """Return the integers that each process gives; faster than `exchange`."""
        ours = torch.tensor(numbers, dtype=torch.int64, device=_carrier(device))
        all_of_them = [torch.empty_like(ours) for _ in range(self.size)]
        dist.all_gather(all_of_them, ours)
        given: list[list[int]] = torch.stack(all_of_them).tolist()
        return given

    def gather(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """Return the rows of all processes in the order of their ranks, whatever the dtype."""
        most, n_rows = max(counts), len(x)
        # As bytes: no backend takes all dtypes, and none may round.
        width = math.prod(x.shape[1:])  # -1 says nothing of no rows
        raw = x.detach().reshape(n_rows, width).contiguous().view(torch.uint8)
        raw = raw.to(_carrier(x.device))
        if n_rows < most:  # all have to be of one length
            raw = torch.cat([raw, raw.new_zeros((most - n_rows, raw.shape[1]))])
        everyone = [torch.empty_like(raw) for _ in counts]
        dist.all_gather(everyone, raw)
        rows = torch.cat([part[:count] for part, count in zip(everyone, counts, strict=True)])
        return rows.to(x.device).view(x.dtype).reshape(-1, *x.shape[1:])

    def gather_with_gradient(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """Return the rows of all processes, for a loss that all of them compute alike.

        The gradient of the rows of this process is multiplied by the number of processes: then the
        mean over them, as `torch.nn.parallel.DistributedDataParallel` takes it, is the gradient of
        the loss.
        """
        gathered: Tensor = _Gathered.apply(x, self, counts)  # type: ignore[no-untyped-call]
        return gathered

    def of_first(self, x: Tensor) -> Tensor:
        """Return the tensor that the first process gives as `x`."""
        carried = x.detach().to(_carrier(x.device)).contiguous().clone()
        dist.broadcast(carried, 0)
        return carried.to(x.device)


class _Gathered(torch.autograd.Function):
    """Gather; in the backward pass each process keeps its own rows, and nothing is sent."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Processes, counts: Sequence[int]) -> Tensor:
        """Gather the rows of all processes."""
        start = sum(counts[: group.rank])
        ctx.own = slice(start, start + len(x))
        ctx.factor = len(counts)
        return group.gather(x, counts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Return the part of the gradient that belongs to the rows of this process."""
        return grad[ctx.own] * ctx.factor, None, None


def world() -> Group:
    """Return the group of all processes of torch.distributed at this moment."""
    if not (dist.is_available() and dist.is_initialized()):
        return Alone()
    size = int(dist.get_world_size())
    return Processes(size, int(dist.get_rank())) if size > 1 else Alone()


def group_of(accelerator: Any) -> Group:
    """Return the processes that an accelerate.Accelerator trains with; one without it."""
    if accelerator is None or accelerator.num_processes == 1:
        return Alone()
    return Processes(int(accelerator.num_processes), int(accelerator.process_index))


def device_of(accelerator: Any) -> torch.device:
    """Return the device of an accelerator, a CPU without its number: torch cannot load that."""
    device: torch.device = accelerator.device
    return torch.device("cpu") if device.type == "cpu" else device


def leave() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
        gc.collect()  # what a network of torch.nn.parallel still holds of it
        # Threads of gloo drop their last tensors, for which they need the interpreter.
        time.sleep(0.1)


def _carrier(device: torch.device) -> torch.device:
    """Return the device on which the backend carries what is on `device`."""
    backend = str(dist.get_backend())
    if device.type == "cpu" and backend == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    if device.type != "cpu" and backend == "gloo":
        return torch.device("cpu")
    return device
