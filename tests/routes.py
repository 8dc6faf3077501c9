"""The ways by which the Cox loss sums over risk sets."""

from contextlib import contextmanager

import pytest

from sksurvtorch.functional import _layout

ROUTES = ("matrix", "sums")


@contextmanager
def on_route(name):
    """One of the ways to sum over few rows with late entry or strata."""
    with pytest.MonkeyPatch.context() as patch:
        if name == "sums":
            patch.setattr(_layout, "_MATRIX_ENTRIES", 0)
        yield
