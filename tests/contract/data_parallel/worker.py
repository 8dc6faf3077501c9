"""What each process of a launch does, and one process alone to compare with.

A case is a function of the `Share` of a process. What it returns is compared by name, over the
processes and with what it returns where one process has all rows.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import sys
import traceback
import warnings
from functools import partial
from pathlib import Path

import torch

from tests.contract.data_parallel.ends import busy, half, interrupted, killed, stopped
from tests.contract.data_parallel.fits import (
    EQUAL,
    alone,
    dropout,
    dtypes,
    fit,
    kept,
    line_search,
    printed,
)
from tests.contract.data_parallel.loops import LOSSES, gathered, gathered_momentum
from tests.contract.data_parallel.mistakes import REFUSED, refused, unaware
from tests.contract.data_parallel.shares import LAYOUTS, LIMIT, Share

ALL_CASES = {
    "unaware": unaware,  # first, before there is a process group
    **EQUAL,
    "line search": line_search,
    "no seed": partial(fit, random_state=None, early_stopping=True),
    "dropout": dropout,
    "dtypes": dtypes,
    "printed": printed,
    "kept": kept,
    "alone": alone,
    **{
        f"loss: {name}, {layout}": partial(gathered, name=name, layout=layout)
        for name in LOSSES
        for layout in LAYOUTS
    },
    **{
        f"loss in float32: {name}": partial(
            gathered, name=name, layout="uneven", dtype=torch.float32
        )
        for name in LOSSES
    },
    "loss: gradients added up": partial(
        gathered, name="efron, all columns", layout="uneven", wrapped=False
    ),
    "loss: momentum": gathered_momentum,
    **{f"refused: {name}": partial(refused, name=name) for name in REFUSED},
    "busy": busy,
}
#: Those of four processes: where it matters who stands between the first and the last.
OF_FOUR = [
    "unaware",
    "efron, entry, stratum, sample_weight",
    "breslow, entry, stratum, sample_weight",
    "weibull",
    "float32, efron",
    "events in all processes",
    "a process of one row",
    "batches of which a process has no row",
    "no row with a weight in the last process",
    "momentum",
    "early stopping with momentum",
    "X in a file in one process",
    "X as a dataset",
    "a seed in each process",
    "linear by L-BFGS",
    "net of skorch",
    "dropout",
    "dtypes",
    "alone",
    *(f"loss: efron, all columns, {layout}" for layout in LAYOUTS),
    "loss: weibull, uneven",
    "loss: momentum",
    "refused: NaN",
    "refused: alpha",
    "refused: loss: lengths",
    "refused: loss: dtypes",
    "busy",
]
SUITES = {
    "2": ALL_CASES,
    "4": {name: ALL_CASES[name] for name in OF_FOUR},
    "half precision and a process that stops": {"half": half, "stopped": stopped},
    "a process that dies": {"killed": killed},
    "a process that is interrupted": {"interrupted": interrupted},
}


def main(suite, folder):
    """Write what each case returns in this process, one by one."""
    # torch.distributed.run does not end processes that wait for each other.
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    warnings.simplefilter("error")
    share = Share(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), Path(folder))
    with open(share.folder / f"{share.rank}.pickle", "wb") as file:
        for name, case in SUITES[suite].items():
            try:
                told = case(share)
            except Exception:
                told = {"traceback": traceback.format_exc()}
            pickle.dump((name, told), file)
            file.flush()


if __name__ == "__main__":
    # By its name, so that what is pickled can be found.
    from tests.contract.data_parallel import worker

    worker.main(*sys.argv[1:])
