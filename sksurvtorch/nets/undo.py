"""The state of a net, to which a training that fails returns."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sksurvtorch.nets.net import SurvivalNet

# What a training sets.
_SET = (
    *("max_epochs", "batch_size", "l2", "mean_information", "callbacks", "callbacks_"),
    *("criterion__bank_size", "train_split"),
)


class NetState:
    """All that a training changes in a net.

    Parameters
    ----------
    net : SurvivalNet
        An initialised net.
    """

    def __init__(self, net: SurvivalNet) -> None:
        self._set = {name: vars(net)[name] for name in _SET if name in vars(net)}
        parts = (net.module_, net.criterion_, net.optimizer_)
        self._states = [copy.deepcopy(part.state_dict()) for part in parts]
        self._bank_size = getattr(getattr(net.criterion_, "bank", None), "size", None)
        self._n_epochs = len(net.history)
        self._order = copy.deepcopy(_order(net))
        self._streams = None if net.random_stream is None else net.random_stream.get_states()

    def restore(self, net: SurvivalNet) -> None:
        """Set a net back to this state."""
        net.__dict__.update(self._set)
        if self._bank_size is not None:
            net.criterion_.bank.resize(self._bank_size)
        parts = (net.module_, net.criterion_, net.optimizer_)
        for part, state in zip(parts, self._states, strict=True):
            part.load_state_dict(state)
        del net.history[self._n_epochs :]
        if self._order is not None:
            vars(net)["iterator_train__generator"].bit_generator.state = self._order
        if net.random_stream is not None and self._streams is not None:
            net.random_stream.set_states(self._streams)


def _order(net: SurvivalNet) -> Any:
    """Return the state of the random order of the rows."""
    generator = vars(net).get("iterator_train__generator")
    return None if generator is None else generator.bit_generator.state
