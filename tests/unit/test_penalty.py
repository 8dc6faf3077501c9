"""What a penalty of strength `alpha` counts."""

import math

import pytest
import torch
from torch import nn

from sksurvtorch.nets import MLP, SharedShape
from sksurvtorch.nets.penalty import SquaredWeights


def with_weights(network, *values):
    """Give each matrix of weights one value, and each bias another."""
    matrices = [weight for weight in network.parameters() if weight.ndim == 2]
    for weight, value in zip(matrices, values, strict=True):
        weight.data.fill_(value)
    for bias in (weight for weight in network.parameters() if weight.ndim == 1):
        bias.data.fill_(9.0)
    return network


def with_log_shape(network, shape):
    """Give a network a shape that all samples share."""
    network = SharedShape(network)
    network.log_shape.data.fill_(math.log(shape))
    return network


#: Networks and the sum of their squared weights: by hand.
PENALISED = {
    "linear": (lambda: with_weights(MLP(3, hidden_layer_sizes=()), 2.0), 12),
    "hidden": (lambda: with_weights(MLP(3, hidden_layer_sizes=(4,)), 2.0, 3.0, 1.0), 124),
    "20 inputs": (
        lambda: with_weights(MLP(20, hidden_layer_sizes=(4, 5)), 1.0, 1.0, 1.0, 1.0),
        2 * 20 + 2 * 80 + 20 + 5,
    ),
    "20 inputs, linear": (lambda: with_weights(MLP(20, hidden_layer_sizes=()), 1.0), 20),
    "shape 2, linear": (
        lambda: with_log_shape(with_weights(MLP(3, hidden_layer_sizes=()), 2.0), 2),
        4 * 12,
    ),
    "shape 2, hidden": (
        lambda: with_log_shape(with_weights(MLP(3, hidden_layer_sizes=(4,)), 2.0, 3.0, 1.0), 2),
        4 * 12 + 108 + 4 * 4,
    ),
    "shape 2, of one's own": (
        lambda: with_log_shape(with_weights(nn.Linear(3, 1), 2.0), 2),
        12,
    ),
    # Its bias of 9 is the log shape.
    "shape of each sample": (
        lambda: with_weights(MLP(3, 2, hidden_layer_sizes=(4,), has_log_shape=True), 2.0, 3.0, 1.0),
        math.exp(18) * (12 + 4) + 12 + 4 + 108,
    ),
}


@pytest.mark.parametrize("name", PENALISED)
def test_a_penalty_counts_squares_of_shape_times_log_scale(name):
    make, expected = PENALISED[name]
    assert SquaredWeights(make())().item() == pytest.approx(expected, rel=1e-6)


def test_hidden_layers_that_are_left_out_do_not_count():
    network = with_weights(MLP(20, hidden_layer_sizes=(4,)), 1.0, 1.0, 1.0)
    with network.linear_only():
        assert SquaredWeights(network)().item() == 20


def test_the_shape_counts_in_a_compiled_network_too():
    network = with_log_shape(with_weights(MLP(3, hidden_layer_sizes=()), 2.0), 2)
    expected = SquaredWeights(network)().item()
    network.module = torch.compile(network.module, backend="eager")
    assert SquaredWeights(network)().item() == expected == 48


@pytest.mark.parametrize("options", [{"n_outputs": 1}, {"n_outputs": 2, "bias": False}])
def test_a_log_shape_needs_an_output_and_a_bias(options):
    sentence = "`has_log_shape` must be False unless there are two outputs with a bias, got "
    with pytest.raises(ValueError, match=sentence):
        MLP(3, **options, has_log_shape=True)
