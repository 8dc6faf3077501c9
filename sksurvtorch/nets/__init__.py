"""Networks, batches and the training loop: the only place that knows skorch."""

from sksurvtorch.nets.modules import MLP, SharedShape
from sksurvtorch.nets.net import SurvivalNet, survival_target

__all__ = ["MLP", "SharedShape", "SurvivalNet", "survival_target"]
