"""Whether all weights of a network are finite, which is asked after every epoch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sksurvtorch.nets.callbacks import _State


@pytest.mark.parametrize(
    ("weights", "is_finite"),
    [
        ([1.0, -2.0], True),
        ([3e38, 3e38], True),  # whose sum is beyond float32
        ([1.0, math.nan], False),
        ([1.0, -math.inf], False),
        ([math.inf, -math.inf], False),
    ],
)
def test_weights_are_finite(weights, is_finite):
    network = nn.Sequential(nn.Linear(1, 1), nn.Linear(2, 1, bias=False))
    network[1].weight.data = torch.tensor([weights])
    assert _State(network).is_finite() is is_finite


def test_no_weights_are_finite():
    assert _State(nn.ReLU()).is_finite() is True
