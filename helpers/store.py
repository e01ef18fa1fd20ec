"""Trained models: loaded if the store has them, else trained, resumed after an interruption, and saved.

A model is `NAME-HASH.safetensors` (weights) beside `NAME-HASH.json` (its record) in `data/models`, or in $MODELS; HASH
is that of its configuration. While it trains, `NAME-HASH.partial` is its last checkpoint.
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

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT_SECONDS = 20.0
AT = "tensor at"  # in a checkpoint's JSON, refers to a tensor beside it
SCHEDULER_SECONDS = 10  # how long a Dask scheduler may take to answer
ENTRIES = {"name", "config", "seed", "seconds", "device", "finished", "sha256", "history"}  # of every record


@dataclass
class State:
    """What one epoch passes on to the next: `modules` are saved as the model, the rest only serves its training."""

    modules: dict[str, nn.Module]
    scratch: dict[str, nn.Module] = field(default_factory=dict)
    optimizers: dict[str, torch.optim.Optimizer] = field(default_factory=dict)
    rng: torch.Generator | None = None

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


@dataclass
class Run:
    """One training: `state` is for the block to train; `trained` stands once the block is left."""

    name: str
    config: dict
    state: State
    path: Path  # of the model's files, without their suffix
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    trained: Trained | None = None

    def epochs(self) -> Iterator[int]:
        """The epochs to go, counted from 0: those after the last checkpoint, none if the model is in the store.

        Each begins with all networks in training mode; its losses must be logged once.
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
        """Record an epoch's losses. Raises FloatingPointError if one is not finite; the last checkpoint stays."""
        losses = {key: float(value) for key, value in losses.items()}
        if wrong := ", ".join(f"{key} = {value}" for key, value in losses.items() if not math.isfinite(value)):
            where = f"{self.name} diverged in epoch {len(self.history) + 1}: {wrong}"
            raise FloatingPointError(f"{where}; lower the learning rate or change the seed.")
        self.history.append(losses)

    def _load_model(self, since: float = 0.0) -> None:
        """Set `trained` if the store has the model, finished after `since`. Raises ValueError for a damaged file."""
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
            if record["finished"] < since:  # before the weights are looked at: another process may be replacing them
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
        """All that a training needs to go on as if nothing had happened, as JSON that refers to tensors beside it."""
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
        """Go on from the checkpoint, if there is one. Raises ValueError if it is damaged."""
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
    """A context for training the model `name` with this `config`; if the store has it, there are no epochs to go:

        with training(name, config, start) as run:
            for epoch in run.epochs():
                run.log({"loss": ...})  # having trained run.state in place
        return run.trained

    config: JSON-able, with `epochs`, `seed` and whatever else changes the result. "keep": false says that the weights
    are not kept: the model is the record of its training, and what modules are left.
    start: builds the state on the device. It and the block draw torch's random numbers from the config's seed; the
    caller's are left alone. Another process that needs the same model waits until this one has it.
    $RETRAIN_SINCE (seconds since 1970): models finished before it are trained anew, records only if $RETRAIN is "all".
    $MODELS_USED: a file to which name and SHA-256 are appended, so that the report knows what a notebook depends on.
    Raises ValueError for a damaged file, RuntimeError if the block ends before the last epoch.
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
            stack.callback(lambda: os.name == "nt" or lock.unlink(missing_ok=True))  # Windows removes no open file
            run._load_model(since)  # another process may have trained it while this one waited
        yield run
        if run.trained is None:
            run._save_model()
            run._load_model()


def train_all(train: Callable[..., Trained], settings: Sequence[dict]) -> list[Trained]:
    """[train(**s) for s in settings], for a `train` that uses the store.

    $SCHEDULER: address of a Dask scheduler (tcp://host:port), whose workers first train what is missing into the store,
    the same folder for all; with as many threads they give the same numbers, and resume what a lost worker had begun.
    Raises OSError if no scheduler answers.
    """
    if address := os.environ.get("SCHEDULER"):
        from distributed import Client  # pip install 'dask[distributed]'

        with Client(address, timeout=SCHEDULER_SECONDS) as client:  # models travel by the store, not by the network
            client.gather(client.map(lambda setting: bool(train(**setting)), settings, pure=False))
    return [train(**setting) for setting in settings]


def folder() -> Path:
    """Where models are looked for and put: $MODELS, else `data/models`."""
    return Path(os.environ.get("MODELS") or ROOT / "data" / "models")


def config_hash(config: dict) -> str:
    """Twelve hexadecimal digits that name a configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path`, then rename: a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
