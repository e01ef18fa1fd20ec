"""The echo sampler by doubling against the plain loop and against tiling, forward and backward: `make benchmark`.

Every case runs in a process of its own, so that its peak memory is its own. Prints seconds, the ratio to doubling, and
the memory on top of what the inputs and the libraries take; a case that would not fit is named and left out.
"""

import json
import os
import resource
import subprocess
import sys

import torch

from helpers import compute, echo
from helpers.compute import device


def tiling(m: torch.Tensor, s: torch.Tensor, depth: int) -> torch.Tensor:
    """The published formulation, as in notebook 03: each row has a random order of the batch of its own."""
    order = torch.rand(len(m), len(m), device=m.device).fill_diagonal_(-1).argsort(1)
    M, S = m[order], s[order]
    products = torch.cat([torch.ones_like(S[:, :1]), S[:, : depth - 1]], 1).cumprod(1)
    return (M[:, :depth] * products).sum(1)


SAMPLERS = {"doubling": echo.echo_sample, "loop": echo.echo_loop, "tiling": tiling}
BATCHES, WIDTH, DEPTH = (128, 256, 512, 1024, 2048, 4096), 32, 64


def case(name: str, batch: int) -> None:
    """Time one sampler at one batch size; prints JSON."""
    torch.manual_seed(0)
    m = torch.randn(batch, WIDTH, device=device(), requires_grad=True)
    s = (0.8 * torch.rand(batch, WIDTH, device=device())).requires_grad_()

    def run() -> None:
        SAMPLERS[name](m, s, DEPTH).sum().backward()

    small = m.detach()[:DEPTH].requires_grad_(), s.detach()[:DEPTH].requires_grad_()
    SAMPLERS[name](*small, DEPTH).sum().backward()  # warm: the libraries' own memory is taken now
    before = peak()
    seconds = compute.seconds(run, 5 if batch < 2048 else 3)
    print(json.dumps({"seconds": seconds, "mebibytes": (peak() - before) / 2**20}))


def peak() -> int:
    """The most bytes that this process has held so far, on the accelerator if there is one."""
    if device().type == "cuda":
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    print(f"d = {WIDTH}, D = {DEPTH}, {torch.get_num_threads()} threads, {device()}; ms and MiB, ratio to doubling\n")
    print("    B " + "".join(f"{name:>27}" for name in SAMPLERS))
    for batch in BATCHES:
        line, first = f"{batch:5} ", None
        for name in SAMPLERS:
            if name == "tiling" and device().type == "cpu" and 3 * 4 * WIDTH * batch**2 > free:
                line += f"{'does not fit in memory':>27}"
                continue
            command = [sys.executable, __file__, name, str(batch)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            first = first or found["seconds"]
            ratio = found["seconds"] / first
            line += f"{1e3 * found['seconds']:10.2f} {found['mebibytes']:8.1f} {ratio:6.1f}×"
        print(line, flush=True)


if __name__ == "__main__":
    case(sys.argv[1], int(sys.argv[2])) if len(sys.argv) == 3 else main()
