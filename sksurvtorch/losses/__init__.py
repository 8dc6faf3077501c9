"""Criteria: modules that bind the options of a loss."""

from sksurvtorch.losses.aft import AFTLoss
from sksurvtorch.losses.competing_risks import CompetingRisksLoss
from sksurvtorch.losses.dense import Loss
from sksurvtorch.losses.gathered import GatheredLoss
from sksurvtorch.losses.momentum import Momentum
from sksurvtorch.losses.momentum_loss import MomentumLoss
from sksurvtorch.losses.momentum_network import MomentumNetwork
from sksurvtorch.losses.segmentation import (
    AffinitiesLoss,
    DummyLoss,
    HotDistanceLoss,
    MSELoss,
)
from sksurvtorch.losses.survival import CoxPHLoss, WeibullAFTLoss

__all__ = [
    "AFTLoss",
    "AffinitiesLoss",
    "CompetingRisksLoss",
    "CoxPHLoss",
    "DummyLoss",
    "GatheredLoss",
    "HotDistanceLoss",
    "Loss",
    "MSELoss",
    "Momentum",
    "MomentumLoss",
    "MomentumNetwork",
    "WeibullAFTLoss",
]
