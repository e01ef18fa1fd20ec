"""Films: every pixel, text and point of every frame is in the HTML, at the first frame; sliders move a `Strips`."""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
import torch
from ipywidgets import IntSlider, Play
from matplotlib.figure import Figure
from PIL import Image

from helpers.show import publish, references, strips
from helpers.show.strips import Film


def sheets(shown: str) -> list[np.ndarray]:
    """The pixels of all pictures in HTML."""
    codes = re.findall(r'class="sheet" src="data:image/png;base64,([^"]+)"', shown)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))) for code in codes]


def texts(shown: str) -> list[list[str]]:
    """For each film in HTML what its frames are called."""
    return [json.loads(html.unescape(code)) for code in re.findall(r'data-texts="([^"]+)"', shown)]


def ink(images: torch.Tensor) -> np.ndarray:
    """Images in [−1, 1] as grey values: ink is dark."""
    return ((1 - images.detach().float().clamp(-1, 1)) * 127.5).round().numpy().astype(np.uint8)


def test_a_sheet_holds_every_pixel_frame_below_frame() -> None:
    images = torch.rand(2, 3, 4, 28, 28) * 2.2 - 1.1  # beyond [−1, 1] it is as dark or light as can be
    one_row, rows = sheets(Film({"one row": images[:, 0], "rows": images}).html)
    assert (one_row.reshape(2, 28, 4, 28).swapaxes(1, 2) == ink(images[:, 0])).all()
    assert (rows.reshape(2, 3, 28, 4, 28).swapaxes(2, 3) == ink(images)).all()


def test_images_may_have_any_side() -> None:
    images = torch.rand(5, 2, 10, 16) * 2 - 1
    shown = Film({"x": images}).html
    (sheet,) = sheets(shown)
    assert (sheet.reshape(5, 10, 2, 16).swapaxes(1, 2) == ink(images)).all()
    assert float(re.search(r'data-step="([^"]+)"', shown)[1]) == pytest.approx(100 * 10 / 32)


def test_frames_have_the_texts_given_or_numbers_and_one_frame_needs_no_slider() -> None:
    images = torch.zeros(2, 1, 28, 28)
    shown = Film({"a & b": images, "still": images[:1]}, "β", ["one", '"two" & more']).page()
    assert texts(shown) == [["one", '"two" & more']] and "a &amp; b" in shown and "<label>β" in shown
    assert texts(Film({"x": images}).html) == [["1 of 2", "2 of 2"]]
    assert '<div class="bar" hidden>' in Film({"x": images[:1]}).page()


@pytest.mark.parametrize(("first", "shown"), [(None, 2), (0, 0), (4, 4)])
def test_the_first_frame_is_seen_without_a_script(first: int | None, shown: int) -> None:
    film = Film({"x": torch.zeros(5, 2, 28, 28), "still": torch.zeros(1, 2, 28, 28)}, first=first)
    tops = [float(top) for top in re.findall(r"margin-top: (-?[\d.]+)%", film.page())]
    assert tops == [-50.0 * shown, 0.0] and f">{shown + 1} of 5</output>" in film.page()
    assert f'max="4" value="{shown}"' in film.page() and film.widget().children[1].frame == shown


@pytest.mark.parametrize("first", [-1, 5])
def test_a_first_frame_that_does_not_exist_is_refused(first: int) -> None:
    with pytest.raises(ValueError, match="one of 0 to 4, not"):
        Film({"x": torch.zeros(5, 1, 28, 28)}, first=first)


@pytest.mark.parametrize(
    ("lengths", "more"),
    [
        ((3, 4), {}), ((3, 2, 1), {}), ((3,), {"texts": ["a", "b"]}),
        ((3,), {"fig": Figure(), "curves": [(None, [0, 1], [0, 1], "red")]}),
    ],
)  # fmt: skip
def test_strips_texts_and_curves_of_a_film_have_one_length(lengths: tuple[int, ...], more: dict) -> None:
    with pytest.raises(ValueError, match="one length"):
        Film({str(k): torch.zeros(length, 1, 28, 28) for k, length in enumerate(lengths)}, **more)


