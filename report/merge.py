"""Merge the executed notebooks into one that holds only what is printed, in the order of the report."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import jinja2
import nbformat
import prose
from errors import BuildError
from execute import parameters_of

from helpers.show import publish, references

QUESTIONS = [f"{part}-{letter}" for part in ("RD", "GAN") for letter in "abcde"]
HIDDEN = {"parameters", "injected-parameters", "papermill-error-cell-tag", "references", "exercise"}
FURTHER = re.compile(r"\A(#{2,4}) +Going further: *(.)([^\n]*)")
OPENING = "# Going further {#sec-further}\n\nThese sections go beyond the questions; they follow the chapters' order."
Cell = nbformat.NotebookNode


def merge(paths: list[Path], title: dict, run: dict) -> nbformat.NotebookNode:
    """One notebook with the contents of all; metadata.report has `title`, `run` (see facts), `answers`, `checks`, ….

    `unconfirmed` lists the sentences and checks that do not hold in this run; they are marked where they are printed.
    Raises BuildError if a question is answered twice, or where a verdict, a film or an opening picture has no place.
    """
    report = {"title": title, "run": run, "answers": [], "checks": [], "notebooks": [], "unconfirmed": []}
    chapters = []
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        seconds = notebook.metadata.get("reuse", {}).get("seconds", 0.0)
        report["notebooks"].append({"name": path.name, "parameters": parameters_of(notebook), "seconds": seconds})
        chapters.append(chapter(path.stem, notebook, report))
    report["answers"].sort(key=lambda answer: QUESTIONS.index(answer["question"]))
    whole = joined(chapters)
    whole.cells.append(_markdown(_appendix(report)))
    whole.metadata.report = report
    nbformat.validate(whole)
    return whole


def chapter(stem: str, notebook: Cell, report: dict) -> tuple[str, list[Cell]]:
    """The name of an executed notebook and its cells, as they are printed; what is listed is added to `report`."""
    shown = [c for c in notebook.cells if c.cell_type != "raw" and HIDDEN.isdisjoint(c.metadata.get("tags", []))]
    cells = _answers_first(_verdicts_joined([_reduced(cell, stem, report) for cell in shown], stem))
    return stem.partition("_")[2], cells


def joined(chapters: list[tuple[str, list[Cell]]]) -> nbformat.NotebookNode:
    """One notebook of all chapters, without the appendices behind them."""
    whole = nbformat.v4.new_notebook()
    opening = _opening([cell for _, cells in chapters for cell in cells])
    whole.cells = opening + arrange(chapters)
    _join_films(whole.cells)
    _gather_checks(whole.cells)
    return whole


def _markdown(source: str, *tags: str) -> Cell:
    return nbformat.v4.new_markdown_cell(source, metadata={"tags": list(tags)})


def _reduced(cell: Cell, stem: str, report: dict) -> Cell:
    """The cell with labels at its headings and only the report's outputs; adds answers and checks to `report`."""
    tags, name = cell.metadata.get("tags", []), stem.partition("_")[2]
    if cell.cell_type == "markdown":
        source = references.bare(cell.source)
        if "question" in tags or "verdict" in tags:
            source = re.sub(r"(?m)^> ?", "", source)
        new = _markdown(_labelled(source, name), *tags)
    else:
        new = nbformat.v4.new_code_cell(cell.source, metadata=cell.metadata)
        new.outputs = [kept for output in cell.outputs if (kept := _kept(output, "show" in tags))]
    new.metadata.origin = {"notebook": f"{stem}.ipynb", "cell": cell.id}
    for output in new.get("outputs", []):
        if output.metadata.report.kind == "prose":
            output.metadata.report.text = _labelled(output.metadata.report.text, name)
        _list(output.metadata.report, stem, report)
    if new.cell_type == "code":
        new.outputs = [output for output in new.outputs if output.metadata.report.kind != "refuted"]
    return new


def _verdicts_joined(cells: list[Cell], stem: str) -> list[Cell]:
    """The cells without verdicts; each of these begins the answer to the nearest question above it."""
    kept, asked, judged = [], None, []
    for cell in cells:
        tags, facts = cell.metadata.get("tags", []), []
        if "question" in tags:
            asked = cell
        if "verdict" in tags:
            if asked is None or asked in judged:
                fault = "has no question above it" if asked is None else "is the second for its question"
                raise BuildError(f"{stem}.ipynb: the verdict {cell.source!r} {fault}: keep one below each question.")
            judged.append(asked)
            facts = [output.metadata.report for output, place in _answers(cells) if place is asked]
        for fact in facts:
            fact.verdict = publish.not_confirmed(cell.source) if publish.NOT_CONFIRMED in fact.text else cell.source
        if not facts:  # also a verdict to which the notebook gives no answer
            kept.append(cell)
    return kept


