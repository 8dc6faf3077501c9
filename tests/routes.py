"""The ways by which the losses of Cox models sum over risk sets."""

import functools
from contextlib import contextmanager

import pytest
from hypothesis import given

from sksurvtorch.functional import CompetingRiskSets, RiskSets, _layout

ROUTES = ("quick", "general")


@contextmanager
def on_route(name):
    """The ways for rows on the CPU, by bins or a matrix of few rows, or those for all rows."""
    with pytest.MonkeyPatch.context() as patch:
        if name == "general":
            patch.setattr(RiskSets, "bins", None)
            patch.setattr(CompetingRiskSets, "bins", None)
            patch.setattr(_layout, "_MATRIX_ENTRIES", 0)
        yield


def given_on_each_route(**strategies):
    """hypothesis's `given`, with each example on each route: to draw one takes most of the time."""

    def decorated(test):
        @given(**strategies)
        @functools.wraps(test)
        def on_each(*args, **kwargs):
            for route in ROUTES:
                with on_route(route):
                    test(*args, **kwargs)

        return on_each

    return decorated
