"""Make the files to hand in: the report and an archive of the code (`make submission`)."""

import os
import sys
import zipfile
from pathlib import Path

import facts
from errors import BuildError

ROOT = Path(__file__).resolve().parent.parent
NAME = "homework-2"
FOLDERS = ("helpers", "notebooks", "report", "tests")
LEFT_OUT = {"build", "__pycache__", "report.pdf", "report.html"}


def files(root: Path = ROOT) -> list[Path]:
    """The code and its documentation, without data, models, caches and files made from them."""
    found = [path for path in root.iterdir() if path.is_file() and not path.name.startswith(".")]
    found += [path for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file()]
    kept = [path for path in found if not any(p in LEFT_OUT or p[0] == "." for p in path.relative_to(root).parts)]
    return sorted([*kept, root / ".gitignore", root / "data" / "README.md"])


def submit(root: Path = ROOT, target: Path | None = None) -> list[Path]:
    """Write NAME.pdf and NAME-code.zip into `target`; without a report, raise BuildError and write nothing."""
    report, target = root / "report" / "report.pdf", target or root / "report" / "build" / "submission"
    if not report.is_file():
        raise BuildError(f"{report} is missing: run `make report` first.")
    target.mkdir(parents=True, exist_ok=True)
    pdf, code, aside = target / f"{NAME}.pdf", target / f"{NAME}-code.zip", target / ".code.tmp"
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files(root):
            archive.write(path, Path(f"{NAME}-code", path.relative_to(root)))
        archive.writestr(f"{NAME}-code/{facts.COMMIT_NOTE}", facts.commit() + "\n")
    os.replace(aside, code)
    pdf.write_bytes(report.read_bytes())
    made = report.stat().st_mtime
    if late := [path for path in files(root) if path.stat().st_mtime > made + 60]:  # a checkout takes a few seconds
        print(f"warning: {late[0].relative_to(root)} was changed after the report was made: run `make report` first.")
    return [pdf, code]


if __name__ == "__main__":
    try:
        for path in submit():
            print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1e6:.1f} MB")
    except BuildError as error:
        sys.exit(f"Nothing was written: {error}")
