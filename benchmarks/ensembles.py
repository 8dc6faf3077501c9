"""Several networks beside one: held-out concordance, Brier score and time.

Run ``python benchmarks/ensembles.py`` (an hour and a half on one core); it writes ``ensembles.md``
beside itself, or those of its sections that ``--sections`` names. Each fold is kept in a file of
``--results``: a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from defaults import encode, folds, gap, load, scores, simulate, table
from lifelines.datasets import load_dd
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor

REAL = [
    *("whas500", "gbsg2", "veterans", "aids", "rossi", "lung", "breast_cancer", "whas500[:100]"),
    "dd",
]
SIMULATED = [
    f"{kind}, n={n}" for n in (300, 1000) for kind in ("linear", "gaussian", "interaction")
]
SIMULATED += [f"steps, n={n}" for n in (300, 1000)]
LARGE = [f"{kind}, n=20000" for kind in ("linear", "gaussian", "interaction", "steps")]
LARGE = ["flchain", *LARGE, "gaussian, n=100000"]

MODELS = {
    "CoxPH": lambda seed=0: CoxPHSurvivalAnalysis(alpha=1e-4, n_iter=200),
    "Cox, 1": lambda seed=0: CoxNNRegressor(n_estimators=1, random_state=seed),
    "Cox, 15": lambda seed=0: CoxNNRegressor(n_estimators=15, random_state=seed),
    "Weibull, 1": lambda seed=0: WeibullAFTRegressor(n_estimators=1, random_state=seed),
    "Weibull, 15": lambda seed=0: WeibullAFTRegressor(n_estimators=15, random_state=seed),
}
# Each differs from `CoxNNRegressor(n_estimators=15)` in what is named.
CANDIDATES = {
    "n_estimators=5": {"n_estimators": 5},
    "n_estimators=10": {"n_estimators": 10},
    "alpha=10": {"alpha": 10.0},
    "alpha=3": {"alpha": 3.0},
    "early_stopping=True": {"early_stopping": True},
    "lr=1e-3, max_epochs=100": {"lr": 1e-3, "max_epochs": 100},
    "lr=3e-3, max_epochs=100": {"lr": 3e-3, "max_epochs": 100},
    "hidden_layer_sizes=(32, 32)": {"hidden_layer_sizes": (32, 32)},
}
CHOSEN_ON = ["whas500", "gbsg2", "veterans", *SIMULATED[:2], *SIMULATED[4:6]]


def candidate(parameters):
    """Return a function that makes an ensemble with these parameters."""
    return lambda seed=0: CoxNNRegressor(**{"n_estimators": 15, "random_state": seed, **parameters})


def parts(name: str, repeats: int):
    """Yield features and target, and the rows to train on and to score, of each fold."""
    if ", n=" in name:
        kind, n = name.split(", n=")
        for seed in range(1 if name in LARGE else 2 * repeats):
            X, y = simulated(kind, int(n) + 4_000, seed)
            yield X, y, np.arange(int(n)), np.arange(int(n), len(y))
        return
    if name == "dd":
        frame = load_dd()
        event, when = frame.pop("observed").astype(bool), frame.pop("duration").astype(float)
        y = Surv.from_arrays(event, when)
        X = encode(frame[["un_continent_name", "regime", "start_year", "democracy"]])
    else:
        X, y = load(name)
    for train, test in folds(y, repeats):
        yield X, y, train, test


def simulated(kind: str, n: int, seed: int):
    """Return features and target of a simulation."""
    import pandas as pd

    if kind in ("gaussian", "interaction"):
        X, y, _ = simulate(kind, n, seed)
        return pd.DataFrame(X), y
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 10))
    if kind == "linear":
        truth = X[:, 0] + 0.7 * X[:, 1] - 0.5 * X[:, 2]
    else:
        truth = (X[:, 0] > 0) + (X[:, 1] > 0.3) * (X[:, 2] < 0.2) - 0.8 * (X[:, 3] < -0.5)
    t, c = rng.exponential(np.exp(-truth)), rng.exponential(2.0, n)
    return pd.DataFrame(X), Surv.from_arrays(t <= c, np.minimum(t, c))


def measured(make, name: str, repeats: int, path: Path, seed: int = 0) -> np.ndarray:
    """Return concordance, Brier score and seconds of each fold, of which those known are read."""
    known = json.loads(path.read_text()) if path.exists() else []
    for place, (X, y, train, test) in enumerate(parts(name, repeats)):
        if place < len(known):
            continue
        model = make(seed)
        if name == "breast_cancer" and isinstance(model, CoxPHSurvivalAnalysis):
            model.set_params(alpha=1.0)
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = scores(model, X, y, train, test)
        known.append([*result, time.process_time() - start])
        path.write_text(json.dumps(known))
    return np.array(known)


def compare(options: argparse.Namespace) -> str:
    """Return a table of ensembles beside single networks."""
    results: dict[str, dict[str, list[np.ndarray]]] = {}
    for seed in range(options.seeds):
        for name in REAL if seed else REAL + SIMULATED:
            found_so_far = results.setdefault(name, {label: [] for label in MODELS})
            for label, make in MODELS.items():
                if seed and label == "CoxPH":
                    continue
                path = options.results / f"{label} {name}{f' seed {seed}' if seed else ''}.json"
                found_so_far[label].append(measured(make, name, options.repeats, path, seed))
    rows, all_differences = [], []
    for name, by_label in results.items():
        found = {label: np.mean(of_seeds, axis=0) for label, of_seeds in by_label.items()}
        row = [name, f"{found['CoxPH'][:, 0].mean():.4f}"]
        differences = []
        for kind in ("Cox", "Weibull"):
            for column in (0, 1):
                d = (found[f"{kind}, 15"] - found[f"{kind}, 1"])[:, column]
                differences.append(d.mean())
                row.append(f"{d.mean():+.4f} ({d.std(ddof=1) / len(d) ** 0.5:.4f})")
        linear = (found["Cox, 15"] - found["CoxPH"])[:, 0].mean()
        differences.append(linear)
        seconds = [found[label][:, 2].mean() for label in ("Cox, 1", "Cox, 15")]
        rows.append([*row, f"{linear:+.4f}", f"{seconds[1] / seconds[0]:.1f}"])
        all_differences.append(differences)
    for label, part in (("real", all_differences[: len(REAL)]), ("all", all_differences)):
        mean = [f"**{value:+.4f}**" for value in np.mean(part, axis=0)]
        rows.append([f"**mean, {label}**", "", *mean, ""])
    head = ["data", "CoxPH C", "Cox ΔC", "Cox ΔIBS", "Weibull ΔC", "Weibull ΔIBS"]
    return table(rows, [*head, "Cox − CoxPH", "time"])


def choose(options: argparse.Namespace) -> str:
    """Return a table of other settings."""
    repeats, folder = options.repeats, options.results
    base = {name: measured(MODELS["Cox, 1"], name, repeats, folder / f"Cox, 1 {name}.json")
            for name in CHOSEN_ON}  # fmt: skip
    rows = []
    for label, parameters in {"default": {}, **CANDIDATES}.items():
        known = "Cox, 15" if label == "default" else label
        d, seconds = [], []
        for name in CHOSEN_ON:
            found = measured(
                candidate(parameters),
                name,
                options.repeats,
                folder / f"{known} {name}.json",
            )
            d.append((found - base[name]).mean(0))
            seconds.append(found[:, 2].mean() / base[name][:, 2].mean())
        mean, worst = np.mean(d, axis=0), np.min(d, axis=0)
        rows.append([f"`{label}`", f"{mean[0]:+.4f}", f"{worst[0]:+.4f}", f"{mean[1]:+.4f}",
                     f"{np.mean(seconds):.1f}"])  # fmt: skip
    return table(rows, ["", "mean ΔC", "worst ΔC", "mean ΔIBS", "time"])


def large(options: argparse.Namespace) -> str:
    """Return a table of ensembles beside single networks where there are many rows."""
    rows = []
    for name in LARGE:
        one, several = (
            measured(MODELS[label], name, options.repeats, options.results / f"{label} {name}.json")
            for label in ("Cox, 1", "Cox, 15")
        )
        d, seconds = (several - one).mean(0), several[:, 2].mean() / one[:, 2].mean()
        row = [name, f"{one[:, 0].mean():.4f}", f"{d[0]:+.4f}", f"{d[1]:+.4f}"]
        rows.append([*row, f"{seconds:.1f}"])
    return table(rows, ["data", "one network: C", "ΔC", "ΔIBS", "time"])


def below_the_truth(options: argparse.Namespace) -> str:
    """Return a table of how far concordances stay below that of the true risk."""
    rows = []
    for kind in ("gaussian", "interaction"):
        for n in (1000, 4000):
            row: list[object] = [kind, n]
            for label, make in MODELS.items():
                path = options.results / f"gap {label} {kind} {n}.json"
                known = json.loads(path.read_text()) if path.exists() else []
                for seed in range(len(known), 6 * options.repeats):
                    known.append(gap(make(), kind, n, seed))
                    path.write_text(json.dumps(known))
                row.append(f"{np.mean(known):.3f} ({np.max(known):.3f})")
            rows.append(row)
    return table(rows, ["truth", "n", *MODELS])


SECTIONS = {
    "Data of up to 2 000 rows": compare,
    "Other settings": choose,
    "Many rows": large,
    "Effects that are not linear": below_the_truth,
}


def main() -> None:
    """Measure, and write the sections that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="of networks, for real data")
    parser.add_argument("--results", type=Path, default=Path(tempfile.gettempdir()) / "ensembles")
    parser.add_argument("--sections", nargs="+", default=list(SECTIONS))
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    path = Path(__file__).with_name("ensembles.md")
    sections = dict(re.findall(r"^## ([^\n]*)\n\n(.*?)(?=^## |\Z)", path.read_text(), re.S | re.M))
    for name in options.sections:
        n = options.repeats
        text = TEXTS[name].format(
            repeats=n,
            simulations=2 * n,
            gaps=6 * n,
            chosen="; ".join(CHOSEN_ON),
            seeds=options.seeds,
        )
        found = SECTIONS[name](options)
        sections[name] = f"{text}\n{found}\n"
        parts = [f"## {name}\n\n{sections[name]}" for name in SECTIONS if name in sections]
        path.write_text("".join([HEAD, *parts]).rstrip() + "\n")
    print(path.read_text())


