"""Notebook 7 in a real JupyterLab and a real browser: drag a slider and other pixels appear."""

import io
import os
import time
from pathlib import Path

import execute
import lab
import numpy as np
import papermill
import pytest
from conftest import ROOT
from PIL import Image


@pytest.fixture
def chromium() -> None:
    """Skip where there is no Chromium, except in CI, where that is a failure."""
    if lab.CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("no chromium on this machine: `make setup` as root installs Debian's.")


def pixels(locator: lab.Locator) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("L"), dtype=float)


def becomes_other(locator: lab.Locator, before: np.ndarray, seconds: float = 10) -> bool:
    """Whether what is on the screen there differs from before within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if np.abs(pixels(locator) - before).max() > 50:
            return True
    return False


def test_dragging_a_slider_of_notebook_7_shows_other_pixels(
    chromium: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELS", str(tmp_path / "models"))
    name = "07_latent_paths.ipynb"
    parameters = execute.reduced_parameters()[Path(name).stem]
    papermill.execute_notebook(ROOT / "notebooks" / name, tmp_path / name, parameters, prepare_only=True)
    with lab.jupyterlab(tmp_path) as address, lab.browser() as page:
        lab.run_all(page, address, name, seconds=300)
        films, explorer = page.locator(".film"), page.locator(".explorer")
        assert films.count() == 2 and explorer.locator(".film").count() == 1
        for film, which in ((films.first, ".sheet"), (films.last, ".chart")):  # the cross-fade; the curves
            slider, picture = film.get_by_role("slider"), film.locator(which).first
            slider.scroll_into_view_if_needed()
            before = pixels(picture)
            lab.drag(page, slider, [0.2, 0.5, 0.8, 0.99])
            assert becomes_other(picture, before), "the mouse moves the slider, and the picture follows"
            after = pixels(picture)
            slider.focus()
            for _ in range(3):
                page.keyboard.press("ArrowLeft")
            assert becomes_other(picture, after), "the keyboard does, too"
            film.get_by_role("button").click()
            page.wait_for_function("[...document.querySelectorAll('.film button')].some(b => b.textContent != '▶')")
            assert becomes_other(picture, pixels(picture)), "and it plays"
            film.get_by_role("button").click()
        explorer.get_by_role("radio", name="image 2", exact=True).last.focus()
        page.keyboard.press("Space")
        explorer.get_by_text("press the button").wait_for()
        explorer.get_by_role("button", name="Compute this pair").press("Enter")
        explorer.locator(".film").wait_for()
