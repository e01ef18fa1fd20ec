"""The training store: found, trained, resumed, refused; nothing half-written; the same here and on Dask's workers."""

import functools
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

from helpers import files, provenance, store
from helpers.config import config_hash

CONFIG = {"epochs": 4, "seed": 3, "width": 5}
EVERY_EPOCH = [0, 1, 2, 3]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path / "models"))
    for name in ("RETRAIN_SINCE", "RETRAIN", "MODELS_USED", "SCHEDULER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(store, "CHECKPOINT_SECONDS", store.CHECKPOINT_SECONDS)  # a regression changes it
    monkeypatch.setattr(store, "_said", set())
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


class Regression:
    """A small network, its optimiser and its own random numbers; `old` is a network that is not kept."""

    def __init__(self, config, code=()):
        width = config["width"]
        self.network = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
        self.old = nn.Linear(1, 1)
        self.adam = torch.optim.Adam(self.network.parameters(), 1e-2, fused=True)
        self.rng = torch.Generator().manual_seed(1)
        self.kept = {"net": self.network} if config.get("keep", True) else {}
        self.code = code

    def step(self):
        x = torch.randn(32, 2, generator=self.rng) + torch.randn(32, 2)  # own and global random numbers
        loss = (self.network(x) - x.sum(1, keepdim=True)).square().mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return loss.item()


def regression(config=CONFIG, in_epoch_2=lambda: None, value=None, code=()):
    """Train a small regression, with a checkpoint after each epoch: the model, and the epochs that ran now.

    in_epoch_2: called before the third epoch, number 2, is done. value: what the history records in place of the loss.
    """
    epochs_run = []
    store.CHECKPOINT_SECONDS = 0.0  # in Dask's workers, too
    with store.training("regression", config, lambda: Regression(config, code)) as run:
        for epoch in run.epochs():
            assert run.model.network.training and run.model.old.training
            loss = run.model.step()
            run.model.network.eval()
            if epoch == 2:
                in_epoch_2()
            epochs_run.append(epoch)
            run.log({"loss": loss if value is None else value})
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
    assert suffixes(folder) == [".safetensors"]
    assert not again.modules["net"].training and not any(w.requires_grad for w in again.modules["net"].parameters())
    assert set(first.record) >= store.ENTRIES | {"versions", "commit", "kind"}
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
    assert suffixes(folder) == [".safetensors"]


@pytest.mark.parametrize(
    ("keep", "seed", "retrain", "run"),
    [
        (True, 0, "1", True),
        (True, 3, "1", False),
        (True, 3, "all", True),
        (False, 0, "1", False),
        (False, 0, "all", True),
    ],
)
def test_older_models_are_trained_anew_but_records_and_other_seeds_only_when_all_are_asked_for(
    monkeypatch, keep, seed, retrain, run
):
    config = CONFIG | {"keep": keep, "seed": seed}
    first, _ = regression(config)
    monkeypatch.setenv("RETRAIN_SINCE", str(first.record["finished"] + 100))
    monkeypatch.setenv("RETRAIN", retrain)
    second, epochs = regression(config)
    assert epochs == EVERY_EPOCH * run and first.record["sha256"] == second.record["sha256"]
    assert bool(second.modules) == keep


def measure(value=1.0, settings=None):
    """Measure a number, and the times that it was measured now."""
    calls = []

    def compute():
        calls.append(value)
        return {"number": torch.tensor(value)}, {"training": {"sha256": "of the model"}}

    tensors, record = store.measured("fact", settings or {"seed": 3, "model": "a"}, compute)
    return tensors["number"].item(), record, len(calls)


def test_a_measurement_is_made_once_for_each_setting_and_its_file_says_of_what(folder, monkeypatch):
    number, record, calls = measure(2.0)
    assert (number, calls) == (2.0, 1) and record["training"] == {"sha256": "of the model"}
    assert measure(5.0)[::2] == (2.0, 0), "the stored one"
    assert measure(5.0, {"seed": 3, "model": "b"})[::2] == (5.0, 1)
    (file, _) = sorted(folder.glob("fact-*"), key=os.path.getmtime)
    assert store.read(file)[0]["config"] == {"seed": 3, "model": "a"} and suffixes(folder) == 2 * [".safetensors"]
    monkeypatch.setenv("RETRAIN_SINCE", str(record["finished"] + 100))
    monkeypatch.setenv("RETRAIN", "1")
    assert measure(5.0)[::2] == (2.0, 0)
    monkeypatch.setenv("RETRAIN", "all")
    assert measure(5.0)[::2] == (5.0, 1)
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match="damaged"):
        measure(5.0)


def test_a_measurement_that_fails_leaves_nothing(folder):
    with pytest.raises(KeyboardInterrupt):
        store.measured("fact", {"seed": 0}, interrupt)
    assert not list(folder.glob("*.safetensors"))


def test_a_training_that_diverges_ends_early_or_forgets_to_log_saves_nothing(folder):
    def start():
        return Regression(CONFIG)

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


def edit(path, **changes):
    record, tensors = store.read(path)
    path.write_bytes(store.packed(record | changes, tensors))


def without(path, entry):
    record, tensors = store.read(path)
    del record[entry]
    path.write_bytes(store.packed(record, tensors))


def other_shapes(path):
    record, _ = store.read(path)
    tensors = {"net.0.weight": torch.zeros(3, 3)}
    path.write_bytes(store.packed(record | {"sha256": provenance.sha256_of_tensors(tensors)}, tensors))


