"""Fixtures that return what the cases of `worker` came to, in several processes and in one.

Processes take seconds to start, so two processes and four, which are forked, run all cases, and the
tests look at what they wrote. torchrun starts those that have to end.
"""

from __future__ import annotations

import functools

import pytest
from filelock import FileLock

from tests.contract.data_parallel import fits, shares
from tests.contract.data_parallel.launches import launch, written


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory, worker_id):
    """A folder of all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="module")
def run(common_folder):
    """A function that returns what a case came to in each process; the first call launches them."""

    @functools.cache
    def all_cases(size):
        folder = common_folder / f"data_parallel_{size}"
        with FileLock(f"{folder}.lock"):  # one launch, whatever the number of workers
            if not folder.exists():
                folder.mkdir()
                status, said = launch(size, str(size), folder, by="forks")
                (folder / "said").write_text(f"The launcher returned {status}.\n{said}")
        return [written(folder, rank) for rank in range(size)], (folder / "said").read_text()

    def case(name, size):
        told, said = all_cases(size)
        for rank, results in enumerate(told):
            after = f"It ended after {list(results)[-1:]}.\n{said:.2000}"
            result = results.get(name, {"traceback": after})
            if "traceback" in result:
                pytest.fail(f"Process {rank} of {size}, {name}:\n{result['traceback']}")
        return [results[name] for results in told]

    return case


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A function that returns what a case comes to in one process."""
    share = shares.Share(0, 1, tmp_path_factory.mktemp("alone"))
    return functools.cache(lambda name: fits.EQUAL[name](share))
