"""Criteria: modules that bind the options of a loss."""

from sksurvtorch.losses.survival import CoxPHLoss, WeibullAFTLoss

__all__ = ["CoxPHLoss", "WeibullAFTLoss"]
