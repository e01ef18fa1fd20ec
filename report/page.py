"""From the merged notebook to one HTML file that holds all it needs: formulas, fonts, figures, films and sources."""

import base64
import contextlib
import functools
import html
import io
import re
import subprocess
import unicodedata
from pathlib import Path

import hypertext
import nbformat
import numbering
import tree
from errors import BuildError
from fontTools import subset
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
    filters |= {"plain": lambda text: html.escape(str(text)), "code": hypertext.highlight, "picture": _picture}
    for name, function in filters.items():
        exporter.register_filter(name, function)
    style = HtmlFormatter(style="friendly", cssclass="code").get_style_defs()
    body, _ = exporter.from_notebook_node(
        notebook,
        {"report": notebook.metadata.report, "numbers": numbers, "style": style, "sources": _bibliography()},
    )
    body = body.replace("/* fonts */", _fonts(body)).replace("<!-- contents -->", _contents(body))
    _refuse_faults(body)
    target = folder / "report.html"
    target.write_text(body, encoding="utf-8")
    return target


def _line(text: str) -> str:
    """A text of one paragraph, without the paragraph."""
    return text.removeprefix("<p>").removesuffix("</p>")


def _picture(shown: str, caption: str) -> str:
    """What a notebook shows of a figure or film before its caption; the caption (HTML) begins with what it says."""
    inside = shown[shown.index(">") + 1 : shown.index("<figcaption>")]
    first = re.split(r"(?<=[.:;])\s", " ".join(html.unescape(re.sub(r"<[^>]+>", "", caption)).split()))[0]
    return re.sub(r'alt="[^"]*" style="[^"]*"', lambda _: f'alt="{html.escape(first)}"', inside)


def _contents(body: str) -> str:
    """A link to each chapter and each question."""
    headings = re.findall(r'<h([23])[^>]* id="(sec-[^"]+)"[^>]*>(.*?)</h', body, re.DOTALL)
    return "\n".join(f'<li class="level{level}"><a href="#{label}">{words}</a></li>' for level, label, words in headings)


def _bibliography() -> str:
    """All entries of references.bib, by pandoc."""
    entries = tree.pandoc(
        "---\nnocite: '@*'\n---\n", "--from=markdown", "--to=html", "--citeproc", f"--bibliography={HERE}/references.bib"
    )
    return entries.replace('id="ref-', 'id="cite-')


def _refuse_faults(body: str) -> None:
    """Links inside the page that lead nowhere."""
    lost = set(re.findall(r'href="#([^"]+)"', body)) - set(re.findall(r'\bid="([^"]+)"', body))
    if lost:
        raise BuildError(f"the page refers to {', '.join(sorted(lost))}, which it does not have.")


@functools.cache
def _font_file(name: str) -> str:
    """Where TeX keeps a font, or "" without TeX."""
    try:
        return subprocess.run(["kpsewhich", name], capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def _fonts(body: str) -> str:
    """The PDF's font for formulas, as far as the page uses it; without TeX the reader's own has to do."""
    formulas = "".join(re.findall(r"<math.*?</math>", body, re.DOTALL))
    path = _font_file("texgyretermes-math.otf")
    if not path:
        return ""
    options = subset.Options(flavor="woff", layout_features=["*"])
    options.drop_tables += ["FFTM"]
    font = subset.load_font(path, options)
    chooser = subset.Subsetter(options)
    letters = html.unescape(re.sub(r"<[^>]+>", "", formulas))
    chooser.populate(text=letters + _italics(letters))
    chooser.subset(font)
    buffer = io.BytesIO()
    subset.save_font(font, buffer, options)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"@font-face {{ font-family: Formulas; src: url(data:font/woff;base64,{data}); }}"


def _italics(text: str) -> str:
    """The italic forms of letters: a browser sets a variable of one letter in them."""
    found = "ℎ"
    for letter in set(text):
        with contextlib.suppress(KeyError):
            name = re.sub(r"^(?:LATIN|GREEK) (\w+) LETTER (\w+)$", r"MATHEMATICAL ITALIC \1 \2", unicodedata.name(letter, ""))
            found += unicodedata.lookup(name)
    return found
