"""A training's whole state as one file, from which an interrupted run goes on; files that are never half written."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from helpers.compute import device


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


def resume(training: Training, path: Path) -> tuple[list[dict], float]:
    """Put a checkpoint into `training`; history and seconds up to there, none if there is no file.

    Raises ValueError for a damaged file.
    """
    if not path.is_file():
        return [], 0.0
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads(file.metadata()["state"])
        tensors = load_file(path, device=str(device()))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to start this training anew.") from None
    for key, module in training.networks().items():
        module.load_state_dict(unflatten(tensors, f"module.{key}"))
    for key, optimizer in training.optimizers.items():
        moments = unflatten(tensors, f"optimizer.{key}")
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


def checkpoint(training: Training, history: list[dict], seconds: float, path: Path) -> None:
    """Write all that a training needs to go on as if nothing had happened: weights, moments, random state."""
    states = {key: optimizer.state_dict() for key, optimizer in training.optimizers.items()}
    tensors = flatten({f"module.{key}": module.state_dict() for key, module in training.networks().items()})
    for key, state in states.items():
        tensors |= flatten({f"optimizer.{key}.{index}": slots for index, slots in state["state"].items()})
    tensors["rng"] = torch.get_rng_state()
    if training.generator is not None:
        tensors["generator"] = training.generator.get_state()
    groups = {key: state["param_groups"] for key, state in states.items()}
    meta = {"state": json.dumps({"history": history, "seconds": seconds, "param_groups": groups})}
    write(path, lambda path: path.write_bytes(save(tensors, meta)))


def flatten(states: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """States by name as one dictionary, "name.entry" each."""
    # cloned: safetensors refuses tensors that share memory, and Adam's step counters may
    return {f"{k}.{n}": t.detach().clone().contiguous() for k, state in states.items() for n, t in state.items()}


def unflatten(tensors: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    """The state of that name."""
    return {name[len(key) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(key + ".")}


def write(path: Path, writer: Callable[[Path], object]) -> None:
    """Write beside `path`, then rename: a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        writer(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
