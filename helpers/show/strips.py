"""Films: strips of images, curves with moving points and a text, one frame at a time under a slider.

In a notebook the sliders are ipywidgets. They move a `Strips` in the browser, so also without the kernel; while the
kernel lives, `Strips.frame` follows and can be observed. On the report's page, and in a saved notebook that has no
kernel, the slider is one of HTML. Both use the script strips.js.
"""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import torch
import traitlets
from IPython.display import publish_display_data
from ipywidgets import HBox, IntSlider, Play, VBox, jslink
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

SCRIPT, STYLE = (Path(__file__).with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".js", ".css"))
SECONDS = 6.0  # that a film plays, unless its frames would be too fast or too slow
Curve = tuple[Axes, Sequence[float], Sequence[float], str]  # axes, x and y at each frame, colour of the moving point


class Strips(anywidget.AnyWidget):
    """The pictures of a film (`Film.html`) at the frame with this number; link a slider to it with jslink."""

    _esm, _css = SCRIPT + "\nexport default {render};", STYLE
    html = traitlets.Unicode().tag(sync=True)
    frame = traitlets.Int().tag(sync=True)


@dataclass
class Film:
    """Strips of images side by side, one frame at a time, with a text for each frame and points on curves.

    strips: titles and images in [−1, 1], (T, N, h, w) for one row of N images or (T, R, N, h, w) for R rows; T is 1 if
    they do not change. axis: what the slider counts. texts: one for each frame (default: its number). fig: a
    figure with curves along which points move. side: the width of a digit on the screen, in pixels. first: the frame
    shown at first (default: the middle one). rows: labels for the rows of strips that have as many rows. columns: how
    many strips stand side by side (default: as many as fit). Raises ValueError if strips, texts or curves differ in
    length, if there are no strips, no frame `first`, no such rows.
    """

    strips: Mapping[str, Tensor]
    axis: str = "frame"
    texts: Sequence[str] | None = None
    fig: Figure | None = None
    curves: Sequence[Curve] = ()
    side: int | None = None
    first: int | None = None
    rows: Sequence[str] = ()
    columns: int | None = None

    def __post_init__(self):
        if self.texts is None:
            self.texts = [f"{k} of {len(self)}" for k in range(1, len(self) + 1)]
        if self.first is None:
            self.first = len(self) // 2
        self.check_lengths()
        if not 0 <= self.first < len(self):
            raise ValueError(f"the first frame of a film must be one of 0 to {len(self) - 1}, not {self.first}.")
        if self.rows and all(_rows(images) != len(self.rows) for images in self.strips.values()):
            raise ValueError(f"a film with labels for {len(self.rows)} rows must have a strip with so many rows.")

    def __len__(self) -> int:
        return max(map(len, self.strips.values()), default=0)

    def check_lengths(self) -> None:
        """Raise ValueError unless there are frames, and each part has one entry for each of them."""
        if not len(self):
            raise ValueError("a film must have at least one strip with at least one frame.")
        lengths = {f"strip {title!r}": len(images) for title, images in self.strips.items() if len(images) != 1}
        lengths |= {f"curve {number}": len(x) for number, (_, x, _, _) in enumerate(self.curves, 1)}
        lengths["texts"] = len(self.texts)
        for part, length in lengths.items():
            if length != len(self):
                message = "strips, texts and curves of a film must have one length"
                raise ValueError(f"{message}: that of {part} is {length}, not {len(self)}.")

    @cached_property
    def html(self) -> str:
        """The pictures and the text in HTML, without a slider, at the first frame; `show` in strips.js moves them."""
        parts = [_strip(title, images, self) for title, images in self.strips.items()]
        if self.fig:
            parts.append(_chart(self.fig, self.curves))
        texts = html.escape(json.dumps(list(self.texts)))
        text = html.escape(self.texts[self.first])
        read_out = f'<output aria-live="off">{text}</output>'
        columns = (
            f"display: grid; grid-template-columns: repeat({self.columns}, minmax(0, 1fr))" if self.columns else ""
        )
        pictures = f'<div style="{columns}">{"".join(parts)}</div>'
        return f'<div class="frames" data-texts="{texts}">{read_out}{pictures}</div>'

    def page(self) -> str:
        """HTML that is complete in itself, with a slider of HTML, which keys move, and a play button."""
        hidden = "" if len(self) > 1 else " hidden"
        slider = f'<input type="range" min="0" max="{len(self) - 1}" value="{self.first}">'
        return (
            f'<style>{STYLE}</style><div class="film" data-interval="{interval(len(self))}"><div class="bar"{hidden}>'
            f'<button type="button" aria-label="play or pause">▶</button>'
            f"<label>{html.escape(self.axis)}{slider}</label></div>{self.html}</div>"
            f"<script>(() => {{\n{SCRIPT}\nplay(document.currentScript.previousElementSibling);\n}})();</script>"
        )

    def widget(self) -> VBox:
        """The same with ipywidgets."""
        strips = Strips(html=self.html, frame=self.first)
        return VBox([Player(strips, len(self), self.axis), strips])


