"""The gradient penalty of WGAN-GP: for any critic, and without double differentiation for a piecewise linear one."""

import torch
from torch import Tensor, nn

from helpers.networks import LEAK, Critic


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """E (‖∇D(x̂)‖ − 1)² at x̂ uniform on the segments from fake to real (Gulrajani et al. 2017, eq. 3, λ left out).

    real, fake: (B, …) of one shape; the norm runs over everything but B. Returns a scalar to backpropagate through.
    Raises ValueError if the shapes differ.
    """
    between = interpolate(real, fake, generator).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return _distance_from_one(gradient.flatten(1))


def piecewise_linear_penalty(
    critic: Critic, real: Tensor, fake: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """`gradient_penalty` of a LeakyReLU critic, its input gradient W₁ᵀM₁W₂ᵀM₂…w written as a product.

    The masks Mₖ hold the LeakyReLUs' slopes, 1 or LEAK, at each x̂: constants almost everywhere, so the product's
    ordinary backward pass is the exact gradient in the weights, and nothing is differentiated twice.
    """
    *hidden, last = [layer for layer in critic.net if isinstance(layer, nn.Linear)]
    masks = []
    with torch.no_grad():
        x = interpolate(real, fake, generator).flatten(1)
        for layer in hidden:
            x = layer(x)
            masks.append(torch.where(x > 0, torch.ones_like(x), LEAK))
            x = x * masks[-1]
    gradient = last.weight.expand(len(x), -1)
    for layer, mask in zip(reversed(hidden), reversed(masks), strict=True):
        gradient = (gradient * mask) @ layer.weight
    return _distance_from_one(gradient)


def interpolate(real: Tensor, fake: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """x̂ = ε real + (1 − ε) fake with one ε ~ U(0, 1) for each image, detached. Raises ValueError if shapes differ."""
    if real.shape != fake.shape:
        raise ValueError(f"real {tuple(real.shape)} and fake {tuple(fake.shape)} must have the same shape.")
    share = torch.rand(len(real), *[1] * (real.dim() - 1), generator=generator, device=real.device, dtype=real.dtype)
    return torch.lerp(fake.detach(), real.detach(), share)


def _distance_from_one(gradient: Tensor) -> Tensor:
    norm = (gradient.float() if gradient.dtype == torch.bfloat16 else gradient).square().sum(1)
    return ((norm + 1e-12).sqrt() - 1).square().mean()  # the square root's own gradient is infinite at 0
