"""conda's environment.yml holds what pyproject.toml asks for, under conda-forge's names."""

import tomllib

import yaml
from conftest import ROOT
from packaging.requirements import Requirement

CONDA_NAMES = {"torch": "pytorch", "playwright": "playwright-python"}  # where conda-forge's name is not PyPI's
ONLY_CONDA = {"pip", "pandoc"}  # pip installs this project, pandoc is no Python package


def test_environment_agrees_with_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    wanted = {"python": project["requires-python"]}
    for line in project["dependencies"] + project["optional-dependencies"]["dev"]:
        requirement = Requirement(line)
        wanted[CONDA_NAMES.get(requirement.name, requirement.name)] = str(requirement.specifier)
    listed = [Requirement(line) for line in environment["dependencies"] if isinstance(line, str)]
    given = {
        requirement.name: str(requirement.specifier) for requirement in listed if requirement.name not in ONLY_CONDA
    }
    assert given == wanted


def test_only_conda_forge_is_asked() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
