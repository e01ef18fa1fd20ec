"""Path-aware training: the losses that lower the energy of paths between the codes of real images."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.inversion import objective
from helpers.networks import SLOPE
from helpers.paths import descend, energy_density, linear_path, sine_basis

PAIRS, POINTS, EVALUATIONS = 16, 9, 8  # the paths of `energy_loss`: how many, their points, evaluations of U for each


class OnSphere(nn.Module):
    """Scales each code z (B, d) to norm √d, which is about the norm of codes drawn from N(0, I)."""

    def forward(self, z: Tensor) -> Tensor:
        return math.sqrt(z.shape[1]) * F.normalize(z)


class Encoder(nn.Sequential):
    """Learns to invert a generator during its training: maps images (B, 1, 28, 28) to codes (B, latent_dim).

    on_sphere: all its codes have norm √latent_dim.
    """

    def __init__(self, latent_dim: int, on_sphere: bool = False):
        super().__init__(
            nn.Flatten(),
            nn.Linear(784, 512),
            nn.LeakyReLU(SLOPE),
            nn.Linear(512, 256),
            nn.LeakyReLU(SLOPE),
            nn.Linear(256, latent_dim),
        )
        if on_sphere:
            self.append(OnSphere())


def inversion_loss(G: nn.Module, codes: Tensor, images: Tensor, penalty: float) -> Tensor:
    """Mean of 2 (‖G(e) − x‖² + μ‖e‖²) over a batch, relative to that of ½‖x_A − x_B‖² for neighbours (a scalar).

    codes e (B, d) of images x (B, 1, 28, 28); penalty: μ. The factor 2 counts both ends of a path.
    """
    lower_bound = (images - images.roll(1, 0)).square().sum().mul(0.5)
    return 2 * objective(G, images, codes, penalty).sum() / lower_bound


def path_loss(G: nn.Module, codes: Tensor, images: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """ρ of the straight lines between the codes of neighbouring images, minus 1, estimated from a batch (a scalar).

    codes (B, d) of images (B, 1, 28, 28), which are treated as constants. With uniform t this is an unbiased estimate
    of Σ ∫ c(Z(t)) dt / Σ ½‖x_A − x_B‖² − 1. Since ‖z_A − z_B‖ cancels, rescaling the codes cannot lower it.
    """
    x_a = images.detach()
    x_b = x_a.roll(1, 0)
    t = torch.rand(len(codes), 1, generator=rng, device=codes.device, dtype=codes.dtype)
    between = G(torch.lerp(codes, codes.roll(1, 0), t))
    cost = (between - x_a).square().sum() + (between - x_b).square().sum()
    return cost / (x_a - x_b).square().sum().mul(0.5) - 1


def energy_loss(G: nn.Module, codes: Tensor, images: Tensor) -> Tensor:
    """U of minimal paths between the codes of neighbouring images, relative to Σ ½‖x_A − x_B‖² · 2d (a scalar).

    codes (B, d), with gradient, of images (B, 1, 28, 28), of which the first PAIRS pairs are used; 2d is the mean of
    ‖z_A − z_B‖² for codes drawn from N(0, I). By the envelope theorem, how the minimal path moves need not be
    differentiated: its deviation from the straight line is held fixed.
    """
    x = images.detach().flatten(1)
    x_a, x_b = x[:PAIRS], x.roll(1, 0)[:PAIRS]
    line = linear_path(codes[:PAIRS], codes.roll(1, 0)[:PAIRS], POINTS)
    density = energy_density(G, x_a, x_b)
    shortest = descend(density, line.detach(), sine_basis(POINTS - 1).to(line), EVALUATIONS, 1e-3).x
    energies = density(line + (shortest - line.detach()), torch.arange(len(x_a), device=x.device)).mean(1)
    lower_bounds = (x_a - x_b).square().sum(1) / 2
    return energies.sum() / lower_bounds.sum() / (2 * codes.shape[1])


def warm_up(
    encoder: Encoder,
    G: nn.Module,
    images: Tensor,
    penalty: float,
    steps: int,
    rng: torch.Generator,
    batch: int = 128,
) -> None:
    """Train the encoder alone before the first epoch, so that the generator is not trained on poor codes."""
    weights = list(encoder.parameters())
    optimizer = torch.optim.Adam(weights, 1e-3)
    for _ in range(steps):
        x = images[torch.randint(len(images), (batch,), generator=rng, device=images.device)]
        optimizer.zero_grad()
        loss = objective(G, x, encoder(x), penalty).mean()
        loss.backward(inputs=weights)  # the generator gets no gradient
        optimizer.step()
