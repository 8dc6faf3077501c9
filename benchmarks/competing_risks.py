"""Competing risks beside other learners: known incidences, deaths by cause, and time.

Run ``python benchmarks/competing_risks.py`` (half an hour on one core with two folds); it writes
``competing_risks.md`` beside itself. Each data set is kept in a file of ``--results``: a run that
was interrupted resumes. SurvivalBoost and DeepHit are left out where hazardous or pycox is missing,
and the page says so.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from competing_data import simulated
from competing_learners import BOOST, LEARNERS, NEEDS, OURS, SAME_TIME, Learner, survival_boost
from competing_times import kept, table_of_times
from defaults import encode, table
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sksurv.datasets import load_flchain

from sksurvtorch.metrics import (
    concordance_index_competing_risks_ipcw,
    incidence_calibration,
    integrated_brier_score_incidence,
)
from sksurvtorch.nets import competing_risks_y

# Data sets of each kind and size.
SETS = {("nonlinear", 1000): 2, ("nonlinear", 5000): 1, ("linear", 5000): 1, ("crossing", 5000): 1}

CAUSES = ("circulatory", "neoplasms", "other")
YEAR, HORIZON = 365.25, 7.0

Results = dict[str, list[dict[str, float]]]


def predicted(learner: Learner, X, status, when, new, times):
    """Return the incidences, and the seconds of fit and prediction."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predict = learner(X, status, when)
        middle = time.process_time()
        curves = predict(new, times)
    return curves, middle - start, time.process_time() - middle


def recovery(learner: Learner, truth: str, n: int, seed: int) -> dict[str, float]:
    """Return the mean absolute error of one data set."""
    X, status, when, new, times, known = simulated(truth, n, seed)
    curves, of_fit, of_prediction = predicted(learner, X, status, when, new, times)
    error = np.abs(curves - known).mean(axis=(0, 2))
    return {
        "error": float(error.mean()),
        **{f"error {k + 1}": float(error[k]) for k in range(2)},
        **{f"status {k}": float((status == k).mean()) for k in range(3)},
        "fit": of_fit,
        "predict": of_prediction,
    }


def flchain():
    """Return features, cause of death and time in years; the cause is none of the features."""
    X, y = load_flchain()
    chapter = X.pop("chapter").astype(str)
    cause = chapter.map({"Circulatory": 1, "Neoplasms": 2}).fillna(3).astype(int)
    # Some died on the day they were enrolled.
    when = np.maximum(y["futime"], 0.5) / YEAR
    return encode(X).to_numpy(), np.where(y["death"], cause, 0), when


