"""Compare the untuned default estimators with untuned learners of scikit-survival.

Run ``python benchmarks/defaults_peers.py``; it writes ``defaults_peers.md`` beside itself.
Data sets, folds, pipeline and scores are those of ``defaults.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import sksurv
import torch
from defaults import HELD_OUT, TUNING, folds, load, scores, table
from joblib import Parallel, delayed
from sksurv.ensemble import GradientBoostingSurvivalAnalysis, RandomSurvivalForest
from sksurv.linear_model import CoxPHSurvivalAnalysis

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor

# A forest keeps a curve of all times in each leaf, which makes it large on flchain: left out.
DATA = [name for name in TUNING if name != "flchain"] + HELD_OUT
ESTIMATORS = {"Cox": CoxNNRegressor, "Weibull": WeibullAFTRegressor}
PEERS = {
    "CoxPH": CoxPHSurvivalAnalysis,
    "Random forest": RandomSurvivalForest,
    "Gradient boosting": GradientBoostingSurvivalAnalysis,
}
SCORES = ("Concordance", "Integrated Brier score")
# Penalties to try where features are many: 198 patients, 80 features.
ALPHAS = (3, 10, 30, 100, 300)


def learner(label: str, name: str) -> object:
    """Return an untuned learner; CoxPH has the penalty that `defaults.py` gives it."""
    if label == "CoxPH":
        return CoxPHSurvivalAnalysis(alpha=1.0 if name == "breast_cancer" else 1e-4, n_iter=200)
    return (ESTIMATORS | PEERS)[label](random_state=0)


def measure(name: str, repeats: int, jobs: Parallel) -> dict[str, np.ndarray]:
    """Return the scores of each learner, of shape (n_folds, 2)."""
    X, y = load(name)
    split = folds(y, repeats)
    return {
        label: np.array(jobs(delayed(scores)(learner(label, name), X, y, *fold) for fold in split))
        for label in ESTIMATORS | PEERS
    }


def penalties(repeats: int, jobs: Parallel) -> str:
    """Return the scores of the default Cox model with other penalties on `breast_cancer`."""
    X, y = load("breast_cancer")
    rows = []
    for alpha in ALPHAS:
        model = ESTIMATORS["Cox"](alpha=alpha, random_state=0)
        found = jobs(delayed(scores)(model, X, y, *fold) for fold in folds(y, repeats))
        rows.append([f"`alpha={alpha}`", *(f"{value:.4f}" for value in np.mean(found, axis=0))])
    return table(rows, ["parameter", *SCORES])


def difference(one: np.ndarray, other: np.ndarray) -> str:
    """Return the mean difference and its standard error, after Nadeau and Bengio (2003).

    Folds share training rows, so the ratio of held-out to training rows is added to one over the
    number of folds.
    """
    values = one - other
    error = np.sqrt((1 / len(values) + 1 / 4) * values.var(ddof=1))
    return f"{values.mean():+.4f} ± {error:.4f}"


def page_of(found: dict[str, dict[str, np.ndarray]], other_alphas: str, repeats: int) -> str:
    """Return the page: for each score the means, and the differences to the default Cox model."""
    parts = [
        HEAD_TEXT.format(
            repeats=repeats,
            n_folds=5 * repeats,
            torch=torch.__version__,
            sksurv=sksurv.__version__,
        )
    ]
    labels = [*ESTIMATORS, *PEERS]
    for k, score in enumerate(SCORES):
        means = [
            [name, *(f"{of_name[label][:, k].mean():.4f}" for label in labels)]
            for name, of_name in found.items()
        ]
        others = [label for label in labels if label != "Cox"]
        pairs = [
            [
                name,
                *(difference(of_name["Cox"][:, k], of_name[label][:, k]) for label in others),
            ]
            for name, of_name in found.items()
        ]
        better = "higher" if k == 0 else "lower"
        parts += [
            f"## {score}\n\nMean over the folds; {better} is better.\n",
            table(means, ["data", *labels]),
            "The default `CoxNNRegressor` minus each of the others, ± standard error.\n",
            table(pairs, ["data", *others]),
        ]
    return "\n".join([*parts, PENALTY_TEXT, other_alphas])


def main() -> None:
    """Run everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    found = {}
    with Parallel(n_jobs=options.jobs) as jobs:
        for name in DATA:
            found[name] = measure(name, options.repeats, jobs)
            print(name, {k: v.mean(axis=0).round(4).tolist() for k, v in found[name].items()})
        page = page_of(found, penalties(options.repeats, jobs), options.repeats)
    Path(__file__).with_name("defaults_peers.md").write_text(page)


HEAD_TEXT = """# Defaults beside other learners

Written by `python benchmarks/defaults_peers.py`. *Cox* is `CoxNNRegressor`, *Weibull*
`WeibullAFTRegressor`, *CoxPH*, *Random forest* and *Gradient boosting* are scikit-survival's
`CoxPHSurvivalAnalysis`, `RandomSurvivalForest` and `GradientBoostingSurvivalAnalysis`. Each has its
default parameters but for `random_state=0`, and CoxPH a ridge of 1 on `breast_cancer` and of 1e-4
elsewhere, which keeps nearly singular folds solvable. Nothing is tuned.

All learners get the same {n_folds} folds ({repeats} × 5 repeated cross-validation, stratified by
event) and the same preparation: imputation by the mean, one-hot encoding, `StandardScaler`. The
concordance is Harrell's; the integrated Brier score is taken between the 10th and 90th percentile
of the held-out times. The default values of this package were chosen on `whas500`, `gbsg2`,
`veterans` and `aids`, but not on `rossi`, `lung` and `breast_cancer`. `whas500[:100]` is a sample
of 100 patients of `whas500`.

The standard error of a difference is that of Nadeau and Bengio (2003, doi:10.1023/A:1024068626366)
for cross-validation: the folds share training rows, so the usual one would be too small.

torch {torch}, scikit-survival {sksurv}.
"""
PENALTY_TEXT = """## More penalty where features are many

`CoxNNRegressor` with one value of `alpha` for all networks, on `breast_cancer`; by default five
networks each have 10, 3 and 30.
"""


if __name__ == "__main__":
    main()
