"""Copy the notebooks into a folder that git ignores, where they can be run and changed (`make notebooks`)."""

import shutil
import sys
from pathlib import Path

import nbformat

from helpers.show import references


def copy(source: Path, target: Path) -> list[str]:
    """Copy the notebooks that `target` does not have; a sentence for each that it has with other cells, and keeps."""
    target.mkdir(parents=True, exist_ok=True)
    said = []
    for path in sorted(source.glob("*.ipynb")):
        own = target / path.name
        if not own.exists():
            shutil.copyfile(path, own)
        elif cells(own) != cells(path):
            said.append(f"{own} differs from {path} and was kept: rename or delete it to get a new copy.")
    return said


def cells(path: Path) -> list[tuple[str, str]] | None:
    """The kind and source of each cell, without numbers of the report: neither running a notebook nor `make references`
    changes them. None if the file is no notebook."""
    try:
        return references.authored(nbformat.read(path, as_version=4))
    except (ValueError, AttributeError):
        return None


if __name__ == "__main__":
    for line in copy(*map(Path, sys.argv[1:])):
        print(line)
