"""Processes like those of torchrun, but forked from one that has imported everything."""

from __future__ import annotations

import os
import socket
import sys

import accelerate  # noqa: F401, like the next one not once more in each process
import torch._dynamo  # noqa: F401, which optimizers import when they are first used


def main(size, suite, folder):
    """Run a suite in processes, and exit with 0 if all of them do."""
    from tests.contract.data_parallel import worker

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(WORLD_SIZE=size, LOCAL_WORLD_SIZE=size)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    processes = []
    for rank in range(int(size)):
        processes.append(os.fork())
        if processes[-1] == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            worker.main(suite, folder)
            return  # to the end of the program, as a process of torchrun
    ends = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    sys.exit(0 if not any(ends) else f"The processes returned {ends}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
