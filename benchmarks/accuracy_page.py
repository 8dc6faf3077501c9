"""The tables and the text of `accuracy.md`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from accuracy_learners import DEFAULTS, N_CANDIDATES, N_INNER, OURS, REFERENCE, TUNED
from accuracy_ranks import Ranks, draw, ranks
from defaults import table

HERE = Path(__file__).parent
FIGURE = HERE.parent / "docs" / "images" / "accuracy.png"
# Data on which no default value was chosen.
FAIR = ["rossi", "lung", "breast_cancer", "dd"]
BESIDE = ["ΔC", "ΔIBS", "better on: C, IBS"]
SCORES = {"harrell": "Harrell's C", "uno": "Uno's C", "brier": "IBS"}

Results = dict[tuple[str, str, int], dict[str, object]]


class Comparison:
    """Scores of learners on the folds of each data set that all of them were measured on.

    A learner that failed on one of these folds has NaN for the data set.
    """

    def __init__(self, found: Results, labels: list[str], data: list[str]) -> None:
        self.found, self.labels = found, labels
        measured = {
            name: [{k[2] for k in found if k[:2] == (name, label)} for label in labels]
            for name in data
        }
        folds = {name: sorted(set.intersection(*each)) for name, each in measured.items()}
        self.folds = {name: each for name, each in folds.items() if each}
        self.data = list(self.folds)
        self.lines = {
            (name, label): [found[name, label, fold] for fold in each]
            for name, each in self.folds.items()
            for label in labels
        }

    def values(self, key: str) -> np.ndarray:
        """Return the means over folds, of shape (n_data, n_learners)."""
        means = [
            [np.mean([line.get(key, np.nan) for line in self.lines[name, label]])
             for label in self.labels]
            for name in self.data
        ]  # fmt: skip
        return np.array(means)

    def reference(self, name: str) -> float:
        """Return the mean integrated Brier score of the curve without features."""
        lines = [self.found[name, REFERENCE, fold] for fold in self.folds[name]]
        return float(np.mean([line["brier"] for line in lines]))

    def ranks(self, key: str) -> Ranks:
        """Return the mean ranks."""
        return ranks(self.values(key), higher_is_better=key != "brier")

    def errors(self) -> list[str]:
        """Return a sentence for each learner that failed on a data set."""
        sentences = []
        for (name, label), lines in self.lines.items():
            messages = [str(line["error"]) for line in lines if "error" in line]
            if messages:
                sentence = f"{label} on `{name}`, {len(messages)} of {len(lines)} folds"
                sentences.append(f"{sentence}: {messages[0]}.")
            failed = [int(line.get("failed", 0)) for line in lines]
            if any(failed):
                counts = ", ".join(map(str, failed))
                n_fits = N_CANDIDATES * N_INNER
                sentences.append(f"{label} on `{name}`: {counts} of the {n_fits} fits of a search.")
        return sentences


def difference(values: np.ndarray) -> str:
    """Return the mean of differences over data sets, and its standard error."""
    known = values[~np.isnan(values)]
    if not len(known) or not known.any():
        return ""
    return f"{known.mean():+.4f} ± {known.std(ddof=1) / len(known) ** 0.5:.4f}"


def beside_ours(found: Comparison) -> dict[str, list[str]]:
    """Return the cells of each learner that compare it with ours."""
    place = found.labels.index(OURS)
    values = {key: found.values(key) for key in ("harrell", "brier")}
    cells = {}
    for k, label in enumerate(found.labels):
        of_ours = {key: each[:, k] - each[:, place] for key, each in values.items()}
        better = [(of_ours["harrell"] > 0).sum(), (of_ours["brier"] < 0).sum()]
        row = [difference(each) for each in of_ours.values()]
        cells[label] = [*row, "" if k == place else f"{better[0]}, {better[1]}"]
    return cells


def summary(found: Comparison) -> str:
    """Return the table of means, mean ranks and differences, in the order of ranks."""
    rank = {key: found.ranks(key) for key in SCORES}
    values = {key: found.values(key) for key in [*SCORES, "fit", "predict"]}
    cells = beside_ours(found)
    order = np.argsort(rank["harrell"].mean + rank["brier"].mean, kind="stable")
    rows = []
    for k in order:
        label = found.labels[k]
        row = [f"**{label}**" if label.startswith(OURS) else label]
        for key in SCORES:
            mean = values[key][:, k]
            cell = "–" if np.isnan(mean).all() else f"{np.nanmean(mean):.4f}"
            row.append(f"{cell} ({rank[key].mean[k]:.1f})")
        row += cells[label]
        row += [f"{np.nanmedian(values[key][:, k]):.2g}" for key in ("fit", "predict")]
        rows.append(row)
    head = ["learner", *(f"{name} (rank)" for name in SCORES.values()), *BESIDE]
    return table(rows, [*head, "fit, s", "predict, s"])


def by_data(found: Comparison, key: str) -> str:
    """Return a table of all data sets and learners, the best of each in bold."""
    sign = 1 if key in ("harrell", "uno") else -1
    rows = []
    for name, values in zip(found.data, found.values(key), strict=True):
        best = np.nanmax(sign * values)
        cells = []
        for value in values:
            shown = f"{value:.4f}" if key in SCORES else f"{value:.2g}"
            shown = "failed" if np.isnan(value) else shown
            cells.append(f"**{shown}**" if key in SCORES and sign * value == best else shown)
        row = [name, len(found.folds[name]), *cells]
        if key == "brier":
            row.append(f"{found.reference(name):.4f}")
        rows.append(row)
    head = ["data", "folds", *(label.removesuffix(", tuned") for label in found.labels)]
    if found.labels[-1].endswith("tuned"):
        head[2] = f"{OURS}, default"
    return table(rows, head + ([REFERENCE] if key == "brier" else []))


def tests(found: Comparison) -> str:
    """Return what the tests of Friedman and Nemenyi say."""
    parts = []
    for key, name in SCORES.items():
        rank = found.ranks(key)
        own = rank.mean[found.labels.index(OURS)]
        apart = [
            f"{label} ({'better' if mean < own else 'worse'})"
            for label, mean in zip(found.labels, rank.mean, strict=True)
            if abs(mean - own) > rank.critical
        ]
        told = ", ".join(apart) or "none"
        parts.append(f"* {name}: p = {rank.p_value:.2g}; told apart from *{OURS}*: {told}.")
    critical = found.ranks("brier").critical
    return "\n".join([*parts, "", f"Critical difference of mean ranks: {critical:.2f}.", ""])


def versions() -> str:
    """Return the versions of the packages."""
    found = [f"Python {platform.python_version()}"]
    for name in ("torch", "scikit-learn", "scikit-survival", "xgboost", "hazardous", "pycox"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} (not installed now)")
    return ", ".join(found)


def ran(found: Comparison) -> str:
    """Return how many folds of which data sets were measured."""
    by_count: dict[int, list[str]] = {}
    for name, folds in found.folds.items():
        by_count.setdefault(len(folds), []).append(f"`{name}`")
    return "; ".join(f"{count} of {', '.join(names)}" for count, names in by_count.items())


def failures(found: Comparison) -> str:
    """Return what failed."""
    return "".join(f"* {sentence}\n" for sentence in found.errors()) or "None failed.\n"


def write(lines: list[dict[str, object]], data: list[str]) -> None:
    """Draw the picture and write the page."""
    found = {(line["data"], line["learner"], line["fold"]): line for line in lines}
    plain = Comparison(found, list(DEFAULTS), data)
    tuned = Comparison(found, [OURS, *TUNED], data)
    fair = Comparison(found, list(DEFAULTS), FAIR)
    panels = {}
    for label, each in (("Defaults", plain), ("Tuned", tuned)):
        for key in ("harrell", "brier"):
            score = "integrated Brier score" if key == "brier" else SCORES[key]
            title = f"{label}, {len(each.data)} data sets: {score}"
            panels[title] = (each.labels, each.ranks(key))
    draw(FIGURE, panels, OURS)
    parts = {
        f"{key}_{label}": by_data(each, key)
        for key in (*SCORES, "fit")
        for label, each in (("plain", plain), ("tuned", tuned))
    }
    page = PAGE.format(
        versions=versions(),
        ours=OURS,
        text_plain=PLAIN,
        text_tuned=TUNED_TEXT,
        candidates=N_CANDIDATES,
        inner=N_INNER,
        fits=N_CANDIDATES * N_INNER,
        ran_plain=ran(plain),
        ran_tuned=ran(tuned),
        failed_plain=failures(plain),
        failed_tuned=failures(tuned),
        summary_plain=summary(plain),
        summary_tuned=summary(tuned),
        fair=table(
            [[label, *cells] for label, cells in beside_ours(fair).items() if label != OURS],
            ["learner", *BESIDE],
        ),
        tests_plain=tests(plain),
        tests_tuned=tests(tuned),
        **parts,
    )
    (HERE / "accuracy.md").write_text(page)


PAGE = """# Accuracy beside other learners

