"""Whole tasks: a linear model, a score, survival functions, a search."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
import skorch
import torch
from lifelines import CoxPHFitter
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.datasets import load_whas500
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored as scikit_survival_concordance
from torch import nn
from torchsurv.loss.cox import neg_partial_log_likelihood

from sksurvtorch import CoxNNRegressor
from sksurvtorch.metrics import concordance_index_censored, concordance_index_ipcw
from speed.data import patients
from speed.measure import Machine, Row, medians


def linear(n: int, p: int, machine: Machine) -> list[Row]:
    """Fit a linear Cox model to convergence."""
    X, y = patients(n, p, dtype="float64")
    frame = pd.DataFrame(X).assign(event=y["event"], time=y["time"])
    models: dict[str, Callable[[], np.ndarray]] = {
        "ours": lambda: linear_model().fit(X, y).coef_,
        "lifelines": lambda: CoxPHFitter().fit(frame, "time", "event").params_.to_numpy(),
        "scikit-survival": lambda: CoxPHSurvivalAnalysis(ties="efron").fit(X, y).coef_,
    }
    coefficients = {name: fit() for name, fit in models.items()}
    for name, found in coefficients.items():
        np.testing.assert_allclose(coefficients["ours"], found, atol=1e-6, err_msg=name)
    seconds = medians(models, rounds=3)
    evaluations = count_evaluations(X, y)
    bound = evaluations * machine.moving(2 * X.nbytes)
    reason = f"X read twice in each of {evaluations} evaluations"
    work = f"linear Cox to convergence, n = {n:,}, p = {p}"
    return [
        Row(work, peer, seconds["ours"], seconds[peer], goal, bound, reason)
        for peer, goal in (("lifelines", 4), ("scikit-survival", 8))
    ]


def ensemble(n: int, goal: float, machine: Machine) -> Row:
    """Fit 15 networks, beside one, both as they are by default."""
    X, y = patients(n, 10)
    models = {
        "one": lambda: CoxNNRegressor(n_estimators=1, random_state=0).fit(X, y),
        "ours": lambda: CoxNNRegressor(n_estimators=15, random_state=0).fit(X, y),
    }
    seconds = medians(models, rounds=3)
    model = CoxNNRegressor(n_estimators=15, max_epochs=1, random_state=0).fit(X[:100], y[:100])
    n_weights = sum(weight.numel() for weight in model.net_.module_.parameters())
    operations = 6 * 0.8 * n * n_weights * 30
    return Row(
        f"fit of 15 networks, n = {n:,}",
        "fit of one network",
        seconds["ours"],
        seconds["one"],
        goal,
        operations / machine.operations,
        "products of the networks, forward and backward",
    )


def linear_model() -> CoxNNRegressor:
    """Return the linear model, without a penalty."""
    return CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs")


def count_evaluations(X: np.ndarray, y: np.ndarray) -> int:
    """Count how often L-BFGS looks at loss and gradient."""
    model = linear_model().set_params(callbacks=[("count", Count())]).fit(X, y)
    return int(dict(model.net_.callbacks_)["count"].n_)


class Count(skorch.callbacks.Callback):
    """Counts evaluations of loss and gradient."""

    n_ = 0

    def on_grad_computed(self, net: object, named_parameters: object, **kwargs: object) -> None:
        """Count one more."""
        self.n_ += 1


def score(n: int, goal: float, against: bool) -> Row:
    """Score risks with the concordance index, against scikit-survival or a limit in seconds."""
    X, y = patients(n, 2)
    risk = X[:, 0] + X[:, 1] + np.random.default_rng(1).standard_normal(n)
    event, when = y["event"].copy(), y["time"].copy()
    sort = medians({"sort": lambda: (np.argsort(risk), np.lexsort((~event, when)))}, rounds=3)

    def ours() -> tuple[float, ...]:
        return concordance_index_censored(event, when, risk)

    work, needed = f"concordance index, n = {n:,}", sort["sort"]
    if not against:
        limit, seconds = f"a limit of {goal:g} s", medians({"ours": ours}, 3)["ours"]
        return Row(work, limit, seconds, goal, 1, needed, "sorts")

    def theirs() -> tuple[float, ...]:
        return scikit_survival_concordance(event, when, risk)

    assert ours() == theirs()  # all five numbers
    seconds = medians({"ours": ours, "theirs": theirs}, rounds=3)
    return Row(
        work, "scikit-survival", seconds["ours"], seconds["theirs"], goal, needed, "the two sorts"
    )


def score_ipcw(n: int) -> Row:
    """Score risks with Uno's concordance index, against a limit of a second."""
    X, y = patients(n, 2)
    risk = X[:, 0] + X[:, 1] + np.random.default_rng(1).standard_normal(n)
    tau = float(np.quantile(y["time"], 0.9))
    seconds = medians(
        {
            "ours": lambda: concordance_index_ipcw(y, y, risk, tau=tau),
            "sort": lambda: (np.argsort(risk), np.lexsort((~y["event"], y["time"]))),
        },
        rounds=3,
    )
    work = f"concordance index with censoring weights, n = {n:,}"
    return Row(work, "a limit of 1 s", seconds["ours"], 1, 1, seconds["sort"], "sorts")


