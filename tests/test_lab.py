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
from playwright.sync_api import Error

from helpers.show.references import Place, anchor, numbered
from helpers.show.strips import Film

NAME, SAVED = "07_latent_paths.ipynb", "saved.ipynb"
LINKED, OTHER = "01_linked.ipynb", "02_other.ipynb"
PLACES = {
    "fig-x": Place("3", LINKED),
    "eq:x": Place("2", LINKED),
    "sec-further-x": Place("A.5", LINKED),
    "eq:y": Place("4", OTHER, "equation"),
}
ASKING = "By [figure](#fig-x), [equation](#eq:x), [section](#sec-further-x), [A 2014](#cite-a), [equation](#eq:y)."


def linked(folder: Path) -> None:
    """Write two notebooks with references and numbers, far from what they refer to."""
    folder.mkdir()
    text, far = nbformat.v4.new_markdown_cell, "far\n\n" * 60
    figure = nbformat.v4.new_output("display_data", {"text/markdown": f"{anchor('fig-x')}**Figure 3.**"})
    told = f"so\n\n\\begin{{equation}} a \\label{{eq:x}}\\end{{equation}}\n\n{far}"
    cells = {
        LINKED: [
            text(numbered(ASKING + f"\n\n{far}", PLACES, LINKED)),
            text(numbered(told, PLACES, LINKED)),
            text(f"## Going further: x{anchor('sec-further-x')}\n\n{far}"),
            nbformat.v4.new_code_cell("", outputs=[figure]),
            text(f"{far}\n\n{anchor('cite-a')}A. 2014. {far}"),
        ],
        OTHER: [text(far), text(numbered(f"so $$b \\label{{eq:y}}$$\n\n{far}", PLACES, OTHER))],
    }
    cells[OTHER][1].id = PLACES["eq:y"].cell
    for name, written in cells.items():
        notebook = nbformat.v4.new_notebook(cells=written)
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        nbformat.write(notebook, folder / name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path) -> Iterator[lab.Server]:
    """A server with notebook 7, at tiny parameters and without any shipped model, and a notebook saved elsewhere."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    parameters, target = execute.reduced_parameters()[Path(NAME).stem], folder / "notebooks" / NAME
    papermill.execute_notebook(ROOT / "notebooks" / NAME, target, parameters, prepare_only=True)
    images = torch.linspace(1, -1, 20)[:, None, None, None].expand(20, 2, 28, 28)  # from black to white
    saved = nbformat.v4.new_output("display_data", {"text/html": Film({"x": images}, "t", first=19).page()})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[saved])])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}  # else it asks for one
    nbformat.write(notebook, folder / "notebooks" / SAVED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELS", str(tiny_models))
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
        sheet, window = (film.locator(which).bounding_box() for which in (".sheet", ".strip > div"))
        assert sheet["height"] == pytest.approx(10 * sheet["width"], rel=0.01), "all 20 frames are there"
        assert window["height"] == pytest.approx(sheet["width"] / 2, rel=0.01), "and one of them is seen"
        assert lab.pixels(film.locator(".strip > div"))[10:-10, 10:-10].min() > 200, "the first that was asked for"
        assert film.locator("output").text_content() == "20 of 20"


def test_references_have_numbers_and_lead_to_what_they_name(chromium: None, tmp_path: Path) -> None:
    """As soon as the notebook is open: each place is there, and one click leads to it."""
    linked(tmp_path / "notebooks")
    asked = {"figure 3": "fig-x", "equation (2)": "eq:x", "section A.5": "sec-further-x", "A 2014": "cite-a"}
    with lab.jupyterlab(tmp_path) as server, lab.browser(height=600) as page:

        def seen(label: str) -> bool:
            """Whether a place is on the screen; JupyterLab renames ids."""
            box = page.locator(f'[data-jupyter-id="{label}"], [id="{label}"]').first.bounding_box()
            return box is not None and 0 <= box["y"] < 600

        page.set_default_timeout(120_000)
        page.goto(server.address(f"lab/workspaces/links/tree/{LINKED}"))
        page.get_by_role("link", name="figure 3").wait_for()
        page.locator('[data-jupyter-id="cite-a"], [id="cite-a"]').wait_for(state="attached", timeout=5_000)
        for words, label in asked.items():
            assert not seen(label)
            page.get_by_role("link", name=words, exact=True).click()
            wait_for(lambda label=label: seen(label), f"{label} on the screen", seconds=20)
            page.get_by_role("link", name="figure 3").scroll_into_view_if_needed()
        page.get_by_role("link", name="equation (4)").click()
        other = page.locator(".jp-Notebook", has=page.locator("mjx-assistive-mml", has_text="(4)"))
        other.wait_for()


def wait_for_other(locator: lab.Locator, before: np.ndarray, why: str) -> None:
    def differs() -> bool:
        try:
            return np.abs(lab.pixels(locator) - before).max() > 50
        except Error:  # the picture was replaced while it was looked at
            return False

    wait_for(differs, why, seconds=10)


def moves(page: lab.Page, player: lab.Locator, picture: lab.Locator) -> None:
    """A slider of ipywidgets moves a picture by mouse and by keys, and Play plays it."""
    slider = player.get_by_role("slider")
    player.scroll_into_view_if_needed()
    before = lab.pixels(picture)
    lab.drag(page, player.locator(".noUi-target"), [0.2, 0.5, 0.8, 0.99])
    wait_for_other(picture, before, "the mouse moves the slider, and the picture follows")
    after, place = lab.pixels(picture), slider.get_attribute("aria-valuenow")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert float(slider.get_attribute("aria-valuenow")) == float(place) - 3
    wait_for_other(picture, after, "the keyboard does, too")
    before = lab.pixels(picture)
    player.get_by_role("button").first.click()
    wait_for_other(picture, before, "and it plays")
    player.get_by_role("button").first.click()


def test_widgets_of_notebook_7_by_mouse_and_keyboard(chromium: None, server: lab.Server) -> None:
    with lab.browser() as page:
        lab.run_all(page, server, NAME, seconds=300)
        film, explorer = page.locator(".live:has(.player)").all()
        assert not page.locator(".film").first.is_visible(), "the film of HTML stands only for absent widgets"
        moves(page, film.locator(".widget-hbox"), film.locator(".strip > div").last)  # the cross-fade
        moves(page, explorer.locator(".widget-hbox:has(.widget-play)"), explorer.locator(".chart"))
        least = explorer.get_by_role("button", name="least change").or_(
            explorer.get_by_role("radio", name="least change")
        )
        before = lab.pixels(explorer.locator(".frames"))
        least.press("Enter")
        wait_for_other(explorer.locator(".frames"), before, "another path has other curves")
        explorer.get_by_role("combobox").last.focus()
        page.keyboard.press("ArrowUp")
        explorer.get_by_text("press the button").wait_for()
        assert explorer.locator(".frames").count() == 0
        explorer.get_by_role("button", name="Compute this pair").press("Enter")
        explorer.locator(".frames").wait_for()
        page.evaluate("async () => { await jupyterapp.commands.execute('docmanager:save') }")
        page.evaluate("async () => { await jupyterapp.shell.currentWidget.sessionContext.shutdown() }")
    with lab.browser() as page:
        page.goto(server.address(f"lab/workspaces/without/tree/{NAME}"))
        films = page.locator(".jp-OutputArea-output .film")
        films.last.wait_for(timeout=60_000)
        page.evaluate("async () => { await jupyterapp.shell.currentWidget.sessionContext.ready }")
        page.get_by_text("Error displaying widget").first.wait_for(state="attached")
        assert films.count() == 2 and all(film.is_visible() for film in films.all())
        assert not any(words.is_visible() for words in page.get_by_text("Error displaying widget").all())
        slider = films.first.get_by_role("slider")
        before = lab.pixels(films.first)
        slider.press("ArrowLeft")
        wait_for_other(films.first, before, "the slider of HTML moves it")


PICTURE = "canvas => canvas.toDataURL()"
PLAYED = """import torch
from helpers.show import publish
from helpers.show.bend import Bend
from helpers.show.pad import Pad

