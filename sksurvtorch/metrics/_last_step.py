"""The model at the end of searches and pipelines, which pass on few of its methods."""

from __future__ import annotations

from typing import Any


def last_step(estimator: Any, X: Any, method: str) -> tuple[Any, Any]:
    """Return the first model with a method, or else the last one, and X as it comes to it."""
    while not hasattr(estimator, method):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            X = estimator[:-1].transform(X) if len(estimator.steps) > 1 else X
            estimator = estimator.steps[-1][1]
        else:
            break
    return estimator, X
