"""From the merged notebook to one HTML file that holds all that it needs."""

import html
import re
from collections.abc import Iterable
from pathlib import Path

import fonts
import hypertext
import nbformat
import numbering
import tree
from errors import BuildError
from nbconvert.exporters import TemplateExporter
from pygments.formatters import HtmlFormatter

HERE = Path(__file__).resolve().parent


class PageExporter(TemplateExporter):
    """nbconvert's exporter with the template in report/page; HTMLExporter would parse the whole page once more."""

    file_extension = ".html"


def write_html(notebook: nbformat.NotebookNode, folder: Path) -> Path:
    """report.html in `folder`; raises BuildError if a text is unsound or a link leads nowhere."""
    answers = notebook.metadata.report.answers
    texts = [text for cell in notebook.cells for text in numbering.texts(cell)]
    trees = tree.read(texts + [answer[key] for answer in answers for key in ("brief", "number")])
    numbers = numbering.count(notebook, trees)
    prose = hypertext.convert(trees, numbers)
    exporter = PageExporter(template_name="page", extra_template_basedirs=[str(HERE)])
    filters = {"prose": prose.__getitem__, "line": lambda text: _line(prose[text]), "number": hypertext.number}
    filters |= {"plain": lambda text: html.escape(str(text)), "code": hypertext.highlight}
    filters |= {"picture": _picture, "image": _image}
    for name, function in filters.items():
        exporter.register_filter(name, function)
    style = HtmlFormatter(style="friendly", cssclass="code").get_style_defs()
    body, _ = exporter.from_notebook_node(
        notebook,
        {
            "report": notebook.metadata.report,
            "numbers": numbers,
            "style": style,
            "sources": _bibliography(prose.values()),
        },
    )
    body = body.replace("/* fonts */", fonts.formulas(body)).replace("<!-- contents -->", _contents(body))
    _refuse_faults(body)
    target = folder / "report.html"
    target.write_text(body, encoding="utf-8")
    return target


def _line(text: str) -> str:
    """A text of one paragraph, without the paragraph."""
    return text.removeprefix("<p>").removesuffix("</p>")


def _picture(shown: str, caption: str) -> str:
    """What a notebook shows of a film before its caption."""
    return shown[shown.index(">") + 1 : shown.index("<figcaption>")]


def _image(png: str, caption: str) -> str:
    """A figure's picture; the caption (HTML) begins with what it says."""
    first = re.split(r"(?<=[.:;])\s", " ".join(html.unescape(re.sub(r"<[^>]+>", "", caption)).split()))[0]
    return f'<img src="data:image/png;base64,{"".join(png.split())}" alt="{html.escape(first)}">'


def _contents(body: str) -> str:
    """A link to each chapter and each question."""
    headings = re.findall(r'<h([23])[^>]* id="(sec-[^"]+)"[^>]*>(.*?)</h', body, re.DOTALL)
    return "\n".join(f'<li class="level{n}"><a href="#{label}">{words}</a></li>' for n, label, words in headings)


def _bibliography(texts: Iterable[str]) -> str:
    """The entries of references.bib that the texts cite, by pandoc."""
    keys = sorted({key for text in texts for key in re.findall(r'href="#cite-([^"]+)"', text)})
    nocite = "---\nnocite: '" + " ".join(f"@{key}" for key in keys) + "'\n---\n"
    options = ("--from=markdown", "--to=html", "--citeproc", f"--bibliography={HERE}/references.bib")
    return tree.pandoc(nocite, *options).replace('id="ref-', 'id="cite-')


def _refuse_faults(body: str) -> None:
    """Links inside the page that lead nowhere."""
    lost = set(re.findall(r'href="#([^"]+)"', body)) - set(re.findall(r'\bid="([^"]+)"', body))
    if lost:
        raise BuildError(f"the page refers to {', '.join(sorted(lost))}, which it does not have.")
