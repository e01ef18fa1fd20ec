"""What may go wrong while the report is made, done on purpose: the old report stays, a sentence says what to do."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import Workshop, wait_for

from helpers import store

pytestmark = pytest.mark.usefixtures("tex")
OLD = b"yesterday's report"
GOOD = 'publish.say("All is well.")'
TRAINING = """import os, time
from pathlib import Path
import torch
from helpers import store

def start():
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters())
    return store.State({"m": model}, optimizers={"adam": optimizer}, rng=torch.Generator().manual_seed(1))

store.CHECKPOINT_SECONDS = 0.0
with store.training("tiny", {"epochs": 4, "seed": 0}, start) as run:
    for epoch in run.epochs():
        if epoch == 2 and "PAUSE" in os.environ:
            Path(os.environ["PAUSE"]).touch()
            time.sleep(300)
        loss = run.state.modules["m"](torch.randn(8, 3, generator=run.state.rng)).square().mean()
        run.state.optimizers["adam"].zero_grad()
        loss.backward()
        run.state.optimizers["adam"].step()
        run.log({"loss": loss.item()})"""


@pytest.fixture(autouse=True)
def old_report(workshop: Workshop) -> None:
    workshop.pdf.write_bytes(OLD)
    workshop.page.write_bytes(OLD)


def last_line(done: subprocess.CompletedProcess, workshop: Workshop) -> str:
    """What a build that failed said at the end, the old report being left."""
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert workshop.pdf.read_bytes() == workshop.page.read_bytes() == OLD
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_build_ended_while_it_trains_loses_nothing(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setenv("MODELS", str(tmp_path / "whole"))
    monkeypatch.setattr(store, "CHECKPOINT_SECONDS", store.CHECKPOINT_SECONDS)  # the notebook's cell changes it
    exec(TRAINING, {})
    workshop.write("01_trains", TRAINING)
    process = workshop.start("--page", PAUSE=str(tmp_path / "mark"))
    wait_for((tmp_path / "mark").exists, "a training's third epoch")
    os.killpg(process.pid, how)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0 and workshop.page.read_bytes() == OLD
    if how == signal.SIGINT:
        assert "Traceback" not in said
        assert "stopped by Ctrl-C" in said.splitlines()[-1] and "same command" in said.splitlines()[-1]
    models = workshop.folder / "models"
    assert list(models.glob("tiny-*.partial")) and not list(models.glob("*.json"))
    again = workshop.build("--page")
    assert again.returncode == 0, again.stderr
    records = [json.loads(next(folder.glob("*.json")).read_text()) for folder in (tmp_path / "whole", models)]
    assert records[0]["sha256"] == records[1]["sha256"] and records[0]["history"] == records[1]["history"]


def test_a_kernel_that_dies_is_named(workshop: Workshop) -> None:
    """As the kernel does that the system ends for want of memory."""
    workshop.write("01_fine", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    said = last_line(workshop.build("--page"), workshop)
    assert "01_fine.ipynb" in said and "kernel died" in said and "memory" in said


def test_latex_killed_in_the_middle_leaves_the_old_report(workshop: Workshop, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "xelatex").write_text("#!/bin/sh\nkill -9 $$\n")
    (tools / "xelatex").chmod(0o755)
    workshop.write("01_fine", GOOD)
    assert "xelatex" in last_line(workshop.build(PATH=f"{tools}:{os.environ['PATH']}"), workshop)
    assert workshop.build().returncode == 0
    assert "All is well." in workshop.text()


FILL = """with open({!r}, "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass"""


@pytest.mark.parametrize("when", ["before", "while a notebook runs"])
def test_a_full_disk_is_named(workshop: Workshop, tmp_path: Path, when: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk]).returncode:
        pytest.skip("no disk can be mounted here")
    fill = FILL.format(str(disk / "filler"))
    workshop.write("01_fine", fill)
    try:
        if when == "before":
            exec(fill)
        done = workshop.build("--page", "--build", str(disk))
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
    assert last_line(done, workshop) and "no space" in done.stderr.lower()
