"""JupyterLab as `make notebooks` starts it: for its token and this machine alone, with sliders that a mouse drags."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import execute
import lab
import nbformat
import numpy as np
import papermill
import pytest
import torch
from conftest import ROOT, wait_for

from helpers.show.strips import film_html

NAME, SAVED = "07_latent_paths.ipynb", "saved.ipynb"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    """A server with notebook 7, at tiny parameters and without any shipped model, and a notebook saved elsewhere."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    parameters, target = execute.reduced_parameters()[Path(NAME).stem], folder / "notebooks" / NAME
    papermill.execute_notebook(ROOT / "notebooks" / NAME, target, parameters, prepare_only=True)
    saved = nbformat.v4.new_output("display_data", {"text/html": film_html({"x": torch.zeros(20, 2, 28, 28)}, "t")})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[saved])])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}  # else it asks for one
    nbformat.write(notebook, folder / "notebooks" / SAVED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELS", str(folder / "models"))
        with lab.jupyterlab(folder) as running:
            yield running


def status(address: str) -> int:
    try:
        with urllib.request.urlopen(address) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("place", ["contents", "kernels", "terminals"])
def test_the_server_asks_for_its_token(server: lab.Server, place: str) -> None:
    tokens = ("", "0" * len(server.token), server.token)
    assert [status(server.address(f"api/{place}", token)) for token in tokens] == [403, 403, 200]


def test_the_server_listens_on_this_machine_alone(server: lab.Server) -> None:
    wanted, listening = f"{server.port:04X}", "0A"
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    hosts = {row[1].split(":")[0] for row in rows if row[3] == listening and row[1].split(":")[1] == wanted}
    assert hosts == {"0100007F"}, "127.0.0.1, in the kernel's byte order"


def test_a_film_in_a_saved_notebook_shows_one_frame_before_it_is_trusted(chromium: None, server: lab.Server) -> None:
    with lab.browser() as page:
        page.goto(server.address(f"lab/workspaces/other/tree/{SAVED}"))  # the default one reopens it for the next test
        film = page.locator(".jp-OutputArea-output .film")
        film.wait_for()
        page.evaluate("async () => { await jupyterapp.shell.currentWidget.sessionContext.ready }")
        sheet = film.locator("img").bounding_box()
        assert sheet["height"] == pytest.approx(10 * sheet["width"], rel=0.01), "the style is lost: all 20 frames"
        assert film.bounding_box()["height"] < 200


def wait_for_other(locator: lab.Locator, before: np.ndarray, why: str) -> None:
    wait_for(lambda: np.abs(lab.pixels(locator) - before).max() > 50, why, seconds=10)


def test_dragging_a_slider_of_notebook_7_shows_other_pixels(chromium: None, server: lab.Server) -> None:
    with lab.browser() as page:
        lab.run_all(page, server, NAME, seconds=300)
        films, explorer = page.locator(".film"), page.locator(".explorer")
        assert films.count() == 2 and explorer.locator(".film").count() == 1
        for film, which in ((films.first, ".sheet"), (films.last, ".chart")):  # the cross-fade; the curves
            slider, picture = film.get_by_role("slider"), film.locator(which).first
            slider.scroll_into_view_if_needed()
            before = lab.pixels(picture)
            lab.drag(page, slider, [0.2, 0.5, 0.8, 0.99])
            wait_for_other(picture, before, "the mouse moves the slider, and the picture follows")
            after = lab.pixels(picture)
            slider.focus()
            for _ in range(3):
                page.keyboard.press("ArrowLeft")
            wait_for_other(picture, after, "the keyboard does, too")
            film.get_by_role("button").click()
            page.wait_for_function("[...document.querySelectorAll('.film button')].some(b => b.textContent != '▶')")
            wait_for_other(picture, lab.pixels(picture), "and it plays")
            film.get_by_role("button").click()
        explorer.get_by_role("radio", name="image 2", exact=True).last.focus()
        page.keyboard.press("Space")
        explorer.get_by_text("press the button").wait_for()
        explorer.get_by_role("button", name="Compute this pair").press("Enter")
        explorer.locator(".film").wait_for()
