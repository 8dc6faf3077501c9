"""What has no equal in one process: dropout, printing, loading, and processes that end."""

from __future__ import annotations

import pickle
import pickletools
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.contract.data_parallel import ends, fits, shares
from tests.contract.data_parallel.launches import (
    FLOAT64,
    PATIENCE,
    assert_equal,
    difference,
    launch,
    sizes,
    written,
)


def test_without_a_seed_the_first_process_draws_one(run, alone):
    told = run("no seed", 2)
    assert_equal(told, told[0])
    assert difference(told[0], alone("a seed in each process"), 1e-3)


@sizes
def test_dropout_differs_between_processes_and_the_model_does_not(run, size):
    told = run("dropout", size)
    assert len({str(result["masks"]) for result in told}) == size
    for result in told:
        assert result["masks again"] == result["masks"]
        assert_equal([result["again"], result["model"]], told[0]["model"])


def test_the_first_process_alone_prints(run):
    first, second = run("printed", 2)
    assert first[0] == ""
    assert "1/2" in first[1]  # epochs of the bar, of which the second stops the fit
    assert "train_loss" in first[2]
    assert "Stopping since valid_loss" in first[2]
    assert [second[verbose] for verbose in (0, 1, 2)] == ["", "", ""]
    assert "train_loss" in first["sink"]
    assert "train_loss" in second["sink"]


@sizes
def test_columns_of_two_dtypes_become_one_that_holds_both(run, size):
    for told in run("dtypes", size):
        assert told == {"whole": "torch.int64", "mixed": "torch.float64", "same": "torch.int8"}


@pytest.mark.parametrize("name", ["cox", "momentum", "weibull"])
def test_a_model_loads_where_there_are_no_other_processes(run, name):
    assert not torch.distributed.is_initialized()
    for kept in run("kept", 2):
        words = {word for _, word, _ in pickletools.genops(kept[name]["pickle"])}
        of_training = "accelerate.", "torch.distributed", "torch.nn.parallel"
        assert not [word for word in words if str(word).startswith(of_training)]
        model = pickle.loads(kept[name]["pickle"])
        assert str(model.device_) == "cpu"
        np.testing.assert_array_equal(model.predict(shares.DATA["X"]), kept[name]["predictions"])
        np.testing.assert_array_equal(kept[name]["those of a clone"], kept[name]["predictions"])


@sizes
def test_one_process_predicts_and_fits_by_itself(run, size):
    """While the others wait for it to end, outside of torch.distributed."""
    *_, told = run("alone", size)
    model = fits.estimator(shares.Share(0, 1, Path()), early_stopping=True)
    expected = fits.seen(model.fit(shares.DATA["X"][50:], shares.DATA["y"][50:]))
    assert_equal([told], expected, FLOAT64)


@sizes
def test_processes_end_well(run, size, common_folder):
    """torch aborts one that ends while it is still in a process group."""
    run("busy", size)
    said = (common_folder / f"data_parallel_{size}" / "said").read_text()
    assert said.startswith("The launcher returned 0."), said


def test_a_process_that_dies_ends_the_run(tmp_path):
    started = time.monotonic()
    status, said = launch(2, "a process that dies", tmp_path)
    assert time.monotonic() - started < PATIENCE / 2, said
    assert status not in (0, None)
    assert "SIGKILL" in said
    # The other one has raised, or was ended before it could.
    told = written(tmp_path, 0).get("killed", {"error": "RuntimeError"})
    assert told["error"] == "RuntimeError", told


def test_ctrl_c_in_one_process_ends_both(tmp_path):
    started = time.monotonic()
    status, said = launch(2, "a process that is interrupted", tmp_path)
    assert time.monotonic() - started < PATIENCE / 2, said
    assert status not in (0, None)
    assert "KeyboardInterrupt" in said
    told = written(tmp_path, 0).get("interrupted", {"error": "RuntimeError", "seconds": 0.0})
    assert told["error"] == "RuntimeError", told
    assert told["seconds"] < 30


@pytest.mark.usefixtures("fresh_accelerate")
def test_half_precision_and_a_process_that_stops(tmp_path):
    """In one launch, since nothing can be asked of processes after one of them has stopped."""
    _, said = launch(2, "half precision and a process that stops", tmp_path)
    told = [written(tmp_path, rank) for rank in range(2)]
    assert told[0].keys() == {"half", "stopped"}, said
    assert "traceback" not in told[0]["half"], told[0]["half"]["traceback"]
    share = shares.Share(0, 1, tmp_path)
    (tmp_path / "0").touch()
    full, halves = ends.half(share, None), [x["half"] for x in told] + [ends.half(share)]
    assert_equal(halves[:2], halves[0])
    for half in halves:
        assert difference({"": half["predictions"]}, {"": full["predictions"]}, 1e-4)
        assert_equal([{"": half["predictions"]}], {"": full["predictions"]}, 0.02)
        # Each would be equal in the precision of the training.
        first, bias, last = np.split(np.float32(half["weights"]), [12, 16])
        hidden = np.tanh(np.float32(shares.DATA["X"]) @ first.reshape(4, 3).T + bias)
        np.testing.assert_allclose(half["predictions"], hidden @ last, atol=1e-6)
    stopped = told[0]["stopped"]
    assert stopped["error"] == "RuntimeError", stopped
    assert 4 < stopped["seconds"] < 30
