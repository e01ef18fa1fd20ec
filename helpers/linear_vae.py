"""The linear β-VAE, whose best rate and distortion are known: Shannon's reverse water-filling on the PCA spectrum.

Distortion is the squared error summed over pixels; rates are in nats. The loss is distortion + β · rate.
"""

import torch
from torch import Tensor


def water_filling(spectrum: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Shannon's rate Σ ½ log⁺(λ/c) and distortion Σ min(λ, c) at the water level c, from the eigenvalues λ (n,).

    With one latent number for each λ, the linear β-VAE of loss ‖x − x̂‖² + β KL has c = β/2.
    """
    return 0.5 * (spectrum / level).clamp(min=1).log().sum(), spectrum.clamp(max=level).sum()


def terms(encoder: Tensor, log_var: Tensor, decoder: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Exact rate and distortion of z|x ~ N(V(x − μ), diag e^ℓ), x̂ = Wz + μ for data of a covariance Σ (n, n).

    encoder V: (d, n), log_var ℓ: (d,), decoder W: (n, d). No sampling: both are averages over noise and data.
    """
    cross = covariance @ encoder.T
    code = encoder @ cross
    noise = log_var.exp()
    rate = 0.5 * (code.diagonal().sum() + (noise - log_var - 1).sum())
    distortion = covariance.diagonal().sum() - 2 * (decoder * cross).sum()
    return rate, distortion + (decoder.T @ decoder * (code + noise.diag())).sum()


def fit(covariance: Tensor, beta: float, latents: int, iterations: int = 500, seed: int = 0) -> tuple:
    """Minimise the linear β-VAE's exact loss over all its parameters by L-BFGS from a random start.

    covariance: (n, n), float64. Returns (rate, distortion) as floats, and the parameters (V, ℓ, W).
    """
    rng = torch.Generator(covariance.device).manual_seed(seed)
    shape = {"generator": rng, "dtype": covariance.dtype, "device": covariance.device}
    size = len(covariance) ** -0.5
    V = (torch.randn(latents, len(covariance), **shape) * size).requires_grad_()
    W = (torch.randn(len(covariance), latents, **shape) * size).requires_grad_()
    log_var = covariance.new_zeros(latents).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [V, log_var, W], max_iter=iterations, history_size=30, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        rate, distortion = terms(V, log_var, W, covariance)
        loss = distortion + beta * rate
        loss.backward()
        return loss

    optimizer.step(closure)
    parameters = (V.detach(), log_var.detach(), W.detach())
    rate, distortion = terms(*parameters, covariance)
    return rate.item(), distortion.item(), parameters
