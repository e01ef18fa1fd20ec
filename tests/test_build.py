"""The build where things go wrong or the surroundings are odd: the old report stays, a sentence says what to do."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import build
import filelock
import pytest
from conftest import ROOT, TRAINING, Workshop, wait_for

from helpers import store

pytestmark = pytest.mark.usefixtures("tex")
GOOD = 'publish.say("All is well.")'


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [("JOBS", "0", "JOBS=0 must be"), ("RETRAIN", "yes", "RETRAIN=yes is unknown"), ("OTHER", "", "no parameter")],
)  # fmt: skip
def test_settings_without_sense_are_refused_before_anything_runs(
    workshop: Workshop, monkeypatch, capsys, variable: str, value: str, complaint: str
) -> None:
    workshop.write("01_good", GOOD)
    table, folder = workshop.folder / "parameters.toml", workshop.folder / "build"
    table.write_text("[01_good]\n" + "epoch = 3\n" * (variable == "OTHER"))
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("MODELS", str(workshop.folder))
    options = [*map(str, workshop.options), "--parameters", str(table)]
    assert build.main([*options, "--reduced"]) == 1
    assert complaint in capsys.readouterr().err and not (folder / "01_good.ipynb").exists()
    with filelock.FileLock(folder / ".lock"):
        monkeypatch.delenv(variable)
        assert build.main(options) == 1 and "another build is at work" in capsys.readouterr().err


def test_a_full_report_with_own_parameters(workshop: Workshop) -> None:
    workshop.write("01_good", 'publish.say(f"The seed is {seed}.")')
    own = workshop.folder / "own parameters.toml"
    own.write_text("[01_good]\nseed = 7\n")
    workshop.build("--page", "--parameters", str(own))
    page = workshop.page.read_text(encoding="utf-8")
    assert "The seed is 7." in page and "full run with own parameters" in page
    own.write_text("[01_god]\nseed = 7\n")
    assert "there is no notebook '01_god'; the notebooks are 01_good" in workshop.refused("--parameters", str(own))[-1]


def test_a_name_is_no_command_of_the_shell(tmp_path: Path) -> None:
    """make's own variable, as a user would type it, with a Python that only writes it down."""
    author = "$(touch broken) `touch broken` '; touch broken; ' \"; touch broken; \""
    (tmp_path / "python").write_text(
        '#!/bin/sh\nprintf %s "$AUTHOR" > "$(dirname "$0")/author"\nprintf "%s\\n" "$@" > "$(dirname "$0")/words"\n'
    )
    (tmp_path / "python").chmod(0o755)
    command = ["make", "-f", ROOT / "Makefile", "-C", tmp_path, "report", f"PYTHON={tmp_path}/python"]
    subprocess.run([*command, f"AUTHOR={author}", f"PARAMETERS={author}"], capture_output=True, check=True)
    assert (tmp_path / "author").read_text() == author and not list(tmp_path.rglob("broken"))
    assert (tmp_path / "words").read_text().splitlines() == ["report/build.py", "--parameters", author]


def test_what_the_title_block_lacks_is_left_blank_and_said_at_the_end(workshop: Workshop) -> None:
    workshop.write("01_good", GOOD)
    said = workshop.build("--page", COLLABORATORS="A & B")
    page = workshop.page.read_text(encoding="utf-8")
    assert "A &amp; B" in page and "Time spent" in page and "not stated" not in page
    assert "warning: the title block has blanks for HOURS; `make report HOURS=…` fills them in." in said


def test_a_failing_cell_is_named(workshop: Workshop) -> None:
    workshop.write("02_bad", "a = 1", "publish.check('one is two', a, 2, 0.5)")
    *_, said = workshop.refused()
    assert "02_bad.ipynb, code cell 4" in said and "AssertionError: check failed: one is two" in said
    assert "failed: one is two" in (workshop.folder / "build" / "02_bad.ipynb").read_text()


