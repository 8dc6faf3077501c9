"""Criteria: modules that bind the options of a loss."""

from sksurvtorch.losses.momentum import Momentum, MomentumLoss, MomentumNetwork
from sksurvtorch.losses.survival import CoxPHLoss, WeibullAFTLoss

__all__ = ["CoxPHLoss", "Momentum", "MomentumLoss", "MomentumNetwork", "WeibullAFTLoss"]