Written by `python benchmarks/accuracy.py` from what it measured, which `benchmarks/accuracy.jsonl`
has: a line for each learner, data set and fold. Losses are printed like wins.

All learners get the same folds and the same preparation: imputation by the mean, one-hot encoding,
`StandardScaler`. Data sets are `whas500`, `gbsg2`, `flchain`, `veterans`, `aids` and
`breast_cancer` of scikit-survival, `rossi`, `lung` and `dd` of lifelines, loaded as in
`defaults.py` and `ensembles.py`: folds of 5-fold cross-validation, stratified by event. Each fold
of a simulation is a data set of its own, with ten features, 1 000 rows to train on and 4 000 to
score; *linear*, *gaussian* (a bump), *interaction* and *steps* are their log hazard ratios. The
default values of this package were [chosen](defaults.md) on `whas500`, `gbsg2`, `flchain`,
`veterans`, `aids` and simulations of these kinds; `rossi`, `lung`, `breast_cancer` and `dd` are the
fairest data.

*Harrell's C* and *Uno's C* are concordances (higher is better), *IBS* the integrated Brier score
between the 10th and the 90th percentile of the held-out times (lower is better), at whose end Uno's
C is cut off. Means are over folds, then over data sets; ranks are 1 for the best. *ΔC* (Harrell's)
and *ΔIBS* are the learner minus *{ours}*, mean over data sets ± its standard error. *Better on* is
the number of data sets on which the learner has a higher C, and on which it has a lower IBS, than
*{ours}*. Seconds are of the processor, on one thread, while other programs ran on the same machine:
medians over data sets.

| learner | what it is |
| --- | --- |
| Cox network, Weibull network | `CoxNNRegressor`, `WeibullAFTRegressor`, `random_state=0` |
| Cox | scikit-survival's `CoxPHSurvivalAnalysis`, ridge of 1e-4, on `breast_cancer` of 1 |
| Elastic-net Cox | its `CoxnetSurvivalAnalysis`, `l1_ratio=0.5`, the least penalty of its path |
| Random forest | its `RandomSurvivalForest` |
| Gradient boosting | its `GradientBoostingSurvivalAnalysis` |
| XGBoost Cox, XGBoost AFT | `survival:cox` with Breslow's baseline hazard; `survival:aft` |
| SurvivalBoost | that of hazardous, bins without weights as in `competing_risks.py` |
| pycox CoxPH | network and training of its `cox-ph.ipynb`: (32, 32), Adam, early stopping |

Not run: torch-survival, which was not on the package index; torchsurv has losses but no estimators,
so its accuracy would be that of a network of ours. {versions}.

## Defaults

Folds: {ran_plain}. What is random has the seed 0.

{summary_plain}
{tests_plain}
![Mean ranks, and which are not told apart](../docs/images/accuracy.png)

*Mean ranks. The grey band is within the critical difference of the default Cox network: learners in
it (circles) are not told apart from it by Nemenyi's test at 5 %, those outside (crosses) are.*

Failed, which is the worst rank, and left out of means:

{failed_plain}
On `rossi`, `lung`, `breast_cancer` and `dd` alone, on which nothing was chosen:

{fair}
{text_plain}
## Tuned

Each learner gets {fits} fits in each fold: `RandomizedSearchCV` with {candidates} candidates (seed
0) in {inner} inner folds chooses by Harrell's C, and the best is fitted once more. The spaces are
in `accuracy_learners.py`. *Cox network* is the default, for comparison. Folds: {ran_tuned}. Fewer
than above, so the figures of both sections are not comparable, but those within a section are.
SurvivalBoost, pycox CoxPH and the Weibull network were not tuned, for lack of time.

{summary_tuned}
{tests_tuned}
Failed:

{failed_tuned}
{text_tuned}
## Each data set: defaults

Means over folds, the best in bold.

### Harrell's C

{harrell_plain}
### Uno's C

{uno_plain}
### Integrated Brier score

Kaplan-Meier is the curve without features.

{brier_plain}
### Seconds of a fit

{fit_plain}
## Each data set: tuned

### Harrell's C

{harrell_tuned}
### Uno's C

{uno_tuned}
### Integrated Brier score

{brier_tuned}
### Seconds of a search

{fit_tuned}
## How ranks are compared

Friedman's test, of which p is the result, asks whether all learners are equal. Nemenyi's test tells
two apart whose mean ranks are further apart than the critical difference, after
[Demšar (2006)](https://jmlr.org/papers/v7/demsar06a.html). With a dozen data sets it is wide:
that two learners are not told apart does not say that they are equal. Data sets are what is
counted; folds of one data set share rows.
"""
PLAIN = """\
"""
TUNED_TEXT = """\
"""
