"""The cells of a notebook, run again and again in one process and in other orders, as a student may run them."""

import multiprocessing
import os
import textwrap
import threading
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from helpers.show import publish

LIBRARIES = [
    "torch",
    "torchvision",
    "pandas",
    "seaborn",
    "scipy.stats",
    "scipy.sparse.csgraph",
    "ipywidgets",
    "anywidget",
]
SET_UP = "figures.use_style()"  # the last of the first cells has it


def first_line(cell: str) -> str:
    """The first line of a cell's code that is not empty."""
    return next((line for line in cell.splitlines() if line.strip()), "")


class Failure(NamedTuple):
    """A cell that failed: its number among the code cells, its first line, when it was run, and the error."""

    number: int
    line: str
    when: str
    error: str

    def __str__(self) -> str:
        return f"code cell {self.number} (`{self.line}`) fails {self.when}: {self.error}"


def failures(notebook: Path, parameters: dict[str, Any], models: Path) -> list[Failure]:
    """The cells of a notebook that fail, each with its first failure, in a process of its own.

    Trained models are read from `models`, or put there. All such processes are copies of a server in which the
    libraries were imported once.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send_failures, args=(there, notebook, parameters, models))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        raise RuntimeError(f"{notebook.stem}: the process that runs its cells has died.") from None
    finally:
        process.kill()
        process.join()


def _send_failures(to: Connection, notebook: Path, parameters: dict[str, Any], models: Path) -> None:
    """Run each cell twice; then the set-up again; then the cells behind it from the last to the first.

    Backwards, each cell finds the last meaning that any cell gives a name. Forwards again, each finds the old one.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ |= {"MODELS": str(models), "TQDM_DISABLE": "1"}
    os.chdir(notebook.parent)
    cells = _code(notebook, parameters)
    every = range(len(cells))
    first = 1 + next(number for number in every if SET_UP in cells[number])
    shell, found = _shell(), []
    for number in every:
        found += _run(shell, cells, [number], "in its first run")
        found += _run(shell, cells, [number], "when it is run twice")
    backwards = [*every[:first], *reversed(every[first:])]
    found += _run(shell, cells, backwards, "when it is run again after later cells")
    to.send(sorted({failure.number: failure for failure in reversed(found)}.values()))


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _code(notebook: Path, parameters: dict[str, Any]) -> list[str]:
    """The code cells but for explorers; the given values are set in the cell of the parameters."""
    cells = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or "widget" in tags or "Explorer(" in cell.source:
            continue
        given = [f"{name} = {value!r}" for name, value in parameters.items()] if "parameters" in tags else []
        cells.append("\n".join([cell.source, *given]))
    return cells


def _shell() -> InteractiveShell:
    """What runs a kernel's cells, without history and tracebacks. To save time, no figure or film is drawn."""
    plt.switch_backend("agg")
    publish.figure = lambda fig, *_, **__: plt.close(fig)
    publish.film = lambda *_, **__: plt.close("all")
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    shell.showtraceback = lambda *_, **__: None
    return shell


def _run(shell: InteractiveShell, cells: Sequence[str], order: Iterable[int], when: str) -> list[Failure]:
    """Run the cells with these numbers; return those that fail."""
    found = []
    for number in order:
        with capture_output():
            done = shell.run_cell(cells[number])
        error = done.error_before_exec or done.error_in_exec
        if isinstance(error, Exception):
            words = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
            found.append(Failure(number + 1, first_line(cells[number]), when, words))
        elif error:  # Ctrl-C
            raise error
    return found
