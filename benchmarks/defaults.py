"""Choose and judge the default values: cross-validation against CoxPHSurvivalAnalysis.

Run ``python benchmarks/defaults.py`` (half an hour or more on two cores); it writes ``defaults.md``
beside itself. The candidates were compared on `TUNING`; `HELD_OUT` was not used for the choice.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from lifelines.datasets import load_lung, load_rossi
from sklearn.impute import SimpleImputer
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv import datasets as sets
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import integrated_brier_score
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor
from sksurvtorch.metrics import concordance_index_censored

# The values of one network: `ensembles.py` compares several with it.
ESTIMATORS = {
    "Cox": partial(CoxNNRegressor, n_estimators=1),
    "Weibull": partial(WeibullAFTRegressor, n_estimators=1),
}
TUNING = ["whas500", "gbsg2", "flchain", "veterans", "aids"]
HELD_OUT = ["rossi", "lung", "breast_cancer", "whas500[:100]"]
CANDIDATES = {
    "default": {},
    "lr=2e-3": {"lr": 2e-3},
    "lr=5e-4": {"lr": 5e-4},
    "alpha=1": {"alpha": 1.0},
    "alpha=3": {"alpha": 3.0},
    "alpha=30": {"alpha": 30.0},
    "max_epochs=300": {"max_epochs": 300},
    "dropout=0.2": {"dropout": 0.2},
    "lr_schedule='constant'": {"lr_schedule": "constant"},
    "activation='silu'": {"activation": "silu"},
    "hidden_layer_sizes=(32,)": {"hidden_layer_sizes": (32,)},
    "early_stopping=True": {"early_stopping": True},
    "hidden_layer_sizes=()": {"hidden_layer_sizes": (), "optimizer": "lbfgs"},
}


def encode(X: pd.DataFrame) -> pd.DataFrame:
    """One-hot encode the categories, the first of each left out."""
    numeric = X.select_dtypes("number").columns
    rest = X.columns.difference(numeric, sort=False)
    return pd.get_dummies(X, columns=list(rest), drop_first=True, dtype=float).astype(float)


def load(name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Return one-hot encoded features and the survival target of a data set."""
    if name == "rossi":
        frame = load_rossi()
        y = Surv.from_arrays(frame.pop("arrest").astype(bool), frame.pop("week").astype(float))
        return frame.astype(float), y
    if name == "lung":
        frame = load_lung()
        y = Surv.from_arrays(frame.pop("status") == 1, frame.pop("time").astype(float))
        return frame.drop(columns="inst", errors="ignore").astype(float), y
    loaders = {
        "whas500": sets.load_whas500,
        "whas500[:100]": sets.load_whas500,
        "gbsg2": sets.load_gbsg2,
        "flchain": sets.load_flchain,
        "veterans": sets.load_veterans_lung_cancer,
        "aids": sets.load_aids,
        "breast_cancer": sets.load_breast_cancer,
    }
    X, y = loaders[name]()
    if name == "flchain":
        X = X.drop(columns="chapter")  # the cause of death, known of the dead only
        # Some died on the day they were enrolled, which a Weibull model cannot have.
        y = Surv.from_arrays(y["death"], np.maximum(y["futime"], 0.5))
    if name == "whas500[:100]":
        rows = np.random.default_rng(0).permutation(len(y))[:100]
        X, y = X.iloc[rows], y[rows]
    return encode(X), y


def scores(model: object, X: pd.DataFrame, y: np.ndarray, train: np.ndarray, test: np.ndarray):
    """Return Harrell's concordance and the integrated Brier score on held-out rows."""
    event, when = y.dtype.names
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CoxPHSurvivalAnalysis on nearly singular folds
        model = make_pipeline(SimpleImputer(), StandardScaler(), model).fit(X.iloc[train], y[train])
        risk = model.predict(X.iloc[test])
    concordance = concordance_index_censored(y[test][event], y[test][when], risk)[0]
    inside, grid = brier_times(y, train, test)
    functions = model.predict_survival_function(X.iloc[test])[inside]
    survival = np.stack([function(grid) for function in functions])
    brier = integrated_brier_score(y[train], y[test][inside], survival, grid)
    return concordance, brier


