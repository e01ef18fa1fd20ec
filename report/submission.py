"""What is handed in: the report and an archive of the code (`make submission`)."""

import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import facts
from errors import BuildError

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "report" / "build" / "submission"
NAME = "homework-2"
FOLDERS = ("helpers", "notebooks", "report", "tests")
LEFT_OUT = {"build", "__pycache__", "report.pdf", "report.html"}


def files(root: Path = ROOT) -> Iterator[Path]:
    """The code and its papers: no data, no models, no caches, nothing that was made from them."""
    yield from sorted(path for path in root.glob("*") if path.is_file() and not path.name.startswith("."))
    yield root / ".gitignore"
    yield root / "data" / "README.md"
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            parts = path.relative_to(root).parts
            if path.is_file() and not any(part in LEFT_OUT or part.startswith(".") for part in parts):
                yield path


def submit(root: Path = ROOT, target: Path = TARGET) -> list[Path]:
    """Write NAME.pdf and NAME-code.zip into `target`; raises BuildError, and writes nothing, without a report."""
    report = root / "report" / "report.pdf"
    if not report.is_file():
        raise BuildError(f"{report} is missing: run `make report` first.")
    target.mkdir(parents=True, exist_ok=True)
    pdf, code = target / f"{NAME}.pdf", target / f"{NAME}-code.zip"
    aside = target / ".code.tmp"
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files(root):
            archive.write(path, Path(f"{NAME}-code", path.relative_to(root)))
        archive.writestr(f"{NAME}-code/{facts.COMMIT_NOTE}", facts.commit() + "\n")
    os.replace(aside, code)
    pdf.write_bytes(report.read_bytes())
    return [pdf, code]


def main() -> int:
    try:
        made = submit()
    except BuildError as error:
        print(f"Nothing was written: {error}", file=sys.stderr)
        return 1
    made_at = (ROOT / "report" / "report.pdf").stat().st_mtime
    late = [path for path in files() if path.stat().st_mtime > made_at + 60]  # a checkout writes all within seconds
    if late:
        print(f"warning: {late[0].relative_to(ROOT)} was changed after the report was made: run `make report` first.")
    for path in made:
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
