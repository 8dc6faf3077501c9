"""What the estimators hook into skorch's loop."""

from __future__ import annotations

import copy
import math
import sys
import warnings
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, EarlyStopping, LRScheduler, PrintLog
from skorch.utils import noop
from torch.optim.lr_scheduler import CosineAnnealingLR

from sksurvtorch._warnings import warn
from sksurvtorch.exceptions import NonFiniteLossError, NonFiniteLossWarning


class FiniteLoss(Callback):
    """Stop with the weights of the last good epoch when a loss or a weight is not finite."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Forget the last fit."""
        self.good_state_: tuple[_State, _State] | None = None

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Keep the weights, and the bank of a criterion; or restore the last ones and stop."""
        epoch = net.history[-1]
        losses = [epoch[name] for name in ("train_loss", "valid_loss") if name in epoch]
        state = _State(net.module_), _State(net.criterion_)
        if all(map(math.isfinite, losses)) and state[0].is_finite():
            self.good_state_ = state
            return
        failure = (
            f"The loss or a weight was not finite in epoch {epoch['epoch']}. Scale the features, "
            "lower `lr`, or raise `alpha`."
        )
        if self.good_state_ is None:
            raise NonFiniteLossError(failure)
        for part, good in zip((net.module_, net.criterion_), self.good_state_, strict=True):
            good.restore(part)
        warn(
            f"{failure} Training stopped with the weights of the epoch before.",
            NonFiniteLossWarning,
        )
        raise KeyboardInterrupt  # how a skorch callback ends the training

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Let go of the weights."""
        self.good_state_ = None


class _State:
    """A copy of what `state_dict` has, the parameters in one piece.

    `deepcopy` would take many times as long, and this is done after every epoch.

    Parameters
    ----------
    module : torch.nn.Module
        Network or criterion.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        parameters = dict(module.named_parameters())
        self.flat: torch.Tensor | None = None
        if parameters:
            with torch.no_grad():
                self.flat = torch.cat([weight.reshape(-1) for weight in parameters.values()])
        self.rest = {
            name: value.clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)
            for name, value in module.state_dict().items()
            if name not in parameters
        }

    def is_finite(self) -> bool:
        """Whether all parameters are finite."""
        if self.flat is None:
            return True
        # The sum is finite only if they are, but may overflow; it takes a tenth of the time.
        return math.isfinite(self.flat.sum()) or bool(self.flat.isfinite().all())

    def restore(self, module: torch.nn.Module) -> None:
        """Set the module back to this state."""
        parameters = list(module.parameters())
        if self.flat is not None:
            pieces = self.flat.split([parameter.numel() for parameter in parameters])
            with torch.no_grad():
                for parameter, piece in zip(parameters, pieces, strict=True):
                    parameter.copy_(piece.view_as(parameter))
        module.load_state_dict(module.state_dict() | self.rest)


def printed(text: str) -> None:
    """Print a line by the `print` of the moment."""
    # skorch and pickle take the built-in one for a stranger where a program has replaced it.
    print(text)
    sys.stdout.flush()


class PrintedLog(PrintLog):
    """Log of skorch, which otherwise is laid out even where it is not printed."""

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Print the epoch if the net is verbose, or to a sink of somebody else's."""
        if net.verbose or self.sink not in (printed, print):
            super().on_epoch_end(net, **kwargs)


def early_stopping(patience: int, tol: float, *, silent: bool) -> EarlyStopping:
    """Stop when the validation loss no longer falls, and restore the best weights."""
    sink = noop if silent else printed
    return EarlyStopping(
        patience=patience, threshold=tol, threshold_mode="abs", load_best=True, sink=sink
    )


class Converged(Callback):
    """Stop a full-batch optimizer when an epoch no longer lowers the training loss.

    Parameters
    ----------
    tol : float, default=1e-12
        Least decrease of the loss, relative to the loss where that is above 1.
    """

    def __init__(self, tol: float = 1e-12) -> None:
        self.tol = tol

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Forget the last fit."""
        self.before_ = math.inf
        self.ended_ = False
        self.n_epochs_ = 0

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Compare the loss with that of the epoch before."""
        self.n_epochs_ += 1
        before, self.before_ = self.before_, net.history[-1, "train_loss"]
        if before - self.before_ <= self.tol * max(1.0, abs(self.before_)):
            self.ended_ = True
            raise KeyboardInterrupt


