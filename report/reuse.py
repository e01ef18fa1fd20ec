"""Executed notebooks that still hold: nothing that they depend on has changed."""

import ast
import hashlib
import importlib.metadata
import json
from pathlib import Path

import nbformat

import helpers
from helpers import store
from helpers.compute import device_name

HELPERS = Path(helpers.__file__).parent
LIBRARIES = ("torch", "torchvision", "torchmetrics", "numpy", "scipy", "matplotlib")


def fingerprint(notebook: Path, parameters: dict) -> str:
    """A hash of what decides a notebook's outputs, models apart: cells, parameters, helpers, libraries, machine."""
    cells = [(cell.cell_type, cell.source) for cell in nbformat.read(notebook, as_version=4).cells]
    code = "\n".join(source for kind, source in cells if kind == "code")
    parts = [
        cells,
        parameters,
        [(path.name, path.read_text()) for path in sorted(_imported(code, set()))],
        [importlib.metadata.version(name) for name in LIBRARIES],
        device_name(),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def remember(executed: Path, mark: str, seconds: float, models: list[str]) -> None:
    """Note in an executed notebook what it came from; models: lines "NAME-HASH SHA256" of those it used."""
    notebook = nbformat.read(executed, as_version=4)
    notebook.metadata["reuse"] = {"fingerprint": mark, "seconds": seconds, "models": sorted(set(models))}
    nbformat.write(notebook, executed)


def recall(executed: Path, mark: str) -> float | None:
    """The seconds that the notebook once took if it can be used again, or None."""
    try:
        note = nbformat.read(executed, as_version=4).metadata["reuse"]
    except (OSError, ValueError, KeyError):
        return None
    if note["fingerprint"] != mark or any(_weights(line.split()[0]) != line.split()[1] for line in note["models"]):
        return None
    return note["seconds"]


def _weights(stem: str) -> str:
    """SHA-256 of a model's weights, or "" if there are none."""
    path = store.folder() / f"{stem}.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _imported(code: str, seen: set[Path]) -> set[Path]:
    """The files of `helpers` that some code imports, directly or by one another."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module == "helpers":
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers."):
            names = [node.module.split(".")[1]]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("helpers.")]
        else:
            continue
        for path in (HELPERS / f"{name}.py" for name in names):
            if path.is_file() and path not in seen:
                seen.add(path)
                _imported(path.read_text(), seen)
    return seen