torch.manual_seed(0)
own, G = (
    torch.nn.Sequential(torch.nn.Linear(8, 784), last, torch.nn.Unflatten(1, (1, 28, 28))).requires_grad_(False)
    for last in (torch.nn.Softsign(), torch.nn.Tanh())  # the page cannot decode the first
)
ends = torch.randn(2, 1, 8)
images = torch.stack([own(z) for z in ends])
publish.play(Bend(own, tuple(ends), tuple(images), torch.lerp(*ends, torch.rand(9, 1))[None], ["a pair"]), "Bend it.")
publish.play(Pad(G, torch.randn(4, 8)), "Drag it.")"""


def test_figures_that_decode_live_ask_the_kernel(chromium: None, tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(PLAYED)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "notebooks" / "01_played.ipynb")
    with lab.jupyterlab(tmp_path) as server, lab.browser() as page:
        lab.run_all(page, server, "01_played.ipynb", seconds=120)
        bent, pad = page.locator(".live .play").all()
        assert page.locator(".play").count() == 4 and not any(
            html.is_visible() for html in page.locator(".play:not(.live *)").all()
        )
        yours = bent.locator('tr[data-path="your path"] td').nth(1)
        wait_for(lambda: yours.text_content(), "numbers of the path", seconds=20)
        blank = page.evaluate(
            f"() => ({PICTURE})(Object.assign(document.createElement('canvas'), {{width: 28, height: 28}}))"
        )
        wait_for(lambda: pad.locator(".sample").evaluate(PICTURE) != blank, "the sample", seconds=20)
        middle, sample = bent.locator(".images canvas").nth(8), pad.locator(".sample")
        pictures, before = [canvas.evaluate(PICTURE) for canvas in (middle, sample)], yours.text_content()
        handle = bent.get_by_role("slider")
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        page.mouse.move(box["x"] + 22, box["y"] + 22)
        page.mouse.down()
        page.mouse.move(box["x"] + 22, box["y"] - 78, steps=5)
        page.mouse.up()
        wait_for(lambda: yours.text_content() != before, "other numbers", seconds=20)
        wait_for(lambda: middle.evaluate(PICTURE) != pictures[0], "and other images", seconds=20)
        assert "straight line" in bent.locator("output").text_content()
        pad.get_by_role("slider").focus()
        page.keyboard.press("ArrowLeft")
        wait_for(lambda: sample.evaluate(PICTURE) != pictures[1], "keys move the sample", seconds=20)
