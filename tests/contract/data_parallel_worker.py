"""What each process of `test_data_parallel.py` does, and one process alone to compare with.

A case is a function of the `Share` of a process. What it returns is compared by name, over the
processes and with what it returns where one process has all rows.
"""

from __future__ import annotations

import contextlib
import copy
import faulthandler
import io
import os
import pickle
import signal
import sys
import time
import traceback
import warnings
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler
from sksurv.datasets import load_gbsg2
from sksurv.util import Surv
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.exceptions import SkippedBatchWarning
from sksurvtorch.functional import _processes as processes
from sksurvtorch.losses import (
    CoxPHLoss,
    GatheredLoss,
    MomentumLoss,
    MomentumNetwork,
    WeibullAFTLoss,
)
from sksurvtorch.nets import AcceleratedSurvivalNet, SurvivalNet, survival_target
from tests import twins

#: Rows; those from CENSORED on have no event; rows in a batch of all processes together.
N, CENSORED, BATCH = 96, 76, 24
#: Where the rows of each process begin, by the number of processes.
LAYOUTS = {
    # The last process has no event, and of four the second has one row.
    "uneven": {1: [0], 2: [0, CENSORED], 4: [0, 40, 41, CENSORED]},
    "few": {1: [0], 2: [0, N - 1], 4: [0, 1, 2, N - 1]},
    "events": {1: [0], 2: [0, 30], 4: [0, 10, 24, 50]},
}
#: After so many seconds a process tells where it is, and ends.
LIMIT = 90
ALL = ("entry", "stratum", "sample_weight")


@dataclass(frozen=True)
class Share:
    """Which of the processes this is, and which rows it has."""

    rank: int
    size: int
    folder: Path

    @property
    def accelerator(self):
        return "auto" if self.size > 1 else None

    @property
    def last(self):
        return self.rank == self.size - 1

    def rows(self, layout="uneven"):
        return slice(*[*LAYOUTS[layout][self.size], N][self.rank : self.rank + 2])

    def if_last(self, **given):
        """What the last process alone is given."""
        return given if self.last else {}


def cohort():
    """Ties, late entry, weights of 0, and strata of which one process alone has rows."""
    rng = np.random.default_rng(0)
    X, times = rng.normal(size=(N, 3)), rng.integers(1, 13, N).astype(float)
    event = (rng.random(N) < 0.3 + 0.4 * (X[:, 0] > 0)) & (np.arange(N) < CENSORED)
    stratum = rng.choice(["a", "b"], N).astype("U9")
    stratum[:6], stratum[-6:] = "z: first", "A: last"
    weight = rng.uniform(0.5, 2.0, N)
    weight[::9] = 0.0
    return {
        "X": X,
        "y": Surv.from_arrays(event, times),
        "entry": np.floor(rng.random(N) * times),
        "stratum": stratum,
        "sample_weight": weight,
    }


DATA = cohort()


def perceptron():
    """A network that starts at random, where the built-in one starts at a linear model."""
    # A bias of the output changes no Cox loss, and Adam would walk along it on rounding noise.
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1, bias=False))


class Watch(Callback):
    """Keeps the gradients of the first steps."""

    def on_train_begin(self, net, **kwargs):
        self.gradients_ = []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        if len(self.gradients_) < 6:
            gradient = [w.grad.flatten() for _, w in named_parameters if w.requires_grad]
            self.gradients_.append(torch.cat(gradient).tolist())


# Estimators


def estimator(share, kind=CoxNNRegressor, batch=BATCH, **parameters):
    """A small estimator, whose batches have `batch` rows of all processes together."""
    defaults = {
        "module": perceptron,
        "dtype": "float64",
        "max_epochs": 2,
        "lr": 0.01,
        "random_state": 0,
        "accelerator": share.accelerator,
        "callbacks": [("watch", Watch())],
        "batch_size": batch and batch // share.size,
    }
    return kind(**{**defaults, **parameters})


def fit(
    share,
    columns=(),
    kind=CoxNNRegressor,
    layout="uneven",
    calls=("fit",),
    given=(),
    last=(),
    **parameters,
):
    """What a model shows that is fitted to data with other columns `given`, or to the `last`."""
    data = {**DATA, **dict(given), **share.if_last(**dict(last))}
    rows = share.rows(layout)
    model = estimator(share, kind, **parameters)
    for call in calls:
        getattr(model, call)(**{name: data[name][rows] for name in ("X", "y", *columns)})
    return seen(model)


