"""Several processes on one machine train the model that one process would train on all rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.contract.data_parallel import fits, shares
from tests.contract.data_parallel.launches import FLOAT32, FLOAT64, LINE_SEARCH, assert_equal, cases

TOLERANCES = {
    **{name: FLOAT32 for name in fits.EQUAL if name.startswith("float32")},
    "linear by L-BFGS": LINE_SEARCH,
    # They start from a linear model that L-BFGS has fitted.
    **dict.fromkeys(
        ["linear", "two causes, linear", "built-in network", "built-in network, weibull"],
        LINE_SEARCH,
    ),
}

#: Cases that differ by where the rows of processes are, and not in one process.
EQUAL_IN_ONE_PROCESS = [
    [
        "efron, right-censored",
        "a process of one row",
        "whole times in the last process",
        "X in a file in one process",
        "X as a dataset in one process",
        "weights that have drifted",
    ],
    ["efron, entry, stratum, sample_weight", "events in all processes", "X in a file"],
    ["X as a dataset", "a seed in each process"],
]


@cases(fits.EQUAL)
def test_as_one_process_with_all_rows(name, size, run, alone):
    told = run(name, size)
    assert_equal(told, alone(name), TOLERANCES.get(name, FLOAT64))
    assert_equal(told, told[0])  # to the last bit


def test_the_cases_are_what_their_names_say(alone):
    """Else the tests above would show less than they seem to."""
    assert 1 < len(alone("early stopping")["training losses"]) < 30
    assert len(alone("early stopping")["validation losses"]) == alone("early stopping")["epochs"]
    assert alone("batches without an event")["warnings"]
    assert alone("batches of which a process has no row")["rows in batches"].tolist() == 24 * [8]
    assert len(alone("all rows at once")["losses of batches"]) == 2
    rows = [len(range(shares.N)[shares.Share(1, 4, Path()).rows(name)]) for name in shares.LAYOUTS]
    assert rows == [1, 1, 14]
    norms = np.linalg.norm(alone("callbacks of skorch")["gradients"], axis=1)
    assert (norms < 0.05 * (1 + 1e-6)).all()
    by_weights = {}
    for name in fits.EQUAL:
        by_weights.setdefault(tuple(alone(name)["weights"]), []).append(name)
    assert [names for names in by_weights.values() if len(names) > 1] == EQUAL_IN_ONE_PROCESS


def test_a_line_search_ends_no_further_away_than_with_the_rows_in_another_order(run):
    """In one process, which is why no less is asked of several."""
    share = shares.Share(0, 1, Path())
    expected = fits.line_search(share)["coef"]
    rng = np.random.default_rng(0)
    others = [fits.line_search(share, rng.permutation(686))["coef"] for _ in range(8)]
    spread = max(np.abs(other - expected).max() for other in others)
    assert spread < LINE_SEARCH
    for told in run("line search", 2):
        assert np.abs(told["coef"] - expected).max() <= max(FLOAT64, 2 * spread)
