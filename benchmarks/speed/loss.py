"""The losses and their gradients, against torchsurv and against the lines that people paste."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchsurv.loss.cox import neg_partial_log_likelihood
from torchsurv.loss.weibull import neg_log_likelihood_weibull

from sksurvtorch.functional import (
    RiskSets,
    cox_neg_partial_log_likelihood,
    weibull_neg_log_likelihood,
)
from speed.measure import Machine, Row, medians, table

BATCHES = (64, 256, 1024, 4096)


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


def naive_cox(eta: Tensor, event: Tensor, time: Tensor) -> Tensor:
    """Return what is pasted most: wrong with ties, and nothing is checked."""
    order = torch.argsort(time, descending=True)
    eta, event = eta[order], event[order]
    return -(eta - torch.logcumsumexp(eta, 0))[event].mean()


def plain_weibull(log_params: Tensor, event: Tensor, time: Tensor) -> Tensor:
    """Return the likelihood as it is written down, in float32."""
    log_scale, log_shape = log_params.unbind(1)
    z = log_shape.exp() * (time.log() - log_scale)
    return (z.exp() - event * (log_shape - time.log() + z)).mean()


def with_gradient(x: Tensor, loss: Callable[[Tensor], Tensor]) -> Callable[[], None]:
    """Return what computes a loss of x and its gradient."""

    def program() -> None:
        x.grad = None
        loss(x).backward()

    return program


def network(n: int) -> Callable[[], None]:
    """Return what passes a batch through a network of two hidden layers of 64, and back."""
    layers = nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    module, X = nn.Sequential(*layers), torch.randn(n, 20)

    def program() -> None:
        module.zero_grad()
        module(X).sum().backward()

    return program


def cox_programs(n: int) -> dict[str, Callable[[], None]]:
    """Return the Cox losses of a batch, and a network beside them."""
    eta, event, time = rows(n)

    def once(ties: str) -> Callable[[], None]:
        return with_gradient(
            eta, lambda x: cox_neg_partial_log_likelihood(x, event, time, ties=ties)
        )

    def known(ties: str) -> Callable[[], None]:
        risk_sets = RiskSets(event, time, ties=ties)
        return with_gradient(eta, lambda x: cox_neg_partial_log_likelihood(x, risk_sets=risk_sets))

    return {
        "once efron": once("efron"),
        "once breslow": once("breslow"),
        "known efron": known("efron"),
        "known breslow": known("breslow"),
        "naive": with_gradient(eta, lambda x: naive_cox(x, event, time)),
        "torchsurv": with_gradient(
            eta, lambda x: neg_partial_log_likelihood(x, event, time, ties_method="efron")
        ),
        "network": network(n),
    }


def cox_batches() -> str:
    """Compare the Cox loss of a batch with the naive line and torchsurv, beside a network."""
    lines = []
    for n in BATCHES:
        seconds = medians(cox_programs(n), rounds=21)
        ours = [_beside(seconds[name], seconds["naive"]) for name in list(seconds)[:4]]
        others = [f"{1e6 * seconds[name]:,.0f}" for name in ("naive", "torchsurv", "network")]
        lines.append([f"{n:,}", *ours, *others])
    head = ["rows", "one call, Efron", "one call, Breslow", "known, Efron", "known, Breslow"]
    return table([*head, "naive line", "torchsurv", "network"], lines)


def weibull_programs(n: int) -> dict[str, Callable[[], None]]:
    """Return the Weibull losses of a batch."""
    rng = torch.Generator().manual_seed(0)
    time = torch.rand(n, generator=rng) * 5 + 0.1
    event = torch.rand(n, generator=rng) < 0.5
    log_params = torch.randn(n, 2, generator=rng).mul_(0.3).requires_grad_()
    losses = {
        "sksurvtorch": weibull_neg_log_likelihood,
        "plain": plain_weibull,
        "torchsurv": neg_log_likelihood_weibull,
    }
    return {
        name: with_gradient(log_params, lambda x, loss=loss: loss(x, event, time))
        for name, loss in losses.items()
    }


def weibull_batches() -> str:
    """Compare the Weibull loss of a batch with the plain formula and torchsurv."""
    lines = []
    for n in (*BATCHES, 100_000, 1_000_000):
        seconds = medians(weibull_programs(n), rounds=21 if n < 100_000 else 5)
        others = [f"{1e6 * seconds[name]:,.0f}" for name in ("plain", "torchsurv")]
        lines.append([f"{n:,}", _beside(seconds["sksurvtorch"], seconds["plain"]), *others])
    return table(["rows", "sksurvtorch", "plain formula", "torchsurv"], lines)


def _beside(ours: float, theirs: float) -> str:
    """Format microseconds, and the ratio to those of another program."""
    return f"{1e6 * ours:,.0f} ({ours / theirs:.2f})"
