"""Seeds: one seed is one model, and the global generators are neither used nor touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.contract.small_models import VeteransNet, both, predictions, small


@both
def test_one_seed_is_one_model_and_two_are_two(kind, veterans):
    X, y = veterans
    one, same, other = (
        predictions(small(kind, random_state=seed, dropout=0.2).fit(X, y), X) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    unseeded = [small(kind, random_state=None).fit(X, y).predict(X) for _ in range(2)]
    assert not np.array_equal(*unseeded)


@both
def test_a_random_state_instance_goes_on(kind, veterans):
    X, y = veterans
    rng = np.random.RandomState(0)
    first, second = (small(kind, random_state=rng).fit(X, y).predict(X) for _ in range(2))
    assert not np.array_equal(first, second)
    again = small(kind, random_state=np.random.RandomState(0)).fit(X, y).predict(X)
    np.testing.assert_array_equal(again, first)


@both
@pytest.mark.parametrize("random_state", [None, 0])
@pytest.mark.parametrize("module", [None, VeteransNet, nn.LazyLinear(1)], ids=str)
def test_the_global_random_state_is_left_alone(kind, random_state, module, veterans):
    X, y = veterans

    def state():
        name, keys, *rest = np.random.get_state()  # noqa: NPY002
        return name, keys.tolist(), *rest, torch.get_rng_state().tolist()

    before = state()
    drops = {"dropout": 0.3} if module is None else {"module": module}
    model = small(kind, random_state=random_state, early_stopping=True, **drops).fit(X, y)
    model.partial_fit(X, y)
    model.predict_survival_function(X)
    model.predict_quantile(X, [0.2, 0.5])
    assert state() == before


@both
def test_the_global_random_state_does_not_matter(kind, veterans):
    X, y = veterans
    models = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        models.append(small(kind, dropout=0.3, early_stopping=True).fit(X, y).predict(X))
    np.testing.assert_array_equal(*models)
