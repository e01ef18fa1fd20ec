"""What may go wrong while the report is made, done on purpose: the old PDF stays whole, a sentence says what to do."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Workshop

pytestmark = pytest.mark.usefixtures("tex")
GOOD = 'publish.say("All is well.")'
PAUSE = """from pathlib import Path
import time
Path("{mark}").write_text("here")
time.sleep(120)"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workshop = Workshop(tmp_path_factory.mktemp("finished"))
    workshop.write("01_fine", GOOD)
    done = workshop.build()
    assert done.returncode == 0, done.stderr
    return workshop.folder


@pytest.fixture
def built(finished: Path, tmp_path: Path) -> tuple[Workshop, bytes]:
    """A workshop with a report made, and that report."""
    shutil.copytree(finished, tmp_path / "built")
    workshop = Workshop(tmp_path / "built")
    return workshop, workshop.pdf.read_bytes()


def wait_for(path: Path, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)


def pause_in_notebook(workshop: Workshop) -> subprocess.Popen:
    """A build that is inside a notebook's cell."""
    mark = workshop.folder / "mark"
    workshop.write("01_fine", PAUSE.format(mark=mark))
    process = workshop.start()
    wait_for(mark)
    return process


@pytest.mark.parametrize("whom", [signal.SIGKILL, signal.SIGINT])
def test_a_build_ended_in_a_notebook_loses_nothing(built: tuple[Workshop, bytes], whom: signal.Signals) -> None:
    workshop, before = built
    process = pause_in_notebook(workshop)
    os.killpg(process.pid, whom)
    _, said = process.communicate(timeout=300)
    assert process.returncode != 0
    if whom == signal.SIGINT:
        assert "Traceback" not in said
        assert "stopped by Ctrl-C" in said.splitlines()[-1] and "same command" in said.splitlines()[-1]
    assert workshop.pdf.read_bytes() == before
    workshop.write("01_fine", GOOD)
    again = workshop.build()
    assert again.returncode == 0, again.stderr


def test_a_kernel_that_dies_is_named(built: tuple[Workshop, bytes]) -> None:
    """As the kernel does that the system ends for want of memory."""
    workshop, before = built
    workshop.write("01_fine", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    done = workshop.build()
    assert done.returncode == 1
    assert "01_fine.ipynb" in done.stderr and "Traceback" not in done.stderr
    assert "kernel died" in done.stderr.splitlines()[-1] and "memory" in done.stderr.splitlines()[-1]
    assert workshop.pdf.read_bytes() == before


def test_latex_killed_in_the_middle_leaves_the_old_report(built: tuple[Workshop, bytes], tmp_path: Path) -> None:
    workshop, before = built
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "xelatex").write_text("#!/bin/sh\nkill -9 $$\n")
    (tools / "xelatex").chmod(0o755)
    workshop.write("01_fine", 'publish.say("Another text.")')
    done = workshop.build(PATH=f"{tools}:{os.environ['PATH']}")
    assert done.returncode == 1 and "xelatex" in done.stderr and "Traceback" not in done.stderr
    assert workshop.pdf.read_bytes() == before
    assert workshop.build().returncode == 0
    assert "Another text." in workshop.text()


@pytest.mark.parametrize("size", ["4k", "40k"], ids=["at once", "after the notebook"])
def test_a_full_disk_is_named(workshop: Workshop, tmp_path: Path, size: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk]).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        workshop.write("01_fine", GOOD)
        done = workshop.build("--build", str(disk))
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "no space" in done.stderr.lower() and not workshop.pdf.exists()
    finally:
        subprocess.run(["umount", disk], check=True)
    assert workshop.build().returncode == 0


def test_a_folder_that_may_not_be_written_is_named(built: tuple[Workshop, bytes]) -> None:
    """/proc takes no file from anybody, root included."""
    workshop, before = built
    done = workshop.build("--output", "/proc/report.pdf")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "/proc" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert workshop.pdf.read_bytes() == before


TRAINING = """from helpers import evaluation
model = evaluation.train_classifier(epochs=6, images=2048, channels=4)
total = sum(t.double().sum().item() for t in model.modules["classifier"].state_dict().values())
publish.say(f"Weights: {total:.17g}")"""


def test_training_killed_and_taken_up_again_ends_at_the_same_numbers(workshop: Workshop, tmp_path: Path) -> None:
    hurry = "from helpers import store\nstore.CHECKPOINT_SECONDS = 0.0"
    workshop.write("01_fine", hurry, TRAINING)
    whole = workshop.build(MODELS=str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    expected = [line for line in workshop.text().splitlines() if "Weights" in line]
    process = workshop.start(MODELS=str(tmp_path / "cut"), FORCE="1")
    deadline = time.monotonic() + 180
    while not list((tmp_path / "cut").glob("*.partial")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list((tmp_path / "cut").glob("*.json")), "it was too quick to be interrupted"
    again = workshop.build(MODELS=str(tmp_path / "cut"), FORCE="1")
    assert again.returncode == 0, again.stderr
    assert expected and [line for line in workshop.text().splitlines() if "Weights" in line] == expected
