"""The notebooks' form: they are committed without outputs, have one parameters cell, one heading and short cells."""

import statistics
from pathlib import Path

import execute
import nbformat
import pytest
from conftest import ROOT

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST, MEDIAN = 35, 10  # lines of a code cell


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks_and_make_finds_them_all() -> None:
    assert PATHS == execute.find(ROOT / "notebooks")


def test_is_valid(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"


def test_holds_no_outputs(notebook: nbformat.NotebookNode) -> None:
    assert not any(cell.outputs or cell.execution_count for cell in code_cells(notebook))


def test_has_one_parameters_cell_of_plain_assignments(notebook: nbformat.NotebookNode) -> None:
    assert len(execute.tagged(notebook, "parameters")) == 1
    assert not execute.tagged(notebook, "injected-parameters")
    assert "seed" in execute.parameters_of(notebook)


def test_has_one_heading_of_first_level_and_it_comes_first(notebook: nbformat.NotebookNode, path: Path) -> None:
    lines = [line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    headings = [line for line in lines if line.startswith("# ")]
    assert len(headings) == 1 and notebook.cells[0].source.startswith(f"# {int(path.stem[:2])}. ")


def test_restates_its_questions_in_marked_blocks(notebook: nbformat.NotebookNode) -> None:
    cells = execute.tagged(notebook, "question")
    assert cells and all(cell.cell_type == "markdown" and cell.source.startswith("> **") for cell in cells)


def test_code_cells_are_short(notebook: nbformat.NotebookNode) -> None:
    lengths = [len(cell.source.splitlines()) for cell in code_cells(notebook)]
    assert max(lengths) <= LONGEST
    assert statistics.median(lengths) <= MEDIAN


def test_a_count_below_one_is_refused_by_the_set_up_cell(notebook: nbformat.NotebookNode) -> None:
    """As where papermill itself is given -1: the build's own check does not see that."""
    (parameters,) = execute.tagged(notebook, "parameters")
    (set_up,) = [cell for cell in code_cells(notebook) if "figures.use_style()" in cell.source]
    counts = [name for name, text in execute.parameters_of(notebook).items() if isinstance(eval(text), int)]
    for name in counts:
        if name != "seed":
            with pytest.raises(ValueError, match=f"^{name} must be a whole number of at least 1, not -1"):
                exec(f"{parameters.source}\n{name} = -1\n{set_up.source}", {})
