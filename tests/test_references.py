"""References with the numbers of the report: in the notebooks by `make references`, in computed prose when shown."""

import ast
import re
import shutil
from pathlib import Path

import execute
import nbformat
import numbering
import pytest
import references as tool
from conftest import ROOT, Workshop

from helpers.show import references
from helpers.show.references import Place

PLACES = {
    "fig-x": Place("3", "01_a.ipynb"),
    "sec-b": Place("2", "02_b.ipynb", "id-1"),
    "sec-further-b-1": Place("A.5", "02_b.ipynb", "id-2"),
    "sec-checks": Place("B", ""),
    "eq:x": Place("2", "01_a.ipynb"),
    "eq:y": Place("7", "02_b.ipynb", "id-3"),
}


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("its [figure](#fig-x), [Figure](#fig-x)", "its [figure 3](#fig-x), [Figure 3](#fig-x)"),
        ("by [equation](#eq:x) and [](#eq:y)", 'by [equation (2)](#eq:x) and [(7)](02_b.ipynb#cell-id=id-3 "eq:y")'),
        ("[section](#sec-further-b-1)", '[section A.5](02_b.ipynb#cell-id=id-2 "sec-further-b-1")'),
        (
            "[chapter](02_b.ipynb) [chapter](#sec-b)",
            '[chapter 2](02_b.ipynb) [chapter 2](02_b.ipynb#cell-id=id-1 "sec-b")',
        ),
        ("[the rest](#sec-further-b-1)", '[the rest](02_b.ipynb#cell-id=id-2 "sec-further-b-1")'),
        ("[appendix](#sec-checks)", "[appendix B](#sec-checks)"),
        ("[notebook 2](02_b.ipynb) [A 2014](#cite-a)", "[notebook 2](02_b.ipynb) [A 2014](#cite-a)"),
        ("[figure](#fig-new) $\\eqref{eq:new}$", "[figure](#fig-new) $\\eqref{eq:new}$"),
        ("`[figure](#fig-x)`\n```\n[figure](#fig-x)\n```", "`[figure](#fig-x)`\n```\n[figure](#fig-x)\n```"),
        ("$$a \\label{eq:x}$$", '<a id="eq:x"></a>$$a \\label{eq:x}\\tag{2}$$'),
        (
            "so:\n\n\\begin{align}a \\label{eq:x}\\\\ b \\label{eq:y}\\end{align}",
            'so:<a id="eq:x"></a><a id="eq:y"></a>\n\n'
            "\\begin{align}a \\label{eq:x}\\tag{2}\\\\ b \\label{eq:y}\\tag{7}\\end{align}",
        ),
    ],
)
def test_numbers_come_and_go(written: str, shown: str) -> None:
    assert references.numbered(written, PLACES, "01_a.ipynb") == shown
    assert references.numbered(shown, PLACES, "01_a.ipynb") == shown
    assert references.bare(shown) == references.bare(written) == written.replace("[](#eq:y)", "$\\eqref{eq:y}$")
    old = {label: Place("9", "01_a.ipynb", "id-0") for label in PLACES}
    assert references.numbered(references.numbered(written, old, "02_b.ipynb"), PLACES, "01_a.ipynb") == shown


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("The [figure](#fig-x) and the\n[figure](#fig-x)", "[Figure 3](#fig-x) and [figure 3](#fig-x)"),
        ("Equation $\\eqref{eq:x}$; by $\\eqref{eq:x}$", "[Equation (2)](#eq:x); by [(2)](#eq:x)"),
    ],
)
def test_what_authors_wrote_before_is_understood(written: str, shown: str) -> None:
    assert references.numbered(written, PLACES, "01_a.ipynb") == shown


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("$$a$$ $$a \\label{eq:a}$$ and \\begin{equation*}a\\end{equation*}", [["eq:a"]]),
        ("$$\\begin{equation}\\label{eq:a} a\\end{equation}$$ \\begin{equation}a\\end{equation}", [["eq:a"], []]),
        ("\\begin{align}a &= 1\\\\ b \\notag\\\\ c \\label{eq:c}\\end{align}", [[], ["eq:c"]]),
        ("$$\\begin{aligned}a\\\\b\\end{aligned}\\label{eq:a}$$", [["eq:a"]]),
        ("\\begin{gather}\\begin{pmatrix}1\\\\2\\end{pmatrix}\\label{eq:a}\\end{gather}", [["eq:a"]]),
    ],
)
def test_equations_are_counted_as_latex_does(text: str, counted: list[list[str]]) -> None:
    assert [*numbering.equations(text)] == counted


NAMES = ("01_one.ipynb", "02_two.ipynb", "")
FIRST = (
    "publish.figure(None, 'fig-x', f'See {1:.1f} [table](#tab-y).')",
    "publish.say(r'$$a \\label{eq:a}$$')",
)
SECOND = (
    "publish.answer('RD-a', 'By [equation](#eq:a), [Shoemake 1985](#cite-shoemake1985).', '')",
    "for k in range(2):\n    publish.table(frame, label='tab-y', caption='')",
)


