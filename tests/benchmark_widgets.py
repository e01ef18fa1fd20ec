"""From the mouse to the new picture: latency and memory of every explorer, in JupyterLab and headless Chromium.

For each explorer the handle of a slider is dragged by one step at a time, and the time is taken from the browser's
event to the frame that follows the drawing of the new picture. Then come 1000 moves without pause, before and after
which both sides' memory is read.
"""

import sys
import tempfile
from pathlib import Path

import lab
import nbformat
import numpy as np
import pandas as pd
import psutil

CELLS = [
    """
import types
import torch
from helpers import beta_vae, data, evaluation, figures
from helpers.gan import load_generator
figures.use_style()
x, G = data.mnist("test")[0], load_generator("gan")
""",
    "from helpers.latent_explorer import latent_explorer; latent_explorer(G)",
    """
from helpers.beta_explorer import beta_explorer, beta_frames
names = {"gaussian": "vae-sweep", "echo": "echo-sweep"}
sweeps = {noise: beta_vae.train(beta_vae.RECIPES[name], name) for noise, name in names.items()}
beta_explorer(sweeps, beta_frames(sweeps, beta_vae.pixels("test")[:512]))
""",
    """
from helpers.inversion_viewer import InversionViewer
ends = types.SimpleNamespace(z=torch.randn(1, 64, 64), loss=torch.rand(1, 64), kind=torch.ones(1, 64))
ends.kinks = ends.residual = torch.ones(1, 64)
InversionViewer({"GAN": G}, x[:1], {"GAN": ends})
""",
    """
from helpers.path_explorer import PathExplorer, find_routes, side_by_side
*_, found = find_routes(G, x[0], x[1], 33)
judge = evaluation.train_classifier().modules["classifier"]
PathExplorer({"GAN": G}, judge, x[:1], x[1:2], {"GAN": {kind: path[None] for kind, path in found.items()}})
""",
    "side_by_side({kind: G(path) for kind, path in found.items()}, x[0], x[1])",
]
EXPLORERS = {"latent": 0, "β": 0, "inversion": 0, "path": 1, "side by side": 1}  # the picture that is watched
PROBE = """(picture) => {
  window.times = []; window.begun = null; window.shifted = 0;
  document.onpointermove = event => { if (event.buttons) window.begun ??= event.timeStamp };
  picture.addEventListener('drawn', () => requestAnimationFrame(() => {
    if (window.begun !== null) window.times.push(performance.now() - window.begun);
    window.begun = null;
  }));
  window.shifts?.disconnect();
  window.shifts = new PerformanceObserver(list => list.getEntries().forEach(entry => window.shifted += entry.value));
  window.shifts.observe({type: 'layout-shift'});
}"""


def memory(page: lab.Page) -> tuple[float, float]:
    """MB that the page's JavaScript and the kernel hold, garbage collected."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")["usedSize"]
    processes = psutil.Process().children(recursive=True)
    kernel = [process for process in processes if "ipykernel_launcher" in " ".join(process.cmdline())]
    return heap / 1e6, kernel[0].memory_info().rss / 1e6


def measure(page: lab.Page, explorer: lab.Locator, which: int, steps: int, moves: int) -> dict[str, float]:
    """Latencies in ms over so many single steps, then memory over so many moves."""
    slider, picture = explorer.locator(".widget-slider").first, explorer.locator("canvas").nth(which)
    sweep = np.abs(np.linspace(-1, 1, 13))[:-1]
    lab.drag(page, slider, list(sweep), pause=0.1)
    picture.evaluate(PROBE)
    lab.drag(page, slider, list(np.resize(sweep, steps)), pause=0.2)
    times = np.array(page.evaluate("window.times"))
    before = memory(page)
    lab.drag(page, slider, list(np.resize(np.abs(np.linspace(-1, 1, 101)), moves)), pause=0.01)
    page.wait_for_timeout(1000)
    after, shifted = memory(page), page.evaluate("window.shifted")
    row = {"pictures": len(times), "median ms": np.median(times), "95 % ms": np.quantile(times, 0.95)}
    row |= {"page MB": before[0], "after": after[0], "kernel MB": before[1], "after ": after[1]}
    return row | {"layout shift": shifted}


def main(steps: int = 200, moves: int = 1000) -> None:
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, CELLS)))
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        nbformat.write(notebook, Path(folder, "explorers.ipynb"))
        with lab.jupyterlab(Path(folder)) as address, lab.browser() as page:
            lab.run_all(page, address, "explorers.ipynb", seconds=300)
            explorers = page.locator(".jp-OutputArea-output:has(.widget-slider)")
            rows = {
                name: measure(page, explorers.nth(k), which, steps, moves)
                for k, (name, which) in enumerate(EXPLORERS.items())
            }
    print(pd.DataFrame(rows).T.to_string(float_format="{:.1f}".format))


if __name__ == "__main__":
    if lab.CHROMIUM is None:
        sys.exit("No chromium on this machine: `make setup` as root installs Debian's.")
    main(*map(int, sys.argv[1:]))
