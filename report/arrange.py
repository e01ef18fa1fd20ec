"""Where a chapter's sections stand: "Going further" in an appendix, what only a screen can show not on paper."""

import re
from itertools import groupby

import nbformat

FURTHER = re.compile(r"\A(#{2,4}) +Going further: *(.)([^\n]*)")
HEADING = re.compile(r"\A(#{1,6}) ")
OPENING = """# Going further {#sec-further}

Depth beyond what was asked, for each section where it was left."""


def arrange(chapters: list[tuple[str, list[nbformat.NotebookNode]]]) -> list[nbformat.NotebookNode]:
    """The cells of all chapters (NAME, cells) in the report's order.

    First the main text, each chapter with a line that names what of it went to the appendix; then a Markdown cell with
    the tag "appendix", behind which the appendix goes on; then the sections "Going further: …". Sections that hold only
    widgets get the tag "screen", and "live" if there is no film in them, which needs no kernel.
    """
    main, further = [], []
    for name, cells in chapters:
        _tag_screens(cells)
        kept, moved = _split(cells)
        main += kept
        links = []
        for number, section in enumerate(moved, 1):
            label = f"sec-further-{name.replace('_', '-')}-{number}"
            links.append(f"[{_retitle(section, label, name)}](#{label})")
            further += section
        if links:
            main.append(_markdown(f"*Going further*, in [appendix](#sec-further): {'; '.join(links)}."))
    return [*main, _markdown(OPENING if further else "", "appendix"), *further]


def _markdown(source: str, *tags: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_markdown_cell(source, metadata={"tags": list(tags)})


def _level(cell: nbformat.NotebookNode) -> int:
    """1 to 6 for a cell that begins with a heading, 0 for any other."""
    found = HEADING.match(cell.source) if cell.cell_type == "markdown" else None
    return len(found[1]) if found else 0


def _split(cells: list[nbformat.NotebookNode]) -> tuple[list, list[list]]:
    """The cells that stay, and each section "Going further": up to the next heading of its level or above."""
    kept, moved, inside = [], [], 0
    for cell in cells:
        if level := _level(cell):
            if FURTHER.match(cell.source):
                inside = level
                moved.append([])
            elif level <= inside:
                inside = 0
        (moved[-1] if inside else kept).append(cell)
    return kept, moved


def _retitle(section: list[nbformat.NotebookNode], label: str, name: str) -> str:
    """Make a section one of the appendix: level 2, its label, and where it comes from. Returns what the link says."""
    shift = _level(section[0]) - 2
    for cell in section:
        if shift and _level(cell):
            cell.source = cell.source[shift:]
    marks, first, rest = FURTHER.match(section[0].source).groups()
    text = FURTHER.sub("", section[0].source, count=1).strip()
    origin = f"*Continues [section](#sec-{name}).* "  # run in, so that no page ends between it and the text
    section[0].source = f"{marks} {first.upper()}{rest} {{#{label}}}\n\n{origin}{text}"
    return first + rest


def _tag_screens(cells: list[nbformat.NotebookNode]) -> None:
    """Tag the sections whose widgets are all that they show."""
    counter = 0

    def section_of(cell: nbformat.NotebookNode) -> int:
        nonlocal counter
        counter += bool(_level(cell))
        return counter

    for _, group in groupby(cells, section_of):
        section = list(group)
        widgets = any("widget" in cell.metadata.get("tags", []) for cell in section)
        outputs = [output for cell in section for output in cell.get("outputs", [])]
        if widgets and all(output.metadata.report.kind == "film" for output in outputs):
            for cell in section:
                cell.metadata.tags = [*cell.metadata.get("tags", []), "screen"] + ["live"] * (not outputs)
