"""Functions for what a notebook prints in the report: figures, tables, computed prose, answers, checks, source code.

Each function shows its output in JupyterLab, with the report's numbers (see `references`), and marks it with metadata
{"report": {"kind": …}}, which `report/build.py` converts to LaTeX and HTML. A sentence or a check that depends on data
and does not hold in this run is marked as such, here and in the report, which is then only a draft; only a check of an
exact identity stops the notebook.
"""

import ast
import base64
import dis
import inspect
import io
import linecache
import math
import re
import textwrap
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import publish_display_data
from ipywidgets import VBox
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from helpers.show import references
from helpers.show.play import Play
from helpers.show.strips import Curve, Film, display_live

NOT_CONFIRMED = "⚠ Not confirmed in this run:"
BOX = '<div class="alert alert-block alert-danger">\n\n{}\n\n</div>'  # JupyterLab shows it red, nbconvert too
BLOCK = re.compile(r"\s*([-*+] |\d+[.)] |[|>#]|\$\$|```)")  # Markdown that cannot be struck through as one paragraph
ALTERNATIVES = tomllib.loads(Path(__file__).with_name("alternatives.toml").read_text(encoding="utf-8"))
_refuted: dict[str, str] = {}  # what was marked as not confirmed, and the condition that is false


def _publish(data: dict, kind: str, **facts) -> None:
    publish_display_data(data, metadata={"report": {"kind": kind, **facts}})


def _checked(label: str, start: str, caption: str) -> str:
    if not label.startswith(start):
        raise ValueError(f"this label must start with {start!r}, not {label!r}.")
    return _prose(caption)


def _prose(text: str) -> str:
    """Markdown without the indentation of its source, in which no wrapped line that begins with a number is a list."""
    lines = inspect.cleandoc(text).split("\n")
    for number in range(1, len(lines)):
        before = lines[number - 1]
        if before.strip() and not BLOCK.match(before):
            lines[number] = re.sub(r"^(\s*\d+)([.)])(?=\s|$)", r"\1\\\2", lines[number])
    return "\n".join(lines)


def _shown(text: str, form: str = "{}") -> str:
    """Markdown as JupyterLab shows it: with numbers and, where it is not confirmed, in a red box with the condition."""
    whole = form.format(references.shown(text))
    if NOT_CONFIRMED not in text:
        return whole
    words = _plain(text)
    false = [f"This is false: `{condition}`" for sentence, condition in _refuted.items() if _plain(sentence) in words]
    return BOX.format("\n\n".join([whole, *dict.fromkeys(false)]))


def _plain(text: str) -> str:
    """The words, however their lines are wrapped."""
    return " ".join(re.sub(r"\\([.)])", r"\1", text).split())


def say(text: str) -> None:
    """Print Markdown prose with computed numbers: `say(f"The rate is {rate:.2f} nats.")`."""
    prose = _prose(text)
    _publish({"text/markdown": _shown(prose), "text/plain": text}, "prose", text=prose)


def answer(question: str, text: str, brief: str) -> None:
    """Give the answer to a question ("RD-a"), which the report prints in a box directly below the question.

    text: the answer in Markdown; in the report it begins with the verdict, if a cell with that tag stands below the
    question. brief: the answer in one or two sentences, for the table on the first page.
    """
    text, brief = _prose(text), _prose(brief)
    if NOT_CONFIRMED in text and NOT_CONFIRMED not in brief:  # it states the same
        brief = not_confirmed(brief)
    shown = _shown(text, f"**Answer to {question}.** {{}}")
    if NOT_CONFIRMED not in text:  # else it has a box
        one_line = re.sub(r"(?<!\n)\n(?!\n)", " ", shown)  # a > within a formula would be part of it
        shown = re.sub(r"(?m)^", "> ", one_line)
    _publish({"text/markdown": shown, "text/plain": text}, "answer", question=question, text=text, brief=brief)


def claim(sentence: str, condition: bool) -> None:
    """Print a conclusion that depends on data, together with the condition under which it is true (see `holds`)."""
    say(_guarded(sentence, condition, inspect.currentframe().f_back))


def holds(sentence: str, condition: bool) -> str:
    """Return the sentence, for a caption or an answer; if the condition is false, marked as `not_confirmed`.

    A full report with such a sentence is only a draft, written beside the previous report.
    """
    return _guarded(sentence, condition, inspect.currentframe().f_back)


def _guarded(sentence: str, condition: bool, caller: FrameType) -> str:
    """The sentence, marked if the condition is false; `_shown` adds the condition, in the caller's words, below it."""
    if condition:
        return sentence
    sentence = inspect.cleandoc(sentence)
    words, marked = _condition(caller), not_confirmed(sentence)
    _refuted[marked] = words
    plain = f"✗ {NOT_CONFIRMED} {sentence} (false: {words})"
    _publish({"text/markdown": "", "text/plain": plain}, "refuted", sentence=sentence, condition=words)
    return marked


