"""Many trainings by one call: in this process or on a Dask cluster of two workers the numbers are the same."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from distributed import LocalCluster
from torch import nn

from helpers import store, sweep

SETTINGS = [{"name": "tiny", "seed": seed} for seed in range(4)]


def train(name: str, seed: int, mark: str = "") -> store.Trained:
    """Three epochs; where a mark is given and not yet set, the worker is killed after the first of seed 2."""
    store.CHECKPOINT_SECONDS = 0.0

    def start() -> store.Training:
        network = nn.Linear(3, 3)
        rng = torch.Generator().manual_seed(seed)
        return store.Training({"net": network}, {}, {"adam": torch.optim.Adam(network.parameters(), 0.1)}, rng)

    def epoch(training: store.Training, number: int) -> dict[str, float]:
        if mark and seed == 2 and number == 1 and not Path(mark).exists():
            Path(mark).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        loss = training.modules["net"](torch.randn(8, 3, generator=training.generator)).square().mean()
        training.optimizers["adam"].zero_grad()
        loss.backward()
        training.optimizers["adam"].step()
        return {"loss": loss.item()}

    return store.load_or_train(name, {"epochs": 3, "seed": seed}, start, epoch)


def numbers(models: list[store.Trained]) -> list[str]:
    return [model.record["sha256"] for model in models]


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> list[str]:
    """What comes out in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELS", str(tmp_path_factory.mktemp("here")))
        return numbers(sweep.train_all(train, SETTINGS))


@pytest.mark.parametrize("killed", [False, True])
def test_workers_train_the_same_models_even_if_one_is_killed(here, killed, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path / "models"))
    mark = str(tmp_path / "mark") if killed else ""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        monkeypatch.setenv("SCHEDULER", cluster.scheduler_address)
        found = sweep.train_all(train, [setting | {"mark": mark} for setting in SETTINGS])
    assert numbers(found) == here and len(set(here)) == len(here)
    if killed:
        assert int(Path(mark).read_text()) != os.getpid(), "a worker was killed"
    assert [json.loads(p.read_text())["name"] for p in (tmp_path / "models").glob("*.json")] == ["tiny"] * len(SETTINGS)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setenv("SCHEDULER", "tcp://127.0.0.1:1")
    monkeypatch.setattr(sweep, "PATIENCE", 1)
    with pytest.raises(OSError, match="127.0.0.1:1"):
        sweep.train_all(train, SETTINGS)