def seen(model):
    """What a fitted model shows."""
    history, X, stratum = model.net_.history, DATA["X"], {}
    state = model.net_.module_.state_dict().values()
    told = {
        "weights": torch.cat([w.double().flatten() for w in state if w.ndim]).tolist(),
        "predictions": model.predict(X),
        "score": model.score(X, DATA["y"]),
        "training losses": history[:, "train_loss"],
        "losses of batches": np.concatenate(history[:, "batches", :, "train_loss"]),
        "rows in batches": np.concatenate(history[:, "batches", :, "train_batch_size"]),
        "epochs": model.n_iter_,
        "unique times": model.unique_times_,
        "gradients": dict(model.net_.callbacks_)["watch"].gradients_,
    }
    if "valid_loss" in history[0]:
        told["validation losses"] = history[:, "valid_loss"]
    if isinstance(model, WeibullAFTRegressor):
        told["standardisation"] = [model.log_time_center_, model.log_time_spread_]
    else:
        told["baseline"] = model.log_baseline_cumulative_hazard_
        told["strata"] = [] if model.strata_ is None else model.strata_.tolist()
        stratum = {} if model.strata_ is None else {"stratum": DATA["stratum"]}
    told["survival"] = model.predict_survival_function(X, times=[1.0, 5.0], **stratum)
    return told


def trained_on(share, **parameters):
    """`partial_fit` on some rows, then on others that are shared otherwise."""
    model = estimator(share, **parameters)
    y = DATA["y"].copy()
    for layout in ("uneven", "events"):
        rows = share.rows(layout)
        model.partial_fit(DATA["X"][rows], y[rows])
        y["time"] += 0.5
    return seen(model)


def mapped(share):
    """X in a file."""
    name = share.folder / f"X{share.size}_{share.rank}.npy"
    np.save(name, DATA["X"])
    return np.load(name, mmap_mode="r")


class Rows(Dataset):
    """Rows of an array as a dataset, of which a slice is one, too."""

    def __init__(self, X):
        self.X = X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, place):
        return Rows(self.X[place]) if isinstance(place, slice) else self.X[place]


def own_weights(share):
    """Each process has a network with weights of its own; those of the first process count."""
    with torch.random.fork_rng():
        torch.manual_seed(share.rank)
        module = perceptron()
    return fit(share, module=module)


def skipping(share):
    """Batches without an event are left out."""
    y = DATA["y"].copy()
    y["event"][5:] = False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        told = fit(share, batch=8, given={"y": y})
    of_kind = [str(item.message) for item in caught if item.category is SkippedBatchWarning]
    return {**told, "warnings": of_kind}


class Drift(Callback):
    """Lets the weights of other processes than the first drift away at the end."""

    def __init__(self, share):
        self.share = share

    def on_epoch_end(self, net, **kwargs):
        if self.share.rank and len(net.history) == net.max_epochs:
            for weight in net.module_.parameters():
                weight.data += 1e-3


def with_callbacks(share):
    """Those of skorch that meet the gradient and the learning rate."""
    callbacks = [
        ("clipping", GradientNormClipping(0.05)),  # of the gradient of all rows
        ("schedule", LRScheduler("StepLR", step_size=1, gamma=0.5)),
        ("watch", Watch()),
    ]
    options = {"lr_schedule": "constant", "optimizer": "sgd", "lr": 1.0, "max_epochs": 3}
    return fit(share, callbacks=callbacks, **options)


def line_search(share, order=slice(None)):
    """A linear model of the columns of a cohort with more of them, fitted by L-BFGS."""
    X, y = load_gbsg2()
    X, rows = pd.get_dummies(X, dtype=float).to_numpy()[order], share.rows("events")
    n = len(y) // N  # as many for each row of the small cohort
    rows = slice(n * rows.start, None if share.last else n * rows.stop)
    options = {"module": None, "hidden_layer_sizes": (), "optimizer": "lbfgs", "max_epochs": 200}
    return {"coef": estimator(share, **options).fit(X[rows], y[order][rows]).coef_}


