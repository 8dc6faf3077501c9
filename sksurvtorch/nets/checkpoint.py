"""A training that resumes where it was cut off."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from skorch.callbacks import Callback
from torch import Tensor

from sksurvtorch import _validation as validation
from sksurvtorch._files import as_path, is_there, replaced
from sksurvtorch.nets.dataset import SurvivalDataset

if TYPE_CHECKING:
    from sksurvtorch.nets.net import SurvivalNet

_PLAIN = (bool, int, float, str, type(None), Tensor)


class TrainingCheckpoint(Callback):
    """Write all of a training to a file after its epochs, and resume from there.

    Where a fit was cut off, call it again with the same parameters and the same data: it ends with
    the weights that it would have had, to the bit if nothing else differs. A fit that had ended
    reads its result. In several processes the first one writes and reads for all of them.

    Parameters
    ----------
    path : str or path
        File to write; its folder has to exist. It is replaced as a whole or not at all. Remove it
        to train from the start.
    every : int, default=1
        Number of epochs from one writing to the next. A `SurvivalNet` of your own resumes to the
        bit if it has an ``iterator_train__generator``.

    Raises
    ------
    ValueError
        In `fit`, if the file is of a training with other parameters, another network or other data.

    Notes
    -----
    The file has the weights, the state of the optimizer, of the memory bank, of the learning rate,
    of early stopping and of the random numbers; of your own callbacks those attributes that end in
    an underscore and are numbers, strings or tensors. Data are known again by their targets and by
    the first rows of X. With momentum the bank has targets of the training data, and they are in
    the file.

    Examples
    --------
    >>> import os, tempfile
    >>> from sksurv.datasets import load_veterans_lung_cancer
    >>> from sksurvtorch import CoxNNRegressor
    >>> from sksurvtorch.nets import TrainingCheckpoint
    >>> X, y = load_veterans_lung_cancer()
    >>> X = X[["Age_in_years", "Karnofsky_score"]]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = TrainingCheckpoint(os.path.join(folder, "fit.pt"))
    ...     model = CoxNNRegressor(max_epochs=3, random_state=0, callbacks=[checkpoint])
    ...     first = model.fit(X, y).predict(X)
    ...     again = model.fit(X, y).predict(X)  # nothing is left to train
    >>> bool((first == again).all())
    True
    """

    def __init__(self, path: Any, *, every: int = 1) -> None:
        self.path = path
        self.every = every

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Read the file if there is one, and leave only the epochs that are missing."""
        validation.check_number("every", self.every, int, 1)
        if not hasattr(net, "random_stream"):
            raise TypeError(
                f"The net of `TrainingCheckpoint` must be a SurvivalNet, got {type(net).__name__}. "
                "Use skorch.callbacks.Checkpoint and LoadInitState."
            )
        self._kind = _fingerprint(net, X)
        self._before = len(net.history)
        self._callbacks: dict[str, Any] | None = None
        state = self._read(net)
        if state is None:
            return
        _restore(net, state)
        self._callbacks = state["callbacks"]
        _restore_callbacks(net, self._callbacks)
        net.skip_epochs(len(state["history"]))

    def on_epoch_begin(self, net: SurvivalNet, **kwargs: Any) -> None:
        """Set callbacks back that have begun after this one."""
        if self._callbacks is not None:
            _restore_callbacks(net, self._callbacks)
            self._callbacks = None

    def on_epoch_end(self, net: SurvivalNet, **kwargs: Any) -> None:
        """Write the file."""
        n_epochs = len(net.history) - self._before
        if n_epochs % self.every and n_epochs < self._kind["max_epochs"]:
            return
        streams = None if net.random_stream is None else net.random_stream.get_states()
        order = _generator(net)
        state = {
            "kind": self._kind,
            "weights": net._network.state_dict(),
            "criterion": net.criterion_.state_dict(),
            "optimizer": net.optimizer_.state_dict(),
            "history": [_plain(epoch) for epoch in net.history[self._before :]],
            "callbacks": {name: _state_of(callback) for name, callback in net.callbacks_},
            "generator": None if order is None else order.bit_generator.state,
            "streams": net.group.exchange(streams),
        }
        if net.group.rank == 0:
            self._write(state)

    def _write(self, state: dict[str, Any]) -> None:
        with replaced(self.path) as file:
            torch.save(state, file)

    def _read(self, net: SurvivalNet) -> dict[str, Any] | None:
        """Return what the file of the first process has, or None without one."""
        state: dict[str, Any] | None = None
        with net.group.all_or_none():
            if net.group.rank == 0 and is_there(self.path):
                state = torch.load(as_path(self.path), map_location="cpu", weights_only=True)
                self._check(state["kind"])
        state = net.group.exchange(state)[0]
        return state

    def _check(self, kind: dict[str, Any]) -> None:
        for name, ours in self._kind.items():
            if kind.get(name) != ours:
                raise ValueError(
                    f"`path` must be of this training, got {str(self.path)!r} of one whose {name} "
                    f"was {kind.get(name)!r} rather than {ours!r}. Remove the file, or give "
                    "another path."
                )


