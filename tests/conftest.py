"""Hypothesis profiles, in CI with the same examples on every run; routes of the Cox loss; forks."""

import gc
import os

import pytest
from hypothesis import settings

from tests.fork_server import serving
from tests.routes import ROUTES, on_route

settings.register_profile("dev", deadline=None, max_examples=30)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_collection_finish():
    """Look no more for garbage among what is there from the start, half a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", params=ROUTES)
def route(request):
    """Both ways to sum over few rows with late entry or strata."""
    with on_route(request.param):
        yield request.param


@pytest.fixture(scope="session")
def forked():
    """A function that runs code or a script in a process of its own, and returns its end."""
    with serving() as run:
        yield run
