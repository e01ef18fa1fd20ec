"""Frames under a slider, as one piece of HTML without kernel or network: it works in the report's page, too."""

import base64
import html
import io
import json
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

# Every frame of a strip lies below the last; a window as high as one frame shows it. `currentScript`, as a notebook
# may stand on one page twice.
PLAYER = """<script>
(() => {
  const film = document.currentScript.previousElementSibling;
  const [slider, button, place] = ["input", "button", "output"].map(name => film.querySelector(name));
  const names = JSON.parse(film.dataset.names);
  const show = () => {
    for (const strip of film.querySelectorAll("[role=img]"))
      strip.style.backgroundPositionY = `${100 * slider.value / slider.max}%`;
    place.value = names[slider.value];
    slider.setAttribute("aria-valuetext", place.value);
  };
  let running = 0;
  const stop = () => { clearInterval(running); running = 0; button.textContent = "▶"; };
  const step = () => { slider.value = (+slider.value + 1) % (+slider.max + 1); show(); };
  button.onclick = () => { if (running) return stop(); running = setInterval(step, 90); button.textContent = "❚❚"; };
  slider.oninput = () => { stop(); show(); };
  show();
})();
</script>"""


def film_html(frames: dict[str, Tensor], axis: str, names: Sequence[str] | None = None) -> str:
    """A player of several strips at once, side by side: a slider (keys work), a button that plays, the frame's name.

    frames: for each strip its images in [−1, 1], all of one T ≥ 2: (T, N, 28, 28), N of them in a row, or
    (T, R, N, 28, 28) with R rows. axis: what the slider counts. names: what each frame is, else its number.
    Raises ValueError if the strips or the names differ in length or if there is no second frame.
    """
    lengths = {len(images) for images in frames.values()} | ({len(names)} if names is not None else set())
    if len(lengths) != 1 or min(lengths) < 2:
        raise ValueError(f"a film needs strips and names of one length, at least 2 frames, not {sorted(lengths)}.")
    (length,) = lengths
    strips = "".join(_strip(name, images) for name, images in frames.items())
    names = list(names or (f"{k} of {length}" for k in range(1, length + 1)))
    words, widest = json.dumps(names), max(map(len, names))
    return (
        f'<div class="film" data-names="{html.escape(words)}">'
        f'<div style="display: flex; flex-wrap: wrap; gap: 8px">{strips}</div>'
        '<div style="display: flex; flex-wrap: wrap; gap: 8px; align-items: center; max-width: 40em">'
        '<button type="button" aria-label="play or pause" style="width: 3em">▶</button>'
        f'<label style="flex: 1 0 16em; display: flex; gap: 8px">{html.escape(axis)}<input type="range" min="0" '
        f'max="{length - 1}" value="0" style="flex: 1"></label>'
        f'<output style="min-width: {widest}ch"></output></div></div>'
        f"{PLAYER}"
    )


def _strip(name: str, images: Tensor) -> str:
    """One strip's window and name; five strips of single digits or two of several rows fit side by side."""
    images = images if images.ndim == 5 else images.unsqueeze(1)
    length, rows, count = images.shape[:3]
    ink = ((1 - images.detach().cpu().clamp(-1, 1)) * 127.5).round().to(torch.uint8)
    buffer = io.BytesIO()
    sheet = ink.transpose(2, 3).reshape(28 * length * rows, 28 * count).numpy()
    Image.fromarray(sheet).save(buffer, format="png", optimize=True)
    picture = base64.b64encode(buffer.getvalue()).decode()
    name, side = html.escape(name), 72 if rows == 1 else 52
    return (
        f'<div style="flex: {count} 1 {side * count + 56}px; max-width: {side * count + 72}px; text-align: center; '
        'font-size: 0.85em; text-wrap: balance">'
        f'<div role="img" aria-label="{name}" style="aspect-ratio: {count} / {rows}; image-rendering: pixelated; '
        f'background: url(data:image/png;base64,{picture}) 0 0 / 100% auto"></div>{name}</div>'
    )
