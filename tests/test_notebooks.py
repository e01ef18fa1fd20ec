"""The form of notebooks and code: no outputs, one parameters cell, one heading, short cells; who imports whom."""

import ast
import statistics
import tomllib
from pathlib import Path

import execute
import nbformat
import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement

NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in execute.find(ROOT / "notebooks")}
CELL_LINES, CELL_MEDIAN = 25, 10


@pytest.fixture(params=NOTEBOOKS)
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return NOTEBOOKS[request.param]


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_is_valid_and_holds_no_outputs(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any(cell.outputs or cell.execution_count for cell in code_cells(notebook))


def test_has_one_parameters_cell_of_plain_assignments(notebook: nbformat.NotebookNode) -> None:
    assert len(execute.tagged(notebook, "parameters")) == 1
    assert not execute.tagged(notebook, "injected-parameters")
    assert "seed" in execute.parameters_of(notebook)


def test_has_one_heading_of_first_level_and_it_comes_first(notebook: nbformat.NotebookNode) -> None:
    lines = [line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    headings = [line for line in lines if line.startswith("# ")]
    number = list(NOTEBOOKS.values()).index(notebook) + 1
    assert len(headings) == 1 and notebook.cells[0].source.startswith(f"# {number}. ")


def test_restates_its_questions_in_marked_blocks(notebook: nbformat.NotebookNode) -> None:
    cells = execute.tagged(notebook, "question")
    assert cells and all(cell.cell_type == "markdown" and cell.source.startswith("> **") for cell in cells)


def test_code_cells_are_short(notebook: nbformat.NotebookNode) -> None:
    lengths = [len(cell.source.splitlines()) for cell in code_cells(notebook)]
    assert max(lengths) <= CELL_LINES and statistics.median(lengths) <= CELL_MEDIAN


def test_cells_that_end_in_prose_hide_their_source(notebook: nbformat.NotebookNode) -> None:
    """In JupyterLab, lest the prose be read twice."""
    for cell in code_cells(notebook):
        last = ast.unparse(ast.parse(cell.source).body[-1])
        prose = last.startswith(("publish.say(", "publish.claim(", "publish.answer("))
        assert cell.metadata.get("jupyter", {}).get("source_hidden", False) == prose, last


def test_a_count_below_one_is_refused_by_the_set_up_cell(notebook: nbformat.NotebookNode) -> None:
    """As where papermill itself is given -1: the build's own check does not see that."""
    (parameters,) = execute.tagged(notebook, "parameters")
    (set_up,) = [cell for cell in code_cells(notebook) if "figures.use_style()" in cell.source]
    counts = [name for name, text in execute.parameters_of(notebook).items() if isinstance(eval(text), int)]
    for name in counts:
        if name != "seed":
            with pytest.raises(ValueError, match=f"^{name} must be a whole number of at least [12], not -1"):
                exec(f"{parameters.source}\n{name} = -1\n{set_up.source}", {})


MODULES = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path
    for path in (ROOT / "helpers").rglob("*.py")
}


def imports(path: Path, everywhere: bool = False) -> set[str]:
    """The modules of `helpers` that a file imports at its top or, if `everywhere`, also inside functions."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found & MODULES.keys()


def test_helpers_import_each_other_in_no_circle() -> None:
    needs = {name: imports(path) for name, path in MODULES.items()}
    while free := [name for name, wanted in needs.items() if not wanted & needs.keys()]:
        needs = {name: wanted for name, wanted in needs.items() if name not in free}
    assert not needs


def test_nothing_outside_show_imports_it() -> None:
    outside = {name: path for name, path in MODULES.items() if not name.startswith("helpers.show")}
    assert len(outside) > 10 and not {"helpers.utils", "helpers.common", "helpers.misc"} & MODULES.keys()
    guilty = {name: imports(path, everywhere=True) for name, path in outside.items()}
    assert not {name for name, wanted in guilty.items() if any(one.startswith("helpers.show") for one in wanted)}


CONDA_NAMES = {"torch": "pytorch", "playwright": "playwright-python"}  # where conda-forge's name is not PyPI's
ONLY_CONDA = {"pip", "pandoc"}  # pip installs this project, pandoc is no Python package


def test_conda_s_environment_holds_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = f"python{project['requires-python']}"
    wanted = map(Requirement, [python, *project["dependencies"], *project["optional-dependencies"]["dev"]])
    *conda, pip = environment["dependencies"]
    listed = [Requirement(line) for line in [*conda, *pip["pip"]] if not line.startswith("-e")]
    given = {line.name: line.specifier for line in listed if line.name not in ONLY_CONDA}
    assert given == {CONDA_NAMES.get(line.name, line.name): line.specifier for line in wanted}
    assert environment["channels"] == ["conda-forge", "nodefaults"]