HEAD = """# Several networks beside one

Written by `python benchmarks/ensembles.py`. Estimators with nothing set but `n_estimators=15` and
`random_state`, from 0 on, beside the same with `n_estimators=1`. ΔC is the difference in Harrell's
concordance (above 0: the ensemble is better), ΔIBS that in the integrated Brier score (below 0: it
is better), in parentheses the standard error over the folds, which share rows and so are not
independent. "Cox − CoxPH" is the difference of 15 networks to the linear Cox model in concordance.
Time is that of the ensemble divided by that of one network, on one thread, with the scoring in
both.

"""
TEXTS = {
    "Data of up to 2 000 rows": """\
Real data: {repeats} × 5 folds, stratified by event, and {seeds} seeds of the networks, over which
the scores of a fold are averaged. Simulations with ten features: {simulations} data sets each, and
4 000 new rows to score.
""",
    "Other settings": """\
As above, for `CoxNNRegressor` with one thing changed, on
{chosen}.
""",
    "Many rows": """\
`CoxNNRegressor`; `flchain`, with 7 874 people, in five folds, and one data set of each simulation.
""",
    "Effects that are not linear": """\
Concordance of the true risk on 4 000 new rows minus that of the model, mean (and largest) of {gaps}
simulations with ten features. Gaussian: a bump in two of them; interaction: 3 x₁x₂ + x₃.
""",
}

if __name__ == "__main__":
    main()
