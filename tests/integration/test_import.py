"""What is loaded with the package, and what only when it is needed."""

import subprocess
import sys

HEAVY = ["skorch", "torch._dynamo", "matplotlib", "pandas.plotting", "sksurv.metrics"]
HEAVY += ["sksurv.linear_model", "sksurv.tree", "sklearn.model_selection"]


def test_heavy_packages_load_when_they_are_needed():
    code = f"""
import sys, torch, sksurv
before = set(sys.modules)
import sksurvtorch, sksurvtorch.losses, sksurvtorch.functional
from sksurvtorch import CoxNNRegressor
CoxNNRegressor()
print(*[name for name in {HEAVY} if name in set(sys.modules) - before])
from sksurvtorch.nets import SurvivalNet
assert "skorch" in sys.modules
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_public_names_of_nets_are_there_before_they_are_loaded():
    code = """
from sksurvtorch import nets
assert set(nets.__all__) <= set(dir(nets))
assert all(callable(getattr(nets, name)) for name in nets.__all__)
try:
    nets.nothing
except AttributeError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "module 'sksurvtorch.nets' has no attribute 'nothing'\n"
