"""Networks, batches and the training loop: the only place that knows skorch.

skorch is loaded with the first of these that needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sksurvtorch.nets.accelerated import AcceleratedSurvivalNet
    from sksurvtorch.nets.callbacks import LossTerms
    from sksurvtorch.nets.checkpoint import TrainingCheckpoint
    from sksurvtorch.nets.columns import (
        competing_risks_target,
        competing_risks_y,
        interval_censored_y,
        stratum_codes,
        survival_target,
    )
    from sksurvtorch.nets.modules import MLP, SharedShape
    from sksurvtorch.nets.net import SurvivalNet

__all__ = [
    "MLP",
    "AcceleratedSurvivalNet",
    "LossTerms",
    "SharedShape",
    "SurvivalNet",
    "TrainingCheckpoint",
    "competing_risks_target",
    "competing_risks_y",
    "interval_censored_y",
    "stratum_codes",
    "survival_target",
]

_MODULES = {
    "AcceleratedSurvivalNet": "accelerated",
    "MLP": "modules",
    "LossTerms": "callbacks",
    "SharedShape": "modules",
    "SurvivalNet": "net",
    "TrainingCheckpoint": "checkpoint",
    "competing_risks_target": "columns",
    "competing_risks_y": "columns",
    "interval_censored_y": "columns",
    "stratum_codes": "columns",
    "survival_target": "columns",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
