"""Parts of the explorers: pictures as PNG, curves with moving points, images to click, sliders that look frames up.

No explorer draws while a slider moves: `flip` gives each widget a frame that was made before.
"""

import base64
import io
from collections.abc import Callable, Sequence

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.utils import make_grid

ZOOM = 5  # screen pixels for each pixel of a digit
DPI = 100  # of curves on the screen; they are drawn at twice that, for screens of fine pixels

Track = tuple[widgets.Widget, Sequence]  # a widget and its value at each frame
Point = tuple[Axes, Sequence[float], Sequence[float], str]  # where it moves: axes, x and y at each frame, its colour


def png(images: Tensor, columns: int = 1, zoom: int = ZOOM) -> bytes:
    """Images (28, 28) or (…, 1, 28, 28) in [−1, 1] as one PNG, row by row in `columns`: ink dark, pixels crisp."""
    sheet = make_grid(images.detach().cpu().float().reshape(-1, 1, 28, 28), nrow=columns, padding=0)[0]
    ink = ((1 - sheet.clamp(-1, 1)) * 127.5).round().to(torch.uint8).numpy()
    return _encode(Image.fromarray(np.kron(ink, np.ones((zoom, zoom), dtype=np.uint8))))


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="png", compress_level=3)
    return buffer.getvalue()


def picture(rows: int = 1, columns: int = 1, zoom: int = ZOOM) -> widgets.Image:
    """A widget for a `png` of so many images, of fixed size, so that nothing jumps when its bytes change."""
    return _frame(28 * columns * zoom, 28 * rows * zoom)


def _frame(width: float, height: float) -> widgets.Image:
    size = {"width": f"{width:.0f}px", "height": f"{height:.0f}px"}
    return widgets.Image(layout=widgets.Layout(**size, flex="0 0 auto", object_fit="fill", margin="2px"))


def moving_points(fig: Figure, points: Sequence[Point]) -> list[bytes]:
    """A finished figure as PNG once for each frame, with points on its curves: drawn once, then only dotted."""
    fig.set_dpi(2 * DPI)
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    base = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    places = [ax.transData.transform(np.column_stack([x, y])) for ax, x, y, _ in points]
    frames = []
    for spots in zip(*places, strict=True):
        frame = base.copy()
        draw = ImageDraw.Draw(frame)
        for (x, y), (*_, colour) in zip(spots, points, strict=True):
            if np.isfinite(x + y):
                draw.circle((x, base.height - y), 8, fill=colour, outline="white", width=2)
        frames.append(_encode(frame))
    return frames


def chart(width: float, height: float) -> widgets.Image:
    """A widget for the figures of `moving_points`; width and height in inches, as those of the figure."""
    return _frame(width * DPI, height * DPI)


def figure(rows: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    """A figure of so many inches that no notebook shows by itself, and its axes, one below the other."""
    fig = Figure(figsize=(width, height), layout="constrained")
    return fig, np.atleast_1d(fig.subplots(rows, 1, sharex=True))


def frame_slider(frames: int, description: str = "Frame") -> widgets.IntSlider:
    """A slider over so many frames."""
    layout = widgets.Layout(width="420px")
    return widgets.IntSlider(min=0, max=frames - 1, description=description, continuous_update=True, layout=layout)


def player(slider: widgets.IntSlider, interval: int = 80) -> widgets.Play:
    """A button that plays a slider's frames, from where it stands, `interval` ms each.

    The browser couples them one way only: both ways each move would be told twice, and take twice as long.
    """
    play = widgets.Play(min=slider.min, max=slider.max, interval=interval, description="Play")
    slider.link = widgets.jsdlink((play, "value"), (slider, "value"))
    play.observe(lambda change: change.new and setattr(play, "value", slider.value), "playing")
    return play


def flip(tracks: Sequence[Track], frame: int) -> None:
    """Give each widget its value at a frame: a look-up, nothing is computed."""
    for widget, values in tracks:
        widget.value = values[frame]


def thumbnails(
    images: Tensor, names: Sequence[str], choose: Callable[[int], None], columns: int, side: int = 30
) -> widgets.VBox:
    """Small images (N, 1, 28, 28) as buttons: one click, or Enter on the keyboard, and choose(number) is called.

    names: what each is called when the mouse rests on it. `.mark(number)` frames one of them.
    """
    size = widgets.Layout(width=f"{side}px", height=f"{side}px", padding="0", margin="1px")
    buttons = [widgets.Button(tooltip=name, layout=size) for name in names]
    rules = [".ink-chosen {outline: 3px solid #D55E00 !important; outline-offset: -2px}"]
    for number, (button, image) in enumerate(zip(buttons, images, strict=True)):
        code = base64.b64encode(png(image, zoom=1)).decode()
        rules.append(f".ink-{button.model_id} {{background: 0/cover url(data:image/png;base64,{code}) !important;")
        rules.append("image-rendering: pixelated}")
        button.add_class(f"ink-{button.model_id}")
        button.on_click(lambda _, number=number: choose(number))

    def mark(number: int | None) -> None:
        for k, button in enumerate(buttons):
            (button.add_class if k == number else button.remove_class)("ink-chosen")

    rows = [widgets.HBox(buttons[k : k + columns]) for k in range(0, len(buttons), columns)]
    style = widgets.HTML(f"<style>{' '.join(rules)}</style>", layout=widgets.Layout(display="none"))
    grid = widgets.VBox([style, *rows], layout=widgets.Layout(flex="0 0 auto", margin="0 24px 0 0"))
    grid.buttons, grid.mark = buttons, mark
    return grid


def titled(title: str, widget: widgets.Widget) -> widgets.VBox:
    """A widget under a line that names it."""
    return widgets.VBox([widgets.Label(title), widget], layout=widgets.Layout(flex="0 0 auto"))


def choice(description: str, options: Sequence[str]) -> widgets.ToggleButtons:
    """Buttons of which one is down."""
    buttons = widgets.ToggleButtons(options=options, description=description)
    buttons.style.button_width = "auto"
    return buttons
