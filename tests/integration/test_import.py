"""What is loaded with the package, and what only when it is needed."""

import json
import subprocess
import sys

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


def test_each_package_is_loaded_when_it_is_needed():
    """All that a new process finds, since it takes seconds to start."""
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    told = json.loads(run.stdout)
    assert told["loaded"] == []
    # Public names of nets are there before they are loaded.
    assert told["listed"] == told["callable"] == sorted(nets.__all__)
    assert told["error"] == "module 'sksurvtorch.nets' has no attribute 'nothing'"
    assert not told["matplotlib"], "which displays load in `plot` alone"
    assert told["skorch"]
