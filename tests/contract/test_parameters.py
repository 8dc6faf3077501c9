"""Parameters of an estimator through clone, repr and the constructor, and with a prefix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import GradientNormClipping

from tests.contract.small_models import VeteransNet, both, predictions, small

FURTHER_PARAMETERS = {
    "module": VeteransNet,
    "module__width": 5,
    "optimizer": torch.optim.SGD,
    "optimizer__momentum": 0.5,
    "optimizer__nesterov": True,
    "iterator_train__shuffle": False,
    "callbacks": [("clip", GradientNormClipping)],
    "callbacks__clip__gradient_clip_value": 0.1,
}


@both
def test_clone_keeps_every_parameter(kind):
    plain = kind().get_params()
    model = kind(**FURTHER_PARAMETERS, dropout=0.3, random_state=7)
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    assert copied.get_params() == {**plain, **FURTHER_PARAMETERS, "dropout": 0.3, "random_state": 7}
    assert set(kind().get_params()) == set(plain)
    assert clone(kind().set_params(**FURTHER_PARAMETERS)).get_params() == {
        **plain,
        **FURTHER_PARAMETERS,
    }


@both
def test_a_clone_is_not_fitted_and_fits_the_same(kind, veterans):
    model = small(kind, optimizer__weight_decay=0.1).fit(*veterans)
    copied = clone(model)
    assert not hasattr(copied, "net_")
    copied.fit(*veterans)
    np.testing.assert_array_equal(predictions(copied, veterans[0]), predictions(model, veterans[0]))


@both
@pytest.mark.parametrize(
    "changed",
    [
        {"module__width": 2},
        {"optimizer__momentum": 0.9},
        {"iterator_train__shuffle": False},
        {"callbacks__clip__gradient_clip_value": 0.01},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_each_prefixed_parameter_reaches_its_part(kind, changed, veterans):
    common = {**FURTHER_PARAMETERS, "max_epochs": 2, "batch_size": 50, "random_state": 0, "lr": 0.1}
    del common["iterator_train__shuffle"]  # on by default
    model = kind(**common).fit(*veterans)
    other = kind(**{**common, **changed}).fit(*veterans)
    assert not np.array_equal(model.predict(veterans[0]), other.predict(veterans[0]))


@both
def test_repr_and_parameters_survive_the_constructor(kind):
    model = kind(alpha=3.0, module__width=4)
    assert "alpha=3.0" in repr(model)
    assert model.get_params()["module__width"] == 4
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(hiden_layer_sizes=(3,))
