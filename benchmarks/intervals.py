"""Coverage and width of bands and intervals on simulated truth.

Run ``python benchmarks/intervals.py`` (15 minutes on one core); it writes ``intervals.md`` beside
itself. Each data set is kept in a file of ``--results``: a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from defaults import table
from scipy.optimize import brentq
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor, WeibullAFTRegressor

KINDS = {"Cox": CoxNNRegressor, "Weibull": WeibullAFTRegressor}
TRUTHS = {
    "linear": lambda X: 0.8 * X[:, 0] + 0.5 * X[:, 1] - 0.4 * X[:, 2],
    "bump": lambda X: 2 * np.exp(-(X[:, 0] ** 2 + X[:, 1] ** 2) / 2),
    "interaction": lambda X: X[:, 0] * X[:, 1],
}
CENSORED = {"light": 0.25, "heavy": 0.7}
# Data sets of each size.
SIZES = {300: 12, 1000: 8, 5000: 4}
SHAPE, LEVEL, N_NEW, N_TIMES = 1.5, 0.9, 500, 20
MEASURED = [
    *("band", "width", "median", "time", "early", "late", "finite"),
    *("events", "oob"),
]


def outcome(truth: str, generator, n: int):
    """Draw features, log hazard ratios and times of events."""
    X = generator.standard_normal((n, 10))
    log_hazard_ratio = TRUTHS[truth](X)
    exponential = generator.exponential(size=n)
    return X, log_hazard_ratio, (exponential * np.exp(-log_hazard_ratio)) ** (1 / SHAPE)


@cache
def censoring_scale(truth: str, share: float) -> float:
    """Return the mean of the exponential time that censors this share."""
    generator = np.random.default_rng(99)
    _, _, time = outcome(truth, generator, 200_000)
    censoring = generator.exponential(size=len(time))
    found = brentq(lambda a: (np.exp(a) * censoring < time).mean() - share, -10, 10)
    return float(np.exp(found))


def measure(kind: str, truth: str, censored: str, n: int, seed: int) -> dict[str, float]:
    """Return coverage and width for one data set."""
    generator = np.random.default_rng([seed, n])
    X, _, time = outcome(truth, generator, n)
    censoring = generator.exponential(censoring_scale(truth, CENSORED[censored]), n)
    event, time = time <= censoring, np.minimum(time, censoring)
    model = KINDS[kind](n_estimators=15, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, Surv.from_arrays(event, time))
    new, log_hazard_ratio, later = outcome(truth, generator, N_NEW)
    times = np.linspace(*np.quantile(time, [0.1, 0.9]), N_TIMES)
    survival = np.exp(-(times**SHAPE) * np.exp(log_hazard_ratio[:, None]))
    lower, upper = model.predict_survival_interval(new, LEVEL, times=times)
    median = (np.log(2) * np.exp(-log_hazard_ratio)) ** (1 / SHAPE)
    first, last = model.predict_time_interval(new, LEVEL)
    bounds = model.predict_median_interval(new, LEVEL)
    found = [
        ((lower <= survival) & (survival <= upper)).mean(),
        (upper - lower).mean(),
        ((bounds[0] <= median) & (median <= bounds[1])).mean(),
        ((first <= later) & (later <= last)).mean(),
        (later < first).mean(),
        (later > last).mean(),
        np.isfinite(last).mean(),
        event.sum(),
        model.oob_score_,
    ]
    return dict(zip(MEASURED, map(float, found), strict=True))


def known(folder: Path, kind: str, truth: str, censored: str, n: int) -> list[dict[str, float]]:
    """Return what was measured for all data sets of a kind, of which those known are read."""
    path = folder / f"{kind} {truth} {censored} {n}.json"
    found = json.loads(path.read_text()) if path.exists() else []
    for seed in range(len(found), SIZES[n]):
        found.append(measure(kind, truth, censored, n, seed))
        path.write_text(json.dumps(found))
    return found[: SIZES[n]]


def tables(folder: Path) -> tuple[str, str]:
    """Return the table of the bands, and that of the intervals of times."""
    bands, intervals = [], []
    for truth in TRUTHS:
        for n in SIZES:
            for censored in CENSORED:
                cells = [truth, censored, str(n)]
                band, interval = [], []
                for kind in KINDS:
                    sets = known(folder, kind, truth, censored, n)
                    mean = {name: np.mean([one[name] for one in sets]) for name in MEASURED}
                    each = [one["band"] for one in sets]
                    band += [
                        f"{mean['band']:.1%} ({min(each):.0%} to {max(each):.0%})",
                        f"{mean['width']:.2f}",
                        f"{mean['median']:.1%}",
                    ]
                    interval += [
                        f"{mean['time']:.1%}",
                        f"{mean['early']:.1%}",
                        f"{mean['late']:.1%}",
                        f"{mean['finite']:.0%}",
                    ]
                bands.append([*cells, f"{mean['events']:.0f}", *band, f"{mean['oob']:.2f}"])
                intervals.append([*cells, *interval])
    head = ["truth", "censoring", "n"]
    of_bands = [f"{kind} {what}" for kind in KINDS for what in ("band", "width", "median")]
    of_times = [
        f"{kind} {what}" for kind in KINDS for what in ("covers", "before", "behind", "bounded")
    ]
    return (
        table(bands, [*head, "events", *of_bands, "concordance"]),
        table(intervals, [*head, *of_times]),
    )


def main() -> None:
    """Run everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path(tempfile.gettempdir()) / "intervals")
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    bands, intervals = tables(options.results)
    sizes = ", ".join(f"{count} of {n:,} rows".replace(",", " ") for n, count in SIZES.items())
    page = PAGE.format(bands=bands, intervals=intervals, sizes=sizes)
    Path(__file__).with_name("intervals.md").write_text(page)
    print(page)


PAGE = """# Bands and intervals on simulated truth

Written by `python benchmarks/intervals.py`. Estimators with nothing set but `n_estimators=15` and
`random_state=0`, at level 0.9, on data sets of ten standard normal features:
{sizes}.
Survival is exp(-t^1.5 e^r), where r is 0.8 x1 + 0.5 x2 - 0.4 x3 ("linear"),
2 exp(-(x1² + x2²) / 2) ("bump") or x1 x2 ("interaction"), and the other features are noise.
Exponential times, independent of all else, censor 25 % ("light") or 70 % ("heavy") of the rows.

## Bands of survival

Each data set has 500 new people. "Band" is how often `predict_survival_interval` contains the true
S(t | x), averaged over people and 20 times between the 10 % and the 90 % quantile of the observed
times (in parentheses: the least and the greatest of the data sets), "width" the mean distance of
its bounds, and "median" how often `predict_median_interval` contains the true median. "Concordance"
is `oob_score_` of the Weibull model: how much of the truth the model has learned.

{bands}
## Intervals of the time

How often `predict_time_interval` contains the true time of the event of 500 new people, which is
not censored, how often the time is before it, and how often behind it; "bounded" is the share of
people whose upper bound is finite.

{intervals}
"""

if __name__ == "__main__":
    main()
