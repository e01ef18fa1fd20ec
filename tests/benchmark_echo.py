"""The echo sampler by doubling against the plain loop and against tiling, forward and backward: `make benchmark`."""

import torch

from helpers import compute, echo
from helpers.compute import device

WIDTH, DEPTH, BATCHES, TILED = 32, 64, (128, 256, 512, 1024, 2048, 4096), 1024  # tiling takes memory of order batch²


def tiling(m: torch.Tensor, s: torch.Tensor, depth: int) -> torch.Tensor:
    """The published formulation, as in notebook 03: each row has a random order of the batch of its own."""
    order = torch.rand(len(m), len(m), device=m.device).fill_diagonal_(-1).argsort(1)
    M, S = m[order], s[order]
    products = torch.cat([torch.ones_like(S[:, :1]), S[:, : depth - 1]], 1).cumprod(1)
    return (M[:, :depth] * products).sum(1)


def milliseconds(sampler, batch: int) -> float:
    torch.manual_seed(0)
    m = torch.randn(batch, WIDTH, device=device(), requires_grad=True)
    s = (0.8 * torch.rand(batch, WIDTH, device=device())).requires_grad_()
    return 1e3 * compute.seconds(lambda: sampler(m, s, DEPTH).sum().backward())


def main() -> None:
    print(f"d = {WIDTH}, D = {DEPTH}, {torch.get_num_threads()} threads, {device()}; ms, ratio to doubling\n")
    print("    B    doubling          loop              tiling")
    for batch in BATCHES:
        doubling, loop = milliseconds(echo.echo_sample, batch), milliseconds(echo.echo_loop, batch)
        line = f"{batch:5} {doubling:10.2f} {loop:10.2f} {loop / doubling:6.1f}×"
        if batch <= TILED:
            tiled = milliseconds(tiling, batch)
            line += f" {tiled:10.2f} {tiled / doubling:6.1f}×"
        print(line, flush=True)


if __name__ == "__main__":
    main()
