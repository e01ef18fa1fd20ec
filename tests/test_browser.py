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
        explorers = page.locator(".jp-OutputArea-output:has(.widget-slider)")
        assert explorers.count() == 2
        for explorer, which in ((explorers.nth(0), -1), (explorers.nth(1), -2)):  # the curves; the cross-fade
            slider, picture = explorer.locator(".widget-slider").first, explorer.locator("canvas:visible").nth(which)
            slider.scroll_into_view_if_needed()
            before = pixels(picture)
            lab.drag(page, slider, [0.2, 0.5, 0.8, 1.0])
            assert becomes_other(picture, before), "the mouse moves the slider, and the picture follows"
            after = pixels(picture)
            slider.locator(".noUi-handle").focus()
            page.keyboard.press("Home")
            assert becomes_other(picture, after), "the keyboard does, too"
