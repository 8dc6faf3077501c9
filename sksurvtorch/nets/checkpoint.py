"""A training that resumes where it was cut off."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from skorch.callbacks import Callback
from torch import Tensor

from sksurvtorch import _validation as validation
from sksurvtorch._files import as_path, is_there, replaced
from sksurvtorch.exceptions import ModelFileError
from sksurvtorch.nets.fingerprint import fingerprint

if TYPE_CHECKING:
    from sksurvtorch.nets.net import SurvivalNet

FORMAT = "sksurvtorch training 2"
_DIGITS = 16  # of a digest, which says nothing to a reader
_PLAIN = (bool, int, float, str, type(None), Tensor)
#: The parts of a file, and the type of each.
_PARTS: dict[str, type | tuple[type, ...]] = {
    "format": str,
    "kind": dict,
    "weights": dict,
    "criterion": dict,
    "optimizer": dict,
    "history": list,
    "callbacks": dict,
    "generator": (dict, type(None)),
    "streams": list,
}


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
    ModelFileError
        In `fit`, if the file is cut short, altered, or none of this class.
    OSError
        In `fit`, if the file cannot be written, as on a full disk. The file of before is kept.

    Notes
    -----
    The file has the weights, the state of the optimizer, of the memory bank, of the learning rate,
    of early stopping and of the random numbers; of your own callbacks those attributes that end in
    an underscore and are numbers, strings or tensors. With momentum the bank has targets of the
    training data, and they are in the file.

    A fit resumes only with the parameters that shaped its training; those that do not may change:
    `device`, `verbose`, `compile`, callbacks of your own, and `max_epochs` unless the learning rate
    falls along a cosine of that length. ``random_state=None`` takes the seed that is in the file;
    an instance of RandomState draws another one in each fit, and so cannot resume. Nobody knows the
    seed of a `SurvivalNet` of your own, or what a callback of your own does: they are not compared.

    Data are known again by digests of X, event, time, entry, strata and weights. For that, rows in
    memory or in a memory map are read once. Of a torch dataset 256 rows are read twice; if they
    differ, as augmented images do, X is not compared.

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
        self._kind = fingerprint(net, X)
        self._before = len(net.history)
        self._callbacks: dict[str, Any] | None = None
        state = self._read(net)
        if state is None:
            return
        try:
            _restore(net, state)
            self._callbacks = state["callbacks"]
            _restore_callbacks(net, self._callbacks)
        except Exception as error:
            raise _broken(self.path, f"it does not fit this training ({error})") from error
        net.skip_epochs(len(state["history"]))

    def on_epoch_begin(self, net: SurvivalNet, **kwargs: Any) -> None:
        """Set callbacks back that have begun after this one."""
        if self._callbacks is not None:
            _restore_callbacks(net, self._callbacks)
            self._callbacks = None

    def on_epoch_end(self, net: SurvivalNet, **kwargs: Any) -> None:
        """Write the file."""
        n_epochs = len(net.history) - self._before
        if n_epochs % self.every and n_epochs < net.max_epochs:
            return
        streams = None if net.random_stream is None else net.random_stream.get_states()
        order = _generator(net)
        state = {
            "format": FORMAT,
            "kind": self._kind,
            "weights": net._network.state_dict(),
            "criterion": net.criterion_.state_dict(),
            "optimizer": net.optimizer_.state_dict(),
            "history": [_plain(epoch) for epoch in net.history[self._before :]],
            "callbacks": {name: _state_of(callback) for name, callback in net.callbacks_},
            "generator": None if order is None else order.bit_generator.state,
            "streams": net.group.exchange(streams),
        }
        with net.group.all_or_none():
            if net.group.rank == 0:
                with replaced(self.path) as file:
                    torch.save(state, file)

    def _read(self, net: SurvivalNet) -> dict[str, Any] | None:
        """Return what the file of the first process has, or None without one."""
        state: dict[str, Any] | None = None
        with net.group.all_or_none():
            if net.group.rank == 0 and is_there(self.path):
                state = _load(self.path)
                self._check(state, net.max_epochs)
        state = net.group.exchange(state)[0]
        return state

    def _check(self, state: dict[str, Any], max_epochs: int) -> None:
        """Raise unless a file is of this training, and not of more epochs."""
        theirs, ours = state["kind"], self._kind
        names = [*ours, *(theirs.keys() - ours.keys())]
        differ = [name for name in names if theirs.get(name) != ours.get(name)]
        if differ:
            what = ", ".join(_difference(name, theirs.get(name), ours.get(name)) for name in differ)
            raise ValueError(
                f"`path` must be of this training, got {str(self.path)!r} of one that differs in "
                f"{what}. Remove the file to train from the start, give another path, or use what "
                "was used before."
            )
        n_epochs = len(state["history"])
        if n_epochs > max_epochs:
            raise ValueError(
                f"`max_epochs` must be at least {n_epochs}, the number of epochs that the training "
                f"in {str(self.path)!r} has had, got {max_epochs}. Remove the file to train from "
                "the start."
            )


def stored_seed(path: Any) -> int | None:
    """Return the seed of the training in a file, or None without such a file."""
    try:
        return int(_load(path)["kind"]["random_state"]) if is_there(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the training begins with the same file, and says what is wrong with it


def _load(path: Any) -> dict[str, Any]:
    """Return what a file holds if it is whole and one of `TrainingCheckpoint`."""
    with open(as_path(path), "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                # A compressed part could be far larger than the file.
                stored = {part.compress_type for part in archive.infolist()} == {zipfile.ZIP_STORED}
                whole = stored and archive.testzip() is None  # torch compares no checksum
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True) if whole else None
        except Exception as error:
            raise _broken(path, f"it cannot be read ({type(error).__name__})") from error
    if state is None:
        raise _broken(path, "its content does not have the checksum it was written with")
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        old = isinstance(state, dict) and "kind" in state and "format" not in state
        raise _broken(path, "it is of version 0.1.0" if old else "it is of another program")
    wrong = [name for name, kind in _PARTS.items() if not isinstance(state.get(name), kind)]
    if wrong or not all(isinstance(epoch, dict) for epoch in state["history"]):
        raise _broken(path, f"its parts {', '.join(wrong) or 'history'} are not of the right kind")
    return state


def _broken(path: Any, reason: str) -> ModelFileError:
    return ModelFileError(
        f"`path` must name a whole file of `TrainingCheckpoint`, got {str(path)!r}: {reason}. "
        "Remove it to train from the start, or give another path."
    )


def _difference(name: str, before: Any, now: Any) -> str:
    """Return what differs: the values too, if they can be read."""
    values = f"{before} before, {now} now"
    hidden = before is None or now is None or name == "random_state" or len(values) > 80
    return name if hidden or len({len(before), len(now), _DIGITS}) == 1 else f"{name} ({values})"


def _restore(net: SurvivalNet, state: Mapping[str, Any]) -> None:
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


def _restore_callbacks(net: SurvivalNet, states: Mapping[str, Any]) -> None:
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