def _fingerprint(net: SurvivalNet, X: Any) -> dict[str, Any]:
    """Return what tells this training from others."""
    kind: dict[str, Any] = {}
    if isinstance(X, SurvivalDataset) and X.y is not None:
        kind["number of rows"] = len(X)
        kind["digest of the targets"] = _digest(*(column for _, column in sorted(X.y.items())))
        kind["digest of the first rows"] = _digest(X.rows.head().contiguous())
    weights = {name: tuple(x.shape) for name, x in net._network.named_parameters()}
    return kind | {
        "network": str(weights),
        "optimizer": type(getattr(net.optimizer_, "optimizer", net.optimizer_)).__name__,
        "lr": [group["lr"] for group in net.optimizer_.param_groups],
        "criterion": repr(net.criterion_),
        "l2": net.l2,
        "max_epochs": net.max_epochs,
        "batch_size": net.batch_size,
        "epochs before": len(net.history),
    }


def _digest(*tensors: Tensor) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        digest.update(tensor.cpu().numpy().data)
    return digest.hexdigest()


def _restore(net: SurvivalNet, state: dict[str, Any]) -> None:
    """Set the parts of a net back."""
    net._network.load_state_dict(state["weights"])
    net.criterion_.load_state_dict(state["criterion"])
    net.optimizer_.load_state_dict(state["optimizer"])
    net.history.extend({"batches": [], **epoch} for epoch in state["history"])
    if state["generator"] is not None:
        _generator(net).bit_generator.state = state["generator"]
    streams = state["streams"]
    if net.random_stream is not None and len(streams) == net.group.size:
        net.random_stream.set_states(streams[net.group.rank])


def _generator(net: SurvivalNet) -> Any:
    """Return the source of the random order of the rows."""
    return vars(net).get("iterator_train__generator")


def _state_of(callback: Any) -> dict[str, Any]:
    """Return what a callback has learned."""
    state = _plain({k: v for k, v in vars(callback).items() if k.endswith("_")})
    scheduler = getattr(callback, "lr_scheduler_", None)
    return state if scheduler is None else state | {"lr_scheduler_": scheduler.state_dict()}


def _restore_callbacks(net: SurvivalNet, states: dict[str, Any]) -> None:
    """Set the callbacks back."""
    for name, callback in net.callbacks_:
        for attribute, value in states.get(name, {}).items():
            if attribute == "lr_scheduler_":
                callback.lr_scheduler_.load_state_dict(value)
            else:
                setattr(callback, attribute, value)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return what a file without code can hold."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        value = value.item() if type(value).__module__ == "numpy" and value.ndim == 0 else value
        if isinstance(value, dict) and name != "batches":
            kept[name] = _plain(value)
        elif isinstance(value, _PLAIN):
            kept[name] = value
    return kept
