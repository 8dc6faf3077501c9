"""Accelerators of one's own, and the ends of processes."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta

import torch
from skorch.callbacks import Callback

from sksurvtorch._processes import world
from tests.contract.data_parallel.fits import Watch, fit
from tests.contract.data_parallel.shares import ALL, wait_for


def impatient(**options):
    """An accelerator that waits 5 seconds for other processes."""
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    patience = InitProcessGroupKwargs(timeout=timedelta(seconds=5))
    return Accelerator(cpu=True, kwargs_handlers=[patience], **options)


def half(share, precision="bf16"):
    """A fit in bfloat16, whose weights stay in float32."""
    # The processes need not have started within 5 seconds.
    (share.folder / f"{share.rank}").touch()
    wait_for(*(share.folder / f"{rank}" for rank in range(share.size)))
    given = None if precision is None else impatient(mixed_precision=precision)
    return fit(share, columns=ALL, accelerator=given, dtype="float32")


class AfterOneEpoch(Callback):
    """Does something in the second epoch of the last process."""

    def __init__(self, share, what):
        self.share, self.what = share, what

    def on_batch_begin(self, net, **kwargs):
        if self.share.last and len(net.history) == 2:
            self.what(self.share)


def ended(share, what, **options):
    """How long a fit waits, and its error, when the last process does something else."""
    callbacks = [("watch", Watch()), ("ends", AfterOneEpoch(share, what))]
    started = time.monotonic()
    try:
        fit(share, callbacks=callbacks, **options)
    except Exception as error:
        seconds = time.monotonic() - started
        return {"error": type(error).__name__, "message": str(error), "seconds": seconds}
    return {"error": "none", "message": "", "seconds": 0.0}


def sleep(share):
    """Wait until the others have given up."""
    wait_for(share.folder / "raised", seconds=60)
    os._exit(0)


def stopped(share):
    told = ended(share, sleep, accelerator=impatient(mixed_precision="bf16"))
    (share.folder / "raised").touch()
    return told


def killed(share):
    return ended(share, lambda share: os.kill(os.getpid(), signal.SIGKILL))


def interrupted(share):
    """Ctrl-C in one of the processes, which then ends as a program does."""
    return ended(share, lambda share: os.kill(os.getpid(), signal.SIGINT))


def busy(share):
    """So much is exchanged that torch is not done with it when the process ends."""
    for _ in range(20):
        world().exchange_numbers([share.rank], torch.device("cpu"))
    return {}
