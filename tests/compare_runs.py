"""Whether the notebooks say the same again.

`python tests/compare_runs.py FOLDER OTHER` compares the executed notebooks of two build folders. With one folder it
runs every notebook of it once more, the last first, each alone with an empty store, and compares: nothing may depend on
order or leftovers. (Meant for a reduced build, as all models are trained anew.)
"""

import argparse
import ast
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from conftest import ROOT  # it makes report's modules known

# isort: split
import execute
import schedule

NUMBER = re.compile(r"[-−+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def said(executed: Path) -> list[tuple[int, str, str]]:
    """What a notebook put into the report, in order: cell, kind, text; of a figure its drawing, too."""
    found = []
    for place, cell in enumerate(nbformat.read(executed, as_version=4).cells):
        for output in cell.get("outputs", []):
            if kind := output.get("metadata", {}).get("report", {}).get("kind"):
                found.append((place, kind, output.data.get("text/plain", "") + output.data.get("application/pdf", "")))
    return found


def differences(one: Path, other: Path) -> Iterator[tuple[int, str, str]]:
    """Cell and kind of what two executed copies of a notebook say differently, and the numbers in question."""
    pairs = list(zip(said(one), said(other), strict=True))
    for (place, kind, text), (*_, changed) in pairs:
        if text != changed:
            numbers = [(a, b) for a, b in zip(NUMBER.findall(text), NUMBER.findall(changed), strict=False) if a != b]
            shown = "" if kind in ("figure", "film") else ", ".join(f"{a} → {b}" for a, b in numbers[:8])
            yield place, kind, shown


def alone(path: Path, folder: Path) -> Path:
    """A notebook run again with the parameters of its executed copy, in a process and with a store of its own."""
    notebook = nbformat.read(path, as_version=4)
    values = {
        name: ast.literal_eval(text) for name, text in execute.parameters_of(notebook).items() if "**" not in text
    }
    source, target = ROOT / "notebooks" / path.name, folder / path.name
    os.environ["MODELS"] = str(folder / f"models-{path.stem}")
    with schedule._start(source, target, values) as process:
        if process.wait():
            raise RuntimeError(execute.note(target, "failed") or f"{path.name} failed")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as new:
        for path in sorted(options.folder.glob("[0-9]*.ipynb"), reverse=True):
            other = options.other / path.name if options.other else alone(path, Path(new))
            if other.exists():
                found = list(differences(path, other))
                print(f"{path.name}: {len(said(path))} outputs, {len(found)} differ", flush=True)
                for place, kind, shown in found:
                    print(f"    cell {place}, {kind}: {shown}", flush=True)


if __name__ == "__main__":
    main()
