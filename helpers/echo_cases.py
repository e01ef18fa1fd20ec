"""Echo encoders whose codes have a known distribution, with which the rate formula and the sampler are tested.

Each encoder is a function of a whole number k, which is 0, 1, … with given probabilities, and of two independent
uniform random numbers u, v; together they are the image x. It returns m(x) and s(x), one-dimensional.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from helpers.echo import echo_sample
from helpers.information import quantile_rule


@dataclass(frozen=True)
class Case:
    """An echo encoder, the probabilities of k, the distribution of z and the rate −E log s in nats."""

    name: str
    encoder: Callable[..., tuple[ArrayLike, ArrayLike]]
    probabilities: tuple[float, ...]
    marginal: stats.rv_continuous
    rate: float


def gaussian(k: NDArray, u: NDArray, v: NDArray) -> tuple[ArrayLike, ArrayLike]:
    """m ~ N(0, 1) and s = 0.6."""
    return stats.norm.ppf(u), 0.6


def base_three(k: NDArray, u: NDArray, v: NDArray) -> tuple[ArrayLike, ArrayLike]:
    """m = 0, 1 or 2 and s = 1/3: z is a random number written in base 3."""
    return k, 1 / 3


def base_two(k: NDArray, u: NDArray, v: NDArray) -> tuple[ArrayLike, ArrayLike]:
    """m = ±1 and s = 1/2: the signs are the digits of a random number in base 2."""
    return 2 * k - 1, 1 / 2


def exponential(k: NDArray, u: NDArray, v: NDArray) -> tuple[ArrayLike, ArrayLike]:
    """m = 0 if k = 0, otherwise m ~ Exp(1); s = 0.4."""
    return np.where(k == 0, 0.0, stats.expon.ppf(u)), 0.4


def laplace(k: NDArray, u: NDArray, v: NDArray) -> tuple[ArrayLike, ArrayLike]:
    """m = 0 if k = 0, otherwise m has a Laplace distribution; s = 0.4."""
    return np.where(k == 0, 0.0, stats.laplace.ppf(u)), 0.4


def beta(k: NDArray, u: NDArray, v: NDArray) -> tuple[ArrayLike, ArrayLike]:
    """s ~ Beta(5, 1); m = 1 − s if k = 0, otherwise 0."""
    s = u ** (1 / 5)
    return np.where(k == 0, 1 - s, 0.0), s


def gamma(k: NDArray, u: NDArray, v: NDArray) -> tuple[ArrayLike, ArrayLike]:
    """s ~ Beta(1.5, 1) and m = s·ξ with ξ ~ Exp(1)."""
    s = u ** (1 / 1.5)
    return s * stats.expon.ppf(v), s


CASES = (
    Case("Gaussian, s = 0.6", gaussian, (1.0,), stats.norm(0, 1.25), -np.log(0.6)),
    Case("U[0, 3]: m = 0, 1, 2, s = 1/3", base_three, (1 / 3, 1 / 3, 1 / 3), stats.uniform(0, 3), np.log(3)),
    Case("U[−2, 2]: m = ±1, s = 1/2", base_two, (1 / 2, 1 / 2), stats.uniform(-2, 4), np.log(2)),
    Case("Exp(1), s = 0.4", exponential, (0.4, 0.6), stats.expon(), -np.log(0.4)),
    Case("Laplace, s = 0.4", laplace, (0.16, 0.84), stats.laplace(), -np.log(0.4)),
    Case("Beta(2, 3), random s", beta, (2 / 5, 3 / 5), stats.beta(2, 3), 1 / 5),
    Case("Gamma(1.5), random s", gamma, (1.0,), stats.gamma(1.5), 1 / 1.5),
)


def information(case: Case, nodes: int) -> float:
    """I(x, z) = E_x KL[q(z|x) ‖ q(z)] in nats by quadrature with so many nodes for u, for v and for z₁ ~ q(z)."""
    u, complement, weights = quantile_rule(nodes)
    z1 = np.where(u < 0.5, case.marginal.ppf(u), case.marginal.isf(complement))
    total = 0.0
    for k, probability in enumerate(case.probabilities):
        m, s = np.broadcast_arrays(*case.encoder(k, u[:, None, None], u[:, None]))
        z = m + s * z1
        z = np.clip(z, case.marginal.ppf(1e-16), case.marginal.isf(1e-16))  # rounding can put z on the edge
        divergence = (case.marginal.logpdf(z1) - np.log(s) - case.marginal.logpdf(z)) @ weights  # KL for each u and v
        total += probability * _mean(divergence, weights)
    return total


def _mean(values: NDArray, weights: NDArray) -> float:
    """The mean over u and v of values (nodes or 1, nodes or 1), which do not depend on an axis of length 1."""
    for _ in range(values.ndim):
        values = values @ weights if values.shape[-1] == len(weights) else values[..., 0]
    return float(values)


def sample(case: Case, count: int, depth: int, seed: int) -> NDArray:
    """So many independent codes z (count,), each the echo of one of `depth` images of its own."""
    rng = np.random.default_rng(seed)
    k = rng.choice(len(case.probabilities), (depth, count), p=case.probabilities)
    encoded = case.encoder(k, *rng.random((2, depth, count)))
    m, s = (torch.as_tensor(np.broadcast_to(part, k.shape).astype(float)) for part in encoded)
    return echo_sample(m, s, depth, torch.Generator().manual_seed(seed))[
        0
    ].numpy()  # a row: its columns are independent


def distance(case: Case, count: int, depth: int, seed: int) -> float:
    """The Kolmogorov-Smirnov distance of so many codes from their distribution."""
    return float(stats.kstest(sample(case, count, depth, seed), case.marginal.cdf).statistic)
