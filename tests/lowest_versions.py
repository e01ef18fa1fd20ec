"""Run tests with the lowest versions that pyproject.toml allows: `python tests/lowest_versions.py VENV [pytest words]`.

VENV is a folder for a virtual environment (made there, kept for the next time); a run that fails names what to raise.
"""

import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = r"^(torch|torchvision)>=(.*)", r"\1===\2.0"  # builds of one kind: === rules out a local one such as 2.13.0+cpu
OTHERS = r">=([\d.]+)$", r"==\1.*"  # the series that the bound begins: numpy>=1.26 becomes numpy==1.26.*


def main(folder: str, *words: str) -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["dev"]
    lowest = [re.sub(*OTHERS, re.sub(*TORCH, line)) for line in lines]
    python = Path(folder) / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--editable", ROOT, *lowest], check=True)
    return subprocess.run([python, "-m", "pytest", *words], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if sys.argv[1:] else __doc__)
