"""A program may have a process group of torch.distributed for purposes of its own."""

from __future__ import annotations

import numpy as np
import pytest

from sksurvtorch import _processes
from tests.contract.small_models import both, small


class NotToBeAsked:
    """Stands for torch.distributed."""

    def __getattr__(self, name):
        raise AssertionError(f"torch.distributed was asked for {name}")


@both
def test_a_fit_without_an_accelerator_asks_nothing_of_it(kind, whas500, monkeypatch):
    X, y = whas500
    weight = np.ones(len(y))
    expected = small(kind).fit(X, y, weight).predict(X)
    with pytest.raises(ValueError, match="non-zero") as alone:
        small(kind).fit(X, y, 0 * weight)
    monkeypatch.setattr(_processes, "dist", NotToBeAsked())
    model = small(kind).fit(X, y, weight).partial_fit(X, y)
    assert model.score(X, y) > 0.5
    np.testing.assert_array_equal(small(kind).fit(X, y, weight).predict(X), expected)
    with pytest.raises(ValueError, match="non-zero") as beside:
        small(kind).fit(X, y, 0 * weight)
    assert str(beside.value) == str(alone.value)
