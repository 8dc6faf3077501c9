"""Weibull accelerated failure time with a network for the scale, and perhaps the shape."""

from __future__ import annotations

from sksurvtorch.estimators._aft import AFTRegressor
from sksurvtorch.estimators._docstrings import parameters_of


@parameters_of(AFTRegressor)
class WeibullAFTRegressor(AFTRegressor):
    """Weibull accelerated failure time model whose scale is a neural network.

    A sample has the survival S(t) = exp(-(t / scale)^shape). The network gives the logarithm of the
    scale, and trains with the likelihood of times that may be censored in any way.

    See Also
    --------
    CoxNNRegressor : Model without an assumption on the baseline hazard.
    sksurvtorch.functional.weibull_neg_log_likelihood : The loss.

    Notes
    -----
    The built-in network standardises its inputs by their mean and standard deviation in the
    training data, so their units do not matter. It is a linear model plus the hidden layers, and
    its training starts at the penalised optimum of the linear model: what small or nearly linear
    data can carry is there from the start, and the hidden layers learn what is left.
    ``benchmarks/defaults.md`` has the measurements behind the default values.

    Fitting leaves the global random states of torch and numpy as they were.

    Examples
    --------
    Median survival in days at the lowest and at the highest Karnofsky score:

    >>> from sksurv.datasets import load_veterans_lung_cancer
    >>> from sksurvtorch import WeibullAFTRegressor
    >>> X, y = load_veterans_lung_cancer()
    >>> X = X[["Age_in_years", "Karnofsky_score"]]
    >>> model = WeibullAFTRegressor(random_state=0).fit(X, y)
    >>> low, high = model.predict_median(X.iloc[[X["Karnofsky_score"].argmin(), 69]])
    >>> bool(low < 30 < 100 < high)
    True
    """

    _distribution = "weibull"
