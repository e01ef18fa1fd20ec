"""What is handed in: the PDF, and code that builds a report by itself."""

import re
import shutil
import zipfile
from pathlib import Path

import execute
import facts
import nbformat
import pytest
import submission
from conftest import ROOT, TRAINING, Workshop
from errors import BuildError


@pytest.mark.usefixtures("tex")
def test_what_is_handed_in_builds_a_report_and_holds_no_data_models_or_caches(workshop: Workshop) -> None:
    (pdf, code), held = submission.submit(ROOT, workshop.folder / "handed in")
    assert pdf.read_bytes() == (ROOT / "report" / "report.pdf").read_bytes()
    zipfile.ZipFile(code).extractall(workshop.folder)
    (copy,) = workshop.folder.glob("*-code")
    names = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert {"Makefile", "README.md", "pyproject.toml", "data/README.md", "report/report.toml", "COMMIT"} <= names
    for folder, pattern in (("helpers", "*.py"), ("notebooks", "*.ipynb"), ("report", "*.py"), ("tests", "*.py")):
        assert {f"{folder}/{path.name}" for path in (ROOT / folder).glob(pattern)} <= names
    suffixes = (".gz", ".safetensors", ".pdf", ".html", ".pyc")
    assert not [name for name in names if name.endswith(suffixes) or "build/" in name or "models/" in name]
    assert code.stat().st_size < 3e6
    assert (copy / "README.md").read_text().startswith(f"> {held}\n") and "but not the" in held
    assert re.search(r"anew takes about \d+\.\d hours", held)
    workshop.write("01_small", "publish.say('fine')")
    workshop.code = copy
    workshop.build()
    assert (copy / facts.COMMIT_NOTE).read_text().strip() in workshop.text() and workshop.page.exists()


def test_without_a_report_nothing_is_handed_in(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="run `make report` first"):
        submission.submit(tmp_path, tmp_path / "handed in")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small(workshop: Workshop, monkeypatch) -> Path:
    """A checkout of a few files, whose one notebook was executed and used one of two models."""
    root, executed = workshop.folder, workshop.folder / "report" / "build" / "01_model.ipynb"
    source = workshop.write("01_model", TRAINING)
    monkeypatch.setenv("MODELS", str(root / "data" / "models"))
    execute.run_all([source], root, {}, False, jobs=1)
    workshop.notebooks.rename(root / "notebooks")
    executed.parent.mkdir(parents=True)
    (root / "01_model.ipynb").rename(executed)
    (root / "report" / "report.pdf").write_bytes(b"a report")
    (root / "report" / "report-draft.pdf").write_bytes(b"a draft")
    for name in ("README.md", ".gitignore", "data/README.md"):
        (root / name).write_text("# Homework\n")
    shutil.copyfile(executed, root / "notebooks" / executed.name)  # with its outputs, as after a run in JupyterLab
    (used,) = execute.models_used([executed])
    path = facts.file(used)
    shutil.copyfile(path, path.with_name(f"other-1{path.suffix}"))
    return root


@pytest.mark.parametrize(("models", "outputs"), [(False, False), (True, False), (False, True)])
def test_options_add_the_models_that_the_notebooks_load_and_their_outputs(small, models: bool, outputs: bool) -> None:
    (_, code), held = submission.submit(small, small / "handed in", models, outputs)
    with zipfile.ZipFile(code) as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
        packed = nbformat.reads(archive.read("homework-2-code/notebooks/01_model.ipynb"), as_version=4)
        readme = archive.read("homework-2-code/README.md").decode()
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in packed.cells)
    assert ("executed/01_model.ipynb" in names) == outputs == ("executed notebooks" in held)
    assert {Path(name).suffix for name in names if name.startswith("data/models/tiny-")} == (
        {".safetensors"} if models else set()
    )
    assert not any("other-1" in name or name.endswith((".pdf", ".html")) for name in names)
    assert ("the 1 trained models." in held) == models and ("anew takes about 0.0 hours" in held) != models
    assert readme.startswith(f"> {held}\n\n# Homework")


def test_what_is_missing_or_old_is_said(small: Path, monkeypatch, tex) -> None:
    monkeypatch.setattr(submission, "not_stated", lambda report: ["HOURS"])
    (first,) = submission.warnings(small)
    assert "does not state HOURS: `make report HOURS=…`" in first
    notebook = nbformat.read(small / "notebooks" / "01_model.ipynb", as_version=4)
    notebook.cells[-1].source += "\n# changed"
    nbformat.write(notebook, small / "notebooks" / "01_model.ipynb")
    assert "the executed 01_model.ipynb has other cells" in submission.warnings(small, outputs=True)[-1]
    (small / "report" / "build" / "01_model.ipynb").unlink()
    with pytest.raises(BuildError, match="01_model.ipynb is missing: run `make report` first"):
        submission.submit(small, small / "handed in", outputs=True)
    assert not (small / "handed in").exists()


@pytest.mark.usefixtures("tex")
def test_the_pdf_is_asked_for_names_and_hours() -> None:
    assert submission.not_stated(ROOT / "report" / "report.pdf") == ["AUTHOR", "COLLABORATORS", "HOURS"]
