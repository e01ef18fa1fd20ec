"""What several tests share: seeds, paths, and small notebooks built by the report's own code."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "report"))  # its modules are scripts beside build.py, no package

import facts  # noqa: E402
import merge  # noqa: E402

torch.set_num_threads(1)  # two test processes run at once, and rounding depends on the number of threads
os.environ.setdefault("OMP_NUM_THREADS", "1")
SLOW = [
    "test_report.py",
    "test_browser.py",
    "test_faults.py",
    "test_surroundings.py",
]  # begin first, so that none is last


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: SLOW.index(item.path.name) if item.path.name in SLOW else len(SLOW))


@pytest.fixture(autouse=True)
def seeds() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.fixture(scope="session")
def tex() -> None:
    """Skip where the PDF's programs are missing, except in CI, where that is a failure."""
    missing = [name for name in ("xelatex", "pandoc", "pdftotext") if shutil.which(name) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{', '.join(missing)} not installed: `make setup` as root installs what the PDF needs.")


def wait_for(condition, what: str, seconds: float = 120) -> None:
    """Wait until condition() holds; an AssertionError that names what did not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} within {seconds:.0f} s"
        time.sleep(0.05)


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator["Workshop"]:
    made = Workshop(tmp_path)
    yield made
    for process in made.started:
        with contextlib.suppress(ProcessLookupError):  # who stops the tests stops the builds
            os.killpg(process.pid, signal.SIGKILL)


class Workshop:
    """A folder with notebooks of its own, in which the report's build runs."""

    def __init__(self, folder: Path):
        self.folder, self.pdf, self.notebooks = folder, folder / "a report.pdf", folder / "some notebooks"
        self.page, self.started = self.pdf.with_suffix(".html"), []
        self.notebooks.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, *cells: str, parameters: str = "seed = 0") -> None:
        """A notebook with a heading, a parameters cell, a set-up cell and the given code cells."""
        make = nbformat.v4
        notebook = make.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
        notebook.cells = [
            make.new_markdown_cell(f"# 1. Notebook {name}"),
            make.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            make.new_code_cell("from helpers import publish"),
            *map(make.new_code_cell, cells),
        ]
        nbformat.write(notebook, self.notebooks / f"{name}.ipynb")

    def merged(self, markdown: str, *outputs: dict) -> nbformat.NotebookNode:
        """A notebook that was not executed, merged for the report, with such outputs and a cell at its end."""
        self.write("01_only", "pass")
        path = self.notebooks / "01_only.ipynb"
        notebook = nbformat.read(path, 4)
        for fact in outputs:
            notebook.cells[-1].outputs.append(nbformat.v4.new_output("display_data", {}, metadata={"report": fact}))
        notebook.cells.append(nbformat.v4.new_markdown_cell(markdown))
        nbformat.write(notebook, path)
        return merge.merge([path], facts.title_block(reduced=True), facts.run_facts(0, 1))

    def start(self, *options: str, **environment: str) -> subprocess.Popen:
        """Start report/build.py as make does, in a process group of its own; models go to a folder at first empty."""
        command = [sys.executable, ROOT / "report" / "build.py", "--build", self.folder / "build", "--output", self.pdf]
        if "--notebooks" not in options:
            command += ["--notebooks", self.notebooks]
        process = subprocess.Popen(
            [*command, *options],
            env=os.environ | {"MODELS": str(self.folder / "models")} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        )
        self.started.append(process)
        return process

    def build(self, *options: str, **environment: str) -> subprocess.CompletedProcess:
        """The same, waited for."""
        process = self.start(*options, **environment)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def text(self) -> str:
        """The text of the PDF as a reader would copy it."""
        return subprocess.run(
            ["pdftotext", "-layout", self.pdf, "-"], capture_output=True, text=True, check=True
        ).stdout
