"""Convert the merged notebook to PDF and page by two exporters of nbconvert, each with a template, and XeLaTeX."""

import ast
import copy
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import fonts
import formulas
import nbformat
import numbering
import prose
import pygments
from errors import BuildError
from nbconvert.exporters import LatexExporter, TemplateExporter
from pygments.formatters import HtmlFormatter, LatexFormatter
from pygments.lexers import PythonLexer, TextLexer

from helpers.show.play import weights_once

HERE = Path(__file__).resolve().parent
NEEDED = ("xelatex", "pandoc")
INSTALL = "run `make setup` as root, or ask for the Debian packages that `make setup` names"
STYLES = {"latex": "friendly", "light": "default", "dark": "github-dark"}  # of code; the last two can be read by all
PASSES = 6
TOGETHER = 30  # a function with fewer lines is kept on one page


def check_tools(needed: Sequence[str] = NEEDED) -> None:
    """Raise BuildError if a required program is missing."""
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        raise BuildError(f"{', '.join(missing)} not found, which the report needs: {INSTALL}.")


def _export(notebook: nbformat.NotebookNode, to: str) -> tuple[str, dict]:
    """The notebook in LaTeX or HTML (`to`), and nbconvert's resources, such as its figures."""
    texts: dict[str, str] = {}
    filters = {"prose": lambda text: texts.setdefault(text, ""), "line": functools.partial(re.sub, "^<p>|</p>$", "")}
    filters |= {"number": prose.number, "verdict": _verdict, "code": functools.partial(_code, to), "doubts": _doubts}
    filters |= {"printed": printed, "words": formulas.words, "nested": nested}
    options = {"extra_template_basedirs": [str(HERE)], "filters": filters}
    if to == "latex":
        exporter = LatexExporter(template_name="template", **options)
    else:  # HTMLExporter would parse the whole page once more
        exporter = TemplateExporter(template_name="page", file_extension=".html", **options)
        notebook = _for_page(notebook)
    numbers, contents = numbering.number(notebook)
    resources = {"report": notebook.metadata.report, "numbers": numbers, "contents": contents, "sources": ""}
    exporter.from_notebook_node(notebook, dict(resources))  # collects the texts, so that pandoc runs once
    texts |= prose.convert(list(texts), to, numbers)
    return exporter.from_notebook_node(notebook, resources | {"sources": prose.sources(list(texts), to)})


