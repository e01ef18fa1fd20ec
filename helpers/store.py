"""Trained models: loaded from the store, or trained (also after an interruption) and saved there.

A model is one file, NAME-HASH.safetensors: the tensors of its modules and, in the metadata, the record of its training
as JSON. HASH is the hash of its configuration. During training, NAME-HASH.partial is the last checkpoint.

Models are looked for in `data/models`, which holds those that are shipped, then in `data/own-models`, where all others
are written; git ignores the latter. With $RETRAIN they are written to `data/models`. $MODELS replaces both folders.
"""

import contextlib
import json
import math
import os
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file, save
from torch import Tensor, nn
from tqdm.auto import tqdm

from helpers.compute import device, device_name, require_count, training_threads
from helpers.config import config_hash, entries
from helpers.files import ROOT, write_atomically
from helpers.provenance import commit, origin, sha256_of_tensors

CHECKPOINT_SECONDS = 20.0
AT = "tensor at"  # in a checkpoint's JSON, refers to a tensor in the same file
SCHEDULER_SECONDS = 10  # the longest wait for a Dask scheduler to respond
ENTRIES = {"name", "config", "seed", "seconds", "device", "finished", "sha256", "history"}  # in every record
DAMAGE = (OSError, ValueError, TypeError, AttributeError, KeyError, RuntimeError, SafetensorError)


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
    """One training: the block `with training(…)` trains `model`; after the block, `trained` is the result."""

    name: str
    config: Any
    model: Any
    path: Path  # of the model's file, without its suffix, if it is trained now
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    trained: Trained | None = None
    loaded: Path | None = None  # the file that `trained` was loaded from

    @property
    def total(self) -> int:
        return entries(self.config)["epochs"]

    def epochs(self) -> Iterator[int]:
        """The remaining epochs, counted from 0: those after the last checkpoint, or none if the model is in the store.

        Each epoch begins with all networks in training mode, and must log its losses once.
        """
        if self.trained:
            return
        self._load_checkpoint()
        saved = time.monotonic()
        done = len(self.history)
        remaining = range(done, self.total)
        bar = tqdm(remaining, desc=self.name, total=self.total, initial=done, unit="epoch")
        for epoch in bar:
            begin = time.monotonic()
            nn.ModuleDict(networks(self.model)).train()
            yield epoch
            if len(self.history) != epoch + 1:
                raise RuntimeError(f"{self.name}: each epoch must log its losses once.")
            self.seconds += time.monotonic() - begin
            bar.set_postfix({key: f"{value:.4g}" for key, value in self.history[-1].items()})
            if time.monotonic() - saved > CHECKPOINT_SECONDS and epoch + 1 < self.total:
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
        """Set `trained` if a folder has the model with all modules that are kept, finished after `since`.

        Raises ValueError if a file is damaged.
        """
        for place in folders():
            path = place / f"{self.path.name}.safetensors"
            if not path.is_file():
                continue
            record, tensors = read(path)
            if record["finished"] < since or not self._fill(path, record, tensors):
                continue
            modules = nn.ModuleDict(self.model.kept)
            modules.eval().requires_grad_(False)
            self.trained = Trained(self.model.kept, record)
            self.loaded = path
            _note_use(path.stem, record)
            return

    def _fill(self, path: Path, record: dict, tensors: dict[str, Tensor]) -> bool:
        """Copy the tensors of a file into the kept modules; False if the file does not have all of these."""
        config = entries(self.config)
        with refusing_damage(path):
            for key, value in record["config"].items():
                if key in config and key != "keep" and config[key] != value:  # a setting may have been given up since
                    raise ValueError("the record describes another configuration than its name says")
            wanted = {name for name, module in self.model.kept.items() if module.state_dict()}
            if not wanted <= {name.split(".")[0] for name in tensors}:
                return False
            for name, module in self.model.kept.items():
                own = {}
                for key, tensor in tensors.items():
                    if key.startswith(f"{name}."):
                        own[key.removeprefix(f"{name}.")] = tensor
                module.load_state_dict(own)
        return True

    def _save_model(self) -> None:
        if len(self.history) < self.total:
            raise RuntimeError(f"{self.name} was trained for {len(self.history)} of {self.total} epochs.")
        tensors = nn.ModuleDict(self.model.kept).state_dict()
        tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        record = facts(self.name, self.config, self.seconds, tensors)
        record |= origin(self.model) | {"history": self.history}
        write_atomically(self.path.with_suffix(".safetensors"), packed(record, tensors))
        self.path.with_suffix(".partial").unlink(missing_ok=True)

    def _save_checkpoint(self) -> None:
        """Save all that is needed to continue the training exactly, as JSON that refers to tensors in the same file."""
        tensors: dict[str, Tensor] = {}

        def refer(tensor: Tensor) -> dict[str, str]:
            key = str(len(tensors))
            tensors[key] = tensor.clone().contiguous()  # safetensors refuses tensors that share memory
            return {AT: key}

        rng = getattr(self.model, "rng", None)
        state = {
            "networks": {key: network.state_dict() for key, network in networks(self.model).items()},
            "optimizers": {key: optimizer.state_dict() for key, optimizer in optimizers(self.model).items()},
            "torch_rng": torch.get_rng_state(),
            "rng": rng and rng.get_state(),
            "history": self.history,
            "seconds": self.seconds,
            "origin": origin(self.model),
        }
        text = json.dumps(state, default=refer)  # this fills tensors
        write_atomically(self.path.with_suffix(".partial"), save(tensors, {"state": text}))

    def _load_checkpoint(self) -> None:
        """Continue from the checkpoint, if there is one.

        Raises ValueError if it is damaged, or if losses, networks, training step or data have changed since.
        """
        path = self.path.with_suffix(".partial")
        if not path.is_file():
            return
        repair = "delete it to start this training anew"
        with refusing_damage(path, repair):
            with safe_open(path, "pt") as file:
                text = file.metadata()["state"]
            tensors = load_file(path, device=str(device()))
            state = json.loads(text, object_hook=lambda item: tensors[item[AT]] if AT in item else item)
        if changed := changes_since(state.get("origin", {}), origin(self.model)):
            raise ValueError(f"{path} is half a training with other {changed}: {repair}.")
        with refusing_damage(path, repair):
            self._restore(state)
        tqdm.write(f"{self.name}: going on after epoch {len(self.history)} of {self.total}.")

    def _restore(self, state: dict) -> None:
        """Set networks, optimisers, random numbers and history to the state of a checkpoint."""
        for key, network in networks(self.model).items():
            network.load_state_dict(state["networks"][key])
        for key, optimizer in optimizers(self.model).items():
            saved = state["optimizers"][key]
            saved["state"] = {int(index): slots for index, slots in saved["state"].items()}  # JSON's keys are text
            optimizer.load_state_dict(saved)
            match_layout(optimizer)
        torch.set_rng_state(state["torch_rng"].cpu())
        if state["rng"] is not None:
            self.model.rng.set_state(state["rng"].cpu())
        self.history = state["history"]
        self.seconds = state["seconds"]


