"""What several tests share: seeds, paths, and small notebooks built by the report's own code."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import Popen

import matplotlib as mpl
import nbformat
import numpy as np
import pytest
import torch
from nbformat import NotebookNode

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "report"))  # its modules are scripts beside build.py, no package

import facts  # noqa: E402
import merge  # noqa: E402

os.environ.setdefault("OMP_NUM_THREADS", "1")
TRAINING = """import os, time, torch
from pathlib import Path
from types import SimpleNamespace
from helpers import store

store.CHECKPOINT_SECONDS = 0.0
start = lambda: SimpleNamespace(kept={"m": torch.nn.Linear(1, 1)}, rng=torch.Generator().manual_seed(1))
with store.training("tiny", {"epochs": 4, "seed": 0}, start) as run:
    model = run.model.kept["m"]
    for epoch in run.epochs():
        if epoch == 2 and "PAUSE" in os.environ:
            Path(os.environ["PAUSE"]).touch()
            time.sleep(300)
        model.bias.data += torch.randn(1) + torch.randn(1, generator=run.model.rng)
        run.log({"bias": model.bias.item()})"""  # of a model in a notebook; it waits where it is told to
SLOW = [
    "test_report.py",
    "test_build.py",
    "test_lab.py",
    "test_execute.py",
    "test_rerun.py",
]  # begin first, so that none is last


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: SLOW.index(item.path.name) if item.path.name in SLOW else len(SLOW))


@pytest.fixture(autouse=True)
def seeds_threads_and_environment() -> Iterator[None]:
    torch.set_num_threads(1)  # two test processes run at once, and rounding depends on the number of threads
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    before = dict(os.environ)
    with mpl.rc_context():  # what one test sets for figures does not reach the next
        yield
    os.environ.clear()  # nor what it sets for its children
    os.environ.update(before)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the models at tiny parameters, trained from nothing; all test processes share it."""
    folder = tmp_path_factory.getbasetemp()
    return (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "tiny models"


def skip_without(*programs: str) -> None:
    """Skip where a program is missing, except in CI, where that is a failure."""
    missing = [name for name in programs if not shutil.which(name)]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{', '.join(missing)} not installed: `make test` as root installs it.")


@pytest.fixture(scope="session")
def tex() -> None:
    skip_without("xelatex", "pandoc", "pdftotext")


@pytest.fixture(scope="session")
def chromium() -> None:
    skip_without(CHROMIUM)


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
    """A folder with notebooks of its own, in which the report's build runs: that of `code`, with `options`."""

    def __init__(self, folder: Path):
        self.folder, self.pdf, self.notebooks = folder, folder / "a report.pdf", folder / "some notebooks"
        self.page, self.started, self.code = self.pdf.with_suffix(".html"), [], ROOT
        self.options = ["--build", folder / "build", "--output", self.pdf, "--notebooks", self.notebooks]
        self.notebooks.mkdir(parents=True)

    def write(self, name: str, *cells: str, parameters: str = "seed = 0") -> Path:
        """A notebook with a heading, a parameters cell, a set-up cell and the given code cells."""
        make, path = nbformat.v4, self.notebooks / f"{name}.ipynb"
        notebook = make.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
        notebook.cells = [
            make.new_markdown_cell(f"# 1. Notebook {name}"),
            make.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            make.new_code_cell("from helpers.show import publish"),
            *map(make.new_code_cell, cells),
        ]
        nbformat.write(notebook, path)
        return path

    def merged(self, markdown: str, *shown: dict, tags: Sequence[str] = ()) -> NotebookNode:
        """A notebook that was not executed, merged for the report, with such outputs and a cell at its end."""
        path, make = self.write("01_only", "pass"), nbformat.v4
        notebook = nbformat.read(path, 4)
        notebook.cells[-1].outputs = [make.new_output("display_data", metadata={"report": fact}) for fact in shown]
        notebook.cells.append(make.new_markdown_cell(markdown, metadata={"tags": list(tags)}))
        nbformat.write(notebook, path)
        return merge.merge([path], facts.title_block("full run"), facts.run_facts(0, 1, []))

    def start(self, *options: str, before: Sequence[str] = (), python: str = sys.executable, **environment) -> Popen:
        """Start report/build.py, after the words of `before`, in a process group of its own and with an empty store."""
        defaults = {"MODELS": str(self.folder / "models"), "PYTHONPATH": str(self.code)}
        command = [*before, python, self.code / "report" / "build.py", *self.options, *options]
        how = {"cwd": self.folder, "encoding": "utf-8", "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        how["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores it
        process = Popen(command, env=os.environ | defaults | environment, start_new_session=True, **how)
        self.started.append(process)
        return process

    def build(self, *options: str, **how) -> str:
        """Build, and succeed: what was said."""
        process = self.start(*options, **how)
        out, err = process.communicate()
        assert process.returncode == 0 and "Traceback" not in err, err
        return out

    def refused(self, *options: str, **how) -> list[str]:
        """Build, and fail: the lines of what was said, without a traceback; the old PDF and page are left."""
        old = b"yesterday's report"
        self.pdf.write_bytes(old)
        self.page.write_bytes(old)
        process = self.start(*options, **how)
        _, err = process.communicate()
        assert process.returncode == 1 and "Traceback" not in err, err
        assert self.pdf.read_bytes() == self.page.read_bytes() == old
        return err.strip().splitlines()

    def text(self) -> str:
        """The text of the PDF as a reader would copy it."""
        command = ["pdftotext", "-layout", self.pdf, "-"]
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
