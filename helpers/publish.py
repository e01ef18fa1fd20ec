"""What a notebook puts into the report: figures and tables with captions, numbers in prose, answers, checks, sources.

Each function shows its output in JupyterLab and marks it with metadata {"report": {"kind": …}}, which `report/build.py`
turns into LaTeX.
"""

import ast
import base64
import html
import inspect
import io
import math
import textwrap
from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import publish_display_data
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from helpers.film import film_html


def _publish(data: dict, kind: str, **facts) -> None:
    publish_display_data(data, metadata={"report": {"kind": kind, **facts}})


def say(text: str) -> None:
    """Markdown prose whose numbers were computed: `say(f"The rate is {rate:.2f} nats.")`."""
    _publish({"text/markdown": inspect.cleandoc(text), "text/plain": text}, "prose")


def answer(question: str, text: str, number: str = "") -> None:
    """The short answer to a question ("RD-a"), shown in a box and in the report's opening list.

    text: Markdown of one to three sentences. number: the headline number, as it is to be printed there.
    """
    text = inspect.cleandoc(text)
    shown = f"> **Answer to {question}.** {text}"
    _publish({"text/markdown": shown, "text/plain": text}, "answer", question=question, text=text, number=number)


def figure(fig: Figure, label: str, caption: str, width: float = 1.0) -> None:
    """Show and close a figure: vector in the PDF, crisp pixels here. Refer to it as `[figure](#fig-label)`.

    label: "fig-…". caption: Markdown that states the finding. width: as a share of the text's width.
    """
    if not label.startswith("fig-"):
        raise ValueError(f"a figure's label must start with 'fig-', not {label!r}.")
    caption = inspect.cleandoc(caption)
    png, pdf = io.BytesIO(), io.BytesIO()
    fig.savefig(png, format="png")
    fig.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    inches = fig.get_size_inches()[0]
    plt.close(fig)
    small = io.BytesIO()  # 256 colours are enough for a figure, and half the bytes
    Image.open(png).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    picture = f"data:image/png;base64,{base64.b64encode(small.getvalue()).decode()}"
    shown = (
        f'<figure id="{label}" style="margin: 0"><img src="{picture}" alt="{html.escape(caption)}" '
        f'style="width: {inches * 110:.0f}px; max-width: 100%"><figcaption>{html.escape(caption)}</figcaption></figure>'
    )
    data = {"text/html": shown, "application/pdf": base64.b64encode(pdf.getvalue()).decode(), "text/plain": caption}
    _publish(data, "figure", label=label, caption=caption, width=width)


def film(frames: dict[str, Tensor], caption: str, axis: str = "frame", names: Sequence[str] | None = None) -> None:
    """Show strips of images under one slider, here and in the report's HTML page; the PDF leaves it out.

    frames: for each strip its images (T, N, 28, 28) or (T, R, N, 28, 28) in [−1, 1]; axis: what T counts; names: what
    each frame is. See `film_html`.
    """
    caption = inspect.cleandoc(caption)
    below = f"<figcaption>{html.escape(caption)}</figcaption>"
    shown = f'<figure style="margin: 0">{film_html(frames, axis, names)}{below}</figure>'
    _publish({"text/html": shown, "text/plain": caption}, "film", caption=caption)


def table(frame: pd.DataFrame, label: str, caption: str) -> None:
    """Show a table; its index is the first column. Refer to it as `[table](#tab-label)`.

    frame: cells already formatted as Markdown strings (so that each number has the digits it deserves).
    """
    if not label.startswith("tab-"):
        raise ValueError(f"a table's label must start with 'tab-', not {label!r}.")
    caption = inspect.cleandoc(caption)
    rows = [[frame.index.name or "", *map(str, frame.columns)]]
    rows += [[str(name), *map(str, row)] for name, row in zip(frame.index, frame.to_numpy(), strict=True)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|:--" + "|--:" * len(frame.columns) + "|")
    grid = "\n".join(lines)
    shown = f"{grid}\n\n*{caption}*"
    _publish({"text/markdown": shown, "text/plain": grid}, "table", label=label, caption=caption, grid=grid)


def mean_std(values: Iterable[float]) -> str:
    """'mean ± standard deviation' of several values, to the deviation's second digit; of one value just that."""
    values = np.asarray(list(values), dtype=float)
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    if deviation == 0:
        return f"{values.mean():.3g}"
    decimals = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{values.mean():.{decimals}f} ± {deviation:.{decimals}f}"


def check(name: str, computed: float, expected: float, tolerance: float, relative: bool = False) -> None:
    """Hold a computed number against its exact value: prints one line, raises AssertionError if it is off.

    tolerance: absolute, or a share of `expected` if `relative`.
    """
    computed, expected = float(computed), float(expected)
    allowed = float(tolerance * abs(expected) if relative else tolerance)
    passed = math.isfinite(computed) and bool(abs(computed - expected) <= allowed)
    line = f"{name}: computed {computed:.6g}, expected {expected:.6g}, tolerance {allowed:.2g}"
    facts = {"name": name, "computed": computed, "expected": expected, "tolerance": allowed, "passed": passed}
    _publish({"text/plain": f"{'✓' if passed else '✗'} {line}"}, "check", **facts)
    if not passed:
        raise AssertionError(f"check failed: {line}.")


def source(*things: object) -> None:
    """Show the very source of functions, methods or classes that ran; of a docstring only the first line."""
    code = "\n\n".join(_brief(textwrap.dedent(inspect.getsource(thing)).rstrip()) for thing in things)
    _publish({"text/markdown": f"```python\n{code}\n```", "text/plain": code}, "source")


def _brief(code: str) -> str:
    lines = code.splitlines()
    nodes = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    docstrings = [node.body[0] for node in nodes if ast.get_docstring(node)]
    for text in sorted(docstrings, key=lambda text: -text.lineno):  # from the end, so that line numbers hold
        if text.end_lineno > text.lineno:
            lines[text.lineno - 1 : text.end_lineno] = [lines[text.lineno - 1] + '"""']
    return "\n".join(lines)
