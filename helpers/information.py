"""The exact mixture q(z) of Gaussian encoders, and a quadrature rule over the quantiles of a distribution."""

import math

import numpy as np
import torch
from torch import Tensor

LOST = 1e-6  # nats that the rounding of a log density may lose


def log_densities(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log q(z_i | x_j) (B, N), in nats and float64, of codes z (B, d) for Gaussian encoders mean, log_std (N, d).

    The square is expanded into two matrix products, which take O(B N d) operations and need no B × N × d tensor. Where
    that would cancel more than LOST nats, as for standard deviations below about 10⁻⁴, it is computed term by term.
    """
    z, mean, log_std = z.double(), mean.double(), log_std.double()
    precision = (-2 * log_std).exp()
    terms = (mean.square() + z.square().amax(0)) * precision  # the size of what cancels
    error = torch.finfo(torch.float64).eps * terms.sum(1).max()
    if not error < LOST:  # true for NaN, too
        return -0.5 * squared_distances(z, mean, log_std) - log_std.sum(1) - 0.5 * math.log(2 * math.pi) * z.shape[1]
    own = 0.5 * (mean.square() * precision).sum(1) + log_std.sum(1) + 0.5 * math.log(2 * math.pi) * z.shape[1]
    return z @ (mean * precision).T - 0.5 * z.square() @ precision.T - own


def squared_distances(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Σ_k ((z_ik − m_jk) / σ_jk)² (B, N) without cancellation, about ten times slower than by matrix products."""
    total = z.new_zeros(len(z), len(mean))
    for k in range(z.shape[1]):
        total += ((z[:, k, None] - mean[:, k]) * (-log_std[:, k]).exp()).square()
    return total


def exact_mixture(z: Tensor, own: Tensor, mean: Tensor, log_std: Tensor, block: int = 128) -> tuple[Tensor, Tensor]:
    """log q(z_i|x_own(i)) and log q(z_i) of the mixture of all N encodings, each (B,); I is the mean difference.

    z (B, d) is drawn from the encodings numbered own (B,) of mean, log_std (N, d). The mean difference is ≤ log N.
    Raises ValueError where z, in its floating-point type, cannot hold noise as small as its standard deviation.
    """
    if (log_std[own].double().exp() <= torch.finfo(z.dtype).eps * z.double().abs()).any():
        raise ValueError(f"some standard deviations are below the resolution of z's {z.dtype}: draw z in float64.")
    conditional, marginal = [], []
    for rows, numbers in zip(z.split(block), own.split(block), strict=True):
        logq = log_densities(rows, mean, log_std)
        conditional.append(logq.gather(1, numbers.unsqueeze(1)).squeeze(1))
        marginal.append(logq.logsumexp(1) - math.log(len(mean)))
    return torch.cat(conditional), torch.cat(marginal)


def quantile_rule(nodes: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes u in (0, 1), their complements 1 − u without rounding, and weights: ∫₀¹ f(u) du ≈ Σ w f(u).

    Double-exponential rule (Takahasi & Mori 1974), exact to rounding even if f has logarithms at the ends.
    """
    t = np.linspace(-2.7, 2.7, nodes)
    y = np.pi * np.sinh(t)
    u, complement = 1 / (1 + np.exp(-y)), 1 / (1 + np.exp(y))
    weights = u * complement * np.pi * np.cosh(t)
    return u, complement, weights / weights.sum()
