"""The fits of which ``fingerprints.py`` takes hashes: data, networks, and a name for each fit."""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler
from skorch.dataset import ValidSplit
from sksurv.datasets import load_gbsg2, load_veterans_lung_cancer, load_whas500
from sksurv.util import Surv
from torch import nn
from torch.utils.data import Dataset

import sksurvtorch
from sksurvtorch import CoxNNRegressor, CoxPHLoss, WeibullAFTLoss, WeibullAFTRegressor
from sksurvtorch.losses import MomentumLoss, MomentumNetwork
from sksurvtorch.nets import (
    MLP,
    AcceleratedSurvivalNet,
    SharedShape,
    SurvivalNet,
    TrainingCheckpoint,
    survival_target,
)

KINDS = {"Cox": CoxNNRegressor, "Weibull": WeibullAFTRegressor}
LOADERS = {"whas500": load_whas500, "gbsg2": load_gbsg2, "veterans": load_veterans_lung_cancer}
N, N_FEATURES = 240, 5  # of what is simulated
SIMULATED = {"simulated": (N_FEATURES,), "images": (1, 8, 8)}
RECORDED = [f"{part}_{name}" for part in ("train", "valid") for name in ("loss", "batch_size")]
RANK = int(os.environ.get("RANK", 0))
N_PROCESSES = int(os.environ.get("WORLD_SIZE", 1))
FOLDER = tempfile.TemporaryDirectory()


# Data


def new_path():
    """Return the path of a file that is still to be written."""
    return Path(tempfile.mkdtemp(dir=FOLDER.name), "file")


def loaded(name):
    """Return features, events and times of a data set of scikit-survival."""
    X, y = LOADERS[name]()
    X = pd.get_dummies(X, drop_first=True, dtype=float).to_numpy(dtype=float)
    return X, *(y[field] for field in y.dtype.names)


def simulated(*shape):
    """Return rows of such a shape, less than half of them with an event, and times with ties."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, *shape))
    first, second, third, *_ = X.reshape(N, -1).T
    dead = rng.exponential(8 * np.exp(-first - second * third))
    censored = rng.exponential(6, N)
    return X, dead <= censored, np.ceil(np.minimum(dead, censored))


@cache
def data(name, *columns):
    """Return X, y and further columns of those rows that this process has."""
    X, event, when = simulated(*SIMULATED[name]) if name in SIMULATED else loaded(name)
    rng = np.random.default_rng(1)
    weight = rng.uniform(0.5, 2.0, len(X))
    weight[::9] = 0.0
    further = {
        "entry": np.floor(0.9 * rng.random(len(X)) * when),
        "stratum": rng.choice(["a", "b", "c"], len(X)),
        "sample_weight": weight,
        "index": np.arange(len(X)),
    }
    given = {"X": X, "y": Surv.from_arrays(event, when)} | {name: further[name] for name in columns}
    bounds = [0, len(X)] if N_PROCESSES == 1 else [0, 3 * len(X) // 5, len(X)]
    return {name: x[slice(*bounds[RANK : RANK + 2])] for name, x in given.items()}


def mapped(X, order="C"):
    """Return an array in a file, opened as a memory map."""
    path = new_path().with_suffix(".npy")
    np.save(path, np.asarray(X, np.float32, order=order))
    return np.load(path, mmap_mode="r")


class Rows(Dataset):
    """A dataset of the rows of an array."""

    def __init__(self, X):
        self.X = X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        return self.X[index]


class Batches(Rows):
    """The same, which is asked for all rows of a batch at once."""

    def __getitems__(self, indices):
        return self.X[indices]


# Networks


class Perceptron(nn.Sequential):
    """One hidden layer with dropout."""

    def __init__(self, n_hidden=8, dropout=0.2, n_outputs=1):
        hidden = nn.Linear(N_FEATURES, n_hidden), nn.Tanh(), nn.Dropout(dropout)
        super().__init__(*hidden, nn.Linear(n_hidden, n_outputs))


class ConvNet(nn.Sequential):
    """A convolution and a linear layer, for images of 8 × 8 pixels."""

    def __init__(self):
        convolution = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
        super().__init__(*convolution, nn.Flatten(), nn.Linear(36, 1))


def instance():
    """Return a network with the same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Perceptron()


