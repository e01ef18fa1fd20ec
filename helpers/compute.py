"""Device, precision, timing, evaluation in batches, and validation of numeric settings."""

import contextlib
import math
import os
import platform
import re
import timeit
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from pathlib import Path

import torch
from torch import Tensor

torch.backends.cudnn.allow_tf32 = False  # torch's default keeps 10 bits in convolutions, and inversions stop too early


def device() -> torch.device:
    """The GPU if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    """The name of the device for the reproducibility table, e.g. 'NVIDIA H200' or 'AMD EPYC, 2 threads'."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info, threads = Path("/proc/cpuinfo"), torch.get_num_threads()
    model = re.search(r"^model name\s*: (.+)$", info.read_text() if info.exists() else "", re.MULTILINE)
    name = model[1].strip() if model else platform.machine()
    unit = "threads" if threads > 1 else "thread"
    return f"{name}, {threads} {unit}"


def autocast() -> torch.autocast:
    """A context for forward passes: matrix products in bfloat16 if the hardware supports it, otherwise in float32."""
    if device().type == "cuda":
        in_hardware = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # older versions of torch cannot tell: then float32
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        in_hardware = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return torch.autocast(device().type, torch.bfloat16, enabled=in_hardware)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """A context in which the CPU uses one thread; for a single image, synchronising several takes most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def training_threads() -> contextlib.AbstractContextManager:
    """A context in which networks are trained: with one CPU thread, or with $OMP_NUM_THREADS if it is set.

    The networks here are small. A second thread saves up to half of the time on an idle machine, but beside other
    programs the threads wait for each other, and a step may take twenty times as long. With one thread a seed also
    gives the same numbers whatever the number of cores.
    """
    return contextlib.nullcontext() if os.environ.get("OMP_NUM_THREADS") else one_thread()


def times(run: Callable[[], object], repeats: int) -> list[float]:
    """The wall times of `run()` in several repeats, in seconds, including the work on the GPU."""
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    return timeit.repeat(lambda: (run(), synchronize()), setup=synchronize, repeat=repeats, number=1)


@torch.no_grad()
def in_batches(network: Callable[[Tensor], Tensor], inputs: Tensor, size: int = 1000) -> Tensor:
    """network(inputs), computed without gradients and in batches of `size` rows."""
    return torch.cat([network(part) for part in inputs.split(size)])


def require_count(minimum: int = 1, **numbers: int) -> None:
    """Raise ValueError unless each number is of an integral type other than bool and at least `minimum`."""
    for name, value in numbers.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < minimum:
            raise ValueError(f"{name} must be a whole number of at least {minimum}, not {value!r}.")


def require_nonnegative(**numbers: float) -> None:
    """Raise ValueError unless each number is real, finite and nonnegative."""
    for name, value in numbers.items():
        if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
            raise ValueError(f"{name} must be a number of at least 0, not {value!r}.")