def _answers(cells: list[Cell]) -> Iterator[tuple[Cell, Cell | None]]:
    """The outputs that are answers, each with the cell that states its question."""
    questions = [cell for cell in cells if "question" in cell.metadata.get("tags", [])]
    for output in [output for cell in cells for output in cell.get("outputs", [])]:
        if output.metadata.report.kind == "answer":
            asked = [place for place in questions if output.metadata.report.question in place.source]
            yield output, asked[0] if asked else None


def _answers_first(cells: list[Cell]) -> list[Cell]:
    """The cells with each answer moved directly behind the cell that states its question."""
    arranged = list(cells)
    for output, asked in [*_answers(cells)]:
        if asked:
            (cell,) = [cell for cell in cells if any(output is own for own in cell.get("outputs", []))]
            cell.outputs.remove(output)
            moved = nbformat.v4.new_code_cell("", outputs=[output], metadata={"origin": cell.metadata.origin})
            arranged.insert(arranged.index(asked) + 1, moved)
    return arranged


def _labelled(text: str, name: str) -> str:
    """`# 3. The echo` becomes `# The echo {#sec-NAME}`; `## RD-c: …` gets {#sec-rd-c}, others one from words."""
    text = re.sub(r"\A# +(?:\d+\.\s*)?(.+)", rf"# \1 {{#sec-{name}}}", text)
    text = re.sub(r"(?m)^## +((?:RD|GAN)-[a-e])\b[^{\n]*$", lambda m: f"{m[0]} {{#sec-{m[1].lower()}}}", text)
    words = r"(?m)^## +(?!Going further)([^{\n]+)$"
    return re.sub(words, lambda m: f"{m[0]} {{#sec-{name}-{re.sub('[^a-z]+', '-', m[1].lower())}}}", text)


def _kept(output: Cell, show: bool) -> Cell | None:
    """The output as display data with report metadata, or None if it does not appear in the report."""
    if "report" in output.get("metadata", {}):
        return output
    text = output.get("text") if output.get("name") == "stdout" else output.get("data", {}).get("text/plain", "")
    if not show or not text or any("widget" in mime or "image" in mime for mime in output.get("data", {})):
        return None  # of a picture the text would be "<Figure size …>"
    return nbformat.v4.new_output("display_data", {"text/plain": text}, metadata={"report": {"kind": "text"}})


def _list(fact: dict, stem: str, report: dict) -> None:
    """Add an answer, a check or a sentence that is not confirmed to the lists of the opening page and the appendix."""
    if fact["kind"] == "answer":
        name, known = fact["question"], [answer["question"] for answer in report["answers"]]
        if name not in QUESTIONS:
            raise BuildError(f"{stem}.ipynb answers {name!r}, which is no question of the assignment.")
        if name in known:
            raise BuildError(f"{name} is answered twice (the second time in {stem}.ipynb): keep one.")
        report["answers"].append(fact)
    elif fact["kind"] == "check":
        fact["number"] = len(report["checks"]) + 1
        report["checks"].append({"notebook": f"{stem}.ipynb", **fact})
        if not fact["passed"]:
            report["unconfirmed"].append(f"{stem}.ipynb: {fact['name']}")
    elif fact["kind"] == "refuted":
        sentence = textwrap.shorten(fact["sentence"], 160, placeholder=" …")
        report["unconfirmed"].append(f"{stem}.ipynb: {sentence} (false: {fact['condition']})")


def arrange(chapters: list[tuple[str, list[Cell]]]) -> list[Cell]:
    """The cells of all chapters (NAME, cells) in the report's order.

    First comes the main text, in which each chapter ends with a line that names its sections in the appendix; then a
    Markdown cell with the tag "appendix"; then the sections "Going further: …" at level 2, with their subsections.
    """
    main, further = [], []
    for name, cells in chapters:
        links, inside = [], 0  # the level of the current section "Going further", if any
        for section in _sections(cells):
            _tag_screen(section)
            level, title = _level(section[0]), FURTHER.match(section[0].source)
            if title or level <= inside:
                inside = level if title else 0
            if inside:
                section[0].source = section[0].source[inside - 2 :]
                further += section
            else:
                main += section
            if title:
                _, first, rest = title.groups()
                label = f"sec-further-{name.replace('_', '-')}-{len(links) + 1}"
                links.append(f"[section](#{label})")
                text = FURTHER.sub("", section[0].source, count=1).strip()
                origin = f"*Continues [chapter](#sec-{name}).* "  # run in, so that no page ends here
                section[0].source = f"## {first.upper()}{rest} {{#{label}}}\n\n{origin}{text}"
        if links:
            main.append(_markdown(f"*Going further:* {' to '.join(dict.fromkeys((links[0], links[-1])))}."))
    return [*main, _markdown(OPENING if further else "", "appendix"), *further]


