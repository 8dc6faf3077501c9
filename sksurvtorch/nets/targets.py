"""Which target a criterion takes, and the target of competing risks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor

from sksurvtorch._validation import check_risk_columns
from sksurvtorch.functional import CompetingRiskSets
from sksurvtorch.functional.competing_risks import sum_of_losses
from sksurvtorch.losses import CompetingRisksLoss, CoxPHLoss, MomentumLoss, WeibullAFTLoss
from sksurvtorch.nets.target import (
    Columns,
    Criterion,
    Device,
    Output,
    PlainTarget,
    Target,
    cox_target,
    first_output,
)


class CompetingRisksTarget(Target):
    """Target of competing risks, whose risk sets are known; batches have the censoring of all rows.

    Parameters
    ----------
    risk_sets : CompetingRiskSets
        Risk sets of the rows.
    """

    has_risk_sets = True

    def __init__(self, risk_sets: CompetingRiskSets) -> None:
        self.risk_sets = risk_sets
        self.columns = risk_sets.columns  # where a row of weight 0 has the status 0

    @property
    def information(self) -> Tensor:
        """Number of events of all causes, or the sum of their weights."""
        return self.risk_sets.total_event_weight

    @property
    def order(self) -> Tensor | None:
        """Rows in the order of their risk sets; None if they lie so."""
        return self.risk_sets.order

    def take(self, rows: Tensor) -> CompetingRisksTarget:
        """Return the target of some rows."""
        return CompetingRisksTarget(self.risk_sets.take(rows))

    def for_bank(self) -> Columns:
        """Return the columns that a memory bank holds, with the censoring of all rows."""
        logs = self.risk_sets.log_censoring
        return dict(self) if logs is None else {**self, "log_censoring": logs}

    def split(self, index: Tensor, sizes: Sequence[int]) -> Sequence[Target]:
        """Return the targets of several batches, all laid out in one pass."""
        return [CompetingRisksTarget(sets) for sets in self.risk_sets.split(index, sizes)]

    def loss(self, criterion: Criterion, output: Output, device: Device) -> Tensor:
        """Return the loss of an output for all rows; a net has its batches on `device`."""
        if isinstance(criterion, MomentumLoss):  # its bank is for plain columns
            criterion = criterion.loss
        output = first_output(output)
        return criterion(output, risk_sets=self.risk_sets.to(output.device))

    def sum_of_losses(
        self,
        criterion: Criterion,
        outputs: Tensor,
        device: Device,
        targets: Sequence[Self],
        factors: Sequence[float],
    ) -> Tensor:
        """Return the sum of the losses of several sets of rows, all in one call if it can be."""
        if type(criterion) is not CompetingRisksLoss or criterion.reduction != "mean":
            return super().sum_of_losses(criterion, outputs, device, targets, factors)
        risk_sets = [y.risk_sets.to(outputs.device) for y in targets]
        return sum_of_losses(outputs, risk_sets, factors)


def competing_risks_target_of(
    columns: Columns, criterion: CompetingRisksLoss, n_causes: int | None = None
) -> CompetingRisksTarget:
    """Return the target of competing risks with columns of any value."""
    given: dict[str, Any] = dict(columns)
    own = check_risk_columns(given.pop("status", None), given.pop("time", None), **given)
    largest = int(own["status"].max()) if len(own["status"]) else 0
    n_causes = max(largest, 1) if n_causes is None else n_causes
    made = CompetingRiskSets.of_columns(own, n_causes, criterion.ties, criterion.hazard)
    return CompetingRisksTarget(made)


def target_of(criterion: Criterion, columns: Columns, *, lay_out: bool) -> Target:
    """Return the target that a criterion takes."""
    _check_kind(criterion, columns)
    if isinstance(criterion, CoxPHLoss):
        return cox_target(columns, criterion.ties, lay_out=lay_out)
    if isinstance(criterion, CompetingRisksLoss):
        return competing_risks_target_of(columns, criterion, criterion.n_causes)
    return PlainTarget(columns)


def _check_kind(criterion: Criterion, columns: Columns) -> None:
    """Raise if a criterion of competing risks gets events of one kind, or the other way round."""
    if isinstance(criterion, CompetingRisksLoss):
        wanted, made_by = "status", "competing_risks_target"
    elif isinstance(criterion, (CoxPHLoss, WeibullAFTLoss)):
        wanted, made_by = "event", "survival_target"
    else:  # a criterion of the user's, which knows its own columns
        return
    if wanted in columns:
        return
    raise ValueError(
        f"`y` must have {wanted} and time for {type(criterion).__name__}, got "
        f"{', '.join(columns)}. Make it with sksurvtorch.nets.{made_by}."
    )
