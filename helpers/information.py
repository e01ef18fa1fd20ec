"""I(x, z) of an encoder: four estimators for a Gaussian one; quadrature and FFT for echo encoders in one dimension.

All are in nats. Densities go in as logarithms: row i, column j of a matrix is log q(z_i | x_j).
"""

import math

import numpy as np
import torch
from torch import Tensor


def log_densities(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log q(z_i | x_j) of codes z (B, d) under Gaussian encoders mean, log_std (N, d): (B, N), in float64.

    The square is multiplied out into two matrix products, O(B N d) with no B × N × d tensor.
    """
    z, mean, log_std = z.double(), mean.double(), log_std.double()
    precision = (-2 * log_std).exp()
    own = 0.5 * (mean.square() * precision).sum(1) + log_std.sum(1) + 0.5 * math.log(2 * math.pi) * z.shape[1]
    return z @ (mean * precision).T - 0.5 * z.square() @ precision.T - own


def in_batch(logq: Tensor) -> Tensor:
    """log q(z_i|x_i) − log (1/B) Σ_j q(z_i|x_j), self included: (B, B) to (B,). Its mean is ≤ I and ≤ log B.

    (Poole et al. 2019, the InfoNCE bound with the encoder known.) Raises ValueError if logq is not square.
    """
    _check_square(logq)
    return logq.diagonal() - logq.logsumexp(1) + math.log(len(logq))


def leave_one_out(logq: Tensor) -> Tensor:
    """log q(z_i|x_i) − log 1/(B−1) Σ_{j≠i} q(z_i|x_j): (B, B) to (B,). Its mean is ≥ I (Poole et al. 2019).

    Raises ValueError if logq is not square with B ≥ 2.
    """
    _check_square(logq)
    return logq.diagonal() - _others(logq).logsumexp(1) + math.log(len(logq) - 1)


def minibatch_weighted(logq: Tensor, population: int) -> Tensor:
    """log q(z_i|x_i) − log 1/(NB) Σ_j q(z_i|x_j) (Chen et al. 2018, eq. 5): (B, B) to (B,). Its mean is ≤ log(NB).

    It is `in_batch` + log N, whatever the codes. Raises ValueError if logq is not square.
    """
    return in_batch(logq) + math.log(population)


def stratified(logq: Tensor, population: int) -> Tensor:
    """As the exact mixture, with the N − 1 others replaced by the B − 1 of the batch: (B, B) to (B,); ≤ log N.

    q(z_i) ≈ q(z_i|x_i)/N + (1 − 1/N) · mean_{j≠i} q(z_i|x_j). Raises ValueError if logq is not square with B ≥ 2.
    """
    _check_square(logq)
    others = _others(logq).logsumexp(1) - math.log(len(logq) - 1) + math.log1p(-1 / population)
    return logq.diagonal() - torch.logaddexp(logq.diagonal() - math.log(population), others)


def exact_mixture(z: Tensor, own: Tensor, mean: Tensor, log_std: Tensor, block: int = 128) -> tuple[Tensor, Tensor]:
    """log q(z_i|x_own(i)) and log q(z_i) under the mixture of all N codes, each (B,): I is the mean of the difference.

    z (B, d) drawn from the encoders numbered own (B,) of mean, log_std (N, d). The mean of the difference is ≤ log N.
    """
    conditional, marginal = [], []
    for rows, numbers in zip(z.split(block), own.split(block), strict=True):
        logq = log_densities(rows, mean, log_std)
        conditional.append(logq.gather(1, numbers.unsqueeze(1)).squeeze(1))
        marginal.append(logq.logsumexp(1) - math.log(len(mean)))
    return torch.cat(conditional), torch.cat(marginal)


def _others(logq: Tensor) -> Tensor:
    if len(logq) < 2:
        raise ValueError("leaving one out needs a batch of at least 2.")
    return logq.masked_fill(torch.eye(len(logq), dtype=torch.bool, device=logq.device), -math.inf)


def _check_square(logq: Tensor) -> None:
    if logq.dim() != 2 or logq.shape[0] != logq.shape[1]:
        raise ValueError(f"logq must be a square matrix (B, B), not {tuple(logq.shape)}.")


# Echo encoders z = m + s·z₁ in one dimension


def quantile_rule(nodes: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes u in (0, 1), their complements 1 − u without rounding, and weights: ∫₀¹ f(u) du ≈ Σ w f(u).

    Double-exponential (Takahasi & Mori 1974): exact to rounding also where f has logarithms at the ends.
    """
    t = np.linspace(-2.7, 2.7, nodes)
    y = np.pi * np.sinh(t)
    u, complement = 1 / (1 + np.exp(-y)), 1 / (1 + np.exp(y))
    weights = u * complement * np.pi * np.cosh(t)
    return u, complement, weights / weights.sum()


def information_by_quadrature(law, weights: np.ndarray, m: np.ndarray, s: np.ndarray, nodes: int = 400) -> float:
    """I(x, z) = E_x KL[q(z|x) ‖ q(z)] of z = m(x) + s(x)·z₁ by quadrature, with z₁ and z both of the density `law`.

    law: a frozen scipy.stats distribution. weights, m, s: (n,), a quadrature over x. Integrates
    log q(z₁) − log s − log q(m + s z₁): nothing is assumed of the average but that q is the law of z.
    """
    u, complement, du = quantile_rule(nodes)
    z1 = np.where(u < 0.5, law.ppf(u), law.isf(complement))
    z = np.clip(m[:, None] + s[:, None] * z1, law.ppf(1e-16), law.isf(1e-16))  # rounding can put z on the edge
    inner = law.logpdf(z1) - np.log(s)[:, None] - law.logpdf(z)
    return float(weights @ (inner @ du))


def smoothed_entropy(s: float, noise: float, points: int = 2**18) -> float:
    """H(z + noise·g) for z = Σ ± sˡ (fair signs, l = 0, 1, …) and Gaussian g, in nats.

    By FFT of the characteristic function ∏ cos(t sˡ) · exp(−noise² t²/2) on a periodic grid of so many points.
    Raises ValueError if the grid does not resolve the noise.
    """
    half = 1 / (1 - s) + 10 * noise
    step = 2 * half / points
    if noise < 3 * step:
        raise ValueError(f"noise {noise:.3g} is below 3 grid steps of {step:.3g}: take more points.")
    t = 2 * np.pi * np.fft.rfftfreq(points, step)
    phi = np.exp(-0.5 * (noise * t) ** 2)
    seen = phi > 1e-18
    frequencies, product = t[seen], np.ones(seen.sum())
    for level in range(math.ceil(math.log(1e-9 / t[-1]) / math.log(s))):
        product *= np.cos(frequencies * s**level)
    phi[seen] *= product
    phi[~seen] = 0
    density = np.fft.irfft(phi, points) / step
    density = density[density > 1e-13]
    return float(-(density * np.log(density)).sum() * step)


def smoothed_information(s: float, noise: float, points: int = 2**18) -> float:
    """I(x; z + noise·g) for z = m + s z₁, m = ±1 a fair sign: H(z + noise·g) − H(z + noise/s·g) − log s, in nats."""
    return smoothed_entropy(s, noise, points) - smoothed_entropy(s, noise / s, points) - math.log(s)
