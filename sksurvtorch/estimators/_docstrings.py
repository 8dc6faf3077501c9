"""Docstrings of estimators that have the parameters and attributes of another one."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TypeVar

#: Sections that an estimator takes over.
_TAKEN = ("Parameters", "Attributes")
T = TypeVar("T", bound=type)
_HEADING = re.compile(r"^(\w[\w ]*)\n-+\n", re.MULTILINE)


def parameters_of(other: type) -> Callable[[T], T]:
    """Return a decorator that gives a class the sections Parameters and Attributes of another.

    Parameters
    ----------
    other : type
        Class with a docstring in the form of numpydoc.

    Returns
    -------
    callable
        Takes a class without these sections, and returns it with them.
    """

    def decorate(cls: T) -> T:
        """Return the class with the sections."""
        if cls.__doc__ is None or other.__doc__ is None:  # python -OO
            return cls
        own, theirs = (_sections(inspect.cleandoc(kind.__doc__ or "")) for kind in (cls, other))
        summary = own.pop("")
        taken = {name: theirs[name] for name in _TAKEN}
        cls.__doc__ = "".join([summary, *taken.values(), *own.values()])
        return cls

    return decorate


def _sections(docstring: str) -> dict[str, str]:
    """Return the text of each section with its heading, by name; what is above all by ""."""
    starts = [(0, ""), *((found.start(), found[1]) for found in _HEADING.finditer(docstring))]
    ends = [start for start, _ in starts[1:]] + [len(docstring)]
    each = zip(starts, ends, strict=True)
    return {name: docstring[start:end].rstrip() + "\n\n" for (start, name), end in each}