def with_shared_shape():
    """Return a network for Weibull models."""
    return SharedShape(Perceptron())


# What a fit gives


def recorded(net):
    """Return the losses and the numbers of rows of all epochs and batches."""
    batches = [batch for epoch in net.history for batch in epoch["batches"]]
    return {
        f"{name} of {level}": np.array([row[name] for row in rows if name in row], dtype=float)
        for level, rows in (("epochs", net.history), ("batches", batches))
        for name in RECORDED
    }


def seen(model, given):
    """Return all that a fitted estimator shows."""
    X = given["X"]
    strata = {"stratum": given["stratum"]} if "stratum" in given else {}
    functions = {
        name: getattr(model, f"predict_{name}_function")(X, return_array=True, **strata)
        for name in ("survival", "cumulative_hazard")
    }
    numbers = {
        name: getattr(model, f"predict_{name}")(X, **strata) for name in ("median", "expectation")
    }
    return {
        "risk score": model.predict(X),
        **functions,
        **numbers,
        "quantile": model.predict_quantile(X, [0.1, 0.3], **strata),
        "parameters": model.predict_params(X) if isinstance(model, WeibullAFTRegressor) else (),
        "concordance": model.score(X, given["y"]),
        **recorded(model.net_),
        "n_iter_": model.n_iter_,
        "coef_": getattr(model, "coef_", ()),  # of linear models
        "weights": model.net_.module_.state_dict(),
    }


# Fits of estimators


def estimator(kind, **parameters):
    """Return a quick estimator."""
    small = {"n_estimators": 1, "max_epochs": 6, "batch_size": 40, "lr": 0.01, "random_state": 0}
    if parameters.get("module") is None:
        small["hidden_layer_sizes"] = (8,)
    return KINDS[kind](**small | parameters)


def given_to(kind, name, columns, form=None):
    """Return what an estimator is given: a Weibull model has no strata."""
    given = dict(data(name, *columns))
    if kind == "Weibull":
        given.pop("stratum", None)
    return given if form is None else given | {"X": form(given["X"])}


def fit(kind, name="simulated", columns=(), form=None, n_fits=1, **parameters):
    """Fit to a data set with some columns, X in some form."""
    given, model = given_to(kind, name, columns, form), estimator(kind, **parameters)
    for _ in range(n_fits):
        model.fit(**given)
    return seen(model, given)


def fit_in_parts(kind, columns=(), shuffled=False, **parameters):
    """Call `partial_fit` four times, perhaps with the rows in another order each time."""
    given, model = given_to(kind, "simulated", columns), estimator(kind, **parameters)
    rng = np.random.default_rng(0)
    for _ in range(4):
        n_rows = len(given["y"])
        rows = rng.permutation(n_rows) if shuffled else np.arange(n_rows)
        model.partial_fit(**{name: column[rows] for name, column in given.items()})
    return seen(model, given)


def fit_copied(kind, copied, **parameters):
    """Copy a fitted estimator, and go on with the copy."""
    given, model = given_to(kind, "simulated", ()), estimator(kind, **parameters)
    copy = copied(model.fit(**given))
    return {"copy": seen(copy, given), "trained on": seen(copy.partial_fit(**given), given)}


def through_file(model):
    """Return what is loaded of a saved model."""
    path = new_path()
    sksurvtorch.save(model, path)
    return sksurvtorch.load(path)


def through_pickle(model):
    """Return a model that was pickled."""
    return pickle.loads(pickle.dumps(model))


