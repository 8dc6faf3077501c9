"""Processes of their own, whose peak of memory says what a piece of code takes."""

from __future__ import annotations

import pytest

# By default glibc keeps pieces of up to 32 MiB that are freed, now more and now less of them: equal
# fits differed by half the size of X. Of pieces from 1 MiB on it is to give back all of them.
HEAD = """
import ctypes
M_MMAP_THRESHOLD = -3
assert ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**20)

# Not ru_maxrss, which a process inherits from the one that has started it.
def peak():
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
"""


@pytest.fixture(scope="session")
def printed(forked):
    """A function that returns the number that some code prints, in a process of its own."""

    def run(code):
        done = forked(HEAD + code)
        assert done.returncode == 0, done.stderr
        return float(done.stdout)

    return run
