"""Groups of weights that an optimizer treats differently, and their learning rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Self

import torch
from torch import nn

from sksurvtorch.losses import MomentumNetwork
from sksurvtorch.nets.ensemble import Ensemble, OneByOne
from sksurvtorch.nets.modules import SharedShape


class LearningRates:
    """Learning rates of the groups of an optimizer, beside its own rate.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        An optimizer that has not been trained with: its groups have the rates that were asked for.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._rate = _number(optimizer.defaults.get("lr"))
        self._of_groups = [_number(group.get("lr")) for group in optimizer.param_groups]

    @classmethod
    def all_alike(cls, optimizer: torch.optim.Optimizer) -> Self:
        """Return those of an optimizer whose groups have no rates of their own."""
        made = cls(optimizer)
        made._of_groups = [made._rate] * len(optimizer.param_groups)
        return made

    def set(self, optimizer: torch.optim.Optimizer, lr: float) -> None:
        """Let the optimizer have this rate, and each group its own in the ratio to it."""
        for group, own in zip(optimizer.param_groups, self._of_groups, strict=True):
            if own is None or own == self._rate:
                group["lr"] = lr
            else:  # beside a rate of 0 there is no ratio
                group["lr"] = own * (lr / self._rate) if self._rate else own


def groups_of(
    given: Any, network: nn.Module, weights: Iterable[tuple[str, nn.Parameter]]
) -> list[dict[str, Any]]:
    """Return the groups of an optimizer, given pairs of a pattern of names and options.

    A pattern is for the names of the weights in one network, whatever there is around it: of an
    ensemble it chooses the weights of all members. Where no such name matches, it is for the names
    in the whole.
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


def _number(lr: Any) -> float | None:
    """Return a learning rate, which may be a tensor, as a number."""
    return None if lr is None else float(lr)
