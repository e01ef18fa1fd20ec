"""Images, curves and text with a slider: HTML for both the report's page and the notebooks, with strips.js."""

import base64
import html
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anywidget
import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

SCRIPT, STYLE = (Path(__file__).with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".js", ".css"))
Curve = tuple[Axes, Sequence[float], Sequence[float], str]  # axes, x and y at each frame, colour of the moving point


def film_html(
    strips: Mapping[str, Tensor], axis: str, names: Sequence[str] | None = None,
    fig: Figure | None = None, curves: Sequence[Curve] = (), side: int | None = None,
) -> str:  # fmt: skip
    """Strips of images side by side under one slider (keys work), with a play button and each frame's name.

    strips: titles and images in [−1, 1], (T, N, 28, 28) for one row of N images or (T, R, N, 28, 28) for R rows; T is 1
    if they do not change. axis: what the slider counts. names: a name for each frame (default: its number). fig: a
    figure with curves along which points move. side: the width of a digit on the screen, in pixels.
    Raises ValueError if strips, names or curves differ in length, or if there are no strips.
    """
    length = max(map(len, strips.values()), default=0)
    names = [f"{k} of {length}" for k in range(1, length + 1)] if names is None else list(names)
    others = {len(images) for images in strips.values()} - {1} | {len(names)} | {len(x) for _, x, _, _ in curves}
    if others != {length} or not length:
        raise ValueError(f"strips, names and curves of a film must have one length, not {sorted(others)}.")
    row = "".join(_strip(title, images, side) for title, images in strips.items()) + (
        _chart(fig, curves) if fig else ""
    )
    hidden = "" if length > 1 else " hidden"
    return (
        f'<style>{STYLE}</style><div class="film" data-names="{html.escape(json.dumps(names))}"><div>{row}</div><div>'
        f'<button type="button" aria-label="play or pause"{hidden}>▶</button>'
        f'<label{hidden}>{html.escape(axis)}<input type="range" min="0" max="{length - 1}" value="0"></label>'
        f'<output style="min-width: min(100%, {max(map(len, names))}ch)"></output></div></div>'
        f"<script>(() => {{\n{SCRIPT}\nplay(document.currentScript.previousElementSibling);\n}})();</script>"
    )


def choice(name: str, options: Sequence[str], images: Tensor | None = None, columns: int = 10) -> str:
    """A control whose value is the number of the chosen option; images (N, 1, 28, 28) are shown instead of names."""
    labels = ""
    for k, option in enumerate(map(html.escape, options)):
        shown, kind = (option, "word") if images is None else (_image(images[k], ""), "picture")
        radio = f'<input type="radio" name="{name}" value="{k}" aria-label="{option}">'
        labels += f'<label class="{kind}" title="{option}">{radio}{shown}</label>'
    width = "none" if images is None else f"{42 * columns}px"
    return f'<fieldset style="max-width: {width}"><legend>{name}</legend>{labels}</fieldset>'


def dial(name: str, limit: float) -> str:
    """A slider from −limit to limit."""
    slider = f'<input type="range" name="{name}" min="{-limit}" max="{limit}" step="0.05">'
    return f'<label class="dial">{name} {slider}</label>'


class Player(anywidget.AnyWidget):
    """Films below the controls of a notebook; when a control changes, `show(values)` returns their new HTML.

    controls: HTML of `choice`, `dial` and at most one button; when it is pressed, `press(player)` runs first. values:
    the value of each control by its name.
    """

    _esm, _css = SCRIPT + "\nexport default {render};", STYLE
    controls = traitlets.Unicode().tag(sync=True)
    films = traitlets.Unicode().tag(sync=True)
    values = traitlets.Dict().tag(sync=True, echo_update=False)  # an echo would move the slider back under the mouse

    def __init__(self, controls: str, values: dict, show: Callable[[dict], str], press: Callable | None = None):
        super().__init__(controls=controls, values=values)
        self.show = show
        self.observe(self.update, "values")
        self.on_msg(lambda *_: self.update(press=press))
        self.update()

    def update(self, _=None, press: Callable[["Player"], None] | None = None) -> None:
        """Show the films for the current values, or an error message, since a callback's traceback is not displayed."""
        try:
            if press:
                press(self)
            self.films = self.show(self.values)
        except Exception as error:
            self.films = f'<p role="status">This failed: {html.escape(str(error))}</p>'
        self.send("done")

    def _repr_mimebundle_(self, **options):
        """Without a kernel, for example on a page made from the notebook, the films are shown without the controls."""
        data, metadata = super()._repr_mimebundle_(**options)
        return data | {"text/html": self.films, "text/plain": "Run this cell in JupyterLab."}, metadata


def _strip(title: str, images: Tensor, side: int | None) -> str:
    """One strip with its title; five strips of single digits, or two of several rows, fit side by side on the page."""
    images = images if images.ndim == 5 else images.unsqueeze(1)
    rows, count = images.shape[1:3]
    side, title = side or (72 if rows == 1 else 52), html.escape(title)
    widest = side * count + 72
    sheet = _image(images, title, f"aspect-ratio: {count} / {rows}").replace("<img", f'<img width="{widest}"')
    window = (
        f"overflow: hidden; max-height: {widest * rows // count}px"  # JupyterLab drops our style until it is trusted
    )
    style = f"flex: {count} 1 {widest - 16}px; max-width: {widest}px"
    return f'<div class="strip" style="{style}"><div style="{window}">{sheet}</div>{title}</div>'


def _chart(fig: Figure, curves: Sequence[Curve]) -> str:
    """A figure and the positions of the points, in % of its width and height."""
    buffer, points = io.BytesIO(), ""
    fig.savefig(buffer, format="png", dpi=200)
    for ax, x, y, colour in curves:
        places = 100 * (ax.transData - fig.transFigure).transform(np.column_stack([x, y]))
        places = [[round(a, 2), round(100 - b, 2)] if np.isfinite(a + b) else None for a, b in places]
        points += f'<i class="point" style="background: {colour}" data-places="{json.dumps(places)}"></i>'
    image = f'<img src="{_url(buffer)}" alt="curves, with a point on each at this frame">'
    return f'<div class="chart" style="flex: 0 1 {100 * fig.get_figwidth():.0f}px">{image}{points}</div>'


def _image(images: Tensor, title: str, style: str = "") -> str:
    """Images (…, N, 28, 28) in [−1, 1] as one sheet with dark ink: N side by side, the others below one another."""
    grey = ((1 - images.detach().cpu().float().clamp(-1, 1)) * 127.5).round().to(torch.uint8)
    count, buffer = grey.shape[-3], io.BytesIO()
    sheet = grey.reshape(-1, count, 28, 28).transpose(1, 2).reshape(-1, 28 * count).numpy()
    Image.fromarray(sheet).save(buffer, format="png", optimize=True)
    return f'<img class="sheet" src="{_url(buffer)}" alt="{title}" style="{style}">'


def _url(png: io.BytesIO) -> str:
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
