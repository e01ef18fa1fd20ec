"""JupyterLab as `make notebooks` starts it, and a headless Chromium that opens notebooks in it and drags sliders."""

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from conftest import CHROMIUM, ROOT, wait_for
from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

QUIET = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}  # no offers of news


class Server(NamedTuple):
    port: int
    token: str

    def address(self, path: str, token: str | None = None) -> str:
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token if token is None else token}"


@contextlib.contextmanager
def jupyterlab(folder: Path) -> Iterator[Server]:
    """`make notebooks` for those in `folder`/notebooks, with a browser that does nothing; stopped at the end."""
    for name, settings in QUIET.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    (folder / "jupyter_lab_config.json").write_text('{"LabApp": {"expose_app_in_browser": true}}')
    command = ["make", "-f", ROOT / "Makefile", "-C", folder, "notebooks", f"PYTHON={sys.executable}"]
    folders = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "spaces", "JUPYTER_CONFIG_DIR": ""}
    folders = {name: str(folder / place) for name, place in (folders | {"JUPYTER_RUNTIME_DIR": "runtime"}).items()}
    log, address = folder / "log", re.compile(r"http://127\.0\.0\.1:(\d+)/lab\?token=([0-9a-f]{40,})")

    def listens() -> bool:  # some versions name the address before they listen
        assert server.poll() is None, log.read_text()
        found = address.search(log.read_text())
        with socket.socket() as probe:
            return bool(found) and probe.connect_ex(("127.0.0.1", int(found[1]))) == 0

    with log.open("w") as file:
        settings = os.environ | folders | {"BROWSER": "true", "PYTHONPATH": str(ROOT)}
        server = subprocess.Popen(command, env=settings, stdout=file, stderr=file, start_new_session=True)
    try:
        wait_for(listens, "JupyterLab's address")
        port, token = address.search(log.read_text()).groups()
        yield Server(int(port), token)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


@contextlib.contextmanager
def browser(width: int = 1400, height: int = 1000, **options) -> Iterator[Page]:
    """A page of headless Chromium, Debian's own: nothing is downloaded. options: those of Playwright's new_page."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": width, "height": height}, **options)
        page.set_default_timeout(120_000)  # ms: the machine may be busy with other tests
        yield page
        chromium.close()


def pixels(locator: Locator) -> np.ndarray:
    """The grey values of what is on the screen there, 0 to 255."""
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("L"), dtype=float)


def run_all(page: Page, server: Server, name: str, seconds: float) -> None:
    """Open a notebook, run all its cells and wait until they are done; RuntimeError if one fails."""
    page.set_default_timeout(1000 * seconds)
    page.goto(server.address(f"lab/tree/{name}"))
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.evaluate("async () => { await jupyterapp.shell.currentWidget.sessionContext.ready }")
    page.wait_for_function("() => jupyterapp.shell.currentWidget.sessionContext.kernelDisplayStatus == 'idle'")
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells') }")
    prompts = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(prompt => prompt.textContent)"
    done = f"() => {{ const all = {prompts}; return /\\d/.test(all[0]) && !all.join('').includes('*') }}"
    page.wait_for_function(done)
    cells = page.evaluate("jupyterapp.shell.currentWidget.content.model.toJSON().cells")
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    if errors := [output for output in outputs if output["output_type"] == "error"]:
        raise RuntimeError(f"{name}: {errors[0]['ename']}: {errors[0]['evalue']}")


def drag(page: Page, slider: Locator, shares: list[float], pause: float = 0.0) -> None:
    """Press the mouse on the handle of a slider of ipywidgets, move it to each share of its length, then let go."""
    slider.scroll_into_view_if_needed()
    box, handle = slider.bounding_box(), slider.locator(".noUi-handle").bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    for share in shares:
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        time.sleep(pause)
    page.mouse.up()
