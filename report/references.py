"""Write the report's numbers into the notebooks, so that JupyterLab shows them (`make references`).

References in Markdown cells become [figure 3](#fig-x); equations get their numbers; equations, and headings that are
referred to, get anchors; a last cell lists the sources that the notebook cites. helpers/show/numbers.json gets all
numbers, for what is computed. Nothing is run: which figures a notebook publishes is read off its code. To run it again
changes nothing, and the report is the same with and without these numbers.
"""

import ast
import inspect
import re
import sys
from pathlib import Path

import execute
import export
import merge
import nbformat
import numbering
import prose
from errors import BuildError
from nbformat import NotebookNode

from helpers.files import write_atomically
from helpers.show import references
from helpers.show.references import TAG, Place, Places

HERE = Path(__file__).resolve().parent
NOTEBOOKS = HERE.parent / "notebooks"
HEADING = re.compile(r"(?m)^#{1,6} .*$")
TEXTS = {"say": 0, "claim": 0, "answer": 1}  # functions of publish, and which argument is Markdown
LABELLED = {"figure": 1, "table": 1}  # and which is a label


def outline(paths: list[Path]) -> NotebookNode:
    """The notebooks merged as for the report, but not executed: outputs hold only what the code says literally."""
    report = {"answers": [], "checks": [], "unconfirmed": []}
    whole = merge.joined([merge.chapter(path.stem, foreseen(path), report) for path in paths])
    template = (HERE / "template" / "appendix.md.j2").read_text(encoding="utf-8")
    headings = [line for line in template.splitlines() if line.startswith("# ")]
    whole.cells.append(nbformat.v4.new_markdown_cell("\n".join(headings)))
    return whole


def foreseen(path: Path) -> NotebookNode:
    """A notebook with the outputs that its code cells will have, as far as labels and literal texts are concerned."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            calls = [node for node in ast.walk(execute.tree(cell.source)) if isinstance(node, ast.Call)]
            calls.sort(key=lambda node: (node.lineno, node.col_offset))
            facts = [fact for call in calls if (fact := _fact(call))]
            cell.outputs = [nbformat.v4.new_output("display_data", metadata={"report": fact}) for fact in facts]
    return notebook


def _fact(call: ast.Call) -> dict | None:
    """The report's metadata of a call of publish.…, None for any other call."""
    module, _, kind = ast.unparse(call.func).rpartition(".")
    if module != "publish":
        return None
    if kind in LABELLED:
        return {"kind": kind, "label": _literal(call, LABELLED[kind], "label")}
    if kind in ("film", "play"):
        return {"kind": kind, "still": _literal(call, 7 if kind == "film" else 2, "still")}
    if kind == "answer":
        return {"kind": kind, "question": _literal(call, 0, "question"), "text": _literal(call, 1, "text"), "brief": ""}
    if kind in ("say", "claim"):
        return {"kind": "prose", "text": inspect.cleandoc(_literal(call, 0, "text" if kind == "say" else "sentence"))}
    return None


def _literal(call: ast.Call, position: int, name: str) -> str:
    """The literal text of an argument, without what is computed in it."""
    given = dict(enumerate(call.args)) | {keyword.arg: keyword.value for keyword in call.keywords}
    return _text(given.get(name, given.get(position)))


