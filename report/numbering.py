"""The numbers that LaTeX gives to sections, figures, tables and equations, for the page that has no LaTeX."""

import re
from collections.abc import Iterator

import nbformat

APPENDICES = ("sec-checks", "sec-reproducibility", "sec-code")  # which the template writes, behind "Going further"


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """The Markdown of a merged cell, in the order in which it stands in the report."""
    if cell.cell_type == "markdown":
        return [cell.source]
    found = []
    for output in cell.get("outputs", []):
        fact = output.metadata.report
        found += [fact[key] for key in ("text", "caption", "grid") if key in fact]
        if fact.kind == "prose":
            found.append(output.data["text/markdown"])
    return found


def count(notebook: nbformat.NotebookNode, trees: dict[str, list]) -> dict[str, str]:
    """The number of each label; headings in the trees of the texts are given theirs as an attribute."""
    numbers: dict[str, str] = {}
    chapter, section, equation, letters = 0, 0, 0, False
    counters = {"figure": 0, "table": 0}
    for cell in notebook.cells:
        if "appendix" in cell.metadata.get("tags", []):
            chapter, letters = 0, True
        for output in cell.get("outputs", []):
            if (kind := output.metadata.report.kind) in counters:
                counters[kind] += 1
                numbers[output.metadata.report.label] = str(counters[kind])
        for node in (node for text in texts(cell) for node in _nodes(trees[text])):
            if node["t"] == "Header" and node["c"][0] <= 2:
                chapter, section = (chapter + 1, 0) if node["c"][0] == 1 else (chapter, section + 1)
                mark = _mark(chapter, letters) + f".{section}" * (section > 0)
                node["c"][1][2].append(["number", mark])
                numbers[node["c"][1][0]] = mark
            elif node["t"] in ("Math", "RawInline") and (label := label_of(node["c"][1])):
                equation += 1
                numbers[label] = f"({equation})"
    chapter = chapter if letters else 0
    return numbers | {label: _mark(chapter + place, True) for place, label in enumerate(APPENDICES, 1)}


def label_of(formula: str) -> str | None:
    found = re.search(r"\\label\{([^}]+)\}", formula)
    return found[1] if found else None


def _mark(chapter: int, letters: bool) -> str:
    return chr(ord("A") + chapter - 1) if letters else str(chapter)


def _nodes(tree: object) -> Iterator[dict]:
    """All nodes of a tree, in order."""
    if isinstance(tree, list):
        for child in tree:
            yield from _nodes(child)
    elif isinstance(tree, dict) and "t" in tree:
        yield tree
        yield from _nodes(tree.get("c"))
