"""From the mouse to the new picture in JupyterLab: of the latent explorer, which asks the kernel, and of a film.

The handle of a slider is dragged step by step; the time is that from the browser's event to the frame that follows the
new picture.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import lab
import nbformat
import numpy as np
import pandas as pd

CELLS = (
    "import torch\nfrom helpers import explorers, gan, player, publish\nG = gan.load_generator('gan')",
    "explorers.latent_explorer(G)",
    "publish.film({'x': torch.rand(33, 1, 28, 28)}, 'Noise.')",
)
PROBE = """(explorer) => {
  window.times = []; window.begun = null;
  document.onpointermove = event => { if (event.buttons) window.begun = event.timeStamp };
  new MutationObserver(() => requestAnimationFrame(() => {
    if (window.begun !== null) window.times.push(performance.now() - window.begun);
    window.begun = null;
  })).observe(explorer, {subtree: true, childList: true, attributeFilter: ['style']});
}"""


def measure(page: lab.Page, slider: lab.Locator, pictures: lab.Locator) -> dict[str, float]:
    """Latencies in ms over 60 single steps."""
    pictures.evaluate(PROBE)
    lab.drag(page, slider, list(np.resize(np.abs(np.linspace(-0.95, 0.95, 13)), 60)), pause=0.2)
    times = np.array(page.evaluate("window.times"))
    return {"pictures": len(times), "median ms": np.median(times), "95 % ms": np.quantile(times, 0.95)}


def main() -> None:
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, CELLS)))
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder, "notebooks").mkdir()
        nbformat.write(notebook, Path(folder, "notebooks", "explorers.ipynb"))
        with lab.jupyterlab(Path(folder)) as server, lab.browser() as page:
            lab.run_all(page, server, "explorers.ipynb", seconds=300)
            latent, film = page.locator(".explorer"), page.locator(".film").last
            rows = {
                "latent explorer": measure(page, latent.get_by_role("slider").first, latent.locator(".films")),
                "film": measure(page, film.get_by_role("slider"), film),
            }
    print(pd.DataFrame(rows).T.to_string(float_format="{:.1f}".format))


if __name__ == "__main__":
    if not shutil.which(lab.CHROMIUM):
        sys.exit("No chromium on this machine: `make setup` as root installs Debian's.")
    main()