@pytest.fixture
def written(workshop: Workshop) -> Workshop:
    """Two notebooks that are never run: a section in the appendix, a question that is answered at the end."""
    text = nbformat.v4.new_markdown_cell
    for name, cells in (("01_one", FIRST), ("02_two", SECOND)):
        path = workshop.write(name, *cells)
        notebook = nbformat.read(path, as_version=4)
        more = [
            text("## Going further: more\n\n$$c \\label{eq:c}$$"),
            text("> **RD-a.** Why?", metadata={"tags": ["question"]}),
        ]
        more += [
            text(
                "See [figure](#fig-x), [section](#sec-further-one-1) and, with $\\eqref{eq:b}$,\n\n$$b \\label{eq:b}$$"
            )
        ]
        notebook.cells += more[:1] if name == "01_one" else more[1:]
        nbformat.write(notebook, path)
    return workshop


def test_notebooks_get_the_numbers_of_the_report_without_being_run(written: Workshop) -> None:
    numbers = written.folder / "numbers.json"
    first, second = execute.find(written.notebooks)
    said = tool.update(written.notebooks, numbers)
    assert len(said) == 3 and said[0].startswith("01_one.ipynb")
    stored = references.stored(numbers)
    known = {name: {label: place.number for label, place in stored.items() if place.notebook == name} for name in NAMES}
    assert known == {
        "01_one.ipynb": {"sec-one": "1", "fig-x": "1", "eq:a": "1", "sec-further-one-1": "A.1", "eq:c": "3"},
        "02_two.ipynb": {"sec-two": "2", "eq:b": "2", "tab-y": "1"},
        "": {"sec-further": "A", "sec-checks": "B", "sec-reproducibility": "C", "sec-notation": "D"},
    }
    heading = nbformat.read(first, as_version=4).cells[-1].source
    assert heading.startswith('## Going further: more<a id="eq:c"></a><a id="sec-further-one-1"></a>\n\n$$c ')
    *_, text, sources = nbformat.read(second, as_version=4).cells
    links = re.findall(r'01_one\.ipynb#cell-id=(\S+) "([^"]+)"', text.source)
    assert links == [(stored[label].cell, label) for label in ("fig-x", "sec-further-one-1")] and "A.1](" in text.source
    assert 'with [(2)](#eq:b),<a id="eq:b"></a>\n\n$$b \\label{eq:b}\\tag{2}$$' in text.source
    assert sources.metadata.tags == ["references"] and '<a id="cite-shoemake1985"></a>Shoemake, Ken.' in sources.source


def test_a_second_time_changes_nothing_and_what_leads_nowhere_is_said(written: Workshop) -> None:
    numbers = written.folder / "numbers.json"
    tool.update(written.notebooks, numbers)
    assert tool.update(written.notebooks, numbers) == []
    path = execute.find(written.notebooks)[0]
    path.write_text(path.read_text().replace("fig-x", "fig-other"))
    said = tool.update(written.notebooks, numbers)
    assert said[-1] == "02_two.ipynb refers to fig-x, which the report does not number."


def test_the_report_is_the_same_with_and_without_numbers(written: Workshop) -> None:
    paths = execute.find(written.notebooks)

    def printed() -> list[tuple]:
        return [(cell.cell_type, cell.source, cell.get("outputs")) for cell in tool.outline(paths).cells]

    before, marks = printed(), [execute.fingerprint(path, {}) for path in paths]
    tool.update(written.notebooks, written.folder / "numbers.json")
    assert printed() == before and [execute.fingerprint(path, {}) for path in paths] == marks


def test_an_executed_notebook_that_is_used_again_gets_the_numbers(written: Workshop) -> None:
    source = execute.find(written.notebooks)[1]
    executed = Path(shutil.copy(source, written.folder / "executed.ipynb"))
    ran = nbformat.read(executed, as_version=4)
    ran.cells.insert(2, nbformat.v4.new_code_cell("seed = 1", metadata={"tags": ["injected-parameters"]}))
    nbformat.write(ran, executed)
    tool.update(written.notebooks, written.folder / "numbers.json")
    execute.refresh(source, executed)
    cells = nbformat.read(executed, as_version=4).cells
    assert cells.pop(2).source == "seed = 1"
    assert [cell.source for cell in cells] == [cell.source for cell in nbformat.read(source, as_version=4).cells]


def test_a_build_says_when_the_numbers_of_the_notebooks_are_old(written: Workshop) -> None:
    paths = execute.find(written.notebooks)
    assert tool.outdated(paths, tool.outline(paths)) == [], "without numbers none are old"
    tool.update(written.notebooks, written.folder / "numbers.json")
    assert tool.outdated(paths, tool.outline(paths)) == []
    notebook = nbformat.read(paths[0], as_version=4)
    notebook.cells.insert(3, nbformat.v4.new_code_cell("publish.figure(None, 'fig-before', '')"))
    nbformat.write(notebook, paths[0])
    (said,) = tool.outdated(paths, tool.outline(paths))
    assert "run `make references`" in said


def test_the_notebooks_have_the_numbers_of_the_report(tmp_path: Path) -> None:
    if not references.NUMBERS.exists():
        pytest.skip("the notebooks have no numbers yet: run `make references`")
    notebooks = shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    numbers = Path(shutil.copy(references.NUMBERS, tmp_path))
    assert tool.update(notebooks, numbers) == [], "run `make references`"


@pytest.mark.parametrize("call", ["publish.play(x, 'So.', 'fig-x')", "publish.film(x, 'So.', still='fig-x')"])
def test_the_figure_that_stands_for_what_moves_is_known_without_running(call: str) -> None:
    (statement,) = ast.parse(call).body
    kind = call.partition("(")[0].partition(".")[2]
    assert tool._fact(statement.value) == {"kind": kind, "still": "fig-x"}
