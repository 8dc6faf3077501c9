"""Coverage and width of bands around cumulative incidences on simulated truth.

Run ``python benchmarks/incidence_bands.py`` (5 minutes on one core); it writes
``incidence_bands.md`` beside itself. Each data set is kept in a file of ``--results``: a run that
was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from defaults import table

from sksurvtorch import CompetingRisksNNRegressor
from sksurvtorch.nets import competing_risks_y

# Log hazard ratios of both causes.
TRUTHS = {
    "linear": lambda X: np.stack(
        [0.8 * X[:, 0] + 0.5 * X[:, 1], -0.6 * X[:, 0] + 0.5 * X[:, 2]], axis=1
    ),
    "bump": lambda X: np.stack(
        [2 * np.exp(-(X[:, 0] ** 2 + X[:, 1] ** 2) / 2), X[:, 2] * X[:, 3]], axis=1
    ),
}
# Data sets of each size.
SIZES = {300: 10, 1000: 6, 5000: 2}
LEVEL, N_NEW, N_TIMES, CENSORING = 0.9, 500, 20, 1.5


def measure(truth: str, n: int, seed: int) -> dict[str, list[float]]:
    """Return coverage, width and the slopes for one data set, of both causes."""
    generator = np.random.default_rng([seed, n])
    X, new = generator.standard_normal((n, 10)), generator.standard_normal((N_NEW, 10))
    each = generator.exponential(np.exp(-TRUTHS[truth](X)))
    censoring = generator.exponential(CENSORING, n)
    status = np.where(each.min(1) <= censoring, 1 + each.argmin(1), 0)
    y = competing_risks_y(status, np.minimum(each.min(1), censoring))
    model = CompetingRisksNNRegressor(n_estimators=15, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    times = np.linspace(*np.quantile(y["time"], [0.1, 0.9]), N_TIMES)
    hazard = np.exp(TRUTHS[truth](new))[:, :, None]
    total = hazard.sum(1, keepdims=True)
    incidence = hazard / total * -np.expm1(-total * times)
    lower, upper = model.predict_cumulative_incidence_interval(new, LEVEL, times=times)
    return {
        "band": ((lower <= incidence) & (incidence <= upper)).mean((0, 2)).tolist(),
        "width": (upper - lower).mean((0, 2)).tolist(),
        "events": [float((status == cause).sum()) for cause in (1, 2)],
    }


def known(folder: Path, truth: str, n: int) -> list[dict[str, list[float]]]:
    """Return what was measured for all data sets of a kind, of which those known are read."""
    path = folder / f"{truth} {n}.json"
    found = json.loads(path.read_text()) if path.exists() else []
    for seed in range(len(found), SIZES[n]):
        found.append(measure(truth, n, seed))
        path.write_text(json.dumps(found))
    return found[: SIZES[n]]


def main() -> None:
    """Run everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--results", type=Path, default=Path(tempfile.gettempdir()) / "incidence_bands"
    )
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    rows = []
    for truth in TRUTHS:
        for n in SIZES:
            sets = known(options.results, truth, n)
            for place, cause in enumerate(("1", "2")):
                each = [one["band"][place] for one in sets]
                mean = {name: np.mean([one[name][place] for one in sets]) for name in sets[0]}
                band = f"{mean['band']:.1%} ({min(each):.0%} to {max(each):.0%})"
                rows.append(
                    [truth, str(n), cause, f"{mean['events']:.0f}", band, f"{mean['width']:.2f}"]
                )
    sizes = ", ".join(f"{count} of {n:,} rows".replace(",", " ") for n, count in SIZES.items())
    head = ["truth", "n", "cause", "events", "band", "width"]
    page = PAGE.format(table=table(rows, head), sizes=sizes)
    Path(__file__).with_name("incidence_bands.md").write_text(page)
    print(page)


PAGE = """# Bands of cumulative incidences on simulated truth

Written by `python benchmarks/incidence_bands.py`. `CompetingRisksNNRegressor` with nothing set but
`n_estimators=15` and `random_state=0`, at level 0.9, on data sets of ten standard normal features:
{sizes}.
Two causes have constant hazards e^r1 and e^r2: r1 is 0.8 x1 + 0.5 x2 and r2 -0.6 x1 + 0.5 x3
("linear"), or r1 is 2 exp(-(x1² + x2²) / 2) and r2 is x3 x4 ("bump"). The other features are noise.
Exponential times of mean 1.5, independent of all else, censor.

Each data set has 500 new people. "Band" is how often `predict_cumulative_incidence_interval`
contains the true incidence of the cause, averaged over people and 20 times between the 10 % and the
90 % quantile of the observed times (in parentheses: the least and the greatest of the data sets),
"width" the mean distance of its bounds.

{table}"""

if __name__ == "__main__":
    main()
