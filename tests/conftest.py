"""Hypothesis profiles, in CI with the same examples on every run; and routes of the Cox loss."""

import os

import pytest
from hypothesis import settings

from sksurvtorch.functional import _layout

settings.register_profile("dev", deadline=None, max_examples=30)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="module", params=["matrix", "sums"])
def route(request):
    """Both ways to sum over few rows with late entry or strata."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "sums":
            patch.setattr(_layout, "_MATRIX_ENTRIES", 0)
        yield request.param