@contextlib.contextmanager
def training(name: str, config: Any, start: Callable[[], Any]) -> Iterator[Run]:
    """A context for training the model `name` with this `config`; if the store has it, no epochs remain:

        with training(name, config, start) as run:
            for epoch in run.epochs():
                run.log({"loss": ...})  # after training run.model in place
        return run.trained

    config: a `configuration`, or a dictionary that can be written as JSON, with `epochs`, `seed` and all else that
    changes the result. Its setting `keep` does not: if it is empty or false, the model is a record without networks.
    start: builds the model on the device, an object whose attributes are networks, optimisers and a torch.Generator
    `rng`; `kept` names the modules that are stored, and `code` and `data`, if there are any, are the functions and
    classes, and the hash of the data, that determine the result (see `changes_since`). In `start` and in the block,
    torch's random numbers begin at the config's seed; the caller's generator is unchanged. Another process that needs
    the same model waits until it is finished.
    $RETRAIN_SINCE (seconds since 1970): models finished before it are trained anew, see `retrained_since`.
    $MODELS_USED: a file to which name and SHA-256 are appended, which records the models that a notebook depends on.
    Raises ValueError for a damaged file and RuntimeError if the block ends before the last epoch.
    """
    settings = entries(config)
    require_count(epochs=settings["epochs"])
    with torch.random.fork_rng(), contextlib.ExitStack() as stack:
        torch.manual_seed(settings["seed"])
        run = Run(name, config, start(), folder(name) / f"{name}-{config_hash(config)}")
        since = retrained_since(settings)
        run._load_model(since)
        if run.trained is None:
            stack.enter_context(locked(run.path))
            run._load_model(since)  # another process may have trained it while this one waited
        loaded = run.trained is not None
        with training_threads():
            yield run
        if loaded:
            say_loaded(run)
        else:
            run._save_model()
            run._load_model()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """A context in which no other process makes the model with this path: it waits, and should then look again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_suffix(".lock")
    with filelock.FileLock(lock):
        try:
            yield
        finally:
            if os.name != "nt":  # Windows keeps open files
                lock.unlink(missing_ok=True)


Measurement = tuple[dict[str, Tensor], dict]  # tensors by name, and a record


def measured(name: str, settings: dict, compute: Callable[[], Measurement]) -> Measurement:
    """What `compute` measures: from the store, or computed now and stored as NAME-HASH.safetensors.

    settings: a dictionary that can be written as JSON, with a seed and all else that changes the result, such as the
    SHA-256 of the model that is measured. It is the record's "config". compute: returns tensors, and what the record
    shall say besides. A stored measurement is replaced only if $RETRAIN is "all" (see `retrained_since`).
    Raises ValueError if the file is damaged.
    """
    path = folder(name) / f"{name}-{config_hash(settings)}.safetensors"
    since = retrained_since(settings | {"keep": False})
    found = _stored_measurement(path.name, since)
    if found is None:
        with locked(path):
            found = _stored_measurement(path.name, since) or _measure(path, name, settings, compute)
    tensors, record = found
    _note_use(path.stem, record)
    return {key: tensor.to(device()) for key, tensor in tensors.items()}, record


def _stored_measurement(file: str, since: float) -> Measurement | None:
    for place in folders():
        if (place / file).is_file():
            record, tensors = read(place / file)
            if record["finished"] >= since:
                return tensors, record
    return None


def _measure(path: Path, name: str, settings: dict, compute: Callable[[], Measurement]) -> Measurement:
    begin = time.monotonic()
    tensors, besides = compute()
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    record = facts(name, settings, time.monotonic() - begin, tensors) | {"kind": "measurement", "history": []}
    record |= besides
    write_atomically(path, packed(record, tensors))
    return tensors, record


def facts(name: str, config: Any, seconds: float, tensors: dict[str, Tensor]) -> dict:
    """What each record says, without the history of a training."""
    settings = entries(config)
    return {
        "name": name,
        "kind": type(config).__name__,
        "config": settings,
        "seed": settings["seed"],
        "seconds": round(seconds, 1),
        "device": device_name(),
        "versions": {package: version(package) for package in ("torch", "torchvision", "safetensors")},
        "commit": commit(),
        "finished": time.time(),
        "sha256": sha256_of_tensors(tensors),
    }


def match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Give what an optimiser remembers of each weight the weight's memory layout, on which fused steps rely."""
    for weight, slots in optimizer.state.items():
        for name, slot in slots.items():
            if slot.shape == weight.shape:
                slots[name] = torch.empty_like(weight).copy_(slot)


