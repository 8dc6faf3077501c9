"""Groups of weights that an optimizer treats differently, and their learning rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from sksurvtorch._validation import check_number
from sksurvtorch.losses import MomentumNetwork
from sksurvtorch.nets.ensemble import Ensemble, OneByOne
from sksurvtorch.nets.modules import SharedShape


class LearningRates:
    """Learning rates of the groups of an optimizer, which keep their ratio to that of the net.

    Parameters
    ----------
    of_groups : sequence of float or None
        Rate of each group when the net has that of its first training; None for the rate of the
        net.
    """

    def __init__(self, of_groups: Sequence[float | None]) -> None:
        self._of_groups = of_groups
        self._first: float | None = None

    def set(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        """Let an optimizer start a training of a net of this rate."""
        if self._first is None:
            self._first = lr
        # Beside a rate of 0 there is no ratio.
        ratio = lr / self._first if self._first else 1.0
        for group, own in zip(optimizer.param_groups, self._of_groups, strict=True):
            group["lr"] = lr if own is None else own * ratio


def groups_of(
    given: Any, network: nn.Module, weights: Iterable[tuple[str, nn.Parameter]]
) -> list[dict[str, Any]]:
    """Return the groups of an optimizer.

    Parameters
    ----------
    given : sequence of pairs
        A pattern of names and the options of the weights that it chooses. It is for the names in
        one network, whatever there is around it: of an ensemble it chooses the weights of all
        members. Where no such name matches, it is for the names in the whole.
    network : torch.nn.Module
        The whole network, with what there is around it.
    weights : iterable of pairs
        The name of a weight in the whole, and the weight.

    Returns
    -------
    list of dict
        What torch takes as groups; the last one has the weights that no pattern has chosen.
    """
    _check(given)
    left = [(_name_in_network(network, name), name, weight) for name, weight in weights]
    names = ", ".join(dict.fromkeys(own for own, _, _ in left))
    made: list[dict[str, Any]] = []
    for pattern, options in given:
        chosen = [own for own, _, _ in left if fnmatchcase(own, pattern)]
        which = 0 if chosen else 1
        matched = [item for item in left if fnmatchcase(item[which], pattern)]
        if not matched:
            raise ValueError(
                "A pattern of `optimizer__param_groups` must match the name of a weight that no "
                f"pattern before it has matched, got {pattern!r}. The weights are {names}."
            )
        left = [item for item in left if not fnmatchcase(item[which], pattern)]
        # In the order of skorch, which a stored state of the optimizer may be in.
        made.append({"params": [weight for _, _, weight in reversed(matched)], **options})
    if left:
        made.append({"params": [weight for _, _, weight in left]})
    return made


def _check(given: Any) -> None:
    """Raise unless these are pairs of a pattern and options."""
    pairs = list(given) if isinstance(given, (list, tuple)) else [None]
    for pair in pairs:
        if (
            not isinstance(pair, (list, tuple))
            or len(pair) != 2
            or not isinstance(pair[0], str)
            or not isinstance(pair[1], Mapping)
        ):
            raise TypeError(
                "`optimizer__param_groups` must be a list of pairs, a pattern of names of weights "
                f"and a dictionary of options, got {given!r}. For example "
                "[('hidden.*', {'lr': 0.001})]."
            )
        lr = pair[1].get("lr")
        if lr is not None:
            check_number(f"lr of {pair[0]!r} in optimizer__param_groups", lr, float, 0.0)


def _name_in_network(module: Any, name: str) -> str:
    """Return the name that a weight has in one network, without what has been put around it."""
    while True:
        head, _, rest = name.partition(".")
        inner = None
        if head == "_orig_mod" or (isinstance(module, SharedShape) and head == "module"):
            inner = getattr(module, head, None)
        elif isinstance(module, MomentumNetwork) and head in ("online", "target"):
            inner = getattr(module, head)
        elif isinstance(module, Ensemble) and head == "members":
            inner = module.members
            if isinstance(inner, OneByOne):
                _, number, rest = rest.split(".", 2)
                inner = inner.each[int(number)]
        if inner is None:
            return name
        module, name = inner, rest