def brier_times(y: np.ndarray, train: np.ndarray, test: np.ndarray):
    """Return which held-out rows count in the integrated Brier score, and its times.

    Times have to lie before the end of the follow-up, of the training and of the test rows.
    """
    when = y.dtype.names[1]
    inside = y[test][when] <= y[train][when].max()
    low, high = np.quantile(y[test][when], [0.1, 0.9])
    end = min(y[part][when].max() for part in (train, test[inside]))
    return inside, np.linspace(low, min(high, end * (1 - 1e-6)), 50)


def folds(y: np.ndarray, repeats: int):
    """Return the same stratified folds for every model."""
    split = RepeatedStratifiedKFold(n_splits=5, n_repeats=repeats, random_state=0)
    return list(split.split(np.zeros(len(y)), y[y.dtype.names[0]]))


def cross_validate(model: object, name: str, repeats: int, jobs: Parallel) -> np.ndarray:
    """Return the mean concordance and integrated Brier score on a data set."""
    X, y = load(name)
    return np.mean(jobs(delayed(scores)(model, X, y, *fold) for fold in folds(y, repeats)), axis=0)


def reference(name: str, repeats: int, jobs: Parallel) -> np.ndarray:
    """Return the same of the linear Cox model; the ridge is for singular folds."""
    alpha = 1e-4 if name != "breast_cancer" else 1.0
    return cross_validate(CoxPHSurvivalAnalysis(alpha=alpha, n_iter=200), name, repeats, jobs)


def simulate(kind: str, n: int, seed: int):
    """Simulate a risk that is not linear; return features, target and true log hazard ratio."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 10))
    if kind == "gaussian":
        truth = np.log(5) * np.exp(-(X[:, 0] ** 2 + X[:, 1] ** 2) / (2 * 0.5**2))
    else:
        truth = 3 * X[:, 0] * X[:, 1] + X[:, 2]
    t, c = rng.exponential(np.exp(-truth)), rng.exponential(2.0, n)
    return X, Surv.from_arrays(t <= c, np.minimum(t, c)), truth


def gap(model: object, kind: str, n: int, seed: int) -> float:
    """Return how far the concordance stays below that of the true risk, on 4 000 new rows."""
    X, y, _ = simulate(kind, n, seed)
    X_new, y_new, truth = simulate(kind, 4000, seed + 1000)
    risk = make_pipeline(StandardScaler(), model).fit(X, y).predict(X_new)
    best = concordance_index_censored(y_new["event"], y_new["time"], truth)[0]
    return best - concordance_index_censored(y_new["event"], y_new["time"], risk)[0]


def table(rows: list[list[object]], head: list[str]) -> str:
    """Format a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def compare(names: list[str], repeats: int, jobs: Parallel) -> str:
    """Compare the default estimators with the linear model on each data set."""
    rows, differences = [], []
    for name in names:
        base = reference(name, repeats, jobs)
        row = [name, f"{base[0]:.4f}", f"{base[1]:.4f}"]
        for estimator in ESTIMATORS.values():
            difference = cross_validate(estimator(random_state=0), name, repeats, jobs) - base
            differences.append(difference)
            row += [f"{difference[0]:+.4f}", f"{difference[1]:+.4f}"]
        rows.append(row)
    mean = np.mean(np.reshape(differences, (len(names), -1)), axis=0)
    rows.append(["**mean**", "", "", *(f"**{value:+.4f}**" for value in mean)])
    head = ["data", "CoxPH C", "CoxPH IBS"]
    return table(rows, head + [f"{m} {s}" for m in ESTIMATORS for s in ("ΔC", "ΔIBS")])


