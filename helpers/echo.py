"""The echo encoder z = m(x) + s(x)·z₁, z₁ an echo of other data: its sampler, exact rate and depth."""

import math

import torch
from torch import Tensor

from helpers.compute import require_count


def echo_sample(m: Tensor, s: Tensor, depth: int, rng: torch.Generator | None = None) -> Tensor:
    """Sample z = m(x) + s(x)·z₁ with z₁ an echo of other samples (Brekelmans et al. 2019, eq. 4), truncated at `depth`.

    m, s: (B, d), the encoder's outputs for B independent samples, S(x) = diag s, of any floating dtype, on any device.
    Returns z (B, d) = m₀ + s₀m₁ + s₀s₁m₂ + … with `depth` terms, row i's chain starting at x_i and then running through
    depth − 1 others, none twice: a random cycle through the batch. Given that the samples are independent, each row's
    marginal is exact; two rows depend on each other, as they share samples. Differentiable in every m and s.
    Raises ValueError for depth < 1 or > B (a chain would meet its own start), other shapes, integers, NaN or infinity.
    """
    _require_encoder(m, s, depth)
    order = torch.randperm(len(m), generator=rng, device=rng.device if rng else m.device).to(m.device)
    z = echo_cycle(m[order], s[order], int(depth))
    return torch.empty_like(z).index_copy(0, order, z)


def _require_encoder(m: Tensor, s: Tensor, depth: int) -> None:
    """Raise ValueError unless m, s and depth are as `echo_sample` asks."""
    if m.dim() != 2 or m.shape != s.shape:
        raise ValueError(f"m and s must have one shape (B, d), not {tuple(m.shape)} and {tuple(s.shape)}.")
    if m.dtype != s.dtype or not m.is_floating_point():
        raise ValueError(f"m and s must have one floating dtype, not {m.dtype} and {s.dtype}.")
    require_count(depth=depth)
    if depth > len(m):
        raise ValueError(f"depth must be at most the batch size {len(m)}, not {depth}: no sample may repeat.")
    if not (m.isfinite().all() and s.isfinite().all()):
        raise ValueError("m and s must be finite, but hold NaN or infinity.")


def echo_cycle(m: Tensor, s: Tensor, depth: int) -> Tensor:
    """Sample the echo (B, d) along a given cycle: row i is followed by row i + 1, and the last row by the first.

    Blocks of 1, 2, 4, … maps z ↦ m + s z are composed by doubling; those in the binary representation of `depth` make
    the chain: at most 2 log₂(depth) compositions.
    """
    chain = None
    block = (m, s)
    length = 1  # of the block
    while length <= depth:
        if depth & length:
            chain = block if chain is None else compose(chain, block, depth % length)
        if 2 * length <= depth:
            block = compose(block, block, length)
        length = 2 * length
    return chain[0]


def compose(outer: tuple[Tensor, Tensor], inner: tuple[Tensor, Tensor], length: int) -> tuple[Tensor, Tensor]:
    """Compose two maps (a, b): z ↦ a + b z for each row; the inner one starts `length` rows later."""
    a, b = outer
    inner_a, inner_b = inner
    shift = torch.addcmul(a, b, inner_a.roll(-length, 0))
    scale = b * inner_b.roll(-length, 0)
    return shift, scale


def echo_loop(m: Tensor, s: Tensor, depth: int) -> Tensor:
    """Reference for `echo_cycle`, in `depth` dependent steps along the cycle, from its far end."""
    z = torch.zeros_like(m)
    for k in reversed(range(depth)):
        z = torch.addcmul(m.roll(-k, 0), s.roll(-k, 0), z)
    return z


def echo_rate(s: Tensor) -> Tensor:
    """−log|det S(x)| = −Σ_j log|s_j| in nats: (B, d) to (B,), +∞ where some s_j is 0."""
    return -s.abs().log().sum(1)


def echo_depth(bound: float, clip: float, dtype: torch.dtype = torch.float32) -> int:
    """The smallest depth D whose dropped tail, at most bound · clip^D / (1 − clip), is below the resolution of `dtype`.

    bound: on |m|; clip: on |s|; the resolution is that of numbers of size 1. Raises ValueError for others out of range.
    """
    if not (0 < bound < math.inf and 0 < clip < 1):
        raise ValueError(f"need 0 < bound < ∞ and 0 < clip < 1, not bound = {bound} and clip = {clip}.")
    resolution = torch.finfo(dtype).eps
    return max(1, math.ceil(math.log(resolution * (1 - clip) / bound) / math.log(clip)))
