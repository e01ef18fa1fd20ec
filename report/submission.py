"""Make the files to hand in: the report and an archive of the code (`make submission`)."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import execute
import facts
import nbformat
from copies import cells
from errors import BuildError

ROOT = Path(__file__).resolve().parent.parent
NAME = "homework-2"
FOLDERS = ("helpers", "notebooks", "report", "tests")
LEFT_OUT = {"build", "__pycache__"}
MADE = {".pdf", ".html"}  # in the folder of the report
STATED = ("AUTHOR", "COLLABORATORS", "HOURS")


def files(root: Path = ROOT) -> list[Path]:
    """The code and its documentation, without data, models, caches and files made from them."""
    found = [path for path in root.iterdir() if path.is_file() and not path.name.startswith(".")]
    found += [path for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file()]
    made = [path for path in found if path.parent == root / "report" and path.suffix in MADE]
    kept = [path for path in found if not any(p in LEFT_OUT or p[0] == "." for p in path.relative_to(root).parts)]
    return sorted({*kept, root / ".gitignore", root / "data" / "README.md"} - {*made})


def submit(
    root: Path = ROOT, target: Path | None = None, models: bool = False, outputs: bool = False
) -> tuple[list[Path], str]:
    """Write NAME.pdf and NAME-code.zip into `target`; return them, and what the archive holds.

    models: add the trained models that the notebooks load. outputs: add the notebooks as the last report executed them.
    Raises BuildError, and writes nothing, if there is no report or, with `outputs`, an executed notebook is missing.
    """
    report, target = root / "report" / "report.pdf", target or root / "report" / "build" / "submission"
    if not report.is_file():
        raise BuildError(f"{report} is missing: run `make report` first.")
    executed = [root / "report" / "build" / path.name for path in execute.find(root / "notebooks")]
    if outputs and (missing := [path for path in executed if not path.is_file()]):
        raise BuildError(f"{missing[0]} is missing: run `make report` first.")
    used = _models_used(executed)
    held = contents(used, models, outputs)
    target.mkdir(parents=True, exist_ok=True)
    pdf, code, aside = target / f"{NAME}.pdf", target / f"{NAME}-code.zip", target / ".code.tmp"
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files(root):
            archive.writestr(f"{NAME}-code/{path.relative_to(root).as_posix()}", _packed(path, root, held))
        for path in executed if outputs else []:
            archive.write(path, f"{NAME}-code/executed/{path.name}")
        for path in map(facts.file, used) if models else []:
            archive.write(path, f"{NAME}-code/data/models/{path.name}")
        archive.writestr(f"{NAME}-code/{facts.COMMIT_NOTE}", facts.commit() + "\n")
    os.replace(aside, code)
    pdf.write_bytes(report.read_bytes())
    return [pdf, code], held


def _models_used(executed: list[Path]) -> list[str]:
    """The models that the notebooks used in the last report or, where one was not executed here, all in the store."""
    if all(path.is_file() for path in executed):
        return execute.models_used(executed)
    return facts.stored()


def contents(used: list[str], models: bool, outputs: bool) -> str:
    """One or two sentences on what the archive holds, and what it costs to make the rest."""
    hours = sum(facts.record(stem)["seconds"] for stem in used) / 3600
    held = ["the code", "the notebooks without outputs", *["the executed notebooks"] * outputs]
    trained = f"the {len(used)} trained models"
    if models:
        return f"This archive holds {', '.join(held)} and {trained}."
    said = f"This archive holds {', '.join(held[:-1])} and {held[-1]}, but not {trained} that they load"
    return f"{said}: training these anew takes about {hours:.1f} hours on a machine like the one that trained them."


def _packed(path: Path, root: Path, held: str) -> bytes:
    """A file's content in the archive: notebooks without outputs, README with what the archive holds on top."""
    if path == root / "README.md":
        return f"> {held}\n\n{path.read_text(encoding='utf-8')}".encode()
    if path.suffix != ".ipynb":
        return path.read_bytes()
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return (nbformat.writes(notebook) + "\n").encode()


def warnings(root: Path = ROOT, outputs: bool = False) -> list[str]:
    """What a user should know before handing this in: what is not stated on page 1, and what is older than the code."""
    said = []
    report = root / "report" / "report.pdf"
    if missing := not_stated(report):
        how = f"`make report {' '.join(f'{name}=…' for name in missing)}`"
        said.append(f"the report does not state {', '.join(missing)}: {how} sets them; then hand in anew.")
    late = report.stat().st_mtime + 60  # a checkout takes a few seconds
    if changed := [path for path in files(root) if path.stat().st_mtime > late]:
        said.append(f"{changed[0].relative_to(root)} was changed after the report was made: run `make report` first.")
    for path in execute.find(root / "notebooks") if outputs else []:
        executed = root / "report" / "build" / path.name
        if nbformat.read(executed, as_version=4).metadata.get("papermill", {}).get("parameters"):
            said.append(f"the executed {path.name} has other parameters than the notebook: run `make report` first.")
        elif cells(executed) != cells(path):
            said.append(f"the executed {path.name} has other cells than the notebook: run `make report` first.")
    return said


def not_stated(report: Path) -> list[str]:
    """The entries of STATED for which the title block has a blank, [] if there is no program to read the PDF."""
    if not shutil.which("pdfinfo"):
        return []
    known = subprocess.run(["pdfinfo", report], capture_output=True, encoding="utf-8").stdout
    (blanks,) = re.findall(r"(?m)^Keywords: +blank: (.*)$", known) or [""]
    usual = tomllib.loads((Path(__file__).with_name("report.toml")).read_text(encoding="utf-8"))["author"]
    author = re.search(r"(?m)^Author: +(.*)$", known)
    return [name for name in STATED if name in blanks.split() or (name == "AUTHOR" and author and author[1] == usual)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", action="store_true", help="add the trained models that the notebooks load")
    parser.add_argument("--outputs", action="store_true", help="add the notebooks as the last report executed them")
    options = parser.parse_args()
    made, held = submit(models=options.models, outputs=options.outputs)
    for warning in warnings(outputs=options.outputs):
        print(f"warning: {warning}")
    for path in made:
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1e6:.1f} MB")
    print(held)


if __name__ == "__main__":
    try:
        main()
    except BuildError as error:
        sys.exit(f"Nothing was written: {error}")
