"""Metadata of the report: title block, machine, library versions, models, commit."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import tomllib
from pathlib import Path

from helpers import store
from helpers.compute import device_name

HERE = Path(__file__).resolve().parent
COMMIT_NOTE = "COMMIT"  # a file in the archive of the code, which has no git: the commit
VERSIONS = ("torch", "torchvision", "torchmetrics", "numpy", "scipy", "matplotlib", "papermill", "nbconvert")


def title_block(reduced: bool) -> dict:
    """The title block, from AUTHOR, COLLABORATORS, HOURS, TITLE or report.toml; `missing` lists those not given."""
    entries = tomllib.loads((HERE / "report.toml").read_text(encoding="utf-8"))
    entries |= {key: os.environ[key.upper()] for key in entries if os.environ.get(key.upper(), "").strip()}
    missing = [key.upper() for key, value in entries.items() if not value]
    entries |= {key.lower(): f"not stated (set {key}=…)" for key in missing} | {"missing": missing}
    today = datetime.datetime.now(datetime.UTC)
    return entries | {"date": f"{today.day} {today:%B %Y}", "extent": "reduced run" if reduced else "full run"}


def run_facts(started: float, jobs: int) -> dict:
    """For the appendix: machine, versions, commit, number of notebooks run at once, and the models in the store."""
    models = [json.loads(path.read_text()) for path in sorted(store.folder().glob("*.json"))]
    for model in models:
        model["origin"] = "this run" if model["finished"] >= started else "repository"
        model["epochs"] = len(model["history"])
        model["kept"] = bool(model["config"].get("keep", True))  # otherwise only configuration and history are stored
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "device": device_name(),
        "jobs": jobs,
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
        "models": models,
    }


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