def networks(model: Any) -> dict[str, nn.Module]:
    """The networks among a model's attributes, by name, and those of its `kept` modules that are not among them."""
    found = {name: value for name, value in vars(model).items() if isinstance(value, nn.Module)}
    others = {name: module for name, module in model.kept.items() if module not in found.values()}
    return found | others


def optimizers(model: Any) -> dict[str, torch.optim.Optimizer]:
    """The optimisers among a model's attributes, by name."""
    return {name: value for name, value in vars(model).items() if isinstance(value, torch.optim.Optimizer)}


def folders() -> list[Path]:
    """The folders in which models are looked for, in this order: $MODELS alone, or the shipped ones, then one's own."""
    if models := os.environ.get("MODELS"):
        return [Path(models)]
    return [ROOT / "data" / "models", ROOT / "data" / "own-models"]


def folder(name: str) -> Path:
    """The folder in which a newly trained model is written. A model with the name "own" is never shipped."""
    retrain = os.environ.get("RETRAIN") not in (None, "", "0")
    return folders()[0] if retrain and name != "own" else folders()[-1]


def retrained_since(settings: dict) -> float:
    """The time (seconds since 1970) before which a model with these settings was finished if it must be trained anew.

    That is $RETRAIN_SINCE for networks with seed 0. For other seeds, and for models that are kept as records only, it
    is so only if $RETRAIN is "all".
    """
    chosen = settings.get("keep", True) and settings["seed"] == 0
    return float(os.environ.get("RETRAIN_SINCE", 0)) if chosen or os.environ.get("RETRAIN") == "all" else 0.0


def find(stem: str) -> Path | None:
    """The file of the model NAME-HASH in the first folder that has it, or None."""
    paths = [place / f"{stem}.safetensors" for place in folders()]
    return next((path for path in paths if path.is_file()), None)


