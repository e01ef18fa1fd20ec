"""The executed notebooks as one, reduced to what `helpers.publish` marked."""

import re
import uuid
from pathlib import Path

import nbformat
from arrange import arrange
from errors import BuildError
from execute import parameters_of

QUESTIONS = [f"{part}-{letter}" for part in ("RD", "GAN") for letter in "abcde"]
HIDDEN = {"parameters", "injected-parameters", "papermill-error-cell-tag"}
WIDGETS = "application/vnd.jupyter.widget-state+json"


def merge(paths: list[Path]) -> nbformat.NotebookNode:
    """One notebook of all executed ones; its metadata.report holds `answers`, `checks` and `notebooks`."""
    whole = nbformat.v4.new_notebook()
    report = {"answers": [], "checks": [], "notebooks": []}
    states: dict = {}
    chapters = []
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        states |= notebook.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})
        report["notebooks"].append({"name": path.name, "parameters": parameters_of(notebook)})
        shown = [cell for cell in notebook.cells if HIDDEN.isdisjoint(cell.metadata.get("tags", []))]
        chapters.append((path.stem.partition("_")[2], [_adopt(cell, path.stem, report) for cell in shown]))
    whole.cells = arrange(chapters)
    _gather_checks(whole.cells)
    whole.metadata.widgets = {WIDGETS: {"version_major": 2, "version_minor": 0, "state": states}}
    report["answers"].sort(key=lambda answer: QUESTIONS.index(answer["question"]))
    whole.metadata.report = report
    nbformat.validate(whole)
    return whole


def _adopt(cell: nbformat.NotebookNode, stem: str, report: dict) -> nbformat.NotebookNode:
    """The cell with an id of its own, its attachments' names made unique, its outputs only those of the report."""
    cell = nbformat.from_dict(cell)
    cell.id = uuid.uuid4().hex[:12]
    if cell.cell_type == "markdown":
        if "attachments" in cell:
            cell.attachments = {f"{stem}-{name}": data for name, data in cell.attachments.items()}
            cell.source = cell.source.replace("(attachment:", f"(attachment:{stem}-")
        cell.source = _label_headings(cell.source, stem)
        if "question" in cell.metadata.get("tags", []):
            cell.source = re.sub(r"(?m)^> ?", "", cell.source)
    elif cell.cell_type == "code":
        show = "show" in cell.metadata.get("tags", [])
        cell.outputs = [kept for output in cell.outputs if (kept := _reduce(output, show))]
        for output in cell.outputs:
            _enter(output.metadata.report, stem, report)
    return cell


def _label_headings(source: str, stem: str) -> str:
    """`# 3. The echo` becomes `# The echo {#sec-NAME}`, `## RD-c: …` gets {#sec-rd-c}; LaTeX numbers them."""
    source = re.sub(r"\A# +(?:\d+\.\s*)?(.+)", rf"# \1 {{#sec-{stem.partition('_')[2]}}}", source)
    question = r"(?m)^## +((?:RD|GAN)-[a-e])\b([^{\n]*)$"
    return re.sub(question, lambda m: f"## {m[1]}{m[2]} {{#sec-{m[1].lower()}}}", source, count=1)


def _reduce(output: nbformat.NotebookNode, show: bool) -> nbformat.NotebookNode | None:
    """The output as display data with report metadata, or None if the report leaves it out."""
    if "report" in output.get("metadata", {}):
        return output
    text = output.get("text") if output.get("name") == "stdout" else output.get("data", {}).get("text/plain", "")
    if not show or not text or any("widget" in mime for mime in output.get("data", {})):
        return None
    return nbformat.v4.new_output("display_data", {"text/plain": text}, metadata={"report": {"kind": "text"}})


def _enter(fact: dict, stem: str, report: dict) -> None:
    """List an answer or a check for the opening page and the appendix."""
    if fact["kind"] == "answer":
        if fact["question"] not in QUESTIONS:
            raise BuildError(f"{stem}.ipynb answers {fact['question']!r}, which is no question of the assignment.")
        if any(fact["question"] == answer["question"] for answer in report["answers"]):
            raise BuildError(f"{fact['question']} is answered twice (the second time in {stem}.ipynb): keep one.")
        report["answers"].append({**fact, "brief": _brief(fact["text"])})
    elif fact["kind"] == "check":
        report["checks"].append({"notebook": f"{stem}.ipynb", **fact})


def _brief(text: str) -> str:
    """The first sentence (two, if that is as short as "Yes."), without references to figures and tables in brackets."""
    text = re.sub(r"\s*\(\[[^]]+\]\(#(?:fig|tab|sec|eq)[^)]*\)\)", "", text)
    brief, *more = re.split(r"(?<=[.!?])\s+(?=[A-Z*$])", text)
    return f"{brief} {more[0]}" if len(brief) < 50 and more else brief


def _gather_checks(cells: list[nbformat.NotebookNode]) -> None:
    """Checks between which the report shows nothing else become one output that lists them."""
    group = None
    for cell in cells:
        if cell.cell_type != "code" or "show" in cell.metadata.get("tags", []):
            group = None
            continue
        kept = []
        for output in cell.outputs:
            fact = output.metadata.report
            if fact["kind"] != "check":
                group = None
                kept.append(output)
            elif group is None:
                group = {"kind": "checks", "checks": [fact]}
                kept.append(nbformat.v4.new_output("display_data", output.data, metadata={"report": group}))
                group = kept[-1].metadata.report
            else:
                group["checks"].append(fact)
        cell.outputs = kept
