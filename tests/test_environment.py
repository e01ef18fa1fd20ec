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
    python = f"python{project['requires-python']}"
    wanted = map(Requirement, [python, *project["dependencies"], *project["optional-dependencies"]["dev"]])
    *conda, pip = environment["dependencies"]
    listed = [Requirement(line) for line in [*conda, *pip["pip"]] if not line.startswith("-e")]
    given = {line.name: line.specifier for line in listed if line.name not in ONLY_CONDA}
    assert given == {CONDA_NAMES.get(line.name, line.name): line.specifier for line in wanted}
    assert environment["channels"] == ["conda-forge", "nodefaults"]
