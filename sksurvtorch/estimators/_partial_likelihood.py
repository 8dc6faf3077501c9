"""What Cox models of one cause and of several have in common: ties, and strata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from sksurvtorch import _validation as validation
from sksurvtorch._processes import Group
from sksurvtorch.estimators import _accelerate as accelerate
from sksurvtorch.estimators._base import SurvivalNetEstimator
from sksurvtorch.estimators._functions import FollowUp
from sksurvtorch.estimators._settings import asked_batch_size, uses_bank
from sksurvtorch.nets import stratum_codes
from sksurvtorch.nets.target import Columns


class PartialLikelihoodEstimator(SurvivalNetEstimator):
    """Estimator whose loss compares the rows at risk, in strata or all of them."""

    _positive_time = False
    _has_level = False
    _bias = False

    ties: str
    strata_: np.ndarray | None
    last_times_: np.ndarray
    #: Labels of the strata of a fit that is under way.
    _labels: np.ndarray | None

    def _check_own_parameters(self) -> None:
        validation.check_option("ties", self.ties, validation.TIES)
        if asked_batch_size(self) == 1 and not uses_bank(self):
            raise ValueError(
                "`batch_size` must be at least 2 for a Cox model, got 1. A risk set of one row has "
                "a likelihood of 1 whatever the network says; set `momentum` to True so that it "
                "spans earlier batches."
            )

    def _follow_up(self, rows: np.ndarray | None = None) -> FollowUp:
        """Return the last time of the fit, or of the stratum of each sample.

        Beyond it there is no baseline hazard.
        """
        if rows is None or self.strata_ is None:
            return FollowUp(self.unique_times_[-1])
        return FollowUp(self.last_times_[rows], self.strata_[rows])

    def _learn_strata(self, columns: Mapping[str, Tensor]) -> int:
        """Learn the labels of the strata and the last time of each; return their number."""
        self.strata_, time = self._labels, columns["time"].numpy()
        if self.strata_ is None:
            self.last_times_ = time.max(keepdims=True)
            return 1
        # A stratum whose rows all have a weight of 0 says nothing at any time.
        self.last_times_ = np.zeros(len(self.strata_), time.dtype)
        np.maximum.at(self.last_times_, columns["stratum"].numpy(), time)
        return len(self.strata_)

    def _encode_strata(self, given: dict[str, Any], n_samples: int) -> dict[str, Any]:
        """Return what `fit` was given, with codes of the strata, whose labels are kept."""
        self._labels = None
        if given["stratum"] is None:
            return given
        self._labels, codes = stratum_codes(given["stratum"], n_samples)
        return given | {"stratum": codes}

    def _merge_strata(self, columns: Columns, group: Group) -> Columns:
        """Return the columns of this process, with codes that all processes share."""
        if self._labels is None:
            return columns
        self._labels, codes = accelerate.merge_labels(self._labels, columns["stratum"], group)
        return columns | {"stratum": codes}