def _for_page(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with numbers at its equations and films; each film also at the figure whose frames it moves."""
    whole = copy.deepcopy(notebook)
    numbering.tag_equations(whole)
    facts = [output.metadata.report for cell in whole.cells for output in cell.get("outputs", [])]
    figures = {fact.label: fact for fact in facts if fact.kind == "figure"}
    for place, film in enumerate([fact for fact in facts if fact.kind == "film"], 1):
        film.number = place
        if film.get("still"):
            figures[film.still].film = place
    return whole


def nested(contents: list[dict]) -> list[dict]:
    """The chapters of the contents, each with its sections as `parts`."""
    chapters: list[dict] = []
    for part in contents:
        if part["level"] == 1:
            chapters.append(part | {"parts": []})
        else:
            chapters[-1]["parts"].append(part)
    return chapters


def _verdict(check: dict) -> str:
    computed, expected = (prose.number(check[key], 3) for key in ("computed", "expected"))
    return f"{prose.plain(check['name'].replace('`', ''))}: {computed} (expected {expected})"


def _doubts(unconfirmed: list[str]) -> str:
    """What the opening says of the sentences and checks that do not hold in this run."""
    these = "1 sentence or check is" if len(unconfirmed) == 1 else f"{len(unconfirmed)} sentences or checks are"
    return f"Draft: {these} not confirmed in this run and marked with these words."


def printed(source: str) -> str:
    """The code of a cell as the report prints it: without statements that only publish something."""
    lines = source.split("\n")
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a magic command
        return source
    for node in reversed(statements):
        if isinstance(node, ast.Expr) and ast.unparse(node).startswith("publish."):
            del lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(lines).strip("\n")


def _code(to: str, code: str, python: bool = True) -> str:
    """A listing; in LaTeX in environments `Code` of the template, with page breaks only between functions."""
    lexer, code = PythonLexer() if python else TextLexer(), code.strip("\n")
    if to == "html":
        return pygments.highlight(re.sub(r"\n{3,}", "\n\n", code), lexer, HtmlFormatter(cssclass="code"))
    listings = []
    for part in re.split(r"\n{2,}(?=[^\s)])", code) if python else [code]:
        body = pygments.highlight(part, lexer, LatexFormatter(nowrap=True)).rstrip("\n")
        option = "[samepage]" if body.count("\n") < TOGETHER else ""
        listings.append(f"\\begin{{Code}}{option}\n{body}\n\\end{{Code}}")
    return "\n".join(listings)


def write_page(notebook: nbformat.NotebookNode, folder: Path) -> Path:
    """Write report.html into `folder`; raise BuildError if a text has errors or a link has no target."""
    body, _ = _export(notebook, "html")
    lost = set(re.findall(r'href="#([^"]+)"', body)) - set(re.findall(r'\bid="([^"]+)"', body))
    if lost:
        raise BuildError(f"the page refers to {', '.join(sorted(lost))}, which it does not have.")
    body = weights_once(body)
    body = body.replace("/* fonts */", fonts.style(body)).replace("/* code */", _code_style())
    target = folder / "report.html"
    target.write_text(body, encoding="utf-8")
    return target


def _code_style() -> str:
    light, dark = (HtmlFormatter(style=STYLES[name], cssclass="code").get_style_defs() for name in ("light", "dark"))
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}"


def write_latex(notebook: nbformat.NotebookNode, folder: Path) -> Path:
    """Write report.tex and its figures into `folder`."""
    body, resources = _export(notebook, "latex")
    for name, content in resources["outputs"].items():
        (folder / name).write_bytes(content)
    target = folder / "report.tex"
    style = LatexFormatter(style=STYLES["latex"]).get_style_defs()
    target.write_text(body.replace("% code %", style), encoding="utf-8")
    return target


def make_pdf(tex: Path) -> tuple[Path, list[str]]:
    """Make the PDF of `tex`; return it and a warning for each line that is too wide. Raises BuildError for errors."""
    for suffix in (".aux", ".toc", ".out", ".pdf", ".log"):
        tex.with_suffix(suffix).unlink(missing_ok=True)
    before = None
    for _ in range(PASSES):
        _xelatex(tex)
        after = [tex.with_suffix(suffix).read_bytes() for suffix in (".aux", ".toc")]
        if after == before:  # page numbers no longer change
            break
        before = after
    log = tex.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
    faults = re.findall(r"(?:Reference|Hyper reference) `[^']+'.*?undefined", log)
    faults += re.findall(r"Label `[^']+' multiply defined|Missing character: .*", log)
    if faults:
        raise BuildError(f"the report is not sound: {'; '.join(dict.fromkeys(faults))} (see {tex}).")
    wide = re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\) (.*)", log)
    return tex.with_suffix(".pdf"), [f"{points} pt {where} of {tex}" for points, where in wide if float(points) > 5]


def _xelatex(tex: Path) -> None:
    command = "xelatex -no-shell-escape -interaction=nonstopmode -halt-on-error -file-line-error".split()
    settings = os.environ | {"max_print_line": "10000", "openout_any": "p", "TEXMFOUTPUT": str(tex.parent)}
    options = {"cwd": tex.parent, "env": settings, "stdin": subprocess.DEVNULL}
    done = subprocess.run([*command, tex.name], capture_output=True, text=True, errors="replace", **options)
    if done.returncode:
        if shutil.disk_usage(tex.parent).free < 2**16:
            raise BuildError(f"no space is left in {tex.parent}: make room and run the same command.")
        absent = re.search(r"File `([^']+)' not found|font \"([^\"]+)\" cannot be", done.stdout)
        if absent:
            raise BuildError(f"LaTeX lacks {absent[1] or absent[2]}: {INSTALL}.")
        error = re.search(r"(?m)^(?:\S*\.tex:\d+: .*|! .*)(?:\n.*){0,3}", done.stdout)
        found = " ".join(error[0].split()) if error else done.stdout[-300:]
        raise BuildError(f"xelatex stopped: {found} (see {tex} and {tex.with_suffix('.log')})")
