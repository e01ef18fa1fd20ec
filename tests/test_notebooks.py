"""The form of notebooks and code: no outputs, one parameters cell, one heading, short cells; who imports whom."""

import ast
import re
import statistics
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import execute
import export
import nbformat
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement

from helpers import gan
from helpers.show import publish

NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in execute.find(ROOT / "notebooks")}
CELL_LINES, CELL_MEDIAN, LINE_LENGTH = 25, 10, 120


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


def test_a_verdict_is_one_bold_sentence_without_numbers_below_its_question(notebook: nbformat.NotebookNode) -> None:
    for cell in execute.tagged(notebook, "verdict"):
        before = notebook.cells[notebook.cells.index(cell) - 1]
        assert "question" in before.metadata.get("tags", [])
        assert re.fullmatch(r"> \*\*[^*]+\.\*\*", cell.source)
        assert not re.search(r"(?<![\w-])\d", re.sub(r"\$.*?\$", "", cell.source)), "outside formulas"


def test_code_cells_are_short(notebook: nbformat.NotebookNode) -> None:
    lengths = [len(cell.source.splitlines()) for cell in code_cells(notebook)]
    assert max(lengths) <= CELL_LINES and statistics.median(lengths) <= CELL_MEDIAN


def test_lines_of_code_cells_are_short(notebook: nbformat.NotebookNode) -> None:
    lines = [line for cell in code_cells(notebook) for line in cell.source.splitlines()]
    assert not [line for line in lines if len(line) > LINE_LENGTH]


def test_a_figure_is_published_in_the_cell_that_makes_it(notebook: nbformat.NotebookNode) -> None:
    """Else JupyterLab shows it half drawn below the first cell."""
    made = [cell.source for cell in code_cells(notebook) if "= figures.panels(" in cell.source]
    assert all("publish.figure(" in source for source in made)


def test_error_bars_come_from_no_random_resampling(notebook: nbformat.NotebookNode) -> None:
    """Seaborn's default is a bootstrap, with which two builds of the report would differ."""
    for cell in code_cells(notebook):
        for call in [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]:
            if ast.unparse(call.func) in ("sns.lineplot", "sns.pointplot", "sns.barplot"):
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                assert "ci" not in options.get("errorbar", "ci") or options.get("estimator") == "None", ast.unparse(
                    call
                )


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


def test_a_longer_gan_leaves_the_ablation_of_its_losses_short() -> None:
    """Fifty epochs for the GAN were three hours for the ablation, which nothing said."""
    notebook, asked = NOTEBOOKS["04_gan"], []
    (parameters,) = execute.tagged(notebook, "parameters")
    (ablation,) = [cell for cell in code_cells(notebook) if '"ablation"' in cell.source]

    def train_all(train: object, settings: list[dict]) -> list[SimpleNamespace]:
        asked.extend(setting["config"] for setting in settings)
        return [SimpleNamespace(record={"history": [{"frechet": 1.0}]}) for _ in settings]

    names = {"gan": gan, "replace": replace, "pd": pd, "train_all": train_all}
    changed = {"epochs": 50, "channels": 4}
    exec(f"{parameters.source}\ngan_overrides = {changed}\n{ablation.source}", names)
    assert len(asked) == 6 and {config.epochs for config in asked} == {8}
    assert {config.channels for config in asked} == {4}


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


PRINTED_LENGTH = 76  # characters of a line of code that the PDF prints
LONG_LINES = {
    "beta_vae.BetaVAE": 9, "beta_vae.sweep_step": 2, "echo.compose": 2, "echo.echo_cycle": 2, "echo.echo_rate": 1,
    "echo.echo_sample": 3, "gan.GAN.critic_objective": 7, "gan.GAN.step": 3, "gan.discriminator_loss": 1,
    "gan.generator_loss": 1, "gan.gradient_penalty": 3, "gan.input_gradient": 2, "gan.interpolate": 6,
    "gan.r1_penalty": 1, "gan.take_step": 3, "gan.train": 7, "gan.wasserstein_critic_loss": 2, "gradient_descent": 2,
    "gradient_penalty": 4, "inversion.gauss_newton": 1, "networks.ConvGenerator": 2, "networks.MLPCritic": 1,
    "objective": 3, "path_aware.inversion_loss": 2, "path_aware.path_loss": 3, "paths.conformal_density": 1,
    "paths.descend": 4, "paths.image_cost": 2, "paths.path_energy": 2, "paths.sine_basis": 2, "quasi_newton": 3,
}  # fmt: skip


