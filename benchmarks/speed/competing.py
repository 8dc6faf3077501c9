"""Two causes of an event against one: the loss, and an epoch of training."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from sksurvtorch.functional import (
    CompetingRiskSets,
    RiskSets,
    competing_risks_neg_log_likelihood,
    cox_neg_partial_log_likelihood,
)
from sksurvtorch.losses import CompetingRisksLoss, CoxPHLoss
from sksurvtorch.nets import (
    MLP,
    SurvivalNet,
    competing_risks_target,
    competing_risks_y,
    survival_target,
)
from speed.data import patients
from speed.loss import rows, with_gradient
from speed.measure import Row, medians

HAZARDS = ("cause-specific", "subdistribution")
N_FEATURES = 32
N_EPOCHS = 3


def losses(n: int) -> list[Row]:
    """Compare the losses of two causes with the Cox loss: risk sets known, and a single call."""
    eta, event, when = rows(n)
    rng = torch.Generator().manual_seed(1)
    status = event * torch.randint(1, 3, (n,), generator=rng)
    outputs = torch.randn(n, 2, generator=rng).requires_grad_()
    unsorted = RiskSets(event, when)
    order = unsorted.order
    known = unsorted.take(order)
    programs: dict[str, Callable[[], object]] = {
        "known": with_gradient(eta, lambda x: cox_neg_partial_log_likelihood(x, risk_sets=known)),
        "once": with_gradient(eta, lambda x: cox_neg_partial_log_likelihood(x, event, when)),
    }
    for hazard in HAZARDS:
        own = CompetingRiskSets(status, when, hazard=hazard).take(order)

        def of_sets(x: Tensor, own: CompetingRiskSets = own) -> Tensor:
            return competing_risks_neg_log_likelihood(x, risk_sets=own)

        def of_columns(x: Tensor, hazard: str = hazard) -> Tensor:
            return competing_risks_neg_log_likelihood(x, status, when, hazard=hazard)

        programs[f"known {hazard}"] = with_gradient(outputs, of_sets)
        programs[f"once {hazard}"] = with_gradient(outputs, of_columns)
    seconds = medians(programs, rounds=11)
    words = {"known": "risk sets known", "once": "sorting included"}
    return [
        Row(
            f"loss of two causes and gradient, {hazard}, {words[way]}, n = {n:,}",
            "the Cox loss",
            seconds[f"{way} {hazard}"],
            seconds[way],
            None,
        )
        for way in words
        for hazard in HAZARDS
    ]


def seconds_of_epoch(net: SurvivalNet, X: np.ndarray, y: object) -> float:
    """Return the seconds of an epoch, without the start of the training."""
    net.partial_fit(X, y)
    start = time.perf_counter()
    net.partial_fit(X, y)
    return (time.perf_counter() - start) / N_EPOCHS


def epochs(n: int, batch_size: int | None, rounds: int = 5) -> list[Row]:
    """Compare an epoch with two causes with one of a Cox model, in turn."""
    X, y = patients(n, N_FEATURES)
    cause = np.random.default_rng(0).integers(1, 3, n)
    causes = competing_risks_target(competing_risks_y(y["event"] * cause, y["time"]))

    def net(n_outputs: int, criterion: type[nn.Module], **options: object) -> SurvivalNet:
        return SurvivalNet(
            MLP,
            module__n_features=N_FEATURES,
            module__hidden_layer_sizes=(64, 64),
            module__n_outputs=n_outputs,
            criterion=criterion,
            optimizer=torch.optim.Adam,
            batch_size=batch_size or n,
            max_epochs=N_EPOCHS,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
            warm_start=True,
            **options,
        ).initialize()

    programs = {"cox": (net(1, CoxPHLoss), survival_target(y))}
    for hazard in HAZARDS:
        options = {"criterion__hazard": hazard}
        programs[hazard] = (net(2, CompetingRisksLoss, **options), causes)
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, (own, target) in programs.items():
            times[name].append(seconds_of_epoch(own, X, target))
    seconds = {name: float(np.median(own)) for name, own in times.items()}
    batches = "full batch" if batch_size is None else f"batches of {batch_size:,}"
    return [
        Row(
            f"epoch with two causes, {hazard}, n = {n:,}, {batches}",
            "an epoch of the Cox loss",
            seconds[hazard],
            seconds["cox"],
            1 / goal,
        )
        for hazard, goal in zip(HAZARDS, (1.3, 1.6), strict=True)
    ]
