"""Trained models: loaded from the store, or trained (also after an interruption) and saved there.

A model is `NAME-HASH.safetensors` (weights) and `NAME-HASH.json` (record) in `data/models`, or in $MODELS; HASH is
the hash of its configuration. During training, `NAME-HASH.partial` is the last checkpoint.
"""

import contextlib
import hashlib
import json
import math
import os
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import filelock
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file, save
from torch import Tensor, nn
from tqdm.auto import tqdm

from helpers.compute import device, device_name, require_count
from helpers.files import ROOT, write_atomically

CHECKPOINT_SECONDS = 20.0
AT = "tensor at"  # in a checkpoint's JSON, refers to a tensor in the same file
SCHEDULER_SECONDS = 10  # the longest wait for a Dask scheduler to respond
ENTRIES = {"name", "config", "seed", "seconds", "device", "finished", "sha256", "history"}  # in every record


@dataclass
class State:
    """The state of a training between epochs: `modules` are saved as the model, the rest is only for training."""

    modules: dict[str, nn.Module]
    scratch: dict[str, nn.Module] = field(default_factory=dict)
    optimizers: dict[str, torch.optim.Optimizer] = field(default_factory=dict)
    rng: torch.Generator | None = None

    def networks(self) -> dict[str, nn.Module]:
        return self.modules | self.scratch


@dataclass
class Trained:
    """A trained model: its `modules` in eval mode on the device, and its `record` (config, history, seconds, …)."""

    modules: dict[str, nn.Module]
    record: dict

    def history(self, key: str) -> list[float]:
        """The recorded values of `key`, one for each epoch that has one."""
        return list(self.curve(key).values())

    def curve(self, key: str) -> dict[int, float]:
        """The recorded values of `key` by epoch, counted from 1."""
        return {number: epoch[key] for number, epoch in enumerate(self.record["history"], 1) if key in epoch}


