"""Operations by numpy or torch, whichever takes less time, against the plain ones."""

import numpy as np
import pytest
import torch

from sksurvtorch._validation import check_time
from sksurvtorch.functional import _arrays

RNG = np.random.default_rng(0)
NUMBERS = {"float64": RNG.standard_normal(500), "integers": RNG.integers(-9, 9, 500)}


@pytest.mark.parametrize("step", [1, -1], ids=["forth", "back"])
@pytest.mark.parametrize("kind", NUMBERS)
def test_running_sums_are_to_the_bit_the_same_in_both_ways(monkeypatch, kind, step):
    x = NUMBERS[kind][::step]
    by_numpy = _arrays.running_sums(x)
    monkeypatch.setattr(_arrays, "_MANY_TO_ADD", 1)
    by_torch = _arrays.running_sums(x)
    assert by_torch.dtype == by_numpy.dtype == x.dtype
    assert (by_torch == by_numpy).all()
    np.testing.assert_allclose(by_torch[-1], x.sum())


@pytest.mark.parametrize("factor", [1, 2**14, 2**16, -(2**50)])
def test_the_places_of_integers_that_are_not_among_others(factor):
    """The lowest 16 bits of all integers are equal with the last two factors."""
    x = factor * torch.tensor([5, 1, 3, 0, 4, 1])
    assert _arrays.places_of_others(x, _arrays.ascending(factor * torch.tensor([7, 2]))) is None
    others = _arrays.ascending(factor * torch.tensor([7, 4, 1]))
    assert _arrays.places_of_others(x, others).tolist() == [0, 2, 3]
    every = _arrays.ascending(factor * torch.arange(6))
    assert _arrays.places_of_others(x, every).tolist() == []
    assert _arrays.places_of_others(x[:0], every) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_finite_times_may_have_an_infinite_sum(dtype):
    time = torch.full((3,), torch.finfo(dtype).max, dtype=dtype)
    assert check_time(time, 3) is time
    with pytest.raises(ValueError, match=r"^`time` must be finite, got inf \(1 of 3 rows\)"):
        check_time(time.index_fill(0, torch.tensor([1]), torch.inf), 3)
    opposite = torch.tensor([torch.inf, -torch.inf, 1.0], dtype=dtype)
    with pytest.raises(ValueError, match=r"^`time` must be finite, got inf \(2 of 3 rows\)"):
        check_time(opposite, 3)
