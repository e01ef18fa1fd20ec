"""Where the report may have to be made: odd paths and locales, no network, no home, no root, a checkout read-only."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT, Workshop

pytestmark = pytest.mark.usefixtures("tex")
CELL = """import matplotlib.pyplot as plt
from helpers import data
publish.say(f"Größe {data.mnist('test')[0].mean().item():.6f}")
fig, ax = plt.subplots()
ax.plot([0, 1])
publish.figure(fig, "fig-line", "Un café.")"""
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"'


class Checkout:
    """A copy of the code and data with one small notebook, in a folder whose name has blanks and é."""

    def __init__(self, folder: Path):
        self.folder = folder / "a copy, Zoë's 作业 & more"
        self.pdf, self.page = self.folder / "report" / "report.pdf", self.folder / "report" / "report.html"
        ignored = shutil.ignore_patterns("build", "models", "__pycache__", "report.pdf", "report.html")
        for part in ("helpers", "report", "data"):
            shutil.copytree(ROOT / part, self.folder / part, ignore=ignored)
        workshop = Workshop(folder)
        workshop.write("01_small", CELL)
        shutil.copytree(workshop.notebooks, self.folder / "notebooks")

    def build(
        self, *options: str, before: tuple[str, ...] = (), python: str = sys.executable, **environment: str
    ) -> subprocess.CompletedProcess:
        """report/build.py in the copy, its command after the words of `before`."""
        command = [*before, python, "report/build.py", *options]
        settings = os.environ | {"PYTHONPATH": str(self.folder)} | environment
        return subprocess.run(command, env=settings, capture_output=True, text=True, cwd=self.folder, encoding="utf-8")


def text(pdf: Path) -> str:
    return subprocess.run(["pdftotext", pdf, "-"], capture_output=True, check=True).stdout.decode()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def expected(checkout: Checkout) -> str:
    """What the small notebook says where nothing is odd but the path."""
    done = checkout.build("--page")
    assert done.returncode == 0, done.stderr
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
    done = checkout.build(FORCE="1", LC_ALL="C", LANG="C", LANGUAGE="C", **nowhere)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert expected in text(checkout.pdf)


def test_no_network_is_needed(checkout: Checkout, expected: str) -> None:
    """Not even this machine's own addresses."""
    done = checkout.build("--page", FORCE="1", before=need("unshare", "--map-root-user", "--net"))
    assert done.returncode == 0, done.stderr
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
        done = checkout.build(before=nobody, python=python, **settings)
        assert done.returncode == 0, done.stderr
        assert expected in text(checkout.pdf) and checkout.pdf.stat().st_uid == 65534


def test_without_latex_the_page_is_made_and_the_pdf_refused_in_a_sentence(
    checkout: Checkout, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "pandoc").symlink_to(shutil.which("pandoc"))
    checkout.pdf.write_bytes(b"yesterday's")
    refused = checkout.build(PATH=str(tmp_path))
    assert refused.returncode == 1 and "xelatex" in refused.stderr and len(refused.stderr.strip().splitlines()) == 1
    assert checkout.pdf.read_bytes() == b"yesterday's"
    checkout.page.unlink()
    done = checkout.build("--page", PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert expected in checkout.page.read_text(encoding="utf-8")


def test_a_checkout_that_cannot_be_written_builds_elsewhere(checkout: Checkout, expected: str, tmp_path: Path) -> None:
    before = (*need("unshare", "--map-root-user", "--mount"), "sh", "-c", READ_ONLY, str(checkout.folder))
    held = {path: path.stat().st_mtime_ns for path in checkout.folder.rglob("*") if path.is_file()}
    refused = checkout.build("--page", before=before, FORCE="1")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "Read-only file system" in refused.stderr and len(refused.stderr.strip().splitlines()) == 1
    done = checkout.build("--page", "--build", f"{tmp_path}/b", "--output", f"{tmp_path}/made.html", before=before)
    assert done.returncode == 0, done.stderr
    assert expected in (tmp_path / "made.html").read_text(encoding="utf-8")
    assert held == {path: path.stat().st_mtime_ns for path in checkout.folder.rglob("*") if path.is_file()}