class TrainingBar(Callback):
    """One bar over all epochs with the losses and the time left; plain lines where none can be.

    A file, or Jupyter without ipywidgets, gets a line for about each tenth of the epochs.
    """

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Draw the bar."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "IProgress not found")
            from tqdm.auto import tqdm

            self.bar_ = tqdm(total=net.max_epochs, unit="epoch", disable=None)
        self.n_seen_ = 0

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Move the bar, or print a line."""
        self.n_seen_ += 1
        epoch = net.history[-1]
        names = [name for name in ("train_loss", "valid_loss") if name in epoch]
        losses = {name: f"{epoch[name]:.4f}" for name in names}
        if not self.bar_.disable:
            self.bar_.set_postfix(losses, refresh=False)
            self.bar_.update()
        elif self.n_seen_ % max(1, net.max_epochs // 10) == 0 or self.n_seen_ == net.max_epochs:
            said = ", ".join(f"{name} {loss}" for name, loss in losses.items())
            printed(f"epoch {self.n_seen_} of {net.max_epochs}: {said}")

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar_.close()
        del self.bar_


class CosineDecay(LRScheduler):
    """Let the learning rate fall to 0 along a cosine.

    Parameters
    ----------
    T_max : int
        Number of optimizer steps until then.
    """

    def __init__(self, T_max: int) -> None:
        super().__init__(CosineAnnealingLR, step_every="batch", T_max=T_max)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return what it was made with; skorch's own would name what it was made of, too."""
        return {"T_max": self.T_max}

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Start at the top; skorch's own would resume where an earlier training ended."""
        self.batch_idx_ = 0
        self.lr_scheduler_: CosineAnnealingLR | None = CosineAnnealingLR(net.optimizer_, self.T_max)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Let go of the optimizer, which a pickle would hold twice."""
        self.lr_scheduler_ = None


class LossTerms(Callback):
    """Record each term of the loss as a column of the history, such as ``train_hot``.

    The criterion has a dictionary ``last_terms``, as those of `sksurvtorch.losses` for dense
    predictions have. The columns are means over the batches of an epoch, weighted by their size, as
    ``train_loss`` and ``valid_loss`` are, and add up to them.

    Examples
    --------
    >>> import numpy as np
    >>> from skorch import NeuralNet
    >>> from sksurvtorch.losses import HotDistanceLoss
    >>> from sksurvtorch.nets import LossTerms
    >>> from torch import nn
    >>> images = np.zeros((10, 1, 4, 4), dtype=np.float32)
    >>> net = NeuralNet(
    ...     nn.Conv2d,
    ...     module__in_channels=1,
    ...     module__out_channels=2,
    ...     module__kernel_size=1,
    ...     criterion=HotDistanceLoss,
    ...     callbacks=[LossTerms()],
    ...     max_epochs=1,
    ...     verbose=0,
    ... )
    >>> history = net.fit(images, np.zeros((10, 2, 4, 4), dtype=np.float32)).history
    >>> [name for name in history[-1] if name.endswith(("hot", "distance"))]
    ['train_hot', 'train_distance', 'valid_hot', 'valid_distance']
    """

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Raise unless the criterion names its terms."""
        if not hasattr(net.criterion_, "last_terms"):
            raise TypeError(
                "The criterion of `LossTerms` must have a dictionary `last_terms`, got "
                f"{type(net.criterion_).__name__}. Subclass sksurvtorch.losses.Loss."
            )

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Forget the last epoch."""
        self.batches_: dict[str, list[tuple[int, torch.Tensor]]] = {}

    def on_batch_end(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Keep the terms of a batch on their device."""
        prefix = "train" if training else "valid"
        size = net.history[-1, "batches", -1, f"{prefix}_batch_size"]
        for name, term in net.criterion_.last_terms.items():
            self.batches_.setdefault(f"{prefix}_{name}", []).append((size, term))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Record the means."""
        for name, batches in self.batches_.items():
            sizes, terms = zip(*batches, strict=True)
            mean = np.average(torch.stack(terms).tolist(), weights=sizes)
            net.history.record(name, float(mean))
        del self.batches_


def is_schedule(kind: type) -> bool:
    """Whether callbacks of this class set the learning rate."""
    return issubclass(kind, LRScheduler)