def published_sources(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, str]]:
    """The functions and classes that a notebook prints by publish.source, each with its code as it is printed."""
    imported, defined = {}, {}
    for cell in code_cells(notebook):
        for statement in ast.parse(cell.source).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                exec(ast.unparse(statement), imported)
            elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
                defined[statement.name] = publish.brief(ast.get_source_segment(cell.source, statement))
    for call in [node for cell in code_cells(notebook) for node in ast.walk(ast.parse(cell.source))]:
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "publish.source":
            for name in map(ast.unparse, call.args):
                yield name, defined.get(name) or publish.code(eval(name, imported))


def long_lines() -> dict[str, int]:
    """The number of printed lines that are too long, by cell or function; none of those that have none."""
    found = {}
    for name, notebook in NOTEBOOKS.items():
        cells = [(f"{name}:{cell.id}", export.printed(cell.source)) for cell in execute.tagged(notebook, "show")]
        for where, code in [*cells, *published_sources(notebook)]:
            found[where] = sum(len(line) > PRINTED_LENGTH for line in code.splitlines())
    return {where: count for where, count in found.items() if count}


def test_printed_lines_of_code_are_short() -> None:
    """LONG_LINES holds those that were longer when this was asked for; it may only shrink."""
    found = long_lines()
    assert not {where: count for where, count in found.items() if count > LONG_LINES.get(where, 0)}


FUNCTION_LINES = 30
LONGER: dict[str, str] = {}  # functions that may be longer, by module or notebook, with the reason
NOTEBOOK_SKIPS, HELPER_SKIPS = 5, 1  # of the formatter, in all notebooks and in all of helpers/


def sources() -> Iterator[tuple[str, str]]:
    """The code of each module of helpers/ and report/ and of each notebook, by its name."""
    for path in [*MODULES.values(), *(ROOT / "report").glob("*.py")]:
        yield path.relative_to(ROOT).with_suffix("").as_posix(), path.read_text(encoding="utf-8")
    for name, notebook in NOTEBOOKS.items():
        yield name, "\n".join(cell.source for cell in code_cells(notebook))


def length(function: ast.FunctionDef, code: str) -> int:
    """Its lines of code: without docstring, comments and blank lines."""
    counted = set(range(function.lineno, function.end_lineno + 1))
    if ast.get_docstring(function):
        counted -= set(range(function.body[0].lineno, function.body[0].end_lineno + 1))
    lines = [code.splitlines()[number - 1].strip() for number in counted]
    return len([line for line in lines if line and not line.startswith("#")])


def long_functions(name: str, code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node, code) > FUNCTION_LINES:
            yield f"{name}.{node.name}"


def test_functions_are_short() -> None:
    found = {function for name, code in sources() for function in long_functions(name, code)}
    assert not found - LONGER.keys()


def test_the_length_of_a_function_is_that_of_its_code() -> None:
    body = "\n".join(f"    x = {number}" for number in range(FUNCTION_LINES))
    short = f'def short():\n    """Words.\n\n    More.\n    """\n    # why\n\n{body}'
    assert [*long_functions("here", short)] == ["here.short"]
    assert not [*long_functions("here", short.replace("    x = 0\n", ""))]


def test_few_statements_are_kept_from_the_formatter() -> None:
    skipped = {name: code.count("fmt: skip") + code.count("fmt: off") for name, code in sources()}
    assert sum(skipped[name] for name in NOTEBOOKS) <= NOTEBOOK_SKIPS
    assert sum(count for name, count in skipped.items() if name.startswith("helpers/")) <= HELPER_SKIPS


def packed(code: str) -> list[str]:
    """Statements that are a tuple, a list or a condition, and so hide calls in an expression."""
    values = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Expr)]
    return [
        ast.unparse(value) for value in values if isinstance(value, ast.Tuple | ast.BoolOp | ast.IfExp | ast.ListComp)
    ]


def test_a_statement_does_one_thing() -> None:
    assert packed("a(), b()\nc() or d()\ne()") == ["(a(), b())", "c() or d()"]
    found = {name: packed(code) for name, code in sources()}
    assert not {name: statements for name, statements in found.items() if statements}


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


def test_every_figure_has_words_for_those_who_do_not_see_it() -> None:
    cells = [cell.source for notebook in NOTEBOOKS.values() for cell in code_cells(notebook)]
    labels = {label for cell in cells for label in re.findall(r'publish\.figure\([^"]*"(fig-[^"]+)"', cell)}
    assert labels == set(publish.ALTERNATIVES)
    assert all(30 < len(words) < 400 and "$" not in words for words in publish.ALTERNATIVES.values())
