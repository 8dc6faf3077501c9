"""What is built from the repository works alone, and says which version it is."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import sksurvtorch

ROOT = Path(__file__).parents[2]
VERSION = sksurvtorch.__version__


def run(*command, cwd):
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the source distribution, which is built from the repository."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, cwd=ROOT)
    assert (folder / f"sksurvtorch-{VERSION}.tar.gz").exists()
    return folder / f"sksurvtorch-{VERSION}-py3-none-any.whl"


def test_the_wheel_holds_every_module_and_nothing_else(wheel):
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "sksurvtorch").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == here
    assert "sksurvtorch/py.typed" in held


def test_the_wheel_fits_and_predicts_in_an_environment_without_the_repository(wheel, tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    # The dependencies are those of this environment; a .pth file in there has no effect.
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index")
    run(*pip, wheel, cwd=tmp_path)
    printed = run(python, Path(__file__).parent / "first_fit.py", cwd=tmp_path)
    assert printed.split() == [VERSION, str(packages / "sksurvtorch" / "__init__.py")]


def test_every_file_names_the_same_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [VERSION]
    [date] = re.findall(r"^date-released: (.+)$", citation, re.MULTILINE)
    sections = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[:2] == [("Unreleased", ""), (VERSION, f" - {date}")]


def test_the_pins_lie_in_the_ranges_of_users():
    """Otherwise the tests would run with versions that no user gets."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    for line in project["dependencies"]:
        requirement = Requirement(line)
        assert pins[requirement.name] in requirement.specifier, line
        installed = version(requirement.name)
        assert installed in requirement.specifier, line
