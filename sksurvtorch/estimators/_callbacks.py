"""The callbacks of a training."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from sksurvtorch.estimators._settings import Settings

if TYPE_CHECKING:
    from sksurvtorch.estimators._base import SurvivalNetEstimator

#: Callbacks that each net has.
_ALWAYS = ("epoch_timer", "train_loss", "valid_loss", "finite_loss", "print_log")


def make_callbacks(estimator: SurvivalNetEstimator, settings: Settings, n_rows: int) -> list[Any]:
    """Return the callbacks of a training with so many rows."""
    from sksurvtorch.nets import callbacks

    made: list[Any] = []
    is_first = settings.accelerator is None or settings.accelerator.is_main_process
    if settings.is_lbfgs:
        made.append(("converged", callbacks.Converged()))
    elif estimator.lr_schedule == "cosine" and not settings.partial:  # which has no last step
        n_steps = settings.n_epochs * settings.n_batches(n_rows)
        made.append(("lr_schedule", callbacks.CosineDecay(n_steps)))
    if estimator.early_stopping:
        stopping = callbacks.early_stopping(
            estimator.n_iter_no_change, estimator.tol, silent=not is_first
        )
        made.append(("early_stopping", stopping))
    if estimator.verbose == 1 and is_first:
        made.append(("progress_bar", callbacks.TrainingBar()))
    given = estimator.callbacks or []
    # A callback keeps what it has seen, so the fit works on copies.
    made += copy.deepcopy(list(given.items() if isinstance(given, dict) else given))
    _check_named(estimator._prefixed("callbacks__"), made)
    return made


def _check_named(options: dict[str, Any], callbacks: list[Any]) -> None:
    """Raise unless each option names one of the callbacks."""
    names = [item[0] if isinstance(item, tuple) else type(item).__name__ for item in callbacks]
    for option in options:
        if option.partition("__")[0] not in (*names, *_ALWAYS):
            raise ValueError(
                f"`callbacks__{option}` must name a callback of this fit, one of "
                f"{', '.join(sorted((*names, *_ALWAYS)))}."
            )
