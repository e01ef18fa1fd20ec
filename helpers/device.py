"""Which processor to compute on, and in which precision it is fast."""

import contextlib
import platform
from pathlib import Path

import torch


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; elsewhere emulation is ten times slower than float32."""
    if device().type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def autocast() -> contextlib.AbstractContextManager:
    """Matrix products in bfloat16 where the hardware has it, else in float32: a context for forward passes."""
    return torch.autocast(device().type, torch.bfloat16, enabled=has_bfloat16())


def device_name() -> str:
    """A name for the reproducibility table, e.g. 'NVIDIA H200' or 'AMD EPYC, 2 threads'."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {torch.get_num_threads()} threads"
