"""Training in several processes: who takes part, and what they agree on."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sksurvtorch import _validation as validation
from sksurvtorch._processes import Group, leave, world
from sksurvtorch.estimators._settings import Settings, layer_sizes

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator

#: How long a process waits for the others, unless the accelerator is the user's own.
TIMEOUT = timedelta(minutes=10)
_SIMPLE = (bool, int, float, str, tuple, type(None))


def resolve(estimator: SurvivalNetEstimator) -> Any:
    """Return the accelerator of a fit, or None."""
    given = estimator.accelerator
    if given is None:
        return None
    if isinstance(given, str):
        validation.check_option("accelerator", given, ("auto",))
        given = _made(estimator)
    elif not (hasattr(given, "prepare") and hasattr(given, "num_processes")):
        raise TypeError(
            "`accelerator` must be None, 'auto' or an accelerate.Accelerator, got "
            f"{validation.describe(given)}."
        )
    size = world().size
    if size != given.num_processes:
        raise ValueError(
            f"`accelerator` must know all {size} processes, got one of "
            f"{given.num_processes}. On a CPU make it as accelerate.Accelerator(cpu=True)."
        )
    return given


def _made(estimator: SurvivalNetEstimator) -> Any:
    """Return an accelerator as the launcher of this process has it."""
    try:
        from accelerate import Accelerator
        from accelerate.utils import InitProcessGroupKwargs
    except ImportError as error:
        raise ImportError(
            "`accelerator` needs the package accelerate. Install it by pip install accelerate."
        ) from error
    device = validation.resolve_device(estimator.device)
    if device.index is not None:
        raise ValueError(
            f"`device` must have no number where an accelerator gives each process its own, got "
            f"{str(device)!r}. Set it to {device.type!r}."
        )
    patience = InitProcessGroupKwargs(timeout=TIMEOUT)
    made = Accelerator(cpu=device.type == "cpu", kwargs_handlers=[patience])
    _leave_at_exit()
    return made


@cache
def _leave_at_exit() -> None:
    """Let this process leave the others before it ends: torch may abort it otherwise."""
    atexit.register(leave)


def check_alike(
    estimator: SurvivalNetEstimator, columns: Mapping[str, Tensor], settings: Settings
) -> None:
    """Raise unless the calls in all processes are alike, as far as they can be compared."""
    known = estimator.get_params(deep=False)
    ours: dict[str, Any] = {
        k: v for k, v in known.items() if isinstance(v, _SIMPLE) and k != "random_state"
    }
    ours["hidden_layer_sizes"] = layer_sizes(estimator)
    # What fit is given, and whether it trains a network on that there is.
    ours |= {"columns of y": sorted(columns), "net_": "trained" if settings.resume else "new"}
    names = getattr(estimator, "feature_names_in_", None)
    ours["feature_names_in_"] = None if names is None else names.tolist()
    shape = getattr(estimator, "input_shape_", None)
    ours["inputs of X"] = list(shape.items()) if isinstance(shape, dict) else None
    _compare(ours, settings.group)


def check_network(module: nn.Module, group: Group) -> None:
    """Raise unless the weights of a network have the same shapes in all processes."""
    parts = *module.named_parameters(), *module.named_buffers()
    _compare({f"module.{name}.shape": tuple(part.shape) for name, part in parts}, group)


def merge_labels(labels: np.ndarray, codes: Tensor, group: Group) -> tuple[np.ndarray, Tensor]:
    """Return the labels of the strata of all processes, and the codes of the rows held here."""
    given = group.exchange(labels)
    kinds = sorted({theirs.dtype.kind for theirs in given})
    if len(kinds) > 1:  # numpy would make strings of numbers
        raise ValueError(
            f"`stratum` must be of one kind in all processes, got the dtypes {', '.join(kinds)}."
        )
    merged = np.unique(np.concatenate(given))
    return merged, torch.from_numpy(np.searchsorted(merged, labels))[codes]


def synchronised(module: nn.Module, device: torch.device) -> nn.Module:
    """Return a network whose batch normalisation spans all processes."""
    if not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()):
        return module
    if device.type != "cuda":
        raise ValueError(
            "Batch normalisation over several processes must be on GPUs, where torch has it, got "
            f"the device {str(device)!r}. Use norm='layer'."
        )
    made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    return made


def _compare(ours: dict[str, Any], group: Group) -> None:
    """Raise unless all processes say the same by each name."""
    said = group.exchange(ours)
    for number, theirs in enumerate(said[1:], 1):
        for name in said[0] | theirs:
            first, other = said[0].get(name), theirs.get(name)
            if first != other and not (first != first and other != other):  # both NaN
                raise ValueError(
                    f"`{name}` must be the same in all processes, got {first!r} in process 0 and "
                    f"{other!r} in process {number}."
                )
