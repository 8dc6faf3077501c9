"""The ways by which the Cox loss sums over risk sets."""

from contextlib import contextmanager

import pytest

from sksurvtorch.functional import RiskSets, _layout

ROUTES = ("quick", "general")


@contextmanager
def on_route(name):
    """The ways for rows on the CPU, by bins or a matrix of few rows, or those for all rows."""
    with pytest.MonkeyPatch.context() as patch:
        if name == "general":
            patch.setattr(RiskSets, "bins", None)
            patch.setattr(_layout, "_MATRIX_ENTRIES", 0)
        yield
