"""The training store: found, trained, resumed, refused; nothing half-written."""

import json
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from helpers import store

CONFIG = {"epochs": 4, "seed": 3, "width": 5}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path))
    monkeypatch.delenv("RETRAIN_SINCE", raising=False)
    return tmp_path


def regression(config=CONFIG, stop_at=None, value=None):
    """Train a small regression; `stop_at`: Ctrl-C in that epoch; `value`: what the history records."""
    epochs_run = []

    def start():
        network = nn.Sequential(
            nn.Linear(2, config["width"]), nn.BatchNorm1d(config["width"]), nn.Linear(config["width"], 1)
        )
        optimizer = torch.optim.Adam(network.parameters(), 1e-2, fused=True)
        return store.Training(
            {"net": network}, {"old": nn.Linear(1, 1)}, {"adam": optimizer}, torch.Generator().manual_seed(1)
        )

    def epoch(training, number):
        if number == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(32, 2, generator=training.generator) + torch.randn(32, 2)  # own and global random numbers
        loss = (training.modules["net"](x) - x.sum(1, keepdim=True)).square().mean()
        training.optimizers["adam"].zero_grad()
        loss.backward()
        training.optimizers["adam"].step()
        epochs_run.append(number)
        return {"loss": loss.item() if value is None else value}

    trained = store.load_or_train("regression", config, start, epoch)
    return trained, epochs_run


def weights(trained):
    return torch.cat([tensor.flatten().double() for tensor in trained.modules["net"].state_dict().values()])


def test_trains_once_then_loads(folder):
    first, run = regression()
    again, rerun = regression()
    assert run == [0, 1, 2, 3] and rerun == []
    assert torch.equal(weights(first), weights(again)) and first.record == again.record
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".safetensors"]
    assert not again.modules["net"].training
    assert set(first.record) >= {"config", "history", "seed", "seconds", "device", "versions", "commit"}


def test_random_numbers_of_the_caller_do_not_tell_training_from_loading():
    drawn = []
    for _ in range(2):
        torch.manual_seed(8)
        regression()
        drawn.append(torch.rand(1).item())
    torch.manual_seed(8)
    assert drawn == [torch.rand(1).item()] * 2


def test_another_config_trains_anew():
    regression()
    assert regression(CONFIG | {"epochs": 2})[1] == [0, 1]


def test_interrupted_training_resumes_bit_for_bit(folder, monkeypatch):
    whole, _ = regression()
    for path in folder.iterdir():
        path.unlink()
    monkeypatch.setattr(store, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        regression(stop_at=2)
    assert [path.suffix for path in folder.iterdir()] == [".partial"]
    resumed, run = regression()
    assert run == [2, 3]
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.record["history"] == resumed.record["history"]


def test_of_two_that_need_one_model_the_second_waits_for_the_first(folder):
    with ThreadPoolExecutor(2) as threads:
        runs = [future.result()[1] for future in [threads.submit(regression) for _ in range(2)]]
    assert sorted(runs) == [[], [0, 1, 2, 3]]
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".safetensors"]


def test_retrain_since_ignores_older_models(monkeypatch):
    first, _ = regression()
    monkeypatch.setenv("RETRAIN_SINCE", str(first.record["finished"] + 1))
    second, run = regression()
    assert run == [0, 1, 2, 3] and torch.equal(weights(first), weights(second))


def test_records_are_trained_anew_only_when_all_are_asked_for(monkeypatch):
    first, _ = regression(CONFIG | {"keep": False})
    monkeypatch.setenv("RETRAIN_SINCE", str(first.record["finished"] + 1))
    monkeypatch.setenv("RETRAIN", "1")
    assert regression(CONFIG | {"keep": False})[1] == []
    monkeypatch.setenv("RETRAIN", "all")
    assert regression(CONFIG | {"keep": False})[1] == [0, 1, 2, 3]


def test_divergence_names_epoch_and_loss(folder):
    with pytest.raises(FloatingPointError, match="regression diverged in epoch 1: loss = nan"):
        regression(value=float("nan"))
    assert not list(folder.glob("*.safetensors"))


def test_epochs_below_one():
    with pytest.raises(ValueError, match="at least 1"):
        regression(CONFIG | {"epochs": 0})


def damage_bits(json_path, weights_path):
    content = bytearray(weights_path.read_bytes())
    content[-1] ^= 1
    weights_path.write_bytes(content)


def lie_about_config(json_path, weights_path):
    record = json.loads(json_path.read_text())
    record["config"]["width"] = 7
    json_path.write_text(json.dumps(record))


def truncate_json(json_path, weights_path):
    json_path.write_text(json_path.read_text()[:100])


def remove_weights(json_path, weights_path):
    weights_path.unlink()


def other_shapes(json_path, weights_path):
    save_file({"net.0.weight": torch.zeros(3, 3)}, weights_path)
    record = json.loads(json_path.read_text())
    record["sha256"] = store.hashlib.sha256(weights_path.read_bytes()).hexdigest()
    json_path.write_text(json.dumps(record))


def not_a_record(json_path, weights_path):
    json_path.write_text("[1, 2]")


def forget_the_checksum(json_path, weights_path):
    record = json.loads(json_path.read_text())
    del record["sha256"]
    json_path.write_text(json.dumps(record))


class Bomb:
    """A pickle that leaves a trace where it is loaded."""

    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def pickle_in_disguise(json_path, weights_path):
    weights_path.write_bytes(pickle.dumps(Bomb()))
    record = json.loads(json_path.read_text())
    record["sha256"] = store.hashlib.sha256(weights_path.read_bytes()).hexdigest()
    json_path.write_text(json.dumps(record))


DAMAGES = [
    damage_bits, lie_about_config, truncate_json, remove_weights, other_shapes, not_a_record, forget_the_checksum,
    pickle_in_disguise,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_models_are_refused_not_replaced(folder, damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    regression()
    json_path, weights_path = next(folder.glob("*.json")), next(folder.glob("*.safetensors"))
    damage(json_path, weights_path)
    before = json_path.read_bytes()
    with pytest.raises(ValueError, match="regression-"):
        regression()
    assert json_path.read_bytes() == before
    assert not Path("exploded").exists()


def test_two_models_whose_weights_were_swapped_are_refused(folder):
    regression()
    regression(CONFIG | {"seed": 5})
    first, second = sorted(folder.glob("*.safetensors"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    with pytest.raises(ValueError, match="SHA-256"):
        regression()


def test_nothing_in_the_project_unpickles():
    """torch.load, pickle and joblib run what they read; weights are safetensors, records JSON."""
    code = [p for folder in ("helpers", "report") for p in (store.DATA.parent / folder).rglob("*.py")]
    code += list((store.DATA.parent / "notebooks").glob("*.ipynb"))
    assert len(code) > 30
    found = [p.name for p in code if re.search(r"torch\.load\(|import pickle|joblib\.load|np\.load\(", p.read_text())]
    assert not found


def test_damaged_checkpoint_is_refused(folder, monkeypatch):
    monkeypatch.setattr(store, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        regression(stop_at=2)
    partial = next(folder.glob("*.partial"))
    partial.write_bytes(partial.read_bytes()[:50])
    with pytest.raises(ValueError, match="delete it to start"):
        regression()


def test_an_empty_models_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS", "")
    assert store.folder() == store.DATA / "models"
