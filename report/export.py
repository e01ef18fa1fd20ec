"""From the merged notebook to PDF and page: two exporters of nbconvert, each with its template, then XeLaTeX."""

import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import nbformat
import prose
import pygments
from errors import BuildError
from merge import number
from nbconvert.exporters import LatexExporter, TemplateExporter
from pygments.formatters import HtmlFormatter, LatexFormatter
from pygments.lexers import PythonLexer, TextLexer

HERE = Path(__file__).resolve().parent
NEEDED = ("xelatex", "pandoc")
INSTALL = "run `make setup` as root, or ask for the Debian packages that `make setup` names"
MATHJAX = "django-static-mathjax"  # of PyPI's packages the one with MathJax 3 and nothing else
PASSES = 6
OVERFULL = 5.0  # points that nobody sees
TOGETHER = 28  # a function of fewer lines stays on one page


class PageExporter(TemplateExporter):
    """With the template in report/page; HTMLExporter would parse the whole page once more."""

    file_extension = ".html"


def check_tools(needed: Sequence[str] = NEEDED) -> None:
    """Raise BuildError if a program is missing."""
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        raise BuildError(f"{', '.join(missing)} not found, which the report needs: {INSTALL}.")


def _export(notebook: nbformat.NotebookNode, kind: type[TemplateExporter], to: str) -> tuple[str, dict]:
    """The notebook in LaTeX or HTML (`to`), and nbconvert's resources: files beside it.

    The first of two runs collects the texts, so that pandoc runs once.
    """
    exporter = kind(template_name={"latex": "template", "html": "page"}[to], extra_template_basedirs=[str(HERE)])
    texts: list[str] = []
    numbers, contents = number(notebook)
    filters = {
        "line": _line,
        "number": prose.number,
        "mark": prose.plain,
        "code": _latex_code if to == "latex" else _html_code,
    }
    resources = {"report": notebook.metadata.report, "numbers": numbers, "contents": contents, "sources": ""}
    for name, function in filters.items():
        exporter.register_filter(name, function)
    exporter.register_filter("prose", lambda text: texts.append(text) or "")
    exporter.from_notebook_node(notebook, dict(resources))
    exporter.register_filter("prose", prose.convert(texts, to, numbers).__getitem__)
    return exporter.from_notebook_node(notebook, resources | {"sources": prose.sources(texts, to)})


def _line(text: str) -> str:
    """HTML of one paragraph, without the paragraph."""
    return text.removeprefix("<p>").removesuffix("</p>")


# The page.


def write_page(notebook: nbformat.NotebookNode, folder: Path) -> Path:
    """report.html in `folder`; raises BuildError if a text is unsound or a link leads nowhere."""
    body, _ = _export(notebook, PageExporter, "html")
    lost = set(re.findall(r'href="#([^"]+)"', body)) - set(re.findall(r'\bid="([^"]+)"', body))
    if lost:
        raise BuildError(f"the page refers to {', '.join(sorted(lost))}, which it does not have.")
    style = HtmlFormatter(style="friendly", cssclass="code").get_style_defs()
    body = body.replace("/* code */", style).replace("/* mathjax */", _mathjax())
    target = folder / "report.html"
    target.write_text(body, encoding="utf-8")
    return target


def _mathjax() -> str:
    """MathJax in one file, which draws formulas as SVG."""
    found = [file for file in importlib.metadata.files(MATHJAX) or () if file.match("es5/tex-svg.js")]
    return Path(found[0].locate()).read_text(encoding="utf-8")


def _html_code(code: str, python: bool = True) -> str:
    lexer = PythonLexer() if python else TextLexer()
    return pygments.highlight(re.sub(r"\n{3,}", "\n\n", code.strip("\n")), lexer, HtmlFormatter(cssclass="code"))


# The PDF.


