"""The Cox loss and its gradient against torchsurv."""

from __future__ import annotations

import torch
from torch import Tensor
from torchsurv.loss.cox import neg_partial_log_likelihood

from sksurvtorch.functional import RiskSets, cox_neg_partial_log_likelihood
from speed.measure import Machine, Row, medians


def rows(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return a log hazard ratio, events of half of the rows, and times of which five are equal."""
    rng = torch.Generator().manual_seed(0)
    time = torch.randint(1, max(2, n // 5), (n,), generator=rng).float()
    event = torch.rand(n, generator=rng) < 0.5
    return torch.randn(n, generator=rng).requires_grad_(), event, time


def with_ties(n: int, machine: Machine) -> list[Row]:
    """Compare the loss with risk sets known, and the loss of a single call."""
    eta, event, time = rows(n)
    unsorted = RiskSets(event, time)
    risk_sets = unsorted.take(unsorted.order)
    in_order = eta.detach()[unsorted.order].requires_grad_()

    def known() -> None:
        in_order.grad = None
        cox_neg_partial_log_likelihood(in_order, risk_sets=risk_sets).backward()

    def once() -> None:
        eta.grad = None
        cox_neg_partial_log_likelihood(eta, event, time).backward()

    def torchsurv() -> None:
        eta.grad = None
        neg_partial_log_likelihood(eta, event, time, ties_method="efron").backward()

    seconds = medians({"known": known, "once": once, "torchsurv": torchsurv})
    d = risk_sets.n_events
    # Risk sets and log hazard ratio are read, the gradient is written: 4 + 8 + 8 + 4 bytes a row
    # and 24 a event.
    moved = machine.moving(24 * n + 24 * d)
    needed = moved + n / machine.exp + d / machine.log
    sort = medians({"sort": lambda: time.view(torch.int32).sort(stable=True)})["sort"]
    found = [
        Row(
            f"Cox loss and gradient, risk sets known, n = {n:,}",
            "torchsurv",
            seconds["known"],
            seconds["torchsurv"],
            10,
            needed,
            "bytes moved, exp, log",
        )
    ]
    if n >= 10_000:
        found.append(
            Row(
                f"Cox loss and gradient, sorting included, n = {n:,}",
                "torchsurv",
                seconds["once"],
                seconds["torchsurv"],
                4,
                needed + sort,
                "and torch's sort",
            )
        )
    return found


def with_strata(n: int, n_strata: int, machine: Machine) -> Row:
    """Compare the loss of a single call with many strata."""
    eta, event, time = rows(n)
    stratum = torch.randint(0, n_strata, (n,), generator=torch.Generator().manual_seed(1))

    def ours() -> None:
        eta.grad = None
        cox_neg_partial_log_likelihood(eta, event, time, stratum=stratum).backward()

    def torchsurv() -> None:
        eta.grad = None
        neg_partial_log_likelihood(eta, event, time, strata=stratum).backward()

    seconds = medians({"ours": ours, "torchsurv": torchsurv}, rounds=5)
    needed = machine.moving(48 * n) + n / machine.exp + n / 2 / machine.log
    return Row(
        f"Cox loss and gradient, sorting included, {n_strata:,} strata, n = {n:,}",
        "torchsurv",
        seconds["ours"],
        seconds["torchsurv"],
        50,
        needed,
        "bytes moved, exp, log",
    )
