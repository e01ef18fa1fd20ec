"""The echo encoder z = m(x) + s(x)·z₁, z₁ an echo of other data: sampling it by doubling, its exact rate, its depth."""

import math

import torch
from torch import Generator, Tensor


def echo_sample(m: Tensor, s: Tensor, depth: int, generator: Generator | None = None) -> Tensor:
    """Sample z = m(x) + s(x)·z₁ with z₁ an echo of other data (Brekelmans et al. 2019, eq. 4), truncated at `depth`.

    m, s: (B, d), the encoder's outputs for B independent data, of any floating dtype and on any device; S(x) = diag s.
    Returns z (B, d) = m₀ + s₀m₁ + s₀s₁m₂ + … with `depth` terms, row i's chain starting at x_i and then running through
    depth − 1 others, none twice: a random cycle through the batch. Given that the data are independent, each row's
    marginal is exact; two rows depend on each other, as they share data. Differentiable in every m and s.
    Raises ValueError for depth < 1 or > B (a chain would meet its own start), other shapes, integers, NaN or infinity.
    """
    _check(m, s, depth)
    where = generator.device if generator is not None else m.device
    order = torch.randperm(len(m), generator=generator, device=where).to(m.device)
    z = echo_cycle(m[order], s[order], depth)
    return torch.empty_like(z).index_copy(0, order, z)


def echo_cycle(m: Tensor, s: Tensor, depth: int) -> Tensor:
    """The same for a given cycle: row i is followed by row i + 1, the last by the first. Shapes as in `echo_sample`.

    The affine maps z ↦ m_i + s_i z compose: two maps of reach k, k rows apart, make one of reach 2k. So powers of two
    come by doubling, any other depth from those in its binary digits: at most 2 log₂(depth) compositions.
    """
    _check(m, s, depth)
    power, reach, total = (m, s), 1, None
    while True:
        if depth & reach:
            total = power if total is None else _compose(total, power, depth & (reach - 1), 2 * reach <= depth)
        if 2 * reach > depth:
            return total[0]
        power, reach = _compose(power, power, reach, 4 * reach <= depth), 2 * reach


def _compose(outer: tuple[Tensor, Tensor], inner: tuple[Tensor, Tensor], reach: int, more: bool) -> tuple:
    """z ↦ M + S·(M′ + S′z), the inner map being that of the row `reach` further on, where the outer one ends.

    The scale S·S′ is left out unless `more` is to be composed with it.
    """
    M, S = outer
    return torch.addcmul(M, S, inner[0].roll(-reach, 0)), S * inner[1].roll(-reach, 0) if more else None


def echo_loop(m: Tensor, s: Tensor, depth: int) -> Tensor:
    """The plain way to the same: `depth` dependent steps along the cycle, from its far end. As `echo_cycle`."""
    z = torch.zeros_like(m)
    for k in reversed(range(depth)):
        z = torch.addcmul(m.roll(-k, 0), s.roll(-k, 0), z)
    return z


def echo_tiled(m: Tensor, s: Tensor, depth: int) -> Tensor:
    """The published formulation: each row has a random order of the batch of its own, itself first. As `echo_sample`.

    Brekelmans et al. 2019 tile m and s to (B, B, d), so that time and memory grow with the batch's square.
    """
    order = torch.rand(len(m), len(m), device=m.device).fill_diagonal_(-1).argsort(1)
    M, S = m[order], s[order]
    products = torch.cat([torch.ones_like(S[:, :1]), S[:, : depth - 1]], 1).cumprod(1)
    return (M[:, :depth] * products).sum(1)


def echo_rate(s: Tensor) -> Tensor:
    """−log|det S(x)| = −Σ_j log|s_j|, in nats: (B, d) to (B,). Its mean over data is I(x, z), if the theorem applies.

    Raises ValueError if s is not (B, d). It is +∞ where a factor is 0.
    """
    if s.dim() != 2:
        raise ValueError(f"s must have the shape (B, d), not {tuple(s.shape)}.")
    return -s.abs().log().sum(1)


def echo_depth(bound: float, clip: float, dtype: torch.dtype = torch.float32) -> int:
    """The least depth D whose dropped tail, at most bound · clip^D / (1 − clip), is below the resolution of `dtype`.

    bound: on |m|; clip: on |s|; the resolution is that of numbers of size 1 (`torch.finfo(dtype).eps`).
    Raises ValueError unless bound > 0 and 0 < clip < 1, both finite.
    """
    if not (0 < bound < math.inf and 0 < clip < 1):
        raise ValueError(f"need 0 < bound < ∞ and 0 < clip < 1, not bound = {bound} and clip = {clip}.")
    return max(1, math.ceil(math.log(torch.finfo(dtype).eps * (1 - clip) / bound) / math.log(clip)))


def gaussian_truncation_bias(s: float, depth: int) -> float:
    """I(x, z_D) + log s in nats for Gaussian m and constant s: ½ log[(1 − s^2D)/(1 − s^(2D−2))], +∞ at depth 1."""
    if depth < 2:
        return math.inf
    return 0.5 * (math.log1p(-(s ** (2 * depth))) - math.log1p(-(s ** (2 * depth - 2))))


def _check(m: Tensor, s: Tensor, depth: int) -> None:
    if m.dim() != 2 or m.shape != s.shape:
        raise ValueError(f"m and s must have one shape (B, d), not {tuple(m.shape)} and {tuple(s.shape)}.")
    if m.dtype != s.dtype or not m.is_floating_point():
        raise ValueError(f"m and s must have one floating dtype, not {m.dtype} and {s.dtype}.")
    if m.device != s.device:
        raise ValueError(f"m and s must be on one device, not {m.device} and {s.device}.")
    if not isinstance(depth, int) or not 1 <= depth <= len(m):
        raise ValueError(
            f"depth must be an integer from 1 to the batch size {len(m)}, not {depth}: no datum may repeat."
        )
    if not (m.isfinite().all() and s.isfinite().all()):
        raise ValueError("m and s must be finite, but hold NaN or infinity.")
