"""The numbers that LaTeX gives to sections, figures, tables and equations of the merged notebook."""

import itertools
import re
from collections.abc import Iterator

from nbformat import NotebookNode

from helpers.show.references import DISPLAY, LABEL

HEADING = re.compile(r"(?m)^(##?) +(.*?) \{#([^}]+)\}$")
INNER = re.compile(r"\\begin\{(?!(?:equation|align|gather|multline)\})(\w+\*?)\}.*?\\end\{\1\}", re.DOTALL)


def number(whole: NotebookNode) -> tuple[dict[str, str], list[dict]]:
    """The number of each label; level, label and title of the sections. What is only for the screen has no number."""
    numbers, contents = {}, []
    chapter, section, letters = 0, 0, False
    counts = {"figure": 0, "table": 0, "equation": 0}
    for cell in whole.cells:
        tags = cell.metadata.get("tags", [])
        if "screen" in tags or "opening" in tags:
            continue
        if "appendix" in tags:
            chapter, letters = 0, True
        for kind, content in printed(cell):
            if kind in counts:
                counts[kind] += 1
                numbers[content] = str(counts[kind])
                continue
            for marks, title, label in HEADING.findall(content):
                chapter, section = (chapter + 1, 0) if marks == "#" else (chapter, section + 1)
                mark = chr(ord("A") + chapter - 1) if letters else str(chapter)
                numbers[label] = mark + f".{section}" * (section > 0)
                contents.append({"level": len(marks), "label": label, "title": title})
            for labels in equations(content):
                counts["equation"] += 1
                numbers |= dict.fromkeys(labels, str(counts["equation"]))
    return numbers, contents


def printed(cell: NotebookNode) -> Iterator[tuple[str, str]]:
    """What a cell prints that may have a label: ("figure" or "table", its label) and ("text", the Markdown)."""
    if cell.cell_type == "markdown":
        yield "text", cell.source
    for output in cell.get("outputs", []):
        fact = output.metadata.report
        if fact.kind in ("figure", "table"):
            yield fact.kind, fact.label
        elif fact.kind in ("prose", "answer"):
            yield "text", fact.text


def labels(cell: NotebookNode) -> list[str]:
    """All labels that a cell of the merged notebook defines."""
    found = []
    for kind, content in printed(cell):
        headings = [label for _, _, label in HEADING.findall(content)]
        found += [content] if kind != "text" else headings + LABEL.findall(content)
    return found


def equations(text: str) -> Iterator[list[str]]:
    """The labels of each equation that gets a number: one number for each row of align and gather."""
    for display in DISPLAY.finditer(text):
        body = INNER.sub("", display[0])
        name = re.search(r"\\begin\{(\w+)\}", body)
        if name and name[1] in ("align", "gather"):
            rows = [row for row in body.split(r"\\") if not re.search(r"\\no(tag|number)\b", row)]
            yield from (LABEL.findall(row) for row in rows)
        elif name or LABEL.search(body):
            yield LABEL.findall(body)


def tag_equations(whole: NotebookNode) -> None:
    """Write into each numbered equation its number, as \\tag{3}: pandoc counts none."""
    count = itertools.count(1)
    for cell in whole.cells:
        if {"screen", "opening"} & set(cell.metadata.get("tags", [])):
            continue
        if cell.cell_type == "markdown":
            cell.source = tagged(cell.source, count)
        for output in cell.get("outputs", []):
            fact = output.metadata.report
            if fact.kind in ("prose", "answer"):
                fact.text = tagged(fact.text, count)


def tagged(text: str, count: Iterator[int]) -> str:
    """Markdown with the next number in each of its numbered equations; one without a label has it at its end."""
    return DISPLAY.sub(lambda display: _tagged_display(display[0], count), text)


def _tagged_display(display: str, count: Iterator[int]) -> str:
    inner: list[str] = []

    def hide(found: re.Match) -> str:
        inner.append(found[0])
        return f"\0{len(inner) - 1}\0"

    body = INNER.sub(hide, display)
    name = re.search(r"\\begin\{(\w+)\}", body)
    rows = body.split(r"\\") if name and name[1] in ("align", "gather") else [body]
    for place, row in enumerate(rows):
        if name or LABEL.search(body):
            rows[place] = _tagged_row(row, count)
    return re.sub("\0(\\d+)\0", lambda found: inner[int(found[1])], r"\\".join(rows))


def _tagged_row(row: str, count: Iterator[int]) -> str:
    if re.search(r"\\no(tag|number)\b", row):
        return row
    return re.sub(r"\s*(\\end\{\w+\}|\$\$)?\Z", lambda end: rf"\tag{{{next(count)}}}{end[0]}", row, count=1)
