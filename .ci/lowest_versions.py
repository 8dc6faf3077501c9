"""Print the lowest version of each dependency and extra of users, as constraints for pip."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

USERS = ("accelerate", "onnx", "plot", "segmentation")
# matplotlib 3.9 calls pyparsing by names that 3.3 warns of.
print("pyparsing<3.3")

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
for line in [*project["dependencies"], *(line for extra in USERS for line in extras[extra])]:
    requirement = Requirement(line)
    [lowest] = [each.version for each in requirement.specifier if each.operator == ">="]
    print(f"{requirement.name}=={lowest}")