def of_skorch(share, **options):
    """A net of skorch, which sets a fifth of the rows of all processes aside."""
    kind = SurvivalNet
    if share.size > 1:
        from accelerate import Accelerator

        kind = partial(AcceleratedSurvivalNet, accelerator=Accelerator(cpu=True))
    with torch.random.fork_rng():
        torch.manual_seed(share.rank)
        module = perceptron().double()
    net = kind(
        module,
        lr=0.1,
        max_epochs=3,
        verbose=0,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        iterator_valid__batch_size=5,  # all of which the first process has
        **options,
    )
    columns = dict(zip(("entry", "stratum", "weight"), map(DATA.get, ALL), strict=True))
    rows = share.rows("events")
    net.fit(DATA["X"][rows], survival_target(DATA["y"], **columns)[rows])
    return {
        "weights": torch.cat([w.detach().flatten() for w in net.module_.parameters()]).tolist(),
        "names of weights": list(net.module_.state_dict()),
        "losses": net.history[:, ("train_loss", "valid_loss")],
        "predictions": net.predict(DATA["X"]),
    }


#: What has to be as in one process with all rows.
EQUAL = {
    **{
        f"{ties}, {', '.join(columns) or 'right-censored'}": partial(
            fit, columns=columns, ties=ties
        )
        for ties in ("efron", "breslow")
        for columns in ((), *((name,) for name in ALL), ALL)
    },
    "weibull": partial(fit, columns=("entry", "sample_weight"), kind=WeibullAFTRegressor),
    "float32, efron": partial(fit, columns=ALL, dtype="float32"),
    "float32, breslow": partial(fit, columns=ALL, dtype="float32", ties="breslow"),
    "float32, weibull": partial(fit, kind=WeibullAFTRegressor, dtype="float32"),
    "events in all processes": partial(fit, columns=ALL, layout="events"),
    "a process of one row": partial(fit, layout="few"),
    "batches of which a process has no row": partial(fit, layout="few", batch=8),
    "batches without an event": skipping,
    "no row with a weight in the last process": partial(
        fit,
        columns=("sample_weight",),
        given={"sample_weight": np.where(np.arange(N) < CENSORED, DATA["sample_weight"], 0.0)},
    ),
    "whole times in the last process": partial(
        fit, last={"y": DATA["y"].astype([("event", bool), ("time", np.int64)])}
    ),
    "all rows at once": partial(fit, columns=ALL, batch=None),
    "momentum": partial(fit, columns=ALL, momentum=True, momentum_steps=2, max_epochs=3),
    "momentum, average alone": partial(fit, momentum=True, momentum_steps=0),
    "momentum, weibull": partial(fit, momentum=True, kind=WeibullAFTRegressor),
    "partial_fit": trained_on,
    "partial_fit with momentum": partial(trained_on, momentum=True),
    "partial_fit again": partial(
        fit, columns=("stratum",), calls=2 * ("partial_fit",), momentum=True
    ),
    "early stopping": partial(
        fit, early_stopping=True, n_iter_no_change=2, max_epochs=30, lr=0.2, layout="events"
    ),
    "early stopping with momentum": partial(
        fit, columns=ALL, early_stopping=True, validation_fraction=0.3, momentum=True
    ),
    "warm start": partial(fit, columns=ALL, calls=2 * ("fit",), warm_start=True),
    "X in a file": lambda share: fit(share, columns=ALL, given={"X": mapped(share)}),
    "X in a file, by windows": lambda share: fit(
        share, given={"X": mapped(share)}, early_stopping=True, iterator_train__window_bytes=1200
    ),
    "X in a file in one process": lambda share: fit(share, last={"X": mapped(share)}),
    "X as a dataset": partial(fit, given={"X": Rows(DATA["X"])}, early_stopping=True),
    "X as a dataset in one process": partial(fit, layout="few", last={"X": Rows(DATA["X"])}),
    "a seed in each process": lambda share: fit(
        share, random_state=share.rank, early_stopping=True
    ),
    "a network of other weights in each process": own_weights,
    "weights that have drifted": lambda share: fit(
        share, callbacks=[("watch", Watch()), ("drift", Drift(share))]
    ),
    "callbacks of skorch": with_callbacks,
    "linear": partial(fit, columns=ALL, module=None, hidden_layer_sizes=()),
    "linear by L-BFGS": partial(
        fit, columns=ALL, module=None, hidden_layer_sizes=(), optimizer="lbfgs", max_epochs=50
    ),
    "built-in network": partial(
        fit, columns=ALL, module=None, hidden_layer_sizes=(4,), norm="layer"
    ),
    "built-in network, weibull": partial(
        fit, kind=WeibullAFTRegressor, module=None, hidden_layer_sizes=(4,)
    ),
    "net of skorch": lambda share: of_skorch(
        share, iterator_train__generator=np.random.default_rng(share.rank)
    ),
}