def deaths(learner: Learner, fold: int) -> dict[str, float]:
    """Return the scores of one of five folds."""
    X, status, when = flchain()
    folds = StratifiedKFold(5, shuffle=True, random_state=0).split(X, status)
    train, test = list(folds)[fold]
    prepare = make_pipeline(SimpleImputer(), StandardScaler())
    inputs, new = prepare.fit_transform(X[train]), prepare.transform(X[test])
    times = np.linspace(0.5, HORIZON, 27)
    curves, of_fit, of_prediction = predicted(
        learner, inputs, status[train], when[train], new, times
    )
    curves = np.clip(curves, 0, 1)
    y, y_new = (competing_risks_y(status[rows], when[rows]) for rows in (train, test))
    found = {"fit": of_fit, "predict": of_prediction}
    for cause in (1, 2, 3):
        own = np.ascontiguousarray(curves[:, cause - 1])
        found[f"concordance {cause}"] = concordance_index_competing_risks_ipcw(
            y, y_new, own[:, -1], cause=cause, tau=HORIZON
        )[0]
        found[f"brier {cause}"] = integrated_brier_score_incidence(
            y, y_new, own, times, cause=cause
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # equal predictions are one group
            groups = incidence_calibration(y_new, own[:, -1], HORIZON, cause=cause)
        gap = np.abs(groups.predicted - groups.observed)
        found[f"calibration {cause}"] = float(np.average(gap, weights=groups.group_size))
    return found


def of_all(folder: Path, name: str, count: int, measure: Callable) -> Results:
    """Return the results of all learners whose packages are here."""
    found: Results = {}
    for label, learner in available().items():

        def one(place: int, label: str = label, learner: Learner = learner) -> dict[str, float]:
            n_iter = 100
            if label == SAME_TIME:
                ratio = found[OURS][place]["fit"] / found[BOOST][place]["fit"]
                n_iter = max(1, round(100 * ratio))
                learner = survival_boost(n_iter)
            return {**measure(learner, place), "n_iter": n_iter}

        found[label] = kept(folder / f"{name} {label}.json", count, one)
        print(name, label, found[label][-1], flush=True)
    return found


def available() -> dict[str, Learner]:
    """Return the learners whose packages are here."""
    return {
        label: learner
        for label, learner in LEARNERS.items()
        if label not in NEEDS or find_spec(NEEDS[label])
    }


def mean(found: list[dict[str, float]], name: str) -> float:
    """Return the mean of a measure over data sets."""
    return float(np.mean([one[name] for one in found]))


def table_of_recovery(folder: Path) -> str:
    """Return the errors on simulated data."""
    rows = []
    for (truth, n), count in SETS.items():
        found = of_all(
            folder,
            f"{truth} {n}",
            count,
            lambda learner, seed, truth=truth, n=n: recovery(learner, truth, n, seed),
        )
        base = mean(found["Aalen-Johansen"], "error")
        for label, sets in found.items():
            error = mean(sets, "error")
            cells = [f"{mean(sets, name):.4f}" for name in ("error 1", "error 2")]
            seconds = [f"{mean(sets, name):.2g}" for name in ("fit", "predict")]
            trees = f" ({mean(sets, 'n_iter'):.0f} iterations)" if label == SAME_TIME else ""
            name = f"{label}{trees}"
            row = [truth, f"{n:,}", name, f"{error:.4f}", f"{error / base:.2f}"]
            rows.append([*row, *cells, *seconds])
    head = ["truth", "n", "learner", "error", "beside Aalen-Johansen", "cause 1", "cause 2"]
    return table(rows, [*head, "fit, s", "predict, s"])


def tables_of_deaths(folder: Path, n_folds: int) -> str:
    """Return the scores on `flchain`, a table for each."""
    found = of_all(folder, "flchain", n_folds, deaths)
    rows = []
    for label, sets in found.items():
        cells = [
            f"{mean(sets, f'{score} {cause}'):.4f}"
            for score in ("concordance", "brier", "calibration")
            for cause in (1, 2, 3)
        ]
        trees = f" ({mean(sets, 'n_iter'):.0f} iterations)" if label == SAME_TIME else ""
        seconds = [f"{mean(sets, name):.2g}" for name in ("fit", "predict")]
        rows.append([f"{label}{trees}", *cells, *seconds])
    scores = ("C", "IBS", "gap")
    head = [f"{score} {cause}" for score in scores for cause in CAUSES]
    return table(rows, ["learner", *head, "fit, s", "predict, s"])


def warm_up() -> None:
    """Let torch and numba compile what the first fit of a process needs."""
    X, status, when, *_ = simulated("nonlinear", 300, 0)
    for label in available().keys() & {OURS, "DeepHit"}:
        predicted(LEARNERS[label], X, status, when, X, np.array([0.5]))


def versions() -> str:
    """Return the versions of the packages, and which of the peers are missing."""
    names = ("torch", "scikit-learn", "scikit-survival", "pycox", "hazardous")
    found, missing = [f"Python {platform.python_version()}"], []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    left_out = f" Not installed, and so left out: {', '.join(missing)}." if missing else ""
    return f"{', '.join(found)}.{left_out}"


def main() -> None:
    """Run everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    folder = Path(tempfile.gettempdir()) / "competing_risks"
    parser.add_argument("--results", type=Path, default=folder)
    parser.add_argument("--folds", type=int, default=5, help="how many of the five folds")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    warm_up()
    sets = (f"{count} of {n:,} rows ({truth})" for (truth, n), count in SETS.items())
    page = PAGE.format(
        versions=versions(),
        sets=", ".join(sets),
        recovery=table_of_recovery(options.results),
        times=table_of_times(options.results),
        deaths=tables_of_deaths(options.results, options.folds),
        folds=options.folds,
    )
    Path(__file__).with_name("competing_risks.md").write_text(page)


PAGE = """# Competing risks beside other learners

Written by `python benchmarks/competing_risks.py`. Nothing is tuned. *cause-specific* is
`CompetingRisksNNRegressor(random_state=0)`, *subdistribution* has `hazard="subdistribution"` and
*linear* `hidden_layer_sizes=(), optimizer="lbfgs"` besides. *Aalen-Johansen* is scikit-survival's
estimate without features, and *Cox of each cause* its `CoxPHSurvivalAnalysis` of each cause, with a
ridge of 1e-4 and Efron's ties, whose hazards a product integral combines.

*SurvivalBoost* is that of hazardous with its defaults. With *same time* its number of iterations is
100 times the ratio of the seconds of *cause-specific* to those of its 100 iterations on the same
rows; later iterations take longer, so it took 0.45 to 0.65 of that time.

SurvivalBoost fits scikit-learn's trees with weights, for which new versions of scikit-learn find
bins so slowly that a fit to 1 000 rows was not ready after four minutes. Here bins have no weights,
as in earlier versions.

*DeepHit* is pycox's, with the network, optimizer, early stopping and loss of
`examples/deephit_competing_risks.ipynb` in its repository: ten times, a fifth of the rows held
out, `alpha=0.2`, which makes four fifths of the loss a ranking. The ten times are quantiles of the
events rather than equidistant, and its curves are linear between them.

Seconds are of the processor, on one thread, while other programs ran on the same machine.
{versions}

## Known incidences

Data sets: {sets}. Ten standard normal features, of which four or fewer count. The
hazards are those of Weibull distributions, 0.5 t^a e^r, with a = 1.5 for cause 1 and 1 for cause 2:

* nonlinear: r1 = 2 exp(-(x1² + x2²) / 2), r2 = x3 x4;
* linear: r1 = 0.8 x1 + 0.5 x2 - 0.4 x3, r2 = 0.7 x4 - 0.6 x1;
* crossing: r1 = 0.5 x2 and a = 1.5 exp(0.6 x1) for cause 1, so that the effect of x1 changes its
  sign over time, r2 = x3 x4.

Independent exponential times censor about a fifth of the rows. *Error* is the mean absolute
difference of predicted and true incidences, over 1 000 new people, both causes and 20 times between
the 10 % and the 90 % quantile of the observed times; lower is better. The goal for *cause-specific*
on 5 000 rows of the nonlinear truth was a third of the error of Aalen-Johansen.

{recovery}
At the time of writing the goal was reached, with a quarter. On the linear truth the linear models
win, by 2 %. On the crossing truth *cause-specific* has the least error, but a greater one for cause
1, whose hazards are not proportional, than for cause 2, and for cause 1 it is close to that of
SurvivalBoost. On the nonlinear truth linear models are no better than Aalen-Johansen. SurvivalBoost
has a greater error with 100 iterations on 1 000 rows than with fewer, and a smaller one on 5 000.
*subdistribution* is worse than *cause-specific* on all of these truths. One or two data sets of
each kind do not tell differences of a few percent apart.

The first two truths have proportional hazards of each cause, which suits *cause-specific* and the
models of Cox; the third does not, nor has any of them proportional subdistribution hazards.

## Deaths by cause

scikit-survival's `flchain`: 7 874 people, of whom 2 169 died; `chapter` is the cause of death, and
not a feature. Causes are circulatory (745), neoplasms (567) and other (857). {folds} of 5
folds, stratified by status; imputation by the mean, one-hot encoding and `StandardScaler` for all.

*C* is the concordance of the incidence at seven years with the deaths before (Wolbers', weighted
against the censoring; higher is better), *IBS* the integrated Brier score of the incidence from a
half to seven years (lower is better), and *gap* the mean difference between the predicted incidence
at seven years and the observed one, over ten groups of predictions (lower is better; Aalen-Johansen
has one group only, so its gap says that the mean is right).

{deaths}
At the time of writing the linear models were as good as *cause-specific* on these data, within
0.003 of C, and no learner was the best for all causes. *subdistribution* was no better than
*cause-specific*.

Up to seven years 6 % are censored. Who is censored later depends on the year of the sample, which
weights by Kaplan-Meier would not see: so the scores end there. A fold holds about 250 deaths of
three causes, so small differences mean little. `load_cgvhd` was left out: of its 100 people five
each had causes 2 and 3.

## Time

Seconds beside those of `CoxNNRegressor` on the same rows, whose event is any of the two causes,
with ten features; medians of three, whole fits once. An *epoch* is a fourth of the difference
between fits of 5 epochs and of 1, which removes the linear start. The goals were 1.3 times the time
of a Cox model with cause-specific and 1.6 times with subdistribution hazards. A prediction is the
incidences of both causes, for the Cox model its survival.

{times}
The epochs reach the goals. A loss: few times of a prediction do not make it fast with
cause-specific hazards, since the incidence is a sum over all event times of the fit, here about
16 000, each with exponentials of every person. With subdistribution hazards, as in the Cox model,
only the cumulative hazard at the times that are asked for is needed.
"""


if __name__ == "__main__":
    main()