@dataclass
class Run:
    """One training: the block `with training(…)` trains `state`; after the block, `trained` is the model."""

    name: str
    config: dict
    state: State
    path: Path  # of the model's files, without their suffix
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    trained: Trained | None = None

    def epochs(self) -> Iterator[int]:
        """The remaining epochs, counted from 0: those after the last checkpoint, or none if the model is in the store.

        Each epoch begins with all networks in training mode, and must log its losses once.
        """
        if self.trained:
            return
        self._load_checkpoint()
        done, total, saved = len(self.history), self.config["epochs"], time.monotonic()
        bar = tqdm(range(done, total), self.name, total, initial=done, unit="epoch")
        for epoch in bar:
            begin = time.monotonic()
            nn.ModuleDict(self.state.networks()).train()
            yield epoch
            if len(self.history) != epoch + 1:
                raise RuntimeError(f"{self.name}: each epoch must log its losses once.")
            self.seconds += time.monotonic() - begin
            bar.set_postfix({key: f"{value:.4g}" for key, value in self.history[-1].items()})
            if time.monotonic() - saved > CHECKPOINT_SECONDS and epoch + 1 < total:
                self._save_checkpoint()
                saved = time.monotonic()

    def log(self, losses: dict[str, float]) -> None:
        """Record the losses of an epoch. Raises FloatingPointError if one is not finite; the last checkpoint stays."""
        losses = {key: float(value) for key, value in losses.items()}
        if wrong := ", ".join(f"{key} = {value}" for key, value in losses.items() if not math.isfinite(value)):
            where = f"{self.name} diverged in epoch {len(self.history) + 1}: {wrong}"
            raise FloatingPointError(f"{where}; lower the learning rate or change the seed.")
        self.history.append(losses)

    def _load_model(self, since: float = 0.0) -> None:
        """Set `trained` if the store has the model, finished after `since`. Raises ValueError if a file is damaged."""
        file, weights = self.path.with_suffix(".json"), self.path.with_suffix(".safetensors")
        modules = nn.ModuleDict(self.state.modules)
        if not file.is_file():
            return
        try:
            record = json.loads(file.read_text())
            if missing := ENTRIES - record.keys():
                raise ValueError(f"the record lacks {', '.join(sorted(missing))}")
            if config_hash(record["config"]) != config_hash(self.config):
                raise ValueError("the record describes another configuration than its name says")
            if record["finished"] < since:  # before the weights are read, since another process may be replacing them
                return
            content = weights.read_bytes()
            if hashlib.sha256(content).hexdigest() != record["sha256"]:
                raise ValueError("the SHA-256 of the weights is not the record's")
            modules.load_state_dict(load(content))
        except (OSError, ValueError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
            repair = f"restore them with `git checkout -- {file.parent}`, or delete them to train the model anew"
            reason = textwrap.shorten(str(error), 200)
            raise ValueError(f"{file} or {weights.name} is damaged ({reason}): {repair}.") from None
        if "MODELS_USED" in os.environ:
            with open(os.environ["MODELS_USED"], "a") as note:
                note.write(f"{self.path.name} {record['sha256']}\n")
        modules.eval().requires_grad_(False)
        self.trained = Trained(self.state.modules, record)

    def _save_model(self) -> None:
        if len(self.history) < self.config["epochs"]:
            raise RuntimeError(f"{self.name} was trained for {len(self.history)} of {self.config['epochs']} epochs.")
        tensors = nn.ModuleDict(self.state.modules).state_dict()
        weights = save({name: tensor.clone().contiguous() for name, tensor in tensors.items()})
        versions = {package: version(package) for package in ("torch", "torchvision", "safetensors")}
        commit, git = "unknown", ["git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=12"]
        with contextlib.suppress(OSError):  # git may be missing
            commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or commit
        record = {
            "name": self.name, "config": self.config, "seed": self.config["seed"], "seconds": round(self.seconds, 1),
            "device": device_name(), "versions": versions, "commit": commit, "finished": time.time(),
            "sha256": hashlib.sha256(weights).hexdigest(), "history": self.history,
        }  # fmt: skip
        write_atomically(self.path.with_suffix(".safetensors"), weights)
        write_atomically(self.path.with_suffix(".json"), (json.dumps(record, indent=1) + "\n").encode())
        self.path.with_suffix(".partial").unlink(missing_ok=True)

    def _save_checkpoint(self) -> None:
        """Save all that is needed to continue the training exactly, as JSON that refers to tensors in the same file."""
        tensors: dict[str, Tensor] = {}

        def refer(tensor: Tensor) -> dict[str, str]:
            key = str(len(tensors))
            tensors[key] = tensor.clone().contiguous()  # safetensors refuses tensors that share memory
            return {AT: key}

        state = {
            "networks": {key: network.state_dict() for key, network in self.state.networks().items()},
            "optimizers": {key: optimizer.state_dict() for key, optimizer in self.state.optimizers.items()},
            "torch_rng": torch.get_rng_state(), "rng": self.state.rng and self.state.rng.get_state(),
            "history": self.history, "seconds": self.seconds,
        }  # fmt: skip
        text = json.dumps(state, default=refer)  # this fills tensors
        write_atomically(self.path.with_suffix(".partial"), save(tensors, {"state": text}))

    def _load_checkpoint(self) -> None:
        """Continue from the checkpoint, if there is one. Raises ValueError if it is damaged."""
        path = self.path.with_suffix(".partial")
        if not path.is_file():
            return
        try:
            with safe_open(path, "pt") as file:
                text = file.metadata()["state"]
            tensors = load_file(path, device=str(device()))
            state = json.loads(text, object_hook=lambda item: tensors[item[AT]] if AT in item else item)
            for key, network in self.state.networks().items():
                network.load_state_dict(state["networks"][key])
            for key, optimizer in self.state.optimizers.items():
                saved = state["optimizers"][key]
                saved["state"] = {int(index): slots for index, slots in saved["state"].items()}  # JSON's keys are text
                optimizer.load_state_dict(saved)
                for weight, slots in optimizer.state.items():  # in the weight's memory layout: fused steps rely on it
                    slots |= {k: torch.empty_like(weight).copy_(t) for k, t in slots.items() if t.shape == weight.shape}
            torch.set_rng_state(state["torch_rng"].cpu())
            if self.state.rng is not None:
                self.state.rng.set_state(state["rng"].cpu())
        except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged ({error}): delete it to start this training anew.") from None
        self.history, self.seconds = state["history"], state["seconds"]
        tqdm.write(f"{self.name}: going on after epoch {len(self.history)} of {self.config['epochs']}.")


@contextlib.contextmanager
def training(name: str, config: dict, start: Callable[[], State]) -> Iterator[Run]:
    """A context for training the model `name` with this `config`; if the store has it, no epochs remain:

        with training(name, config, start) as run:
            for epoch in run.epochs():
                run.log({"loss": ...})  # after training run.state in place
        return run.trained

    config: can be written as JSON and has `epochs`, `seed` and all else that changes the result. "keep": false means
    that the weights are not kept, so that the model is only the record of its training and the remaining modules.
    start: builds the state on the device. In it and in the block, torch's random numbers start from the config's seed;
    the caller's generator is unchanged. Another process that needs the same model waits until it is finished.
    $RETRAIN_SINCE (seconds since 1970): models finished before it are retrained, records only if $RETRAIN is "all".
    $MODELS_USED: a file to which name and SHA-256 are appended, which records the models that a notebook depends on.
    Raises ValueError for a damaged file and RuntimeError if the block ends before the last epoch.
    """
    require_count(epochs=config["epochs"])
    with torch.random.fork_rng(), contextlib.ExitStack() as stack:
        torch.manual_seed(config["seed"])
        run = Run(name, config, start(), folder() / f"{name}-{config_hash(config)}")
        retrain = config.get("keep", True) or os.environ.get("RETRAIN") == "all"
        since = float(os.environ.get("RETRAIN_SINCE", 0)) if retrain else 0.0
        run._load_model(since)
        if run.trained is None:
            lock = run.path.with_suffix(".lock")
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(filelock.FileLock(lock))
            stack.callback(lambda: os.name == "nt" or lock.unlink(missing_ok=True))  # Windows keeps open files
            run._load_model(since)  # another process may have trained it while this one waited
        yield run
        if run.trained is None:
            run._save_model()
            run._load_model()


def train_all(train: Callable[..., Trained], settings: Sequence[dict]) -> list[Trained]:
    """[train(**s) for s in settings], where `train` uses the store.

    $SCHEDULER: the address of a Dask scheduler (tcp://host:port), whose workers first train the missing models in the
    store, a folder that all share. With the same number of threads they give the same numbers; they also continue the
    training of a lost worker. Raises OSError if the scheduler does not respond.
    """
    if address := os.environ.get("SCHEDULER"):
        from distributed import Client  # pip install 'dask[distributed]'

        with Client(address, timeout=SCHEDULER_SECONDS) as client:  # models are exchanged through the store
            client.gather(client.map(lambda setting: bool(train(**setting)), settings, pure=False))
    return [train(**setting) for setting in settings]


def folder() -> Path:
    """The folder of the models: $MODELS, or `data/models` if it is not set."""
    return Path(os.environ.get("MODELS") or ROOT / "data" / "models")


def config_hash(config: dict) -> str:
    """Twelve hexadecimal digits that name a configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
