"""Every sentence that refuses a module, or that tells how it was called, word for word."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from tests.unit.refusals import X, Y, both, refuses


@both
def test_what_a_module_was_called_with_is_said(kind):
    with pytest.raises(TypeError) as error:
        kind(module=torch.nn.Linear).fit(X, Y)
    assert error.value.__notes__ == ["`module` was called with no options: give module__name=..."]
    refuses(
        lambda: kind(module=torch.nn.Linear(7, 1)).fit(X, Y),
        ValueError,
        f"`module` must take X of shape (2, {X.shape[1]}) and torch.float32, got RuntimeError: "
        f"mat1 and mat2 shapes cannot be multiplied (2x{X.shape[1]} and 7x1)",
    )


@both
def test_parameters_of_a_module_without_one(kind):
    refuses(
        lambda: kind(module__width=3).fit(X, Y),
        ValueError,
        "`module` must be given for module__width to have a meaning, got None. The built-in "
        "network takes hidden_layer_sizes, activation, dropout and norm.",
    )


@both
@pytest.mark.parametrize("module", [3, "Linear"])
def test_a_module_that_is_none(kind, module):
    refuses(
        lambda: kind(module=module).fit(X, Y),
        TypeError,
        "`module` must be a torch.nn.Module, or a class or function that makes one, got "
        f"{module!r}.",
    )


def make_an_integer():
    return 3


@both
def test_a_function_that_makes_no_module(kind):
    sentence = "`module` must make a torch.nn.Module, got int."
    refuses(lambda: kind(module=make_an_integer).fit(X, Y), TypeError, sentence)


@pytest.mark.parametrize(
    ("kind", "parameters", "width"),
    [
        (CoxNNRegressor, {}, 1),
        (WeibullAFTRegressor, {}, 1),
        (WeibullAFTRegressor, {"shape": "per_sample"}, 2),
    ],
)
@pytest.mark.parametrize(("module", "got"), [(nn.Linear(3, 3), "(2, 3)"), (nn.LSTM(3, 2), "tuple")])
def test_a_module_with_an_output_of_the_wrong_shape(kind, parameters, width, module, got):
    refuses(
        lambda: kind(module=module, **parameters).fit(X, Y),
        ValueError,
        f"`module` must return a tensor of shape (n_samples, {width}), got {got} for an input of "
        "shape (2, 3).",
    )