def test_a_kernel_that_dies_is_named(workshop: Workshop) -> None:
    """As the kernel does that the system ends for want of memory."""
    workshop.write("01_fine", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    *_, said = workshop.refused("--page")
    assert "01_fine.ipynb" in said and "kernel died" in said and "memory" in said


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_build_ended_while_it_trains_loses_nothing(workshop: Workshop, tmp_path: Path, monkeypatch, how) -> None:
    monkeypatch.setenv("MODELS", str(tmp_path / "whole"))
    monkeypatch.setattr(store, "CHECKPOINT_SECONDS", store.CHECKPOINT_SECONDS)  # the notebook's cell changes it
    exec(TRAINING, {})
    workshop.write("01_trains", TRAINING)
    workshop.page.write_bytes(b"yesterday's")
    process = workshop.start("--page", PAUSE=str(tmp_path / "mark"), MODELS=str(tmp_path / "models"))
    wait_for((tmp_path / "mark").exists, "a training's third epoch")
    os.killpg(process.pid, how)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0 and workshop.page.read_bytes() == b"yesterday's"
    if how == signal.SIGINT:
        assert "Traceback" not in said
        assert "stopped by Ctrl-C" in said.splitlines()[-1] and "same command" in said.splitlines()[-1]
    assert list((tmp_path / "models").glob("tiny-*.partial")) and not list((tmp_path / "models").glob("*.safetensors"))
    workshop.build("--page", MODELS=str(tmp_path / "models"))
    records = [store.read(next((tmp_path / name).glob("*.safetensors")))[0] for name in ("whole", "models")]
    assert records[0]["sha256"] == records[1]["sha256"] and records[0]["history"] == records[1]["history"]


def test_after_latex_was_killed_names_are_printed_as_they_are(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "xelatex").write_text("#!/bin/sh\nkill -9 $$\n")
    (tmp_path / "xelatex").chmod(0o755)
    workshop.write("01_good", GOOD)
    author = r"""Zoë O'Ñeill, 李明 & Иван "100%" #1_{x}^2 ~ \input{a} $B `id` -- Ζωή"""
    title = {"AUTHOR": author, "HOURS": "<3 & more", "COLLABORATORS": "a_b; łódź"}
    assert "xelatex" in workshop.refused(PATH=f"{tmp_path}:{os.environ['PATH']}", **title)[-1]
    workshop.build(**title)
    text = " ".join(workshop.text().replace("’", "'").split())
    parts = ("Zoë O'Ñeill", "李明 & Иван", '"100%" #1_{x}^2', r"\input{a} $B `id` -- Ζωή", "<3 & more", "a_b; łódź")
    assert [part for part in (*parts, "All is well.") if part not in text] == []
    found = subprocess.run(["pdfinfo", workshop.pdf], capture_output=True, text=True, check=True).stdout
    assert f"Author:          {author}" in found


FILL = """with open({!r}, "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass"""


@pytest.mark.parametrize("when", ["before", "while a notebook runs"])
def test_a_full_disk_is_named(workshop: Workshop, tmp_path: Path, when: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk]).returncode:
        pytest.skip("no disk can be mounted here")
    fill = FILL.format(str(disk / "filler"))
    workshop.write("01_fine", fill)
    try:
        if when == "before":
            exec(fill)
        assert "no space" in " ".join(workshop.refused("--page", "--build", str(disk))).lower()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


CELL = """import matplotlib.pyplot as plt
from helpers import data
publish.say(f"Größe {data.mnist('test')[0].mean().item():.6f}")
fig, ax = plt.subplots()
ax.plot([0, 1])
publish.figure(fig, "fig-line", "Un café.")"""
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"'


