"""Distributions of the event time that differ in what log time is like, each in a file of its own.

One more distribution is one more file, and a line here.
"""

from __future__ import annotations

from sksurvtorch._validation import check_option
from sksurvtorch.functional._distributions.base import AFTDistribution
from sksurvtorch.functional._distributions.log_logistic import LogLogistic
from sksurvtorch.functional._distributions.log_normal import LogNormal
from sksurvtorch.functional._distributions.weibull import Weibull

DISTRIBUTIONS: dict[str, AFTDistribution] = {
    "weibull": Weibull(),
    "lognormal": LogNormal(),
    "loglogistic": LogLogistic(),
}


def distribution_of(name: str) -> AFTDistribution:
    """Return the distribution that the option `distribution` names."""
    check_option("distribution", name, tuple(DISTRIBUTIONS))
    return DISTRIBUTIONS[name]


__all__ = ["DISTRIBUTIONS", "AFTDistribution", "distribution_of"]
