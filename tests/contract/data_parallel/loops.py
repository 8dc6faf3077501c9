"""The losses in a training loop of one's own."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sksurvtorch.losses import (
    CoxPHLoss,
    GatheredLoss,
    MomentumLoss,
    MomentumNetwork,
    WeibullAFTLoss,
)
from tests import twins
from tests.contract.data_parallel.shares import DATA, N


def linear(n_outputs):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(3, n_outputs).double()


def columns_of(names, rows=slice(None)):
    """Columns of the target as the loss takes them."""
    known = {
        "event": DATA["y"]["event"],
        "time": DATA["y"]["time"],
        "entry": DATA["entry"],
        "stratum": np.unique(DATA["stratum"], return_inverse=True)[1],
        "weight": DATA["sample_weight"],
        "index": np.arange(N),
    }
    return {name: torch.from_numpy(known[name][rows].copy()) for name in ("event", "time", *names)}


def by_hand(output, event, time, **others):
    """A callable that is no module."""
    return twins.cox(output, event, time, ties="breslow", reduction="sum", **others)


#: Losses with their number of outputs, and the columns they are called with.
LOSSES = {
    "efron": (CoxPHLoss(), 1, ()),
    "efron, all columns": (CoxPHLoss(), 1, ("entry", "stratum", "weight")),
    "breslow, sum": (CoxPHLoss(ties="breslow", reduction="sum"), 1, ("stratum", "weight")),
    "weibull": (WeibullAFTLoss(), 2, ("entry", "weight")),
    "weibull, sum": (WeibullAFTLoss(reduction="sum"), 2, ()),
    "callable": (by_hand, 1, ("entry",)),
}


def batches_of(share, layout):
    """The rows of a process in each batch of all processes, of which the last is a short one."""
    mixed = np.random.default_rng(1).permutation(N)
    own = np.arange(N)[share.rows(layout)]
    return [np.sort(rows[np.isin(rows, own)]) for rows in np.split(mixed, range(20, N, 20))]


def gathered(share, name, layout, dtype=torch.float64, wrapped=True):
    """Loss and gradient of the weights by batch; where not `wrapped`, gradients are added up."""
    loss, n_outputs, columns = LOSSES[name]
    module, criterion = linear(n_outputs).to(dtype), GatheredLoss(loss)
    network = DistributedDataParallel(module) if wrapped else module
    told = []
    for rows in batches_of(share, layout):
        network.zero_grad()
        output, target = network(torch.tensor(DATA["X"][rows]).to(dtype)), columns_of(columns, rows)
        value = criterion(output, target) if wrapped else criterion(output, **target)
        value.backward()
        gradient = torch.cat([weight.grad.flatten() for weight in module.parameters()])
        if not wrapped:
            torch.distributed.all_reduce(gradient)
            gradient /= share.size
        told.append([value.item(), *gradient.tolist()])
    return {"loss, gradient": told, "rows": [len(rows) for rows in batches_of(share, layout)]}


def gathered_momentum(share):
    """A pair of networks, and a bank that spans the processes, over two epochs."""
    network = module = MomentumNetwork(linear(1))
    if share.size > 1:
        network = DistributedDataParallel(module)
    criterion = GatheredLoss(MomentumLoss(CoxPHLoss(), bank_size=40))
    optimizer = torch.optim.SGD(module.online.parameters(), lr=0.1)
    losses = []
    for rows in 2 * batches_of(share, "uneven"):
        optimizer.zero_grad()
        output = network(torch.tensor(DATA["X"][rows]))
        loss = criterion(output, **columns_of(("stratum", "weight", "index"), rows))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    network.eval()
    with torch.no_grad():
        rows = np.arange(N)[share.rows()]
        evaluated = criterion.eval()(network(torch.tensor(DATA["X"][rows])), columns_of((), rows))
    return {
        "losses": losses,
        "evaluated": evaluated.item(),
        "weights": torch.cat([w.detach().flatten() for w in module.parameters()]).tolist(),
        "bank": criterion.loss.bank.output.tolist(),
        "rows of the bank": criterion.loss.bank.columns["index"].tolist(),
    }
