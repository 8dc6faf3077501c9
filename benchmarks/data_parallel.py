"""Time of an epoch in one process and in two, and the bytes that a step moves.

Run from this folder with the package installed: ``python data_parallel.py``; it writes
``data_parallel.md``. Each process has one thread, and the machine should have nothing else to do.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from skorch.callbacks import Callback
from sksurv.util import Surv

from sksurvtorch import CoxNNRegressor

N_ROWS, N_FEATURES, N_EPOCHS, N_RUNS = 200_000, 50, 3, 5
CASES = [
    ((64, 64), 512),
    ((64, 64), 4096),
    ((512, 512), 4096),
    ((512, 512), 32_768),
]


def data():
    """Return the same rows in every process."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, N_FEATURES), dtype=np.float32)
    time_to_event = rng.exponential(np.exp(-X[:, :5].sum(1) / 3))
    censoring = rng.exponential(2.0, N_ROWS)
    y = Surv.from_arrays(time_to_event <= censoring, np.minimum(time_to_event, censoring))
    return X, y


def received():
    """Return the bytes that have come over the loopback interface so far."""
    with open("/proc/net/dev") as lines:
        (line,) = (line for line in lines if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[0])


class Meter(Callback):
    """Record what an epoch receives."""

    def on_epoch_begin(self, net, **kwargs):
        """Look at the counter."""
        self.before_ = received()

    def on_epoch_end(self, net, **kwargs):
        """Look again."""
        net.history.record("received", received() - self.before_)


def measure(sizes, batch_size):
    """Print the seconds of an epoch, and the bytes of a step, in this process of several."""
    n_processes, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    X, y = data()
    share = slice(rank * N_ROWS // n_processes, (rank + 1) * N_ROWS // n_processes)
    model = CoxNNRegressor(
        hidden_layer_sizes=sizes,
        n_estimators=1,
        batch_size=batch_size // n_processes,
        max_epochs=1,
        warm_start=True,
        random_state=0,
        accelerator="auto" if n_processes > 1 else None,
        callbacks=[Meter()],
    ).fit(X[share], y[share])
    model.set_params(max_epochs=N_EPOCHS)
    model.fit(X[share], y[share])
    if rank == 0:
        seconds = statistics.median(model.net_.history[-N_EPOCHS:, "dur"])
        moved = statistics.median(model.net_.history[-N_EPOCHS:, "received"])
        n_weights = sum(weight.numel() for weight in model.net_.module_.parameters())
        print(json.dumps([seconds, moved / -(-N_ROWS // batch_size), n_weights]))


def run(n_processes, sizes, batch_size):
    """Return what the first of several processes prints."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n_processes}"]
    done = subprocess.run(
        [sys.executable, *launcher, __file__, json.dumps([sizes, batch_size])],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Measure all cases, alternating one process and two, and write the table."""
    started = time.time()
    rows = []
    for sizes, batch_size in CASES:
        pairs = [[run(n, sizes, batch_size) for n in (1, 2)] for _ in range(N_RUNS)]
        one, two = (statistics.median(pair[i][0] for pair in pairs) for i in range(2))
        moved = statistics.median(pair[1][1] for pair in pairs)
        n_weights = pairs[0][0][2]
        outputs, gradient = 4 * batch_size, 2 * 4 * n_weights
        rows.append(
            f"| {'-'.join(map(str, sizes))} | {batch_size:,} | {1e3 * one:.0f} | {1e3 * two:.0f} "
            f"| {one / two:.2f} | {outputs / 1e3:.1f} | {gradient / 1e3:.1f} | {moved / 1e3:.1f} |"
        )
        print(rows[-1], flush=True)
    page = f"""# Data-parallel training: one process and two

{N_ROWS:,} rows of {N_FEATURES} features, Cox loss with Efron's ties; an epoch of one process with
one thread, and of two such processes that hold half of the rows each, on one machine of two cores
over gloo. Medians of {N_RUNS} runs that alternate, {time.time() - started:.0f} s in all, torch
{torch.__version__.split("+")[0]}. A batch is that of both processes together. Bytes are those that
both processes receive in a step: computed for the outputs (4 bytes a row) and for the gradient
(2 × 4 bytes a weight, by a ring), and counted at the loopback interface, with all headers.

| layers | batch | 1 process, ms | 2, ms | speed-up | outputs, kB | gradient, kB | counted, kB |
|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}
"""
    with open("data_parallel.md", "w") as file:
        file.write(page)


if __name__ == "__main__":
    measure(*json.loads(sys.argv[1])) if len(sys.argv) > 1 else main()
