"""One notebook's run: parameters checked, papermill, a failing cell named."""

import ast
import json
import logging
import os
import sys
import threading
import tomllib
import warnings
from pathlib import Path

import nbformat
import papermill
from errors import BuildError
from jupyter_core.paths import jupyter_runtime_dir
from traitlets.config import Config

REDUCED = Path(__file__).with_name("reduced.toml")


def find(folder: Path) -> list[Path]:
    """The notebooks NN_name.ipynb of `folder`, in order."""
    notebooks = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise BuildError(f"{folder} holds no notebook named like 01_subject.ipynb.")
    return notebooks


def reduced_parameters(path: Path = REDUCED) -> dict[str, dict]:
    """Each notebook's parameters for a tiny run, by its name without suffix."""
    return tomllib.loads(path.read_text())


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def parameters_of(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Names and source texts of the values that a notebook ran with (an injected value replaces the default)."""
    values = {}
    for cell in tagged(notebook, "parameters") + tagged(notebook, "injected-parameters"):
        for line in ast.parse(cell.source).body:
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                values[line.targets[0].id] = ast.unparse(line.value)
    return values


def check_parameters(path: Path, parameters: dict) -> None:
    """Raise BuildError for a parameter that the notebook does not know, or whose value is not of its default's kind.

    Papermill itself only warns of the first, and takes the second.
    """
    known = parameters_of(nbformat.read(path, as_version=4))
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise BuildError(
            f"{path.name} has no parameter {', '.join(map(repr, unknown))}: "
            f"its parameters cell names {', '.join(known) or 'none'}."
        )
    for name, value in parameters.items():
        default = eval(known[name], {})  # plain values of our own notebook, such as 2**20
        if not _alike(value, default):
            raise BuildError(f"{path.name}: {name} = {value!r} is not of the kind of its default, {default!r}.")


def _alike(value: object, default: object) -> bool:
    """Whether a value may stand for a default: of its type, no emptier, and no number below 0, or 1 for a count."""
    if isinstance(default, list) and default:
        return isinstance(value, list) and bool(value) and all(_alike(entry, default[0]) for entry in value)
    if isinstance(value, bool) or not isinstance(value, (int, float) if isinstance(default, float) else type(default)):
        return False
    return not isinstance(value, int | float) or value >= (1 if isinstance(default, int) and default else 0)


def run(source: Path, target: Path, parameters: dict) -> None:
    """Execute `source` into `target`, which a failed run leaves partly executed.

    Kernel and build talk by files in Jupyter's runtime folder: two kernels that start at once may choose one port.
    """
    logging.getLogger("papermill").setLevel(logging.ERROR)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what a Ctrl-C leaves behind is no news
    os.environ |= {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "JUPYTER_PLATFORM_DIRS": "1"}  # both silence start-up notes
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            papermill.execute_notebook(
                str(source),
                str(target),
                parameters,
                kernel_name="python3",
                progress_bar=False,
                cwd=str(source.parent),
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
                config=Config(KernelManager={"transport": "ipc", "ip": f"{jupyter_runtime_dir()}/{os.getpid()}"}),
            )
    except papermill.PapermillExecutionError as error:
        number = 1 + sum(c.cell_type == "code" for c in nbformat.read(source, 4).cells[: _position(source, error)])
        first = next((line for line in error.source.splitlines() if line.strip()), "")
        raise BuildError(
            f"{source.name}, code cell {number} (`{first.strip()}`) failed: {error.ename}: {error.evalue.strip()} "
            f"(the partly executed copy is {target})"
        ) from None
    except RuntimeError as error:  # nbclient: the kernel died or did not start
        what = str(error).strip().splitlines()[-1]
        if "died" in what:
            what = "its kernel died, as it does where memory runs out: close other programs and run the same command."
        raise BuildError(f"{source.name}: {what} (copy so far: {target})") from None


def _position(source: Path, error: papermill.PapermillExecutionError) -> int:
    """Index of the failing cell in the source, which lacks papermill's injected cells."""
    cells = nbformat.read(source, 4).cells
    same = [i for i, cell in enumerate(cells) if cell.cell_type == "code" and cell.source == error.source]
    return min(same, key=lambda i: abs(i - error.cell_index)) if same else 0


def note(target: Path, what: str) -> str:
    """What `main` or the notebook left beside the target, "" if nothing; it is removed."""
    path = target.with_suffix(f".{what}")
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return text


def _end_with_parent() -> None:
    """Wait until the parent's end of the pipe is closed, as it is when the parent was killed."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def main(source: str, target: str, parameters: str) -> int:
    """One notebook for `schedule`; beside the target stand what models it used, and what failed, if anything."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["MODELS_USED"] = str(Path(target).with_suffix(".models"))
    try:
        run(Path(source), Path(target), json.loads(parameters))
    except (BuildError, OSError) as error:
        try:
            Path(target).with_suffix(".failed").write_text(str(error))
        except OSError:  # the disk is full
            print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
