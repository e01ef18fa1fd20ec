"""Which processor to compute on, and in which precision it is fast."""

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

PRODUCTS = {F.linear, F.conv2d, F.conv_transpose2d, torch.matmul, Tensor.matmul, Tensor.__matmul__}


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; elsewhere emulation is far slower than float32."""
    if device().type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def products(rounded: bool = False) -> contextlib.AbstractContextManager:
    """A context for forward passes: matrix products in bfloat16 where the hardware has it, else in float32.

    rounded: operands, results and gradients of float32 products are rounded to bfloat16, as autocast would have them.
    It tells on any machine what bfloat16 does to a training, though not how fast.
    """
    if rounded:
        return _RoundedProducts()
    return torch.autocast(device().type, torch.bfloat16, enabled=has_bfloat16())


class _Round(torch.autograd.Function):
    """To the nearest bfloat16, and its gradient likewise."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.bfloat16().to(x.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient.bfloat16().to(gradient.dtype)


class _RoundedProducts(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function not in PRODUCTS:
            return function(*args, **(kwargs or {}))
        args = [_Round.apply(x) if isinstance(x, Tensor) else x for x in args]
        return _Round.apply(function(*args, **(kwargs or {})))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """A context in which the CPU computes on one thread: for a single image, waiting for others takes longest."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def device_name() -> str:
    """A name for the reproducibility table, e.g. 'NVIDIA H200' or 'AMD EPYC, 2 threads'."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    threads = torch.get_num_threads()
    return f"{models[0] if models else platform.machine()}, {threads} thread{'s' * (threads > 1)}"
