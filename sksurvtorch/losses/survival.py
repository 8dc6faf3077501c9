"""Survival losses as modules, for a plain torch loop and as skorch criteria."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from sksurvtorch._validation import REDUCTIONS, TIES, check_option, unpack_target
from sksurvtorch.functional import (
    RiskSets,
    cox_neg_partial_log_likelihood,
    weibull_neg_log_likelihood,
)
from sksurvtorch.functional._compiler import left_out_of_graphs

Target = Mapping[str, Tensor]


class CoxPHLoss(nn.Module):
    """Negative log partial likelihood of the Cox model.

    See `sksurvtorch.functional.cox_neg_partial_log_likelihood` for the formula. The best log hazard
    ratio is known up to a constant only, so the network's last layer needs no bias.

    Parameters
    ----------
    ties : {"efron", "breslow"}, default="efron"
        How events at the same time share their risk set.
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides by the sum of the weights of the events.

    Examples
    --------
    Three at risk at the first event, two at the second:

    >>> import torch
    >>> from sksurvtorch.losses import CoxPHLoss
    >>> event, time = torch.tensor([True, True, False]), torch.tensor([1, 2, 3])
    >>> loss = CoxPHLoss(reduction="sum")(torch.zeros(3), event, time)
    >>> round(loss.exp().item(), 4)
    6.0
    """

    #: Whether the loss of one row depends on no other row.
    sum_over_samples: ClassVar[bool] = False

    def __init__(self, *, ties: str = "efron", reduction: str = "mean") -> None:
        super().__init__()
        check_option("ties", ties, TIES)
        check_option("reduction", reduction, REDUCTIONS)
        self.ties = ties
        self.reduction = reduction

    @left_out_of_graphs
    def forward(
        self,
        log_hazard_ratio: Tensor,
        event: Tensor | Target | None = None,
        time: Tensor | None = None,
        *,
        entry: Tensor | None = None,
        stratum: Tensor | None = None,
        weight: Tensor | None = None,
        risk_sets: RiskSets | None = None,
    ) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        log_hazard_ratio : tensor of shape (n_samples,) or (n_samples, 1)
            Output of the network: the higher, the earlier the event.
        event : bool tensor of shape (n_samples,), or a whole target
            True for an observed event. In place of all that follows it may be a mapping with the
            keys event and time, and optionally entry, stratum and weight: so comes the target of a
            skorch net.
        time : tensor of shape (n_samples,)
            Time of the event or the censoring.
        entry, stratum, weight : tensors of shape (n_samples,), optional
            Delayed entry, stratum and weight of each row.
        risk_sets : RiskSets, optional
            In place of all arguments but the first; their `ties` must be those of the loss.

        Returns
        -------
        tensor of shape (), or (n_samples,) with ``reduction="none"``
            In the dtype of `log_hazard_ratio`, or in float32 where that is half precision.
        """
        if risk_sets is not None and risk_sets.ties != self.ties:
            raise ValueError(
                f"`risk_sets` must have the ties {self.ties!r} of this loss, "
                f"got {risk_sets.ties!r}."
            )
        target = unpack_target(event, time, entry=entry, stratum=stratum, weight=weight)
        return cox_neg_partial_log_likelihood(
            log_hazard_ratio,
            **target,
            ties=self.ties,
            reduction=self.reduction,
            risk_sets=risk_sets,
        )

    def extra_repr(self) -> str:
        """Return the options for ``repr``."""
        return f"ties={self.ties!r}, reduction={self.reduction!r}"


class WeibullAFTLoss(nn.Module):
    """Negative log likelihood of the Weibull accelerated failure time model.

    See `sksurvtorch.functional.weibull_neg_log_likelihood` for the formula.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides by the sum of the weights, which is n_samples without weights.

    Examples
    --------
    An event at the scale of an exponential has hazard 1 and cumulative hazard 1:

    >>> import torch
    >>> from sksurvtorch.losses import WeibullAFTLoss
    >>> WeibullAFTLoss()(torch.zeros(1, 1), torch.tensor([True]), torch.tensor([1.0]))
    tensor(1.)
    """

    #: Whether the loss of one row depends on no other row.
    sum_over_samples: ClassVar[bool] = True

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        check_option("reduction", reduction, REDUCTIONS)
        self.reduction = reduction

    @left_out_of_graphs
    def forward(
        self,
        log_params: Tensor,
        event: Tensor | Target,
        time: Tensor | None = None,
        *,
        entry: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
            Log scale (the higher, the later the event), and log shape (0 if left out).
        event : bool tensor of shape (n_samples,), or a whole target
            True for an observed event. In place of all that follows it may be a mapping with the
            keys event and time, and optionally entry and weight: so comes the target of a skorch
            net.
        time : tensor of shape (n_samples,)
            Time of the event or the censoring, positive.
        entry, weight : tensors of shape (n_samples,), optional
            Delayed entry and weight of each row.

        Returns
        -------
        tensor of shape (), or (n_samples,) with ``reduction="none"``
            In the dtype of `log_params`, or in float32 where that is half precision.
        """
        target: dict[str, Any] = unpack_target(event, time, entry=entry, weight=weight)
        return weibull_neg_log_likelihood(log_params, **target, reduction=self.reduction)

    def extra_repr(self) -> str:
        """Return the options for ``repr``."""
        return f"reduction={self.reduction!r}"
