"""Warnings that point to the line of the user."""

from __future__ import annotations

import inspect
import warnings

#: This package and those between it and a user's line.
_BETWEEN = {"sksurvtorch", "accelerate", "joblib", "skorch", "sklearn", "torch"}


def warn(message: str, category: type[Warning]) -> None:
    """Warn, with the innermost line outside of these packages as its place."""
    # A process that joblib has started has no line of the user: there it is one of Python's own.
    depth, frame = 1, inspect.currentframe()
    while frame is not None and _package(frame.f_globals) in _BETWEEN:
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, category, stacklevel=depth)  # noqa: TID251


def _package(names: dict[str, object]) -> str:
    """Return the package of a module, by its global names."""
    return str(names.get("__name__")).partition(".")[0]
