"""Loss of accelerated failure time models as a module, for a plain torch loop and skorch."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from sksurvtorch._validation import REDUCTIONS, check_option, unpack_aft_target
from sksurvtorch.functional import aft_neg_log_likelihood
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.functional._distributions import distribution_of
from sksurvtorch.losses.survival import Target


class AFTLoss(nn.Module):
    """Negative log likelihood of an accelerated failure time model.

    See `sksurvtorch.functional.aft_neg_log_likelihood` for the formula.

    Parameters
    ----------
    distribution : {"weibull", "lognormal", "loglogistic"}
        Distribution of the time.
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides by the sum of the weights, which is n_samples without weights.

    Examples
    --------
    Half of the log-logistic times are below the scale, where a left-censored row has an event:

    >>> import torch
    >>> from sksurvtorch.losses import AFTLoss
    >>> lower, upper = torch.tensor([0.0]), torch.tensor([1.0])
    >>> loss = AFTLoss(distribution="loglogistic")(torch.zeros(1, 1), lower=lower, upper=upper)
    >>> round(loss.exp().item(), 4)
    2.0
    """

    #: Whether the loss of one row depends on no other row.
    sum_over_samples: ClassVar[bool] = True

    def __init__(self, *, distribution: str, reduction: str = "mean") -> None:
        super().__init__()
        distribution_of(distribution)
        check_option("reduction", reduction, REDUCTIONS)
        self.distribution = distribution
        self.reduction = reduction

    @left_out_of_graphs
    def forward(
        self,
        log_params: Tensor,
        event: Tensor | Target | None = None,
        time: Tensor | None = None,
        *,
        lower: Tensor | None = None,
        upper: Tensor | None = None,
        entry: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        log_params : tensor of shape (n_samples, 1) or (n_samples, 2)
            Log scale (the higher, the later the event), and log shape (0 if left out).
        event : bool tensor of shape (n_samples,), or a whole target, optional
            True for an observed event. In place of all that follows it may be a mapping with the
            keys event and time, or lower and upper, and optionally entry and weight: so comes the
            target of a skorch net.
        time : tensor of shape (n_samples,), optional
            Time of the event or the censoring, positive.
        lower, upper : tensors of shape (n_samples,), optional
            In place of event and time: the event lies in (lower, upper], or at this time if both
            are equal. An infinite `upper` is a right-censored row, a `lower` of 0 a left-censored
            one.
        entry, weight : tensors of shape (n_samples,), optional
            Delayed entry and weight of each row.

        Returns
        -------
        tensor of shape (), or (n_samples,) with ``reduction="none"``
            In the dtype of `log_params`, or in float32 where that is half precision.
        """
        target = unpack_aft_target(
            event, time, lower=lower, upper=upper, entry=entry, weight=weight
        )
        return aft_neg_log_likelihood(
            log_params, **target, distribution=self.distribution, reduction=self.reduction
        )

    def extra_repr(self) -> str:
        """Return the options for ``repr``."""
        return f"distribution={self.distribution!r}, reduction={self.reduction!r}"
