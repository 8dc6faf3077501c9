"""Every public name stands in the API reference, once."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from functools import reduce
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import sksurvtorch

REFERENCE = Path(__file__).parents[2] / "docs" / "api"
MODULE = re.compile(r"^\.\. (?:current)?module:: (\S+)$")
# An entry of an autosummary, or a directive that documents an object in place.
ENTRY = re.compile(r"^   ([A-Za-z]\w*)$|^\.\. auto\w+:: (\S+)$")

# A row of the table of parameters: the group, and the cell with the names.
GROUP = re.compile(r"^   \* - (.+)\n     - (``.+)$", re.MULTILINE)


def modules():
    """The package and its public modules."""
    public = [found.name for found in iter_modules(sksurvtorch.__path__) if found.name[0] != "_"]
    return ["sksurvtorch", *(f"sksurvtorch.{name}" for name in public)]


def names_of(module):
    """What `__all__` lists; without it the classes and functions that the module defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if name[0] != "_"
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]


def entries():
    """The objects that the pages list, by the name under which they do."""
    found = []
    for page in sorted(REFERENCE.glob("*.rst")):
        module = None
        for line in page.read_text().splitlines():
            if match := MODULE.match(line):
                module = match[1]
            elif module is not None and (match := ENTRY.match(line)):
                found.append(f"{module}.{match[1] or match[2]}")
    return found


def resolve(name):
    module, _, attribute = name.rpartition(".")
    return reduce(getattr, attribute.split("."), import_module(module))


@pytest.mark.parametrize("module", modules())
def test_every_public_name_is_listed(module):
    listed = {id(resolve(name)) for name in entries()}
    package = import_module(module)
    missing = [name for name in names_of(package) if id(getattr(package, name)) not in listed]
    assert not missing, f"docs/api does not list {', '.join(missing)} of {module}"


def test_there_are_public_names():
    assert {"sksurvtorch.losses", "sksurvtorch.exceptions"} <= set(modules())
    assert "NoEventError" in names_of(import_module("sksurvtorch.exceptions"))
    assert len(entries()) > 50


def test_no_object_is_listed_twice():
    counts = Counter(id(resolve(name)) for name in entries())
    assert set(counts.values()) == {1}


def groups_of(estimator):
    """The parameters of an estimator in each group of the table; those of others are left out."""
    own = {"ties": ("Cox", "Competing"), "shape": "Weibull"}
    own |= dict.fromkeys(("hazard", "cause", "n_causes"), "Competing")
    table = (REFERENCE / "estimators.rst").read_text()
    return {
        group: [
            name
            for name in re.findall(r"``(\w+)``", cell)
            if estimator.startswith(own.get(name, estimator))
        ]
        for group, cell in GROUP.findall(table)
    }


@pytest.mark.parametrize(
    "estimator", ["CoxNNRegressor", "WeibullAFTRegressor", "CompetingRisksNNRegressor"]
)
def test_each_parameter_is_in_one_group(estimator):
    groups = groups_of(estimator)
    assert len(groups) > 5
    assert all(groups.values())
    signature = inspect.signature(getattr(sksurvtorch, estimator))
    parameters = [p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert sorted(name for names in groups.values() for name in names) == sorted(parameters)
