"""Exchange between the processes of one training, by torch.distributed.

All processes call these functions at the same point: each waits until the others have called.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def n_processes() -> int:
    """Return the number of processes that train together."""
    return int(dist.get_world_size()) if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process, counted from 0."""
    return int(dist.get_rank()) if n_processes() > 1 else 0


def without_number(device: torch.device) -> torch.device:
    """Return the device; a CPU without the number of its process, which torch cannot load."""
    return torch.device("cpu") if device.type == "cpu" else device


def leave() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
        gc.collect()  # what a network of torch.nn.parallel still holds of it
        # Threads of gloo drop their last tensors, for which they need the interpreter.
        time.sleep(0.1)


def exchange(what: Any) -> list[Any]:
    """Return the objects that the processes give, in the order of their ranks."""
    said: list[Any] = [None] * n_processes()
    dist.all_gather_object(said, what)
    return said


def exchange_numbers(numbers: Sequence[int], device: torch.device) -> list[list[int]]:
    """Return the integers that each process gives; faster than `exchange`."""
    ours = torch.tensor(numbers, device=_carrier(device))
    all_of_them = [torch.empty_like(ours) for _ in range(n_processes())]
    dist.all_gather(all_of_them, ours)
    given: list[list[int]] = torch.stack(all_of_them).tolist()
    return given


def gather(x: Tensor, counts: Sequence[int]) -> Tensor:
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


def gather_with_gradient(x: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the rows of all processes, for a loss that all of them compute alike.

    The gradient of the rows of this process is multiplied by the number of processes: then the mean
    over them, as `torch.nn.parallel.DistributedDataParallel` takes it, is the gradient of the loss.
    """
    gathered: Tensor = _Gathered.apply(x, counts)  # type: ignore[no-untyped-call]
    return gathered


class _Gathered(torch.autograd.Function):
    """Gather; in the backward pass each process keeps its own rows, and nothing is sent."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: Sequence[int]) -> Tensor:
        start = sum(counts[: rank()])
        ctx.own = slice(start, start + len(x))
        ctx.factor = len(counts)
        return gather(x, counts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad[ctx.own] * ctx.factor, None


def of_first(x: Tensor) -> Tensor:
    """Return the tensor that the first process gives as `x`."""
    carried = x.detach().to(_carrier(x.device)).contiguous().clone()
    dist.broadcast(carried, 0)
    return carried.to(x.device)


def _carrier(device: torch.device) -> torch.device:
    """Return the device on which the backend carries what is on `device`."""
    backend = str(dist.get_backend())
    if device.type == "cpu" and backend == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    if device.type != "cpu" and backend == "gloo":
        return torch.device("cpu")
    return device
