"""Hypothesis profiles, in CI with the same examples on every run; and routes of the Cox loss."""

import os

import pytest
from hypothesis import settings

from tests.routes import ROUTES, on_route

settings.register_profile("dev", deadline=None, max_examples=30)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="module", params=ROUTES)
def route(request):
    """Both ways to sum over few rows with late entry or strata."""
    with on_route(request.param):
        yield request.param