@pytest.mark.parametrize("lengths", [(), (0,)])
def test_a_film_has_a_frame(lengths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        Film({str(k): torch.zeros(length, 1, 28, 28) for k, length in enumerate(lengths)})


@pytest.mark.parametrize(("length", "interval"), [(2, 500), (12, 500), (60, 100), (300, 60)])
def test_both_players_keep_the_same_time_which_suits_the_number_of_frames(length: int, interval: int) -> None:
    film = Film({"x": torch.zeros(length, 1, 2, 2)})
    assert film.widget().children[0].play.interval == interval
    assert f'data-interval="{interval}"' in film.page()


def test_the_slider_and_what_it_says_stand_above_the_pictures() -> None:
    shown = Film({"x": torch.zeros(3, 1, 28, 28)}).page()
    places = [shown.index(part) for part in ("<button", "<input", "<output", '<img class="sheet"')]
    assert places == sorted(places)


def test_strips_stand_in_columns_where_their_number_is_given() -> None:
    images = {str(k): torch.zeros(3, 1, 28, 28) for k in range(8)}
    assert "grid-template-columns: repeat(4," in Film(images, columns=4).html
    assert "grid-template-columns" not in Film(images).html


def test_rows_have_labels_where_there_are_as_many() -> None:
    images = torch.zeros(3, 2, 1, 28, 28)
    shown = Film({"two": images, "one": images[:, 0]}, rows=["a & b", "c"]).html
    assert re.findall(r"<span>(.*?)</span>", shown) == ["a &amp; b", "c"]
    assert len(sheets(shown)) == 2 and "<span>" not in Film({"two": images}).html
    with pytest.raises(ValueError, match="labels for 3 rows"):
        Film({"two": images}, rows=["a", "b", "c"])


def test_points_lie_on_the_curves() -> None:
    fig = Figure((2, 1), layout="constrained")
    ax = fig.subplots()
    ax.plot([0, 1], [0, 1])
    curve = (ax, [0.2, 0.8, 0.8], [0.5, 0.5, np.nan], "#ff0000")
    shown = Film({"x": torch.zeros(3, 1, 28, 28)}, fig=fig, curves=[curve]).html
    left, right, nowhere = json.loads(re.search(r'data-places="([^"]+)"', shown)[1])
    fig.draw_without_rendering()
    box = ax.get_position()
    across = (0.5 + 0.3 / ax.viewLim.width) * box.width + box.x0
    assert nowhere is None and left[1] == right[1] and right[0] == pytest.approx(100 * across, abs=0.5)
    assert right[1] == pytest.approx(100 * (1 - (box.y0 + box.y1) / 2), abs=0.5)


def test_the_controls_of_a_film_are_ipywidgets() -> None:
    film = Film({"x": torch.zeros(7, 1, 28, 28)}, "epoch", first=4)
    player, shown = film.widget().children
    play, slider = player.play, player.slider
    assert player.children == (play, slider)
    assert isinstance(play, Play) and isinstance(slider, IntSlider) and slider.description == "epoch"
    assert shown.html == film.html and play.max == slider.max == 6 and play.value == slider.value == 4


def test_a_gallery_numbers_its_pictures() -> None:
    images = torch.rand(3, 1, 28, 28) * 2 - 1
    shown = strips.gallery(images).value
    assert all((sheet == ink(image[0])).all() for sheet, image in zip(sheets(shown), images, strict=True))
    assert re.findall(r">(\d+)</figure>", shown) == ["1", "2", "3"]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What was displayed, in order: mime bundles and their metadata."""
    outputs = []

    def display(data: dict, metadata: dict | None = None) -> None:
        outputs.append((data, metadata))

    for module in (publish, strips):
        monkeypatch.setattr(module, "publish_display_data", display)
    return outputs


def test_a_film_is_an_output_of_its_own_before_its_widget(shown: list[tuple]) -> None:
    publish.film({"x": torch.zeros(3, 1, 28, 28)}, "What it shows.", "t", first=1)
    (film, metadata), (widget, none), (caption, _) = shown
    assert texts(film["text/html"]) and metadata["report"] == {"kind": "film", "caption": "What it shows."}
    assert "application/vnd.jupyter.widget-view+json" in widget and "text/html" not in widget and not none
    assert caption["text/markdown"] == "*What it shows.*"


def test_a_film_names_the_figure_that_prints_its_frames(shown: list[tuple], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "stored", lambda: {"fig-x": references.Place("3", "01_a.ipynb")})
    publish.film({"x": torch.zeros(3, 1, 28, 28)}, "What it shows.", still="fig-x")
    (_, metadata), _, (caption, _) = shown
    assert metadata["report"] == {"kind": "film", "caption": "What it shows.", "still": "fig-x"}
    assert caption["text/markdown"] == "*Film of [figure 3](#fig-x). What it shows.*"
    with pytest.raises(ValueError, match="must start with 'fig-'"):
        publish.film({"x": torch.zeros(3, 1, 28, 28)}, "What it shows.", still="tab-x")