def survival_functions(n: int, machine: Machine) -> list[Row]:
    """Predict survival at all times of the training data, as an array and as functions."""
    X, y = patients(n, 10, dtype="float64")
    theirs = CoxPHSurvivalAnalysis().fit(X, y)
    ours = CoxNNRegressor(hidden_layer_sizes=(), optimizer="lbfgs", dtype="float64").fit(X, y)
    n_values = n * len(ours.unique_times_)
    needed = machine.moving(8 * n_values) + 2 * n_values / machine.exp
    found = []
    for work, asked in (("array", True), ("functions", False)):
        seconds = medians(
            {
                "ours": lambda asked=asked: ours.predict_survival_function(X, return_array=asked),
                "theirs": lambda asked=asked: theirs.predict_survival_function(
                    X, return_array=asked
                ),
            },
            rounds=3,
        )
        found.append(
            Row(
                f"survival of {n:,} samples at {len(ours.unique_times_):,} times, {work}",
                "scikit-survival",
                seconds["ours"],
                seconds["theirs"],
                None,
                needed,
                "the array written, two exp a value",
            )
        )
    return found


class TorchsurvLoss(nn.Module):
    """torchsurv's Cox loss as a criterion of skorch."""

    def forward(self, y_pred: torch.Tensor, y_true: torch.Tensor) -> torch.Tensor:
        """Return the loss; the target has columns for event and time."""
        return neg_partial_log_likelihood(y_pred, y_true[:, 0].bool(), y_true[:, 1])


def perceptron(n_features: int = 14, dropout: float = 0.0) -> nn.Module:
    """Return the network of the search."""
    sizes = [n_features, 64, 64]
    hidden = [
        layer
        for n_in, n_out in pairwise(sizes)
        for layer in (nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout))
    ]
    return nn.Sequential(*hidden, nn.Linear(64, 1, bias=False))


def search(batch_size: int | None, n_candidates: int = 20, n_epochs: int = 100) -> Row:
    """Search the same grid over the same folds with the same network and batches."""
    X, y = load_whas500()
    X = X.to_numpy(dtype="float32")
    event, when = y["fstat"].copy(), y["lenfol"].copy()
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(X, event))
    rates = np.geomspace(1e-4, 1e-2, n_candidates // 2).tolist()
    # skorch splits the target of the folds by rows; it becomes event and time as two columns.
    packed = np.column_stack([event, when]).astype("float32")

    def concordance(model: BaseEstimator, X: np.ndarray, target: np.ndarray) -> float:
        risk = model.predict(X).reshape(-1)
        return scikit_survival_concordance(target[:, 0] == 1, target[:, 1], risk)[0]

    ours = CoxNNRegressor(
        module=perceptron, max_epochs=n_epochs, batch_size=batch_size, random_state=0
    )
    theirs = skorch.NeuralNet(
        perceptron,
        TorchsurvLoss,
        optimizer=torch.optim.Adam,
        batch_size=batch_size or -1,
        max_epochs=n_epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    seconds = []
    for name, model, target, scoring in (
        ("coxnnregressor", ours, y, None),
        ("neuralnet", theirs, packed, concordance),
    ):
        grid = {f"{name}__lr": rates, f"{name}__module__dropout": [0.0, 0.3]}
        found = GridSearchCV(
            make_pipeline(StandardScaler(), model), grid, cv=folds, scoring=scoring
        )
        start = time.perf_counter()
        found.fit(X, target)
        seconds.append(time.perf_counter() - start)
    work = (
        f"`GridSearchCV`, {n_candidates} candidates × 5 folds, whas500, {n_epochs} epochs in "
        f"batches of {batch_size or 'all'}"
    )
    return Row(work, "default skorch, torchsurv's loss", *seconds, 3)
