"""Frames that a slider flips through in the browser alone: they are sent once, and no kernel is asked at a move."""

import io
from collections.abc import Sequence

import anywidget
import ipywidgets as widgets
import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

ZOOM = 5  # screen pixels for each pixel of a digit
DPI = 100  # of curves on the screen; they are drawn at twice that, for screens of fine pixels

Point = tuple[Axes, Sequence[float], Sequence[float], str]  # where it moves: axes, x and y at each frame, its colour

# `latest` keeps a sheet that is decoded late from being drawn over a newer one.
SHOW = """
function ink(data, columns) {
  const image = new ImageData(columns, data.byteLength / columns), words = new Uint32Array(image.data.buffer);
  for (let k = 0; k < words.length; k++) words[k] = 0xff000000 | 0x010101 * data.getUint8(k);
  const sheet = new OffscreenCanvas(image.width, image.height);
  sheet.getContext("2d").putImageData(image, 0, 0);
  return sheet;
}
async function render({model, el}) {
  const canvas = document.createElement("canvas"), words = document.createElement("div");
  const pen = canvas.getContext("2d"), name = model.get("slider");
  const slider = name && await model.widget_manager.get_model(name.replace("IPY_MODEL_", ""));
  let sheet = null, latest = 0;
  const draw = () => {
    const frame = slider ? slider.get("value") : 0, said = model.get("words");
    if (sheet) {
      const height = sheet.height / model.get("count"), top = height * Math.min(frame, model.get("count") - 1);
      if (canvas.width != sheet.width || canvas.height != height)
        [canvas.width, canvas.height] = [sheet.width, height];
      pen.drawImage(sheet, 0, top, sheet.width, height, 0, 0, sheet.width, height);
      for (const [x, y, colour] of model.get("dots")[frame] ?? []) {
        pen.beginPath(); pen.arc(x, y, 8, 0, 7);
        pen.fillStyle = colour; pen.fill();
        pen.strokeStyle = "white"; pen.lineWidth = 2; pen.stroke();
      }
    }
    words.textContent = said[Math.min(frame, said.length - 1)] ?? "";
    canvas.dispatchEvent(new Event("drawn"));
  };
  const load = async () => {
    const turn = ++latest, data = model.get("sheet"), columns = model.get("columns");
    const loaded = columns ? ink(data, columns) : data.byteLength ? await createImageBitmap(new Blob([data])) : null;
    if (turn == latest) { sheet = loaded; draw(); }
  };
  const [width, height] = model.get("size");
  Object.assign(canvas.style, {width: width + "px", height: height + "px", imageRendering: "pixelated"});
  if (model.get("smooth")) canvas.style.imageRendering = "auto";
  canvas.hidden = !width;
  el.append(canvas, words);
  model.on("change", load);
  slider?.on("change:value", draw);
  await load();
  return () => { model.off("change", load); slider?.off("change:value", draw); };
}
export default {render};
"""


class Frames(anywidget.AnyWidget):
    """A picture, moving points on it, a line of words below: each has one frame for each value of a slider, or one.

    size: (width, height) on the screen, fixed, so that nothing jumps; (0, 0) for words alone. slider: an `IntSlider`
    from 0, or None for a picture that only Python changes. smooth: whether pixels may be blended (curves, no digits).
    """

    _esm = SHOW
    sheet = traitlets.Bytes().tag(sync=True)  # `count` frames, one below the other: a PNG, or grey values row by row
    columns = traitlets.Int(0).tag(sync=True)  # how many grey values make a row; 0 for a PNG
    count = traitlets.Int(1).tag(sync=True)
    dots = traitlets.List().tag(sync=True)  # of each frame: lists (x, y, colour), in the picture's pixels
    words = traitlets.List().tag(sync=True)
    size = traitlets.Tuple().tag(sync=True)
    smooth = traitlets.Bool(False).tag(sync=True)
    slider = traitlets.Instance(widgets.IntSlider, allow_none=True).tag(sync=True, **widgets.widget_serialization)

    def __init__(self, width: float = 0, height: float = 0, slider: widgets.IntSlider | None = None, **traits):
        super().__init__(size=(round(width), round(height)), slider=slider, **traits)
        self.layout.flex, self.layout.margin = "0 0 auto", "2px"

    @property
    def frame(self) -> int:
        """The number of the frame that is seen."""
        return self.slider.value if self.slider else 0

    def show(self, images: Tensor, columns: int = 1) -> None:
        """Frames of digits: images (28, 28) or (T, …, 28, 28) in [−1, 1], those of a frame in rows of `columns`."""
        images = images if images.dim() > 2 else images.unsqueeze(0)
        with self.hold_sync():
            self.sheet, self.columns, self.count = ink(images, columns).tobytes(), 28 * columns, len(images)

    def plot(self, fig: Figure, points: Sequence[Point]) -> None:
        """A finished figure, drawn once, on whose curves points move."""
        fig.set_dpi(2 * DPI)
        canvas = FigureCanvasAgg(fig)
        canvas.draw()
        drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        places = [ax.transData.transform(np.column_stack([x, y])).round(1) for ax, x, y, _ in points]
        colours = [colour for *_, colour in points]
        with self.hold_sync():
            self.sheet, self.columns, self.count = _encode(drawn), 0, 1
            self.dots = [
                [(x, drawn.height - y, c) for (x, y), c in zip(spots, colours, strict=True) if np.isfinite(x + y)]
                for spots in zip(*places, strict=True)
            ]

    def clear(self) -> None:
        """Show white, no points and no words."""
        with self.hold_sync():
            self.show(-torch.ones(28, 28))
            self.dots, self.words = [], []


def digits(
    rows: int = 1, columns: int = 1, zoom: int = ZOOM, slider: widgets.IntSlider | None = None, **traits
) -> Frames:
    """For so many digits in each frame."""
    return Frames(28 * columns * zoom, 28 * rows * zoom, slider, **traits)


def chart(width: float, height: float, slider: widgets.IntSlider | None = None) -> Frames:
    """For a figure of so many inches."""
    return Frames(width * DPI, height * DPI, slider, smooth=True)


def figure(rows: int, width: float, height: float) -> tuple[Figure, Sequence[Axes]]:
    """A figure of so many inches that no notebook shows by itself, and its axes, one below the other."""
    fig = Figure(figsize=(width, height), layout="constrained")
    return fig, np.atleast_1d(fig.subplots(rows, 1, sharex=True))


def ink(images: Tensor, columns: int = 1) -> np.ndarray:
    """Images (…, 28, 28) in [−1, 1], row by row in `columns`, as grey values from 0 to 255: ink dark."""
    grey = ((1 - images.detach().cpu().float().clamp(-1, 1)) * 127.5).round().to(torch.uint8)
    return grey.reshape(-1, columns, 28, 28).transpose(1, 2).reshape(-1, columns * 28).contiguous().numpy()


def png(images: Tensor, columns: int = 1) -> bytes:
    """The same as a PNG."""
    return _encode(Image.fromarray(ink(images, columns)))


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="png", compress_level=3)
    return buffer.getvalue()
