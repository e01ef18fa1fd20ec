"""Films under a slider: every pixel, name and point of every frame is in the HTML; controls tell the kernel."""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from helpers.show import strips


def sheets(shown: str) -> list[np.ndarray]:
    """The pixels of all pictures in HTML."""
    codes = re.findall(r'class="sheet" src="data:image/png;base64,([^"]+)"', shown)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))) for code in codes]


def names(shown: str) -> list[list[str]]:
    """For each film in HTML what its frames are called."""
    return [json.loads(html.unescape(code)) for code in re.findall(r'data-names="([^"]+)"', shown)]


def ink(images: torch.Tensor) -> np.ndarray:
    """Images in [−1, 1] as grey values: ink is dark."""
    return ((1 - images.detach().float().clamp(-1, 1)) * 127.5).round().numpy().astype(np.uint8)


def test_a_sheet_holds_every_pixel_frame_below_frame() -> None:
    images = torch.rand(2, 3, 4, 28, 28) * 2.2 - 1.1  # beyond [−1, 1] it is as dark or light as can be
    one_row, rows = sheets(strips.film_html({"one row": images[:, 0], "rows": images}, "t"))
    assert (one_row.reshape(2, 28, 4, 28).swapaxes(1, 2) == ink(images[:, 0])).all()
    assert (rows.reshape(2, 3, 28, 4, 28).swapaxes(2, 3) == ink(images)).all()


def test_frames_have_the_names_given_or_numbers_and_one_frame_needs_no_slider() -> None:
    images = torch.zeros(2, 1, 28, 28)
    shown = strips.film_html({"a & b": images, "still": images[:1]}, "β", ["one", '"two" & more'])
    assert names(shown) == [["one", '"two" & more']] and "a &amp; b" in shown and "<label>β" in shown
    assert names(strips.film_html({"x": images}, "t")) == [["1 of 2", "2 of 2"]]
    assert "<label hidden>" in strips.film_html({"x": images[:1]}, "t")


@pytest.mark.parametrize(
    ("lengths", "more"),
    [
        ((3, 4), {}), ((3, 2, 1), {}), ((), {}), ((3,), {"names": ["a", "b"]}),
        ((3,), {"fig": Figure(), "curves": [(None, [0, 1], [0, 1], "red")]}),
    ],
)  # fmt: skip
def test_strips_names_and_curves_of_a_film_have_one_length(lengths: tuple[int, ...], more: dict) -> None:
    with pytest.raises(ValueError, match="one length"):
        strips.film_html({str(k): torch.zeros(length, 1, 28, 28) for k, length in enumerate(lengths)}, "t", **more)


def test_points_lie_on_the_curves() -> None:
    fig = Figure((2, 1), layout="constrained")
    ax = fig.subplots()
    ax.plot([0, 1], [0, 1])
    curve = (ax, [0.2, 0.8, 0.8], [0.5, 0.5, np.nan], "#ff0000")
    shown = strips.film_html({"x": torch.zeros(3, 1, 28, 28)}, "t", fig=fig, curves=[curve])
    left, right, nowhere = json.loads(re.search(r'data-places="([^"]+)"', shown)[1])
    fig.draw_without_rendering()
    box = ax.get_position()
    across = (0.5 + 0.3 / ax.viewLim.width) * box.width + box.x0
    assert nowhere is None and left[1] == right[1] and right[0] == pytest.approx(100 * across, abs=0.5)
    assert right[1] == pytest.approx(100 * (1 - (box.y0 + box.y1) / 2), abs=0.5)


def test_a_control_moves_the_films_and_a_button_comes_first() -> None:
    def show(values: dict) -> str:
        return f"film {values['Model'] + len(pressed)}"

    pressed = []
    controls = strips.choice("Model", ["a", "b < c"]) + strips.dial("Step", 3.0)
    widget = strips.Player(controls, {"Model": 0, "Step": 0}, show, lambda _: pressed.append(1 / (len(pressed) - 2)))
    assert widget.films == "film 0" and "b &lt; c" in widget.controls and 'min="-3.0"' in widget.controls
    widget.values = {"Model": 1, "Step": 0}
    assert widget.films == "film 1"
    for seen in ("film 2", "film 3", "division"):
        widget._handle_custom_msg({}, [])
        assert seen in widget.films
    data, _ = widget._repr_mimebundle_()
    assert data["text/html"] == widget.films and "application/vnd.jupyter.widget-view+json" in data
