"""What the page of errors and warnings quotes is what is raised."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, LRScheduler
from sksurv.datasets import load_bmt, load_gbsg2, load_whas500
from sksurv.metrics import concordance_index_ipcw, integrated_brier_score
from sksurv.util import Surv
from torch import nn

from sksurvtorch import CoxNNRegressor, CoxPHLoss, WeibullAFTRegressor, displays, load
from sksurvtorch._processes import Alone, Group
from sksurvtorch.functional import RiskSets
from sksurvtorch.nets import TrainingCheckpoint, interval_censored_y

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "trouble.md"
QUOTED = re.compile(r"^\| ``(\w+): (.+?) ?`` \|", re.MULTILINE)
X, y = load_whas500()
X = X.astype(float)
INTERVALS = interval_censored_y(y["lenfol"], y["lenfol"] + 30)
ROWS = X.to_numpy(dtype=np.float32)
ETA, EVENT, TIME = torch.zeros(3, requires_grad=True), torch.ones(3).bool(), torch.arange(3)


def new(**options):
    return CoxNNRegressor(**{"n_estimators": 1, "max_epochs": 2, "random_state": 0} | options)


LINEAR = {"hidden_layer_sizes": (), "optimizer": "lbfgs"}


class PoisonWeight(Callback):
    """Puts NaN into a weight at the start of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            with torch.no_grad():
                next(net.module_.parameters()).view(-1)[0] = float("nan")


class FirstOfTwo(Alone):
    """The first of two processes, of which the other has an error."""

    def exchange(self, what):
        return [what, "ValueError: Input X contains NaN."]


def other_process():
    with Group.all_or_none(FirstOfTwo(size=2, rank=0)):
        pass


def cut_file():
    Path("cut.safetensors").write_bytes(b"cut")
    load("cut.safetensors")


def other_training():
    new(callbacks=[TrainingCheckpoint("fit.pt")]).fit(X, y)
    new(callbacks=[TrainingCheckpoint("fit.pt")]).fit(X[:400], y[:400])


def tied_groups():
    rows = X[["gender"]]
    model = new().fit(rows, y)
    displays.SurvivalCalibrationDisplay.from_estimator(model, rows, y, time=365, n_groups=4)


def score_beyond_the_follow_up():
    survival = new().fit(X, y).predict_survival_function(X, times=[365, 2000])
    integrated_brier_score(y, y, survival, [365, 5000])


#: What a newcomer does, or meets.
CASES = [
    lambda: new().fit(X, y["lenfol"]),
    lambda: new().fit(X, y.astype([("event", int), ("time", float)])),
    lambda: new().fit(*load_bmt()),
    lambda: new().fit(X, INTERVALS),
    lambda: new().fit(X, Surv.from_arrays(np.zeros(len(X), dtype=bool), y["lenfol"])),
    lambda: WeibullAFTRegressor().fit(X, Surv.from_arrays(y["fstat"], y["lenfol"] - 1)),
    lambda: NeuralNet(nn.Linear(14, 1), CoxPHLoss, train_split=None).fit(ROWS, y),
    lambda: new().fit(load_gbsg2()[0], load_gbsg2()[1]),
    lambda: new().fit(X.mask(X > 100), y),
    lambda: OneHotEncoder().fit([["a"], ["b"]]).transform([["c"]]),
    lambda: new().fit(X, y).predict(X[X.columns[::-1]]),
    lambda: train_test_split(X, y, stratify=y),
    lambda: list(StratifiedKFold(3).split(X, y)),
    lambda: train_test_split(X, INTERVALS, stratify=INTERVALS["event"]),
    lambda: new().fit(X, y, sample_weight=np.full(len(X), 1e308)),
    lambda: new(max_epochs=4, callbacks=[PoisonWeight(3)]).fit(X, y),
    lambda: new(callbacks=[PoisonWeight(1)]).fit(X, y),
    lambda: new(batch_size=2).fit(X, y),
    lambda: new().fit(X.assign(date=1.7e9 + X["age"]), y),
    lambda: new().fit(X, Surv.from_arrays(y["fstat"], 0.1 * y["lenfol"] + 1e-14 * X["gender"])),
    lambda: new(**LINEAR).fit(X.assign(never=(X["age"] < 40) & ~y["fstat"]), y),
    lambda: new(**LINEAR, max_epochs=1).fit(X, y),
    lambda: new(callbacks=[EpochScoring("r2", on_train=True)]).fit(X, y),
    lambda: GridSearchCV(make_pipeline(new()), {"alpha": [1]}, cv=3).fit(X, y),
    lambda: new(callbacks=[LRScheduler()]).fit(X, y),
    lambda: new(callbacks=[EarlyStopping()]).fit(X, y),
    lambda: new(module=nn.Linear(3, 1), dropout=0.3).fit(X, y),
    lambda: new(module=nn.Linear(3, 1)).fit(X, y),
    lambda: new(device="cuda:77").fit(X, y),
    lambda: new().predict(X),
    lambda: make_pipeline(new()).fit(X, y).predict_median(X),
    lambda: new().fit(X, y).predict_survival_function(X, times=[5000]),
    lambda: (
        new()
        .fit(X, y, stratum=X["gender"])
        .predict_survival_function(X, times=[5000], stratum=X["gender"])
    ),
    lambda: new().fit(X, y).predict_survival_function(X)[0](5000),
    lambda: new().fit(X, y, stratum=X["gender"]).predict_median(X),
    score_beyond_the_follow_up,
    lambda: concordance_index_ipcw(y[y["lenfol"] < 1000], y, X["age"].to_numpy()),
    lambda: concordance_index_ipcw(INTERVALS, INTERVALS, X["age"].to_numpy()),
    tied_groups,
    lambda: CoxPHLoss()(ETA.to("meta"), EVENT, TIME),
    lambda: CoxPHLoss()(ETA, EVENT, TIME, weight=ETA.exp()),
    lambda: torch.autograd.grad(CoxPHLoss()(ETA, EVENT, TIME), ETA, create_graph=True),
    lambda: torch.func.grad(lambda eta: CoxPHLoss()(eta, risk_sets=RiskSets(EVENT, TIME)))(ETA),
    cut_file,
    other_training,
    other_process,
]


def told(case):
    """Return the category and the message of the error, or else of the warnings."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        try:
            case()
        except Exception as error:
            return [(type(error).__name__, str(error))]
    return [(warning.category.__name__, str(warning.message)) for warning in record]


def pattern(quoted):
    """Return what matches the beginning of a message; … stands for any text."""
    return re.compile(".+?".join(map(re.escape, quoted.split("…"))))


def test_messages_are_quoted_as_they_are_raised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    quoted = [(category, pattern(text)) for category, text in QUOTED.findall(PAGE.read_text())]
    assert len(quoted) == len(CASES) == PAGE.read_text().count("\n| ``")
    for case, (category, text) in zip(CASES, quoted, strict=True):
        found = told(case)
        assert any(name == category and text.match(message) for name, message in found), (
            text.pattern,
            found,
        )


def test_another_message_is_not_taken_for_a_quoted_one():
    assert pattern("`x` must be …, got").match("`x` must be at least 0, got -1.")
    assert not pattern("`x` must be …, got").match("`x` must be 0.")
    assert not pattern("`x` must be …, got").match("The `x` must be 0, got -1.")
