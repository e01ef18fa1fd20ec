"""From the merged notebook to the PDF: nbconvert, BibTeX, XeLaTeX."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import nbformat
import prose
from errors import BuildError
from nbconvert.exporters import LatexExporter
from pygments.formatters import LatexFormatter
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
NEEDED = ("xelatex", "bibtex", "pandoc", "kpsewhich")
INSTALL = "run `make setup` as root, or ask for the Debian packages that `make setup` names"
PASSES = 6
OVERFULL = 5.0  # points that nobody sees


def check_tools(needed: Sequence[str] = NEEDED) -> None:
    """Raise BuildError if a program is missing."""
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        raise BuildError(f"{', '.join(missing)} not found, which the report needs: {INSTALL}.")


def write_latex(notebook: nbformat.NotebookNode, folder: Path) -> Path:
    """report.tex, its figures and its bibliography in `folder`."""
    texts: list[str] = []
    _export(notebook, lambda text: texts.append(text) or "")  # once to learn all texts, so that pandoc runs once
    latex = prose.convert(texts)
    body, resources = _export(notebook, latex.__getitem__)
    for name, content in resources["outputs"].items():
        (folder / name).write_bytes(content)
    (folder / "report.tex").write_text(body, encoding="utf-8")
    shutil.copyfile(HERE / "references.bib", folder / "references.bib")
    return folder / "report.tex"


def _export(notebook: nbformat.NotebookNode, latex) -> tuple[str, dict]:
    settings = Config({"ExtractAttachmentsPreprocessor": {"enabled": True}})
    exporter = LatexExporter(settings, template_name="template", extra_template_basedirs=[str(HERE)])
    filters = {"latex": latex, "plain": prose.escape, "number": prose.number, "code": prose.highlight}
    for name, function in filters.items():
        exporter.register_filter(name, function)
    style = LatexFormatter(style="friendly").get_style_defs()
    resources = {"unique_key": "output", "style": style, "report": notebook.metadata.report}
    return exporter.from_notebook_node(notebook, resources)


def make_pdf(tex: Path) -> tuple[Path, list[str]]:
    """The PDF of `tex` and a warning for each line too wide; raises BuildError for anything else that is wrong."""
    for suffix in (".aux", ".toc", ".out", ".bbl", ".pdf", ".log"):
        tex.with_suffix(suffix).unlink(missing_ok=True)
    _bibliography(tex)
    before = None
    for _ in range(PASSES):
        _xelatex(tex, "-no-pdf")
        after = [tex.with_suffix(suffix).read_bytes() for suffix in (".aux", ".toc")]
        if after == before:
            break
        before = after
    else:
        raise BuildError(f"the page numbers of {tex} do not settle within {PASSES} passes of xelatex.")
    _xdvipdfmx(tex)
    log = tex.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
    _refuse_faults(log, tex)
    return tex.with_suffix(".pdf"), _wide_lines(log)


def _bibliography(tex: Path) -> None:
    """Write the .bbl before the first pass: the keys are already known."""
    keys = sorted(set(re.findall(r"\\cite(?:t|alt)(?:\[[^]]*\])?\{([^}]+)\}", tex.read_text(encoding="utf-8"))))
    known = set(re.findall(r"(?m)^@\w+\{([^,\s]+)", (HERE / "references.bib").read_text(encoding="utf-8")))
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise BuildError(f"report/references.bib has no entry {', '.join(unknown)}, which a notebook cites.")
    lines = [rf"\citation{{{key}}}" for key in keys] + [r"\bibstyle{plainnat}", r"\bibdata{references}"]
    tex.with_suffix(".aux").write_text("\n".join(lines) + "\n")
    done = _tool(["bibtex", "report"], tex.parent)
    wrong = [line for line in done.stdout.splitlines() if line.startswith(("Warning--", "I couldn't")) or "---" in line]
    if keys and (done.returncode or wrong):
        raise BuildError(f"bibtex objects to report/references.bib: {'; '.join(wrong)}")
    tex.with_suffix(".aux").unlink()


def _tool(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    settings = os.environ | {"max_print_line": "10000", "openout_any": "p", "TEXMFOUTPUT": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=settings, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
    )


def _xelatex(tex: Path, *options: str) -> None:
    command = ["xelatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error"]
    done = _tool([*command, *options, tex.name], tex.parent)
    if done.returncode:
        if shutil.disk_usage(tex.parent).free < 2**16:
            raise BuildError(f"no space is left in {tex.parent}: make room and run the same command.")
        absent = re.search(r"File `([^']+)' not found|font \"([^\"]+)\" cannot be", done.stdout)
        if absent:
            raise BuildError(f"LaTeX lacks {absent[1] or absent[2]}: {INSTALL}.")
        error = re.search(r"(?m)^(?:\S*\.tex:\d+: .*|! .*)(?:\n.*){0,3}", done.stdout)
        found = " ".join(error[0].split()) if error else done.stdout[-300:]
        raise BuildError(f"xelatex stopped: {found} (see {tex} and {tex.with_suffix('.log')})")


def _xdvipdfmx(tex: Path) -> None:
    done = _tool(["xdvipdfmx", "-q", "-o", "report.pdf", "report.xdv"], tex.parent)
    if done.returncode:
        raise BuildError(f"xdvipdfmx could not write the PDF: {done.stderr.strip()[-300:]}")


def _refuse_faults(log: str, tex: Path) -> None:
    """Undefined references and citations, labels given twice, characters that no font had."""
    faults = re.findall(r"(?:Reference|Citation|Hyper reference) `[^']+'.*?undefined", log)
    faults += re.findall(r"Label `[^']+' multiply defined", log)
    faults += re.findall(r"Missing character: .*", log)
    if faults:
        raise BuildError(f"the report is not sound: {'; '.join(dict.fromkeys(faults))} (see {tex}).")


def _wide_lines(log: str) -> list[str]:
    """One sentence per overfull box, with its page."""
    found, page = [], 1
    for match in re.finditer(r"\[(\d+)(?=[\]\n<{ ])|Overfull \\hbox \(([\d.]+)pt too wide\) (.*)", log):
        if match[1]:
            page = int(match[1]) + 1
        elif float(match[2]) > OVERFULL:
            found.append(f"page {page}: {float(match[2]):.0f} pt too wide {match[3]} of report.tex")
    return found
