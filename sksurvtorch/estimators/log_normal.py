"""Log-normal accelerated failure time with a network for the scale, and perhaps the shape."""

from __future__ import annotations

from sksurvtorch.estimators._aft import AFTRegressor
from sksurvtorch.estimators._docstrings import parameters_of


@parameters_of(AFTRegressor)
class LogNormalAFTRegressor(AFTRegressor):
    r"""Log-normal accelerated failure time model whose scale is a neural network.

    The logarithm of the time is normal, with mean log(scale) and standard deviation 1 / shape: a
    sample has the survival S(t) = Phi(-shape log(t / scale)), and the scale is its median. The
    hazard rises from 0, and falls later on. The network gives the logarithm of the scale, and
    trains with the likelihood of times that may be censored in any way.

    See Also
    --------
    WeibullAFTRegressor : The hazard rises or falls all the time.
    LogLogisticAFTRegressor : The hazard of a late time falls as 1 / t; odds are proportional.
    sksurvtorch.functional.aft_neg_log_likelihood : The loss.

    Notes
    -----
    All else is as in `WeibullAFTRegressor`. R's ``survreg(dist="lognormal")`` has the logarithm of
    the scale as its linear predictor, and 1 / shape as its scale.

    Examples
    --------
    Median survival in days at the lowest and at the highest Karnofsky score:

    >>> from sksurv.datasets import load_veterans_lung_cancer
    >>> from sksurvtorch import LogNormalAFTRegressor
    >>> X, y = load_veterans_lung_cancer()
    >>> X = X[["Age_in_years", "Karnofsky_score"]]
    >>> model = LogNormalAFTRegressor(random_state=0).fit(X, y)
    >>> low, high = model.predict_median(X.iloc[[X["Karnofsky_score"].argmin(), 69]])
    >>> bool(low < 30 < 100 < high)
    True
    """

    _distribution = "lognormal"
