"""Trained models: found by name and configuration, else trained, with nothing lost and nothing half-written.

A model is `NAME-HASH.safetensors` beside `NAME-HASH.json` in `data/models` (or in $MODELS), HASH being that of its
configuration. While it trains, its state stands in `NAME-HASH.partial`, from which an interrupted run goes on.
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn
from tqdm.auto import tqdm

from helpers.checkpoint import Training, checkpoint, flatten, resume, unflatten, write
from helpers.compute import device, device_name
from helpers.data import DATA

CHECKPOINT_SECONDS = 20.0
RECORD = {"name", "config", "seed", "seconds", "device", "finished", "sha256", "history"}  # what a JSON must hold


@dataclass
class Trained:
    """A trained model: its `modules` in eval mode on the device, and its `record` (config, history, seed, seconds)."""

    modules: dict[str, nn.Module]
    record: dict

    def history(self, key: str) -> list[float]:
        """One value per epoch that recorded `key`."""
        return list(self.curve(key).values())

    def curve(self, key: str) -> dict[int, float]:
        """Values by the epoch that recorded them, counted from 1."""
        return {number: epoch[key] for number, epoch in enumerate(self.record["history"], 1) if key in epoch}


def folder() -> Path:
    """Where models are looked for and put: $MODELS, else `data/models`."""
    return Path(os.environ.get("MODELS") or DATA / "models")


def config_hash(config: dict) -> str:
    """Twelve hexadecimal digits that name a configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


@torch.random.fork_rng()  # the caller's random numbers are the same whether a model is loaded or trained
def load_or_train(
    name: str, config: dict, start: Callable[[], Training], epoch: Callable[[Training, int], dict[str, float]]
) -> Trained:
    """The model `name` with this `config`: loaded if it is in the store, else trained for `config["epochs"]` epochs.

    config: JSON-able, holds at least `epochs` and `seed`; whatever changes the result belongs into it. With
    "keep" false the weights are not kept: the model is a record of its training, its history and what modules are left.
    start: builds modules (on the device) and optimisers; it runs under `config["seed"]`.
    epoch: trains in place for the epoch of the given number (0, 1, …); returns what the history records, all finite.
    $MODELS_USED: a file to which name and SHA-256 are appended, so that the report knows what a notebook depends on.
    $RETRAIN_SINCE (seconds since 1970): models finished before it are trained anew, records only if $RETRAIN is "all".
    Raises ValueError for a damaged file, FloatingPointError if a loss is not finite (the last checkpoint stays).
    """
    if config["epochs"] < 1:
        raise ValueError(f"{name}: epochs must be at least 1, not {config['epochs']}.")
    stem = folder() / f"{name}-{config_hash(config)}"
    torch.manual_seed(config["seed"])
    training = start()
    record = _standing_record(config, stem)
    if record is None:
        with _one_trainer(stem):
            record = _standing_record(config, stem)  # another process may have trained it while this one waited
            if record is None:
                record = _train(name, config, training, epoch, stem)
    _load_weights(training.modules, record, stem)
    if "MODELS_USED" in os.environ:
        with open(os.environ["MODELS_USED"], "a") as note:
            note.write(f"{stem.name} {record['sha256']}\n")
    for module in training.modules.values():
        module.eval().requires_grad_(False)
    return Trained(training.modules, record)


def _train(name: str, config: dict, training: Training, epoch: Callable, stem: Path) -> dict:
    history, seconds = resume(training, stem.with_suffix(".partial"))
    bar = tqdm(total=config["epochs"], initial=len(history), desc=name, unit="epoch")
    saved = time.monotonic()
    while len(history) < config["epochs"]:
        begin = time.monotonic()
        for module in training.networks().values():
            module.train()
        losses = {key: float(value) for key, value in epoch(training, len(history)).items()}
        wrong = [key for key, value in losses.items() if not math.isfinite(value)]
        if wrong:
            raise FloatingPointError(
                f"{name} diverged in epoch {len(history) + 1}: {', '.join(f'{k} = {losses[k]}' for k in wrong)}; "
                f"lower the learning rate or change the seed."
            )
        history.append(losses)
        seconds += time.monotonic() - begin
        bar.update()
        bar.set_postfix({key: f"{value:.4g}" for key, value in losses.items()})
        if time.monotonic() - saved > CHECKPOINT_SECONDS and len(history) < config["epochs"]:
            checkpoint(training, history, seconds, stem.with_suffix(".partial"))
            saved = time.monotonic()
    bar.close()
    tensors = flatten({key: module.state_dict() for key, module in training.modules.items()})
    weights = stem.with_suffix(".safetensors")
    write(weights, lambda path: path.write_bytes(save(tensors)))
    record = {
        "name": name,
        "config": config,
        "seed": config["seed"],
        "seconds": round(seconds, 1),
        "device": device_name(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "torchvision", "safetensors")},
        "commit": _commit(),
        "finished": time.time(),
        "finished_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "history": history,
    }
    write(stem.with_suffix(".json"), lambda path: path.write_text(json.dumps(record, indent=1) + "\n"))
    stem.with_suffix(".partial").unlink(missing_ok=True)
    return record


@contextlib.contextmanager
def _one_trainer(stem: Path) -> Iterator[None]:
    """A context for training a model, in which no other process on this machine trains the same."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(stem.with_suffix(".lock")):
        try:
            yield
        finally:
            stem.with_suffix(".lock").unlink(missing_ok=True)


def _standing_record(config: dict, stem: Path) -> dict | None:
    """The record of a model that need not be trained, or None."""
    due = config.get("keep", True) or os.environ.get("RETRAIN") == "all"
    return _read_record(stem, float(os.environ.get("RETRAIN_SINCE", 0)) if due else 0.0)


def _read_record(stem: Path, since: float) -> dict | None:
    """The JSON beside the weights, once both are known to be whole; None if there is no such model since then."""
    path, weights = stem.with_suffix(".json"), stem.with_suffix(".safetensors")
    if not path.is_file():
        return None
    repair = f"restore it with `git checkout -- {path.parent}`, or delete {stem.name}.* to train it anew."
    try:
        record = json.loads(path.read_text())
        known = config_hash(record["config"]) == stem.name.rsplit("-", 1)[1]
        if absent := RECORD - record.keys():
            raise ValueError(f"it lacks {', '.join(sorted(absent))}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}): {repair}") from None
    if not known:
        raise ValueError(f"{path} describes another configuration than its name says: {repair}")
    if record["finished"] < since:  # before the weights are looked at: another process may be replacing them
        return None
    if not weights.is_file():
        raise ValueError(f"{weights} is missing: {repair}")
    if hashlib.sha256(weights.read_bytes()).hexdigest() != record["sha256"]:
        raise ValueError(f"{weights} is damaged (its SHA-256 is not that of {path.name}): {repair}")
    return record


def _load_weights(modules: dict[str, nn.Module], record: dict, stem: Path) -> None:
    try:
        tensors = load_file(stem.with_suffix(".safetensors"), device=str(device()))
        for key, module in modules.items():
            module.load_state_dict(unflatten(tensors, key))
    except (RuntimeError, SafetensorError) as error:
        message = str(error).splitlines()[0]
        raise ValueError(f"{stem.name}.safetensors does not fit the model {record['name']!r}: {message}") from None


def _commit() -> str:
    git = ["git", "-C", str(DATA.parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, timeout=10).stdout.strip() or "unknown"
    except OSError:
        return "unknown"
