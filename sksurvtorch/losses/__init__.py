"""Criteria: modules that bind the options of a loss."""

from sksurvtorch.losses.momentum import Momentum
from sksurvtorch.losses.momentum_loss import MomentumLoss
from sksurvtorch.losses.momentum_network import MomentumNetwork
from sksurvtorch.losses.survival import CoxPHLoss, WeibullAFTLoss

__all__ = ["CoxPHLoss", "Momentum", "MomentumLoss", "MomentumNetwork", "WeibullAFTLoss"]
