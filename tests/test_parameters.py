"""What notebooks 05 to 08 do with parameters other than their own: fragments of their code, run alone."""

import ast
from dataclasses import replace

import nbformat
import pytest
import torch
from conftest import ROOT

from helpers import data, gan
from helpers.show import films


def code_of(notebook: str) -> list[str]:
    """The sources of a notebook's code cells, the notebook known by its number."""
    (path,) = (ROOT / "notebooks").glob(f"{notebook}_*.ipynb")
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def run_statements(notebook: str, names: set[str], given: dict) -> dict:
    """The namespace after those statements of a notebook that define or assign `names`, with `given` defined."""
    for source in code_of(notebook):
        for statement in ast.parse(source).body:
            targets = [statement.name] if isinstance(statement, ast.FunctionDef) else []
            if isinstance(statement, ast.Assign):
                targets = [node.id for node in ast.walk(statement.targets[0]) if isinstance(node, ast.Name)]
            if names & set(targets):
                exec(ast.unparse(statement), given)
    assert names <= given.keys()
    return given


def set_up(notebook: str, changes: str) -> None:
    """Run the cell of parameters, some changes of these, and the set-up cell."""
    parameters = next(source for source in code_of(notebook) if source.startswith("seed = 0"))
    imports = next(source for source in code_of(notebook) if "figures.use_style()" in source)
    exec(f"{parameters}\n{changes}\n{imports}", {})


@pytest.fixture(scope="module")
def choose_pairs():
    return run_statements("07", {"choose_pairs"}, {"torch": torch, "Tensor": torch.Tensor})["choose_pairs"]


@pytest.mark.parametrize("count", [1, 2, 20, 24, 41, 4460])
def test_no_pair_of_notebook_07_uses_an_image_of_another(choose_pairs, count: int) -> None:
    labels = data.mnist("test")[1]
    first, second = choose_pairs(labels, count)
    assert len(first) == len(second) == count
    assert len({*first.tolist(), *second.tolist()}) == 2 * count
    assert (labels[first] == labels[second]).sum() == count // 2


@pytest.mark.parametrize("count", [2, 20])
def test_the_pairs_of_notebook_07_are_still_those_of_its_tables(choose_pairs, count: int) -> None:
    labels = data.mnist("test")[1]
    of = [(labels == k).nonzero().squeeze(1).tolist() for k in range(10)]
    same = [(of[k][0], of[k][1]) for k in range(count // 2)]
    different = [(of[k][2], of[(k + 3) % 10][3]) for k in range(count // 2)]
    assert list(zip(*(part.tolist() for part in choose_pairs(labels, count)), strict=True)) == same + different


@pytest.mark.parametrize(
    ("notebook", "changes", "message"),
    [
        ("06", "restarts = 1", "^restarts must be a whole number of at least 2, not 1"),
        ("07", "pairs = 4461", "^pairs must be at most 4460, not 4461"),
        ("08", "penalties = [1.0]", "^penalties must contain 0.1, the weight of chapter 6, not only"),
    ],
)
def test_what_a_notebook_cannot_do_is_refused_by_its_set_up_cell(notebook: str, changes: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        set_up(notebook, changes)


def test_longer_trainings_in_notebook_05_leave_its_ablations_as_short_as_they_are() -> None:
    configs = {name: replace(gan.CONFIGS[name], epochs=50) for name in ("gan", "wgan-gp")}
    given = {"replace": replace, "configs": configs, "gan_overrides": {"epochs": 50}}
    short = run_statements("05", {"ablation_epochs", "short"}, given)["short"]
    assert {name: config.epochs for name, config in short.items()} == {"gan": 8, "wgan-gp": 8}


@pytest.mark.parametrize(("steps", "budgets"), [(26, 5), (11, 2), (5, 0), (2, 1)])
def test_the_columns_of_notebook_06_follow_the_film_s_frames(steps: int, budgets: int) -> None:
    frames = [f"gradient descent, step {k}" for k in range(steps)]
    frames += [*(f"BFGS, {k} evaluations" for k in range(budgets)), "end points"]
    columns, _, _ = films.milestones(frames)
    assert columns == sorted(set(columns)) and {0, steps - 1, len(frames) - 1} <= set(columns) <= {*range(len(frames))}
    if (steps, budgets) == (26, 5):  # those of the report
        assert columns == [0, 1, 2, 4, 8, 16, 25, 26, 28, 30, 31]
