"""Each example runs without a word on stderr, and prints what it says about its data."""

import re
import shutil
from pathlib import Path

import pytest

from tests.integration import (
    example_checks_engines,
    example_checks_large_data,
    example_checks_networks,
    example_checks_tabular,
)

# A module with a leading underscore is what examples share.
SCRIPTS = sorted((Path(__file__).parents[2] / "examples").glob("[!_]*.py"))
ROW = re.compile(r"^([\w-]+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)$", re.MULTILINE)
SCORES = re.compile(r"^(\w[\w ]+?)  +([\d.]+) +([\d.]+)$", re.MULTILINE)
# Rows; in a million, the default, one fit takes twenty seconds. Folds, of which any number shows
# where the fits run.
ARGUMENTS = {
    "larger_than_memory": ["300000"],
    "search_joblib": ["2"],
    "search_dask": ["2"],
    "search_ray": ["2"],
}
# What is done less often than in the script, where the rest shows as much: passages, and what
# stands in their place. The numbers that depend on it are not compared below.
SHORTER = {
    "quickstart": {
        "max_epochs=40": "n_estimators=1, max_epochs=5",
        "n_estimators=100,": "n_estimators=20,",
    },
    "plot_distributions": {
        "StratifiedKFold(5,": "StratifiedKFold(3,",
        "grid = np.linspace(0, 5, 11)": (
            "[model.set_params(n_estimators=3) for model in models.values()]\n"
            "grid = np.linspace(0, 5, 11)"
        ),
    },
    "plot_explain": {
        "for _ in range(200)]": "for _ in range(40)]",
        "y_test, n_repeats=10": "y_test, n_repeats=3",
        "columns, n_repeats=10": "columns, n_repeats=3",
        "subsample=80": "subsample=20",
        "grid_resolution=30": "grid_resolution=10",
        "X_train.sample(200,": "X_train.sample(20,",
    },
    "plot_images_momentum": {
        "seeds = range(5)": "seeds = range(2)",
        "test_size=0.4,": "test_size=0.7,",
    },
    "plot_own_skorch_net": {
        "seeds = range(3)": "seeds = range(2)",
        "CoxNNRegressor(batch_size=1024,": "CoxNNRegressor(n_estimators=1, batch_size=1024,",
        "for _ in range(100)]": "for _ in range(10)]",
    },
    "plot_stacking": {
        "StratifiedShuffleSplit(10,": "StratifiedShuffleSplit(4,",
        "n_estimators=100,": "n_estimators=40,",
    },
    "plot_ties_strata_entry": {
        "CoxNNRegressor(batch_size=512,": "CoxNNRegressor(n_estimators=1, batch_size=512,",
        "for _ in range(200)]": "for _ in range(20)]",
    },
    "plot_time_varying": {
        "in range(4)]": "in range(1)]",
        "for _ in range(100):": "for _ in range(20):",
        "GroupKFold(5,": "GroupKFold(3,",
    },
    "plot_tuning": {
        "alphas = [0.1, 1, 10, 1000]": "alphas = [1, 1000]",
        "for _ in range(100)]": "for _ in range(30)]",
    },
    "plot_segmentation_affinities": {"max_epochs=18": "max_epochs=12"},
    "plot_segmentation_hot_distance": {"max_epochs=22": "max_epochs=14"},
    "plot_weibull_calibration": {
        "WeibullAFTRegressor(shape=shape,": "WeibullAFTRegressor(n_estimators=1, shape=shape,",
        "StratifiedKFold(5,": "StratifiedKFold(3,",
        "grid = np.linspace(0, 6, 61)": (
            "[model.set_params(n_estimators=3) for model in candidates.values()]\n"
            "grid = np.linspace(0, 6, 61)"
        ),
    },
    # A process has a peak of its own either way.
    "larger_than_memory": {'get_context("spawn")': 'get_context("fork")'},
    "search_joblib": {"n_estimators=1,": "n_estimators=1, max_epochs=5,"},
    "search_dask": {"n_estimators=1,": "n_estimators=1, max_epochs=5,"},
    "search_ray": {"n_estimators=1,": "n_estimators=1, max_epochs=5,"},
}
#: Those that start processes.
STARTS = {"quickstart", "larger_than_memory", "search_joblib", "search_dask", "search_ray"}
#: What every script has less of, if it has it: points of its picture.
LESS = {"dpi=150": "dpi=30"}
MODELS = {
    "CoxNNRegressor",
    "WeibullAFTRegressor",
    "CoxPHSurvivalAnalysis",
    "CoxnetSurvivalAnalysis",
    "RandomSurvivalForest",
}


def shortened(script, folder):
    """Return a copy of the script with less to do, beside what examples share."""
    for shared in script.parent.glob("_*.py"):
        shutil.copy(shared, folder)
    code = script.read_text()
    for passage, shorter in SHORTER.get(script.stem, {}).items():
        assert code.count(passage) == 1, passage
        code = code.replace(passage, shorter)
    for passage, shorter in LESS.items():
        code = code.replace(passage, shorter)
    copy = folder / script.name
    copy.write_text(code)
    return copy


def run(script, folder, forked):
    """Run a script in a folder and return what it prints."""
    arguments, starts = ARGUMENTS.get(script.stem, []), script.stem in STARTS
    done = forked(script=script, arguments=arguments, folder=folder, to_the_end=starts)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def check_quickstart(printed, folder):
    rows = {name: [float(number) for number in numbers] for name, *numbers in ROW.findall(printed)}
    harrell, ipcw, reference, _ = rows.pop("Kaplan-Meier")
    assert harrell == ipcw == 0.5
    assert rows.keys() == MODELS
    for name, (harrell, ipcw, brier, seconds) in rows.items():
        assert 0.5 < harrell < 1, name
        assert 0.5 < ipcw < 1, name
        assert 0 < brier < reference, name
        assert seconds > 0, name
    assert (folder / "quickstart.png").read_bytes().startswith(b"\x89PNG")


def check_segmentation(printed, folder, name, best, bound):
    """The best network beats the others, and is as good as the docs say."""
    errors = {row: float(error) for row, error, _ in SCORES.findall(printed)}
    assert errors[best] == min(errors.values())
    assert errors["threshold"] > 0.5
    assert errors[best] < bound, errors
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    return errors


def check_affinities(printed, folder):
    errors = check_segmentation(printed, folder, "plot_segmentation_affinities", "linear", 0.1)
    assert errors["dacapo"] > 0.5


def check_hot_distance(printed, folder):
    # About 0.08, but rounding decides where its training jumps.
    check_segmentation(printed, folder, "plot_segmentation_hot_distance", "hot and distance", 0.2)


CHECKS = {
    **example_checks_engines.CHECKS,
    **example_checks_large_data.CHECKS,
    **example_checks_networks.CHECKS,
    **example_checks_tabular.CHECKS,
    "quickstart": check_quickstart,
    "plot_segmentation_affinities": check_affinities,
    "plot_segmentation_hot_distance": check_hot_distance,
}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_runs(script, tmp_path, tmp_path_factory, forked):
    script = shortened(script, tmp_path_factory.mktemp("shortened"))
    CHECKS[script.stem](run(script, tmp_path, forked), tmp_path)


def test_no_example_is_missing():
    assert {script.stem for script in SCRIPTS} == set(CHECKS)
