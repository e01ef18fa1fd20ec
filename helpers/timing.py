"""Timing side by side: the best of a few runs, and what a run leaves in memory for its backward pass."""

import time
from collections.abc import Callable

import torch
from torch import Tensor


def seconds(run: Callable[[], object], repeats: int = 4) -> float:
    """The least wall time of `run()` over so many repeats, the accelerator's work included."""
    times = []
    for _ in range(repeats):
        _finish()
        begin = time.perf_counter()
        run()
        _finish()
        times.append(time.perf_counter() - begin)
    return min(times)


def kept_bytes(run: Callable[[], Tensor]) -> int:
    """Bytes of all distinct tensors that autograd keeps for the backward pass of what `run()` returns."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del result
    return total


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
