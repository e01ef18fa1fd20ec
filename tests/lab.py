"""JupyterLab on this machine alone, and a headless Chromium that opens notebooks in it and drags their sliders."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT
from playwright.sync_api import Locator, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SETTINGS = {  # no offers of news, and every cell in the page, seen or not
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@contextlib.contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """A server for the notebooks of `folder`, stopped at the end; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, settings in SETTINGS.items():
        file = folder / ".settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += ["--IdentityProvider.token=", f"--notebook-dir={folder}", "--expose-app-in-browser"]
    command += [f"--LabApp.user_settings_dir={folder / '.settings'}", f"--LabApp.workspaces_dir={folder / '.spaces'}"]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "JUPYTER_RUNTIME_DIR": str(folder / ".runtime")}
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=settings, stdout=log, stderr=log)
    try:
        yield _wait(f"http://127.0.0.1:{port}", folder / "server.log")
    finally:
        server.terminate()
        server.wait(30)


def _wait(address: str, log: Path, seconds: float = 60) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/api"):
            return address
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not answer within {seconds:.0f} s: {log.read_text()[-2000:]}")


@contextlib.contextmanager
def browser(width: int = 1400, height: int = 1000) -> Iterator[Page]:
    """A page of headless Chromium, Debian's own: nothing is downloaded."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium.new_page(viewport={"width": width, "height": height})
        chromium.close()


def run_all(page: Page, address: str, name: str, seconds: float) -> None:
    """Open a notebook, run all its cells and wait until they are done; RuntimeError if one fails."""
    page.set_default_timeout(1000 * seconds)
    page.goto(f"{address}/lab/tree/{name}")
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
    """Press the mouse on a slider's left end and move it to each share of the slider's length, then let go."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    for share in shares:
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        time.sleep(pause)
    page.mouse.up()
