"""Processes of their own, whose peak of memory says what a piece of code takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# Runs each piece of code that it is given in a fork of itself, which has the packages from the
# start and a peak of its own.
FORKS = """
import json, os, sys, traceback
import numpy, torch, sksurv.util, sksurvtorch.losses, sksurvtorch.nets.net

# Not ru_maxrss, which a process inherits from the one that has started it.
def peak():
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

for line in sys.stdin:
    if os.fork() == 0:
        try:
            exec(json.loads(line), {"peak": peak})
        except BaseException:
            print(json.dumps(traceback.format_exc()))
        sys.stdout.flush()
        os._exit(0)
    os.wait()
    print("end", flush=True)
"""


@pytest.fixture(scope="session")
def printed():
    """A function that returns the number that some code prints, in a process of its own.

    What the process frees goes back to the system at once. By default glibc keeps pieces of up to
    32 MiB, now more and now less of them: equal fits differed by half the size of X.
    """
    command = [sys.executable, "-c", FORKS]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as server:

        def run(code):
            print(json.dumps(code), file=server.stdin, flush=True)
            (told,) = map(json.loads, iter(server.stdout.readline, "end\n"))
            assert isinstance(told, float), told
            return told

        yield run
        server.stdin.close()
