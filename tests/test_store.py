"""The training store: found, trained, resumed, refused; nothing half-written; the same here and on Dask's workers."""

import functools
import json
import math
import os
import pickle  # noqa: TID251 (to be refused)
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from distributed import LocalCluster
from safetensors.torch import save
from torch import nn

from helpers import store

CONFIG = {"epochs": 4, "seed": 3, "width": 5}
EVERY_EPOCH, MODEL_FILES = [0, 1, 2, 3], [".json", ".safetensors"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path / "models"))
    for name in ("RETRAIN_SINCE", "RETRAIN", "MODELS_USED", "SCHEDULER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(store, "CHECKPOINT_SECONDS", store.CHECKPOINT_SECONDS)  # a regression changes it
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def regression(config=CONFIG, in_epoch_2=lambda: None, value=None):
    """Train a small regression, with a checkpoint after each epoch: the model, and the epochs that ran now.

    in_epoch_2: called before the third epoch, number 2, is done. value: what the history records in place of the loss.
    """

    def start():
        width = config["width"]
        network = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
        optimizer = torch.optim.Adam(network.parameters(), 1e-2, fused=True)
        rng = torch.Generator().manual_seed(1)
        return store.State({"net": network}, {"old": nn.Linear(1, 1)}, {"adam": optimizer}, rng)

    epochs_run = []
    store.CHECKPOINT_SECONDS = 0.0  # in Dask's workers, too
    with store.training("regression", config, start) as run:
        network, optimizer = run.state.modules["net"], run.state.optimizers["adam"]
        for epoch in run.epochs():
            assert network.training and run.state.scratch["old"].training
            x = torch.randn(32, 2, generator=run.state.rng) + torch.randn(32, 2)  # own and global random numbers
            loss = (network(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            network.eval()
            if epoch == 2:
                in_epoch_2()
            epochs_run.append(epoch)
            run.log({"loss": loss.item() if value is None else value})
    return run.trained, epochs_run


def interrupt():
    raise KeyboardInterrupt


def kill_once(mark):
    """Kill this process, unless the file `mark` says that one was killed."""
    if not Path(mark).exists():
        Path(mark).write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)


def weights(trained):
    return torch.cat([tensor.flatten().double() for tensor in trained.modules["net"].state_dict().values()])


def suffixes(folder):
    return sorted(path.suffix for path in folder.iterdir())


def test_trains_once_then_loads(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS_USED", str(tmp_path / "used"))
    before = torch.get_rng_state()
    first, run = regression()
    again, rerun = regression()
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers are left alone"
    assert run == EVERY_EPOCH and rerun == []
    assert torch.equal(weights(first), weights(again)) and first.record == again.record
    assert suffixes(folder) == MODEL_FILES
    assert not again.modules["net"].training and not any(w.requires_grad for w in again.modules["net"].parameters())
    assert set(first.record) >= store.ENTRIES | {"versions", "commit"}
    (name,) = {path.stem for path in folder.iterdir()}
    assert (tmp_path / "used").read_text() == f"{name} {first.record['sha256']}\n" * 2
    assert regression(CONFIG | {"epochs": 2})[1] == [0, 1], "another configuration is another model"


def test_interrupted_training_resumes_bit_for_bit(folder, capsys):
    whole, _ = regression()
    for path in folder.iterdir():
        path.unlink()
    torch.manual_seed(8)
    with pytest.raises(KeyboardInterrupt):
        regression(in_epoch_2=interrupt)
    assert suffixes(folder) == [".partial"], "the lock is released, the checkpoint stays"
    resumed, run = regression()  # as a cell run again in the same kernel
    assert run == [2, 3] and "regression: going on after epoch 2 of 4." in capsys.readouterr().out
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.record["history"] == resumed.record["history"]


def test_of_two_that_need_one_model_the_second_waits_for_the_first(folder):
    with ThreadPoolExecutor(2) as threads:
        runs = [future.result()[1] for future in [threads.submit(regression) for _ in range(2)]]
    assert sorted(runs) == [[], EVERY_EPOCH]
    assert suffixes(folder) == MODEL_FILES


@pytest.mark.parametrize(("keep", "retrain", "run"), [(True, "1", True), (False, "1", False), (False, "all", True)])
def test_older_models_are_trained_anew_but_records_only_when_all_are_asked_for(monkeypatch, keep, retrain, run):
    first, _ = regression(CONFIG | {"keep": keep})
    monkeypatch.setenv("RETRAIN_SINCE", str(first.record["finished"] + 100))
    monkeypatch.setenv("RETRAIN", retrain)
    second, epochs = regression(CONFIG | {"keep": keep})
    assert epochs == EVERY_EPOCH * run and torch.equal(weights(first), weights(second))


def test_a_training_that_diverges_ends_early_or_forgets_to_log_saves_nothing(folder):
    def start():
        return store.State({"net": nn.Linear(1, 1)})

    with pytest.raises(RuntimeError, match="short was trained for 1 of 3 epochs"):
        with store.training("short", CONFIG | {"epochs": 3}, start) as run:
            for epoch in run.epochs():
                if epoch == 1:
                    break
                run.log({})
    with pytest.raises(RuntimeError, match="silent: each epoch must log"):
        with store.training("silent", CONFIG, start) as run:
            list(run.epochs())
    with pytest.raises(ValueError, match="epochs must be"), store.training("none", CONFIG | {"epochs": 0}, start):
        pass
    with pytest.raises(FloatingPointError, match="regression diverged in epoch 1: loss = nan"):
        regression(value=math.nan)
    assert not list(folder.iterdir())


class Bomb:
    """A pickle that leaves a trace where it is loaded."""

    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def edit(record_file, **entries):
    record_file.write_text(json.dumps(json.loads(record_file.read_text()) | entries))


def replace_weights(record_file, weights_file, content):
    weights_file.write_bytes(content)
    edit(record_file, sha256=store.hashlib.sha256(content).hexdigest())


DAMAGES = {
    "flipped bit": lambda record, weights: weights.write_bytes(weights.read_bytes()[:-1] + b"!"),
    "other config": lambda record, weights: edit(record, config=CONFIG | {"width": 7}),
    "truncated record": lambda record, weights: record.write_text(record.read_text()[:100]),
    "no weights": lambda record, weights: weights.unlink(),
    "other shapes": lambda record, weights: replace_weights(record, weights, save({"net.0.weight": torch.zeros(3, 3)})),
    "no record": lambda record, weights: record.write_text("[1, 2]"),
    "no checksum": lambda record, weights: record.write_text(record.read_text().replace('"sha256"', '"sha255"')),
    "pickle": lambda record, weights: replace_weights(record, weights, pickle.dumps(Bomb())),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_models_are_refused_not_replaced(folder, damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    regression()
    record_file, weights_file = next(folder.glob("*.json")), next(folder.glob("*.safetensors"))
    DAMAGES[damage](record_file, weights_file)
    before = record_file.read_bytes()
    with pytest.raises(ValueError, match="regression-.*damaged.*git checkout"):
        regression()
    assert record_file.read_bytes() == before
    assert not Path("exploded").exists()


@pytest.mark.parametrize("content", [lambda whole: whole[:50], lambda whole: pickle.dumps(Bomb())])
def test_damaged_checkpoint_is_refused(folder, content):
    with pytest.raises(KeyboardInterrupt):
        regression(in_epoch_2=interrupt)
    partial = next(folder.glob("*.partial"))
    partial.write_bytes(content(partial.read_bytes()))
    with pytest.raises(ValueError, match="delete it to start"):
        regression()


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    store.write_atomically(tmp_path / "file", b"old")
    monkeypatch.setattr(store.os, "replace", lambda *paths: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "models"]


def test_an_empty_models_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("MODELS", "")
    assert store.folder() == store.ROOT / "data" / "models"


def test_workers_train_the_same_models_even_if_one_is_killed(folder, tmp_path, monkeypatch):
    configs = [CONFIG | {"seed": seed} for seed in range(4)]
    monkeypatch.setenv("MODELS", str(tmp_path / "here"))
    here = store.train_all(regression, [{"config": config} for config in configs])
    monkeypatch.setenv("MODELS", str(folder))
    kill = functools.partial(kill_once, str(tmp_path / "mark"))
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        monkeypatch.setenv("SCHEDULER", cluster.scheduler_address)
        found = store.train_all(regression, [{"config": config, "in_epoch_2": kill} for config in configs])
    checksums = [[trained.record["sha256"] for trained, _ in models] for models in (here, found)]
    assert checksums[0] == checksums[1] and len(set(checksums[0])) == len(configs)
    assert int((tmp_path / "mark").read_text()) != os.getpid(), "a worker was killed"
    assert suffixes(folder) == sorted(MODEL_FILES * len(configs))


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setenv("SCHEDULER", "tcp://127.0.0.1:1")
    monkeypatch.setattr(store, "SCHEDULER_SECONDS", 1)
    with pytest.raises(OSError, match="127.0.0.1:1"):
        store.train_all(regression, [{}])
