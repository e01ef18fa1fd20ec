"""Cells can be run again, in any order: every name of a notebook has one meaning, and no cell spoils another's.

For one notebook: `pytest tests/test_rerun.py -k 04_gan`, which first trains its tiny models.
"""

import ast
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import execute
import pytest
import rerun
from conftest import ROOT, Workshop
from test_notebooks import NOTEBOOKS, code_cells

THROW_AWAY = {"_", "fig", "ax", "axes", "caption"}  # a cell that reads one binds it, but for BORROWERS
COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

# what is wrong today, by notebook; an entry that is no longer needed fails its test, so that these only shrink
OFFENDERS: dict[str, set[str]] = {}  # names that several cells bind
BORROWERS: dict[str, set[str]] = {}  # throw-away names that a cell reads and another binds
FAILING: dict[str, set[str]] = {}  # first lines of cells that cannot be run again


def none_new(name: str, wrong: dict[str, str], known: dict[str, set[str]]) -> None:
    """Fail if something is wrong that is not known, and say what; or if something known is not wrong any more."""
    expected = known.get(name, set())
    new = [f"{name}: {sentence}." for what, sentence in wrong.items() if what not in expected]
    assert not new, "\n".join(new)
    healed = expected - wrong.keys()
    assert not healed, f"{name}: this is not wrong any more, so take it out of the list: {', '.join(sorted(healed))}."


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_cells_can_be_run_again_in_any_order(name: str, tiny_models: Path) -> None:
    parameters = execute.reduced_parameters().get(name, {})
    found = rerun.failures(ROOT / "notebooks" / f"{name}.ipynb", parameters, tiny_models)
    none_new(name, {failure.line: str(failure) for failure in found}, FAILING)


def test_a_cell_that_cannot_be_run_again_is_named(workshop: Workshop, tmp_path: Path) -> None:
    set_up = "from helpers.show import figures\n\nfigures.use_style()\nassert seed == 3"
    cells = ["a = [1, 2]", "# a second time?\nb = a.pop() / len(a)", "c = [1]", "\nc[0]", "c = 7", "publish.no()"]
    found = rerun.failures(workshop.write("01_again", set_up, *cells), {"seed": 3}, tmp_path)
    twice, later, first = map(str, found)
    assert twice == "code cell 5 (`# a second time?`) fails when it is run twice: ZeroDivisionError: division by zero"
    assert later.startswith("code cell 7 (`c[0]`) fails when it is run again after later cells: TypeError: ")
    assert first.startswith("code cell 9 (`publish.no()`) fails in its first run: AttributeError: ")


def bound(node: ast.AST) -> Iterator[str]:
    """The global names that code binds: not those of comprehensions, and not those inside functions."""
    if isinstance(node, FUNCTIONS):
        yield node.name
    elif isinstance(node, COMPREHENSIONS):  # only by :=
        yield from (part.target.id for part in ast.walk(node) if isinstance(part, ast.NamedExpr))
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).split(".")[0]
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif not isinstance(node, ast.Lambda):
        if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name
        for child in ast.iter_child_nodes(node):
            yield from bound(child)


def read(node: ast.AST) -> Iterator[str]:
    """The global names that code reads, but for those that only functions read."""
    if isinstance(node, FUNCTIONS | ast.Lambda):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield node.id
    own = set()
    if isinstance(node, COMPREHENSIONS):
        targets = [part for generator in node.generators for part in ast.walk(generator.target)]
        own = {part.id for part in targets if isinstance(part, ast.Name)}
    for child in ast.iter_child_nodes(node):
        yield from (name for name in read(child) if name not in own)


def cells_by_name(name: str, uses: Callable[[ast.AST], Iterable[str]]) -> dict[str, list[str]]:
    """For each name that a notebook's cells use, the first lines of these cells."""
    found = {}
    for cell in code_cells(NOTEBOOKS[name]):
        for word in set(uses(ast.parse(cell.source))):
            found.setdefault(word, []).append(f"`{rerun.first_line(cell.source)}`")
    return found


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_name_is_bound_in_one_cell(name: str) -> None:
    wrong = {}
    for word, lines in cells_by_name(name, bound).items():
        if len(lines) > 1 and word not in THROW_AWAY:
            wrong[word] = f"several cells give `{word}` a meaning, those with the first lines {' and '.join(lines)}"
    none_new(name, wrong, OFFENDERS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_throw_away_name_is_read_in_the_cell_that_binds_it(name: str) -> None:
    """Else a figure whose cell is run again shows the caption of another."""
    wrong = {}
    for word, lines in cells_by_name(name, lambda cell: {*read(cell)} - {*bound(cell)}).items():
        if word in THROW_AWAY:
            wrong[word] = f"`{word}` is read, but was bound in another cell, by {' and '.join(lines)}"
    none_new(name, wrong, BORROWERS)


def test_the_names_of_a_cell_are_found() -> None:
    code = """import a.b, c as d
from e import f
def g(x): y = z
class h: i = 1
for j, (k, *l) in m: n += 1
with o as p: [q for q in r if (s := q)]
u: int = lambda v: w
try: pass
except E as t: x.attribute = x[0] = 1
match 1:
    case [A, *B]: D = [[a1 for a1 in ax] for ax in axes]"""
    tree = ast.parse(code)
    assert set(bound(tree)) == set("a d f g h j k l n p s u t A B D".split())
    assert set(read(tree)) == set("m o r int x E axes".split())
