"""Several processes on one machine train the model that one process would train on all rows.

`data_parallel` has the cases. Processes take seconds to start, so one launch of two and
one of four run all of them, and the tests look at what they wrote.
"""

from __future__ import annotations

import functools
import os
import pickle
import pickletools
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from sklearn.base import clone

from sksurvtorch import CoxNNRegressor
from sksurvtorch.estimators import _accelerate
from sksurvtorch.losses import CoxPHLoss, GatheredLoss, WeibullAFTLoss
from tests import twins
from tests.contract.data_parallel import ends, fits, loops, mistakes, shares, worker

ROOT = Path(__file__).parents[2]
#: Seconds after which a launch is ended.
PATIENCE = 120

FLOAT64, FLOAT32 = 1e-10, 1e-5
# A line search of L-BFGS stops where rounding hides the loss, which is flat to the square of the
# distance: the root of 1e-16, and more where features are correlated.
LINE_SEARCH = 1e-6
TOLERANCES = {
    **{name: FLOAT32 for name in fits.EQUAL if name.startswith("float32")},
    "linear by L-BFGS": LINE_SEARCH,
    # They start from a linear model that L-BFGS has fitted.
    **dict.fromkeys(["linear", "built-in network", "built-in network, weibull"], LINE_SEARCH),
}


# Launches


def launch(size, suite, folder):
    """Run a suite in processes, and return the exit status and what the launcher said."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", str(size), worker.__file__, suite, str(folder)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    with subprocess.Popen(
        command,
        env=environment,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as launcher:
        try:
            said, _ = launcher.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            launcher.terminate()  # it ends the processes, which killing it would not
            said, _ = launcher.communicate()
            return None, f"It took more than {PATIENCE} s.\n{said}"
    return launcher.returncode, said


def written(folder, rank):
    """What a process has written, by case."""
    told = {}
    if not (folder / f"{rank}.pickle").exists():
        return told
    with open(folder / f"{rank}.pickle", "rb") as file:
        while True:
            try:
                name, result = pickle.load(file)
            except (EOFError, pickle.UnpicklingError):  # where it was ended
                return told
            told[name] = result


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory, worker_id):
    """A folder of all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="module")
def run(common_folder):
    """A function that returns what a case came to in each process; the first call launches them."""

    @functools.cache
    def all_cases(size):
        folder = common_folder / f"data_parallel_{size}"
        with FileLock(f"{folder}.lock"):  # one launch, whatever the number of workers
            if not folder.exists():
                folder.mkdir()
                status, said = launch(size, str(size), folder)
                (folder / "said").write_text(f"The launcher returned {status}.\n{said}")
        return [written(folder, rank) for rank in range(size)], (folder / "said").read_text()

    def case(name, size):
        told, said = all_cases(size)
        for rank, results in enumerate(told):
            after = f"It ended after {list(results)[-1:]}.\n{said:.2000}"
            result = results.get(name, {"traceback": after})
            if "traceback" in result:
                pytest.fail(f"Process {rank} of {size}, {name}:\n{result['traceback']}")
        return [results[name] for results in told]

    return case


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A function that returns what a case comes to in one process."""
    share = shares.Share(0, 1, tmp_path_factory.mktemp("alone"))
    return functools.cache(lambda name: fits.EQUAL[name](share))


@pytest.fixture
def fresh_accelerate():
    """Nothing that accelerate keeps for the whole process, before and after."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def difference(told, expected, tolerance):
    """What is not as expected, relative to the largest number or to one."""
    if told.keys() != expected.keys():
        return [f"{sorted(told.keys() ^ expected.keys())} are in one only"]
    found = []
    for name, numbers in expected.items():
        ours, theirs = np.asarray(told[name]), np.asarray(numbers)
        if ours.shape != theirs.shape:
            found.append(f"{name}: shape {ours.shape}, expected {theirs.shape}")
        elif theirs.dtype.kind not in "iuf":
            found += [f"{name}: {ours.tolist()}"] if (ours != theirs).any() else []
        elif not np.array_equal(ours, theirs):  # which takes equal infinities for equal
            ours, theirs = (x[np.isfinite(ours) | np.isfinite(theirs)] for x in (ours, theirs))
            off = np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())
            found += [] if off <= tolerance else [f"{name}: off by {off:.1e}"]
    return found


