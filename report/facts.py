"""Metadata of the report: title block, machine, library versions, models, commit."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

from helpers import store
from helpers.compute import device_name

FULL = "full run"
HERE = Path(__file__).resolve().parent
COMMIT_NOTE = "COMMIT"  # a file in the archive of the code, which has no git: the commit
LIBRARIES = "torch torchvision torchmetrics numpy scipy matplotlib seaborn ipywidgets papermill nbconvert".split()


def title_block(extent: str) -> dict:
    """The title block, from AUTHOR, COLLABORATORS, HOURS, TITLE or report.toml; what is not given is "".

    `missing` lists it, for a warning; in the report it is a blank to be filled in by pen.

    extent: FULL, or another kind of run, which the title names.
    """
    entries = tomllib.loads((HERE / "report.toml").read_text(encoding="utf-8"))
    entries |= {key: os.environ[key.upper()] for key in entries if os.environ.get(key.upper(), "").strip()}
    missing = [key.upper() for key, value in entries.items() if not value]
    entries |= {"missing": missing}
    today = datetime.datetime.now(datetime.UTC)
    return entries | {"date": f"{today.day} {today:%B %Y}", "extent": extent, "full": extent == FULL}


def run_facts(started: float, jobs: int, models: Sequence[str]) -> dict:
    """For the appendix: machine, versions, commit, number of notebooks run at once, and the models that they used."""
    records = [record(stem) for stem in models]
    for stem, each in zip(models, records, strict=True):
        kept = "repository" if file(stem).parent == store.folders()[0] else "own training"
        each["origin"] = "this run" if each["finished"] >= started else kept
        each["epochs"] = len(each["history"])
        each["kept"] = bool(each["config"].get("keep", True))  # otherwise only configuration and history are stored
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "device": device_name(),
        "jobs": jobs,
        "versions": versions(),
        "models": records,
    }


def versions() -> dict[str, str]:
    """The versions of the libraries on which numbers and pictures depend."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def record(stem: str) -> dict:
    """The record of the stored model NAME-HASH. Raises OSError if it is missing and ValueError if it is damaged."""
    return store.read(file(stem))[0]


def file(stem: str) -> Path:
    """The file of the stored model NAME-HASH. Raises OSError if it is missing."""
    if found := store.find(stem):
        return found
    raise OSError(f"no model {stem} in {store.folders()[0]}")


def stored() -> list[str]:
    """The names NAME-HASH of all models in the store; other files in its folders are ignored."""
    found = set()
    for path in (path for folder in store.folders() for path in folder.glob("*.safetensors")):
        with contextlib.suppress(OSError, ValueError):
            record(path.stem)
            found.add(path.stem)
    return sorted(found)


def commit() -> str:
    """The commit, with "-dirty" if a tracked file other than the report and its pictures differs from it."""
    made = [f":!{HERE.name}/{name}" for name in ("*.pdf", "*.html", "*.png")]
    note = HERE.parent / COMMIT_NOTE
    try:
        if found := _git("rev-parse", "--short=12", "HEAD"):
            return found + "-dirty" * bool(_git("status", "--porcelain", "-uno", "--", ".", *made))
    except OSError:  # no git
        pass
    return note.read_text().strip() if note.exists() else "unknown"


def _git(*words: str) -> str:
    settings = os.environ | {"GIT_CEILING_DIRECTORIES": str(HERE.parent.parent)}  # no repository around this one
    done = subprocess.run(["git", "-C", HERE.parent, *words], env=settings, capture_output=True, text=True)
    return done.stdout.strip()
