"""References and equations with the numbers of the report, as a reader of a notebook sees them.

Authors write [figure](#fig-x), [equation](#eq:x), \\label{eq:x}. `numbered` makes this [figure 3](#fig-x), [equation
(2)](#eq:x), \\label{eq:x}\\tag{2}, with anchors at the equations. `bare` takes that away again, for the report numbers
itself. The numbers are those that `make references` stored.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from nbformat import NotebookNode

TAG = "references"  # of the cell that lists the sources
NUMBERS = Path(__file__).with_name("numbers.json")
CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
WORD = "figure|table|chapter|section|appendix|equation"
# the words, the notebook, #label; or, in a link to another notebook, #cell-id=… "label"
LINK = r"\[([^\[\]]*)\]\((?:\./)?(\d\d_\w+\.ipynb)?(?:#(?:cell-id=[^()\s]+ \")?([^()\s\"]+)\"?)?\)"
ANCHOR = re.compile(r'<a id="(?:fig-|tab-|sec-|eq|cite-)[^"]*"></a>')
ENVIRONMENT = r"\\begin\{(equation|align|gather|multline)\}.*?\\end\{\1\}"
DISPLAY = re.compile(rf"\$\$.*?\$\$|{ENVIRONMENT}", re.DOTALL)
LABEL = re.compile(r"\\label\{([^{}]+)\}")


class Place(NamedTuple):
    """Where a label is: its number in the report, its notebook and the id of its cell, "" if only in the report."""

    number: str
    notebook: str
    cell: str = ""


Places = Mapping[str, Place]


@cache
def stored(path: Path = NUMBERS) -> Places:
    """The places of all labels, as `make references` stored them; without its file there are none."""
    if not path.exists():
        return {}
    tables = json.loads(path.read_text(encoding="utf-8"))
    entries = [(label, name, entry) for name, table in tables.items() for label, entry in table.items()]
    return {label: Place(entry.split()[0], name, "".join(entry.split()[1:])) for label, name, entry in entries}


def packed(places: Places) -> str:
    """The content of the file of `stored`: for each notebook its labels, with number and cell."""
    tables: dict[str, dict[str, str]] = {}
    for label, place in places.items():
        tables.setdefault(place.notebook, {})[label] = f"{place.number} {place.cell}".strip()
    return json.dumps(tables, indent=1) + "\n"


def this_notebook() -> str:
    """The file name of the notebook that runs, as far as JupyterLab or the build of the report say it."""
    return Path(os.environ.get("JPY_SESSION_NAME", "")).name


def shown(text: str) -> str:
    """Computed Markdown as JupyterLab shows it: with the stored numbers."""
    return numbered(text, stored(), this_notebook())


def title(kind: str, label: str) -> str:
    """What a caption begins with, "**Figure 3.** ", or "" if the label has no number."""
    place = stored().get(label)
    return f"**{kind} {place.number}.** " if place else ""


def anchor(label: str) -> str:
    """A place that [figure](#fig-x) leads to, in JupyterLab and in HTML."""
    return f'<a id="{label}"></a>'


def authored(notebook: NotebookNode) -> list[tuple[str, str]]:
    """The kind and the source of each cell as its author wrote it: without numbers, and without the list of sources."""
    cells = [cell for cell in notebook.cells if TAG not in cell.metadata.get("tags", [])]
    return [(c.cell_type, bare(c.source) if c.cell_type == "markdown" else c.source) for c in cells]


def bare(text: str) -> str:
    """The Markdown without numbers and anchors; `numbered` gives them back."""
    return _outside_code(text, _bare)


def numbered(text: str, places: Places, here: str = "") -> str:
    """The Markdown with the numbers of references and equations, and anchors at the equations.

    here: the notebook in which it stands; references to labels of others name their notebook. Where a label is unknown
    the text stays as it is. An article goes, as in the report: "The [figure](#fig-x)" is "[Figure 3](#fig-x)".
    """

    def with_numbers(part: str) -> str:
        part = re.sub(r"(?:\b([Ee]quation)\s+)?\$\\eqref\{([^{}]+)\}\$", r"[\1](#\2)", _bare(part))
        part = re.sub(
            rf"(?:\b(?P<article>[Tt])he\s+(?=\[(?i:{WORD})\]))?{LINK}", lambda m: _link(m, places, here), part
        )
        return _equations(part, places)

    return _outside_code(text, with_numbers)


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    parts = CODE.split(text)
    return "".join(part if number % 2 else change(part) for number, part in enumerate(parts))


def _bare(text: str) -> str:
    text = ANCHOR.sub("", text)
    text = re.sub(r"(\\label\{[^{}]+\})\\tag\{[^{}]*\}", r"\1", text)
    return re.sub(LINK, _bare_link, text)


def _bare_link(link: re.Match) -> str:
    words, notebook, label = link.groups()
    if not (notebook or label) or (label or "").startswith("cite-"):
        return link[0]
    if (label or "").startswith("eq") and re.fullmatch(r"(?:\(\d+\))?", words):
        return rf"$\eqref{{{label}}}$"
    if found := re.fullmatch(rf"({WORD})\s+\(?[A-Z]?[\d.]*\)?", words, re.IGNORECASE):
        words = found[1]
    return f"[{words}]({f'#{label}' if label else notebook})"


def _link(link: re.Match, places: Places, here: str) -> str:
    article, words, notebook, label = link.groups()
    place = places.get(label or f"sec-{(notebook or '').removesuffix('.ipynb')[3:]}")
    if not place:
        return link[0] if words else rf"$\eqref{{{label}}}$"
    target = f"#{label}" if label else notebook
    if label and here and place.notebook not in ("", here):  # in a notebook that it must open, JupyterLab finds cells
        target = f'{place.notebook}#cell-id={place.cell} "{label}"'
    number = f"({place.number})" if (label or "").startswith("eq") else place.number
    if not words:
        return f"[{number}]({target})"
    if re.fullmatch(WORD, words, re.IGNORECASE):
        words = f"{words.capitalize() if article == 'T' else words} {number}"
    return f"[{words}]({target})"


def _equations(text: str, places: Places) -> str:
    """Each displayed equation that has a known label with its number, behind an anchor."""
    done, last = "", 0
    for equation in DISPLAY.finditer(text):
        known = [label for label in LABEL.findall(equation[0]) if label in places]
        anchors = "".join(map(anchor, known))
        before = text[last : equation.start()]
        if re.search(r"[\w.,:;)*]\s*\Z", before):  # at the end of the sentence before, which one sees after a jump
            ending = before[len(before.rstrip()) :]
            done += before.rstrip() + anchors + ending
        else:
            done += before + anchors
        done += LABEL.sub(lambda m: m[0] + (rf"\tag{{{places[m[1]].number}}}" if m[1] in places else ""), equation[0])
        last = equation.end()
    return done + text[last:]
