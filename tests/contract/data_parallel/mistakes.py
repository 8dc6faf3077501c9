"""What is refused."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from sksurv.util import Surv
from torch import nn

from sksurvtorch.losses import CoxPHLoss, GatheredLoss
from tests.contract.data_parallel.fits import estimator, fit
from tests.contract.data_parallel.loops import columns_of, linear
from tests.contract.data_parallel.shares import BATCH, DATA, N


def mistaken(share, output=lambda x: x, **changes):
    """Call the loss with what `changes` make of the output and the columns of the last process."""
    rows = share.rows("events")
    target = columns_of(("weight",), rows)
    given = linear(1)(torch.tensor(DATA["X"][rows]))
    if share.last:
        given = output(given)
        target |= {name: change(target[name]) for name, change in changes.items()}
    GatheredLoss(CoxPHLoss())(given, **target)


def only_in_the_last(share, name):
    fit(share, columns=[name] if share.last else [])


def goes_on(share):
    """The last process has a network of its own, and goes on with it."""
    model, rows = estimator(share), share.rows("events")
    if share.last:
        model.set_params(accelerator=None).fit(DATA["X"][rows], DATA["y"][rows])
        model.set_params(accelerator=share.accelerator, batch_size=BATCH // share.size)
    model.partial_fit(DATA["X"][rows], DATA["y"][rows])


NAN, EARLY = DATA["X"] * np.nan, Surv.from_arrays(DATA["y"]["event"], -DATA["y"]["time"])
REFUSED = {
    "NaN": partial(fit, last={"X": NAN}),
    "several mistakes": partial(fit, given={"X": NAN}, last={"X": DATA["X"], "y": EARLY}),
    "features": partial(fit, last={"X": DATA["X"][:, :2]}),
    "feature names": lambda share: fit(
        share,
        module=None,
        given={"X": pd.DataFrame(DATA["X"], columns=["a", "b", "c"])},
        last={"X": pd.DataFrame(DATA["X"], columns=["c", "b", "a"])},
    ),
    "no event": partial(fit, given={"y": Surv.from_arrays([False] * N, DATA["y"]["time"])}),
    "sample_weight": partial(only_in_the_last, name="sample_weight"),
    "entry": partial(only_in_the_last, name="entry"),
    "stratum": partial(only_in_the_last, name="stratum"),
    "strata": partial(fit, columns=("stratum",), last={"stratum": np.array([None] * N)}),
    "alpha": lambda share: fit(share, alpha=2.0 if share.last else 1.0),
    "optimizer__weight_decay": lambda share: fit(
        share, **share.if_last(optimizer__weight_decay=0.1)
    ),
    "lr": lambda share: fit(share, **share.if_last(lr=-1.0)),
    "hidden_layer_sizes": lambda share: fit(
        share, module=None, hidden_layer_sizes=[4] if share.last else [3]
    ),
    "network": goes_on,
    "a module that fails": lambda share: fit(share, **share.if_last(module=nn.Linear(5, 1))),
    # As many weights as in the others.
    "module": lambda share: fit(
        share, module=nn.Sequential(*share.last * [nn.Identity()], nn.Linear(3, 1))
    ),
    "batch normalisation": partial(fit, module=None, hidden_layer_sizes=(4,), norm="batch"),
    "loss: lengths": partial(mistaken, time=lambda time: time.repeat(2)),
    "loss: dtypes": partial(mistaken, time=torch.Tensor.long),
    "loss: columns": partial(mistaken, weight=lambda weight: None),
    "loss: outputs": partial(mistaken, output=lambda output: output.expand(-1, 2)),
}


def refused(share, name):
    """The error of a call."""
    try:
        REFUSED[name](share)
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {"error": "none", "message": ""}


def unaware(share):
    """The error with an accelerator that does not know of the other processes."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    try:
        fit(share, accelerator=Accelerator())
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    return {"error": "none", "message": ""}
