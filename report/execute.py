"""Run the notebooks, several at once, each in a process of its own (`runner`); unchanged ones are not run again."""

import ast
import contextlib
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import facts
import nbformat
import torch
from errors import BuildError
from IPython.core.inputtransformer2 import TransformerManager

import helpers
from helpers.compute import device_name
from helpers.show import references

HELPERS = Path(helpers.__file__).parent
REDUCED = Path(__file__).with_name("reduced.toml")
RUNNER = Path(__file__).with_name("runner.py")
CGROUPS = Path("/sys/fs/cgroup")


class Running(NamedTuple):
    """A notebook that is being run: its process, and a folder in which it leaves notes."""

    process: subprocess.Popen
    notes: Path
    begin: float

    def note(self, name: str) -> str:
        """What was noted: "failed", the reason of a failure, or "models", the models that were used."""
        path = self.notes / name
        return path.read_text(encoding="utf-8") if path.exists() else ""


def find(folder: Path) -> list[Path]:
    """The notebooks NN_name.ipynb in `folder`, in order."""
    notebooks = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise BuildError(f"{folder} contains no notebook with a name like 01_subject.ipynb.")
    return notebooks


def reduced_parameters(path: Path = REDUCED) -> dict[str, dict]:
    """The parameters of each notebook for a reduced run, by its name without suffix."""
    return read_parameters(path)


def read_parameters(path: Path) -> dict[str, dict]:
    """The parameters in a TOML file: a table for each notebook, by its name without suffix."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BuildError(f"the parameters cannot be read: {path}: {error.strerror}.") from None
    except ValueError as error:  # also of the decoding
        raise BuildError(f"{path} is not a TOML file of parameters: {error}.") from None
    if wrong := [name for name, table in tables.items() if not isinstance(table, dict)]:
        raise BuildError(f"{path}: {wrong[0]} stands outside the table of a notebook, such as [04_gan].")
    return tables


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def parameters_of(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Names and source texts of the parameters of a notebook's run (an injected value replaces the default)."""
    values = {}
    for cell in tagged(notebook, "parameters") + tagged(notebook, "injected-parameters"):
        for line in tree(cell.source).body:
            targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
            if isinstance(line, ast.Assign | ast.AnnAssign) and line.value:
                values |= {target.id: ast.unparse(line.value) for target in targets if isinstance(target, ast.Name)}
    return values


def tree(source: str) -> ast.Module:
    """The syntax tree of a cell, with magic commands as calls; that of an empty cell for what is not Python."""
    source = source.lstrip()
    if source.startswith("%%"):  # such as %%time
        source = source.partition("\n")[2]
    try:
        return ast.parse(TransformerManager().transform_cell(source))
    except SyntaxError:
        return ast.parse("")


def check_parameters(path: Path, parameters: dict) -> None:
    """Raise BuildError for a parameter that the notebook does not have, or whose value is not of its default's type.

    Papermill itself only warns about the first and accepts the second; and it sets a value after the default of another
    parameter was computed from the old one, which is refused here, too.
    """
    known = parameters_of(nbformat.read(path, as_version=4))
    defaults = _evaluated(known)
    for name, value in parameters.items():
        if name not in known:
            raise BuildError(f"{path.name} has no parameter {name!r}: its parameters are {', '.join(known) or 'none'}.")
        if name in defaults and not _alike(value, defaults[name]):
            raise BuildError(f"{path.name}: {name} = {value!r} is not of the kind of its default, {defaults[name]!r}.")
    for name in known.keys() - parameters.keys():
        words = {node.id for node in ast.walk(ast.parse(known[name])) if isinstance(node, ast.Name)}
        if changed := sorted(words & parameters.keys()):
            reason = f"is computed from {', '.join(changed)} before the new value is set"
            raise BuildError(f"{path.name}: {name} {reason}: give {name}, too, or compute it in a later cell.")