def candidates(repeats: int, jobs: Parallel) -> str:
    """Compare other values of the parameters on the smaller data sets."""
    names = [name for name in TUNING if name != "flchain"]
    base = {name: reference(name, repeats, jobs) for name in names}
    rows = []
    for label, parameters in CANDIDATES.items():
        row = [f"`{label}`"]
        for estimator in ESTIMATORS.values():
            model = estimator(random_state=0, **parameters)
            d = [cross_validate(model, name, repeats, jobs) - base[name] for name in names]
            worst, (c, brier) = np.min(d, axis=0)[0], np.mean(d, axis=0)
            far = np.mean(jobs(delayed(gap)(model, "gaussian", 1000, seed) for seed in range(4)))
            row += [f"{c:+.4f}", f"{worst:+.4f}", f"{brier:+.4f}", f"{far:.3f}"]
        rows.append(row)
    head = ["parameter"]
    kinds = ("mean ΔC", "worst ΔC", "mean ΔIBS", "gap")
    return table(rows, head + [f"{m} {kind}" for m in ESTIMATORS for kind in kinds])


def nonlinear(jobs: Parallel) -> str:
    """Measure the gap to the true risk where it is not linear."""
    rows = []
    models = {label: kind(random_state=0) for label, kind in ESTIMATORS.items()}
    models["CoxPH"] = CoxPHSurvivalAnalysis()
    for kind in ("gaussian", "interaction"):
        for n in (1000, 4000):
            row: list[object] = [kind, n]
            for model in models.values():
                gaps = jobs(delayed(gap)(model, kind, n, seed) for seed in range(6))
                row.append(f"{np.mean(gaps):.3f} ({np.max(gaps):.3f})")
            rows.append(row)
    return table(rows, ["truth", "n", *models])


def fit_times() -> str:
    """Time a default fit on one core."""
    rows = []
    for n in (100, 1000, 10_000):
        X, y, _ = simulate("gaussian", n, 0)
        row: list[object] = [n]
        for estimator in ESTIMATORS.values():
            seconds = []
            for _ in range(4):
                start = time.perf_counter()
                estimator(random_state=0).fit(X, y)
                seconds.append(time.perf_counter() - start)
            row.append(f"{np.median(seconds[1:]):.2f} s")
        rows.append(row)
    return table(rows, ["n (p = 10)", *ESTIMATORS])


def main() -> None:
    """Run everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    page = Path(__file__).with_name("defaults.md")
    parts = [HEAD_TEXT]
    with Parallel(n_jobs=options.jobs) as jobs:
        parts += [
            TUNING_TEXT.format(repeats=options.repeats),
            compare(TUNING, options.repeats, jobs),
        ]
        page.write_text("\n".join(parts))
        parts += [HELD_OUT_TEXT, compare(HELD_OUT, options.repeats, jobs)]
        page.write_text("\n".join(parts))
        parts += [NONLINEAR_TEXT, nonlinear(jobs)]
        page.write_text("\n".join(parts))
        parts += [CANDIDATES_TEXT, candidates(2, jobs)]
    parts += [TIME_TEXT, fit_times()]
    page.write_text("\n".join(parts))
    print(page.read_text())


HEAD_TEXT = """# How the default values were chosen

Written by `python benchmarks/defaults.py`. C is Harrell's concordance (higher is better), IBS the
integrated Brier score between the 10th and 90th percentile of the held-out times (lower is better),
Δ the difference to `CoxPHSurvivalAnalysis` on the same folds and in the same pipeline: imputation,
one-hot encoding, `StandardScaler`, then the estimator with nothing set but `random_state=0` and
`n_estimators=1`: these are the values of one network.
"""
TUNING_TEXT = """## Data on which the values were chosen

{repeats} × 5 repeated cross-validation, stratified by event.
"""
HELD_OUT_TEXT = """## Data that were not used for the choice

The same comparison on other data sets. `breast_cancer` has 198 patients and 80 features; CoxPH gets
a ridge penalty of 1 there.
"""
NONLINEAR_TEXT = """## Simulated data with a log hazard ratio that is not linear

Gap: the concordance of the true risk on 4 000 new rows minus that of the model, mean (and largest)
of six simulations with ten features. Gaussian: a bump in two of them; interaction: 3 x₁x₂ + x₃.
"""
CANDIDATES_TEXT = """## Other values of the parameters

One parameter changed at a time; 2 × 5 cross-validation on the first set of data without `flchain`.
The gap is that of the Gaussian bump with n = 1 000, mean of four simulations.
"""
TIME_TEXT = """## Time of a default fit

Median of three, one thread.
"""

if __name__ == "__main__":
    main()
