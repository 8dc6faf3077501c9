"""The tables of `accuracy.md`."""

from __future__ import annotations

import numpy as np
from accuracy_learners import N_CANDIDATES, N_INNER, OURS, REFERENCE
from accuracy_ranks import Ranks, ranks
from defaults import table

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


def gains(found: Comparison) -> str:
    """Return a table of tuned learners minus the same with defaults, on the same folds."""
    rows = []
    for label in found.labels:
        if label.endswith(", tuned"):
            pair = [found.labels.index(each) for each in (label, label.removesuffix(", tuned"))]
            cells = []
            for key in ("harrell", "brier"):
                tuned, default = found.values(key)[:, pair].T
                cells.append(difference(tuned - default))
            rows.append([label.removesuffix(", tuned"), *cells])
    return table(rows, ["learner", "ΔC by tuning", "ΔIBS by tuning"])


def losses(found: Comparison) -> str:
    """Return a table of the learners that are better than ours on each data set."""
    rows = []
    values = {key: found.values(key) for key in ("harrell", "brier")}
    place = found.labels.index(OURS)
    for row, name in enumerate(found.data):
        cells = []
        for key, sign in (("harrell", 1), ("brier", -1)):
            over = values[key][row] - values[key][row, place]
            order = np.argsort(-sign * over, kind="stable")
            better = [
                f"{found.labels[k].removesuffix(', tuned')} {over[k]:+.4f}"
                for k in order
                if sign * over[k] > 0
            ]
            cells.append(", ".join(better) or "none")
        rows.append([name, *cells])
    return table(rows, ["data", "higher C", "lower IBS"])


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