def write_latex(notebook: nbformat.NotebookNode, folder: Path) -> Path:
    """report.tex and its figures in `folder`."""
    body, resources = _export(notebook, LatexExporter, "latex")
    for name, content in resources["outputs"].items():
        (folder / name).write_bytes(content)
    target = folder / "report.tex"
    target.write_text(body.replace("% code %", LatexFormatter(style="friendly").get_style_defs()), encoding="utf-8")
    return target


def _latex_code(code: str, python: bool = True) -> str:
    """A listing in the template's environment `Code`, which page ends divide only between functions."""
    lexer = PythonLexer() if python else TextLexer()
    listings = []
    for part in re.split(r"\n{2,}(?=[^\s)])", code.strip("\n")) if python else [code.strip("\n")]:
        body = pygments.highlight(part, lexer, LatexFormatter(nowrap=True)).rstrip("\n")
        option = "[samepage]" if body.count("\n") < TOGETHER else ""
        listings.append(f"\\begin{{Code}}{option}\n{body}\n\\end{{Code}}")
    return "\n".join(listings)


def make_pdf(tex: Path) -> tuple[Path, list[str]]:
    """The PDF of `tex` and a warning for each line too wide; raises BuildError for anything else that is wrong."""
    for suffix in (".aux", ".toc", ".out", ".pdf", ".log"):
        tex.with_suffix(suffix).unlink(missing_ok=True)
    before = None
    for _ in range(PASSES):
        _xelatex(tex)
        after = [tex.with_suffix(suffix).read_bytes() for suffix in (".aux", ".toc")]
        if after == before:
            break
        before = after
    else:
        raise BuildError(f"the page numbers of {tex} do not settle within {PASSES} passes of xelatex.")
    done = _tool(["xdvipdfmx", "-q", "-o", "report.pdf", "report.xdv"], tex.parent)
    if done.returncode:
        raise BuildError(f"xdvipdfmx could not write the PDF: {done.stderr.strip()[-300:]}")
    log = tex.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
    faults = re.findall(r"(?:Reference|Hyper reference) `[^']+'.*?undefined", log)
    faults += re.findall(r"Label `[^']+' multiply defined|Missing character: .*", log)
    if faults:
        raise BuildError(f"the report is not sound: {'; '.join(dict.fromkeys(faults))} (see {tex}).")
    return tex.with_suffix(".pdf"), _wide_lines(log)


def _tool(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    settings = os.environ | {"max_print_line": "10000", "openout_any": "p", "TEXMFOUTPUT": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=settings, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
    )


def _xelatex(tex: Path) -> None:
    command = [
        "xelatex",
        "-no-shell-escape",
        "-interaction=nonstopmode",
        "-halt-on-error",
        "-file-line-error",
        "-no-pdf",
    ]
    done = _tool([*command, tex.name], tex.parent)
    if done.returncode:
        if shutil.disk_usage(tex.parent).free < 2**16:
            raise BuildError(f"no space is left in {tex.parent}: make room and run the same command.")
        absent = re.search(r"File `([^']+)' not found|font \"([^\"]+)\" cannot be", done.stdout)
        if absent:
            raise BuildError(f"LaTeX lacks {absent[1] or absent[2]}: {INSTALL}.")
        error = re.search(r"(?m)^(?:\S*\.tex:\d+: .*|! .*)(?:\n.*){0,3}", done.stdout)
        found = " ".join(error[0].split()) if error else done.stdout[-300:]
        raise BuildError(f"xelatex stopped: {found} (see {tex} and {tex.with_suffix('.log')})")


def _wide_lines(log: str) -> list[str]:
    """One sentence per overfull box, with its page."""
    found, page = [], 1
    for match in re.finditer(r"\[(\d+)(?=[\]\n<{ ])|Overfull \\hbox \(([\d.]+)pt too wide\) (.*)", log):
        if match[1]:
            page = int(match[1]) + 1
        elif float(match[2]) > OVERFULL:
            found.append(f"page {page}: {float(match[2]):.0f} pt too wide {match[3]} of report.tex")
    return found