class Accident(Callback):
    """Ends the third epoch, and all that is not in a file."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 3:
            raise InterruptedError


def fit_resumed(kind, **parameters):
    """Go on with a fit that was interrupted."""
    given, checkpoint = given_to(kind, "simulated", ()), TrainingCheckpoint(new_path())
    model = estimator(kind, callbacks=[checkpoint, Accident()], **parameters)
    with contextlib.suppress(InterruptedError):
        model.fit(**given)
    return seen(model.set_params(callbacks=[checkpoint]).fit(**given), given)


# Fits of nets


def fit_net(kind, module, columns=(), form=None, **options):
    """Fit a net of skorch or of this package, with a quarter of the rows for validation."""
    given = data("simulated", *columns)
    X, further = given["X"].astype(np.float32), map(given.get, (*ALL, "index"))
    if kind is not NeuralNet:
        options["iterator_train__generator"] = np.random.default_rng(0)
    torch.manual_seed(0)
    net = kind(
        module,
        batch_size=40,
        max_epochs=5,
        iterator_train__shuffle=True,
        train_split=ValidSplit(4),
        verbose=0,
        **{"optimizer": torch.optim.Adam, "lr": 0.02, **options},
    )
    net.fit(X if form is None else form(X), survival_target(given["y"], *further))
    return {"output": net.predict(X), **recorded(net), "weights": net.module_.state_dict()}


def fit_accelerated(module, **options):
    """Fit a net of this package by accelerate."""
    from accelerate import Accelerator

    kind = partial(AcceleratedSurvivalNet, accelerator=Accelerator(cpu=True))
    return fit_net(kind, module, **options)


# Names

ALL = ("entry", "stratum", "sample_weight")
LINEAR = {"hidden_layer_sizes": ()}
WINDOWS = {"form": mapped, "iterator_train__window_bytes": 1600}  # a third of the rows
STOPPING = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 30}
MOMENTUM = {"momentum": True, "momentum_steps": 2}
CONSTANT = {"lr_schedule": "constant"}
CALLBACKS = [
    GradientNormClipping(0.05),
    ("schedule", LRScheduler("StepLR", step_size=2, gamma=0.5)),
]
#: What `fit` is called with for both estimators.
BOTH = {
    "default": {
        "name": "whas500",
        "hidden_layer_sizes": (64, 64),
        "max_epochs": "auto",
        "batch_size": 256,
        "lr": 1e-3,
    },
    "float64": {"name": "gbsg2", "dtype": "float64"},
    "all rows at once": {"name": "veterans", "batch_size": None},
    "alpha=0": {"name": "veterans", "alpha": 0},
    "L-BFGS": {"optimizer": "lbfgs"},
    "linear": {"name": "gbsg2", **LINEAR},
    "linear, L-BFGS": {"name": "whas500", **LINEAR, "optimizer": "lbfgs", "max_epochs": "auto"},
    "linear, float32 X in float64": {"form": np.float32, **LINEAR, "dtype": "float64"},
    "early stopping": {"name": "gbsg2", **STOPPING},
    "dropout, batch normalisation": {"dropout": 0.3, "norm": "batch"},
    "layer normalisation": {"norm": "layer", "activation": "silu"},
    "SGD": {"optimizer": "sgd", "optimizer__momentum": 0.9},
    "class of an optimizer": {"optimizer": torch.optim.AdamW, "optimizer__betas": (0.8, 0.9)},
    "constant learning rate": CONSTANT,
    "callbacks": {**CONSTANT, "callbacks": CALLBACKS},
    "entry": {"columns": ("entry",)},
    "weights": {"columns": ("sample_weight",)},
    "all columns": {"columns": ALL},
    "all columns, all rows at once": {"columns": ALL, "dtype": "float64", "batch_size": None},
    "momentum": MOMENTUM,
    "momentum, all columns, early stopping": {"columns": ALL, **MOMENTUM, **STOPPING},
    "module": {"module": Perceptron, "module__n_hidden": 6},
    "instance of a module": {"module": instance(), "dtype": "float64"},
    "images": {"name": "images", "module": ConvNet},
    "map": {"form": mapped},
    "map in Fortran order": {"form": partial(mapped, order="F")},
    "map, windows": WINDOWS,
    "map in Fortran order, windows": {**WINDOWS, "form": partial(mapped, order="F")},
    "map, windows, entry": {**WINDOWS, "columns": ("entry",)},
    "map, windows, early stopping": {**WINDOWS, **STOPPING},
    "map, windows, momentum, all columns": {**WINDOWS, "columns": ALL, **MOMENTUM},
    "map, windows, without a shuffle": {**WINDOWS, "iterator_train__shuffle": False},
    "dataset": {"form": Rows, "dropout": 0.1},
    "dataset, read ahead": {"form": Rows, "iterator_train__num_workers": 2, "max_epochs": 2},
    "dataset of batches": {"form": Batches, "columns": ALL},
    "dataset of batches, windows": {**WINDOWS, "form": Batches},
    "without a shuffle": {"iterator_train__shuffle": False},
    "accelerate": {"accelerator": "auto", "columns": ALL},
    "warm start": {"warm_start": True, "n_fits": 2},
}
PER_SAMPLE = {"shape": "per_sample"}
OUTPUTS = {"module": Perceptron, "module__n_outputs": 2}
#: What it is called with for one of them.
OF_ONE = {
    "Cox": {
        "stratum": {"columns": ("stratum",)},
        "Breslow": {"ties": "breslow"},
        "Breslow, all columns": {"ties": "breslow", "columns": ALL},
        "momentum, stratum": {"columns": ("stratum",), **MOMENTUM},
        "batches without an event": {"batch_size": 2},
        "batches without an event, map, windows": {**WINDOWS, "batch_size": 2},
        "average alone": {"momentum": True, "momentum_steps": 0},
    },
    "Weibull": {
        "shape of each sample": PER_SAMPLE,
        "shape of each sample, module": {**PER_SAMPLE, **OUTPUTS},
        "losses beyond a million": {"lr": 3.0, "alpha": 0},
    },
}
#: The same in two processes.
OF_TWO = {
    "two processes": {},
    "two processes, early stopping": STOPPING,
    "two processes, all columns": {"columns": ALL},
    "two processes, map, windows": WINDOWS,
    "two processes, momentum": MOMENTUM,
}
OTHERS = {
    "partial_fit": fit_in_parts,
    "partial_fit, momentum": partial(fit_in_parts, **MOMENTUM),
    "partial_fit, momentum, shuffled": partial(fit_in_parts, shuffled=True, **MOMENTUM),
    "partial_fit, momentum, all columns": partial(fit_in_parts, columns=ALL, **MOMENTUM),
    "saved": partial(fit_copied, copied=through_file),
    "saved, momentum": partial(fit_copied, copied=through_file, **MOMENTUM),
    "pickled": partial(fit_copied, copied=through_pickle),
    "pickled, momentum": partial(fit_copied, copied=through_pickle, **MOMENTUM),
    "resumed": partial(fit_resumed, dropout=0.2),
    "resumed, momentum, early stopping": partial(fit_resumed, **MOMENTUM, **STOPPING),
}
BANK = {"criterion": MomentumLoss, "criterion__loss": CoxPHLoss(), "criterion__bank_size": 80}
BANK |= {"module__backbone": Perceptron, "columns": (*ALL, "index")}
WEIBULL = {"criterion": WeibullAFTLoss, "columns": ("entry", "sample_weight")}
NETS = {
    "SurvivalNet, Cox": partial(fit_net, SurvivalNet, Perceptron, columns=ALL, l2=0.1),
    "SurvivalNet, Cox, map": partial(fit_net, SurvivalNet, Perceptron, form=mapped),
    "SurvivalNet, Weibull": partial(
        fit_net, SurvivalNet, MLP, module__n_features=N_FEATURES, module__n_outputs=2, **WEIBULL
    ),
    "SurvivalNet, Weibull, shared shape": partial(
        fit_net, SurvivalNet, with_shared_shape, **WEIBULL
    ),
    "SurvivalNet, momentum": partial(fit_net, SurvivalNet, MomentumNetwork, **BANK),
    "NeuralNet, Cox": partial(
        fit_net, NeuralNet, Perceptron, columns=ALL, criterion=partial(CoxPHLoss, ties="breslow")
    ),
    "NeuralNet, momentum": partial(fit_net, NeuralNet, MomentumNetwork, **BANK),
}
FITS = {
    **{
        f"{kind}, {name}": partial(fit, kind, **given)
        for kind in KINDS
        for name, given in {**BOTH, **OF_ONE[kind]}.items()
    },
    **{f"{kind}, {name}": partial(made, kind) for kind in KINDS for name, made in OTHERS.items()},
    **NETS,
}
FITS_OF_TWO = {
    **{
        f"{kind}, {name}": partial(fit, kind, accelerator="auto", **given)
        for kind in KINDS
        for name, given in OF_TWO.items()
    },
    "SurvivalNet, two processes": partial(
        fit_accelerated, Perceptron, columns=("entry", "sample_weight")
    ),
}