def _condition(caller: FrameType) -> str:
    """The source of the condition in the call that the caller is in, or "its condition" if the source is not known."""
    here = _place(inspect.getframeinfo(caller).positions)
    tree = ast.parse("".join(linecache.getlines(caller.f_code.co_filename)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _place(node) == here:
            if len(node.args) > 1:  # the sentence, then the condition
                return ast.unparse(node.args[1])
            for argument in node.keywords:
                if argument.arg == "condition":
                    return ast.unparse(argument.value)
    return "its condition"


def _place(node: ast.AST | dis.Positions) -> tuple[int, int, int, int]:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def not_confirmed(text: str) -> str:
    """Markdown in which the text is struck through behind the words "not confirmed in this run"."""
    parts = re.split(r"\n{2,}", text)
    struck = [part if BLOCK.match(part) else f"~~{part.strip()}~~" for part in parts]
    return f"**{NOT_CONFIRMED}** " + "\n\n".join(struck)


def figure(fig: Figure, label: str, caption: str, width: float = 1.0) -> None:
    """Show and close a figure, with vector graphics in the PDF and pixels here. Refer to it as `[figure](#fig-label)`.

    label: "fig-…". caption: Markdown that states the finding. width: a fraction of the text's width. What is seen, for
    those who do not see it, stands in alternatives.toml.
    """
    caption, alt = _checked(label, "fig-", caption), ALTERNATIVES.get(label, "")
    png, pdf, small = io.BytesIO(), io.BytesIO(), io.BytesIO()
    fig.savefig(png, format="png")
    fig.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    inches = fig.get_size_inches()[0]
    plt.close(fig)
    # 256 colours are enough for a figure, and half the bytes
    Image.open(png).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    pixels, vectors = (base64.b64encode(buffer.getvalue()).decode() for buffer in (small, pdf))
    data = {"image/png": pixels, "application/pdf": vectors, "text/plain": caption}
    facts = {"kind": "figure", "label": label, "caption": caption, "width": width} | ({"alt": alt} if alt else {})
    size = {"width": round(inches * 110), "alt": alt or caption}
    publish_display_data({"text/markdown": references.anchor(label)})
    publish_display_data(data, metadata={"report": facts, "image/png": size})
    publish_display_data({"text/markdown": _shown(caption, f"{references.title('Figure', label)}*{{}}*")})


def film(
    frames: dict[str, Tensor],
    caption: str,
    axis: str = "frame",
    names: Sequence[str] | None = None,
    fig: Figure | None = None,
    curves: Sequence[Curve] = (),
    first: int | None = None,
    still: str | None = None,
    rows: Sequence[str] = (),
    columns: int | None = None,
) -> None:
    """Show strips of images with one slider, here and on the report's HTML page, but not in the PDF.

    frames: the images (T, N, h, w) or (T, R, N, h, w) of each strip, in [−1, 1]; axis: what T counts; names: a text
    for each frame; fig: a figure with curves along which points move; first: the first frame, the middle one by
    default; still: the label of the figure that prints frames of this film; rows: labels of rows;
    columns: the number of strips side by side. See `strips.Film`.
    """
    shown = Film(frames, axis, names, fig, curves, first=first, rows=rows, columns=columns)
    caption = _display_live("film", shown.widget(), shown.page(), caption, still)
    origin = f"Film of [figure](#{still}). " if still else ""
    publish_display_data({"text/markdown": _shown(origin + caption, "*{}*")})


def play(shown: Play, caption: str, still: str | None = None) -> None:
    """Show a figure that decodes live, here with the kernel and on the report's HTML page without, but not in the PDF.

    still: the label of the figure that stands for it in the PDF. See `bend.Bend` and `pad.Pad`.
    """
    caption = _display_live("play", VBox([shown.widget()]), shown.page(), caption, still)
    publish_display_data({"text/markdown": _shown(caption, "*{}*")})


def _display_live(kind: str, box: VBox, page: str, caption: str, still: str | None) -> str:
    """Show widgets, for which `page` stands on the report's HTML page; its caption as Markdown."""
    caption = _checked(still, "fig-", caption) if still else _prose(caption)
    facts = {"kind": kind, "caption": caption} | ({"still": still} if still else {})
    display_live(box, page, caption, {"report": facts})
    return caption


def table(
    frame: pd.DataFrame,
    label: str,
    caption: str,
    formats: str | dict[str, str] = ".3g",
    errors: pd.DataFrame | None = None,
    side: str = "--:",
) -> None:
    """Show a table of numbers whose index is the first column. Refer to it as `[table](#tab-label)`.

    frame: numbers, or strings, which are printed unchanged; cells with None or NaN stay empty. formats: one for all
    numbers, or by the name of a column or row: ".2f", ".0%", …; "auto" is `mean_error`; ".3g ± .1g" formats value and
    error separately. errors: of the same shape, printed as "± error" unless NaN. side: ":--" aligns columns left.
    """
    caption = _checked(label, "tab-", caption)
    shown = frame.astype(object).copy()
    for i, j in np.ndindex(frame.shape):
        row, column = frame.index[i], frame.columns[j]
        form = formats if isinstance(formats, str) else formats.get(column, formats.get(row, ".3g"))
        shown.iat[i, j] = _cell(frame.iat[i, j], form, math.nan if errors is None else errors.iat[i, j])
    header = _row([frame.index.name or "", *frame.columns])
    alignment = "|".join(["", ":--", *[side] * len(frame.columns), ""])
    grid = "\n".join([header, alignment, *(_row(row) for row in shown.itertuples())])
    title = f"{references.anchor(label)}{references.title('Table', label)}*{{}}*"
    data = {"text/markdown": f"{_shown(caption, title)}\n\n{references.shown(grid)}", "text/plain": grid}
    _publish(data, "table", label=label, caption=caption, grid=grid)


def _row(cells: Iterable[object]) -> str:
    """A row of a table in Markdown."""
    words = [str(cell).replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(words) + " |"


def _cell(value: object, form: str, error: float) -> str:
    if isinstance(value, str) or pd.isna(value):
        return value if isinstance(value, str) else ""
    if form == "auto":
        return mean_error(value, error)
    form, _, error_form = form.partition(" ± ")
    return _digits(value, form) + ("" if pd.isna(error) else f" ± {_digits(error, error_form or form.lstrip('+'))}")


def _digits(value: float, form: str) -> str:
    """The formatted number, but 1024 in place of 1.02e+03: large numbers of up to six digits have no exponent."""
    text = f"{value:{form}}"
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e6 else text


def mean_error(mean: float, error: float) -> str:
    """'mean ± error', both to the error's second digit; only the mean, to three digits, if the error is 0 or NaN."""
    if not error > 0:
        return _digits(mean, ".3g")
    if math.isinf(error):
        return f"{_digits(mean, '.3g')} ± ∞"
    error = float(f"{error:.1e}")  # before its digits are counted: 0.0996 becomes 0.10
    places = 1 - int(f"{error:.1e}".partition("e")[2])  # of the second digit behind the point, negative before it
    return " ± ".join(f"{round(number, places):.{max(0, places)}f}" for number in (mean, error))


def mean_std(values: Iterable[float]) -> str:
    """'mean ± standard deviation' of several values, rounded to the deviation's second digit; one value stays alone."""
    values = np.asarray(list(values), dtype=float)
    return mean_error(values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0)


def check(
    name: str, computed: float, expected: float, tolerance: float, relative: bool = False, exact: bool = True
) -> None:
    """Compare a computed number with its exact value, and print one line.

    tolerance: an absolute tolerance, or a fraction of `expected` if `relative`. exact: whether the two must agree
    whatever data, seeds and trained models are; if they do not, AssertionError is raised. Without `exact`, the line is
    marked "not confirmed in this run", and the report is only a draft.
    """
    computed, expected = float(computed), float(expected)
    allowed = float(tolerance * abs(expected) if relative else tolerance)
    passed = math.isfinite(computed) and bool(abs(computed - expected) <= allowed)
    line = f"{name}: computed {computed:.6g}, expected {expected:.6g}, tolerance {allowed:.2g}"
    _verdict(line, passed, exact, {"name": name, "computed": computed, "expected": expected, "tolerance": allowed})


def check_interval(name: str, computed: float, low: float, high: float, exact: bool = False) -> None:
    """Check that a computed number lies in [low, high], and print one line.

    exact: whether it must lie there whatever the data are, as in `check`; most intervals are for measured numbers.
    """
    computed, low, high = float(computed), float(low), float(high)
    line = f"{name}: computed {computed:.4g}, in [{low:.4g}, {high:.4g}]"
    facts = {"name": name, "computed": computed, "expected": [low, high], "tolerance": None}
    _verdict(line, low <= computed <= high, exact, facts)


def _verdict(line: str, passed: bool, exact: bool, facts: dict) -> None:
    shown = {"text/plain": f"{'✓' if passed else '✗'} {line}"}
    if not passed:
        facts["text"] = not_confirmed(re.sub(r"([\\`*_\[\]<>~$|])", r"\\\1", line))
        shown["text/markdown"] = _shown(facts["text"])
    _publish(shown, "check", **facts, passed=passed)
    if exact and not passed:
        raise AssertionError(f"check failed: {line}.")


def source(*things: object) -> None:
    """Show the source of functions, methods or classes as it ran, with only the first line of each docstring."""
    text = "\n\n".join(map(code, things))
    _publish({"text/markdown": f"```python\n{text}\n```", "text/plain": text}, "source")


def code(thing: object) -> str:
    """The source of a function, a method or a class as `source` shows it."""
    return brief(textwrap.dedent(inspect.getsource(thing)).rstrip())


def brief(code: str) -> str:
    """Python code with only the first line of each docstring."""
    lines = code.splitlines()
    nodes = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    docstrings = [node.body[0] for node in nodes if ast.get_docstring(node)]
    for text in sorted(docstrings, key=lambda text: -text.lineno):  # from the end, so that line numbers hold
        if text.end_lineno > text.lineno:
            lines[text.lineno - 1 : text.end_lineno] = [lines[text.lineno - 1] + '"""']
    return "\n".join(lines)
