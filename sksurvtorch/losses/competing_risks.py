"""Loss of competing risks as a module, for a plain torch loop and as a skorch criterion."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from sksurvtorch._validation import (
    HAZARDS,
    REDUCTIONS,
    TIES,
    check_number,
    check_option,
    unpack_target,
)
from sksurvtorch.functional import CompetingRiskSets, competing_risks_neg_log_likelihood
from sksurvtorch.functional._compiler import left_out_of_graphs
from sksurvtorch.functional.competing_risks import check_outputs
from sksurvtorch.losses.survival import Target


class CompetingRisksLoss(nn.Module):
    """Negative log partial likelihood of Cox models of all causes of an event.

    See `sksurvtorch.functional.competing_risks_neg_log_likelihood` for the formula. The network has
    an output for each cause. The best log hazard ratios of a cause are known up to a constant only,
    so its last layer needs no bias.

    Parameters
    ----------
    ties : {"efron", "breslow"}, default="efron"
        How events of a cause at the same time share their risk set.
    hazard : {"cause-specific", "subdistribution"}, default="cause-specific"
        Whether a row with an event of another cause leaves the risk set, or stays there with the
        weights of Fine and Gray.
    reduction : {"mean", "sum", "none"}, default="mean"
        ``"mean"`` divides by the sum of the weights of the events of all causes.
    n_causes : int, optional
        Number of causes, and of outputs of the network. A `sksurvtorch.nets.SurvivalNet` takes the
        largest status of its rows if this is left out, which a fold may lack.

    Notes
    -----
    Called with columns, ``hazard="subdistribution"`` estimates the curve of the censoring from the
    rows of the call. For batches make a `sksurvtorch.functional.CompetingRiskSets` of all data, and
    pass ``risk_sets=whole.take(rows)``, so that all batches have the weights of all data.

    Examples
    --------
    Three rows are at risk of the first event, of cause 1, and two of the second, of cause 2:

    >>> import torch
    >>> from sksurvtorch.losses import CompetingRisksLoss
    >>> status, time = torch.tensor([1, 2, 0]), torch.tensor([1, 2, 3])
    >>> loss = CompetingRisksLoss(reduction="sum")(torch.zeros(3, 2), status, time)
    >>> round(loss.exp().item(), 4)
    6.0
    """

    #: Whether the loss of one row depends on no other row.
    sum_over_samples: ClassVar[bool] = False

    def __init__(
        self,
        *,
        ties: str = "efron",
        hazard: str = "cause-specific",
        reduction: str = "mean",
        n_causes: int | None = None,
    ) -> None:
        super().__init__()
        check_option("ties", ties, TIES)
        check_option("hazard", hazard, HAZARDS)
        check_option("reduction", reduction, REDUCTIONS)
        self.ties = ties
        self.hazard = hazard
        self.reduction = reduction
        if n_causes is not None:
            check_number("n_causes", n_causes, int, 1)
        self.n_causes = n_causes

    @left_out_of_graphs
    def forward(
        self,
        log_hazard_ratio: Tensor,
        status: Tensor | Target | None = None,
        time: Tensor | None = None,
        *,
        entry: Tensor | None = None,
        stratum: Tensor | None = None,
        weight: Tensor | None = None,
        risk_sets: CompetingRiskSets | None = None,
    ) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        log_hazard_ratio : tensor of shape (n_samples, n_causes), or (n_samples,) for one cause
            Output of the network, a column for each cause: the higher, the earlier its event.
        status : int tensor of shape (n_samples,), or a whole target
            0 for a right-censored row, else the number of the cause of its event, from 1 on. In
            place of all that follows it may be a mapping with the keys status and time, and
            optionally entry, stratum and weight: so comes the target of a skorch net.
        time : tensor of shape (n_samples,)
            Time of the event or the censoring.
        entry, stratum, weight : tensors of shape (n_samples,), optional
            Delayed entry, stratum and weight of each row.
        risk_sets : CompetingRiskSets, optional
            In place of all arguments but the first; their ties and hazard must be those of the
            loss.

        Returns
        -------
        tensor of shape (), or (n_samples,) with ``reduction="none"``
            In the dtype of `log_hazard_ratio`, or in float32 where that is half precision.
        """
        for name in ("ties", "hazard") if risk_sets is not None else ():
            own, given = getattr(self, name), getattr(risk_sets, name)
            if own != given:
                raise ValueError(
                    f"`risk_sets` must have the {name} {own!r} of this loss, got {given!r}."
                )
        if self.n_causes is not None and check_outputs(log_hazard_ratio) != self.n_causes:
            raise ValueError(
                f"`log_hazard_ratio` must have {self.n_causes} columns, the `n_causes` of this "
                f"loss, got the shape {tuple(log_hazard_ratio.shape)}."
            )
        options = {"entry": entry, "stratum": stratum, "weight": weight}
        target = unpack_target(status, time, "status", **options)
        return competing_risks_neg_log_likelihood(
            log_hazard_ratio,
            **target,
            ties=self.ties,
            hazard=self.hazard,
            reduction=self.reduction,
            risk_sets=risk_sets,
        )

    def extra_repr(self) -> str:
        """Return the options for ``repr``."""
        causes = "" if self.n_causes is None else f", n_causes={self.n_causes}"
        options = f"ties={self.ties!r}, hazard={self.hazard!r}, reduction={self.reduction!r}"
        return options + causes