DAMAGES = {
    "flipped bit": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"),
    "other config": lambda path: edit(path, config=CONFIG | {"width": 7}),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "other shapes": other_shapes,
    "no record": lambda path: path.write_bytes(save({"net.0.weight": torch.zeros(3, 3)})),
    "no checksum": lambda path: without(path, "sha256"),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Bomb())),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_models_are_refused_not_replaced(folder, damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    regression()
    (path,) = folder.glob("*.safetensors")
    DAMAGES[damage](path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="regression-.*damaged.*git checkout"):
        regression()
    assert path.read_bytes() == before
    assert not Path("exploded").exists()


def test_a_reader_beside_a_retraining_sees_the_old_model_or_the_new(folder):
    regression()
    (path,) = folder.glob("*.safetensors")
    record, tensors = store.read(path)
    halved = {name: tensor / 2 for name, tensor in tensors.items()}
    other = record | {"sha256": provenance.sha256_of_tensors(halved), "history": record["history"] * 50}
    contents = [store.packed(record, tensors), store.packed(other, halved)]

    def rewrite():
        for k in range(300):
            files.write_atomically(path, contents[k % 2])

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(rewrite)
        found = set()
        while not writing.done():
            found.add(store.read(path)[0]["sha256"])
        writing.result()
    assert found <= {record["sha256"], other["sha256"]}


def test_a_record_alone_is_no_model_for_one_who_asks_for_its_networks(folder):
    bare, _ = regression(CONFIG | {"keep": False})
    assert not bare.modules
    whole, run = regression()
    assert run == EVERY_EPOCH and whole.record["history"] == bare.record["history"]
    again, run = regression(CONFIG | {"keep": False})
    assert run == [] and not again.modules and len(list(folder.iterdir())) == 1, "one file, which has all"


def double(x):
    """A function that determines a model."""
    return 2 * x


def test_code_that_was_changed_since_the_training_is_named(folder, capsys, monkeypatch):
    regression(code=[double])
    capsys.readouterr()
    regression(code=[double])
    first = capsys.readouterr().out
    assert "Note" not in first and "Loaded" in first and "train another" in first
    for factor in (3, 4, 4):  # each time
        regression(code=[lambda x, k=factor: k * x])
        second = capsys.readouterr().out
        assert second.count("trained with other losses, networks or training step") == 1 and "Loaded" not in second


class Base:
    def value(self):
        return 1


class Derived(Base):
    pass


class Other:
    def value(self):
        return 2


def test_the_hash_of_a_class_covers_its_base_classes():
    before = provenance.code_hash([Derived])
    Derived.__bases__ = (Other,)
    try:
        assert provenance.code_hash([Derived]) != before
    finally:
        Derived.__bases__ = (Base,)
    assert provenance.code_hash([Derived]) == before


def test_the_hash_of_code_follows_its_syntax_alone():
    exec_space = {}
    exec("def double(x):\n    return 2 * x\n", exec_space)  # has no source
    written = provenance.code_hash([double])
    assert written == provenance.code_hash([double]) != provenance.code_hash([exec_space["double"]])
    docstring, plain = (provenance._syntax(provenance.ast.parse(text)) for text in SAME)
    assert docstring == plain != provenance._syntax(provenance.ast.parse("def f(x):\n    return x - 1"))


SAME = ['def f(x):\n    """More."""\n    return (x + 1)  # a comment', "def f(x):\n\n    return x+1"]


def test_own_trainings_are_kept_apart_from_the_shipped_ones(tmp_path, monkeypatch):
    monkeypatch.delenv("MODELS")
    monkeypatch.setattr(store, "ROOT", tmp_path)
    shipped, own = tmp_path / "data" / "models", tmp_path / "data" / "own-models"
    config = CONFIG | {"seed": 0}
    first, _ = regression(config)
    (file,) = own.glob("*.safetensors")
    assert not shipped.exists()
    monkeypatch.setenv("RETRAIN", "1")
    monkeypatch.setenv("RETRAIN_SINCE", str(first.record["finished"] + 1e6))
    monkeypatch.setattr(store.time, "time", lambda: first.record["finished"] + 2e6)
    second, run = regression(config)
    assert run == EVERY_EPOCH and [path.name for path in shipped.glob("*.safetensors")] == [file.name]
    assert store.folder("own") == own, "a model without a name of its own is not shipped"
    monkeypatch.delenv("RETRAIN")
    monkeypatch.delenv("RETRAIN_SINCE")
    assert regression(config)[0].record["finished"] == second.record["finished"], "the shipped one comes first"
    assert store.find(file.stem).parent == shipped


def test_a_hash_covers_what_differs_from_the_defaults():
    assert config_hash(CONFIG) != config_hash(CONFIG | {"width": 6})


@pytest.mark.parametrize(
    "content",
    [
        lambda whole: whole[:50],
        lambda whole: pickle.dumps(Bomb()),
        lambda whole: save({}, {"state": "{}"}),  # it can be read, and lacks the networks
    ],
)
def test_damaged_checkpoint_is_refused(folder, content):
    with pytest.raises(KeyboardInterrupt):
        regression(in_epoch_2=interrupt)
    partial = next(folder.glob("*.partial"))
    partial.write_bytes(content(partial.read_bytes()))
    with pytest.raises(ValueError, match="delete it to start"):
        regression()


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    files.write_atomically(tmp_path / "file", b"old")
    monkeypatch.setattr(files.os, "replace", lambda *paths: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        files.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "models"]


def test_an_empty_models_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("MODELS", "")
    assert store.folders() == [files.ROOT / "data" / "models", files.ROOT / "data" / "own-models"]


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
    assert suffixes(folder) == [".safetensors"] * len(configs)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setenv("SCHEDULER", "tcp://127.0.0.1:1")
    monkeypatch.setattr(store, "SCHEDULER_SECONDS", 1)
    with pytest.raises(OSError, match="127.0.0.1:1"):
        store.train_all(regression, [{}])