def packed(record: dict, tensors: dict[str, Tensor]) -> bytes:
    """The contents of a model's file."""
    return save(tensors, {"record": json.dumps(record)})


def read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """The record and the tensors of a model's file. Raises ValueError if the file is damaged or holds no model.

    Its bytes are read once (`safe_open` opens a file again for each tensor), so that both are of the same training.
    """
    with refusing_damage(path):
        content = path.read_bytes()
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")  # of the header, which is JSON
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        if "record" not in metadata:
            raise ValueError("it holds no record of a training")
        record = json.loads(metadata["record"])
        if missing := ENTRIES - record.keys():
            raise ValueError(f"the record lacks {', '.join(sorted(missing))}")
        if sha256_of_tensors(tensors) != record["sha256"]:
            raise ValueError("the SHA-256 of the tensors is not the record's")
    return record, tensors


@contextlib.contextmanager
def refusing_damage(path: Path, repair: str = "") -> Iterator[None]:
    """Turn any error that a damaged file causes into a ValueError that says how to repair it: by default, a model."""
    try:
        yield
    except DAMAGE as error:
        repair = repair or f"restore it with `git checkout -- {path.parent}`, or delete it to train the model anew"
        reason = textwrap.shorten(str(error), 200)
        raise ValueError(f"{path} is damaged ({reason}): {repair}.") from None


_said: set[str] = set()  # the models that were said to be loaded in this process, once each
_together: list[tuple[str, dict]] | None = None  # within `train_all`, the models loaded, which are then named together


def say_loaded(run: Run) -> None:
    """Print once which stored model was loaded, when it was trained, how long that took, and how to get another.

    Each time, print whether the present code or data differ from those that it was trained with.
    """
    record = run.trained.record
    path = run.loaded
    place = os.path.relpath(path, ROOT) if path.is_relative_to(ROOT) else str(path)
    if changed := changes_since(record, origin(run.model)):
        print(
            f"Note: {place} was trained with other {changed} than the present ones; its stored weights were loaded. "
            f"Delete the file, or change the seed or the name, to train with the present ones."
        )
    if path.stem in _said:
        return
    _said.add(path.stem)
    if _together is not None:
        _together.append((path.stem, record))
        return
    day = time.strftime("%d %B %Y", time.gmtime(record["finished"])).lstrip("0")
    print(f"Loaded {place}, trained on {day} in {duration(record['seconds'])}; other settings train another model.")


def changes_since(before: dict, present: dict) -> str:
    """What differs between a record, or a checkpoint's origin, and the present `origin`, in words; "" if nothing."""
    names = {"code": "losses, networks or training step", "data": "training data"}
    changed = [name for key, name in names.items() if key in before and before[key] != present.get(key)]
    return " and ".join(changed)


def duration(seconds: float) -> str:
    """'25 s', '40 min' or '3.2 h'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def train_all(train: Callable[..., Trained], settings: Sequence[dict]) -> list[Trained]:
    """[train(**s) for s in settings], where `train` uses the store.

    $SCHEDULER: the address of a Dask scheduler (tcp://host:port), whose workers first train the missing models in the
    store, a folder that all share. With the same number of threads they give the same numbers; they also continue the
    training of a lost worker. Workers know the code in files only: of a model that they trained without a function that
    was redefined here, loading says so. Raises OSError if the scheduler does not respond.
    """
    if address := os.environ.get("SCHEDULER"):
        from distributed import Client  # pip install 'dask[distributed]'

        with Client(address, timeout=SCHEDULER_SECONDS) as client:  # models are exchanged through the store
            client.gather(client.map(lambda setting: bool(train(**setting)), settings, pure=False))
    with _named_together():
        return [train(**setting) for setting in settings]


@contextlib.contextmanager
def _named_together() -> Iterator[None]:
    """A context at whose end all models that were loaded in it are named in one line."""
    global _together
    _together = []
    try:
        yield
    finally:
        loaded, _together = _together, None
    if loaded:
        spent = duration(sum(record["seconds"] for _, record in loaded))
        first, last = loaded[0][0], loaded[-1][0]
        names = first if len(loaded) == 1 else f"{len(loaded)} models, {first} to {last}"
        print(f"Loaded {names} (trained in {spent} in all) from the store; delete their files to train them anew.")


def _note_use(stem: str, record: dict) -> None:
    """Append a model to the list $MODELS_USED, if there is one."""
    if "MODELS_USED" in os.environ:
        with open(os.environ["MODELS_USED"], "a") as note:
            note.write(f"{stem} {record['sha256']}\n")
