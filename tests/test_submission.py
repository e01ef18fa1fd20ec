"""What is handed in: the PDF and an archive of the code that builds the report by itself."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import submission
from conftest import ROOT, Workshop
from errors import BuildError


@pytest.fixture
def archive(tmp_path: Path) -> zipfile.ZipFile:
    pdf, code = submission.submit(ROOT, tmp_path / "handed in")
    assert pdf.read_bytes() == (ROOT / "report" / "report.pdf").read_bytes()
    return zipfile.ZipFile(code)


def test_the_archive_holds_the_code_and_no_data_models_or_caches(archive: zipfile.ZipFile) -> None:
    names = {name.partition("/")[2] for name in archive.namelist()}
    assert {"Makefile", "README.md", "pyproject.toml", "data/README.md", "report/report.toml", "COMMIT"} <= names
    for folder, pattern in (("helpers", "*.py"), ("notebooks", "*.ipynb"), ("report", "*.py"), ("tests", "*.py")):
        assert {f"{folder}/{path.name}" for path in (ROOT / folder).glob(pattern)} <= names
    suffixes = (".gz", ".safetensors", ".pdf", ".html", ".pyc")
    assert not [name for name in names if name.endswith(suffixes) or "build/" in name or "models/" in name]
    assert sum(info.compress_size for info in archive.infolist()) < 3e6


@pytest.mark.usefixtures("tex")
def test_the_unpacked_archive_builds_a_report(archive: zipfile.ZipFile, workshop: Workshop) -> None:
    archive.extractall(workshop.folder)
    (code,) = workshop.folder.glob("*-code")
    workshop.write("01_small", "publish.say('fine')")
    command = [sys.executable, code / "report" / "build.py", "--notebooks", workshop.notebooks]
    command += ["--build", workshop.folder / "build", "--output", workshop.pdf]
    settings = os.environ | {"PYTHONPATH": str(code)}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, cwd=workshop.folder)
    assert done.returncode == 0, done.stderr
    assert (code / "COMMIT").read_text().strip() in workshop.text() and workshop.pdf.with_suffix(".html").exists()


def test_without_a_report_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="run `make report` first"):
        submission.submit(tmp_path, tmp_path / "handed in")
    assert list(tmp_path.iterdir()) == []
