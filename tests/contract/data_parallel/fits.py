"""Estimators that are fitted in several processes, and what they show."""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
import warnings
from functools import partial

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler
from sksurv.datasets import load_gbsg2
from torch import nn

from sksurvtorch import CompetingRisksNNRegressor, CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch._processes import world
from sksurvtorch.exceptions import SkippedBatchWarning
from sksurvtorch.nets import AcceleratedSurvivalNet, SurvivalNet, survival_target
from sksurvtorch.nets.rows import as_rows, pool
from tests.contract.data_parallel.shares import (
    ALL,
    BATCH,
    CENSORED,
    DATA,
    RISKS,
    N,
    mapped,
    wait_for,
)
from tests.contract.stored import Rows


def perceptron(n_outputs=1):
    """A network that starts at random, where the built-in one starts at a linear model."""
    # A bias of the output changes no Cox loss, and Adam would walk along it on rounding noise.
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, n_outputs, bias=False))


class Watch(Callback):
    """Keeps the gradients of the first steps."""

    def on_train_begin(self, net, **kwargs):
        self.gradients_ = []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        if len(self.gradients_) < 6:
            gradient = [w.grad.flatten() for _, w in named_parameters if w.requires_grad]
            self.gradients_.append(torch.cat(gradient).tolist())


def estimator(share, kind=CoxNNRegressor, batch=BATCH, **parameters):
    """A small estimator, whose batches have `batch` rows of all processes together."""
    defaults = {
        "module": perceptron,
        "n_estimators": 1,
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
    several = isinstance(model, CompetingRisksNNRegressor)
    state = model.net_.module_.state_dict().values()
    told = {
        "weights": torch.cat([w.double().flatten() for w in state if w.ndim]).tolist(),
        "predictions": model.predict(X),
        "score": model.score(X, RISKS if several else DATA["y"]),
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
        told["last times"] = model.last_times_
        told["baseline"] = model.log_baseline_cumulative_hazard_
        told["strata"] = [] if model.strata_ is None else model.strata_.tolist()
        stratum = {} if model.strata_ is None else {"stratum": DATA["stratum"]}
    if several:
        told["incidence"] = model.predict_cumulative_incidence(X, times=[1.0, 5.0], **stratum)
    else:
        told["survival"] = model.predict_survival_function(X, times=[1.0, 5.0], **stratum)
    return told


def of_risks(share, **options):
    """A fit of two causes."""
    if "module" not in options:
        options["module__n_outputs"] = 2
    return fit(share, kind=CompetingRisksNNRegressor, given={"y": RISKS}, **options)


def trained_on(share, **parameters):
    """`partial_fit` on some rows, then on others that are shared otherwise."""
    model = estimator(share, **parameters)
    y = DATA["y"].copy()
    for layout in ("uneven", "events"):
        rows = share.rows(layout)
        model.partial_fit(DATA["X"][rows], y[rows])
        y["time"] += 0.5
    return seen(model)


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
    "two causes": partial(of_risks, columns=ALL),
    "two causes, subdistribution": partial(of_risks, columns=ALL, hazard="subdistribution"),
    "two causes, early stopping": partial(
        of_risks, columns=("stratum",), early_stopping=True, layout="events", ties="breslow"
    ),
    "two causes, linear": partial(
        of_risks, columns=ALL, module=None, hidden_layer_sizes=(), layout="few"
    ),
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


def dtypes(share):
    """Of columns that came in others in the last process."""
    columns = {
        "whole": torch.ones(2, dtype=torch.int32 if share.last else torch.int64),
        "mixed": torch.ones(2, dtype=torch.int32 if share.last else torch.float32),
        "same": torch.ones(2, dtype=torch.int8),
    }
    _, gathered = pool(as_rows(torch.zeros(2, 1)), columns, world())
    return {name: str(column.dtype) for name, column in gathered.items()}


class Terminal(io.StringIO):
    """Where somebody looks."""

    def isatty(self):
        return True


def printed(share):
    """What fits print, by `verbose`, and what goes into a sink of one's own."""
    told, lines = {}, []
    stopping = {"early_stopping": True, "n_iter_no_change": 1, "tol": 1e9, "layout": "events"}
    for verbose in (0, 1, 2):
        terminal = Terminal()
        with contextlib.redirect_stdout(terminal), contextlib.redirect_stderr(terminal):
            fit(share, verbose=verbose, **stopping)
        told[verbose] = terminal.getvalue()
    fit(share, verbose=2, callbacks__print_log__sink=lines.append)
    return {**told, "sink": "\n".join(lines)}


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
