"""Trained models: found by name and configuration, else trained, with nothing lost and nothing half-written.

A model is `NAME-HASH.safetensors` beside `NAME-HASH.json` in `data/models` (or in $MODELS), HASH being that of its
configuration. While it trains, its state stands in `NAME-HASH.partial`, from which an interrupted run goes on.
"""

import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm.auto import tqdm

from helpers.data import DATA
from helpers.device import device, device_name

CHECKPOINT_SECONDS = 20.0
RECORD = {"name", "config", "seed", "seconds", "device", "finished", "sha256", "history"}  # what a JSON must hold


@dataclass
class Training:
    """What a training run carries from one epoch to the next; all of it is checkpointed.

    `modules` are saved as the model; `scratch` modules, `optimizers` and the random `generator` only serve to go on.
    """

    modules: dict[str, nn.Module]
    scratch: dict[str, nn.Module] = field(default_factory=dict)
    optimizers: dict[str, torch.optim.Optimizer] = field(default_factory=dict)
    generator: torch.Generator | None = None

    def networks(self) -> dict[str, nn.Module]:
        return self.modules | self.scratch


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
    record = _read_record(stem)
    due = config.get("keep", True) or os.environ.get("RETRAIN") == "all"
    if record is None or (due and record["finished"] < float(os.environ.get("RETRAIN_SINCE", 0))):
        record = _train(name, config, training, epoch, stem)
    else:
        _load_weights(training.modules, record, stem)
    if "MODELS_USED" in os.environ:
        with open(os.environ["MODELS_USED"], "a") as note:
            note.write(f"{stem.name} {record['sha256']}\n")
    for module in training.modules.values():
        module.eval().requires_grad_(False)
    return Trained(training.modules, record)


def _train(name: str, config: dict, training: Training, epoch: Callable, stem: Path) -> dict:
    history, seconds = _resume(training, stem)
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
            _checkpoint(training, history, seconds, stem)
            saved = time.monotonic()
    bar.close()
    tensors = _flatten({key: module.state_dict() for key, module in training.modules.items()})
    weights = stem.with_suffix(".safetensors")
    _write(weights, lambda path: path.write_bytes(save(tensors)))
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
    _write(stem.with_suffix(".json"), lambda path: path.write_text(json.dumps(record, indent=1) + "\n"))
    stem.with_suffix(".partial").unlink(missing_ok=True)
    return record


def _read_record(stem: Path) -> dict | None:
    """The JSON beside the weights, once both are known to be whole; None if there is no such model."""
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
    if not weights.is_file():
        raise ValueError(f"{weights} is missing: {repair}")
    if hashlib.sha256(weights.read_bytes()).hexdigest() != record["sha256"]:
        raise ValueError(f"{weights} is damaged (its SHA-256 is not that of {path.name}): {repair}")
    return record


def _load_weights(modules: dict[str, nn.Module], record: dict, stem: Path) -> None:
    try:
        tensors = load_file(stem.with_suffix(".safetensors"), device=str(device()))
        for key, module in modules.items():
            module.load_state_dict(_unflatten(tensors, key))
    except (RuntimeError, SafetensorError) as error:
        message = str(error).splitlines()[0]
        raise ValueError(f"{stem.name}.safetensors does not fit the model {record['name']!r}: {message}") from None


def _resume(training: Training, stem: Path) -> tuple[list[dict], float]:
    """Put the last checkpoint into `training`; history and seconds up to there."""
    path = stem.with_suffix(".partial")
    if not path.is_file():
        return [], 0.0
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads(file.metadata()["state"])
        tensors = load_file(path, device=str(device()))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to start this training anew.") from None
    for key, module in training.networks().items():
        module.load_state_dict(_unflatten(tensors, f"module.{key}"))
    for key, optimizer in training.optimizers.items():
        moments = _unflatten(tensors, f"optimizer.{key}")
        state: dict[int, dict[str, Tensor]] = {}
        for entry, value in moments.items():
            index, slot = entry.split(".", 1)
            state.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": state, "param_groups": meta["param_groups"][key]})
        for weight, slots in optimizer.state.items():  # in the weight's own memory layout: fused steps rely on it
            slots |= {k: torch.empty_like(weight).copy_(t) for k, t in slots.items() if t.shape == weight.shape}
    torch.set_rng_state(tensors["rng"].cpu())
    if training.generator is not None:
        training.generator.set_state(tensors["generator"].cpu())
    return meta["history"], meta["seconds"]


def _checkpoint(training: Training, history: list[dict], seconds: float, stem: Path) -> None:
    states = {key: optimizer.state_dict() for key, optimizer in training.optimizers.items()}
    tensors = _flatten({f"module.{key}": module.state_dict() for key, module in training.networks().items()})
    for key, state in states.items():
        tensors |= _flatten({f"optimizer.{key}.{index}": slots for index, slots in state["state"].items()})
    tensors["rng"] = torch.get_rng_state()
    if training.generator is not None:
        tensors["generator"] = training.generator.get_state()
    groups = {key: state["param_groups"] for key, state in states.items()}
    meta = {"state": json.dumps({"history": history, "seconds": seconds, "param_groups": groups})}
    _write(stem.with_suffix(".partial"), lambda path: path.write_bytes(save(tensors, meta)))


def _flatten(states: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    # cloned: safetensors refuses tensors that share memory, and Adam's step counters may
    return {f"{k}.{n}": t.detach().clone().contiguous() for k, state in states.items() for n, t in state.items()}


def _unflatten(tensors: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name[len(key) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(key + ".")}


def _write(path: Path, writer: Callable[[Path], object]) -> None:
    """Write beside `path`, then rename: a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        writer(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _commit() -> str:
    git = ["git", "-C", str(DATA.parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, timeout=10).stdout.strip() or "unknown"
    except OSError:
        return "unknown"
