"""What is handed in: the PDF, and code that builds a report by itself."""

import zipfile
from pathlib import Path

import facts
import pytest
import submission
from conftest import ROOT, Workshop
from errors import BuildError


@pytest.mark.usefixtures("tex")
def test_what_is_handed_in_builds_a_report_and_holds_no_data_models_or_caches(workshop: Workshop) -> None:
    pdf, code = submission.submit(ROOT, workshop.folder / "handed in")
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
    workshop.write("01_small", "publish.say('fine')")
    workshop.code = copy
    workshop.build()
    assert (copy / facts.COMMIT_NOTE).read_text().strip() in workshop.text() and workshop.page.exists()


def test_without_a_report_nothing_is_handed_in(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="run `make report` first"):
        submission.submit(tmp_path, tmp_path / "handed in")
    assert list(tmp_path.iterdir()) == []
