"""What is refused: mistakes of one process, and processes that do not fit together."""

from __future__ import annotations

from tests.contract.data_parallel import mistakes
from tests.contract.data_parallel.launches import cases, sizes

#: What one process gets wrong for itself; the others say which one it was.
MISTAKES_OF_ONE = {
    "NaN": "ValueError: Input X contains NaN.",
    "strata": "ValueError: `stratum` must not be missing, got None",
    "lr": "ValueError: `lr` must be more than 0.0, got -1.0.",
    "a module that fails": "ValueError: `module` must take X of shape (2, 3) and torch.float64, "
    "got RuntimeError: mat1 and mat2 shapes cannot be multiplied",
}
#: What does not fit together, which is an error in all processes.
MISTAKES_OF_ALL = {
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
#: Mistakes of all that are not those of the last process.
SHARED_MISTAKES = "no event", "batch normalisation"


def test_all_that_is_refused_is_looked_at():
    assert {*MISTAKES_OF_ONE, *MISTAKES_OF_ALL, "several mistakes"} == {*mistakes.REFUSED}


@cases(MISTAKES_OF_ONE, "refused: {}")
def test_if_one_process_cannot_go_on_all_say_why(run, name, size):
    *others, last = run(f"refused: {name}", size)
    assert f"{last['error']}: {last['message']}".startswith(MISTAKES_OF_ONE[name])
    expected = (
        f"The fit ends because process {size - 1} of {size} could not go on. "
        f"{MISTAKES_OF_ONE[name]}"
    )
    for told in others:
        assert told["error"] == "RuntimeError"
        assert told["message"].startswith(expected)


def test_each_process_has_its_own_error(run):
    first, second = run("refused: several mistakes", 2)
    assert first["message"].startswith("Input X contains NaN.")
    assert second["message"].startswith("`y['time']` must be at least 0")


@cases(MISTAKES_OF_ALL, "refused: {}")
def test_what_does_not_fit_together_is_an_error_in_all_processes(run, name, size):
    told = run(f"refused: {name}", size)
    assert all(f"{x['error']}: {x['message']}".startswith(MISTAKES_OF_ALL[name]) for x in told), (
        told
    )
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
