"""Which notebooks run, and when: so many at once, none that still holds."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import execute
import joblib
import reuse
import torch
from errors import BuildError


def share_processors() -> int:
    """How many notebooks run at once ($JOBS, else two where there are two processors), each with its share of threads.

    $OMP_NUM_THREADS, where it is set, stays; this process takes the same number, since outputs may depend on it.
    """
    processors, wish = joblib.cpu_count(), os.environ.get("JOBS") or None
    if wish is not None and not (wish.isdecimal() and int(wish) >= 1):
        raise BuildError(f"JOBS={wish} must be a whole number of notebooks to run at once, at least 1.")
    jobs = int(wish) if wish else min(2, processors)
    if not os.environ.get("OMP_NUM_THREADS"):  # else torch has read it, here as it will there
        threads = max(1, processors // jobs)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
    return jobs


def run_all(notebooks: list[Path], folder: Path, parameters: dict[str, dict], anew: bool, jobs: int) -> list[float]:
    """Execute notebooks into `folder`, the last first as they take longest; each one's seconds, in their order.

    One that was executed before and for which nothing has changed since is kept, unless anew. The first that fails ends
    the others.
    """
    seconds, marks = {}, {path: reuse.fingerprint(path, parameters.get(path.stem, {})) for path in notebooks}
    for path in notebooks:
        if not anew and (known := reuse.recall(folder / path.name, marks[path])) is not None:
            seconds[path] = known
            print(f"{path.name:32} {known:7.1f} s, reused: nothing it depends on has changed", flush=True)
    waiting, running = [path for path in notebooks if path not in seconds], {}
    with contextlib.ExitStack() as ending:
        while waiting or running:
            while waiting and len(running) < jobs:
                path = waiting.pop()
                run = _start(path, folder / path.name, parameters.get(path.stem, {}))
                running[path] = ending.enter_context(run), time.monotonic()
            time.sleep(0.1)
            for path, (process, begin) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[path]
                target = folder / path.name
                if process.returncode:
                    said = execute.note(target, "failed")
                    raise BuildError(said or f"{path.name}: its process ended with status {process.returncode}.")
                seconds[path] = time.monotonic() - begin
                reuse.remember(target, marks[path], seconds[path], execute.note(target, "models").splitlines())
                print(f"{path.name:32} {seconds[path]:7.1f} s", flush=True)
    return [seconds[path] for path in notebooks]


@contextlib.contextmanager
def _start(source: Path, target: Path, parameters: dict) -> Iterator[subprocess.Popen]:
    """A process that runs one notebook; it is ended with the context, and ends by itself when this process dies."""
    for what in ("models", "failed"):
        execute.note(target, what)  # what a run that was killed has left
    command = [sys.executable, execute.__file__, source, target, json.dumps(parameters)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as runtime:  # HOME may not be writable
        settings = os.environ | {"JUPYTER_RUNTIME_DIR": runtime}
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=settings)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()
            process.stdin.close()
