"""Parameters in skorch's spelling, `module__n_hidden` and the like, on a scikit-learn estimator."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Self

from sklearn.base import BaseEstimator

PREFIXES = ("module__", "optimizer__", "iterator_train__", "callbacks__")


class PrefixedParameters(BaseEstimator):
    """Base of estimators that take further parameters with a prefix of `PREFIXES`.

    They are attributes like any parameter, so that `clone` and searches know them. As scikit-learn
    asks, `__init__` refuses nothing: `fit` does, by `_check_names`.
    """

    def _set_further(self, parameters: dict[str, Any]) -> None:
        """Set the parameters that are not in the signature of `__init__`."""
        for name, value in parameters.items():
            setattr(self, name, value)
        if parameters:
            self._further_names: set[str] = {*self._further(), *parameters}

    def _further(self) -> dict[str, Any]:
        """Return the parameters that are not in the signature of `__init__`."""
        return {name: getattr(self, name) for name in sorted(vars(self).get("_further_names", ()))}

    def _check_names(self) -> None:
        """Raise if there is a parameter that nobody would read."""
        for name in self._further():
            if not name.startswith(PREFIXES):
                near = get_close_matches(name, self._get_param_names(), n=1)
                raise TypeError(
                    f"{type(self).__name__} has no parameter {name!r}. "
                    + "".join(f"Did you mean {known!r}? " for known in near)
                    + "Besides those of its signature it takes names that start with "
                    f"{', '.join(PREFIXES)}."
                )

    def _prefixed(self, prefix: str) -> dict[str, Any]:
        """Return the parameters of one prefix, without it."""
        given = {k: v for k, v in self._further().items() if k.startswith(prefix)}
        return {name.removeprefix(prefix): value for name, value in given.items()}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name.

        Parameters
        ----------
        deep : bool, default=True
            Whether parameters of parameters are returned as well.

        Returns
        -------
        dict
            Names and values.
        """
        parameters: dict[str, Any] = super().get_params(deep=deep)
        return parameters | self._further()

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name.

        Parameters
        ----------
        **params
            Names and values.

        Returns
        -------
        self
            This estimator.
        """
        self._set_further({k: params.pop(k) for k in list(params) if k.startswith(PREFIXES)})
        super().set_params(**params)
        return self