class Player(HBox):
    """A Play, `play`, and an IntSlider, `slider`, over `length` frames, which move the strips.

    The strips are moved in the browser, so also without the kernel; while the kernel lives, `strips.frame` follows and
    can be observed. The style sheet gives the slider its size, which `slider.layout` may override.
    """

    def __init__(self, strips: Strips, length: int, axis: str):
        self.play = Play(value=strips.frame, max=length - 1, interval=interval(length))
        self.slider = IntSlider(value=strips.frame, max=length - 1, description=axis, readout=False)
        self.slider.style.description_width = "initial"
        jslink((self.play, "value"), (self.slider, "value"))
        jslink((self.slider, "max"), (self.play, "max"))
        jslink((self.slider, "value"), (strips, "frame"))
        super().__init__([self.play, self.slider])
        self.layout.align_items = "center"  # beside a vertical slider the buttons keep their height
        self.add_class("player")


def interval(length: int) -> int:
    """Milliseconds between the frames of a film with so many of them when it plays."""
    return round(min(500.0, max(60.0, 1000 * SECONDS / length)))


def gallery(images: Tensor, columns: int = 10) -> ipywidgets.HTML:
    """Pictures (N, 1, h, w) in [−1, 1] with their numbers from 1, so that a menu of numbers can refer to them."""
    cells = [f"<figure>{_image(image, f'image {k}')}{k}</figure>" for k, image in enumerate(images, 1)]
    return ipywidgets.HTML(
        f'<div class="gallery" style="grid-template-columns: repeat({columns}, 40px)">{"".join(cells)}</div>'
    )


def display_live(box: VBox, saved: str, text: str = "", metadata: Mapping | None = None) -> None:
    """Display HTML that stands for the widgets where they have no kernel, as an output of its own, then the widgets.

    JupyterLab prefers a widget to the HTML of the same output, even when it can only say that the widget is missing.
    The style sheet hides `saved` beside living widgets, and that message beside `saved`. text: instead of the HTML.
    """
    box.add_class("live")
    publish_display_data({"text/html": saved, "text/markdown": "", "text/plain": text}, dict(metadata or {}))
    publish_display_data(box._repr_mimebundle_() | {"text/plain": "Run this cell to see its sliders."})


def _rows(images: Tensor) -> int:
    return 1 if images.ndim == 4 else images.shape[1]


def _strip(title: str, images: Tensor, film: Film) -> str:
    """One strip with its title; five strips of single digits, or two of several rows, fit side by side on the page.

    The frames lie below one another in a window as high as one of them. JupyterLab drops our style sheet until the
    notebook is trusted, so what makes the window is written here.
    """
    if images.ndim == 4:
        images = images.unsqueeze(1)
    rows, count, height, width = images.shape[1:]  # of (T, R, N, h, w)
    side = film.side or (72 if rows == 1 else 52)
    widest = side * count + 72
    share = 100 * rows * height / (count * width)  # height of a frame in % of its width
    step = share if len(images) > 1 else 0.0  # from one frame to the next
    title = html.escape(title)

    # all frames, moved up until the one shown is at the top
    sheet_style = f"width: 100%; margin-top: {-film.first * step:.4f}%"
    sheet = _image(images, title, f'data-step="{step:.6f}" style="{sheet_style}" width="{widest}"')

    # through which one frame is seen: a padding in % refers to the width
    window_style = f"height: 0px; overflow: hidden; padding-bottom: {share:.4f}%"
    window = f'<div style="{window_style}">{sheet}</div>'
    if len(film.rows) == rows:
        window = f'<div class="labelled">{_labels(film.rows)}<div style="flex: 1">{window}</div></div>'

    # the place among the other strips
    basis = f"{widest - 16}px"
    if count == 1:
        basis = f"min({basis}, 30%)"  # on a telephone, three side by side
    box_style = f"flex: {count} 1 {basis}; max-width: {widest}px"
    return f'<div class="strip" style="{box_style}">{window}{title}</div>'


def _labels(rows: Sequence[str]) -> str:
    """The labels of rows, one below the other."""
    return f'<div class="rows">{"".join(f"<span>{html.escape(label)}</span>" for label in rows)}</div>'


def _chart(fig: Figure, curves: Sequence[Curve]) -> str:
    """A figure and the positions of the points, in % of its width and height."""
    buffer, points = io.BytesIO(), ""
    fig.savefig(buffer, format="png", dpi=200)
    for ax, x, y, colour in curves:
        places = 100 * (ax.transData - fig.transFigure).transform(np.column_stack([x, y]))
        places = [[round(a, 2), round(100 - b, 2)] if np.isfinite(a + b) else None for a, b in places]
        points += f'<i class="point" style="background: {colour}" data-places="{json.dumps(places)}"></i>'
    image = f'<img src="{_url(buffer.getvalue())}" alt="curves, with a point on each at this frame">'
    width = f"{100 * fig.get_figwidth():.0f}px"
    style = f"grid-column: 1 / -1; flex: 0 1 {width}; max-width: {width}"
    return f'<div class="chart" style="{style}">{image}{points}</div>'


def _image(images: Tensor, title: str, attributes: str = "") -> str:
    return f'<img class="sheet" src="{_url(png(images))}" alt="{title}" {attributes}>'


def png(images: Tensor) -> bytes:
    """Images (…, N, h, w) in [−1, 1] as one picture with dark ink: N side by side, the others below one another."""
    grey = ((1 - images.detach().cpu().float().clamp(-1, 1)) * 127.5).round().to(torch.uint8)
    count, height, width = grey.shape[-3:]
    sheet = grey.reshape(-1, count, height, width).transpose(1, 2).reshape(-1, width * count).numpy()
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
