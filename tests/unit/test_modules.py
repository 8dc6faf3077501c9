"""The linear model on inputs as they are, against standardised ones."""

import pytest
import torch

from sksurvtorch.nets import MLP
from tests.cohorts import assert_close

N_ROWS = 2_500  # more than a piece


def linear(mean, *, bias=True, dtype=torch.float64):
    """A linear model and inputs with this mean."""
    generator = torch.Generator().manual_seed(0)
    X = mean + torch.randn(N_ROWS, 3, dtype=torch.float64, generator=generator)
    mlp = MLP(3, 2, hidden_layer_sizes=(), bias=bias)
    mlp.standardise(X.mean(0), X.std(0))
    mlp.linear.weight.data.normal_(generator=generator)
    return mlp.to(dtype), X


def standardised(mlp, X):
    """The definition."""
    return mlp.linear((X - mlp.center) / mlp.spread)


def value_and_gradients(function, mlp, X):
    """Output, and the gradient of a weighted sum of it with respect to each parameter."""
    output = function(X)
    weight = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return output, *torch.autograd.grad((weight * output).sum(), list(mlp.parameters()))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_the_product_with_raw_inputs_is_that_with_standardised_ones(mean, bias):
    mlp, X = linear(mean, bias=bias)
    results = zip(
        value_and_gradients(mlp, mlp, X),
        value_and_gradients(lambda X: standardised(mlp, X), mlp, X),
        strict=True,
    )
    for one, other in results:
        assert_close(one, other, 1e-11)  # the mean is a hundred standard deviations away


@pytest.mark.parametrize("bias", [True, False])
def test_a_float64_model_widens_float32_inputs(bias):
    mlp, X = linear(1.0, bias=bias)
    X = X.float()
    results = zip(
        value_and_gradients(mlp, mlp, X),
        value_and_gradients(lambda X: standardised(mlp, X.double()), mlp, X),
        strict=True,
    )
    for one, other in results:
        assert one.dtype == torch.float64
        assert_close(one, other)


def test_inputs_far_from_zero_are_centred_first_in_float32():
    mlp, X = linear(3e4, dtype=torch.float32)
    X = X.float()
    exact = standardised(mlp.double(), X.double())
    error = (mlp.float()(X) - exact).abs().max()
    products = (torch.nn.functional.linear(X, *mlp.coefficients()) - exact).abs().max()
    assert error < 1e-5 < products


def test_an_input_that_was_constant_has_no_effect():
    mlp = MLP(2, 1, hidden_layer_sizes=(), bias=False)
    mlp.standardise(torch.tensor([5.0, 0.0]), torch.tensor([0.0, 2.0]))
    mlp.linear.weight.data.fill_(1.0)
    torch.testing.assert_close(mlp(torch.tensor([[9.0, 4.0]])), torch.tensor([[2.0]]))


def test_float32_inputs_of_a_float64_model_get_their_gradient():
    mlp, X = linear(1.0)
    X = X.float().requires_grad_()
    weight = torch.linspace(-1, 1, 2 * len(X), dtype=torch.float64).view(-1, 2)
    (gradient,) = torch.autograd.grad((weight * mlp(X)).sum(), X)
    wide = X.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad((weight * standardised(mlp, wide)).sum(), wide)
    assert gradient.dtype == torch.float32
    assert_close(gradient, expected, 1e-6)


def test_inputs_wider_than_the_model_are_not_narrowed_unsaid():
    mlp, X = linear(0.0, dtype=torch.float32)
    with pytest.raises(RuntimeError, match="dtype"):
        mlp(X)


def test_a_loaded_model_centres_as_the_saved_one():
    far, X = linear(1e6, dtype=torch.float32)
    near, _ = linear(0.0, dtype=torch.float32)
    near.load_state_dict(far.state_dict())
    assert torch.equal(near(X.float()), far(X.float()))