def _evaluated(texts: dict[str, str]) -> dict[str, object]:
    """The values of parameters, without those that are computed from anything but other parameters."""
    values = {}
    for name, text in texts.items():
        with contextlib.suppress(Exception):
            values[name] = eval(text, dict(values))  # from our own notebooks
    return values


def _alike(value: object, default: object) -> bool:
    """Whether a value has the type of its default, is not empty, and is at least 0 (at least 1 for a count)."""
    if isinstance(default, list) and default:
        return isinstance(value, list) and bool(value) and all(_alike(entry, default[0]) for entry in value)
    if type(value) is not type(default) and not (isinstance(default, float) and type(value) is int):
        return False
    return type(value) not in (int, float) or value >= (1 if type(default) is int and default else 0)


def fingerprint(notebook: Path, parameters: dict) -> str:
    """A hash of all but models that determines a notebook's outputs: cells, parameters, helpers, libraries, machine."""
    cells, used = references.authored(nbformat.read(notebook, as_version=4)), set()
    for kind, source in cells:
        if kind == "code":
            _imported(source, used)
    code = [part.read_text("utf-8") for path in sorted(used) for part in sorted(path.parent.glob(path.stem + ".*"))]
    described = [cells, parameters, code, facts.versions(), device_name()]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


def _imported(code: str, seen: set[Path]) -> set[Path]:
    """The files of `helpers` that the code imports in any form, directly or through other files, with its packages."""
    for node in ast.walk(tree(code)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            first, *parts = name.split(".")
            if first == "helpers":
                _follow(parts, seen)
    return seen


def _follow(parts: list[str], seen: set[Path]) -> None:
    """Add to `seen` the file of the module helpers.PARTS, those of the packages around it, and what they import."""
    packages = [HELPERS.joinpath(*parts[:depth], "__init__.py") for depth in range(len(parts) + 1)]
    for path in [*packages, HELPERS.joinpath(*parts).with_suffix(".py")]:
        if path.is_file() and path not in seen:
            seen.add(path)
            _imported(path.read_text(encoding="utf-8"), seen)


def recall(executed: Path, mark: str) -> float | None:
    """The seconds that the executed notebook took if it can be used again, otherwise None."""
    try:
        note = nbformat.read(executed, as_version=4).metadata["reuse"]
        same = note["fingerprint"] == mark
        for stem, known in map(str.split, note["models"]):  # "NAME-HASH SHA256" of the models it used
            same = same and facts.record(stem)["sha256"] == known
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return note["seconds"] if same else None


def _remember(executed: Path, mark: str, seconds: float, models: str) -> None:
    """Store in an executed notebook its fingerprint, its run time and the models that it used."""
    notebook = nbformat.read(executed, as_version=4)
    notebook.metadata["reuse"] = {"fingerprint": mark, "seconds": seconds, "models": sorted(set(models.splitlines()))}
    nbformat.write(notebook, executed)


def refresh(source: Path, executed: Path) -> None:
    """Give an executed notebook the Markdown of its source, in which the numbers of references may have changed."""
    notebook, now = (nbformat.read(path, as_version=4) for path in (executed, source))
    kept = [cell for cell in notebook.cells if references.TAG not in cell.metadata.get("tags", [])]
    notebook.cells = kept + tagged(now, references.TAG)
    texts, written = ([cell for cell in book.cells if cell.cell_type == "markdown"] for book in (notebook, now))
    for cell, new in zip(texts, written, strict=True):
        cell.source = new.source
    nbformat.write(notebook, executed)


def models_used(executed: list[Path]) -> list[str]:
    """The models NAME-HASH that the executed notebooks used."""
    notes = [nbformat.read(path, as_version=4).metadata.get("reuse", {}) for path in executed]
    return sorted({line.split()[0] for note in notes for line in note.get("models", [])})


def processors() -> int:
    """The number of processors that this process may use: its affinity, and its container's share of time."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    groups = Path("/proc/self/cgroup")
    listed = groups.read_text().splitlines() if groups.exists() else []
    return max(1, math.ceil(min(count, quota(listed))))


def quota(groups: list[str], root: Path = CGROUPS) -> float:
    """The processors' worth of time that control groups allow, infinity without a limit.

    groups: the lines of /proc/self/cgroup, "0::/path" (version 2) or "4:cpu,cpuacct:/path" (version 1). The limits of
    the groups around these count, too; a container may see only the files at the root.
    """
    shares = [math.inf]
    for _, controllers, path in (line.split(":", 2) for line in groups):
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root
        group = top / path.lstrip("/")
        for folder in [group, *group.parents]:
            if folder.is_relative_to(top):
                with contextlib.suppress(OSError, ValueError):  # it has no limit
                    shares.append(_share(folder, old=bool(controllers)))
    return min(shares)


def _share(folder: Path, old: bool) -> float:
    """The limit of one control group. Raises OSError or ValueError if it has none."""
    if old:
        time, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    else:
        time, period = (folder / "cpu.max").read_text().split()
    if time.strip() in ("-1", "max"):
        return math.inf
    return int(time) / int(period)


def share_processors() -> int:
    """The number of notebooks that run at once ($JOBS, or at most two), each with its share of the threads.

    $OMP_NUM_THREADS is kept if it is set. This process uses the same number, since outputs may depend on it.
    """
    available, wish = processors(), os.environ.get("JOBS") or None
    if wish is not None and not (wish.isdecimal() and int(wish) >= 1):
        raise BuildError(f"JOBS={wish} must be a whole number of notebooks to run at once, at least 1.")
    jobs = int(wish) if wish else min(2, available)
    if not os.environ.get("OMP_NUM_THREADS"):  # if it is set, torch has read it here and will read it there
        threads = max(1, available // jobs)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
    return jobs


def run_all(notebooks: list[Path], folder: Path, parameters: dict[str, dict], anew: bool, jobs: int) -> None:
    """Execute notebooks into `folder`, the last ones first because they take longest; a failure ends the others.

    A notebook that was executed before is not run again if nothing has changed since, unless `anew`.
    """
    marks = {path: fingerprint(path, parameters.get(path.stem, {})) for path in notebooks}
    waiting, running = [], {}
    for path in notebooks:
        if anew or (seconds := recall(folder / path.name, marks[path])) is None:
            waiting.append(path)
        else:
            refresh(path, folder / path.name)
            print(f"{path.name:32} {seconds:7.1f} s, reused: nothing it depends on has changed", flush=True)
    with contextlib.ExitStack() as ending:
        while waiting or running:
            while waiting and len(running) < jobs:
                path = waiting.pop()
                started = _process(path, folder / path.name, parameters.get(path.stem, {}))
                running[path] = ending.enter_context(started)
            time.sleep(0.1)
            for path in [path for path, run in running.items() if run.process.poll() is not None]:
                run = running.pop(path)
                seconds, status = time.monotonic() - run.begin, run.process.returncode
                if status:
                    raise BuildError(run.note("failed") or f"{path.name}: its process ended with status {status}.")
                _remember(folder / path.name, marks[path], seconds, run.note("models"))
                print(f"{path.name:32} {seconds:7.1f} s", flush=True)


@contextlib.contextmanager
def _process(source: Path, target: Path, parameters: dict) -> Iterator[Running]:
    """A process that runs one notebook; it ends with the context, or by itself if this process dies."""
    folder = tempfile.gettempdir()
    if len(folder) > 60 and os.access("/tmp", os.W_OK):  # too long for the names of sockets
        folder = "/tmp"
    paths = os.pathsep.join(filter(None, [str(HELPERS.parent), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as runtime:  # HOME may not be writable
        settings = os.environ | {"JUPYTER_RUNTIME_DIR": runtime, "PYTHONPATH": paths}
        command = [sys.executable, RUNNER, source, target, json.dumps(parameters), runtime]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=settings)
        try:
            yield Running(process, Path(runtime), time.monotonic())
        finally:
            process.terminate()
            process.wait()
            process.stdin.close()