# What has no equal in one process


class Masked(nn.Module):
    """Dropout with one mask for all rows, which is kept."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.masks = nn.Linear(3, 16), nn.Linear(16, 1), []

    def forward(self, x):
        mask = nn.functional.dropout(x.new_ones(16), 0.5, self.training)
        if self.training:
            self.masks.append(mask.tolist())
        return self.last(self.first(x) * mask)


def dropout(share):
    """Two equal fits."""
    rows = share.rows()
    models = [
        estimator(share, module=Masked).fit(DATA["X"][rows], DATA["y"][rows]) for _ in range(2)
    ]
    masks, masks_again = [model.net_.module_.masks for model in models]
    model, again = map(seen, models)
    return {"model": model, "masks": masks, "again": again, "masks again": masks_again}


class Terminal(io.StringIO):
    """Where somebody looks."""

    def isatty(self):
        return True


def printed(share):
    """What fits print, by `verbose`."""
    told = {}
    for verbose in (0, 1, 2):
        terminal = Terminal()
        with contextlib.redirect_stdout(terminal), contextlib.redirect_stderr(terminal):
            fit(share, verbose=verbose)
        told[verbose] = terminal.getvalue()
    return told


def kept(share):
    """Fitted models as they are written, a clone, and the predictions of all of them."""
    rows = share.rows()
    told = {}
    for name, options in {
        "cox": {},
        "momentum": {"momentum": True},
        "weibull": {"kind": WeibullAFTRegressor, "module": None, "hidden_layer_sizes": (4,)},
    }.items():
        model = estimator(share, **options).fit(DATA["X"][rows], DATA["y"][rows])
        again = clone(model).fit(DATA["X"][rows], DATA["y"][rows])
        told[name] = {
            "pickle": pickle.dumps(model),
            "predictions": model.predict(DATA["X"]),
            "those of a clone": again.predict(DATA["X"]),
        }
    return told


def alone(share):
    """The last process uses its models, and fits one without accelerate; the others do not."""
    rows = share.rows("events")
    own = slice(50, N)
    done = share.folder / f"alone{share.size}"
    models = [
        estimator(share, **options).fit(DATA["X"][rows], DATA["y"][rows])
        for options in (
            {"module": None, "hidden_layer_sizes": (4,)},
            {"momentum": True},
            {"kind": WeibullAFTRegressor},
        )
    ]
    if not share.last:
        wait_for(done)
        return {}
    for model in models:
        seen(copy.deepcopy(model))
        pickle.dumps(model)
    options = {"accelerator": None, "batch_size": BATCH, "early_stopping": True}
    told = seen(estimator(share, **options).fit(DATA["X"][own], DATA["y"][own]))
    done.touch()
    return told


def wait_for(*paths, seconds=30.0):
    """Wait for files, and without torch.distributed."""
    until = time.monotonic() + seconds
    while not all(path.exists() for path in paths):
        if time.monotonic() > until:
            raise TimeoutError(f"{paths} did not come.")
        time.sleep(0.01)


# The loss in a loop of one's own


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


# What is refused


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


def busy(share):
    """So much is exchanged that torch is not done with it when the process ends."""
    for _ in range(20):
        processes.exchange_numbers([share.rank], torch.device("cpu"))
    return {}


# Accelerators of one's own, and the ends of processes


def impatient(**options):
    """An accelerator that waits 5 seconds for other processes."""
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    patience = InitProcessGroupKwargs(timeout=timedelta(seconds=5))
    return Accelerator(cpu=True, kwargs_handlers=[patience], **options)


def half(share, precision="bf16"):
    """A fit in bfloat16, whose weights stay in float32."""
    # The processes need not have started within 5 seconds.
    (share.folder / f"{share.rank}").touch()
    wait_for(*(share.folder / f"{rank}" for rank in range(share.size)))
    given = None if precision is None else impatient(mixed_precision=precision)
    return fit(share, columns=ALL, accelerator=given, dtype="float32")


class AfterOneEpoch(Callback):
    """Does something in the second epoch of the last process."""

    def __init__(self, share, what):
        self.share, self.what = share, what

    def on_batch_begin(self, net, **kwargs):
        if self.share.last and len(net.history) == 2:
            self.what(self.share)


def ended(share, what, **options):
    """How long a fit waits, and its error, when the last process does something else."""
    callbacks = [("watch", Watch()), ("ends", AfterOneEpoch(share, what))]
    started = time.monotonic()
    try:
        fit(share, callbacks=callbacks, **options)
    except Exception as error:
        seconds = time.monotonic() - started
        return {"error": type(error).__name__, "message": str(error), "seconds": seconds}
    return {"error": "none", "message": "", "seconds": 0.0}


def sleep(share):
    """Wait until the others have given up."""
    wait_for(share.folder / "raised", seconds=60)
    os._exit(0)


def stopped(share):
    told = ended(share, sleep, accelerator=impatient(mixed_precision="bf16"))
    (share.folder / "raised").touch()
    return told


def killed(share):
    return ended(share, lambda share: os.kill(os.getpid(), signal.SIGKILL))


ALL_CASES = {
    "unaware": unaware,  # first, before there is a process group
    **EQUAL,
    "line search": line_search,
    "no seed": partial(fit, random_state=None, early_stopping=True),
    "dropout": dropout,
    "printed": printed,
    "kept": kept,
    "alone": alone,
    **{
        f"loss: {name}, {layout}": partial(gathered, name=name, layout=layout)
        for name in LOSSES
        for layout in LAYOUTS
    },
    **{
        f"loss in float32: {name}": partial(
            gathered, name=name, layout="uneven", dtype=torch.float32
        )
        for name in LOSSES
    },
    "loss: gradients added up": partial(
        gathered, name="efron, all columns", layout="uneven", wrapped=False
    ),
    "loss: momentum": gathered_momentum,
    **{f"refused: {name}": partial(refused, name=name) for name in REFUSED},
    "busy": busy,
}
#: Those of four processes: where it matters who stands between the first and the last.
OF_FOUR = [
    "unaware",
    "efron, entry, stratum, sample_weight",
    "breslow, entry, stratum, sample_weight",
    "weibull",
    "float32, efron",
    "events in all processes",
    "a process of one row",
    "batches of which a process has no row",
    "no row with a weight in the last process",
    "momentum",
    "early stopping with momentum",
    "X in a file in one process",
    "X as a dataset",
    "a seed in each process",
    "linear by L-BFGS",
    "net of skorch",
    "dropout",
    "alone",
    *(f"loss: efron, all columns, {layout}" for layout in LAYOUTS),
    "loss: weibull, uneven",
    "loss: momentum",
    "refused: NaN",
    "refused: alpha",
    "refused: loss: lengths",
    "refused: loss: dtypes",
    "busy",
]
SUITES = {
    "2": ALL_CASES,
    "4": {name: ALL_CASES[name] for name in OF_FOUR},
    "half precision and a process that stops": {"half": half, "stopped": stopped},
    "a process that dies": {"killed": killed},
}


def main(suite, folder):
    """Write what each case returns in this process, one by one."""
    # torch.distributed.run does not end processes that wait for each other.
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    warnings.simplefilter("error")
    share = Share(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), Path(folder))
    with open(share.folder / f"{share.rank}.pickle", "wb") as file:
        for name, case in SUITES[suite].items():
            try:
                told = case(share)
            except Exception:
                told = {"traceback": traceback.format_exc()}
            pickle.dump((name, told), file)
            file.flush()


if __name__ == "__main__":
    # By its name, so that what is pickled can be found.
    from tests.contract import data_parallel_worker

    data_parallel_worker.main(*sys.argv[1:])