def _text(node: ast.AST | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return ""


def find_places(whole: NotebookNode) -> Places:
    """The number of each label of the merged notebook, and the notebook and the cell in which it is."""
    numbers, _ = numbering.number(whole)
    homes = {}
    for cell in whole.cells:
        origin = cell.metadata.get("origin", {"notebook": "", "cell": ""})
        homes |= dict.fromkeys(numbering.labels(cell), (origin["notebook"], origin["cell"]))
    return {label: Place(number, *homes[label]) for label, number in numbers.items()}


def rewritten(paths: list[Path]) -> tuple[list[NotebookNode], Places]:
    """The notebooks with the numbers of the report, and the places of all labels."""
    whole, notebooks = outline(paths), [nbformat.read(path, as_version=4) for path in paths]
    places, headings = find_places(whole), _headings(whole)
    asked = [_asked(notebook) for notebook in notebooks]
    everywhere = set().union(*asked)
    entries = prose.entries(sorted(label for label in everywhere if label.startswith("cite-")))
    for path, notebook, own in zip(paths, notebooks, asked, strict=True):
        notebook.cells = _written(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                source = references.numbered(cell.source, places, path.name)
                cell.source = _with_anchors(source, headings.get((path.name, cell.id), []), everywhere)
        if listed := [references.anchor(label) + text for label, text in entries.items() if label in own]:
            source = "\n\n".join(["## References", *listed])
            notebook.cells.append(nbformat.v4.new_markdown_cell(source, id=TAG, metadata={"tags": [TAG]}))
    return notebooks, places


def _written(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that authors wrote."""
    return [cell for cell in notebook.cells if TAG not in cell.metadata.get("tags", [])]


def _asked(notebook: NotebookNode) -> set[str]:
    """The labels to which the notebook refers, in text and code."""
    text = "\n".join(references.bare(cell.source) for cell in _written(notebook))
    return set(re.findall(r"\(#([^()\s]+)\)", text)) | set(re.findall(r"\\eqref\{+([^{}]+)\}", text))


def _headings(whole: NotebookNode) -> dict[tuple[str, str], list[str]]:
    """For each cell, by notebook and id, the labels that its headings have in the report, "" for those without."""
    found = {}
    for cell in whole.cells:
        if cell.cell_type == "markdown" and "origin" in cell.metadata:
            labels = [re.search(r"(?:\{#(.*)\})?$", line)[1] or "" for line in HEADING.findall(cell.source)]
            found[cell.metadata.origin.notebook, cell.metadata.origin.cell] = labels
    return found


def _with_anchors(source: str, labels: list[str], asked: set[str]) -> str:
    """The Markdown with an anchor at each heading that something refers to."""
    left = iter(labels)

    def anchored(heading: re.Match) -> str:
        label = next(left, "")
        return heading[0] + (references.anchor(label) if label in asked else "")

    return HEADING.sub(anchored, source)


def lost(paths: list[Path], places: Places) -> list[str]:
    """A sentence for each notebook that refers to labels without a number."""
    said = []
    for path in paths:
        asked = _asked(nbformat.read(path, as_version=4))
        if absent := sorted(label for label in asked - places.keys() if re.match("fig-|tab-|sec-|eq", label)):
            said.append(f"{path.name} refers to {', '.join(absent)}, which the report does not number.")
    return said


def outdated(paths: list[Path], whole: NotebookNode) -> list[str]:
    """A sentence if numbers that the notebooks carry are not those of the merged notebook."""
    places = find_places(whole)
    names, known = {path.name for path in paths}, references.stored()
    wrong = [label for label, place in known.items() if place.notebook in names and places.get(label) != place]
    for path in paths:
        for cell in nbformat.read(path, as_version=4).cells:
            source = references.ANCHOR.sub("", cell.source)
            if cell.cell_type == "markdown" and source != references.bare(source):
                wrong += [path] * (source != references.ANCHOR.sub("", references.numbered(source, places, path.name)))
    return ["numbers in the notebooks are no longer those of the report: run `make references`."] if wrong else []


def update(folder: Path = NOTEBOOKS, numbers: Path = references.NUMBERS) -> list[str]:
    """Rewrite the notebooks in `folder` and the file of numbers; what was done, and what is wrong, in sentences."""
    paths = execute.find(folder)
    notebooks, places = rewritten(paths)
    contents = {path: nbformat.writes(notebook) + "\n" for path, notebook in zip(paths, notebooks, strict=True)}
    contents[numbers] = references.packed(places)
    said = []
    for path, text in contents.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text.encode())
            said.append(f"{path.name} has the numbers of the report.")
    return said + lost(paths, places)


def main() -> None:
    export.check_tools(["pandoc"])
    for line in update() or ["All numbers are those of the report: nothing was changed."]:
        print(line)


if __name__ == "__main__":
    try:
        main()
    except BuildError as error:
        sys.exit(f"Nothing was changed: {error}")
