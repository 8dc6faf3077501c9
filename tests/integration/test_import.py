"""What is loaded with the package, and what only when it is needed."""

import json
import subprocess
import sys

import pytest

from sksurvtorch import nets

HEAVY = ["skorch", "torch._dynamo", "matplotlib", "pandas.plotting", "sksurv.metrics"]
HEAVY += ["sksurv.linear_model", "sksurv.tree", "sklearn.model_selection"]
CODE = f"""
import json, sys, torch, sksurv
before, told = set(sys.modules), {{}}
import sksurvtorch, sksurvtorch.losses, sksurvtorch.functional
from sksurvtorch import CoxNNRegressor, nets
CoxNNRegressor()
told["loaded"] = [name for name in {HEAVY} if name in set(sys.modules) - before]
told["listed"] = sorted(set(nets.__all__) & set(dir(nets)))
try:
    nets.nothing
except AttributeError as error:
    told["error"] = str(error)
import sksurvtorch.displays
told["matplotlib"] = "matplotlib" in sys.modules
told["callable"] = [name for name in sorted(nets.__all__) if callable(getattr(nets, name))]
told["skorch"] = "skorch" in sys.modules
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told():
    """What a new process finds."""
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def test_heavy_packages_load_when_they_are_needed(told):
    assert told["loaded"] == []
    assert told["skorch"]


def test_public_names_of_nets_are_there_before_they_are_loaded(told):
    assert told["listed"] == told["callable"] == sorted(nets.__all__)
    assert told["error"] == "module 'sksurvtorch.nets' has no attribute 'nothing'"


def test_matplotlib_is_loaded_by_plot_alone(told):
    assert not told["matplotlib"]
