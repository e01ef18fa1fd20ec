"""Run one notebook with papermill, in a process of its own, which `execute` starts: it imports little and ends early.

`runner.py SOURCE TARGET PARAMETERS NOTES`: the parameters are JSON; NOTES is a folder for notes to the parent.
"""

import json
import logging
import os
import sys
import threading
import warnings
from pathlib import Path

import papermill
import zmq
from errors import BuildError
from jupyter_core.paths import jupyter_runtime_dir
from traitlets.config import Config


def run(source: Path, target: Path, parameters: dict) -> None:
    """Execute `source` into `target`; after a failure, `target` is partly executed."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what a Ctrl-C leaves behind is no news
    os.environ |= {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "JUPYTER_PLATFORM_DIRS": "1"}  # both silence start-up notes
    os.environ["JPY_SESSION_NAME"] = source.name  # as JupyterLab sets it for its kernels
    warnings.simplefilter("ignore")
    options = {"kernel_name": "python3", "language": "python", "progress_bar": False, "cwd": str(source.parent)}
    options |= {"extra_arguments": ["--IPKernelApp.log_level=CRITICAL"], "config": Config(KernelManager=_connection())}
    try:
        papermill.execute_notebook(str(source), str(target), parameters, **options)
    except papermill.PapermillExecutionError as error:
        first = next((line for line in error.source.splitlines() if line.strip()), "")
        raise BuildError(
            f"{source.name}, code cell {error.exec_count} (`{first.strip()}`) failed: {error.ename}: "
            f"{error.evalue.strip()} (the partly executed copy is {target})"
        ) from None
    except RuntimeError as error:  # nbclient: the kernel died or did not start
        what = str(error).strip().splitlines()[-1]
        if "died" in what:
            what = "its kernel died, as it does where memory runs out: close other programs and run the same command."
        raise BuildError(f"{source.name}: {what} (copy so far: {target})") from None


def _connection() -> dict[str, str]:
    """How kernel and build talk: by files, since two kernels may choose one port; by ports where files are refused."""
    path = f"{jupyter_runtime_dir()}/{os.getpid()}"
    try:
        with zmq.Context() as context, context.socket(zmq.REP) as probe:
            probe.bind(f"ipc://{path}-probe")
    except zmq.ZMQError:
        return {"transport": "tcp"}
    return {"transport": "ipc", "ip": path}


def _end_with_parent() -> None:
    """Exit when the parent's end of the pipe is closed, which also happens if the parent is killed."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def main(source: str, target: str, parameters: str, notes: str) -> int:
    """Run one notebook; the models that it used, and its failure if any, are left in the folder of notes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["MODELS_USED"] = str(Path(notes, "models"))
    try:
        run(Path(source), Path(target), json.loads(parameters))
    except (BuildError, OSError) as error:
        try:
            Path(notes, "failed").write_text(str(error), encoding="utf-8")
        except OSError:  # the disk is full
            print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
