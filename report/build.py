"""Make the report: run every notebook, join them, typeset the PDF. `make report` calls this."""

import argparse
import contextlib
import datetime
import fcntl
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import execute
import merge
import reuse
import typeset
from errors import BuildError

from helpers import store
from helpers.device import device_name

HERE = Path(__file__).resolve().parent
RETRAIN = "retrain-since"
VERSIONS = ("torch", "torchvision", "torchmetrics", "numpy", "scipy", "matplotlib", "papermill", "nbconvert")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reduced", action="store_true", help="tiny parameters (report/reduced.toml): a quick look")
    parser.add_argument("--output", type=Path, default=HERE / "report.pdf", help="the PDF to write")
    parser.add_argument("--notebooks", type=Path, default=HERE.parent / "notebooks", help="folder of the notebooks")
    parser.add_argument("--build", type=Path, default=HERE / "build", help="folder for executed notebooks and LaTeX")
    parser.add_argument("--parameters", type=Path, default=execute.REDUCED, help="TOML of the reduced parameters")
    return parser.parse_args(words)


def build(options: argparse.Namespace) -> None:
    """Everything, or a BuildError; the previous PDF stays until the new one is whole."""
    typeset.check_tools()
    if os.environ.get("RETRAIN", "") not in ("", "0", "1", "all"):
        raise BuildError(f"RETRAIN={os.environ['RETRAIN']} is unknown: 1 trains all models anew, all also the records.")
    folder = options.build.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _only_build(folder):
        notebooks = execute.find(options.notebooks.resolve())
        tiny = execute.reduced_parameters(options.parameters) if options.reduced else {}
        for path in notebooks:
            execute.check_names(path, tiny.get(path.stem, {}))
        started, seconds = time.time(), []
        if options.reduced:
            # tiny models do not belong beside the shipped ones
            os.environ["MODELS"] = os.environ.get("MODELS") or str(folder / "models")
        if retrain := os.environ.get("RETRAIN") not in (None, "", "0"):
            os.environ["RETRAIN_SINCE"] = str(_retrain_since(folder, started))
        anew = retrain or os.environ.get("FORCE") not in (None, "", "0")
        for path in notebooks:
            parameters = tiny.get(path.stem, {})
            old = None if anew else reuse.recall(folder / path.name, reuse.fingerprint(path, parameters))
            seconds.append(old or execute.run(path, folder / path.name, parameters))
            print(
                f"{path.name:32} {seconds[-1]:7.1f} s{', reused: nothing it depends on has changed' * bool(old)}",
                flush=True,
            )
        begin = time.monotonic()
        whole = merge.merge([folder / path.name for path in notebooks])
        for entry, spent in zip(whole.metadata.report.notebooks, seconds, strict=True):
            entry["seconds"] = spent
        whole.metadata.report |= {"title": title_block(options.reduced), "run": run_facts(started)}
        pdf, wide = typeset.make_pdf(typeset.write_latex(whole, folder))
        publish(pdf, options.output.resolve())
        (folder / RETRAIN).unlink(missing_ok=True)
        print(f"{'LaTeX':32} {time.monotonic() - begin:7.1f} s")
        for line in wide:
            print(f"warning: {line}")
        missing = set(merge.QUESTIONS) - {answer["question"] for answer in whole.metadata.report.answers}
        if missing:
            print(f"warning: no answer to {', '.join(sorted(missing))}")
        print(f"{options.output} is ready.")


@contextlib.contextmanager
def _only_build(folder: Path):
    """Hold the folder's lock, or say that somebody else does."""
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BuildError(f"another build is at work in {folder}: wait for it to end.") from None
        yield


def _retrain_since(folder: Path, now: float) -> float:
    """When the retraining began: an interrupted one goes on, so what it had finished is not trained a second time."""
    note = folder / RETRAIN
    if not note.exists():
        note.write_text(f"{now}\n")
    return float(note.read_text())


def title_block(reduced: bool) -> dict:
    """What stands on top: report.toml, each entry replaced by the environment's AUTHOR, COLLABORATORS, HOURS, TITLE."""
    entries = tomllib.loads((HERE / "report.toml").read_text(encoding="utf-8"))
    entries |= {key: os.environ[key.upper()] for key in entries if os.environ.get(key.upper(), "").strip()}
    today = datetime.datetime.now(datetime.UTC)
    return entries | {"date": f"{today.day} {today:%B %Y}", "extent": "reduced run" if reduced else "full run"}


def run_facts(started: float) -> dict:
    """For the appendix: machine, versions, commit, and the models of the store.

    A record is a training of which only configuration and history are kept; records of one name share a row.
    """
    models = [json.loads(path.read_text()) for path in sorted(store.folder().glob("*.json"))]
    for model in models:
        model["origin"] = "this run" if model["finished"] >= started else "shipped"
        model |= {"hash": store.config_hash(model["config"]), "epochs": len(model["history"])}
    records: dict[tuple[str, str], list[dict]] = {}
    for model in models:
        if not model["config"].get("keep", True):
            records.setdefault((model["name"], model["origin"]), []).append(model)
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "device": device_name(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
        "models": [
            {key: model[key] for key in ("name", "hash", "seed", "epochs", "seconds", "device", "origin")}
            for model in models
            if model["config"].get("keep", True)
        ],
        "records": [
            {
                "name": name,
                "origin": origin,
                "count": len(group),
                "seconds": sum(model["seconds"] for model in group),
                "device": "; ".join(sorted({model["device"] for model in group})),
            }
            for (name, origin), group in records.items()
        ],
    }


def _commit() -> str:
    """The commit, with "-dirty" if a tracked file differs from it: the report and its pictures apart, made from it."""
    made = [f":!{HERE.name}/{name}" for name in ("*.pdf", "*.html", "*.png")]
    commands = (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "-uno", "--", ".", *made])
    try:
        commit, changes = (
            subprocess.run(["git", "-C", HERE.parent, *words], capture_output=True, text=True, timeout=10).stdout.strip()
            for words in commands
        )
    except OSError:
        return "unknown"
    return commit + "-dirty" * bool(changes) if commit else "unknown"


def publish(pdf: Path, target: Path) -> None:
    """Put the PDF in place in one step: a reader sees the old report or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        aside.write_bytes(pdf.read_bytes())
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    try:
        build(options)
    except BuildError as error:
        kept = f" {options.output} was left as it was." if options.output.exists() else ""
        print(f"The report was not built: {error}{kept}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
