"""Networks, batches and the training loop: the only place that knows skorch."""

from sksurvtorch.nets.callbacks import LossTerms
from sksurvtorch.nets.modules import MLP, SharedShape
from sksurvtorch.nets.net import SurvivalNet, stratum_codes, survival_target

__all__ = ["MLP", "LossTerms", "SharedShape", "SurvivalNet", "stratum_codes", "survival_target"]
