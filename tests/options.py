"""Parameters of small estimators in the tests."""

from __future__ import annotations

from typing import Any


def merged(defaults: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return defaults and parameters, without sizes of layers where there is a module."""
    both = defaults | parameters
    if both.get("module") is not None and "hidden_layer_sizes" not in parameters:
        both.pop("hidden_layer_sizes", None)
    return both
