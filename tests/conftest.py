"""What several tests share: paths, and small notebooks built by the report's own code."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "report"))  # its modules are scripts beside build.py, no package

import merge  # noqa: E402


@pytest.fixture(scope="session")
def tex() -> None:
    """Skip where the PDF's programs are missing, except in CI, where that is a failure."""
    missing = [name for name in ("xelatex", "pandoc", "pdftotext") if shutil.which(name) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{', '.join(missing)} not installed: `make setup` as root installs what the PDF needs.")


@pytest.fixture
def workshop(tmp_path: Path) -> "Workshop":
    return Workshop(tmp_path)


class Workshop:
    """A folder with notebooks of its own, in which the report's build runs."""

    def __init__(self, folder: Path):
        self.folder, self.pdf, self.notebooks = folder, folder / "a report.pdf", folder / "some notebooks"
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

    def merged(self, markdown: str) -> nbformat.NotebookNode:
        """A notebook that was not executed, merged for the report, with a cell of this Markdown at its end."""
        self.write("01_only")
        whole = merge.merge(sorted(self.notebooks.iterdir()))
        whole.cells.append(nbformat.v4.new_markdown_cell(markdown))
        return whole

    def start(self, *options: str, **environment: str) -> subprocess.Popen:
        """Start report/build.py as make does, in a process group of its own; models go to a folder at first empty."""
        command = [sys.executable, ROOT / "report" / "build.py", "--build", self.folder / "build", "--output", self.pdf]
        if "--notebooks" not in options:
            command += ["--notebooks", self.notebooks]
        return subprocess.Popen(
            [*command, *options],
            env=os.environ | {"MODELS": str(self.folder / "models")} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        )

    def build(self, *options: str, **environment: str) -> subprocess.CompletedProcess:
        """The same, waited for."""
        process = self.start(*options, **environment)
        try:
            out, err = process.communicate()
        finally:
            if process.poll() is None:  # who stops the tests stops the build
                os.killpg(process.pid, signal.SIGKILL)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def text(self) -> str:
        """The text of the PDF as a reader would copy it."""
        return subprocess.run(
            ["pdftotext", "-layout", self.pdf, "-"], capture_output=True, text=True, check=True
        ).stdout