class Checkout(Workshop):
    """A copy of the code and data with one small notebook, in a folder whose name has blanks and é."""

    def __init__(self, folder: Path):
        super().__init__(folder / "a copy, Zoë's 作业 & more")
        ignored = shutil.ignore_patterns("build", "models", "__pycache__", "report.pdf", "report.html")
        for part in ("helpers", "report", "data"):
            shutil.copytree(ROOT / part, self.folder / part, ignore=ignored)
        self.write("01_small", CELL)
        self.notebooks.rename(self.folder / "notebooks")
        self.code, self.options, self.pdf = self.folder, [], self.folder / "report" / "report.pdf"
        self.page = self.pdf.with_suffix(".html")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def expected(checkout: Checkout) -> str:
    """What the small notebook says where nothing is odd but the path."""
    checkout.build("--page")
    page = checkout.page.read_text(encoding="utf-8")
    return page[page.index("Größe ") :][: len("Größe 0.123456")]


def need(*command: str) -> tuple[str, ...]:
    """The command's words, or a skip where this machine does not allow it (a container may forbid namespaces)."""
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        pytest.skip(f"`{shlex.join(command)}` is not allowed on this machine")
    return command


def test_it_is_the_same_report_in_locale_c_and_without_a_home(checkout: Checkout, expected: str) -> None:
    nowhere = dict.fromkeys(("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"), "") | {"HOME": "/proc/nobody"}
    assert "reused" not in checkout.build(FORCE="1", LC_ALL="C", LANG="C", LANGUAGE="C", **nowhere)
    assert expected in checkout.text()


def test_no_network_is_needed(checkout: Checkout, expected: str) -> None:
    """Not even this machine's own addresses."""
    checkout.build("--page", FORCE="1", before=need("unshare", "--map-root-user", "--net"))
    assert expected in checkout.page.read_text(encoding="utf-8")


def test_root_is_not_needed(expected: str) -> None:
    nobody = need("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are for their owner alone
        checkout = Checkout(Path(folder))
        for path in [Path(folder), checkout.folder, *checkout.folder.rglob("*")]:
            os.chown(path, 65534, 65534)
        # root's Python may lie in root's home: then Debian's, of the same version, with the same packages
        packages = [str(checkout.folder), sysconfig.get_path("purelib")]
        settings = {"HOME": "/nonexistent", "PYTHONPATH": os.pathsep.join(packages)}
        settings["JUPYTER_PATH"] = str(Path(sys.prefix) / "share" / "jupyter")
        for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
            probe = [*nobody, "sh", "-c", '"$0" -c "import torch"', python]
            if subprocess.run(probe, capture_output=True, env=os.environ | settings).returncode == 0:
                break
        else:
            pytest.skip("no Python here is open to others than root")
        checkout.build(before=nobody, python=python, **settings)
        assert expected in checkout.text() and checkout.pdf.stat().st_uid == 65534


def test_without_latex_the_page_is_made_and_the_pdf_refused(checkout: Checkout, expected: str, tmp_path: Path) -> None:
    (tmp_path / "pandoc").symlink_to(shutil.which("pandoc"))
    (said,) = checkout.refused(PATH=str(tmp_path))
    assert "xelatex" in said
    assert "reused" in checkout.build("--page", PATH=str(tmp_path))
    assert expected in checkout.page.read_text(encoding="utf-8")


def test_a_checkout_that_cannot_be_written_builds_elsewhere(checkout: Checkout, expected: str, tmp_path: Path) -> None:
    before = (*need("unshare", "--map-root-user", "--mount"), "sh", "-c", READ_ONLY, str(checkout.folder))
    (said,) = checkout.refused("--page", before=before, FORCE="1")
    assert "Read-only file system" in said
    held = {path: path.stat().st_mtime_ns for path in checkout.folder.rglob("*") if path.is_file()}
    checkout.build("--page", "--build", f"{tmp_path}/b", "--output", f"{tmp_path}/made.html", before=before)
    assert expected in (tmp_path / "made.html").read_text(encoding="utf-8")
    assert held == {path: path.stat().st_mtime_ns for path in checkout.folder.rglob("*") if path.is_file()}