def assert_equal(told, expected, tolerance=0.0):
    """Equal in all processes, with all that differs in the message."""
    found = [(rank, difference(result, expected, tolerance)) for rank, result in enumerate(told)]
    trouble = [f"process {rank}: {'; '.join(what)}" for rank, what in found if what]
    assert not trouble, f"allowed are {tolerance:.0e}\n" + "\n".join(trouble)


sizes = pytest.mark.parametrize("size", [2, 4])


def cases(names, form="{}"):
    """Parametrize with names and numbers of processes, four where they run that case."""
    known = [(name, size) for size in (2, 4) for name in names]
    pairs = [(name, size) for name, size in known if form.format(name) in worker.SUITES[str(size)]]
    return pytest.mark.parametrize(("name", "size"), pairs)


# What is as in one process


@cases(fits.EQUAL)
def test_as_one_process_with_all_rows(name, size, run, alone):
    told = run(name, size)
    assert_equal(told, alone(name), TOLERANCES.get(name, FLOAT64))
    assert_equal(told, told[0])  # to the last bit


#: Cases that differ by where the rows of processes are, and not in one process.
SAME = [
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
    assert [names for names in by_weights.values() if len(names) > 1] == SAME


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


# What has no equal in one process


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


# The loss in a loop of one's own


@functools.cache
def twin(name):
    """Loss and gradient of the weights for all rows of each batch, by loops over the rows."""
    loss, n_outputs, columns = loops.LOSSES[name]
    module, told = loops.linear(n_outputs), []
    for rows in loops.batches_of(shares.Share(0, 1, Path()), "uneven"):
        module.zero_grad()
        output = module(torch.tensor(shares.DATA["X"][rows]))
        target = loops.columns_of(columns, rows)
        reduction = getattr(loss, "reduction", "sum")
        if isinstance(loss, WeibullAFTLoss):
            losses, gradient = twins.weibull(output.detach(), **target)
            n = target.get("weight", torch.ones(len(rows))).sum() if reduction == "mean" else 1
            value = losses.sum() / n
            output.backward(gradient / n)
        else:
            ties = getattr(loss, "ties", "breslow")
            value = twins.cox(output, **target, ties=ties, reduction=reduction)
            value.backward()
        gradient = torch.cat([weight.grad.flatten() for weight in module.parameters()])
        told.append([value.item(), *gradient.tolist()])
    return {"loss, gradient": told}


@cases([f"{name}, {layout}" for name in loops.LOSSES for layout in shares.LAYOUTS], "loss: {}")
def test_loss_and_gradient_are_those_of_all_rows(run, name, size):
    loss, _, layout = name.rpartition(", ")
    told = run(f"loss: {name}", size)
    rows = np.array([result["rows"] for result in told])
    assert rows.sum(0).tolist() == [20, 20, 20, 20, 16]
    assert (rows == 0).any() or layout != "few"
    assert_equal([{**result, "rows": 0} for result in told], {**twin(loss), "rows": 0}, FLOAT64)


@pytest.mark.parametrize("name", loops.LOSSES)
def test_loss_and_gradient_in_float32(run, name):
    told = run(f"loss in float32: {name}", 2)
    assert_equal([{**result, "rows": 0} for result in told], {**twin(name), "rows": 0}, FLOAT32)


def test_gradients_that_are_added_up_are_divided_by_the_number_of_processes(run):
    told, expected = run("loss: gradients added up", 2), twin("efron, all columns")
    assert_equal([{**result, "rows": 0} for result in told], {**expected, "rows": 0}, FLOAT64)


@sizes
def test_the_bank_spans_the_processes(run, size):
    expected = loops.gathered_momentum(shares.Share(0, 1, Path()))
    assert len(expected["bank"]) == 40
    assert_equal(run("loss: momentum", size), expected, FLOAT64)


def test_without_other_processes_it_is_the_loss_itself():
    output = torch.from_numpy(shares.DATA["X"][:, :1])
    target = loops.columns_of(("entry", "stratum", "weight"))
    expected = CoxPHLoss()(output, target)
    assert torch.equal(GatheredLoss(CoxPHLoss())(output, target), expected)
    assert torch.equal(GatheredLoss(CoxPHLoss())(output, **target), expected)


def test_it_says_what_its_loss_says():
    assert GatheredLoss(WeibullAFTLoss()).sum_over_samples
    assert not GatheredLoss(CoxPHLoss()).sum_over_samples
    assert not GatheredLoss(loops.by_hand).sum_over_samples


def test_a_loss_is_an_instance_that_returns_one_number():
    expected = r"^`loss` must be a loss such as CoxPHLoss\(\), got <class .* Make an instance first"
    with pytest.raises(TypeError, match=expected):
        GatheredLoss(CoxPHLoss)
    expected = "^`loss` must have the reduction 'mean' or 'sum', got 'none': rows belong to several"
    with pytest.raises(ValueError, match=expected):
        GatheredLoss(CoxPHLoss(reduction="none"))


# What is refused

#: What one process gets wrong for itself; the others say which one it was.
OF_ONE = {
    "NaN": "ValueError: Input X contains NaN.",
    "strata": "ValueError: `stratum` must not be missing, got None",
    "lr": "ValueError: `lr` must be more than 0.0, got -1.0.",
    "a module that fails": "RuntimeError: mat1 and mat2 shapes cannot be multiplied",
}
#: What does not fit together, which is an error in all processes.
OF_ALL = {
    "features": "ValueError: X and what comes with it must be alike in all processes, got samples",
    "feature names": "ValueError: `feature_names_in_` must be the same in all processes",
    "no event": "NoEventError: `y` must have an event, got 96 rows",
    "sample_weight": "ValueError: ",
    "entry": "ValueError: ",
    "stratum": "ValueError: ",
    "alpha": "ValueError: `alpha` must be the same in all processes, got 1.0 in process 0 and 2.0",
    "optimizer__weight_decay": "ValueError: `optimizer__weight_decay` must be the same in all pro",
    "hidden_layer_sizes": "ValueError: `hidden_layer_sizes` must be the same in all processes",
    "network": "ValueError: ",
    "module": "ValueError: `module.0.weight.shape` must be the same in all processes, got",
    "batch normalisation": "ValueError: Batch normalisation over several processes must be on GPU",
    "loss: lengths": "ValueError: Outputs and targets must have one number of rows, got [",
    "loss: dtypes": "ValueError: Outputs and targets must be of the same kind in all processes",
    "loss: columns": "ValueError: Outputs and targets must be of the same kind in all processes",
    "loss: outputs": "ValueError: Outputs and targets must be of the same kind in all processes",
}
#: Those of them that are not the mistake of the last process.
SHARED_MISTAKES = "no event", "batch normalisation"


def test_all_that_is_refused_is_looked_at():
    assert {*OF_ONE, *OF_ALL, "several mistakes"} == {*mistakes.REFUSED}


@cases(OF_ONE, "refused: {}")
def test_if_one_process_cannot_go_on_all_say_why(run, name, size):
    *others, last = run(f"refused: {name}", size)
    assert f"{last['error']}: {last['message']}".startswith(OF_ONE[name])
    expected = f"The fit ends because process {size - 1} of {size} could not go on. {OF_ONE[name]}"
    for told in others:
        assert told["error"] == "RuntimeError"
        assert told["message"].startswith(expected)


def test_each_process_has_its_own_error(run):
    first, second = run("refused: several mistakes", 2)
    assert first["message"].startswith("Input X contains NaN.")
    assert second["message"].startswith("`time` must be at least 0")


@cases(OF_ALL, "refused: {}")
def test_what_does_not_fit_together_is_an_error_in_all_processes(run, name, size):
    told = run(f"refused: {name}", size)
    assert all(f"{x['error']}: {x['message']}".startswith(OF_ALL[name]) for x in told), told
    assert len({x["message"] for x in told}) == 1, told
    assert (name in SHARED_MISTAKES) != (f"in process {size - 1}." in told[0]["message"]), told


@sizes
def test_an_accelerator_has_to_know_of_all_processes(run, size):
    for told in run("unaware", size):
        assert told["error"] == "ValueError"
        assert told["message"] == (
            f"`accelerator` must know all {size} processes, got one of 1. On a CPU make it as "
            "accelerate.Accelerator(cpu=True)."
        )


# Processes that end, and half precision


def test_a_process_that_dies_ends_the_run(tmp_path):
    started = time.monotonic()
    status, said = launch(2, "a process that dies", tmp_path)
    assert time.monotonic() - started < PATIENCE / 2, said
    assert status not in (0, None)
    assert "SIGKILL" in said
    # The other one has raised, or was ended before it could.
    told = written(tmp_path, 0).get("killed", {"error": "RuntimeError"})
    assert told["error"] == "RuntimeError", told


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


# In one process


@pytest.mark.usefixtures("fresh_accelerate")
@pytest.mark.parametrize("options", [{}, {"momentum": True}, {"early_stopping": True}])
def test_in_one_process_it_changes_nothing(options):
    share = shares.Share(0, 1, Path())
    told = [fits.fit(share, shares.ALL, accelerator=x, **options) for x in ("auto", None)]
    assert_equal(told[:1], told[1])


@pytest.mark.usefixtures("fresh_accelerate")
def test_an_accelerator_of_ones_own_keeps_nothing_of_a_training():
    from accelerate import Accelerator

    made, share = Accelerator(cpu=True), shares.Share(0, 1, Path())
    model = fits.estimator(share, accelerator=made, batch_size=shares.BATCH)
    model.fit(shares.DATA["X"], shares.DATA["y"])
    again = pickle.loads(pickle.dumps(clone(model).fit(shares.DATA["X"], shares.DATA["y"])))
    np.testing.assert_array_equal(*(x.predict(shares.DATA["X"]) for x in (model, again)))
    assert not made._models + made._optimizers


@pytest.mark.parametrize("given", [3, True, object(), torch.device("cpu")])
def test_another_accelerator_is_refused(given):
    with pytest.raises(
        TypeError, match=r"^`accelerator` must be None, 'auto' or an accelerate.Accelerator, got"
    ):
        CoxNNRegressor(accelerator=given).fit(shares.DATA["X"], shares.DATA["y"])


def test_another_word_is_refused():
    with pytest.raises(ValueError, match=r"^`accelerator` must be .*'auto'.*, got 'gpu'"):
        CoxNNRegressor(accelerator="gpu").fit(shares.DATA["X"], shares.DATA["y"])


def test_accelerate_is_asked_for_by_its_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"^`accelerator` needs the package accelerate. Install"):
        CoxNNRegressor(accelerator="auto").fit(shares.DATA["X"], shares.DATA["y"])


def test_a_device_with_a_number_is_refused(monkeypatch):
    numbered = torch.device("cuda", 1)
    monkeypatch.setattr(_accelerate.validation, "resolve_device", lambda device: numbered)
    with pytest.raises(ValueError, match=r"^`device` must have no number .*, got 'cuda:1'"):
        CoxNNRegressor(accelerator="auto").fit(shares.DATA["X"], shares.DATA["y"])