def _level(cell: Cell) -> int:
    """The heading level (1 to 6) of a cell that begins with a heading, and 0 for any other cell."""
    found = re.match(r"(#{1,6}) ", cell.source) if cell.cell_type == "markdown" else None
    return len(found[1]) if found else 0


def _sections(cells: list[Cell]) -> list[list[Cell]]:
    """The cells in groups, each of which begins with a heading."""
    starts = [place for place, cell in enumerate(cells) if place == 0 or _level(cell)]
    return [cells[start:end] for start, end in zip(starts, [*starts[1:], len(cells)], strict=True)]


def _tag_screen(section: list[Cell]) -> None:
    """Tag a section that shows only widgets "screen", and also "live" if it needs a kernel because it has no film."""
    widgets = any("widget" in cell.metadata.get("tags", []) for cell in section)
    outputs = [output for cell in section for output in cell.get("outputs", [])]
    if widgets and all(output.metadata.report.kind in ("film", "play") for output in outputs):
        for cell in section:
            cell.metadata.tags = [*cell.metadata.get("tags", []), "screen"] + ["live"] * (not outputs)


def _opening(cells: list[Cell]) -> list[Cell]:
    """A cell with the tag "opening" that holds the figure which was published in one with this tag, if there is any."""
    tagged = [cell for cell in cells if "opening" in cell.metadata.get("tags", [])]
    figures = []
    for cell in tagged:
        figures += [output for output in cell.get("outputs", []) if output.metadata.report.kind == "figure"]
        cell.outputs = [output for output in cell.get("outputs", []) if output not in figures]
        cell.metadata.tags = [tag for tag in cell.metadata.tags if tag != "opening"]
    if len(tagged) > 1 or len(figures) != len(tagged):
        places = ", ".join(dict.fromkeys(cell.metadata.origin.notebook for cell in tagged))
        fault = f"{len(tagged)} cells with the tag 'opening' publish {len(figures)} figures"
        raise BuildError(f"{places}: {fault}: one cell may publish the one picture of the first page.")
    if not figures:
        return []
    return [nbformat.v4.new_code_cell("", outputs=figures, metadata={"tags": ["opening"]})]


def _join_films(cells: list[Cell]) -> None:
    """Mark the figures that print frames of a film as `moving`; BuildError if a film names one that is not there."""
    facts = [output.metadata.report for cell in cells if _printed(cell) for output in cell.get("outputs", [])]
    figures = {fact.label: fact for fact in facts if fact.kind == "figure"}
    for fact in [output.metadata.report for cell in cells for output in cell.get("outputs", [])]:
        if still := fact.get("still"):
            if still not in figures:
                raise BuildError(f"a film names {still!r} as the figure of its frames, which no notebook publishes.")
            figures[still].moving = True


def _printed(cell: Cell) -> bool:
    """Whether a cell's figures have numbers."""
    return {"screen", "opening"}.isdisjoint(cell.metadata.get("tags", []))


def _gather_checks(cells: list[Cell]) -> None:
    """Combine checks between which the report shows nothing else into one output; those that fail stay marked prose."""
    group = None
    for cell in cells:
        if cell.cell_type != "code" or "show" in cell.metadata.get("tags", []):
            group = None  # prose, or code that is printed before its outputs
        kept = []
        for output in cell.get("outputs", []):
            fact = output.metadata.report
            if fact.kind == "check" and not fact.passed:
                fact = output.metadata.report = nbformat.NotebookNode(kind="prose", text=fact.text)
            if fact.kind == "check" and group is not None:
                group.append(fact)
                continue
            if fact.kind == "check":
                output.metadata.report = {"kind": "checks", "checks": [fact]}
            group = output.metadata.report.get("checks")
            kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept


def _appendix(report: dict) -> str:
    """Appendices B to D as Markdown: the checks, how the report was made, and the notation."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, comment_start_string="{##")
    environment.filters |= {"plain": prose.plain, "number": prose.number}
    template = Path(__file__).with_name("template") / "appendix.md.j2"
    return environment.from_string(template.read_text(encoding="utf-8")).render(report=report, run=report["run"])
